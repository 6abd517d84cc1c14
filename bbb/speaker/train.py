"""Training from a configuration to ``best.ckpt``: checks first, resumes by itself."""

import contextlib
import logging
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger

from bbb._module import make_callable
from bbb.audio.archives import FeatureArchive
from bbb.audio.cache import memory_limit
from bbb.audio.datadir import DataDir
from bbb.audio.dataset import ChunkBatches
from bbb.errors import BBBError, ConfigError, DataError
from bbb.speaker._sync_norm import SyncNorms
from bbb.speaker.batches import StepBatches
from bbb.speaker.build import build_network, load_weights, make_bayesian
from bbb.speaker.checkpoint import module_state, read_checkpoint
from bbb.speaker.config import TrainConfig
from bbb.speaker.module import SpeakerModule
from bbb.speaker.progress import LineProgress, Progress
from bbb.speaker.provenance import check_same_run, write_provenance
from bbb.speaker.ranks import launched_rank
from bbb.speaker.saving import AtomicFiles, Checkpoints
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
    saver = Checkpoints(config, folder)
    trainer = _trainer(config, saver)
    if trainer.is_global_zero:
        for leftover in folder.glob(".*.ckpt"):
            leftover.unlink()  # a kill in the middle of writing leaves its temporary file
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        module = _build(config, trainer)
        if saved is not None:
            load_weights(module, saved["state_dict"], str(last))  # does it fit at all?
        if trainer.is_global_zero:
            write_provenance(config, folder)
        _fit(trainer, module, last)
        return _finish(trainer, module, saver)


def _build(config: TrainConfig, trainer: pl.Trainer) -> SpeakerModule:
    """Network and data, everything checked.

    Raises:
        ConfigError: If a chunk may be too short for the network.
    """
    network, start = _initial_network(config)
    if config.chunks.min_frames < network.context_frames:
        msg = (
            f"train: chunks.min_frames is at least {network.context_frames}, what the network sees "
            f"at once, got {config.chunks.min_frames}"
        )
        raise ConfigError(msg)
    feats = config.source == "feats"
    archive = FeatureArchive(config.data, config.features) if feats else None
    chunks = ChunkBatches(
        archive.directory() if archive else DataDir.read(config.data),
        config.features,
        config.chunks,
        config.augment,
        spec_augment=config.spec_augment,
        seed=config.seed,
        memory=_memory(config),
        archive=archive,
    )
    with Progress("reading speech", shown=trainer.is_global_zero) as progress:
        chunks.prepare(progress.update)
    module = SpeakerModule(
        config, network, StepBatches(chunks, config.updates, accumulate=config.accumulate)
    )
    if start is not None:
        load_weights(module.head, module_state(start, "head"), str(config.start_checkpoint))
    return module


def _memory(config: TrainConfig) -> float:
    """Bytes in which this process may keep the speech."""
    if config.cache_gb is not None:
        return config.cache_gb * 1e9
    # Of all memory, not of what is free: a resumed training must choose as the first start did.
    return memory_limit() / 2 / config.devices


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


def _trainer(config: TrainConfig, saver: Checkpoints) -> pl.Trainer:
    """Lightning's Trainer.

    Raises:
        ConfigError: If this machine lacks the accelerator, there is no such precision, or other
            processes were started than the configuration says.
    """
    launched = launched_rank()
    if launched is not None and launched[1] != config.world_size:
        msg = (
            f"torchrun or srun started {launched[1]} processes, but devices is {config.devices} "
            f"and nodes {config.nodes}; set devices to the processes on a machine, and nodes to "
            "the number of machines"
        )
        raise ConfigError(msg)
    progress = TQDMProgressBar(refresh_rate=5) if sys.stderr.isatty() else LineProgress()
    try:
        with _quiet():
            return pl.Trainer(
                default_root_dir=saver.folder,
                max_steps=config.updates,
                max_epochs=-1,
                accelerator=config.accelerator,
                strategy="auto" if config.world_size == 1 else "ddp",
                devices=config.devices,
                num_nodes=config.nodes,
                precision=config.precision,  # type: ignore[arg-type]
                accumulate_grad_batches=config.accumulate,
                gradient_clip_val=config.optim.clip_norm,
                # A folder per start, so that a resumed run keeps the metrics of the killed one.
                logger=CSVLogger(saver.folder, name="metrics"),
                callbacks=[saver, progress, _StopAtNaN()],
                plugins=[AtomicFiles(), SyncNorms()],
                log_every_n_steps=min(10, config.updates),
                enable_checkpointing=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
            )
    except (ValueError, RuntimeError, ImportError, MisconfigurationException) as error:
        msg = (
            f"accelerator '{config.accelerator}' with precision '{config.precision}' cannot be "
            f"used here: {error}"
        )
        raise ConfigError(msg) from error


def _fit(trainer: pl.Trainer, module: SpeakerModule, last: Path | None) -> None:
    """Train, from ``last`` where there is one.

    Raises:
        KeyboardInterrupt: After a second Ctrl-C.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        with _quiet():
            trainer.fit(module, ckpt_path=last, weights_only=True)
    except SystemExit as error:
        # Lightning's answer to Ctrl-C, which it also makes the process ignore from then on.
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from error
    except BaseException as error:
        kill = getattr(trainer.strategy.launcher, "kill", None)
        if kill is not None:
            kill(signal.SIGKILL)  # the processes started here may wait for this one for ever
        kind = type(error)
        # A loading worker puts its whole traceback in front of its message.
        _, mark, reason = str(error).rpartition(f"{kind.__module__}.{kind.__name__}: ")
        if mark and isinstance(error, BBBError):
            raise kind(reason.strip()) from error
        raise


def _finish(trainer: pl.Trainer, module: SpeakerModule, saver: Checkpoints) -> Path:
    """Write the result of a training that went to its end.

    Raises:
        KeyboardInterrupt: If a signal ended it early.
        SystemExit: In the other processes then, so that one message is enough.
    """
    if trainer.global_step < saver.config.updates:
        if not trainer.is_global_zero:
            raise SystemExit(0)
        msg = (
            f"stopped by {signal.Signals(saver.stopped).name} after step {trainer.global_step} of "
            f"{saver.config.updates}, which is in {saver.folder / 'last.ckpt'}; give the same "
            "command again to go on"
        )
        raise KeyboardInterrupt(msg)
    module.load_state_dict(module.state_dict() | saver.mean)
    best = saver.folder / "best.ckpt"
    trainer.save_checkpoint(best, weights_only=True)
    return best


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


class _StopAtNaN(Callback):
    """Stops a training that diverged, before it overwrites a good checkpoint."""

    def on_before_backward(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object
    ) -> None:
        """Look at the loss, the mean over processes, which so stop together.

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
