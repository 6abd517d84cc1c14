"""What networks are compared with: Gaussian processes and Bayesian ridge regression."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import BayesianRidge

Array = NDArray[np.float64]


MOST_EXAMPLES = 200
"""Of a marginal likelihood: a step of its maximisation takes the cube of their number."""


def gaussian_process(x: Array, y: Array) -> GaussianProcessRegressor:
    """Fit a process with one length scale per feature and noise.

    Args:
        x: Inputs, (examples, features), standardised, in random order.
        y: Targets, (examples,), standardised.

    Returns:
        The process given all examples, with the kernel of the highest marginal likelihood of the
        first `MOST_EXAMPLES`.
    """
    scales = RBF(np.full(x.shape[1], np.sqrt(x.shape[1])), (1e-1, 1e3))
    kernel = ConstantKernel(1.0, (1e-3, 1e3)) * scales + WhiteKernel(0.1, (1e-6, 1e1))
    few = slice(MOST_EXAMPLES)
    with warnings.catch_warnings():
        # A feature of no use has its length scale at the bound, which is what it should have.
        warnings.simplefilter("ignore", ConvergenceWarning)
        kernel = GaussianProcessRegressor(kernel).fit(x[few], y[few]).kernel_
    return GaussianProcessRegressor(kernel, optimizer=None).fit(x, y)


def latent(process: GaussianProcessRegressor, x: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation of the curve, without the noise of observations."""
    mean, sigma = process.predict(x, return_std=True)
    return mean, np.sqrt(np.maximum(sigma**2 - process.kernel_.k2.noise_level, 0.0))


def bayesian_ridge(x: Array, y: Array) -> BayesianRidge:
    """Fit Bayesian linear regression; arguments as of `gaussian_process`."""
    return BayesianRidge().fit(x, y)


def scores(model: Any, x: Array, y: Array) -> tuple[float, float]:  # noqa: ANN401 (scikit-learn)
    """Return mean log likelihood in nats per example and root mean square error."""
    mean, sigma = model.predict(x, return_std=True)
    error = y - mean
    log_prob = -0.5 * (error / sigma) ** 2 - np.log(sigma) - 0.5 * np.log(2 * np.pi)
    return float(log_prob.mean()), float(np.sqrt((error**2).mean()))
