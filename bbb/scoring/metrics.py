"""Error rates and costs of a list of scored trials: exact, tie-safe, independent of the order."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bbb.scoring._sorted import SortedScores


class DetCurve(NamedTuple):
    """The points of a detection error trade-off curve, from "accept all" to "reject all".

    Attributes:
        fnr: Share of target trials rejected (P_miss), non-decreasing from 0 to 1, shape (points,).
        fpr: Share of nontarget trials accepted (P_fa), non-increasing from 1 to 0, shape (points,).
        thresholds: Distinct scores in rising order, then infinity, shape (points,).
    """

    fnr: NDArray[np.float64]
    fpr: NDArray[np.float64]
    thresholds: NDArray[np.floating[Any]]


def equal_error_rate(scores: ArrayLike, is_target: ArrayLike) -> float:
    r"""Error rate at the threshold where misses and false alarms are equally likely.

    A trial is accepted when ``score >= threshold``. Tied scores move together, so the result does
    not depend on the order of the trials; between two points of the DET curve it is interpolated
    linearly:

    .. math:: \mathrm{EER} = P_\mathrm{miss}(t^*) = P_\mathrm{fa}(t^*)

    Args:
        scores: Similarity of each trial, shape (trials,); higher means "same speaker". Any unit.
        is_target: True where both sides are the same speaker, shape (trials,).

    Returns:
        The rate as a fraction in [0, 1] (print it with ``:.2%``), not in percent.

    Raises:
        ShapeError: If the arrays differ in length.
        DataError: If a score is NaN, or one class has no trial.

    Example:
        >>> scores = np.array([0.9, 0.6, 0.5, 0.1])
        >>> equal_error_rate(scores, np.array([True, False, True, False]))
        0.5

    References:
        NIST 2016 Speaker Recognition Evaluation Plan, section 3.
    """  # noqa: DOC502 (raised by the shared checks)
    return SortedScores.split(scores, is_target).equal_error_rate()


def min_dcf(
    scores: ArrayLike,
    is_target: ArrayLike,
    p_target: float = 0.01,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
) -> float:
    r"""Detection cost at the best threshold, normalised by the better trivial decision.

    .. math:: \min_t \frac{p\,c_\mathrm{miss} P_\mathrm{miss}(t)
              + (1-p)\,c_\mathrm{fa} P_\mathrm{fa}(t)}
              {\min(p\,c_\mathrm{miss},\ (1-p)\,c_\mathrm{fa})}

    Args:
        scores: Similarity of each trial, shape (trials,). Any unit.
        is_target: True for target trials, shape (trials,).
        p_target: Prior probability of a target trial, in (0, 1).
        c_miss: Cost of a miss, positive.
        c_fa: Cost of a false alarm, positive.

    Returns:
        The cost in [0, 1].

    Raises:
        ShapeError: If the arrays differ in length.
        DataError: If a score is NaN, or one class has no trial.
        ConfigError: If the prior or a cost is out of range.

    Example:
        >>> min_dcf([0.9, 0.6, 0.5, 0.1], [True, False, True, False], p_target=0.5)
        0.5

    References:
        NIST 2016 Speaker Recognition Evaluation Plan, section 3.1.
    """  # noqa: DOC502 (raised by the shared checks)
    return SortedScores.split(scores, is_target).min_dcf(p_target, c_miss, c_fa)


def act_dcf(
    scores: ArrayLike,
    is_target: ArrayLike,
    p_target: float = 0.01,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
) -> float:
    """Detection cost at the Bayes threshold: what a user of the log-likelihood ratios pays.

    The threshold is ``log(c_fa (1 - p_target) / (c_miss p_target))``; `min_dcf` is its lower
    bound, and the difference is the loss by miscalibration.

    Args:
        scores: Natural log-likelihood ratio of each trial, shape (trials,).
        is_target: True for target trials, shape (trials,).
        p_target: Prior probability of a target trial, in (0, 1).
        c_miss: Cost of a miss, positive.
        c_fa: Cost of a false alarm, positive.

    Returns:
        The cost, at least 0, normalised as in `min_dcf`; above 1 it is worse than not listening.

    Raises:
        ShapeError: If the arrays differ in length.
        DataError: If a score is NaN, or one class has no trial.
        ConfigError: If the prior or a cost is out of range.

    Example:
        >>> act_dcf([2.0, 1.0, 0.5, -3.0], [True, False, True, False], p_target=0.5)
        0.5
    """  # noqa: DOC502 (raised by the shared checks)
    return SortedScores.split(scores, is_target).act_dcf(p_target, c_miss, c_fa)


def cllr(scores: ArrayLike, is_target: ArrayLike) -> float:
    r"""Cost of log-likelihood ratios over all operating points, in bits.

    .. math:: \frac{1}{2}\Big(\overline{\log_2(1 + e^{-s})}_\mathrm{tar}
              + \overline{\log_2(1 + e^{s})}_\mathrm{non}\Big)

    Args:
        scores: Natural log-likelihood ratio of each trial, shape (trials,).
        is_target: True for target trials, shape (trials,).

    Returns:
        The cost in bits, at least 0; 1 for a system that always says "no evidence" (0).

    Raises:
        ShapeError: If the arrays differ in length.
        DataError: If a score is NaN, or one class has no trial.

    Example:
        >>> cllr([0.0, 0.0], [True, False])
        1.0

    References:
        Brummer and du Preez 2006, "Application-independent evaluation of speaker detection".
    """  # noqa: DOC502 (raised by the shared checks)
    return SortedScores.split(scores, is_target).cllr()


def min_cllr(scores: ArrayLike, is_target: ArrayLike) -> float:
    """Cllr after the best non-decreasing calibration, found by pooling adjacent violators.

    Args:
        scores: Similarity of each trial, shape (trials,). Any unit.
        is_target: True for target trials, shape (trials,).

    Returns:
        The cost in [0, 1] bits: 0 for perfect separation.

    Raises:
        ShapeError: If the arrays differ in length.
        DataError: If a score is NaN, or one class has no trial.

    Example:
        >>> min_cllr([0.9, 0.8, 0.5, 0.1], [True, True, False, False])
        0.0

    References:
        Brummer and du Preez 2006, "Application-independent evaluation of speaker detection".
    """  # noqa: DOC502 (raised by the shared checks)
    return SortedScores.split(scores, is_target).min_cllr()


def rocch_eer(scores: ArrayLike, is_target: ArrayLike) -> float:
    """Equal error rate on the convex hull of the DET points: never above `equal_error_rate`.

    It is the error rate of the best mixture of two thresholds, and the largest Bayes error rate
    over all priors after the best calibration.

    Args:
        scores: Similarity of each trial, shape (trials,). Any unit.
        is_target: True for target trials, shape (trials,).

    Returns:
        The rate as a fraction in [0, 0.5].

    Raises:
        ShapeError: If the arrays differ in length.
        DataError: If a score is NaN, or one class has no trial.

    Example:
        >>> rocch_eer([3.0, 1.0, 2.0, 0.0], [True, True, False, False])
        0.25

    References:
        Brummer and de Villiers 2011, "The BOSARIS toolkit user guide", section 2.
    """  # noqa: DOC502 (raised by the shared checks)
    return SortedScores.split(scores, is_target).steps.rocch_eer()


def threshold_at(
    scores: ArrayLike,
    is_target: ArrayLike,
    p_target: float | None = None,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
) -> float:
    """The threshold that a metric takes from labelled scores: accept when ``score >= threshold``.

    For log-likelihood ratios, `OperatingPoint.threshold` needs no labels.

    Args:
        scores: Similarity of each trial, shape (trials,). Any unit.
        is_target: True for target trials, shape (trials,).
        p_target: Prior of the operating point whose cost is lowest there; None for the EER.
        c_miss: Cost of a miss.
        c_fa: Cost of a false alarm.

    Returns:
        The lowest target score at which the cost is lowest; for the EER the lowest score at which
        misses are as likely as false alarms, or likelier. Infinity where that rejects all.

    Raises:
        ShapeError: If the arrays differ in length.
        DataError: If a score is NaN, or one class has no trial.
        ConfigError: If the prior or a cost is out of range.

    Example:
        >>> scores, labels = [3.0, 2.0, 1.0, 0.0], [True, False, True, False]
        >>> threshold_at(scores, labels), threshold_at(scores, labels, 0.01)
        (2.0, 3.0)
    """  # noqa: DOC502 (raised by the shared checks)
    classes = SortedScores.split(scores, is_target)
    if p_target is None:
        return classes.eer_point()[1]
    return classes.best_point(p_target, c_miss, c_fa)[1]


def det_curve(scores: ArrayLike, is_target: ArrayLike) -> DetCurve:
    """Misses and false alarms at every threshold that makes a difference.

    Args:
        scores: Similarity of each trial, shape (trials,). Any unit.
        is_target: True for target trials, shape (trials,).

    Returns:
        The curve; its first point accepts every trial, its last one rejects every trial.

    Raises:
        ShapeError: If the arrays differ in length.
        DataError: If a score is NaN, or one class has no trial.

    Example:
        >>> curve = det_curve([2.0, 1.0, 1.0], [True, True, False])
        >>> curve.fnr, curve.fpr, curve.thresholds
        (array([0. , 0.5, 1. ]), array([1., 0., 0.]), array([ 1.,  2., inf]))
    """  # noqa: DOC502 (raised by the shared checks)
    classes = SortedScores.split(scores, is_target)
    distinct = np.unique(np.concatenate((classes.target, classes.nontarget)))
    misses = np.searchsorted(classes.target, distinct, side="left")
    rejected = np.searchsorted(classes.nontarget, distinct, side="left")
    return DetCurve(
        np.append(misses / len(classes.target), 1.0),
        np.append(1.0 - rejected / len(classes.nontarget), 0.0),
        np.append(distinct, np.asarray([np.inf], dtype=distinct.dtype)),
    )
