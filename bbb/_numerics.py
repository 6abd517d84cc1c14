"""Every delicate scalar formula of the Bayesian layers, once.

The posterior of a weight is ``N(mu, sigma^2)`` with ``sigma = softplus(rho)``. All formulas here
are finite, with finite gradients, for rho from -100 to +100 in every floating dtype, and add no
noise floor. Sums and logarithms are taken in float32 or better.

The formulas are ``torch.autograd.Function``s because plain autograd would keep several copies of
the weights alive and make many passes over them; they run under ``torch.compile``, ``torch.func``
and ``vmap``.
"""

import math
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

# Below this rho, log softplus(rho) = rho and d log softplus / d rho = 1 to float64 precision, while
# softplus(rho) = 2e-16 is still a normal number even in float32: clamping here keeps 1 / sigma
# finite with one cheap pass, where torch.where would need two expensive ones.
_RHO_MIN = -36.0

LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)


class _Context(Protocol):
    """What the functions below use of autograd's context."""

    scale: float
    saved_tensors: tuple[Tensor, ...]

    def save_for_backward(self, *tensors: Tensor) -> None:
        """Keep tensors for backward."""
        ...


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return ``tensor`` in float32 if it is half precision, else itself."""
    return tensor.float() if tensor.dtype in {torch.float16, torch.bfloat16} else tensor


def softplus(rho: Tensor) -> Tensor:
    """Standard deviation ``sigma = log(1 + exp(rho))``, any shape."""
    return F.softplus(rho)


def inverse_softplus(sigma: float) -> float:
    """Return the rho with ``softplus(rho) == sigma``, for ``sigma`` > 0."""
    # log(expm1(sigma)) would overflow for a large sigma; this form is exact at both ends.
    return sigma + math.log(-math.expm1(-sigma))


class _LogSoftplus(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(rho: Tensor) -> Tensor:
        """Compute the value."""
        below = (rho - _RHO_MIN).clamp(max=0.0)
        return F.softplus(rho.clamp(min=_RHO_MIN)).log_().add_(below)

    @staticmethod
    def setup_context(ctx: _Context, inputs: tuple[Tensor], output: Tensor) -> None:  # noqa: ARG004
        """Keep what backward needs."""
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: _Context, grad: Tensor) -> Tensor:
        """Compute the gradients."""
        (rho,) = ctx.saved_tensors
        clamped = rho.clamp(min=_RHO_MIN)
        return grad * (torch.sigmoid(clamped) / F.softplus(clamped))


def log_softplus(rho: Tensor) -> Tensor:
    """``log sigma = log softplus(rho)``, any shape; tends to ``rho`` itself, its slope to 1."""
    return cast("Tensor", _LogSoftplus.apply(rho))  # type: ignore[no-untyped-call]


class _SafeSqrt(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor) -> Tensor:
        """Compute the value."""
        return value.sqrt()

    @staticmethod
    def setup_context(ctx: _Context, inputs: tuple[Tensor], output: Tensor) -> None:  # noqa: ARG004
        """Keep what backward needs."""
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: _Context, grad: Tensor) -> Tensor:
        """Compute the gradients."""
        (root,) = ctx.saved_tensors
        # At 0 the slope is infinite. The variance of an all-zero input does not depend on any
        # parameter, so that 0 is the right gradient, not a convention.
        return torch.where(root > 0, grad / (2 * root), 0)


def safe_sqrt(value: Tensor) -> Tensor:
    """Square root of ``value`` >= 0, any shape, with gradient 0 (not infinity) at 0."""
    return cast("Tensor", _SafeSqrt.apply(value))  # type: ignore[no-untyped-call]


class _DrawGaussian(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(mu: Tensor, rho: Tensor, eps: Tensor) -> Tensor:
        """Compute the value."""
        return torch.addcmul(mu, F.softplus(rho), eps)

    @staticmethod
    def setup_context(
        ctx: _Context,
        inputs: tuple[Tensor, Tensor, Tensor],
        output: Tensor,  # noqa: ARG004
    ) -> None:
        # Not sigma: recomputing sigmoid(rho) costs a tenth of drawing eps.
        """Keep what backward needs."""
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: _Context, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        """Compute the gradients."""
        rho, eps = ctx.saved_tensors
        grad_sigma = (grad * eps).sum_to_size(rho.shape)
        return grad, grad_sigma * torch.sigmoid(rho), None


def draw_gaussian(mu: Tensor, rho: Tensor, eps: Tensor) -> Tensor:
    """``mu + softplus(rho) * eps``, keeping only ``eps`` for backward.

    Args:
        mu: Means, any shape.
        rho: Softplus-inverse standard deviations; broadcasts to the shape of ``mu``.
        eps: Standard normal noise, the shape of ``mu``.

    Returns:
        The drawn weights, the shape of ``mu``.
    """
    return cast("Tensor", _DrawGaussian.apply(mu, rho, eps))  # type: ignore[no-untyped-call]


class _GaussianKL(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(delta: Tensor, rho: Tensor, scale: float) -> Tensor:
        """Compute the value."""
        copies = delta.numel() // max(rho.numel(), 1)
        ratio = F.softplus(rho.clamp(min=_RHO_MIN)).mul_(1.0 / scale)
        # One term per weight before any sum, ratio^2 - 1 - 2 log(ratio), so that q = p gives 0
        # and not the difference of two large numbers.
        term = ratio.log().add_((rho - _RHO_MIN).clamp(max=0.0)).mul_(-2.0).sub_(1.0)
        term = term.add_(ratio.mul_(ratio))
        distance = delta * (1.0 / scale)
        distance = distance.mul_(distance)
        if copies == 1:
            return term.add_(distance).sum() * 0.5
        return (term.sum() * copies + distance.sum()) * 0.5

    @staticmethod
    def setup_context(
        ctx: _Context,
        inputs: tuple[Tensor, Tensor, float],
        output: Tensor,  # noqa: ARG004
    ) -> None:
        """Keep what backward needs."""
        delta, rho, ctx.scale = inputs
        ctx.save_for_backward(delta, rho)

    @staticmethod
    def backward(ctx: _Context, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        """Compute the gradients."""
        delta, rho = ctx.saved_tensors
        copies = delta.numel() // max(rho.numel(), 1)
        clamped = rho.clamp(min=_RHO_MIN)
        sigma = F.softplus(clamped)
        # In place: on a CPU the page faults of each temporary cost more than its arithmetic.
        grad_rho = sigma.reciprocal().neg_().add_(sigma, alpha=ctx.scale**-2)
        grad_rho = grad_rho.mul_(clamped.sigmoid_()).mul_(grad * copies)
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


def standard_normal(
    shape: torch.Size, like: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Standard normal noise of ``like``'s dtype and device.

    Args:
        shape: Shape of the noise.
        like: Gives dtype and device.
        generator: Source of randomness, on any device (noise of a CPU generator is the same for a
            model on a GPU); default torch's own for ``like``'s device.

    Returns:
        The noise, of the given shape.
    """
    if generator is None:
        return torch.randn(shape, dtype=like.dtype, device=like.device)
    eps = torch.randn(shape, generator=generator, dtype=like.dtype, device=generator.device)
    return eps.to(like.device)


def random_signs(
    shape: torch.Size, like: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Independent fair signs, -1 or +1; arguments as of `standard_normal`."""
    device = like.device if generator is None else generator.device
    bits = torch.randint(0, 2, shape, generator=generator, dtype=like.dtype, device=device)
    return (bits * 2 - 1).to(like.device)
