"""The measure-valued gradient of Gaussian variables: differences of costs, no slope."""

import math

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from bbb._numerics import standard_normal
from bbb.distributions import exponential_noise, uniform_noise
from bbb.errors import UnsupportedDistributionError
from bbb.estimators.base import (
    Cost,
    Estimator,
    average,
    evaluate,
    innermost,
    over_event,
    sum_event,
    zero,
)


class MeasureValued(Estimator):
    r"""The derivative of a Gaussian as the difference of two distributions, one axis at a time.

    In the mean, :math:`(f(\mu + \sigma W) - f(\mu - \sigma W)) / (\sigma \sqrt{2 \pi})` with
    :math:`W` Weibull of shape 2 and scale :math:`\sqrt 2`, the same in both terms. In the standard
    deviation, :math:`(f(\mu + \sigma M) - f(\mu + \sigma M U)) / \sigma` with :math:`M` two-sided
    Maxwell and :math:`U` uniform: :math:`M U` is standard normal.

    It costs 3 evaluations for each axis of the event, and one more: an estimator for few
    dimensions. They are made in one call of the cost.

    Args:
        num_samples: Draws for each batch element.
        generator: Source of randomness; default torch's own.

    References:
        Mohamed et al. 2020, Monte Carlo Gradient Estimation in Machine Learning, section 6.
    """

    def evals(self, q: Distribution) -> int:
        """Return how often one call evaluates the cost, for each batch element of ``q``."""
        return self.num_samples * (3 * math.prod(q.event_shape) + 1)

    def forward(self, f: Cost, q: Distribution, ctx: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Estimate; arguments, result and errors as of `expectation`."""
        loc, scale = _parameters(q)
        size = math.prod(q.event_shape)
        shape = torch.Size((self.num_samples, *loc.shape))
        z, wide, step = self._points(shape, loc.detach(), scale.detach())
        moved = torch.stack([wide, loc.detach() + step, loc.detach() - step])
        points = _one_axis_at_a_time(z, moved, len(q.event_shape))  # (3, size, *z.shape)
        every = torch.cat([z.unsqueeze(0), points.flatten(0, 1)]).flatten(0, 1)
        costs = evaluate(f, every, q)
        value, moved_costs = costs[: self.num_samples], costs[self.num_samples :].detach()
        found = moved_costs.reshape(3, size, *value.shape).movedim(1, -1).reshape(3, *shape)
        in_loc = (found[1] - found[2]) / (scale.detach() * math.sqrt(2 * math.pi))
        in_scale = (found[0] - over_event(value.detach(), z)) / scale.detach()
        surrogate = sum_event(in_loc * loc + in_scale * scale, len(q.event_shape))
        return average(value + zero(surrogate))

    def _points(self, shape: torch.Size, loc: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        """Draw z, its Maxwell partner and the Weibull step, each (samples, *batch, *event)."""
        normals = standard_normal(torch.Size((3, *shape)), loc, self.generator)
        # The first normal gives the sign, and all three the length, of which it is independent.
        maxwell = torch.copysign(normals.square().sum(0).sqrt(), normals[0])
        uniform = uniform_noise(shape, loc, self.generator)
        weibull = (2 * exponential_noise(shape, loc, self.generator)).sqrt()
        return loc + scale * maxwell * uniform, loc + scale * maxwell, scale * weibull


def _parameters(q: Distribution) -> tuple[Tensor, Tensor]:
    base = innermost(q)
    if not isinstance(base, Normal):
        remedy = "Pathwise()" if q.has_rsample else "RLOO()"
        msg = (
            "MeasureValued needs a Normal distribution (or Independent of them), got "
            f"{type(base).__name__}; use {remedy}"
        )
        raise UnsupportedDistributionError(msg)
    return base.loc, base.scale


def _one_axis_at_a_time(z: Tensor, moved: Tensor, event_dims: int) -> Tensor:
    """Put each axis of the moved points into ``z`` alone: (3, axes, *z.shape)."""
    if not event_dims:
        return moved.unsqueeze(1)
    event = z.shape[-event_dims:]
    size = event.numel()
    mask = torch.eye(size, dtype=torch.bool, device=z.device)
    mask = mask.reshape(size, *(1 for _ in z.shape[:-event_dims]), *event)
    return torch.where(mask, moved.unsqueeze(1), z)
