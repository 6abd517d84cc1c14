"""Fusion of the scores of several systems on the same trials: mean, or logistic regression."""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bbb.errors import ConfigError, DataError, ShapeError
from bbb.scoring._logistic import as_features, fit_affine
from bbb.scoring.scores import Scores, align_scores

METHODS: tuple[str, ...] = ("mean", "logistic")


class Fusion:
    """Combine the scores of several systems.

    Args:
        method: "mean": the mean of the systems' scores, each standardised to mean 0 and standard
            deviation 1 over the trials that `fit` saw, which needs no labels. "logistic": the
            weighted sum, a log-likelihood ratio, that minimises the cross-entropy at `p_target`.
        p_target: Prior of a target trial around which "logistic" is most accurate, in (0, 1).

    Attributes:
        mean_: "mean": mean score of each system, shape (systems,).
        std_: "mean": standard deviation of each, shape (systems,).
        coef_: "logistic": weight of each system, shape (systems,).
        intercept_: "logistic": offset in nats.

    Raises:
        ConfigError: If the method is unknown.

    Example:
        >>> Fusion().fit_transform([[0.0, 10.0], [2.0, 30.0]])
        array([-1.,  1.])

    References:
        Brummer et al. 2007, "Fusion of heterogeneous speaker recognition systems in the STBU
        submission for the NIST speaker recognition evaluation 2006".
    """

    mean_: NDArray[np.float64]
    std_: NDArray[np.float64]
    coef_: NDArray[np.float64]
    intercept_: float

    def __init__(
        self, method: Literal["mean", "logistic"] = "mean", p_target: float = 0.01
    ) -> None:
        if method not in METHODS:
            msg = f"Fusion needs the method 'mean' or 'logistic', got '{method}'"
            raise ConfigError(msg)
        self.method = method
        self.p_target = p_target

    def fit(self, scores: ArrayLike, is_target: ArrayLike | None = None) -> "Fusion":
        """Learn how to combine.

        Args:
            scores: Shape (trials, systems).
            is_target: True for target trials, shape (trials,); "mean" does not look at it.

        Returns:
            Itself.

        Raises:
            ShapeError: If the shape is another one.
            DataError: If a score is not finite, a system gives every trial the same score, or
                "logistic" has no labels or one class only.
            ConfigError: If the prior is out of range.
        """  # noqa: DOC502 (raised by the shared checks)
        matrix = as_features(scores, "Fusion")
        mean, std = matrix.mean(axis=0), matrix.std(axis=0)
        flat = np.flatnonzero(std <= 1e-12 * np.abs(mean))
        if len(flat):
            msg = (
                f"Fusion needs scores that differ, got the same for every trial from system "
                f"{flat[0] + 1}; leave it out"
            )
            raise DataError(msg)
        if self.method == "mean":
            self.mean_, self.std_ = mean, std
            return self
        if is_target is None:
            msg = "Fusion by 'logistic' needs labels, got none; give is_target, or use 'mean'"
            raise DataError(msg)
        self.coef_, self.intercept_ = fit_affine(matrix, is_target, self.p_target, "Fusion")
        for system in np.flatnonzero(self.coef_ < 0.0):
            warnings.warn(
                f"Fusion: system {system + 1} gets a negative weight, {self.coef_[system]:.3g}: it "
                "corrects the others, or its scores are reversed; check that leaving it out is no "
                "better",
                UserWarning,
                stacklevel=2,
            )
        return self

    def transform(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Fused score of each trial.

        Args:
            scores: Shape (trials, systems), the systems in the order of `fit`.

        Returns:
            Shape (trials,).

        Raises:
            ShapeError: If the number of systems differs.
        """
        matrix = np.asarray(scores, dtype=np.float64)
        systems = len(self.mean_ if self.method == "mean" else self.coef_)
        if matrix.ndim != 2 or matrix.shape[1] != systems:  # noqa: PLR2004
            msg = (
                f"Fusion was fitted on {systems} systems, got scores of shape {matrix.shape}; give "
                "one column per system"
            )
            raise ShapeError(msg)
        if self.method == "mean":
            return np.asarray(((matrix - self.mean_) / self.std_).mean(axis=1))
        return np.asarray(matrix @ self.coef_ + self.intercept_)

    def fit_transform(
        self, scores: ArrayLike, is_target: ArrayLike | None = None
    ) -> NDArray[np.float64]:
        """`fit` and `transform` on the same scores, shape (trials, systems)."""
        return self.fit(scores, is_target).transform(scores)


def fuse_mean(systems: Sequence[Scores], names: Sequence[str] | None = None) -> Scores:
    """Mean of the standardised scores of several systems, matched by trial.

    Args:
        systems: Scores of the same trials, in any order.
        names: What to call the systems in messages, such as their files.

    Returns:
        Fused scores, float64, in the order of the first system, with labels where a system has
        them.

    Raises:
        ConfigError: If there are fewer than two systems.
        DataError: If the systems' trials or labels differ.
    """  # noqa: DOC502 (raised by stack_scores)
    matrix, matched = stack_scores(systems, names)
    return dataclasses.replace(matched, scores=Fusion("mean").fit_transform(matrix))


def stack_scores(
    systems: Sequence[Scores], names: Sequence[str] | None = None
) -> tuple[NDArray[np.float64], Scores]:
    """One column per system, matched by trial.

    Args:
        systems: Scores of the same trials, in any order.
        names: What to call the systems in messages, such as their files.

    Returns:
        Scores of shape (trials, systems), and the first system with labels where one has them.

    Raises:
        ConfigError: If there are fewer than two systems.
        DataError: If the systems' trials or labels differ.
    """
    if len(systems) < 2:  # noqa: PLR2004
        msg = f"fusion needs at least two systems, got {len(systems)}; name more score files"
        raise ConfigError(msg)
    called = list(names or (f"system {number + 1}" for number in range(len(systems))))
    first = systems[0]
    columns: list[NDArray[Any]] = [first.scores]
    is_target = first.is_target
    for name, system in zip(called[1:], systems[1:], strict=True):
        columns.append(align_scores(system, first, name=f"scores of {name}"))
        align_scores(first, system, name=f"scores of {called[0]}")
        if system.is_target is None:
            continue
        labels = align_labels(system, first)
        if is_target is not None and not np.array_equal(labels, is_target):
            trial = int(np.flatnonzero(labels != is_target)[0])
            pair = f"{first.enroll_ids[first.enroll[trial]]} {first.test_ids[first.test[trial]]}"
            msg = (
                f"fusion needs systems that agree on the labels, but {name} has another one for "
                f"'{pair}'; score the same trial list"
            )
            raise DataError(msg)
        is_target = labels
    return np.stack(columns, axis=1), dataclasses.replace(first, is_target=is_target)


def align_labels(system: Scores, trials: Scores) -> NDArray[np.bool_]:
    """Labels of a system's scores in the order of another list, shape (trials,)."""
    labels = np.asarray(system.is_target, dtype=np.float32)
    numbers = Scores(system.enroll_ids, system.test_ids, system.enroll, system.test, labels)
    return np.asarray(align_scores(numbers, trials) > 0)
