"""The Laplace prior: sharper than a Gaussian at its centre, heavier in its tails."""

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol, cast

import torch
from torch import Tensor

from bbb import _numerics
from bbb._gaussian import deviation
from bbb.priors.base import Density, check_positive


class _Context(Protocol):
    """What the function below uses of autograd's context."""

    saved_tensors: tuple[Tensor, ...]

    def save_for_backward(self, *tensors: Tensor) -> None:
        """Keep tensors for backward."""
        ...


def _standard_score(delta: Tensor, rho: Tensor) -> tuple[Tensor, Tensor]:
    # Sigma may underflow to 0; then the score is 0 or very large, and never 0 / 0.
    sigma = _numerics.softplus(rho)
    return delta / sigma.clamp(min=torch.finfo(sigma.dtype).tiny), sigma


def _central_mass(score: Tensor) -> Tensor:
    """``2 Phi(score) - 1``."""
    return torch.erf(score * math.sqrt(0.5))


def _bell(score: Tensor) -> Tensor:
    """Twice the standard normal density."""
    return score.square().mul(-0.5).exp() * math.sqrt(2.0 / math.pi)


class _MeanDistance(torch.autograd.Function):
    """``E |w|`` of ``N(delta, sigma^2)``, the mean of a folded normal distribution.

    Its slopes are the two factors of its own formula; autograd would get each as the difference
    of terms that a small sigma makes large.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(delta: Tensor, rho: Tensor) -> Tensor:
        """Compute the value."""
        score, sigma = _standard_score(delta, rho)
        return delta * _central_mass(score) + sigma * _bell(score)

    @staticmethod
    def setup_context(
        ctx: _Context,
        inputs: tuple[Tensor, Tensor],
        output: Tensor,  # noqa: ARG004
    ) -> None:
        """Keep what backward needs."""
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: _Context, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the gradients."""
        delta, rho = ctx.saved_tensors
        score, _ = _standard_score(delta, rho)
        grad_sigma = (grad * _bell(score)).sum_to_size(rho.shape)
        return grad * _central_mass(score), grad_sigma * torch.sigmoid(rho)


@dataclass(frozen=True)
class Laplace(Density):
    r"""Laplace prior on each weight; its KL divergence has a closed form.

    .. math:: p(w) = \frac{1}{2b} e^{-|w - \mathrm{loc}| / b}

    Args:
        loc: Mean and median.
        scale: Scale b, > 0; the standard deviation is ``sqrt(2) b``.

    Raises:
        ConfigError: If ``scale`` is not a positive finite number.

    Example:
        >>> Laplace(0.0, 1.0).log_prob(torch.tensor([0.0, 1.0]))
        tensor([-0.6931, -1.6931])
    """

    loc: float = 0.0
    scale: float = 0.1

    closed_form: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_positive("Laplace", scale=self.scale)

    def log_prob(self, weight: Tensor) -> Tensor:
        """Log density of each weight; see `Density.log_prob`."""
        return deviation(weight, self.loc).abs() / -self.scale - math.log(2.0 * self.scale)

    def sample(self, shape: torch.Size, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw weights; see `Density.sample`."""
        first, second = (torch.empty(shape).exponential_(generator=generator) for _ in range(2))
        return self.loc + self.scale * (first - second)

    def kl(self, mu: Tensor, rho: Tensor) -> Tensor:
        """Closed-form KL, summed, in nats; see `Density.kl`."""
        delta, rho = deviation(mu, self.loc), _numerics.at_least_float32(rho)
        distance = cast("Tensor", _MeanDistance.apply(delta, rho))  # type: ignore[no-untyped-call]
        constant = math.log(2.0 * self.scale) - _numerics.LOG_SQRT_2PI - 0.5
        return (distance / self.scale - (_numerics.log_softplus(rho) - constant)).sum()
