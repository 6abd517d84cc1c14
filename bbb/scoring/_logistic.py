"""Prior-weighted logistic regression: an affine map of features to log-likelihood ratios."""

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bbb.errors import DataError, NumericsError, ShapeError
from bbb.scoring._sorted import bayes_threshold, check_labels, check_operating_point

Doubles = NDArray[np.float64]
ROWS = 2**15
RIDGE = 1e-9
COLLINEAR = 1e-8
STEPS = 200


class Affine(NamedTuple):
    """A log-likelihood ratio ``features @ coef + intercept``.

    Attributes:
        coef: Weight of each feature, 0 for a constant one, shape (features,).
        intercept: Offset in nats.
    """

    coef: Doubles
    intercept: float


def as_features(features: ArrayLike, who: str) -> Doubles:
    """Features as float64.

    Args:
        features: Shape (trials, features).
        who: Whose they are, for messages.

    Returns:
        The same values, shape (trials, features).

    Raises:
        ShapeError: If the shape is another one.
        DataError: If a value is not finite.
    """
    matrix = np.asarray(features, dtype=np.float64)
    if matrix.ndim != 2 or not matrix.size:  # noqa: PLR2004
        msg = f"{who} needs shape (trials, columns), got {matrix.shape}; stack one column per input"
        raise ShapeError(msg)
    finite = np.isfinite(matrix).all(axis=0)
    if not finite.all():
        column = int(np.flatnonzero(~finite)[0])
        msg = f"{who} needs finite values, got NaN or infinity in column {column + 1}; remove them"
        raise DataError(msg)
    return matrix


def fit_affine(features: ArrayLike, is_target: ArrayLike, p_target: float, who: str) -> Affine:
    r"""Minimise the prior-weighted cross-entropy of a linear log-likelihood ratio s.

    .. math:: p\,\overline{\log(1 + e^{-(s + \tau)})}_\mathrm{tar}
              + (1-p)\,\overline{\log(1 + e^{s + \tau})}_\mathrm{non},
              \quad \tau = \log\frac{p}{1-p}

    Newton's method with the exact gradient and Hessian, on standardised features, so that the
    result does not depend on their units. A ridge far below the precision of any score keeps it
    finite where a threshold separates the classes, and shares the weight among collinear features.

    Args:
        features: Shape (trials, features).
        is_target: True for target trials, shape (trials,).
        p_target: Prior p of a target trial: around it the ratios are most accurate.
        who: Who asks, for messages.

    Returns:
        The map.

    Raises:
        ShapeError: If the arrays differ in length.
        DataError: If a value is not finite, a class has no trial, or no feature varies.
        ConfigError: If the prior is out of range.
        NumericsError: If the minimum is not found.

    References:
        Brummer and du Preez 2006, "Application-independent evaluation of speaker detection".
    """  # noqa: DOC502 (raised by the shared checks)
    check_operating_point(p_target, 1.0, 1.0)
    matrix = as_features(features, who)
    labels = check_labels(is_target, len(matrix))
    if labels.all() or not labels.any():
        name = "nontarget" if labels.all() else "target"
        msg = f"{who} needs trials of both classes, got no {name} trial; check the labels"
        raise DataError(msg)
    mean, std = matrix.mean(axis=0), matrix.std(axis=0)
    used = np.flatnonzero(std > 1e-12 * np.abs(mean))
    if not len(used):
        msg = f"{who} needs scores that differ, got the same for every trial; check the system"
        raise DataError(msg)
    problem = _Problem((matrix[:, used] - mean[used]) / std[used], labels, p_target)
    theta = problem.minimum(who)
    _warn(problem, theta, who)
    coef = np.zeros(matrix.shape[1])
    coef[used] = theta[:-1] / std[used]
    return Affine(coef, float(theta[-1] - coef @ mean))


