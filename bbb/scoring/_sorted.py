"""Scores of one trial list, split by class and sorted once; every metric starts from here."""

import bisect
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bbb.errors import ConfigError, DataError, ShapeError

Floats = NDArray[np.floating[Any]]


def check_scores(scores: ArrayLike) -> Floats:
    """Scores as a floating array; float32 stays float32, integers become float64.

    Args:
        scores: Numbers, shape (trials,).

    Returns:
        The same values, shape (trials,).

    Raises:
        DataError: If they are not numbers.
        ShapeError: If they are not one value per trial.
    """
    array = np.asarray(scores)
    if not np.issubdtype(array.dtype, np.floating):
        if not (np.issubdtype(array.dtype, np.integer) or array.dtype == np.bool_):
            msg = f"scores need numbers, got dtype {array.dtype}; convert them to float"
            raise DataError(msg)
        array = array.astype(np.float64)
    if array.ndim != 1:
        msg = f"scores need shape (trials,), got {array.shape}; flatten them"
        raise ShapeError(msg)
    return array


def check_labels(is_target: ArrayLike, num_trials: int) -> NDArray[np.bool_]:
    """Labels as booleans; 0 and 1 are accepted.

    Args:
        is_target: True for target trials, shape (trials,).
        num_trials: Length that the scores have.

    Returns:
        Booleans, shape (trials,).

    Raises:
        ShapeError: If the length differs.
        DataError: If they are neither booleans nor 0 and 1.
    """
    labels = np.asarray(is_target)
    if labels.shape != (num_trials,):
        msg = (
            f"scores and is_target need one value per trial, got {num_trials} scores and labels "
            f"of shape {labels.shape}; align them by trial"
        )
        raise ShapeError(msg)
    if labels.dtype != np.bool_:
        if not np.isin(labels, (0, 1)).all():
            msg = f"is_target needs booleans, got dtype {labels.dtype}; True marks a target trial"
            raise DataError(msg)
        labels = labels.astype(np.bool_)
    return labels


def check_operating_point(p_target: float, c_miss: float, c_fa: float) -> None:
    """Refuse a prior outside (0, 1) or a cost that is not positive.

    Args:
        p_target: Prior probability of a target trial.
        c_miss: Cost of a miss.
        c_fa: Cost of a false alarm.

    Raises:
        ConfigError: If one is out of range.
    """
    if not 0.0 < p_target < 1.0:
        msg = f"p_target needs a probability between 0 and 1 (both excluded), got {p_target}"
        raise ConfigError(msg)
    if not (0.0 < c_miss < math.inf and 0.0 < c_fa < math.inf):
        msg = f"c_miss and c_fa need positive finite costs, got {c_miss} and {c_fa}"
        raise ConfigError(msg)


def bayes_threshold(p_target: float, c_miss: float, c_fa: float) -> float:
    """The log-likelihood ratio from which accepting is the cheaper decision."""
    return math.log(c_fa) - math.log(c_miss) + math.log1p(-p_target) - math.log(p_target)


