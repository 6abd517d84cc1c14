"""The Gaussian posterior: draws, variances and KL divergences, each in as few passes as possible.

They are ``torch.autograd.Function``s because plain autograd would keep several copies of the
weights alive and make many passes over them; they run under ``torch.compile``, ``torch.func`` and
``vmap``. All are finite, with finite gradients, for rho from -100 to +100.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from bbb._numerics import LOG_SQRT_2PI, RHO_MIN, Context, at_least_float32, log_softplus

_SIGMA_MIN = math.exp(RHO_MIN)
_BLOCK = 1 << 17  # numbers: with the temporaries they fit into a core's second-level cache


class _ScaleContext(Context, Protocol):
    """What `_GaussianKL` uses of autograd's context."""

    scale: float


def deviation(weight: Tensor, loc: float | Tensor) -> Tensor:
    """``weight - loc`` in float32 or better, any shape; no copy where ``loc`` is the number 0."""
    weight = at_least_float32(weight)
    return weight if isinstance(loc, float | int) and loc == 0 else weight - loc


class Gaussian(NamedTuple):
    """The density ``N(loc, scale^2)`` that a draw is compared with; flat where scale is inf."""

    loc: float | Tensor
    scale: float


FLAT = Gaussian(0.0, math.inf)


def _copies(rho: Tensor, mu: Tensor) -> int:
    """Weights that each sigma serves."""
    return mu.numel() // max(rho.numel(), 1)


def _spread(rho: Tensor, sigma: Tensor, scale: float) -> Tensor:
    """``ratio^2 - 1 - 2 log ratio`` with ``ratio = sigma / scale``; ``-2 log sigma`` for inf.

    One term per weight before any sum, so that q = p gives 0 and not the difference of two large
    numbers.
    """
    # Far out, where softplus underflows, log sigma is rho itself; elsewhere it is less.
    flat = scale == math.inf
    shift = 0.0 if flat else math.log(scale)
    ratio = sigma if flat else sigma * (1.0 / scale)
    highest = rho - shift
    log_ratio = torch.minimum(ratio.log(), highest)
    log_ratio = torch.maximum(log_ratio, highest.clamp(max=RHO_MIN - shift))
    if flat:
        return log_ratio.mul_(-2.0)
    return log_ratio.mul_(-2.0).sub_(1.0).add_(ratio.mul_(ratio))


def _blocks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Cut tensors of one shape into flat blocks; their temporaries then stay in a CPU's cache."""
    if tensors[0].device.type != "cpu" or torch.compiler.is_compiling():
        yield tensors
    else:
        yield from zip(
            *(torch.split(tensor.reshape(-1), _BLOCK) for tensor in tensors), strict=True
        )


def _kl(rho: Tensor, sigma: Tensor, other: Tensor, scale: float, factor: float) -> Tensor:
    """Half the sum of `_spread` and ``factor * other^2``; each sigma may serve several of these."""
    copies = _copies(rho, other)
    if copies != 1:
        spread = _spread(rho, sigma, scale).sum() * copies
        return (spread + other.square().sum() * factor) * 0.5
    parts = [
        _spread(r, s, scale).add_(o.square(), alpha=factor).sum() * 0.5
        for r, s, o in _blocks(rho, sigma, other)
    ]
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum()


def _kl_slope(sigma: Tensor, factor: float) -> Tensor:
    """``factor * sigma - 1 / sigma``, the derivative of half of `_spread`, finite for sigma 0."""
    inverse = sigma.clamp(min=_SIGMA_MIN).reciprocal_()
    if torch.is_grad_enabled():
        return sigma * factor - inverse
    return inverse.neg_().add_(sigma, alpha=factor)


def _grad_rho(
    rho: Tensor,
    sigma: Tensor,
    eps: Tensor | None,
    grad: Tensor | None,
    grad_kl: Tensor | None,
    *,
    factor: float,
) -> Tensor | None:
    """Gradient of a draw or a variance and of the KL divergence; may be differentiated again."""
    grad_sigma: Tensor | None = None
    if grad is not None and eps is None:
        grad_sigma = grad * sigma * 2.0
    elif grad is not None and eps is not None:
        grad_sigma = (grad * eps).sum_to_size(rho.shape)
    if grad_kl is not None:
        grad_sigma = _plus(grad_sigma, _kl_slope(sigma, factor), grad_kl)
    return None if grad_sigma is None else grad_sigma * rho.clamp(min=RHO_MIN).sigmoid()


def _grad_rho_in_place(
    rho: Tensor,
    sigma: Tensor,
    along: tuple[Tensor, float],
    grad: Tensor,
    grad_kl: Tensor,
    *,
    factor: float,
) -> Tensor:
    """The same without a graph: on a CPU the page faults of temporaries are what costs."""
    result = torch.empty(rho.shape, dtype=rho.dtype, device=rho.device)
    direction, times = along
    for r, s, d, g, out in _blocks(rho, sigma, direction, grad, result):
        total = _kl_slope(s, factor).mul_(grad_kl).addcmul_(d, g, value=times)
        torch.mul(total, r.clamp(min=RHO_MIN).sigmoid_(), out=out)
    return result


