"""Which weights a forward uses, and where its draws are recorded.

Without a context a Bayesian layer draws in ``train()`` and uses the mean in ``eval()``. The
contexts of `bbb.predict` and `bbb.objective` override that for the layers of one model, through
the functions here. They are context variables: a thread or an asyncio task sees only the contexts
that it opened itself, and no module is touched.
"""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Policy:
    """How a layer gets its weights.

    Attributes:
        mean: Use the posterior mean.
        generator: Source of the noise; None is torch's default.
        eps: The noise itself, by weight name, instead of a new draw.
        many: Many samples are drawn together for the same input.
    """

    mean: bool = False
    generator: torch.Generator | None = None
    eps: Mapping[str, Tensor] | None = None
    many: bool = False


MEAN = Policy(mean=True)
SAMPLE = Policy()


class Draw(NamedTuple):
    """What a Monte Carlo KL, or one that came with a draw, needs of one draw of a weight tensor.

    Attributes:
        weight: ``mu + softplus(rho) * eps``, in the graph; None where ``part`` is all.
        eps: The noise; None where ``part`` stands for it.
        part: What `bbb.priors.Density.draw` gave beside the weight, in the graph.
    """

    weight: Tensor | None
    eps: Tensor | None = None
    part: Tensor | None = None


class Draws:
    """The draws of the forwards inside `bbb.record_draws`, for their KL divergence.

    Kept are those of layers whose prior has no closed form, and those whose closed form came with
    the draw at less cost. ``len()`` counts them. Hand the object to `bbb.kl_divergence` or to a
    `bbb.ELBO`.
    """

    def __init__(self, layers: frozenset[nn.Module] | None = None) -> None:
        """Record draws of ``layers`` only, or of every layer where it is None."""
        self._layers = layers
        self._draws: dict[tuple[nn.Module, str], list[Draw]] = {}

    def __len__(self) -> int:
        return sum(len(draws) for draws in self._draws.values())

    def wants(self, layer: nn.Module) -> bool:
        """Whether draws of ``layer`` are recorded."""
        return self._layers is None or layer in self._layers

    def add(self, layer: nn.Module, name: str, draw: Draw) -> None:
        """Keep a draw of the weight ``name`` of ``layer``."""
        self._draws.setdefault((layer, name), []).append(draw)

    def of(self, layer: nn.Module, name: str) -> list[Draw]:
        """Return the draws of the weight ``name`` of ``layer``, one for each forward."""
        return self._draws.get((layer, name), [])


class _OpenContexts:
    """Number of contexts open in the whole process.

    While it is 0 no context variable is read: torch.compile can guard on this number, but cannot
    trace a context variable.
    """

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def add(self, number: int) -> None:
        """Count contexts that open (1) or close (-1)."""
        with self._lock:
            self.count += number


_open = _OpenContexts()
_policies: ContextVar[Mapping[nn.Module, Policy]] = ContextVar("bbb_policies")
_recorders: ContextVar[tuple[Draws, ...]] = ContextVar("bbb_recorders")


def policy_of(layer: nn.Module) -> Policy:
    """Return how ``layer`` is to get its weights here and now."""
    if _open.count:
        policy = _policies.get({}).get(layer)
        if policy is not None:
            return policy
    return SAMPLE if layer.training else MEAN


def recorders(layer: nn.Module) -> list[Draws]:
    """Return the records of draws of ``layer`` that are open here and now."""
    return [draws for draws in _recorders.get(()) if draws.wants(layer)] if _open.count else []


@contextlib.contextmanager
def overriding(policies: Mapping[nn.Module, Policy]) -> Iterator[None]:
    """Give layers a policy inside the block; the innermost block wins."""
    token = _policies.set({**_policies.get({}), **policies})
    _open.add(1)
    try:
        yield
    finally:
        _open.add(-1)
        _policies.reset(token)


@contextlib.contextmanager
def recording(draws: Draws) -> Iterator[Draws]:
    """Add the draws of the forwards inside the block to ``draws``."""
    token = _recorders.set((*_recorders.get(()), draws))
    _open.add(1)
    try:
        yield draws
    finally:
        _open.add(-1)
        _recorders.reset(token)
