"""Student's t prior: tails so heavy that a weight that has to be large may be."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bbb._gaussian import deviation
from bbb.priors.base import Density, check_positive


@dataclass(frozen=True)
class StudentT(Density):
    """Student's t prior on each weight; its KL divergence is estimated at the forward's draw.

    Args:
        df: Degrees of freedom, > 0; 1 is a Cauchy prior, and infinity would be a Gaussian one.
        loc: Median.
        scale: Scale, > 0; the standard deviation is ``scale sqrt(df / (df - 2))`` where df > 2.

    Raises:
        ConfigError: If ``df`` or ``scale`` is not a positive finite number.

    Example:
        >>> StudentT(df=1.0, scale=1.0).log_prob(torch.tensor([0.0]))
        tensor([-1.1447])
    """

    df: float = 3.0
    loc: float = 0.0
    scale: float = 0.1

    def __post_init__(self) -> None:
        check_positive("StudentT", df=self.df, scale=self.scale)

    def log_prob(self, weight: Tensor) -> Tensor:
        """Log density of each weight; see `Density.log_prob`."""
        half = 0.5 * self.df
        height = math.lgamma(half + 0.5) - math.lgamma(half) - 0.5 * math.log(math.pi * self.df)
        score = deviation(weight, self.loc) / (self.scale * math.sqrt(self.df))
        return score.square().log1p() * -(half + 0.5) + (height - math.log(self.scale))

    def sample(self, shape: torch.Size, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw weights; see `Density.sample`."""
        # Bailey 1994, Polar Generation of Random Variates with the t-Distribution.
        radius, angle = (torch.rand(shape, generator=generator) for _ in range(2))
        square = torch.expm1(torch.log1p(-radius) * (-2.0 / self.df)) * self.df
        return self.loc + self.scale * square.sqrt() * torch.cos(2.0 * math.pi * angle)
