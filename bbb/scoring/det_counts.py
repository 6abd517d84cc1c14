"""Exact metrics of trial sets larger than memory: nontarget scores are counted and forgotten."""

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bbb.errors import ConfigError, DataError
from bbb.scoring._edge_counts import EdgeCounts
from bbb.scoring._sorted import (
    bayes_threshold,
    check_labels,
    check_numbers,
    check_operating_point,
    check_scores,
    least_accepted,
    softplus_sum,
)
from bbb.scoring._steps import DetSteps, Floats, cost_of, distinct
from bbb.scoring.metrics import DetCurve
from bbb.scoring.points import OperatingPoint

BLOCK = 2**15  # scores at a time, which stay in the cache

Block = tuple[ArrayLike, ArrayLike]


class DetCounts:
    """Counts of nontarget scores between target scores, collected block by block.

    EER, min-DCF, min-Cllr and the convex hull depend on the nontarget scores only through how many
    lie below and on each target score (see `DetSteps`), so those counts give the same figures as
    all scores at once, in one pass and in memory that depends on the number of targets alone.
    Counts add: workers that hold the same targets collect blocks of their own, and the sum is that
    of a single run; Cllr alone is a sum of fractions, and equal up to rounding.

    Args:
        target_scores: All target scores, shape (targets,).
        points: Operating points (or priors) at which `act_dcf` will be asked for.

    Raises:
        DataError: If there is no target score, or one is NaN.
        ShapeError: If they are not one value per trial.
        ConfigError: If an operating point is out of range.

    Example:
        >>> counts = DetCounts([2.0, 3.0, 0.5, 4.0])
        >>> for block in ([0.0, 1.0], [2.5, -1.0]):
        ...     counts.update(block)
        >>> counts.equal_error_rate(), counts.min_dcf(0.5)
        (0.25, 0.5)
    """

    def __init__(
        self, target_scores: ArrayLike, *, points: Sequence[float | str | OperatingPoint] = ()
    ) -> None:
        target = check_scores(target_scores)
        check_numbers(target)
        if not len(target):
            msg = "DetCounts needs target scores first, got none; collect them in a first pass"
            raise DataError(msg)
        # Half precision is too coarse to number the cells.
        self._dtype = np.result_type(target.dtype, np.float32)
        target = np.sort(target.astype(self._dtype))
        self._target, self._missed = distinct(target)
        self._miss_sum, self._fa_sum = softplus_sum(target, -1.0), 0.0
        least = [least_accepted(OperatingPoint.of(p).threshold, self._dtype) for p in points]
        # A Bayes threshold is counted at like a target score.
        edges = np.unique(np.concatenate((self._target, np.asarray(least, self._dtype))))
        self._edge_counts = EdgeCounts(edges)
        self.num_nontarget = 0

    @staticmethod
    def of_blocks(
        blocks: Callable[[], Iterable[Block]],
        *,
        points: Sequence[float | str | OperatingPoint] = (),
    ) -> "DetCounts":
        """Count labelled blocks in two passes: targets first, then nontargets.

        Args:
            blocks: Called twice; each time it gives all blocks anew, pairs of scores (trials,) and
                ``is_target`` (trials,), as a function that reads a file does.
            points: Operating points at which `act_dcf` will be asked for.

        Returns:
            The counts.

        Raises:
            DataError: If there is no target score, or a score is NaN.
            ShapeError: If a block's arrays differ in length.
            ConfigError: If an operating point is out of range.
        """  # noqa: DOC502 (raised by the shared checks)
        counts = DetCounts(
            np.concatenate([np.empty(0, np.float32), *_of_class(blocks(), wanted=True)]),
            points=points,
        )
        for scores in _of_class(blocks(), wanted=False):
            counts.update(scores)
        return counts

    @property
    def num_target(self) -> int:
        """Number of target trials."""
        return int(self._missed[-1])

    def update(self, nontarget_scores: ArrayLike) -> None:
        """Count more nontarget trials.

        Args:
            nontarget_scores: Shape (trials,); of the targets' floating type, or a narrower one.

        Raises:
            DataError: If a score is NaN, or of a wider type; nothing is counted then.
            ShapeError: If they are not one value per trial.
        """  # noqa: DOC502 (NaN and shape, by the shared checks)
        scores = check_scores(nontarget_scores)
        check_numbers(scores)
        if not np.can_cast(scores.dtype, self._dtype):
            msg = (
                f"DetCounts of {self._dtype} targets needs scores of that type or a narrower one, "
                f"got {scores.dtype}; make the target scores {scores.dtype}"
            )
            raise DataError(msg)
        self.num_nontarget += len(scores)
        for start in range(0, len(scores), BLOCK):
            block = scores[start : start + BLOCK].astype(self._dtype, copy=False)
            self._edge_counts.add(block)
            self._fa_sum += softplus_sum(block)

    def merge(self, other: "DetCounts") -> "DetCounts":
        """Add the nontarget trials that another collector has counted.

        Args:
            other: Counts with the same target scores and points.

        Returns:
            This object.

        Raises:
            DataError: If the target scores or points differ.
        """
        edges, missed, fa_sum = other._edge_counts.edges, other._missed, other._fa_sum  # noqa: SLF001 (its own kind)
        pairs = (self._edge_counts.edges, edges), (self._missed, missed)
        if not all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs):
            msg = (
                f"DetCounts add when they have the same target scores and points, got "
                f"{self.num_target} and {other.num_target} targets that differ; make every one "
                "from all target scores"
            )
            raise DataError(msg)
        self._edge_counts.merge(other._edge_counts)  # noqa: SLF001
        self._fa_sum += fa_sum
        self.num_nontarget += other.num_nontarget
        return self

    def __add__(self, other: "DetCounts") -> "DetCounts":
        return copy.deepcopy(self).merge(other)

    def __getstate__(self) -> dict[str, Any]:
        self._edge_counts.settle()
        return self.__dict__

    def equal_error_rate(self) -> float:
        """See `bbb.scoring.equal_error_rate`."""
        return self._steps().equal_error_rate()

    def rocch_eer(self) -> float:
        """See `bbb.scoring.rocch_eer`."""
        return self._steps().rocch_eer()

    def min_dcf(self, p_target: float = 0.01, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
        """See `bbb.scoring.min_dcf`."""
        check_operating_point(p_target, c_miss, c_fa)
        return self._steps().best_point(p_target, c_miss, c_fa)[0]

    def threshold_at(self, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
        """See `bbb.scoring.threshold_at`; that of the EER would need the nontarget scores."""
        check_operating_point(p_target, c_miss, c_fa)
        return self._steps().best_point(p_target, c_miss, c_fa)[1]

    def act_dcf(self, p_target: float = 0.01, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
        """See `bbb.scoring.act_dcf`.

        Args:
            p_target: Prior probability of a target trial.
            c_miss: Cost of a miss.
            c_fa: Cost of a false alarm.

        Returns:
            The normalised cost.

        Raises:
            ConfigError: If the object was not made with this point.
        """
        check_operating_point(p_target, c_miss, c_fa)
        least = least_accepted(bayes_threshold(p_target, c_miss, c_fa), self._dtype)
        edges = self._edge_counts.edges
        edge = int(np.searchsorted(edges, least))
        if edge == len(edges) or edges[edge] != least:
            point = OperatingPoint(p_target, c_miss, c_fa)
            msg = (
                f"act_dcf needs its operating point before counting, got {point}; name it in "
                "DetCounts(..., points=[...])"
            )
            raise ConfigError(msg)
        accepted = self._checked() - int(self._edge_counts.totals()[0][edge])
        misses = int(self._missed[np.searchsorted(self._target, least)])
        fnr, fpr = misses / self.num_target, accepted / self.num_nontarget
        return float(cost_of(fnr, fpr, (p_target, c_miss, c_fa)))

    def cllr(self) -> float:
        """See `bbb.scoring.cllr`."""
        mean = self._fa_sum / self._checked() + self._miss_sum / self.num_target
        return mean / (2.0 * math.log(2.0))

    def min_cllr(self) -> float:
        """See `bbb.scoring.min_cllr`."""
        return self._steps().min_cllr()

    def det_curve(self) -> DetCurve:
        """The points of `bbb.scoring.det_curve` on target scores: all its corners but ties'."""
        steps = self._steps()
        return DetCurve(
            steps.missed / self.num_target,
            np.append(1.0 - steps.below / self.num_nontarget, 0.0),
            np.append(steps.edges, steps.edges.dtype.type(np.inf)),
        )

    def _steps(self) -> DetSteps:
        """The counts at the target scores alone."""
        self._checked()
        chosen = np.searchsorted(self._edge_counts.edges, self._target)
        below, through = (count[chosen] for count in self._edge_counts.totals())
        return DetSteps(self._target, self._missed, below, through, self.num_nontarget)

    def _checked(self) -> int:
        """Number of nontarget trials.

        Returns:
            The number, positive.

        Raises:
            DataError: If there is none yet.
        """
        if not self.num_nontarget:
            msg = "metrics need trials of both classes, got no nontarget trial; update() first"
            raise DataError(msg)
        return self.num_nontarget


def _of_class(blocks: Iterable[Block], *, wanted: bool) -> Iterable[Floats]:
    """The scores of one class, block by block."""
    for scores, is_target in blocks:
        values = check_scores(scores)
        yield values[check_labels(is_target, len(values)) == wanted]
