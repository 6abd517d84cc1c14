"""The training step of a speaker-embedding extractor, plain or Bayesian, for Lightning."""

import signal
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import torch.distributed as dist
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
from bbb.speaker.saving import STOPPING
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
        # Those of a checkpoint, by rank; None once they are set.
        self._random: list[dict[str, Tensor]] | None = []

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
        detached = {name: value.detach() for name, value in values.items()}
        self.log_dict(detached, prog_bar=True, sync_dist=True)
        return parts.loss

    def _classify(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy of one forward, and the number of right answers."""
        logits = self.head(self.network.head_input(self.network(features)), labels)
        return F.cross_entropy(logits, labels), (logits.argmax(1) == labels).sum()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:  # noqa: ANN401, ARG002
        """Set the random state at the first step of a start, and the margin of each."""
        if self._random is not None:
            self._start_random(self._random)
            self._random = None
        if isinstance(self.head, AMSoftmax | AAMSoftmax):
            network = self.config.network
            self.head.margin = Warmup(network.margin_warmup, network.margin)(self._place())

    def _start_random(self, states: list[dict[str, Tensor]]) -> None:
        """Go on with this rank's random numbers, or with some that no other rank has."""
        rank = self.global_rank
        if rank >= len(states):
            if rank:
                seeds = np.random.SeedSequence([self.config.seed, rank, self.global_step])
                torch.manual_seed(int(seeds.generate_state(1, np.uint64)[0]))
            return
        torch.set_rng_state(states[rank]["cpu"].cpu())
        if self.device.type == "cuda" and "cuda" in states[rank]:
            torch.cuda.set_rng_state(states[rank]["cuda"].cpu(), self.device)

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
        workers, trainer = self.config.workers, self.trainer
        start = trainer.global_step * self.config.accumulate
        return DataLoader(
            self.batches.of_rank(trainer.global_rank, trainer.world_size),
            batch_size=None,
            sampler=StepSampler(start, len(self.batches)),
            num_workers=workers,
            persistent_workers=workers > 0,
            prefetch_factor=4 if workers else None,
            worker_init_fn=_ignore_signals,
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the configuration and the random state of every rank.

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
        random = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        checkpoint["random"] = _of_all_ranks(random)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take back the random states; this rank's is set just before the next batch."""
        self._random = checkpoint["random"]

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


def _of_all_ranks(value: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """The values that the processes of a training bring, by rank."""
    if not dist.is_initialized():
        return [value]
    values = [value] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def _ignore_signals(worker: int) -> None:  # noqa: ARG001 (DataLoader's)
    """Let the training process decide when its workers end: Ctrl-C and SLURM address them too."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