def _warn(problem: "_Problem", theta: Doubles, who: str) -> None:
    """Say when the classes are separable, or the features collinear."""
    scores = problem.features @ theta[:-1]
    if scores[problem.labels].min() >= scores[~problem.labels].max():
        warnings.warn(
            f"{who}: a threshold separates the classes, so that the slope has no finite optimum "
            "and a tiny ridge sets it; use more trials, or trust only the order of the ratios",
            UserWarning,
            stacklevel=4,
        )
    correlation = problem.features.T @ problem.features / len(problem.features)
    if np.linalg.eigvalsh(correlation)[0] < COLLINEAR:
        warnings.warn(
            f"{who}: columns are collinear, which leaves their weights arbitrary though not the "
            "result; leave one of them out",
            UserWarning,
            stacklevel=4,
        )


class _Problem:
    """The objective over standardised features, evaluated in blocks."""

    def __init__(self, features: Doubles, labels: NDArray[np.bool_], p_target: float) -> None:
        self.features, self.labels = features, labels
        self.log_odds = -bayes_threshold(p_target, 1.0, 1.0)
        # In units of the cost of the better trivial decision, which the ridge is relative to.
        unit = min(p_target, 1.0 - p_target)
        self.target_weight = p_target / unit / labels.sum()
        self.nontarget_weight = (1.0 - p_target) / unit / (~labels).sum()

    def _blocks(self, theta: Doubles) -> Iterator[tuple[Doubles, Doubles, Doubles, Doubles]]:
        """Features, class signs, weights and signed log odds of some trials at a time."""
        for start in range(0, len(self.labels), ROWS):
            part, labels = self.features[start : start + ROWS], self.labels[start : start + ROWS]
            sign = np.where(labels, 1.0, -1.0)
            weight = np.where(labels, self.target_weight, self.nontarget_weight)
            yield part, sign, weight, sign * (part @ theta[:-1] + theta[-1] + self.log_odds)

    def loss(self, theta: Doubles) -> float:
        """Value of the objective at slopes and intercept, shape (features + 1,)."""
        ridge = 0.5 * RIDGE * float(theta[:-1] @ theta[:-1])
        return ridge + sum(float(w @ np.logaddexp(0.0, -m)) for _, _, w, m in self._blocks(theta))

    def derivatives(self, theta: Doubles) -> tuple[Doubles, Doubles]:
        """Gradient, shape (features + 1,), and Hessian."""
        ridge = np.append(np.full(len(theta) - 1, RIDGE), 0.0)
        gradient, hessian = ridge * theta, np.diag(ridge)
        for part, sign, weight, margin in self._blocks(theta):
            ones = np.column_stack((part, np.ones(len(part))))
            # 1 / (1 + exp(margin)) without overflow.
            wrong = 0.5 * (1.0 - np.tanh(0.5 * margin))
            gradient -= ones.T @ (sign * weight * wrong)
            hessian += (ones.T * (weight * wrong * (1.0 - wrong))) @ ones
        return gradient, hessian

    def minimum(self, who: str) -> Doubles:
        """Slopes and intercept at the minimum, by Newton's method with step halving.

        Args:
            who: Who asks, for the message.

        Returns:
            Shape (features + 1,).

        Raises:
            NumericsError: If it is not found.
        """
        theta = np.zeros(self.features.shape[1] + 1)
        loss = self.loss(theta)
        for _ in range(STEPS):
            gradient, hessian = self.derivatives(theta)
            step: Any = np.linalg.lstsq(hessian, -gradient, rcond=None)[0]
            slope = float(gradient @ step)
            if -slope <= 1e-13 * (1.0 + loss):
                return np.asarray(theta + step)
            size = 1.0
            while self.loss(theta + size * step) > loss + 1e-4 * size * slope:
                size *= 0.5
                if size < 1e-10:  # noqa: PLR2004 (what is left to gain is rounding)
                    return theta
            theta = theta + size * step
            loss = self.loss(theta)
        msg = f"{who}: no minimum after {STEPS} steps of Newton's method; are the scores sound?"
        raise NumericsError(msg)
