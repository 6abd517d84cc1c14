"""Every delicate scalar formula of the Bayesian layers, once.

The posterior of a weight is ``N(mu, sigma^2)`` with ``sigma = softplus(rho)``. All formulas here
are finite, with finite gradients, for rho from -100 to +100 in every floating dtype, and add no
noise floor. Sums and logarithms are taken in float32 or better.

The formulas are ``torch.autograd.Function``s because plain autograd would keep several copies of
the weights alive and make many passes over them; they run under ``torch.compile``, ``vmap`` and
the reverse mode of ``torch.func``.
"""

import math
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

# Below this rho, log softplus(rho) = rho and d log softplus / d rho = 1 to float64 precision, while
# softplus(rho) = 2e-16 is still a normal number even in float32: clamping here keeps 1 / sigma
# finite with one cheap pass, where torch.where would need two expensive ones.
RHO_MIN = -36.0

HALF = frozenset({torch.float16, torch.bfloat16})
LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)


class Context(Protocol):
    """What every ``autograd.Function`` here uses of autograd's context."""

    saved_tensors: tuple[Tensor, ...]

    def save_for_backward(self, *tensors: Tensor) -> None:
        """Keep tensors for backward."""
        ...


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return ``tensor`` in float32 if it is half precision, else itself."""
    return tensor.float() if tensor.dtype in HALF else tensor


def softplus(rho: Tensor) -> Tensor:
    """Standard deviation ``sigma = log(1 + exp(rho))``, any shape."""
    return F.softplus(rho)


def inverse_softplus(sigma: Tensor) -> Tensor:
    """Return the rho with ``softplus(rho) == sigma``, for ``sigma`` > 0, any shape."""
    # log(expm1(sigma)) would overflow for a large sigma; this form is exact at both ends.
    return sigma + torch.log(-torch.expm1(-sigma))


class _LogSoftplus(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(rho: Tensor) -> Tensor:
        """Compute the value."""
        below = (rho - RHO_MIN).clamp(max=0.0)
        # Not add_: torch.compile loses the gradient of a result that was written in place.
        return F.softplus(rho.clamp(min=RHO_MIN)).log() + below

    @staticmethod
    def setup_context(ctx: Context, inputs: tuple[Tensor], output: Tensor) -> None:  # noqa: ARG004
        """Keep what backward needs."""
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> Tensor:
        """Compute the gradients."""
        (rho,) = ctx.saved_tensors
        clamped = rho.clamp(min=RHO_MIN)
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
    def setup_context(ctx: Context, inputs: tuple[Tensor], output: Tensor) -> None:  # noqa: ARG004
        """Keep what backward needs."""
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> Tensor:
        """Compute the gradients."""
        (root,) = ctx.saved_tensors
        # At 0 the slope is infinite. The variance of an all-zero input does not depend on any
        # parameter, so that 0 is the right gradient, not a convention.
        return torch.where(root > 0, grad / (2 * root), 0)


def safe_sqrt(value: Tensor) -> Tensor:
    """Square root of ``value`` >= 0, any shape, with gradient 0 (not infinity) at 0."""
    return cast("Tensor", _SafeSqrt.apply(value))  # type: ignore[no-untyped-call]


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
