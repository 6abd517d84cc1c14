"""Parameter-free noise whose tails are right in every floating dtype.

``torch.rand`` has steps of 2^-24 in float32 and returns exact zeros, so that the Gumbel noise made
of it ends at 16 nats, or is infinite; compiled, ``exponential_`` and a ``torch.rand`` of float64
are made of no more bits. Here every noise is a function of 53 random bits, in eager mode, under
``vmap`` and under ``torch.compile`` alike: upper tails reach 36 nats in every dtype.

All functions take ``(shape, like, generator=None)``: the shape of the noise; a tensor that gives
dtype and device; the source of randomness, on any device (noise of a CPU generator is the same for
a model on a GPU), by default torch's own for ``like``'s device. They return noise of that shape.
"""

from typing import TypeAlias

import torch
from torch import Tensor

from bbb._numerics import at_least_float32

BITS = 53
Shape: TypeAlias = torch.Size | list[int] | tuple[int, ...]


def uniform_noise(
    shape: torch.Size, like: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Uniform noise on the open interval (0, 1), never 0 or 1; see `bbb.distributions.noise`.

    Near 0 it resolves 2^-53, near 1 half the epsilon of the dtype.

    Example:
        >>> u = uniform_noise(torch.Size([1000]), torch.empty(0))
        >>> bool(((u > 0) & (u < 1)).all())
        True
    """
    info = torch.finfo(like.dtype)
    unit = uniform64(shape, like, generator).to(like.dtype)
    # Rounding to the dtype must not close the interval; tiny * eps is the least number above 0.
    return unit.clamp(info.tiny * info.eps, 1 - info.eps / 2)


def exponential_noise(
    shape: torch.Size, like: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Exponential noise of rate 1, in (0, 37.5]; see `bbb.distributions.noise`."""
    info = torch.finfo(like.dtype)
    noise = uniform64(shape, like, generator).log().neg()
    return noise.to(like.dtype).clamp(min=info.tiny * info.eps)


def gumbel_noise(
    shape: torch.Size, like: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Standard Gumbel noise, in [-3.7, 36.8]; see `bbb.distributions.noise`.

    The index of the largest of ``logits + gumbel_noise`` is a draw from ``softmax(logits)`` (the
    Gumbel-max trick); add them in float32 or better.
    """
    # In half precision the upper tail would be flushed to 0 before the second logarithm.
    exponential = exponential_noise(shape, at_least_float32(like), generator)
    return exponential.log().neg().to(like.dtype)


def logistic_noise(
    shape: torch.Size, like: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Standard logistic noise, within +-37.5; see `bbb.distributions.noise`.

    ``logits + logistic_noise > 0`` is a draw from the Bernoulli of those logits; add them in
    float32 or better.
    """
    return uniform64(shape, like, generator).logit().to(like.dtype)


def uniform64(shape: torch.Size, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Uniform on the multiples of 2^-53 between 0 and 1, without both ends, in float64."""
    device = like.device if generator is None else generator.device
    if device.type == "mps":  # Has no float64.
        device = torch.device("cpu")
    if torch.compiler.is_compiling() and generator is None:
        # Compiled, torch.rand makes float64 of 24 bits, but randint draws all of its bits.
        bits = torch.randint(0, 2**BITS, shape, dtype=torch.int64, device=device)
        unit = bits.double() * 2.0**-BITS
    else:
        unit = torch.rand(shape, generator=generator, dtype=torch.float64, device=device)
    unit = unit.clamp(min=2.0 ** -(BITS + 1))
    return unit if device == like.device else unit.to(like.device)
