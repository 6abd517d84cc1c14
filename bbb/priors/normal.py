"""The Gaussian prior."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from bbb import _gaussian, _numerics
from bbb._gaussian import deviation
from bbb.priors.base import Density, check_positive


@dataclass(frozen=True)
class Normal(Density):
    """Gaussian prior ``N(loc, scale^2)`` on each weight.

    Args:
        loc: Mean; one for all weights, or a tensor that broadcasts to the weights, of which each
            layer keeps a copy, the buffer ``weight_prior_loc``.
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
        check_positive("Normal", scale=self.scale)

    def state(self, weight: Tensor) -> dict[str, Tensor]:
        """Keep a tensor ``loc``, one number for each weight; see `Prior.state`."""
        if not isinstance(self.loc, Tensor):
            return {}
        return {"loc": self.loc.detach().to(weight).expand_as(weight).clone()}

    def at(self, state: Mapping[str, Tensor]) -> Density:
        """Return itself, with the ``loc`` that the layer keeps; see `Prior.at`."""
        return replace(self, loc=state["loc"]) if state else self

    def log_prob(self, weight: Tensor) -> Tensor:
        """Log density of each weight; see `Density.log_prob`."""
        z = deviation(weight, self.loc) / self.scale
        return z.square() * -0.5 - (math.log(self.scale) + _numerics.LOG_SQRT_2PI)

    def sample(self, shape: torch.Size, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw weights; see `Density.sample`."""
        return self.loc + self.scale * torch.randn(shape, generator=generator)

    def kl(self, mu: Tensor, rho: Tensor) -> Tensor:
        """Closed-form KL, summed, in nats; see `Density.kl`."""
        return _gaussian.gaussian_kl(deviation(mu, self.loc), rho, self.scale)

    def draw(
        self, mu: Tensor, rho: Tensor, eps: Tensor | None, *, with_kl: bool
    ) -> tuple[Tensor, Tensor]:
        """Draw weights, with the whole closed form; see `Density.draw`."""
        prior = _gaussian.Gaussian(self.loc, self.scale)
        return _gaussian.draw_gaussian_kl(mu, rho, eps, prior, with_kl=with_kl)

    @property
    def comes_with_draw(self) -> bool:
        """True; see `Density.comes_with_draw`."""
        return True
