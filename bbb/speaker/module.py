"""The training step of a speaker-embedding extractor, plain or Bayesian, for Lightning."""

from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from bbb.errors import DataError
from bbb.objective import ELBO
from bbb.schedules import Warmup
from bbb.speaker.batches import StepBatches, StepSampler
from bbb.speaker.build import build_head
from bbb.speaker.checkpoint import pack_config
from bbb.speaker.config import TrainConfig
from bbb.speaker.heads import AAMSoftmax, AMSoftmax
from bbb.speaker.xvector import XVector


class SpeakerModule(pl.LightningModule):
    """Classifies speakers with an extractor and a head; adds the KL of Bayesian layers.

    The loss is the mean cross-entropy over ``bayes.draws`` weight draws, plus ``bayes.kl_weight``
    (warmed up) times the KL, in nats, over the number of chunks in an epoch.

    Args:
        config: The whole training.
        network: Extractor, converted where wanted.
        batches: Training batches by step.
    """

    def __init__(self, config: TrainConfig, network: XVector, batches: StepBatches) -> None:
        super().__init__()
        self.config = config
        self.network = network
        self.head: nn.Module = build_head(config.network, batches.num_classes)
        self.batches = batches
        self.criterion = ELBO(network, num_train=batches.num_train)
        self._rng_state: Tensor | None = None
        self._cuda_rng_state: Tensor | None = None

    def forward(self, features: Tensor) -> Tensor:
        """Embeddings, shape (batch, frames, dim) to (batch, embed_dim)."""
        embeddings: Tensor = self.network(features)
        return embeddings

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:  # noqa: ARG002
        """Loss of one batch.

        Args:
            batch: Features (batch, frames, dim) and classes (batch,).
            batch_idx: Not used.

        Returns:
            The loss, a scalar.
        """
        features, labels = batch
        draws = self.config.bayes.draws if self.config.bayes.layers else 1
        with self.criterion.record() as record:
            results = [self._classify(features, labels) for _ in range(draws)]
        nll = torch.stack([nll for nll, _ in results]).mean()
        bayes = self.config.bayes
        weight = Warmup(bayes.kl_warmup, bayes.kl_weight)(self._place())
        parts = self.criterion(nll, kl_weight=weight, draws=record)
        correct = torch.stack([correct for _, correct in results]).sum()
        values = {"loss": parts.loss, "accuracy": correct / (draws * len(labels)), "kl": parts.kl}
        self.log_dict({name: value.detach() for name, value in values.items()}, prog_bar=True)
        return parts.loss

    def _classify(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy of one forward, and the number of right answers."""
        logits = self.head(self.network.head_input(self.network(features)), labels)
        return F.cross_entropy(logits, labels), (logits.argmax(1) == labels).sum()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:  # noqa: ANN401, ARG002
        """Restore the random state of a resumed run, and set the margin of this step."""
        if self._rng_state is not None:
            torch.set_rng_state(self._rng_state.cpu())
            self._rng_state = None
        if self._cuda_rng_state is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(self._cuda_rng_state.cpu(), self.device)
        self._cuda_rng_state = None
        if isinstance(self.head, AMSoftmax | AAMSoftmax):
            network = self.config.network
            self.head.margin = Warmup(network.margin_warmup, network.margin)(self._place())

    def configure_optimizers(self) -> Any:  # noqa: ANN401 (Lightning's union of ten types)
        """Optimiser with weight decay on plain matrices only, and the schedule by step."""
        optim = self.config.optim
        groups = [
            {"params": self._trained(decayed=True), "weight_decay": optim.weight_decay},
            {"params": self._trained(decayed=False), "weight_decay": 0.0},
        ]
        optimizer: torch.optim.Optimizer
        if optim.name == "adamw":
            optimizer = torch.optim.AdamW(groups, lr=optim.lr)
        else:
            optimizer = torch.optim.SGD(groups, lr=optim.lr, momentum=0.9, nesterov=True)
        steps = self.config.max_steps
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: optim.factor(i, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches from the step that training is at, so that a resumed run goes on in mid-epoch."""
        workers = self.config.workers
        return DataLoader(
            self.batches,
            batch_size=None,
            sampler=StepSampler(self.trainer.global_step, len(self.batches)),
            num_workers=workers,
            persistent_workers=workers > 0,
            prefetch_factor=4 if workers else None,
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the configuration and the random state.

        Raises:
            DataError: If a weight is not finite: a finite loss may have a gradient that is not, and
                the last good checkpoint must stay.
        """
        bad = [name for name, value in self.state_dict().items() if not value.isfinite().all()]
        if bad:
            msg = (
                f"'{bad[0]}' is not finite at step {self.global_step}; lower optim.lr or "
                "bayes.sigma_init, the last good state is in last.ckpt"
            )
            raise DataError(msg)
        checkpoint["bbb"] = pack_config(self.config, self.batches.num_classes)
        checkpoint["rng_state"] = torch.get_rng_state()
        if self.device.type == "cuda":
            checkpoint["cuda_rng_state"] = torch.cuda.get_rng_state(self.device)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take back the random state; it is set just before the next batch."""
        self._rng_state = checkpoint["rng_state"]
        self._cuda_rng_state = checkpoint.get("cuda_rng_state")

    def _place(self) -> float:
        """Share of the whole schedule that is done."""
        return self.config.optim.start + self.global_step / self.config.max_steps

    def _trained(self, *, decayed: bool) -> list[nn.Parameter]:
        """Parameters with weight decay, or those without."""
        return [
            parameter
            for name, parameter in self.named_parameters()
            if (parameter.ndim > 1 and not name.endswith(("_mu", "_rho"))) == decayed
        ]
