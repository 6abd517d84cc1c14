"""Options: every key of a YAML file is a flag, and an unknown one is an error."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

from bbb.errors import ConfigError
from bbb.priors import Normal, Prior, ScaleMixture
from recipes.common.options import check_distinct

_ELSE = ("exp_dir", "threads", "save_every", "sets")
"""Options that change no result."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """Of the networks.

    Attributes:
        exp_dir: Results.
        hidden: Units of the hidden layers.
        steps: Training steps.
        batch_size: Examples of a step.
        lr: First step size of Adam.
        sigma_init: Initial standard deviation of the weights' posterior.
        num_samples: Draws of the weights for a prediction.
        save_every: Steps between two checkpoints.
        threads: CPU threads.
    """

    exp_dir: Path = Path("exp/regression")
    hidden: list[int] = dataclasses.field(default_factory=lambda: [50])
    steps: int = 1000
    batch_size: int = 100
    lr: float = 0.01
    sigma_init: float = 0.05
    num_samples: int = 100
    save_every: int = 200
    threads: int = 1

    def __post_init__(self) -> None:
        least = ("steps", "batch_size", "num_samples", "save_every", "threads", "num_train")
        for name in (*least, "nets", "splits", "members"):
            if getattr(self, name, 1) < 1:
                msg = f"{name} has to be >= 1, got {getattr(self, name)}"
                raise ConfigError(msg)
        if not self.lr > 0:
            msg = f"lr has to be > 0, got {self.lr}"
            raise ConfigError(msg)

    @property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint or a result depends on."""
        keys = dataclasses.asdict(self)
        return {key: value for key, value in keys.items() if key not in _ELSE}


@dataclasses.dataclass(frozen=True, kw_only=True)
class CurveOptions(Training):
    """Of a task with one input.

    Attributes:
        task: The paper's "curve", or data with a "gap".
        num_train: Training examples.
        prior: Of the weights, "normal:SCALE" or "mixture:PI:SIGMA1:SIGMA2".
        penalty: Factor of the KL term; 1 is Bayes' rule.
        decay: The same for the plain networks' weight decay.
        nets: Plain networks for each seed.
        seeds: Of the data; a Bayesian network, a Gaussian process and `nets` plain ones for each.
    """

    task: Literal["curve", "gap"] = "curve"
    num_train: int = 200
    prior: str = "normal:1"
    penalty: float = 1.0
    decay: float = 0.0
    nets: int = 20
    seeds: list[int] = dataclasses.field(default_factory=lambda: [0, 1, 2, 3, 4])

    def __post_init__(self) -> None:
        super().__post_init__()
        check_distinct(self, "seeds")
        # One curve has no spread, one example no scale.
        least = {"nets": 2, "num_samples": 2, "num_train": 2, "penalty": 0, "decay": 0}
        for name, value in least.items():
            if getattr(self, name) < value:
                msg = f"{name} has to be >= {value}, got {getattr(self, name)}"
                raise ConfigError(msg)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SetOptions(Training):
    """Of the small data sets.

    Attributes:
        sets: Their names.
        splits: Random splits of each.
        normal: Priors to choose from for "BBB, Gaussian".
        mixture: Priors to choose from for "BBB, mixture".
        penalties: Factors of the KL term to choose from; 1 is Bayes' rule.
        decays: Factors of the plain networks' weight decay to choose from.
        members: Networks of the ensemble.
    """

    sets: list[str] = dataclasses.field(default_factory=lambda: ["diabetes"])
    splits: int = 20
    normal: list[str] = dataclasses.field(default_factory=lambda: ["normal:1"])
    mixture: list[str] = dataclasses.field(default_factory=lambda: ["mixture:0.5:1:0.1"])
    penalties: list[float] = dataclasses.field(default_factory=lambda: [1.0])
    decays: list[float] = dataclasses.field(default_factory=lambda: [1.0])
    members: int = 5


def parse_prior(text: str) -> Prior:
    """Return the prior of a text such as "normal:1" or "mixture:0.5:1:0.1".

    Raises:
        ConfigError: If it is none.
    """
    name, *words = text.split(":")
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if name == "normal" and len(numbers) == 1:
        return Normal(0.0, numbers[0])
    if name == "mixture" and len(numbers) == 3:  # noqa: PLR2004
        return ScaleMixture(*numbers)
    msg = f"a prior is normal:SCALE or mixture:PI:SIGMA1:SIGMA2, got '{text}'"
    raise ConfigError(msg)
