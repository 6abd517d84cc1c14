"""Typed configuration of training: what a YAML file and the flags of ``bbb train`` may say."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bbb.audio.augment import AugmentConfig
from bbb.audio.chunks import ChunkConfig
from bbb.audio.features import FeatureConfig
from bbb.audio.specaugment import SpecAugmentConfig
from bbb.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The extractor and its classification head.

    Attributes:
        channels: Of frame1 .. frame4; 512 in Snyder et al. 2018.
        pooled_channels: Of frame5; 1500 there.
        embed_dim: Size of the embedding; 512 there.
        embed_from: "segment6": the head sits behind segment7 (Snyder 2018). "segment6_norm": the
            head sits on the normalised embedding, which suits margin heads and cosine scoring.
        dropout: Share of the head's inputs that training sets to zero.
        head: "softmax", "am" (additive margin) or "aam" (additive angular margin).
        margin: Of the margin heads; radians for "aam".
        margin_warmup: Share of the steps over which the margin grows from 0.
        scale: Of the margin heads' logits.
    """

    channels: int = 512
    pooled_channels: int = 1500
    embed_dim: int = 512
    embed_from: Literal["segment6", "segment6_norm"] = "segment6"
    dropout: float = 0.0
    head: Literal["softmax", "am", "aam"] = "softmax"
    margin: float = 0.2
    margin_warmup: float = 0.4
    scale: float = 30.0

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            ConfigError: If one is out of range.
        """
        if min(self.channels, self.pooled_channels, self.embed_dim) < 1:
            msg = (
                "network: channels, pooled_channels and embed_dim are at least 1, got "
                f"{self.channels}, {self.pooled_channels} and {self.embed_dim}"
            )
            raise ConfigError(msg)
        if not (0 <= self.dropout < 1 and 0 <= self.margin_warmup <= 1):
            msg = (
                "network: needs 0 <= dropout < 1 and 0 <= margin_warmup <= 1 (shares), got "
                f"{self.dropout} and {self.margin_warmup}"
            )
            raise ConfigError(msg)
        if not (0 <= self.margin < math.pi / 2 and 0 < self.scale < math.inf):
            msg = (
                f"network: needs 0 <= margin < pi / 2 and scale > 0, got {self.margin} and "
                f"{self.scale}"
            )
            raise ConfigError(msg)


@dataclass(frozen=True, kw_only=True)
class BayesConfig:
    """Which layers are Bayesian, and how; none of it matters while ``layers`` is empty.

    Attributes:
        layers: Globs on the names of the network's layers, such as "frame1" or "frame*"; the
            extractor's and not the head's, which no embedding sees. Empty for a plain x-vector.
        prior: "normal" (zero mean), "scale_mixture" (Blundell et al. 2015, eq. 7), or "pretrained"
            (centred on the weights of ``baseline``).
        prior_sigma: Standard deviation of "normal" and "pretrained".
        mixture_pi: Weight of the first component of "scale_mixture".
        mixture_sigma1: Its standard deviation.
        mixture_sigma2: That of the second component.
        sigma_init: Standard deviation of the weights when training starts.
        tie_sigma: Whether all outputs of a layer share the standard deviations of their inputs.
        estimator: "weight", "local", "flipout" or "auto", as in ``bbb.bayesianize``.
        kl_weight: Factor on KL / (training chunks of an epoch); 1 is the evidence lower bound.
        kl_warmup: Share of the steps over which that factor grows from 0.
        draws: Weight draws per step; their losses are averaged.
        baseline: Experiment folder of a trained plain x-vector of the same shape; "pretrained"
            and ``start="baseline"`` need it.
        start: "scratch", or "baseline" to start the means, and the head, from the baseline: from
            its weights at the step where ``optim.start`` enters the schedule, which it must have
            kept (``keep_steps``), or its last ones where that is 0.
    """

    layers: tuple[str, ...] = ()
    prior: Literal["normal", "pretrained", "scale_mixture"] = "normal"
    prior_sigma: float = 0.1
    mixture_pi: float = 0.5
    mixture_sigma1: float = 1.0
    mixture_sigma2: float = math.exp(-6.0)
    sigma_init: float = 0.02
    tie_sigma: bool = False
    estimator: Literal["weight", "local", "flipout", "auto"] = "auto"
    kl_weight: float = 1.0
    kl_warmup: float = 0.0
    draws: int = 1
    baseline: str | None = None
    start: Literal["scratch", "baseline"] = "scratch"

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            ConfigError: If they contradict each other or are out of range.
        """
        wants = self.prior == "pretrained" or self.start == "baseline"
        if self.layers and wants and self.baseline is None:
            msg = (
                "bayes.baseline names no experiment folder, but the prior 'pretrained' and the "
                "start 'baseline' need one; train a plain x-vector first"
            )
            raise ConfigError(msg)
        if self.draws < 1:
            msg = f"bayes.draws is at least 1, got {self.draws}"
            raise ConfigError(msg)
        if not (0 <= self.kl_weight < math.inf and 0 <= self.kl_warmup <= 1):
            msg = (
                "bayes: needs kl_weight >= 0 and 0 <= kl_warmup <= 1 (a share of the steps), got "
                f"{self.kl_weight} and {self.kl_warmup}"
            )
            raise ConfigError(msg)


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Optimiser and schedule: linear warm-up, then half a cosine down to almost nothing.

    Attributes:
        name: "adamw", or "sgd" with Nesterov momentum 0.9.
        lr: Peak learning rate.
        weight_decay: On plain weight matrices; never on biases, norms or Bayesian weights, whose
            prior does that work.
        warmup: Share of the steps.
        start: Share of the schedule that is left out at its beginning, with its steps: 0.5 with
            ``bayes.start`` a half-trained baseline makes one training of two halves.
        clip_norm: Largest norm of the gradient.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    lr: float = 2e-3
    weight_decay: float = 1e-2
    warmup: float = 0.15
    start: float = 0.0
    clip_norm: float = 5.0

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            ConfigError: If one is out of range.
        """
        if not (self.lr > 0 and 0 <= self.warmup < 1 and 0 <= self.start < 1):
            msg = (
                "optim: needs lr > 0, 0 <= warmup < 1 and 0 <= start < 1, got "
                f"{self.lr}, {self.warmup} and {self.start}"
            )
            raise ConfigError(msg)
        if not (self.weight_decay >= 0 and self.clip_norm > 0):
            msg = (
                "optim: needs weight_decay >= 0 and clip_norm > 0 (.inf for no clipping), got "
                f"{self.weight_decay} and {self.clip_norm}"
            )
            raise ConfigError(msg)

    def factor(self, step: int, max_steps: int) -> float:
        """Share of the peak learning rate at a step.

        Args:
            step: From 0.
            max_steps: Length of the whole schedule.

        Returns:
            In (0, 1].
        """
        place = min(1.0, self.start + (step + 1) / max_steps)
        if place < self.warmup:
            return max(place / self.warmup, 1e-3)
        done = (place - self.warmup) / (1.0 - self.warmup)
        return max(0.5 * (1.0 + math.cos(math.pi * done)), 1e-4)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A whole training.

    Attributes:
        data: Kaldi data directory to train on.
        source: "audio", or "feats" for the raw features that Kaldi left in ``data``, ``feats.scp``
            and ``vad.scp``; then nothing can be augmented but by ``spec_augment``.
        output: Experiment folder: checkpoints, resolved configuration, versions, metrics.
        max_steps: Updates of the whole schedule.
        seed: Of initial weights, batches and weight draws.
        features: What a frame is; kept in the checkpoint, so that extraction does the same.
        chunks: Batches.
        augment: Noise, rooms, speeds.
        spec_augment: Masks on features; null for none.
        network: Extractor and head.
        bayes: Bayesian layers.
        optim: Optimiser.
        checkpoint_every: Steps between checkpoints to resume from.
        keep_steps: Steps whose checkpoint is kept as ``step=N.ckpt``.
        average: ``best.ckpt`` holds the mean weights of the last so many of these checkpoints; 0:
            the last weights.
        cache_gb: Memory in which each process may keep the speech, in GB; of more speech nothing is
            kept, and chunks are read from their files each time (0: always). Null: half of the
            machine's memory, shared by its ``devices``.
        workers: Processes that make batches; 0 makes them in the training process.
        threads: CPU threads of the training process; null for torch's default.
        accelerator: Lightning's: "auto", "cpu", "gpu" ...
        precision: Lightning's: "32-true", "bf16-mixed" ...
        devices: Processes on each machine, one per GPU, which share every batch.
        nodes: Machines.
        accumulate: Parts in which a process works through its share of a batch, one after another;
            each has its own batch normalisation and weight draws.
    """

    data: str
    output: str
    source: Literal["audio", "feats"] = "audio"
    max_steps: int = 1000
    seed: int = 0
    features: FeatureConfig = field(default_factory=FeatureConfig)
    chunks: ChunkConfig = field(default_factory=ChunkConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    spec_augment: SpecAugmentConfig | None = field(default_factory=SpecAugmentConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    bayes: BayesConfig = field(default_factory=BayesConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    checkpoint_every: int = 100
    keep_steps: tuple[int, ...] = ()
    average: int = 0
    cache_gb: float | None = None
    workers: int = 1
    threads: int | None = None
    accelerator: str = "auto"
    precision: str = "32-true"
    devices: int = 1
    nodes: int = 1
    accumulate: int = 1

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            ConfigError: If one is out of range.
        """
        if self.max_steps < 1 or self.checkpoint_every < 1 or self.workers < 0:
            msg = (
                "train: needs max_steps >= 1, checkpoint_every >= 1 and workers >= 0, got "
                f"{self.max_steps}, {self.checkpoint_every} and {self.workers}"
            )
            raise ConfigError(msg)
        if not 0 <= self.seed < 2**64:
            msg = f"train: seed is from 0 to 2**64 - 1, got {self.seed}"
            raise ConfigError(msg)
        if self.cache_gb is not None and not self.cache_gb >= 0:
            msg = f"train: cache_gb is at least 0, or null to choose, got {self.cache_gb}"
            raise ConfigError(msg)
        if self.threads is not None and self.threads < 1:
            msg = f"train: threads is at least 1, or null for torch's default, got {self.threads}"
            raise ConfigError(msg)
        if self.updates < 1:
            msg = (
                f"train: optim.start {self.optim.start} leaves none of the {self.max_steps} steps; "
                "lower it or raise max_steps"
            )
            raise ConfigError(msg)
        beyond = [step for step in self.keep_steps if not 1 <= step <= self.updates]
        if beyond:
            msg = f"train: keep_steps {beyond} are not within 1 .. {self.updates}, the steps made"
            raise ConfigError(msg)
        if not 0 <= self.average <= self.updates // self.checkpoint_every:
            msg = (
                f"train: average is from 0 to {self.updates // self.checkpoint_every}, the number "
                f"of checkpoints (checkpoint_every {self.checkpoint_every}), got {self.average}"
            )
            raise ConfigError(msg)
        self._check_parts()

    def _check_parts(self) -> None:
        """Check that a batch can be shared evenly, and that no part is too small.

        Raises:
            ConfigError: If it cannot.
        """
        parts = self.world_size * self.accumulate
        if min(self.devices, self.nodes, self.accumulate) < 1:
            msg = (
                "train: devices, nodes and accumulate are at least 1, got "
                f"{self.devices}, {self.nodes} and {self.accumulate}"
            )
            raise ConfigError(msg)
        if self.chunks.batch_size % parts:
            size = self.chunks.batch_size
            msg = (
                f"train: chunks.batch_size {size} is no multiple of devices {self.devices} x nodes "
                f"{self.nodes} x accumulate {self.accumulate}, which share it; make it "
                f"{-(-size // parts) * parts}"
            )
            raise ConfigError(msg)

        if self.chunks.batch_size // self.accumulate < 2:  # noqa: PLR2004 (they have a variance)
            msg = (
                "train: batch normalisation needs 2 rows or more in each of "
                f"{self.accumulate} parts, got {self.chunks.batch_size // self.accumulate}; raise "
                "chunks.batch_size or lower accumulate"
            )
            raise ConfigError(msg)

    @property
    def world_size(self) -> int:
        """Processes of the training."""
        return self.devices * self.nodes

    @property
    def start_checkpoint(self) -> Path | None:
        """The checkpoint that the means start from; None for random weights."""
        if not self.bayes.layers or self.bayes.start == "scratch":
            return None
        step = self.max_steps - self.updates
        return Path(self.bayes.baseline or "") / (f"step={step}.ckpt" if step else "best.ckpt")

    @property
    def updates(self) -> int:
        """Steps that this training makes: those of the schedule less the part left out."""
        return self.max_steps - round(self.optim.start * self.max_steps)
