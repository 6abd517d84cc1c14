"""Which estimator to take, and why."""

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Normal, OneHotCategorical

from bbb.distributions import drawn_by
from bbb.errors import UnsupportedDistributionError
from bbb.estimators.base import Cost, Estimator, evaluate, innermost
from bbb.estimators.control import DisARM
from bbb.estimators.exact import Exact, values_of
from bbb.estimators.measure import MeasureValued
from bbb.estimators.path import Pathwise
from bbb.estimators.rebuild import replicate
from bbb.estimators.relaxed import ReinMax
from bbb.estimators.score import RLOO, moving_support

FEW_STATES = 256
FEW_AXES = 4
DRAWS = 64


@dataclass(frozen=True)
class Choice:
    """Estimators for a problem, the best first, with a reason each; ``print`` it.

    Attributes:
        problem: What was found out about ``q`` and ``f``.
        estimators: The estimators, ready to use.
        reasons: Why, one for each.
        note: What else to know.
    """

    problem: str
    estimators: tuple[Estimator, ...]
    reasons: tuple[str, ...]
    note: str = ""

    @property
    def best(self) -> Estimator:
        """The first."""
        return self.estimators[0]

    def __str__(self) -> str:
        names = (
            f"{type(estimator).__name__} ({'unbiased' if estimator.unbiased else 'biased'})"
            for estimator in self.estimators
        )
        lines = [f"{self.problem} -> {' or '.join(names)}"]
        lines += [
            f"  {type(estimator).__name__}: {reason}"
            for estimator, reason in zip(self.estimators, self.reasons, strict=True)
        ]
        return "\n".join([*lines, f"  {self.note}"] if self.note else lines)


def choose(q: Distribution, f: Cost | None = None, ctx: Tensor | None = None) -> Choice:
    """Say which estimators fit a problem; `compare` measures which of them is best.

    Args:
        q: The distribution.
        f: The cost, as of `expectation`: called once, to see whether it has a slope in ``z``.
            None counts as one that has.
        ctx: What the cost depends on beside ``z``, if anything; a learned baseline can use it.

    Returns:
        The estimators, best first, with reasons.

    Raises:
        UnsupportedDistributionError: If nothing fits: the support moves with a parameter, and
            there is no path or no slope; or the cost was the same for all draws.
        ShapeError: If ``f`` returns a wrong shape.

    Example:
        >>> import torch, bbb.estimators as G
        >>> bits = torch.distributions.Bernoulli(logits=torch.zeros(200))
        >>> q = torch.distributions.Independent(bits, 1)
        >>> print(str(G.choose(q, lambda z: z.sum(-1) ** 2)).splitlines()[0])
        discrete, 2^200 states, f differentiable -> ReinMax (biased) or RLOO (unbiased)
    """  # noqa: DOC502 (ShapeError, by evaluate)
    smooth = True if f is None else _has_slope(f, q)
    slope = "differentiable" if smooth else "without slope"
    finite = _states(q)
    if finite is not None:
        each, copies = finite
        problem = f"discrete, {each}{f'^{copies}' if copies > 1 else ''} states, f {slope}"
        pairs = _discrete(q, copies * math.log(each), smooth=smooth)
    else:
        support: Any = q.support
        kind = "discrete, states not listed" if support.is_discrete else "continuous"
        problem = f"{kind}, {'rsample' if q.has_rsample else 'no rsample'}, f {slope}"
        pairs = _infinite(q, smooth=smooth)
    note = (
        ""
        if ctx is None
        else ("with ctx, and one evaluation: ScoreFunction(baseline=NVIL(net, normalize=False))")
    )
    return Choice(problem, tuple(e for e, _ in pairs), tuple(r for _, r in pairs), note)


Pairs = list[tuple[Estimator, str]]


def _discrete(q: Distribution, log_states: float, *, smooth: bool) -> Pairs:
    if log_states <= math.log(FEW_STATES):
        return [(Exact(), "so few states are best summed over: no noise")]
    kind = innermost(q)
    rloo = (RLOO(4), "unbiased for every cost, at 4 evaluations")
    if smooth and isinstance(kind, Bernoulli | OneHotCategorical):
        return [(ReinMax(), "one evaluation, low variance, exact for quadratic costs"), rloo]
    if isinstance(kind, Bernoulli):
        return [rloo, (DisARM(), "unbiased, at 2 evaluations")]
    return [rloo]


def _infinite(q: Distribution, *, smooth: bool) -> Pairs:
    path = (Pathwise(), "one evaluation; where the cost oscillates RLOO can have less variance")
    rloo = (RLOO(4), "unbiased for every cost, at 4 evaluations")
    if _moves(q):
        if q.has_rsample and smooth:
            return [(Pathwise(), "the only one that sees the support move with a parameter")]
        msg = (
            f"no estimator fits: the support of {type(q).__name__} moves with a parameter, which "
            "only Pathwise() sees, and that needs rsample and a cost with a slope; smooth the "
            "cost, or fix the support"
        )
        raise UnsupportedDistributionError(msg)
    if q.has_rsample and smooth:
        return [path, rloo]
    if isinstance(innermost(q), Normal) and q.event_shape.numel() <= FEW_AXES:
        evals = MeasureValued().evals(q)
        return [(MeasureValued(), f"low variance without a slope, at {evals} evaluations"), rloo]
    return [rloo]


def _moves(q: Distribution) -> bool:
    """Whether the support moves with a learned parameter; all count if none needs a gradient."""
    base = innermost(q)
    given = (getattr(base, name, None) for name in base.arg_constraints)
    if not any(isinstance(value, Tensor) and value.requires_grad for value in given):
        with suppress(UnsupportedDistributionError):
            q, _ = replicate(q, 1)
    return moving_support(q)


def _states(q: Distribution) -> tuple[int, int] | None:
    """States of one axis, and how many such axes; None if they cannot be listed."""
    base = innermost(q)
    values = values_of(base)
    if values is None:
        return None
    copies = q.event_shape.numel() // max(1, base.event_shape.numel())
    return len(values), copies


def _has_slope(f: Cost, q: Distribution) -> bool:
    """Whether the cost is differentiable in ``z``, as far as a few draws can tell.

    Raises:
        UnsupportedDistributionError: If it is the same for all of them.
    """
    with drawn_by(None), torch.no_grad():
        z = q.sample((DRAWS,))
    with torch.enable_grad():
        at = z.detach().clone()
        cost = evaluate(f, at.requires_grad_() if at.is_floating_point() else at, q)
    values = cost.detach().reshape(DRAWS, -1)
    if bool((values == values[:1]).all()) and not bool((z == z[:1]).all()):
        msg = (
            f"the cost was {values[0, 0]:g} for all of {DRAWS} draws: if it is constant in z its "
            "gradient is 0, and there is nothing to estimate; if something rare changes it, use "
            "RLOO() with many draws"
        )
        raise UnsupportedDistributionError(msg)
    if not (at.requires_grad and cost.requires_grad):
        return False
    (slope,) = torch.autograd.grad(cost.sum(), at, materialize_grads=True)
    return bool((slope != 0).any())
