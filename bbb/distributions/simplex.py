r"""Beta and Dirichlet that can be drawn under ``vmap``, and from small concentrations.

A gamma variable of concentration ``c`` is one of ``c + 1`` times a uniform one to the power
``1 / c`` (Stuart 1962). In logarithms this never underflows, and a Dirichlet draw is the softmax
of the logarithms.

Torch's own gradient is far too large below a concentration of 0.01 (127 times at 0.001, in float64
too), and ``vmap`` refuses it. Above 0.01 its variance is about half of this one's: outside ``vmap``
prefer `torch.distributions` there.
"""

import torch
from torch import Tensor
from torch import distributions as td

from bbb.distributions.noise import Shape, exponential_noise


class Dirichlet(td.Dirichlet):
    """`torch.distributions.Dirichlet`, drawn as the module says."""

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        """Draw, differentiably in the concentration, (*sample_shape, *batch, classes)."""
        shape = self._extended_shape(torch.Size(sample_shape))
        return _inside(_log_gamma(self.concentration, shape).softmax(-1))


class Beta(td.Beta):
    """`torch.distributions.Beta`, drawn as the module says."""

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        """Draw, differentiably in both concentrations, (*sample_shape, *batch)."""
        shape = self._extended_shape(torch.Size(sample_shape))
        ones = _log_gamma(self.concentration1, shape)
        return _inside((ones - _log_gamma(self.concentration0, shape)).sigmoid())


def _log_gamma(concentration: Tensor, shape: torch.Size) -> Tensor:
    """Logarithm of gamma draws of rate 1, differentiable in ``concentration``, of ``shape``."""
    concentration = concentration.expand(shape)
    raised: Tensor = torch._standard_gamma(concentration + 1)  # noqa: SLF001 (has no other name)
    return raised.log() - exponential_noise(shape, concentration) / concentration


def _inside(draw: Tensor) -> Tensor:
    """Keep a draw off 0 and 1, where the density may be infinite, as torch does."""
    info = torch.finfo(draw.dtype)
    return draw.clamp(info.tiny, 1 - info.eps / 2)
