"""Training of what an estimator itself learns: baselines, control variates, temperatures."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from bbb.distributions import drawn_by
from bbb.errors import ConfigError
from bbb.estimators.base import Cost, Estimator
from bbb.estimators.replicas import Problem

E = TypeVar("E", bound=Estimator)


def fit(
    estimator: E,
    f: Cost,
    q: Distribution,
    steps: int = 400,
    lr: float = 0.01,
    *,
    copies: int = 64,
    ctx: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> E:
    """Train an estimator on a fixed problem, in place.

    Its parameters follow Adam on the loss that it has for them; averages and schedules move because
    it is called. Parameters of ``q`` and ``f`` stay, and so do their ``.grad``.

    Args:
        estimator: The estimator; one that learns nothing is left alone.
        f: The cost, (samples, copies, *batch, *event) -> (samples, copies, *batch).
        q: Distribution of ``z``, which can be built again from its parameters.
        steps: Calls of the estimator.
        lr: Of Adam.
        copies: Copies of ``q`` in one call, whose losses are averaged.
        ctx: As of `expectation`.
        generator: Source of randomness, on the device of ``q``; default the estimator's own.

    Returns:
        The same estimator, in the mode in which it came.

    Raises:
        ConfigError: If ``steps`` or ``copies`` is below 1, or ``lr`` not positive.
        UnsupportedDistributionError: If ``q`` cannot be built again, or does not fit the estimator.

    Example:
        >>> import torch, bbb.estimators as G
        >>> q = torch.distributions.Bernoulli(logits=torch.tensor(0.3))
        >>> rebar = G.fit(G.REBAR(learn=True), lambda z: (z - 0.45) ** 2, q, steps=10)
    """  # noqa: DOC502 (by Problem and the estimator)
    if not (steps >= 1 and copies >= 1 and lr > 0):
        msg = f"fit needs steps >= 1, copies >= 1 and lr > 0, got {steps}, {copies} and {lr}"
        raise ConfigError(msg)
    parameters = [p for p in estimator.parameters() if p.requires_grad]
    if not parameters and not list(estimator.buffers()):
        return estimator
    problem = Problem(f, q, ctx)
    optimizer = torch.optim.Adam(parameters, lr=lr) if parameters else None
    was_training, own = estimator.training, estimator.generator
    # Also an estimator that ignores its generator draws by the one that is given here.
    estimator.generator = None if generator is not None else own
    estimator.train()
    try:
        with drawn_by(generator):
            for _ in range(steps):
                value, _leaves = problem.value(estimator, copies)
                if optimizer is not None:
                    _step(optimizer, value.mean(), parameters)
    finally:
        estimator.train(was_training)
        estimator.generator = own
    return estimator


def _step(optimizer: torch.optim.Optimizer, loss: Tensor, parameters: Sequence[Tensor]) -> None:
    # Not backward: it would reach into the cost's parameters as well.
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, found, strict=True):
        parameter.grad = gradient
    optimizer.step()
    optimizer.zero_grad()
