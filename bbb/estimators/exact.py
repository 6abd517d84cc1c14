"""The expectation itself, by summing over every value."""

import math

import torch
from torch import Tensor
from torch.distributions import Distribution

from bbb.errors import UnsupportedDistributionError
from bbb.estimators.base import Cost, Estimator, evaluate, innermost

MAX_STATES = 65_536


class Exact(Estimator):
    """The sum over the whole support: no noise at all, where there are few enough values.

    Args:
        max_states: The most values of one batch element that are summed over.

    References:
        Also called marginalisation, or Rao-Blackwellisation over all of ``z``.
    """

    def __init__(self, max_states: int = MAX_STATES) -> None:
        super().__init__()
        self.max_states = max_states

    def evals(self, q: Distribution) -> int:
        """Return the number of values."""
        return num_states(q, self.max_states)

    def forward(self, f: Cost, q: Distribution, ctx: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Sum; arguments, result and errors as of `expectation`."""
        states = enumerate_states(q, self.max_states)
        return (q.log_prob(states).exp() * evaluate(f, states, q)).sum(0)

    def extra_repr(self) -> str:
        """Show the limit."""
        return f"max_states={self.max_states}"


def values_of(q: Distribution) -> Tensor | None:
    """List the values of one axis of ``q``, the first axis of the result; None if torch cannot."""
    if not q.has_enumerate_support:
        return None
    try:
        values: Tensor = q.enumerate_support(expand=False)
    except NotImplementedError:  # a Binomial of several counts
        return None
    return values


def num_states(q: Distribution, max_states: int = MAX_STATES) -> int:
    """Count the values of one batch element of ``q``.

    Args:
        q: A distribution with finite support.
        max_states: The most that are allowed.

    Returns:
        Their number.

    Raises:
        UnsupportedDistributionError: If there are more, or infinitely many.
    """
    base, copies = _parts(q)
    values = values_of(base)
    if values is None:
        remedy = "Pathwise()" if q.has_rsample else "RLOO()"
        msg = (
            "Exact needs one finite support of the whole batch, which this "
            f"{type(base).__name__} lacks; use {remedy}"
        )
        raise UnsupportedDistributionError(msg)
    each = len(values)
    if copies * math.log(each) > math.log(max_states) + 1e-9:
        msg = (
            f"Exact sums over at most {max_states} values, got {each}^{copies}; use RLOO() "
            "(unbiased) or ReinMax() (biased, needs the cost's slope)"
        )
        raise UnsupportedDistributionError(msg)
    return int(each**copies)


def enumerate_states(q: Distribution, max_states: int = MAX_STATES) -> Tensor:
    """List every value of ``q``, in the order of ``itertools.product``.

    Args:
        q: A distribution with finite support; of Independent ones, the joint values.
        max_states: The most values that are allowed.

    Returns:
        The values, (states, *batch, *event).

    Raises:
        UnsupportedDistributionError: If there are more, or infinitely many.
    """  # noqa: DOC502 (by num_states)
    count = num_states(q, max_states)
    base, copies = _parts(q)
    values = base.enumerate_support(expand=False)
    values = values.reshape(values.shape[0], *base.event_shape)
    places = torch.arange(count, device=values.device)
    base_of = values.shape[0]
    digits = [places // base_of ** (copies - 1 - i) % base_of for i in range(copies)]
    joint = values[torch.stack(digits, -1)]
    joint = joint.reshape(count, *(1 for _ in q.batch_shape), *q.event_shape)
    return joint.expand(count, *q.batch_shape, *q.event_shape)


def _parts(q: Distribution) -> tuple[Distribution, int]:
    """Return the innermost distribution and how many copies of it make one event."""
    base = innermost(q)
    return base, math.prod(q.event_shape) // math.prod(base.event_shape)
