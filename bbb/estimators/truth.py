"""The exact gradient: by summing, by quadrature, or as good as sampling can give it."""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import (
    Distribution,
    MixtureSameFamily,
    Transform,
    VonMises,
    biject_to,
    constraints,
)

from bbb.distributions import drawn_by
from bbb.errors import ShapeError, UnsupportedDistributionError
from bbb.estimators.base import Estimator, evaluate, innermost, sum_event
from bbb.estimators.exact import Exact
from bbb.estimators.path import Pathwise
from bbb.estimators.rebuild import replicate
from bbb.estimators.replicas import Problem, measure, slopes_in
from bbb.estimators.score import RLOO, ScoreFunction

# Nodes on each axis, by the number of axes.
NODES = {1: 4097, 2: 257}
# The nodes reach this far in the doubly exponential variable: sinh(pi/2 sinh 3.6) = 2e12 spreads.
REACH = 3.6
# Nodes of less mass than exp(-70) = 4e-31 do not count.
LEAST = -70.0
EXTRA = 4


@dataclass(frozen=True)
class Truth:
    """The exact gradient.

    Attributes:
        gradient: (coordinates,).
        error: How far off it may be, (coordinates,): the standard error of a sampled one, the last
            refinement of a quadrature; never less than rounding.
        source: How it was found, for people.
    """

    gradient: Tensor
    error: Tensor
    source: str


Given = Tensor | Mapping[str, Tensor] | None


def find_truth(
    problem: Problem, given: Given, replicas: int, generator: torch.Generator | None = None
) -> Truth:
    """Find the exact gradient.

    By enumeration where the support is finite and small; by quadrature where the axes of an event
    are at most 2, whatever the law; otherwise from ``EXTRA`` times the replicas of an unbiased
    estimator.

    Args:
        problem: The problem.
        given: The gradient that the caller knows, by parameter, or of the only one.
        replicas: How many estimates it will be compared with.
        generator: Source of randomness; default the one in force.

    Returns:
        The gradient.

    Raises:
        ShapeError: If ``given`` does not fit the parameters.
    """  # noqa: DOC502 (by _flatten)
    with drawn_by(generator):
        rounding = _rounding(problem)
        if given is not None:
            return Truth(_flatten(problem, given), rounding, "given by the caller")
        with suppress(UnsupportedDistributionError):
            states = Exact().evals(problem.q)
            return Truth(problem.gradients(Exact(), 1)[0], rounding, f"sum over {states} states")
        if (nodes := _nodes_for(problem.q)) is not None:
            fine, coarse = _quadrature(problem, nodes)
            if bool(fine.isfinite().all()):
                error = (fine - coarse).abs() + rounding
                return Truth(fine, error, f"quadrature, {nodes} nodes an axis")
        return _sampled(problem, replicas)


def _flatten(problem: Problem, given: Tensor | Mapping[str, Tensor]) -> Tensor:
    names = list(problem.shapes)
    parts = {names[0]: given} if isinstance(given, Tensor) and len(names) == 1 else given
    shapes = {name: tuple(shape) for name, shape in problem.shapes.items()}
    found = (
        {name: tuple(part.shape) for name, part in parts.items()}
        if isinstance(parts, Mapping)
        else f"one tensor {tuple(parts.shape)}"
    )
    if found != shapes:
        msg = f"exact has to be a gradient for each parameter of q, {shapes}, got {found}"
        raise ShapeError(msg)
    assert isinstance(parts, Mapping)  # noqa: S101 (told apart above; for the type checker)
    return torch.cat([parts[name].detach().cpu().double().flatten() for name in names])


def _rounding(problem: Problem) -> Tensor:
    """How far rounding alone may move a gradient, (coordinates,)."""
    # Costs cancel against baselines and each other: what is rounded is cost times score.
    for estimator in (ScoreFunction(), Pathwise()):
        with suppress(UnsupportedDistributionError):
            size = problem.gradients(estimator, 64).square().mean(0).sqrt()
            return size * (8 * torch.finfo(problem.dtype).eps)
    return torch.zeros(problem.size, dtype=torch.float64)


