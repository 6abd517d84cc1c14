"""Fusion of the scores of several systems on the same trials."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bbb.errors import ConfigError, DataError, ShapeError
from bbb.scoring.scores import Scores, align_scores

METHODS: tuple[str, ...] = ("mean",)


class Fusion:
    """Combine the scores of several systems.

    Args:
        method: "mean": the mean of the systems' scores, each standardised to mean 0 and standard
            deviation 1 over the trials that `fit` saw. It needs no labels.

    Attributes:
        mean_: Mean score of each system, shape (systems,).
        std_: Standard deviation of each, shape (systems,).

    Raises:
        ConfigError: If the method is unknown.

    Example:
        >>> Fusion().fit_transform([[0.0, 10.0], [2.0, 30.0]])
        array([-1.,  1.])
    """

    mean_: NDArray[np.float64]
    std_: NDArray[np.float64]

    def __init__(self, method: Literal["mean"] = "mean") -> None:
        if method not in METHODS:
            msg = f"Fusion needs the method 'mean', got '{method}'"
            raise ConfigError(msg)
        self.method = method

    def fit(self, scores: ArrayLike) -> "Fusion":
        """Take mean and standard deviation of each system.

        Args:
            scores: Shape (trials, systems).

        Returns:
            Itself.

        Raises:
            ShapeError: If the shape is another one.
            DataError: If a score is not finite, or a system gives every trial the same score.
        """
        matrix = np.asarray(scores, dtype=np.float64)
        if matrix.ndim != 2 or not matrix.size:  # noqa: PLR2004
            msg = f"Fusion needs scores of shape (trials, systems), got {matrix.shape}; stack them"
            raise ShapeError(msg)
        if not np.isfinite(matrix).all():
            system = int(np.flatnonzero(~np.isfinite(matrix).all(axis=0))[0])
            msg = f"Fusion needs finite scores, got NaN or infinity in system {system + 1}"
            raise DataError(msg)
        self.mean_, self.std_ = matrix.mean(axis=0), matrix.std(axis=0)
        flat = np.flatnonzero(self.std_ <= 1e-12 * np.abs(self.mean_))
        if len(flat):
            msg = (
                f"Fusion needs scores that differ, got the same for every trial from system "
                f"{flat[0] + 1}; leave it out"
            )
            raise DataError(msg)
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
        if matrix.ndim != 2 or matrix.shape[1] != len(self.mean_):  # noqa: PLR2004
            msg = (
                f"Fusion was fitted on {len(self.mean_)} systems, got scores of shape "
                f"{matrix.shape}; give one column per system"
            )
            raise ShapeError(msg)
        return np.asarray(((matrix - self.mean_) / self.std_).mean(axis=1))

    def fit_transform(self, scores: ArrayLike) -> NDArray[np.float64]:
        """`fit` and `transform` on the same scores, shape (trials, systems)."""
        return self.fit(scores).transform(scores)


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
    fused = Fusion("mean").fit_transform(np.stack(columns, axis=1))
    return Scores(first.enroll_ids, first.test_ids, first.enroll, first.test, fused, is_target)


def align_labels(system: Scores, trials: Scores) -> NDArray[np.bool_]:
    """Labels of a system's scores in the order of another list, shape (trials,)."""
    labels = np.asarray(system.is_target, dtype=np.float32)
    numbers = Scores(system.enroll_ids, system.test_ids, system.enroll, system.test, labels)
    return np.asarray(align_scores(numbers, trials) > 0)
