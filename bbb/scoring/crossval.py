"""Cross-validation over speakers: honest scores for the very trials that a model is trained on."""

import copy
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bbb.errors import ConfigError, DataError, ShapeError
from bbb.scoring._sorted import check_labels


class Model(Protocol):
    """What learns from labelled trials: `Calibration`, `Fusion`."""

    def fit(self, scores: Any, is_target: Any, /) -> object:  # noqa: ANN401 (arrays of any kind)
        """Learn from scores, one row per trial, and labels."""

    def transform(self, scores: Any, /) -> NDArray[np.float64]:  # noqa: ANN401
        """One log-likelihood ratio per row."""


def cross_validate(
    model: Model,
    scores: ArrayLike,
    is_target: ArrayLike,
    enroll_speakers: NDArray[Any],
    test_speakers: NDArray[Any],
    *,
    num_folds: int = 5,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Transform each trial by a model that saw neither of its speakers, on either side.

    Speakers are dealt into folds. For each pair of folds a copy of the model is fitted on the
    trials without a speaker of the two, and transforms the trials between them: for 5 folds, 15
    fits on 36 % to 64 % of the trials.

    Args:
        model: Has ``fit(scores, is_target)`` and ``transform(scores)``; it is not changed.
        scores: One row per trial, shape (trials,) or (trials, systems).
        is_target: True for target trials, shape (trials,).
        enroll_speakers: Speaker of the enrolment side, any sortable type, shape (trials,).
        test_speakers: Speaker of the test side, shape (trials,).
        num_folds: Number of folds, at least 3.
        seed: Of the deal.

    Returns:
        The transformed scores, shape (trials,).

    Raises:
        ConfigError: If there are fewer than 3 folds, or fewer speakers than folds.
        ShapeError: If the arrays differ in length.
        DataError: If some folds leave no trials of one class to learn from.
    """  # noqa: DOC502 (ConfigError, by the deal)
    rows = np.asarray(scores)
    labels = check_labels(is_target, len(rows))
    if enroll_speakers.shape != labels.shape or test_speakers.shape != labels.shape:
        msg = (
            "cross_validate needs one speaker per side and trial, got shapes "
            f"{enroll_speakers.shape} and {test_speakers.shape} for {len(labels)} trials"
        )
        raise ShapeError(msg)
    fold = _deal(np.concatenate((enroll_speakers, test_speakers)), num_folds, seed)
    left, right = fold[: len(labels)], fold[len(labels) :]
    low, high = np.minimum(left, right), np.maximum(left, right)
    result = np.empty(len(labels))
    for cell in np.unique(low * num_folds + high):
        pair = np.array(divmod(int(cell), num_folds))
        held = (low == pair[0]) & (high == pair[1])
        train = ~np.isin(low, pair) & ~np.isin(high, pair)
        if not labels[train].any() or labels[train].all():
            msg = (
                f"cross_validate needs target and nontarget trials outside folds {pair[0] + 1} and "
                f"{pair[1] + 1}, got one class; use fewer folds, or more trials"
            )
            raise DataError(msg)
        fresh = copy.copy(model)
        fresh.fit(rows[train], labels[train])
        result[held] = fresh.transform(rows[held])
    return result


def _deal(speakers: NDArray[Any], num_folds: int, seed: int) -> NDArray[np.intp]:
    """Deal speakers into folds.

    Args:
        speakers: Names, shape (any,).
        num_folds: Number of folds.
        seed: Of the deal.

    Returns:
        Fold of each, shape (any,).

    Raises:
        ConfigError: If there are fewer than 3 folds, or fewer speakers than folds.
    """
    names, codes = np.unique(speakers, return_inverse=True)
    if not 3 <= num_folds <= len(names):  # noqa: PLR2004 (two folds leave nothing to learn from)
        msg = (
            f"cross_validate needs between 3 folds and one per speaker, got {num_folds} for "
            f"{len(names)} speakers; change num_folds"
        )
        raise ConfigError(msg)
    return np.asarray((np.random.default_rng(seed).permutation(len(names)) % num_folds)[codes])
