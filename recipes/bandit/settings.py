"""Options of the bandit: all keys of a YAML file are flags, and an unknown one is an error."""

import dataclasses
from pathlib import Path
from typing import Any

from bbb.errors import ConfigError
from bbb.layers import Estimator
from recipes.common.options import check_distinct

AGENTS = ("bbb", "greedy")
ONLY_BBB = {
    *("lr", "pi", "sigma1", "sigma2", "sigma_init", "noise", "num_train"),
    *("act_samples", "train_samples", "estimator", "kl_every"),
}
ONLY_GREEDY = {"greedy_lr", "epsilon"}
# They change nothing about what is learnt; the mushrooms themselves count, not their place.
NO_IDENTITY = {"exp_dir", "data", "agents", "save_every", "threads"}

COUNTS = (
    *("steps", "buffer_size", "minibatches", "late_minibatches", "batch_size"),
    *("act_samples", "train_samples", "kl_every", "save_every", "threads"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Of a run.

    Attributes:
        exp_dir: Where checkpoints and results go.
        data: UCI's agaricus-lepiota.data (data_prep/mushrooms.py fetches it).
        agents: Who plays, "bbb" and "greedy" (with all values of epsilon).
        seeds: Of mushrooms and luck; one network of each agent plays each.
        epsilon: Probabilities of an action at random, of the greedy agents.
        steps: Mushrooms to judge.
        hidden: Units of the hidden layers.
        buffer_size: Experiences that are remembered.
        minibatches: Training steps after each of the first mushrooms.
        early: How many these are.
        late_minibatches: Training steps after each mushroom that follows.
        batch_size: Experiences of a training step.
        lr: Step size of the Bayesian agent's Adam.
        greedy_lr: Step size of the greedy agents' Adam.
        pi: Share of the prior's first component.
        sigma1: Standard deviation of the prior's first component.
        sigma2: Standard deviation of the prior's second component.
        sigma_init: Standard deviation of the posterior at the start.
        noise: Standard deviation of the rewards in the likelihood.
        num_train: Experiences that the posterior is taken to be of; 0: those in the buffer.
        act_samples: Draws of the weights whose outputs are averaged for an action.
        train_samples: Draws of the weights for a training step.
        estimator: How a training step draws, "weight", "local" or "flipout".
        kl_every: Training steps to one that has the KL divergence, with so many times its weight.
        decay: After the early mushrooms the step sizes fall with this power of their number.
        save_every: Mushrooms between two checkpoints.
        threads: CPU threads.
    """

    exp_dir: Path = Path("exp/bandit")
    data: Path = Path("corpora/agaricus-lepiota.data")
    agents: list[str] = dataclasses.field(default_factory=lambda: list(AGENTS))
    seeds: list[int] = dataclasses.field(default_factory=lambda: [0, 1, 2, 3, 4])
    epsilon: list[float] = dataclasses.field(default_factory=lambda: [0.0, 0.01, 0.05])
    steps: int = 50_000
    hidden: list[int] = dataclasses.field(default_factory=lambda: [100, 100])
    buffer_size: int = 4096
    minibatches: int = 8
    early: int = 2000
    late_minibatches: int = 2
    batch_size: int = 64
    lr: float = 0.003
    greedy_lr: float = 0.003
    pi: float = 0.5
    sigma1: float = 1.0
    sigma2: float = 0.05
    sigma_init: float = 0.05
    noise: float = 1.0
    num_train: int = 4096
    act_samples: int = 2
    train_samples: int = 1
    estimator: Estimator = "weight"
    kl_every: int = 1
    decay: float = 0.0
    save_every: int = 500
    threads: int = 1

    def check(self) -> None:
        """Refuse what cannot be played; what the prior refuses is left to it.

        Raises:
            ConfigError: If a number is out of range, or an agent unknown; it names it.
        """
        least_of = dict.fromkeys(COUNTS, 1) | {"early": 0, "num_train": 0, "decay": 0}
        for name, least in least_of.items():
            if getattr(self, name) < least:
                msg = f"{name} has to be >= {least}, got {getattr(self, name)}"
                raise ConfigError(msg)
        for name in ("lr", "greedy_lr", "noise"):
            if not getattr(self, name) > 0:
                msg = f"{name} has to be > 0, got {getattr(self, name)}"
                raise ConfigError(msg)
        check_distinct(self, "agents", "seeds", "epsilon")
        unknown = set(self.agents) - set(AGENTS)
        for right, msg in (
            (self.early or not self.decay, f"decay needs early >= 1, got {self.early}"),
            (
                all(units >= 1 for units in self.hidden),
                f"hidden has to be numbers of units, got {self.hidden}",
            ),
            (
                all(0 <= value <= 1 for value in self.epsilon),
                f"epsilon has to be probabilities, got {self.epsilon}",
            ),
            (not unknown, f"unknown agents {sorted(unknown)}; there are {', '.join(AGENTS)}"),
        ):
            if not right:
                raise ConfigError(msg)

    def training_steps(self, mushroom: int) -> range:
        """Return the numbers of the training steps after a mushroom, both counted from 0."""
        before = min(mushroom, self.early) * self.minibatches
        before += max(mushroom - self.early, 0) * self.late_minibatches
        count = self.minibatches if mushroom < self.early else self.late_minibatches
        return range(before, before + count)

    def step_size(self, kind: str, mushroom: int) -> float:
        """Return the step size of the training steps after a mushroom, counted from 0."""
        lr = self.lr if kind == "bbb" else self.greedy_lr
        return lr * min(1.0, self.early / (mushroom + 1)) ** self.decay

    def identity(self, kind: str) -> dict[str, Any]:
        """Return what decides how a run of this kind of agent ends."""
        ignored = NO_IDENTITY | (ONLY_GREEDY if kind == "bbb" else ONLY_BBB)
        every = dataclasses.asdict(self).items()
        return {"kind": kind} | {key: value for key, value in every if key not in ignored}

    def players(self, kind: str) -> list[dict[str, Any]]:
        """Return name, seed and epsilon of each network of a run of this kind of agent."""
        if kind == "bbb":
            return [{"agent": "bbb", "seed": seed} for seed in self.seeds]
        return [
            {"agent": f"greedy {100 * epsilon:g}%", "seed": seed, "epsilon": epsilon}
            for epsilon in self.epsilon
            for seed in self.seeds
        ]