def _sampled(problem: Problem, replicas: int) -> Truth:
    """Estimate by the score function, which any cost will do for, unless the support moves."""
    estimator: Estimator = RLOO(8)
    try:
        problem.gradients(estimator, 1)
    except UnsupportedDistributionError:
        estimator = Pathwise(8)
    found = measure(problem, estimator, EXTRA * replicas)
    source = f"{type(estimator).__name__}, {EXTRA * replicas:,} estimates of 8 draws"
    return Truth(found.mean, found.standard_error, source)


def _support(q: Distribution) -> Any:  # noqa: ANN401 (torch's, untyped)
    """The set of the values of one axis of ``q``."""
    base = innermost(q)
    if isinstance(base, VonMises):  # Torch says the real line, where the density is periodic.
        return constraints.interval(-math.pi, math.pi)  # type: ignore[no-untyped-call]
    support: Any = base.support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    if isinstance(base, MixtureSameFamily):
        return _support(base.component_distribution)
    return support


def _nodes_for(q: Distribution) -> int | None:
    """Nodes on each axis; None where there is no quadrature."""
    support = _support(q)
    if support.is_discrete or support.event_dim:
        return None
    return NODES.get(q.event_shape.numel())


def _quadrature(problem: Problem, nodes: int) -> tuple[Tensor, Tensor]:
    """Integrate by the doubly exponential rule, with all nodes and with every second.

    Each axis is mapped from the real line onto the support. Where that moves with a parameter, so
    do the nodes, and the cost is differentiated at them; elsewhere only the density is.
    """
    q, leaves = replicate(problem.q, 1, torch.float64)
    support = biject_to(_support(q))
    centre, spread = _place(q, support)
    axes = q.event_shape.numel()
    index = torch.cartesian_prod(*[torch.arange(nodes, device=centre.device)] * axes)
    index = index.reshape(-1, axes)
    reach = torch.linspace(-REACH, REACH, nodes, dtype=torch.float64, device=centre.device)
    inner = math.pi / 2 * reach.sinh()
    width = inner.cosh() * reach.cosh() * (math.pi * REACH / (nodes - 1))
    shape = (-1, *(1 for _ in q.batch_shape))
    x = centre + spread * inner.sinh()[index].reshape(*shape, *q.event_shape)
    weight = width[index].prod(-1).reshape(shape)
    with torch.no_grad():
        log_mass = _log_density(q, support, x, spread) + weight.log()
        # Far out the density is 0, and whatever is multiplied with it may be infinite.
        inside = (log_mass > LEAST) & log_mass.isfinite()
    x = torch.where(inside.reshape(inside.shape + (1,) * len(q.event_shape)), x, centre)
    cost = evaluate(problem.f, support(x).to(problem.dtype), q).double()
    term = torch.where(inside, weight * cost * _log_density(q, support, x, spread).exp(), 0)
    second = (index % 2 == 0).all(-1)
    return slopes_in(leaves, term.sum()), slopes_in(leaves, term[second].sum() * 2**axes)


def _log_density(q: Distribution, support: Transform, x: Tensor, spread: Tensor) -> Tensor:
    """Log density of ``(x - centre) / spread``, of whose image on the support ``q`` is the law."""
    z = support(x)
    stretch: Tensor = support.log_abs_det_jacobian(x, z) + spread.log()  # type: ignore[no-untyped-call]
    density: Tensor = q.log_prob(z)
    return density + sum_event(stretch, len(q.event_shape))


@torch.no_grad()
def _place(q: Distribution, support: Transform) -> tuple[Tensor, Tensor]:
    """Middle and spread of the mass on the real line behind the support, (1, *batch, *event)."""
    levels = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    try:
        quantiles = [innermost(q).icdf(level) for level in levels]
    except NotImplementedError:
        with drawn_by(torch.Generator().manual_seed(0)):
            z = q.sample((1024,))
        quantiles = list(z.quantile(levels.to(z), dim=0))
    low, middle, high = (support.inv(at) for at in quantiles)
    return middle, ((high - low) / 2).clamp(min=1e-6)