@dataclass(frozen=True, eq=False)
class SortedScores:
    """Both classes' scores in rising order.

    Sorting two classes by value is several times faster than one argsort, and all that the
    metrics ask for are counts below a threshold.

    Attributes:
        target: Scores of target trials, shape (targets,), at least one.
        nontarget: Scores of nontarget trials, shape (nontargets,), at least one.
    """

    target: Floats
    nontarget: Floats

    @staticmethod
    def split(scores: ArrayLike, is_target: ArrayLike) -> "SortedScores":
        """Split and sort; NaN and a missing class are errors.

        Args:
            scores: Score of each trial, shape (trials,).
            is_target: True for target trials, shape (trials,).

        Returns:
            The sorted classes, of the same floating type as the scores.

        Raises:
            DataError: If a score is NaN, or one class has no trial.
        """
        values = check_scores(scores)
        labels = check_labels(is_target, len(values))
        target, nontarget = values[labels], values[~labels]
        for name, part in (("target", target), ("nontarget", nontarget)):
            if not len(part):
                msg = f"metrics need trials of both classes, got no {name} trial; check the labels"
                raise DataError(msg)
            part.sort()
        # NaN sorts to the end, so the last element tells.
        if np.isnan(target[-1]) or np.isnan(nontarget[-1]):
            first = int(np.flatnonzero(np.isnan(values))[0])
            total = int(np.isnan(values).sum())
            msg = f"scores need numbers, got {total} NaN, the first at trial {first}; rescore"
            raise DataError(msg)
        return SortedScores(target, nontarget)

    def errors_at(self, threshold: float | np.floating[Any]) -> tuple[int, int]:
        """Number of misses and false alarms when ``score >= threshold`` accepts."""
        misses = int(np.searchsorted(self.target, threshold, side="left"))
        rejected = int(np.searchsorted(self.nontarget, threshold, side="left"))
        return misses, len(self.nontarget) - rejected

    def equal_error_rate(self) -> float:
        """Exact crossing of the DET steps with the diagonal, by bisection over both classes."""
        targets, nontargets = len(self.target), len(self.nontarget)

        def gap(errors: tuple[int, int]) -> int:
            """Sign of miss rate less false-alarm rate."""
            # Integers of any size: the sign of fnr - fpr is exact.
            return errors[0] * nontargets - errors[1] * targets

        # At the first score of all, everything is accepted and the gap is negative.
        below: list[tuple[int, int]] = []
        above = [(targets, 0)]
        for part in (self.target, self.nontarget):
            index = bisect.bisect_left(part, 0, key=lambda value: gap(self.errors_at(value)))
            if index > 0:
                below.append(self.errors_at(part[index - 1]))
            if index < len(part):
                above.append(self.errors_at(part[index]))
        low, high = max(below, key=gap), min(above, key=gap)
        share = -gap(low) / (gap(high) - gap(low))
        return (low[0] + share * (high[0] - low[0])) / targets

    def min_dcf(self, p_target: float, c_miss: float, c_fa: float) -> float:
        """Lowest normalised cost over all thresholds."""
        check_operating_point(p_target, c_miss, c_fa)
        # The best threshold stands on a target score, or above every score: moving it up to the
        # next target only loses false alarms. A tied target counts as missed here, which makes
        # its cost too high, but then the first target of that tie gives the right one.
        rejected = np.searchsorted(self.nontarget, self.target, side="left")
        cost = (len(self.nontarget) - rejected) * ((1.0 - p_target) * c_fa / len(self.nontarget))
        cost += np.arange(len(self.target)) * (p_target * c_miss / len(self.target))
        lowest = min(float(cost.min()), p_target * c_miss)
        return lowest / min(p_target * c_miss, (1.0 - p_target) * c_fa)

    def act_dcf(self, p_target: float, c_miss: float, c_fa: float) -> float:
        """Normalised cost at the Bayes threshold, for scores that are log-likelihood ratios."""
        check_operating_point(p_target, c_miss, c_fa)
        misses, false_alarms = self.errors_at(bayes_threshold(p_target, c_miss, c_fa))
        cost = p_target * c_miss * misses / len(self.target)
        cost += (1.0 - p_target) * c_fa * false_alarms / len(self.nontarget)
        return cost / min(p_target * c_miss, (1.0 - p_target) * c_fa)

    def cllr(self) -> float:
        """Cost of the log-likelihood ratios, in bits."""
        miss = np.logaddexp(0.0, -self.target.astype(np.float64)).mean()
        false_alarm = np.logaddexp(0.0, self.nontarget.astype(np.float64)).mean()
        return float(miss + false_alarm) / (2.0 * math.log(2.0))

    def min_cllr(self) -> float:
        """Cost in bits after the best monotone calibration."""
        values, target_bin = np.unique(self.target, return_inverse=True)
        targets = np.zeros(2 * len(values) + 1)
        targets[1::2] = np.bincount(target_bin, minlength=len(values))
        bins = bin_index(values, self.nontarget)
        return pooled_cllr(targets, np.bincount(bins, minlength=len(targets)).astype(np.float64))


def bin_index(edges: Floats, scores: Floats) -> NDArray[np.intp]:
    """Bin of each score: 2i + 1 on the i-th edge, 2i between edge i - 1 and edge i.

    With the distinct target scores as edges, the counts per bin determine every point of the DET
    curve at which anything can happen, so nothing is lost by binning.

    Args:
        edges: Distinct values in rising order, shape (edges,).
        scores: Shape (trials,).

    Returns:
        Integers in [0, 2 edges], shape (trials,).
    """
    left = np.searchsorted(edges, scores, side="left")
    return left + np.searchsorted(edges, scores, side="right")


def pooled_cllr(targets: Floats, nontargets: Floats) -> float:
    """Cllr, in bits, of the best non-decreasing map of bins to log-likelihood ratios (PAV).

    Args:
        targets: Weight of target trials per bin, in rising order of the score, shape (bins,).
        nontargets: The same for nontarget trials, shape (bins,).

    Returns:
        A cost in [0, 1] bits.
    """
    used = targets + nontargets > 0
    tar, non = targets[used], nontargets[used]
    while True:
        # Every falling or flat run becomes one block, all runs in one pass: the order in which
        # adjacent violators are pooled does not matter. Cross-products avoid the division.
        rises = tar[:-1] * non[1:] < tar[1:] * non[:-1]
        if rises.all():
            break
        starts = np.flatnonzero(np.concatenate(([True], rises)))
        tar, non = np.add.reduceat(tar, starts), np.add.reduceat(non, starts)
    # A block's likelihood ratio is (tar / all tar) / (non / all non); each class pays
    # log(1 + odds against it), and only in blocks where it has a trial, so nothing is infinite.
    prior = float(tar.sum() / non.sum())
    hit, hot = tar > 0, non > 0
    miss = (tar[hit] * np.log1p(prior * non[hit] / tar[hit])).sum() / tar.sum()
    false_alarm = (non[hot] * np.log1p(tar[hot] / non[hot] / prior)).sum() / non.sum()
    return float(miss + false_alarm) / (2.0 * math.log(2.0))
