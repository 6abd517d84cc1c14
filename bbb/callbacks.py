"""Callbacks for Lightning's Trainer. Needs Lightning: ``pip install lightning``."""

import math
from collections.abc import Callable

import lightning.pytorch as pl

from bbb.errors import ConfigError
from bbb.objective import ELBO


class KLSchedule(pl.Callback):
    """Sets the ``kl_weight`` of the module's `bbb.ELBO` before each batch, and logs it.

    The module keeps its criterion in an attribute, and its ``training_step`` calls it without
    ``kl_weight``. Progress is counted in updates of the optimiser, so that a resumed training goes
    on where it was and accumulated batches count once.

    Args:
        weight: The weight as a function of the share of the training that is done, as
            `bbb.schedules.Warmup`.
        num_steps: Updates of the whole training, >= 1; None asks the Trainer, who knows it unless
            the training is endless.

    Raises:
        ConfigError: If ``num_steps`` is not positive.
    """

    def __init__(self, weight: Callable[[float], float], num_steps: int | None = None) -> None:
        if num_steps is not None and num_steps < 1:
            msg = f"KLSchedule needs num_steps >= 1, the updates of the training, got {num_steps}"
            raise ConfigError(msg)
        self.weight = weight
        self.num_steps = num_steps

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check that there is something to set, and that the end is known.

        Raises:
            ConfigError: If the module has no criterion, or the number of updates is unknown.
        """
        self._criteria(pl_module)
        # Lightning says -1 of an iterable dataset of unknown length.
        if not 0 < self._updates(trainer) < math.inf:
            msg = "KLSchedule needs num_steps where the Trainer knows no end, or max_steps there"
            raise ConfigError(msg)

    def on_train_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: object,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Set the weight of this batch."""
        weight = self.weight(trainer.global_step / self._updates(trainer))
        for criterion in self._criteria(pl_module):
            criterion.kl_weight = weight
        pl_module.log("kl_weight", weight)

    def _updates(self, trainer: pl.Trainer) -> float:
        return self.num_steps or trainer.estimated_stepping_batches

    @staticmethod
    def _criteria(module: pl.LightningModule) -> list[ELBO]:
        criteria = [value for value in vars(module).values() if isinstance(value, ELBO)]
        if not criteria:
            msg = (
                f"KLSchedule needs a bbb.ELBO as an attribute of {type(module).__name__}, got "
                "none; set self.criterion = bbb.ELBO(...) in its __init__"
            )
            raise ConfigError(msg)
        return criteria
