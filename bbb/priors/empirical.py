"""Empirical Bayes: a Gaussian prior whose scale the weights themselves determine."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from bbb import _numerics
from bbb.errors import ConfigError
from bbb.priors.base import Density, Prior, check_positive


@dataclass(frozen=True)
class EmpiricalBayes(Prior):
    r"""Gaussian prior ``N(0, s^2)`` with a scale s of its own for each weight tensor.

    * ``"closed"``: at every evaluation of the KL divergence s is at its optimum,
      :math:`s^2 = \mathrm{mean}(\mu^2 + \sigma^2)`, which gives
      :math:`\mathrm{KL} = n \log s - \sum_i \log \sigma_i`. Nothing is kept, nothing lags behind.
    * ``"learned"``: ``log s`` is a parameter of the layer, ``weight_prior_log_scale``, in the state
      dict, which the optimiser moves with the rest.

    The prior then says nothing of how large the weights are, only that those of one tensor are of
    one size. Where the data say little, all of them may shrink together to a KL divergence of 0.

    Args:
        method: "closed" or "learned".
        scale: Where a learned scale starts, > 0; a standard deviation.

    Raises:
        ConfigError: If an argument is out of range.
    """

    method: Literal["closed", "learned"] = "closed"
    scale: float = 0.1

    closed_form: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_positive("EmpiricalBayes", scale=self.scale)
        if self.method not in {"closed", "learned"}:
            msg = f"EmpiricalBayes needs method 'closed' or 'learned', got {self.method!r}"
            raise ConfigError(msg)

    def state(self, weight: Tensor) -> dict[str, Tensor]:
        """Keep a learned scale as the parameter ``log_scale``; see `Prior.state`."""
        if self.method == "closed":
            return {}
        return {"log_scale": nn.Parameter(weight.detach().new_full((), math.log(self.scale)))}

    def at(self, state: Mapping[str, Tensor]) -> Density:
        """Return the prior at the learned scale, or at the one that fits; see `Prior.at`."""
        if self.method == "closed":
            return _FittedNormal()
        return _ScaledNormal(_numerics.at_least_float32(state["log_scale"]))


@dataclass(frozen=True)
class _ScaledNormal(Density):
    """``N(0, exp(log_scale)^2)``, differentiable in the scale."""

    log_scale: Tensor

    closed_form: ClassVar[bool] = True

    def log_prob(self, weight: Tensor) -> Tensor:
        """Log density of each weight; see `Density.log_prob`."""
        score = _numerics.at_least_float32(weight) * torch.exp(-self.log_scale)
        return score.square() * -0.5 - self.log_scale - _numerics.LOG_SQRT_2PI

    def sample(self, shape: torch.Size, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw weights; see `Density.sample`."""
        return self.log_scale.detach().exp().cpu() * torch.randn(shape, generator=generator)

    def kl(self, mu: Tensor, rho: Tensor) -> Tensor:
        """Closed-form KL, summed, in nats; see `Density.kl`."""
        log_ratio = _log_sigma(rho) - self.log_scale
        score = _numerics.at_least_float32(mu) * torch.exp(-self.log_scale)
        # One difference per weight before the sum: 0 where q = p.
        return (torch.expm1(2.0 * log_ratio) - 2.0 * log_ratio + score.square()).sum() * 0.5


class _FittedNormal(Density):
    """The zero-mean Gaussian nearest to whatever posterior it is compared with."""

    closed_form: ClassVar[bool] = True

    def log_prob(self, weight: Tensor) -> Tensor:
        """Unknown: the scale depends on a posterior."""
        raise NotImplementedError

    def sample(self, shape: torch.Size, *, generator: torch.Generator | None = None) -> Tensor:
        """Unknown: the scale depends on a posterior."""
        raise NotImplementedError

    def kl(self, mu: Tensor, rho: Tensor) -> Tensor:
        """Closed-form KL, summed, in nats; see `Density.kl`."""
        if not mu.numel():
            return mu.sum()
        log_sigma = _log_sigma(rho)
        return (fitted_log_scale(mu, log_sigma) - log_sigma).expand(mu.shape).sum()


def _log_sigma(rho: Tensor) -> Tensor:
    return _numerics.log_softplus(_numerics.at_least_float32(rho))


def fitted_log_scale(mu: Tensor, log_sigma: Tensor) -> Tensor:
    """Logarithm of the scale s that minimises the KL divergence from ``N(0, s^2)``.

    Args:
        mu: Posterior means, any shape, at least one.
        log_sigma: Logarithms of the standard deviations; broadcasts to the shape of ``mu``.

    Returns:
        ``log sqrt(mean(mu^2 + sigma^2))``, shape (), float32 or better.
    """
    mu = _numerics.at_least_float32(mu)
    # Relative to the largest of all, so that no square underflows; that one cancels in the result.
    largest = torch.maximum(mu.detach().abs().max().log(), log_sigma.detach().max())
    # In two halves: the reciprocal itself may overflow.
    half = torch.exp(-0.5 * largest)
    squares = (mu * half * half).square() + (log_sigma - largest).mul(2.0).exp()
    return largest + 0.5 * squares.mean().log()