def _plus(base: Tensor | None, tensor: Tensor, factor: Tensor) -> Tensor:
    """``base + tensor * factor``."""
    return tensor * factor if base is None else torch.addcmul(base, tensor, factor)


class _DrawContext(Protocol):
    """What the function below uses of autograd's context."""

    prior: Gaussian
    with_kl: bool
    saved_tensors: tuple[Tensor, Tensor, Tensor | None, Tensor]

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for backward."""
        ...

    def set_materialize_grads(self, value: bool) -> None:
        """Whether a gradient that is not there comes as zeros, or as None."""
        ...

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Name the outputs that have no gradient."""
        ...


class _DrawGaussian(torch.autograd.Function):
    """A draw, or without ``eps`` the variance, and in the same passes the KL divergence.

    What is kept for backward does not depend on ``with_kl``, so that gradient checkpointing may
    draw again without it.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        mu: Tensor, rho: Tensor, eps: Tensor | None, prior: Gaussian, with_kl: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute weights or variances, KL divergence (0 without) and sigma."""
        sigma = F.softplus(rho)
        drawn = sigma.square() if eps is None else torch.addcmul(mu, sigma, eps)
        if not with_kl:
            return drawn, sigma.new_zeros(()), sigma
        if eps is not None and prior.scale == math.inf:
            kl = _kl(rho, sigma, eps, prior.scale, -1.0) - eps.numel() * LOG_SQRT_2PI
        else:
            kl = _kl(rho, sigma, deviation(mu, prior.loc), prior.scale, prior.scale**-2)
        return drawn, kl, sigma

    @staticmethod
    def setup_context(
        ctx: _DrawContext,
        inputs: tuple[Tensor, Tensor, Tensor | None, Gaussian, bool],
        output: tuple[Tensor, Tensor, Tensor],
    ) -> None:
        """Keep what backward needs."""
        mu, rho, eps, ctx.prior, ctx.with_kl = inputs
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(output[2])
        ctx.save_for_backward(mu, rho, eps, output[2])

    @staticmethod
    def backward(
        ctx: _DrawContext, grad: Tensor | None, grad_kl: Tensor | None, _: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        """Compute the gradients."""
        mu, rho, eps, sigma = ctx.saved_tensors
        grad_kl = grad_kl if ctx.with_kl else None
        factor = ctx.prior.scale**-2
        grad_mu = None if eps is None else grad
        if grad_kl is not None and factor:
            grad_mu = _plus(grad_mu, deviation(mu, ctx.prior.loc), grad_kl * factor)
        along = (sigma, 2.0) if eps is None else (eps, 1.0)
        if grad is None or grad_kl is None or torch.is_grad_enabled() or _copies(rho, mu) != 1:
            each = None if grad_kl is None else grad_kl * _copies(rho, mu)
            sigma = F.softplus(rho) if torch.is_grad_enabled() else sigma  # it follows rho
            grad_rho = _grad_rho(rho, sigma, eps, grad, each, factor=factor)
        else:
            grad_rho = _grad_rho_in_place(rho, sigma, along, grad, grad_kl, factor=factor)
        return grad_mu, grad_rho, None, None, None


def draw_gaussian(mu: Tensor, rho: Tensor, eps: Tensor) -> Tensor:
    """``mu + softplus(rho) * eps``.

    Args:
        mu: Means, any shape.
        rho: Softplus-inverse standard deviations; broadcasts to the shape of ``mu``.
        eps: Standard normal noise, the shape of ``mu``.

    Returns:
        The drawn weights, the shape of ``mu``.
    """
    return draw_gaussian_kl(mu, rho, eps, FLAT, with_kl=False)[0]


def draw_gaussian_kl(
    mu: Tensor, rho: Tensor, eps: Tensor | None, prior: Gaussian, *, with_kl: bool = True
) -> tuple[Tensor, Tensor]:
    """A draw, and the KL divergence that belongs to it, for less than both apart.

    Args:
        mu: Means, any shape; in float32 or better where ``with_kl``.
        rho: Softplus-inverse standard deviations; broadcasts to the shape of ``mu``.
        eps: Standard normal noise, the shape of ``mu``; None for the variance instead of a draw.
        prior: The prior, whose ``loc`` gets no gradient. `FLAT` leaves it out.
        with_kl: Whether the second result is wanted.

    Returns:
        The drawn weights, the shape of ``mu``, or variances, the shape of ``rho``; and, shape (),
        in nats: for a prior the closed-form `gaussian_kl`, for `FLAT` the log density of the
        posterior at the draw, summed; or 0.
    """
    args = mu, rho, eps, prior, with_kl
    weight, kl, _ = _DrawGaussian.apply(*args)  # type: ignore[no-untyped-call]
    return weight, kl


class _GaussianKL(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(delta: Tensor, rho: Tensor, scale: float) -> Tensor:
        """Compute the value."""
        return _kl(rho, F.softplus(rho), delta, scale, scale**-2)

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
        slope = _kl_slope(F.softplus(rho), ctx.scale**-2)
        grad_rho = slope * rho.clamp(min=RHO_MIN).sigmoid_() * (grad * _copies(rho, delta))
        return delta * (grad * ctx.scale**-2), grad_rho, None


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
