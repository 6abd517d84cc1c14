"""The scale mixture of two Gaussians (Blundell et al. 2015, equation 7)."""

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from bbb import _numerics
from bbb._gaussian.blocks import in_blocks, total
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


def _log_prob(weight: Tensor, q: _Quadratics) -> Tensor:
    """``logaddexp`` of two quadratics in w^2; no density is ever exponentiated."""
    square = weight.square()
    # logaddexp(first, second) = second + softplus(first - second), which is faster.
    ahead = F.softplus((square * (q.slope1 - q.slope2)).add_(q.offset1 - q.offset2))
    # The last step not in place: torch.compile would lose the gradient.
    return ahead.add_(square, alpha=q.slope2) + q.offset2


def _score(weight: Tensor, q: _Quadratics) -> Tensor:
    """``d log p / dw``, right however far out w lies."""
    # Responsibility r of the first component, then 2 w (r slope1 + (1 - r) slope2).
    ahead = weight.square().mul_(q.slope1 - q.slope2).add_(q.offset1 - q.offset2)
    slope = (torch.sigmoid(ahead) * (2 * (q.slope1 - q.slope2))).add_(2 * q.slope2)
    return slope * weight


class _MixtureLogProb(torch.autograd.Function):
    """`_log_prob`, keeping only w for backward (``MixtureSameFamily`` costs 20 times as much)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(weight: Tensor, q: _Quadratics) -> Tensor:
        """Compute the value."""
        return _log_prob(weight, q)

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
        """Compute the gradient."""
        (weight,) = ctx.saved_tensors
        return grad * _score(weight, ctx.quadratics), None


class _MixtureTotal(_MixtureLogProb):
    """Its sum, block by block."""

    @staticmethod
    def forward(weight: Tensor, q: _Quadratics) -> Tensor:
        """Compute the value."""
        blocks = in_blocks(weight) or [(weight,)]
        return total([_log_prob(w, q).sum() for (w,) in blocks])

    @staticmethod
    def backward(ctx: _Context, grad: Tensor) -> tuple[Tensor, None]:
        """Compute the gradient."""
        (weight,) = ctx.saved_tensors
        result = torch.empty_like(weight)
        blocks = None if torch.is_grad_enabled() else in_blocks(weight, result)
        if blocks is None:
            return grad * _score(weight, ctx.quadratics), None
        for w, out in blocks:
            torch.mul(_score(w, ctx.quadratics), grad, out=out)
        return result, None


@dataclass(frozen=True)
class ScaleMixture(Density):
    r"""Mixture of a wide and a narrow Gaussian, both centred on 0.

    .. math:: p(w) = \pi N(w | 0, \sigma_1^2) + (1 - \pi) N(w | 0, \sigma_2^2)

    Its KL divergence has no closed form; it is estimated at the forward's own draw.

    Args:
        pi: Weight of the first component, in (0, 1).
        sigma1: Standard deviation of the first component, > 0.
        sigma2: Standard deviation of the second component, > 0; usually the smaller. It holds the
            weights that begin within some 3 `sigma2` of 0, mean and noise, and hardly others.

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
        return self._apply(_MixtureLogProb, weight)

    def total_log_prob(self, weight: Tensor) -> Tensor:
        """Log density of all weights together; see `Density.total_log_prob`."""
        return self._apply(_MixtureTotal, weight)

    def _apply(self, function: type[torch.autograd.Function], weight: Tensor) -> Tensor:
        quadratics = _Quadratics(
            -0.5 / self.sigma1**2,
            math.log(self.pi / self.sigma1) - _numerics.LOG_SQRT_2PI,
            -0.5 / self.sigma2**2,
            math.log1p(-self.pi) - math.log(self.sigma2) - _numerics.LOG_SQRT_2PI,
        )
        args = _numerics.at_least_float32(weight), quadratics
        return cast("Tensor", function.apply(*args))  # type: ignore[no-untyped-call]

    def sample(self, shape: torch.Size, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw weights; see `Density.sample`."""
        first = torch.rand(shape, generator=generator) < self.pi
        return torch.where(first, self.sigma1, self.sigma2) * torch.randn(
            shape, generator=generator
        )
