"""Discrete laws whose rare outcomes come at their own rate.

Torch draws from float32 probabilities: in 6e8 draws each, a class 17 nats down and a zero at logit
17 never came, where 26 were due; and `torch.distributions.OneHotCategorical` cannot be drawn under
``vmap(grad(...))``. Only ``sample`` differs here; all else is torch's.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch import distributions as td

from bbb._numerics import at_least_float32
from bbb.distributions.noise import Shape, gumbel_noise, uniform64


def sample_one_hot(
    logits: Tensor,
    sample_shape: Shape = (),
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw one-hot vectors, by the Gumbel-max trick; a class 30 nats down comes at its own rate.

    Args:
        logits: Log-probabilities along the last axis, not normalised, (*batch, classes); a class of
            -inf never comes.
        sample_shape: Leading axes of the draw.
        generator: Source of randomness; default torch's own.

    Returns:
        Zeros with a single one along the last axis, of ``logits``' dtype and without a gradient,
        (*sample_shape, *batch, classes).

    Example:
        >>> sample_one_hot(torch.tensor([0.0, -torch.inf]))
        tensor([1., 0.])
    """
    wide = at_least_float32(logits.detach())
    # An offset common to all classes would cost the noise its last bits.
    wide = wide - wide.amax(-1, keepdim=True)
    scores = wide + gumbel_noise(torch.Size(sample_shape) + wide.shape, wide, generator)
    return one_hot_of_largest(scores).to(logits.dtype)


def one_hot_of_largest(scores: Tensor) -> Tensor:
    """One at the largest along the last axis, zero elsewhere, of the dtype of ``scores``."""
    return torch.zeros_like(scores).scatter(-1, scores.argmax(-1, keepdim=True), 1.0)


def sample_bernoulli(
    logits: Tensor,
    sample_shape: Shape = (),
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw zeros and ones; a one at logit -30, or a zero at +30, comes at its own rate.

    Args:
        logits: Log-odds of a one, any shape; infinite ones are sure.
        sample_shape: Leading axes of the draw.
        generator: Source of randomness; default torch's own.

    Returns:
        Zeros and ones, of ``logits``' dtype and without a gradient, (*sample_shape, *shape).

    Example:
        >>> sample_bernoulli(torch.tensor([torch.inf, -torch.inf]))
        tensor([1., 0.])
    """
    wide = logits.detach()
    noise = uniform64(torch.Size(sample_shape) + wide.shape, wide, generator)
    return (noise < wide.double().sigmoid()).to(logits.dtype)


class Bernoulli(td.Bernoulli):
    """`torch.distributions.Bernoulli`, drawn by `sample_bernoulli`."""

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """Draw without a gradient, (*sample_shape, *batch)."""
        return sample_bernoulli(_logits(self, torch.logit), sample_shape)


class OneHotCategorical(td.OneHotCategorical):
    """`torch.distributions.OneHotCategorical`, drawn by `sample_one_hot`."""

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """Draw without a gradient, (*sample_shape, *batch, classes)."""
        return sample_one_hot(_logits(self._categorical, torch.log), sample_shape)


def _logits(q: td.Bernoulli | td.Categorical, from_probs: Callable[[Tensor], Tensor]) -> Tensor:
    """Logits without the cut at 16 nats, which torch's own of given probabilities have."""
    probs = q.__dict__.get("probs")
    if probs is not None and q._param is probs:  # noqa: SLF001 (torch has no other way to tell)
        return from_probs(probs)
    return q.logits
