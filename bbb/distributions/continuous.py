"""Logistic and Rayleigh, which torch lacks, and a Gumbel whose upper tail does not end."""

import math
from typing import ClassVar, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import distributions as td
from torch.distributions import constraints
from torch.distributions.utils import broadcast_all, euler_constant

from bbb.distributions.noise import Shape, exponential_noise, gumbel_noise, logistic_noise

_Self = TypeVar("_Self", bound="_Reparameterised")


class _Reparameterised(td.Distribution):
    """Base of laws that are drawn as a function of their parameters and of free noise."""

    has_rsample = True

    def expand(self: _Self, batch_shape: Shape, _instance: _Self | None = None) -> _Self:
        """Return the same law over a larger batch, without copying the parameters."""
        new: _Self = self._get_checked_instance(type(self), _instance)  # type: ignore[no-untyped-call]
        for name in self.arg_constraints:
            setattr(new, name, getattr(self, name).expand(batch_shape))
        td.Distribution.__init__(new, torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args  # noqa: SLF001 (of the same class)
        return new

    def _checked(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return value


class Logistic(_Reparameterised):
    r"""The logistic law: :math:`\mathrm{loc} + \mathrm{scale} \cdot \mathrm{logit}(u)`.

    Args:
        loc: Mean, median and mode; a number or a tensor.
        scale: > 0; the standard deviation is pi / sqrt(3) times as large. Broadcast with ``loc``.
        validate_args: Whether to check parameters and values; default torch's own setting.

    Raises:
        ValueError: If a scale is not positive, or a location is NaN.

    Example:
        >>> q = Logistic(torch.zeros(3), 2.0)
        >>> q.rsample((5,)).shape, q.cdf(torch.tensor(0.0))
        (torch.Size([5, 3]), tensor([0.5000, 0.5000, 0.5000]))
    """

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real

    def __init__(
        self, loc: Tensor | float, scale: Tensor | float, validate_args: bool | None = None
    ) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """Mean, (*batch)."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """Where the density is largest, (*batch)."""
        return self.loc

    @property
    def stddev(self) -> Tensor:
        """Standard deviation, (*batch)."""
        return self.scale * (math.pi / math.sqrt(3.0))

    @property
    def variance(self) -> Tensor:
        """Variance, (*batch)."""
        return self.stddev.square()

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        """Draw, differentiably in the parameters, (*sample_shape, *batch)."""
        shape = self._extended_shape(torch.Size(sample_shape))
        return self.loc + self.scale * logistic_noise(shape, self.loc)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density in nats, right in both tails."""
        score = (self._checked(value) - self.loc) / self.scale
        # Both tails of the symmetric density; what is 0 as a factor is finite as a summand.
        return F.logsigmoid(score) + F.logsigmoid(-score) - self.scale.log()

    def cdf(self, value: Tensor) -> Tensor:
        """Probability of at most ``value``."""
        return ((self._checked(value) - self.loc) / self.scale).sigmoid()

    def icdf(self, value: Tensor) -> Tensor:
        """Quantile of the probability ``value``."""
        return self.loc + self.scale * value.logit()

    def entropy(self) -> Tensor:
        """Differential entropy in nats, (*batch)."""
        return self.scale.log() + 2.0


class Rayleigh(_Reparameterised):
    r"""The Rayleigh law: the length of a vector of two independent :math:`N(0, \mathrm{scale}^2)`.

    Args:
        scale: > 0, the mode; a number or a tensor.
        validate_args: Whether to check parameters and values; default torch's own setting.

    Raises:
        ValueError: If a scale is not positive.

    Example:
        >>> Rayleigh(2.0).cdf(Rayleigh(2.0).icdf(torch.tensor(0.25)))
        tensor(0.2500)
    """

    arg_constraints: ClassVar = {"scale": constraints.positive}
    support = constraints.nonnegative

    def __init__(self, scale: Tensor | float, validate_args: bool | None = None) -> None:
        (self.scale,) = broadcast_all(scale)
        super().__init__(self.scale.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """Mean, (*batch)."""
        return self.scale * math.sqrt(math.pi / 2)

    @property
    def mode(self) -> Tensor:
        """Where the density is largest, (*batch)."""
        return self.scale

    @property
    def stddev(self) -> Tensor:
        """Standard deviation, (*batch)."""
        return self.scale * math.sqrt(2 - math.pi / 2)

    @property
    def variance(self) -> Tensor:
        """Variance, (*batch)."""
        return self.stddev.square()

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        """Draw, differentiably in the scale, (*sample_shape, *batch)."""
        shape = self._extended_shape(torch.Size(sample_shape))
        return self.scale * (2 * exponential_noise(shape, self.scale)).sqrt()

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density in nats, right in both tails; -inf at 0."""
        score = self._checked(value) / self.scale
        return value.log() - 2 * self.scale.log() - score.square() / 2

    def cdf(self, value: Tensor) -> Tensor:
        """Probability of at most ``value``."""
        return -torch.expm1((self._checked(value) / self.scale).square() / -2)

    def icdf(self, value: Tensor) -> Tensor:
        """Quantile of the probability ``value``."""
        return self.scale * (-2 * torch.log1p(-value)).sqrt()

    def entropy(self) -> Tensor:
        """Differential entropy in nats, (*batch)."""
        return self.scale.log() + (1 + euler_constant / 2 - math.log(2.0) / 2)


class Gumbel(td.Gumbel):
    """`torch.distributions.Gumbel`, whose own draws end 16 scales above ``loc`` in float32."""

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        """Draw, differentiably in the parameters, (*sample_shape, *batch)."""
        shape = self._extended_shape(torch.Size(sample_shape))
        return self.loc + self.scale * gumbel_noise(shape, self.loc)

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """Draw without a gradient, (*sample_shape, *batch)."""
        with torch.no_grad():
            return self.rsample(sample_shape)


@td.register_kl(Rayleigh, Rayleigh)  # type: ignore[no-untyped-call, untyped-decorator]
def _kl_rayleigh(p: Rayleigh, q: Rayleigh) -> Tensor:
    log_ratio = 2 * (p.scale.log() - q.scale.log())
    return torch.expm1(log_ratio) - log_ratio
