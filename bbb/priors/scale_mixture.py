"""The scale mixture of two Gaussians (Blundell et al. 2015, equation 7)."""

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from bbb import _numerics
from bbb.errors import ConfigError
from bbb.priors.base import Density


class _Quadratics(NamedTuple):
    """Two log densities ``slope * w^2 + offset``, weighted."""

    slope1: float
    offset1: float
    slope2: float
    offset2: float


class _Context(_numerics.Context, Protocol):
    """What the function below uses of autograd's context."""

    quadratics: _Quadratics


class _MixtureLogProb(torch.autograd.Function):
    """``logaddexp`` of two quadratics in w^2, keeping only w for backward.

    No density is ever exponentiated, so the gradient is right however far out w lies; and both
    passes are short (``MixtureSameFamily`` costs about 20 times as much).
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(weight: Tensor, q: _Quadratics) -> Tensor:
        """Compute the value."""
        square = weight.square()
        # logaddexp(first, second) = second + softplus(first - second), which is faster.
        ahead = F.softplus((square * (q.slope1 - q.slope2)).add_(q.offset1 - q.offset2))
        # The last step not in place: torch.compile would lose the gradient.
        return ahead.add_(square, alpha=q.slope2) + q.offset2

    @staticmethod
    def setup_context(
        ctx: _Context,
        inputs: tuple[Tensor, _Quadratics],
        output: Tensor,  # noqa: ARG004
    ) -> None:
        """Keep what backward needs."""
        weight, ctx.quadratics = inputs
        ctx.save_for_backward(weight)

    @staticmethod
    def backward(ctx: _Context, grad: Tensor) -> tuple[Tensor, None]:
        """Compute the gradients."""
        (weight,) = ctx.saved_tensors
        q = ctx.quadratics
        # Responsibility of the first component, then d/dw = 2 w (r slope1 + (1 - r) slope2).
        ahead = weight.square().mul_(q.slope1 - q.slope2).add_(q.offset1 - q.offset2)
        slope = (torch.sigmoid(ahead) * (2 * (q.slope1 - q.slope2))).add_(2 * q.slope2)
        return grad * (slope * weight), None


@dataclass(frozen=True)
class ScaleMixture(Density):
    r"""Mixture of a wide and a narrow Gaussian, both centred on 0.

    .. math:: p(w) = \pi N(w | 0, \sigma_1^2) + (1 - \pi) N(w | 0, \sigma_2^2)

    Its KL divergence has no closed form; it is estimated at the forward's own draw.

    Args:
        pi: Weight of the first component, in (0, 1).
        sigma1: Standard deviation of the first component, > 0.
        sigma2: Standard deviation of the second component, > 0; usually the smaller.

    Raises:
        ConfigError: If an argument is outside its range.

    References:
        Blundell et al. 2015, Weight Uncertainty in Neural Networks, equation 7.
    """

    pi: float = 0.5
    sigma1: float = 1.0
    sigma2: float = math.exp(-6)

    def __post_init__(self) -> None:
        if not 0 < self.pi < 1:
            msg = f"ScaleMixture needs 0 < pi < 1, got {self.pi}; use Normal for one component"
            raise ConfigError(msg)
        if not (0 < self.sigma1 < math.inf and 0 < self.sigma2 < math.inf):
            got = f"{self.sigma1} and {self.sigma2}"
            msg = f"ScaleMixture needs sigma1 > 0 and sigma2 > 0, got {got}; pass sigmas, not logs"
            raise ConfigError(msg)

    def log_prob(self, weight: Tensor) -> Tensor:
        """Log density of each weight; see `Density.log_prob`."""
        quadratics = _Quadratics(
            -0.5 / self.sigma1**2,
            math.log(self.pi / self.sigma1) - _numerics.LOG_SQRT_2PI,
            -0.5 / self.sigma2**2,
            math.log1p(-self.pi) - math.log(self.sigma2) - _numerics.LOG_SQRT_2PI,
        )
        args = _numerics.at_least_float32(weight), quadratics
        return cast("Tensor", _MixtureLogProb.apply(*args))  # type: ignore[no-untyped-call]

    def sample(self, shape: torch.Size, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw weights; see `Density.sample`."""
        first = torch.rand(shape, generator=generator) < self.pi
        return torch.where(first, self.sigma1, self.sigma2) * torch.randn(
            shape, generator=generator
        )
