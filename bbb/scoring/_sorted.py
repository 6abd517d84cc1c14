"""Scores of one trial list, split by class and sorted once; every metric starts from here."""

import bisect
import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bbb.errors import ConfigError, DataError, ShapeError
from bbb.scoring._steps import DetSteps, Floats, cost_of, crossing, gap

BLOCK = 2**16  # scores at a time, which stay in the cache
STRIDE = 256


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


def check_numbers(scores: Floats) -> None:
    """Refuse NaN.

    Args:
        scores: Shape (trials,).

    Raises:
        DataError: If a score is NaN; it gives the number and the first trial.
    """
    # The maximum of numbers of which one is NaN is NaN, and it needs no temporary.
    if len(scores) and np.isnan(scores.max()):
        bad = np.flatnonzero(np.isnan(scores))
        msg = f"scores need numbers, got {len(bad)} NaN, the first at trial {bad[0]}; rescore"
        raise DataError(msg)


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


def least_accepted(
    threshold: float | np.floating[Any], dtype: np.dtype[np.floating[Any]]
) -> np.floating[Any]:
    """The lowest number of a type that a threshold accepts; a wider type would widen all scores."""
    least = dtype.type(threshold)
    # As floats: NumPy would round a Python number to the narrower type before it compares.
    below = float(least) < float(threshold)
    return np.nextafter(least, dtype.type(math.inf)) if below else least


def softplus_sum(scores: Floats, sign: float = 1.0) -> float:
    """Sum of ``log(1 + exp(sign * score))`` in float64, finite for finite scores."""
    total = 0.0
    for start in range(0, len(scores), BLOCK):
        block = sign * scores[start : start + BLOCK].astype(np.float64)
        total += float(np.maximum(block, 0.0).sum() + np.log1p(np.exp(-np.abs(block))).sum())
    return total


def _of_class(values: Floats, labels: NDArray[np.bool_], *, wanted: bool = False) -> Floats:
    """Copy of the scores that have a label; in blocks, to make no second mask of all trials."""
    size = int(np.count_nonzero(labels))
    part, end = np.empty(size if wanted else len(labels) - size, values.dtype), 0
    for start in range(0, len(values), BLOCK):
        block = slice(start, start + BLOCK)
        chosen = values[block][labels[block] == wanted]
        part[end : end + len(chosen)] = chosen
        end += len(chosen)
    return part


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
        target, nontarget = _of_class(values, labels, wanted=True), _of_class(values, labels)
        for name, part in (("target", target), ("nontarget", nontarget)):
            if not len(part):
                msg = f"metrics need trials of both classes, got no {name} trial; check the labels"
                raise DataError(msg)
            part.sort()
        # NaN sorts to the end, so the last element tells.
        if np.isnan(target[-1]) or np.isnan(nontarget[-1]):
            check_numbers(values)
        return SortedScores(target, nontarget)

    @property
    def num_target(self) -> int:
        """Number of target trials."""
        return len(self.target)

    @property
    def num_nontarget(self) -> int:
        """Number of nontarget trials."""
        return len(self.nontarget)

    def errors_at(self, threshold: float | np.floating[Any]) -> tuple[int, int]:
        """Number of misses and false alarms when ``score >= threshold`` accepts."""
        least = least_accepted(threshold, self.target.dtype)
        misses = int(np.searchsorted(self.target, least, side="left"))
        rejected = int(np.searchsorted(self.nontarget, least, side="left"))
        return misses, self.num_nontarget - rejected

    def equal_error_rate(self) -> float:
        """Where the DET steps cross the diagonal."""
        return self.eer_point()[0]

    def eer_point(self) -> tuple[float, float]:
        """Exact crossing of the DET steps with the diagonal, by bisection over both classes.

        Returns:
            The rate, and the lowest score (or infinity) at which misses are as likely as false
            alarms or likelier.
        """
        totals = self.num_target, self.num_nontarget
        # At the first score of all, everything is accepted and the gap is negative.
        below: list[tuple[int, int]] = []
        above: list[float] = []
        for part in (self.target, self.nontarget):
            index = bisect.bisect_left(
                part, 0, key=lambda score: gap(self.errors_at(score), *totals)
            )
            if index > 0:
                below.append(self.errors_at(part[index - 1]))
            if index < len(part):
                above.append(float(part[index]))
        low = max(below, key=lambda errors: gap(errors, *totals))
        # Above every score, one at infinity included, each trial is rejected.
        high = self.errors_at(min(above)) if above else (self.num_target, 0)
        return crossing(low, high, *totals), min(above, default=math.inf)

    def min_dcf(self, p_target: float, c_miss: float, c_fa: float) -> float:
        """Lowest normalised cost over all thresholds."""
        return self.best_point(p_target, c_miss, c_fa)[0]

    def best_point(self, p_target: float, c_miss: float, c_fa: float) -> tuple[float, float]:
        """Lowest normalised cost, and the lowest target score (or infinity) that reaches it."""
        costs = p_target, c_miss, c_fa
        check_operating_point(*costs)

        def cost(misses: NDArray[Any], rejected: NDArray[Any]) -> Floats:
            """Normalised cost where so many targets and nontargets are rejected."""
            accepted = self.num_nontarget - rejected
            return cost_of(misses / self.num_target, accepted / self.num_nontarget, costs)

        # The best threshold stands on a target score, or above every score: moving it up to the
        # next target only loses false alarms. A tied target counts as missed here, which makes
        # its cost too high, but then the first target of that tie gives the right one.
        posts = np.arange(0, self.num_target, STRIDE)
        rejected = np.searchsorted(self.nontarget, self.target[posts])
        lowest = cost(posts, rejected).min()
        # From one post to the next no cost is below that of the misses at the first with the false
        # alarms at the second, so that most targets need not be looked up.
        bound = cost(posts, np.append(rejected[1:], self.num_nontarget))
        index = (posts[bound <= lowest, None] + np.arange(STRIDE)).ravel()
        index = index[index < self.num_target]
        values = cost(index, np.searchsorted(self.nontarget, self.target[index]))
        best, reject_all = int(np.argmin(values)), float(cost_of(1.0, 0.0, costs))
        if values[best] > reject_all:
            return reject_all, math.inf
        return float(values[best]), float(self.target[index[best]])

    def act_dcf(self, p_target: float, c_miss: float, c_fa: float) -> float:
        """Normalised cost at the Bayes threshold, for scores that are log-likelihood ratios."""
        costs = p_target, c_miss, c_fa
        check_operating_point(*costs)
        misses, false_alarms = self.errors_at(bayes_threshold(*costs))
        fnr, fpr = misses / self.num_target, false_alarms / self.num_nontarget
        return float(cost_of(fnr, fpr, costs))

    def cllr(self) -> float:
        """Cost of the log-likelihood ratios, in bits."""
        miss = softplus_sum(self.target, -1.0) / self.num_target
        false_alarm = softplus_sum(self.nontarget) / self.num_nontarget
        return (miss + false_alarm) / (2.0 * math.log(2.0))

    @functools.cached_property
    def steps(self) -> DetSteps:
        """The classes as the target scores see them."""
        return DetSteps.of_sorted(self.target, self.nontarget)

    def min_cllr(self) -> float:
        """Cost in bits after the best monotone calibration."""
        return self.steps.min_cllr()
