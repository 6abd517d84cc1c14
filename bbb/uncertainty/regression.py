"""Mean, variance and likelihood of a regression."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bbb import _numerics
from bbb._numerics import LOG_SQRT_2PI
from bbb.errors import ConfigError, DataError, ShapeError
from bbb.uncertainty._predictions import checked_samples, log_mean


class MeanVariance(NamedTuple):
    """Mean and variance of a mixture, the variance in two parts; all of shape (batch, ...).

    Attributes:
        mean: Mean of the samples' means.
        epistemic: Variance of the samples' means.
        aleatoric: Mean of the samples' variances.
    """

    mean: Tensor
    epistemic: Tensor
    aleatoric: Tensor

    @property
    def total(self) -> Tensor:
        """Variance of the mixture: the sum of the parts."""
        return self.epistemic + self.aleatoric


def mean_variance(samples_mean: Tensor, samples_var: Tensor | float | None = None) -> MeanVariance:
    """Mean and variance of a regression, by the law of total variance.

    Args:
        samples_mean: Predicted means, shape (samples, batch, ...).
        samples_var: Predicted noise variances, which broadcast to it; or one for all; None is 0.

    Returns:
        Mean, epistemic and aleatoric variance, float32 or better.

    Raises:
        ShapeError: If a shape is wrong.
        DataError: If a variance is negative or not finite.
    """  # noqa: DOC502 (raised by the checks)
    mean = checked_samples(samples_mean, 2, "(samples, batch, ...)", "mean_variance")
    var = _variances(0.0 if samples_var is None else samples_var, mean, "mean_variance")
    # The mixture's own variance, hence without Bessel's correction.
    return MeanVariance(mean.mean(0), mean.var(0, correction=0), var.mean(0))


def gaussian_nll(samples_mean: Tensor, samples_var: Tensor | float, target: Tensor) -> Tensor:
    """Negative log likelihood of targets under the equal mixture of the samples' Gaussians.

    The outputs of an example are independent given the weights, so that they are multiplied before
    the samples are averaged.

    Args:
        samples_mean: Predicted means, shape (samples, batch, ...).
        samples_var: Predicted noise variances > 0, which broadcast to it; or one for all.
        target: Targets, shape (batch, ...).

    Returns:
        Nats per example, the mean over the batch, shape (); differentiable.

    Raises:
        ShapeError: If a shape is wrong.
        DataError: If a variance is not positive and finite.
    """  # noqa: DOC502 (raised by the checks)
    mean = checked_samples(samples_mean, 2, "(samples, batch, ...)", "gaussian_nll")
    var = _variances(samples_var, mean, "gaussian_nll", zero=False)
    if target.shape != mean.shape[1:]:
        msg = f"gaussian_nll expects targets {tuple(mean.shape[1:])}, got {tuple(target.shape)}"
        raise ShapeError(msg)
    log_prob = (target - mean).square() / (-2.0 * var) - 0.5 * var.log() - LOG_SQRT_2PI
    return -log_mean(log_prob.unsqueeze(-1).flatten(2).sum(-1)).mean()


class GaussianLikelihood(nn.Module):
    """Gaussian noise of one sigma, learned or fixed: mean NLL of a regression's outputs.

    It is what `bbb.ELBO` takes as ``nll``; give ``likelihood.parameters()`` to the optimiser where
    sigma is learned. The measure of a sample of predictions is `gaussian_nll`.

    Args:
        sigma: Standard deviation, in units of the targets, > 0; the initial one where it is
            learned.
        learned: Sigma is a parameter. A network that fits its targets exactly takes it to 0.

    Raises:
        ConfigError: If ``sigma`` is not positive and finite.

    Example:
        >>> likelihood = GaussianLikelihood(0.5, learned=False)
        >>> round(likelihood(torch.zeros(4, 1), torch.ones(4, 1)).item(), 4)
        2.2258
    """

    def __init__(self, sigma: float = 1.0, *, learned: bool = True) -> None:
        super().__init__()
        if not 0 < sigma < math.inf:
            msg = f"GaussianLikelihood needs a finite sigma > 0, got {sigma}; try sigma=1.0"
            raise ConfigError(msg)
        rho = _numerics.inverse_softplus(torch.tensor(sigma, dtype=torch.float64))
        self.rho = nn.Parameter(rho.float(), requires_grad=learned)

    @property
    def sigma(self) -> Tensor:
        """Standard deviation of the noise, shape ()."""
        return _numerics.softplus(self.rho)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean NLL of independent outputs.

        Args:
            output: Predicted means, shape (batch, ...).
            target: Targets, of the same shape: broadcasting would pair each with every output.

        Returns:
            Nats per example, the mean over the batch, shape ().

        Raises:
            ShapeError: If the shapes differ.
        """
        if output.shape != target.shape:
            msg = (
                f"GaussianLikelihood expects targets {tuple(output.shape)}, got "
                f"{tuple(target.shape)}; reshape one of them"
            )
            raise ShapeError(msg)
        error = _numerics.at_least_float32(target) - _numerics.at_least_float32(output)
        square = (error / self.sigma).square()
        each = 0.5 * square + _numerics.log_softplus(self.rho) + LOG_SQRT_2PI
        return each.unsqueeze(-1).flatten(1).sum(-1).mean()


def _variances(var: Tensor | float, mean: Tensor, who: str, *, zero: bool = True) -> Tensor:
    var = torch.as_tensor(var, dtype=mean.dtype, device=mean.device)
    if not (var.isfinite().all() and (var >= 0 if zero else var > 0).all()):
        msg = f"{who} needs finite variances {'>=' if zero else '>'} 0; for log variances pass exp"
        raise DataError(msg)
    try:
        return var.expand_as(mean)
    except RuntimeError:
        expected, got = tuple(mean.shape), tuple(var.shape)
        msg = f"{who} expects variances that broadcast to {expected}, got {got}"
        raise ShapeError(msg) from None
