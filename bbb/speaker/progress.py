"""Progress of long work: a bar on a terminal, now and then a line in a log file."""

import sys
import time
from types import TracebackType
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm


class Progress:
    """A bar for a loop that reports (done, total), shown on a terminal only.

    Args:
        label: What is being done.
        shown: Whether this process is the one that reports.
    """

    def __init__(self, label: str, *, shown: bool = True) -> None:
        self.label = label
        self.shown = shown
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> "Progress":
        """Start; the bar appears with the first report."""
        return self

    def update(self, done: int, total: int) -> None:
        """Report.

        Args:
            done: Items so far.
            total: Items in all.
        """
        if self._bar is None:
            hidden = not (self.shown and sys.stderr.isatty())
            self._bar = tqdm(total=total, desc=self.label, disable=hidden)
        self._bar.update(done - self._bar.n)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the bar where it is."""
        if self._bar is not None:
            self._bar.close()


class LineProgress(ProgressBar):
    """One line every few seconds on standard error: what a log file wants.

    Args:
        seconds: Between two lines.
    """

    def __init__(self, seconds: float = 10.0) -> None:
        super().__init__()
        self.seconds = seconds
        self._last = time.monotonic()
        self._step = 0

    def disable(self) -> None:
        """Lightning's switch for ranks that do not report."""
        self.seconds = float("inf")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Count from here: a resumed run does not start at step 0."""
        self._last, self._step = time.monotonic(), trainer.global_step

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002
        *_: object,
    ) -> None:
        """Write a line when it is time."""
        now, step, steps = time.monotonic(), trainer.global_step, trainer.max_steps
        due = now - self._last >= self.seconds or step == steps
        if not due or step == self._step or self.seconds == float("inf"):
            return
        rate = (step - self._step) / max(now - self._last, 1e-9)
        values = ", ".join(f"{k} {float(v):.3f}" for k, v in trainer.callback_metrics.items())
        sys.stderr.write(f"step {step}/{steps}: {values}, {rate:.1f} steps/s\n")
        sys.stderr.flush()
        self._last, self._step = now, step
