"""Training from a configuration to ``best.ckpt``: checks first, resumes by itself."""

import contextlib
import io
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO

from bbb._files import atomic_path
from bbb._module import make_callable
from bbb.audio.datadir import DataDir
from bbb.audio.dataset import ChunkBatches
from bbb.errors import ConfigError, DataError
from bbb.speaker.batches import StepBatches
from bbb.speaker.build import build_network, load_weights, make_bayesian
from bbb.speaker.checkpoint import module_state, read_checkpoint
from bbb.speaker.config import TrainConfig
from bbb.speaker.module import SpeakerModule
from bbb.speaker.progress import LineProgress, Progress
from bbb.speaker.provenance import check_same_run, write_provenance
from bbb.speaker.xvector import XVector

_LOG = logging.getLogger(__name__)
# Lightning's warnings about what is done on purpose: folders that hold earlier results, few
# workers, a loader that StepSampler makes resumable without Lightning's knowing, and
# accelerator="cpu" beside a GPU.
_KNOWN = (
    ".*exists and is not empty",
    ".*does not have many workers",
    ".*your dataloader is not resumable",
    ".*LeafSpec",
    ".*available but not used",
)


def train(config: TrainConfig) -> Path:
    """Train an extractor, or go on where a killed training was.

    Every file that training needs is read before the first step. The folder ``config.output`` gets
    ``config.yaml``, ``versions.json``, ``metrics/``, ``last.ckpt`` (to resume from) and, at the
    end, ``best.ckpt``; when that is there already, nothing is done.

    Args:
        config: The whole training.

    Returns:
        Path of ``best.ckpt``.

    Raises:
        ConfigError: If the folder holds another experiment, or a checkpoint does not fit.
        DataError: If the data cannot be used, or the loss stops being finite.
    """  # noqa: DOC502 (raised by the checks)
    folder = Path(config.output)
    check_same_run(config, folder)
    best = folder / "best.ckpt"
    if best.is_file():
        _LOG.info("%s is there already", best)
        return best
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    last = folder / "last.ckpt" if (folder / "last.ckpt").is_file() else None
    # Read before the speech is, so that a damaged one shows at once.
    saved = None if last is None else read_checkpoint(last)
    for leftover in folder.glob(".*.ckpt"):
        leftover.unlink()  # a kill in the middle of writing leaves its temporary file
    trainer = _trainer(config, folder)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        module = _build(config)
        if saved is not None:
            load_weights(module, saved["state_dict"], str(last))  # does it fit at all?
        write_provenance(config, folder)
        _fit(trainer, module, last)
        trainer.save_checkpoint(best, weights_only=True)
    return best


def _build(config: TrainConfig) -> SpeakerModule:
    """Network and data, everything checked."""
    network, start = _initial_network(config)
    chunks = ChunkBatches(
        DataDir.read(config.data),
        config.features,
        config.chunks,
        config.augment,
        spec_augment=config.spec_augment,
        seed=config.seed,
    )
    with Progress("reading speech") as progress:
        chunks.prepare(progress.update)
    module = SpeakerModule(config, network, StepBatches(chunks, config.updates))
    if start is not None:
        load_weights(module.head, module_state(start, "head"), str(config.start_checkpoint))
    return module


def _initial_network(config: TrainConfig) -> tuple[XVector, dict[str, Any] | None]:
    """The network with its first weights and priors, and the checkpoint that they are from."""
    network = build_network(config)
    start = None
    if config.start_checkpoint is not None:
        start = read_checkpoint(config.start_checkpoint)
        load_weights(network, module_state(start, "network"), str(config.start_checkpoint))
    centre = None
    if config.bayes.layers and config.bayes.prior == "pretrained":
        trained = read_checkpoint(Path(config.bayes.baseline or "") / "best.ckpt")
        centre = module_state(trained, "network")
    make_bayesian(network, config.bayes, centre)
    return network, start


