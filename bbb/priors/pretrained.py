"""Priors around weights that were trained before: a fixed Gaussian, and MOPED."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from bbb import _numerics
from bbb.priors.base import Density, Prior, check_positive
from bbb.priors.normal import Normal

# What sigma a weight of exactly 0 gets: no number below it would matter, and rho stays finite.
_SMALLEST_SIGMA = 1e-8


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

    closed_form: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_positive("Pretrained", scale=self.scale)

    def state(self, weight: Tensor) -> dict[str, Tensor]:
        """Keep a copy of the weights, ``loc``; see `Prior.state`."""
        return {"loc": weight.detach().clone()}

    def at(self, state: Mapping[str, Tensor]) -> Density:
        """Return ``Normal(loc, scale)``; see `Prior.at`."""
        return Normal(_numerics.at_least_float32(state["loc"]), self.scale)


@dataclass(frozen=True)
class MOPED(Prior):
    """Empirical Bayes from a trained network: what is large in it is known less precisely.

    Prior ``N(w, scale^2)`` and initial posterior ``N(w, (delta |w|)^2)``, where w is the weight
    that the layer had before conversion, or that a plain ``torch.nn`` state dict brings. The
    layer's ``sigma_init`` is not used. A weight of exactly 0 starts with a sigma of 1e-8; where
    sigma is tied over outputs it starts at the root mean square of theirs.

    Args:
        delta: Initial sigma as a share of the weight, > 0.
        scale: Standard deviation (not variance) of the prior around the old weight, > 0.

    Raises:
        ConfigError: If an argument is not a positive finite number.

    References:
        Krishnan, Subedar and Tickoo 2020, Specifying Weight Priors in Bayesian Deep Neural
        Networks with Empirical Bayes.
    """

    delta: float = 0.1
    scale: float = 0.1

    closed_form: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_positive("MOPED", delta=self.delta, scale=self.scale)

    def state(self, weight: Tensor) -> dict[str, Tensor]:
        """Keep a copy of the weights, ``loc``; see `Prior.state`."""
        return Pretrained(self.scale).state(weight)

    def sigma_at(self, weight: Tensor) -> Tensor:
        """``delta |w|``; see `Prior.sigma_at`."""
        sigma = _numerics.at_least_float32(weight).abs() * self.delta
        return sigma.clamp(min=_SMALLEST_SIGMA)

    def at(self, state: Mapping[str, Tensor]) -> Density:
        """Return ``Normal(loc, scale)``; see `Prior.at`."""
        return Pretrained(self.scale).at(state)
