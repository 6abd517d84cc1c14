"""KL divergence and log density of the Gaussian posterior."""

import math
from typing import NamedTuple, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from bbb._gaussian.blocks import in_blocks, total
from bbb._numerics import LOG_SQRT_2PI, RHO_MIN, Context, at_least_float32, log_softplus

SIGMA_MIN = math.exp(RHO_MIN)


class Gaussian(NamedTuple):
    """The density ``N(loc, scale^2)`` that a draw is compared with; flat where scale is inf."""

    loc: float | Tensor
    scale: float


FLAT = Gaussian(0.0, math.inf)


def deviation(weight: Tensor, loc: float | Tensor) -> Tensor:
    """``weight - loc`` in float32 or better, any shape; no copy where ``loc`` is the number 0."""
    weight = at_least_float32(weight)
    return weight if isinstance(loc, float | int) and loc == 0 else weight - loc


def sum_of_squares(tensor: Tensor) -> Tensor:
    """Sum of the squares of all numbers, shape (), in one pass."""
    flat = tensor.reshape(-1)
    return torch.dot(flat, flat)


def copies_of(mu: Tensor, rho: Tensor) -> int:
    """Weights that each sigma serves."""
    return mu.numel() // max(rho.numel(), 1)


def ascent_of(rho: Tensor) -> Tensor:
    """``d sigma / d rho``, the logistic function, never quite 0."""
    return rho.clamp(min=RHO_MIN).sigmoid()


def pull_of(rho: Tensor, factor: float) -> Tensor:
    """Second result of `divergence` from a prior of precision ``factor``, differentiable."""
    sigma = F.softplus(rho)
    return (sigma * factor - 1.0 / sigma.clamp(min=SIGMA_MIN)) * ascent_of(rho)


def divergence(
    rho: Tensor,
    sigma: Tensor,
    ascent: Tensor,
    scale: float,
    *,
    with_value: bool = True,
    out: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """KL divergence of ``N(0, sigma^2)`` from ``N(0, scale^2)``, and its derivative.

    It is the sum of ``(ratio^2 - 1) / 2 - log ratio`` with ``ratio = sigma / scale``. Both parts
    vanish where ratio is 1, so that q = p gives 0 and not the difference of two large numbers. For
    an infinite scale it is the sum of ``-log sigma``.

    Args:
        rho: Softplus-inverse standard deviations.
        sigma: Standard deviations.
        ascent: Their derivative; used up.
        scale: That of the prior.
        with_value: Whether the first result is wanted.
        out: Where the derivative goes.

    Returns:
        Nats, shape (), 0 where not wanted; and the derivative with respect to rho, of rho's shape.
    """
    sigma = sigma.clamp(min=SIGMA_MIN)
    inverse = ascent.div_(sigma)
    # Where sigma stays, its logarithm falls on with rho.
    value = (RHO_MIN - rho).relu_().sum() if with_value else rho.new_zeros(())
    if scale == math.inf:
        value = value - sigma.log_().sum() if with_value else value
        return value, torch.neg(inverse, out=out)
    ratio = sigma.mul_(1.0 / scale)
    excess = torch.addcmul(ratio.new_full((), -1.0), ratio, ratio)
    if with_value:
        value = value + excess.sum() * 0.5 - ratio.log_().sum()
    return value, torch.mul(inverse, excess, out=out)


class _ScaleContext(Context, Protocol):
    """What `_GaussianKL` uses of autograd's context."""

    scale: float


class _GaussianKL(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(delta: Tensor, rho: Tensor, scale: float) -> Tensor:
        """Compute the value."""
        blocks = in_blocks(delta, rho)
        if blocks is not None:
            return total([_kl(d, r, scale) for d, r in blocks])
        return _kl(delta, rho, scale)

    @staticmethod
    def setup_context(
        ctx: _ScaleContext,
        inputs: tuple[Tensor, Tensor, float],
        output: Tensor,  # noqa: ARG004
    ) -> None:
        """Keep what backward needs."""
        delta, rho, ctx.scale = inputs
        ctx.save_for_backward(delta, rho)

    @staticmethod
    def backward(ctx: _ScaleContext, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        """Compute the gradients."""
        delta, rho = ctx.saved_tensors
        if torch.is_grad_enabled():
            pull = pull_of(rho, ctx.scale**-2)
        else:
            _, pull = divergence(rho, F.softplus(rho), ascent_of(rho), ctx.scale, with_value=False)
        grad_rho = pull * (grad * copies_of(delta, rho))
        return delta * (grad * ctx.scale**-2), grad_rho, None


def _kl(delta: Tensor, rho: Tensor, scale: float) -> Tensor:
    value, _ = divergence(rho, F.softplus(rho), ascent_of(rho), scale)
    return value * copies_of(delta, rho) + sum_of_squares(delta) * (0.5 * scale**-2)


def gaussian_kl(delta: Tensor, rho: Tensor, scale: float) -> Tensor:
    r"""KL divergence of ``N(delta, softplus(rho)^2)`` from ``N(0, scale^2)``, summed.

    .. math:: \sum_i \log\frac{s}{\sigma_i} + \frac{\sigma_i^2 + \delta_i^2}{2 s^2} - \frac12

    Args:
        delta: Posterior mean minus prior mean, any shape; half precision is computed in float32.
        rho: Softplus-inverse standard deviations, of the same shape, or with axes of length 1
            where one sigma serves several weights; each weight counts.
        scale: Standard deviation of the prior, > 0.

    Returns:
        Nats, shape (), float32 or better.
    """
    args = at_least_float32(delta), at_least_float32(rho), float(scale)
    return cast("Tensor", _GaussianKL.apply(*args))  # type: ignore[no-untyped-call]


def gaussian_log_prob(rho: Tensor, eps: Tensor) -> Tensor:
    """Log density of ``N(mu, softplus(rho)^2)`` at its own draw ``mu + softplus(rho) * eps``.

    ``(w - mu) / sigma`` is ``eps`` exactly, so the total derivative (through the parameters and
    through the draw) is that of ``-log sigma`` alone, and nothing is divided by a small sigma.

    Args:
        rho: Softplus-inverse standard deviations; broadcasts to the shape of ``eps``.
        eps: The noise of the draw.

    Returns:
        Nats per weight, the shape of ``eps``, float32 or better.
    """
    eps = at_least_float32(eps)
    base = -log_softplus(at_least_float32(rho)) - LOG_SQRT_2PI
    return torch.addcmul(base, eps, eps, value=-0.5)
