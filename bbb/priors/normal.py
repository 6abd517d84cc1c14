"""Gaussian priors: fixed, or centred on the weights before conversion."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bbb import _numerics
from bbb.errors import ConfigError
from bbb.priors.base import Density, Prior


def _check_scale(who: str, scale: float) -> None:
    if not (math.isfinite(scale) and scale > 0):
        msg = f"{who} needs a standard deviation scale > 0, got {scale}; try scale=0.1"
        raise ConfigError(msg)


@dataclass(frozen=True)
class Normal(Density):
    """Gaussian prior ``N(loc, scale^2)`` on each weight.

    Args:
        loc: Mean; one for all weights, or a tensor that broadcasts to the weights.
        scale: Standard deviation (not variance), > 0.

    Raises:
        ConfigError: If ``scale`` is not a positive finite number.

    Example:
        >>> Normal(0.0, 0.5).log_prob(torch.tensor([0.0]))
        tensor([-0.2258])
    """

    loc: float | Tensor = 0.0
    scale: float = 0.1

    closed_form: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_scale("Normal", self.scale)

    def log_prob(self, weight: Tensor) -> Tensor:
        """Log density of each weight; see `Density.log_prob`."""
        z = self._delta(weight) / self.scale
        return z.square() * -0.5 - (math.log(self.scale) + _numerics.LOG_SQRT_2PI)

    def sample(self, shape: torch.Size, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw weights; see `Density.sample`."""
        return self.loc + self.scale * torch.randn(shape, generator=generator)

    def kl(self, mu: Tensor, rho: Tensor) -> Tensor:
        """Closed-form KL, summed, in nats; see `Density.kl`."""
        return _numerics.gaussian_kl(self._delta(mu), rho, self.scale)

    def _delta(self, weight: Tensor) -> Tensor:
        weight = _numerics.at_least_float32(weight)
        if isinstance(self.loc, float | int) and self.loc == 0:
            return weight
        return weight - self.loc


@dataclass(frozen=True)
class Pretrained(Prior):
    """Gaussian prior centred on the weights that the layer had before conversion.

    The centre is a copy, kept in the layer as the buffer ``weight_prior_loc`` so that it survives
    a checkpoint; it never moves in training. Loading a plain ``torch.nn`` state dict sets it, too.

    Args:
        scale: Standard deviation (not variance) around the old weight, > 0.

    Raises:
        ConfigError: If ``scale`` is not a positive finite number.
    """

    scale: float = 0.1

    needs_centre: ClassVar[bool] = True
    closed_form: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_scale("Pretrained", self.scale)

    def at(self, centre: Tensor | None) -> Density:
        """Return ``Normal(centre, scale)``; see `Prior.at`.

        Raises:
            ConfigError: If there is no centre.
        """
        if centre is None:
            msg = (
                "Pretrained needs the weights before conversion, got None; "
                "hand the prior to a layer or to bbb.bayesianize"
            )
            raise ConfigError(msg)
        return Normal(_numerics.at_least_float32(centre), self.scale)
