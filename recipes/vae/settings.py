"""Options of a training: all keys of a YAML file are flags, and an unknown one is an error."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

from bbb.errors import ConfigError
from recipes.common.options import check_distinct
from recipes.vae.images import Images


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Of a run.

    Attributes:
        data: "digits", or an .npz file such as MNIST's (see data_prep/mnist.py).
        binarization: "threshold" at half the largest value, or "fixed": drawn once.
        latent: Family of z.
        latent_size: Dimensions of z, and of a categorical one its classes.
        hidden: Units of the encoder's hidden layers; the decoder's are these in reverse.
        num_samples: Draws per image where an estimator's name says none.
        tau: Temperature of relaxed draws; where it falls, the last, after 3/4 of the steps.
        steps: Training steps.
        batch_size: Images of a step.
        lr: Step size of Adam.
        log_every: Steps between two points of the training curve.
        measure_every: Steps between two measurements of the gradient's noise; 0: never.
        replicas: Gradients of such a measurement.
        bound_samples: K of the test set's importance-weighted bound.
        save_every: Steps between two checkpoints.
        threads: CPU threads.
    """

    data: str = "digits"
    binarization: Literal["threshold", "fixed"] = "threshold"
    latent: Literal["gaussian", "bernoulli", "categorical"] = "bernoulli"
    latent_size: list[int] = dataclasses.field(default_factory=lambda: [32])
    hidden: list[int] = dataclasses.field(default_factory=list)
    num_samples: int | None = None
    tau: float = 0.5
    steps: int = 1200
    batch_size: int = 64
    lr: float = 0.003
    log_every: int = 50
    measure_every: int = 200
    replicas: int = 30
    bound_samples: int = 200
    save_every: int = 400
    threads: int = 1

    @property
    def identity(self) -> dict[str, Any]:
        """What makes a run another one than others, and the number of threads."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(Settings)}

    @property
    def fixed(self) -> dict[str, Any]:
        """What a run keeps when it goes on: all but the threads."""
        return {key: value for key, value in self.identity.items() if key != "threads"}

    def check(self, images: Images) -> None:
        """Refuse what cannot be trained.

        Raises:
            ConfigError: If a number is out of range, or the latent size does not fit.
        """
        axes = 2 if self.latent == "categorical" else 1
        if len(self.latent_size) != axes or min(self.latent_size, default=0) < 1:
            what = "variables and classes" if axes == 2 else "one number"  # noqa: PLR2004
            msg = f"latent_size of a {self.latent} z is {what}, got {self.latent_size}"
            raise ConfigError(msg)
        if self.batch_size > len(images.train):
            msg = f"batch_size is {self.batch_size}, with {len(images.train)} training images"
            raise ConfigError(msg)
        least = {"replicas": 2 if self.measure_every else 0, "measure_every": 0}
        least |= dict.fromkeys(("steps", "batch_size", "log_every", "bound_samples"), 1)
        least |= dict.fromkeys(("save_every", "threads"), 1)
        if self.num_samples is not None:
            least["num_samples"] = 1
        if not self.lr > 0:
            msg = f"lr has to be > 0, got {self.lr}"
            raise ConfigError(msg)
        for name, value in least.items():
            if getattr(self, name) < value:
                msg = f"{name} has to be >= {value}, got {getattr(self, name)}"
                raise ConfigError(msg)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Settings):
    """Of the command: what is trained, and where it goes.

    Attributes:
        estimator: Names of estimators, such as rloo-4 or gumbel.
        seeds: One run for each.
        exp_dir: Results.
        reference: JSON of published figures, for the table.
    """

    estimator: list[str] = dataclasses.field(default_factory=lambda: ["rloo-4"])
    seeds: list[int] = dataclasses.field(default_factory=lambda: [0])
    exp_dir: Path = Path("exp/vae")
    reference: Path | None = None

    def __post_init__(self) -> None:
        check_distinct(self, "estimator", "seeds")