def _trainer(config: TrainConfig, folder: Path) -> pl.Trainer:
    """Lightning's Trainer.

    Raises:
        ConfigError: If this machine lacks the accelerator, or there is no such precision.
    """
    try:
        with _quiet():
            return pl.Trainer(
                default_root_dir=folder,
                max_steps=config.updates,
                max_epochs=-1,
                accelerator=config.accelerator,
                devices=1,
                precision=config.precision,  # type: ignore[arg-type]
                gradient_clip_val=config.optim.clip_norm,
                # A folder per start, so that a resumed run keeps the metrics of the killed one.
                logger=CSVLogger(folder, name="metrics"),
                callbacks=_callbacks(config, folder),
                plugins=[_AtomicFiles()],
                log_every_n_steps=min(10, config.updates),
                enable_model_summary=False,
                use_distributed_sampler=False,
            )
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        msg = (
            f"accelerator '{config.accelerator}' with precision '{config.precision}' cannot be "
            f"used here: {error}"
        )
        raise ConfigError(msg) from error


def _fit(trainer: pl.Trainer, module: SpeakerModule, last: Path | None) -> None:
    """Train, from ``last`` where there is one.

    Raises:
        KeyboardInterrupt: After Ctrl-C or SIGTERM.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        with _quiet():
            trainer.fit(module, ckpt_path=last, weights_only=True)
    except SystemExit as error:
        # Lightning's answer to Ctrl-C, which it also makes the process ignore from then on, and to
        # SIGTERM, with an exit status of 0.
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from error


class _AtomicFiles(TorchCheckpointIO):
    """Writes checkpoints beside the final name and renames them.

    Lightning's own way writes them to the folder of temporary files: where that is another file
    system, the move from there is a copy, and a kill or a full disk leaves half a checkpoint.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: object = None,  # noqa: ARG002 (Lightning's)
    ) -> None:
        """Write a checkpoint.

        Raises:
            OSError: If it cannot be written; the file that was there before stays.
        """
        # By way of memory, since torch.save makes a RuntimeError of a full disk.
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        try:
            with atomic_path(path) as temporary:
                temporary.write_bytes(buffer.getbuffer())
        except OSError as error:
            msg = (
                f"{path} cannot be written ({error.strerror}); earlier checkpoints are intact: "
                "make room and give the same command again"
            )
            raise OSError(error.errno, msg) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's advertisements, and its advice on what is done on purpose, to itself."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in _KNOWN:
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        logger.setLevel(level)


def _callbacks(config: TrainConfig, folder: Path) -> list[Callback]:
    """Checkpoints, progress, and a stop when the loss is no number."""
    saver = ModelCheckpoint(
        folder,
        filename="last",
        every_n_train_steps=config.checkpoint_every,
        save_top_k=1,
        enable_version_counter=False,
        save_on_train_epoch_end=False,
    )
    progress = TQDMProgressBar(refresh_rate=5) if sys.stderr.isatty() else LineProgress()
    return [saver, _KeepSteps(folder, config.keep_steps), progress, _StopAtNaN()]


class _KeepSteps(Callback):
    """Keeps the weights of some steps."""

    def __init__(self, folder: Path, steps: tuple[int, ...]) -> None:
        self.folder = folder
        self.steps = set(steps)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        """Write ``step=N.ckpt`` after step N."""
        if trainer.global_step in self.steps:
            path = self.folder / f"step={trainer.global_step}.ckpt"
            trainer.save_checkpoint(path, weights_only=True)


class _StopAtNaN(Callback):
    """Stops a training that diverged, before it overwrites a good checkpoint."""

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object
    ) -> None:
        """Look at the loss of this step.

        Raises:
            DataError: If it is not finite.
        """
        loss = trainer.callback_metrics.get("loss")
        if loss is not None and not bool(torch.isfinite(loss)):
            msg = (
                f"the loss is {float(loss)} at step {pl_module.global_step}; lower optim.lr or "
                "bayes.sigma_init, the last good state is in last.ckpt"
            )
            raise DataError(msg)


make_callable(__name__, train)
