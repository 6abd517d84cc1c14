"""What a training keeps: checkpoints to resume from, kept steps, the mean of the last weights."""

import io
import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from bbb.files import atomic_path
from bbb.speaker.config import TrainConfig

# Ctrl-C, and what schedulers send before they kill: SLURM's preemption and scancel, and by custom
# the second where a job asked for a warning.
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class AtomicFiles(TorchCheckpointIO):
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


class Checkpoints(Callback):
    """Writes ``last.ckpt`` now and then and when asked to stop, and ``step=N.ckpt``.

    A signal of ``STOPPING`` lets the step at hand end, in all processes, wherever it came in; a
    second one does what it did before.

    Args:
        config: The training's.
        folder: Where the checkpoints go.

    Attributes:
        stopped: The signal that ended the training before its time; 0 for none.
        mean: The mean of the weights to average, once there are any; floating-point ones alone.
    """

    def __init__(self, config: TrainConfig, folder: Path) -> None:
        self.config = config
        self.folder = folder
        self.stopped = 0
        self._step = 0
        self._number = 0
        self._sums: dict[str, Tensor] = {}

    @property
    def mean(self) -> dict[str, Tensor]:
        """Weights by name, float64."""
        return {name: total / self._number for name, total in self._sums.items()}

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint to resume from."""
        return {"number": self._number, "sums": self._sums}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._number, self._sums = state_dict["number"], state_dict["sums"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Listen to signals instead of Lightning, which answers them in mid-step."""
        self._step = trainer.global_step
        if threading.current_thread() is not threading.main_thread():
            return
        before = {number: signal.getsignal(number) for number in STOPPING}

        def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (Python's)
            """Note the signal, once."""
            self.stopped = number
            for each, handler in before.items():
                signal.signal(each, handler)

        for number in STOPPING:
            signal.signal(number, stop)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object
    ) -> None:
        """Write what is due after a step; nothing after the first parts of a batch."""
        step = trainer.global_step
        if step == self._step:
            return
        self._step = step
        # The process that got the signal may be any of them.
        stop = trainer.strategy.reduce_boolean_decision(bool(self.stopped), all=False)
        due = step % self.config.checkpoint_every == 0
        if due:
            self._add(pl_module, step)
        if step in self.config.keep_steps:
            trainer.save_checkpoint(self.folder / f"step={step}.ckpt", weights_only=True)
        if due or stop:
            trainer.save_checkpoint(self.folder / "last.ckpt")
        if stop and step < self.config.updates:
            self.stopped = self.stopped or signal.SIGTERM
            trainer.should_stop = True

    def _add(self, module: pl.LightningModule, step: int) -> None:
        """Add the weights to the sum, if this checkpoint is one of the last that are averaged."""
        every = self.config.checkpoint_every
        if step // every <= self.config.updates // every - self.config.average:
            return
        self._number += 1
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                total = self._sums.get(name, 0.0)
                self._sums[name] = total + value.detach().double().cpu()
