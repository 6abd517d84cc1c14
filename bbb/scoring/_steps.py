"""Counts around each distinct target score: they determine every figure that ranks determine.

Between two target scores the DET curve is vertical (only false alarms change), so that what the
nontarget scores there are does not matter; on a target score it steps aside, and the nontarget
scores that tie with it make the step slanted.
"""

import bisect
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating[Any]]
Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class DetSteps:
    """The two classes, as the thresholds between them see them.

    Attributes:
        edges: Distinct target scores in rising order, shape (edges,).
        missed: Number of target scores below each edge, then of all, shape (edges + 1,).
        below: Number of nontarget scores below each edge, shape (edges,).
        through: The same, with those on the edge, shape (edges,).
        num_nontarget: Number of nontarget scores.
    """

    edges: Floats
    missed: Counts
    below: Counts
    through: Counts
    num_nontarget: int

    @staticmethod
    def of_sorted(target: Floats, nontarget: Floats) -> "DetSteps":
        """Count two classes, each in rising order."""
        edges, missed = distinct(target)
        below, through = count_sorted(nontarget, edges)
        return DetSteps(edges, missed, below, through, len(nontarget))

    def equal_error_rate(self) -> float:
        """Where the DET steps cross the diagonal."""
        targets, nontargets = int(self.missed[-1]), self.num_nontarget

        def errors(index: int, rejected: Counts, tied: int) -> tuple[int, int]:
            """Misses and false alarms on an edge (0), or just above it (1)."""
            return int(self.missed[index + tied]), nontargets - int(rejected[index])

        index = bisect.bisect_left(
            range(len(self.edges)),
            0,
            key=lambda edge: gap(errors(edge, self.through, 1), targets, nontargets),
        )
        low, high = errors(index, self.below, 0), errors(index, self.through, 1)
        # Crossed on the way up to this edge already, where the miss rate is constant.
        if gap(low, targets, nontargets) >= 0:
            return low[0] / targets
        return crossing(low, high, targets, nontargets)

    def best_point(self, p_target: float, c_miss: float, c_fa: float) -> tuple[float, float]:
        """Lowest normalised cost, and the lowest target score (or infinity) that reaches it."""
        # The best threshold stands on a target score or above all: between two of them, moving up
        # only loses false alarms.
        accepted = np.append(self.num_nontarget - self.below, 0)
        cost = cost_of(
            self.missed / self.missed[-1], accepted / self.num_nontarget, (p_target, c_miss, c_fa)
        )
        best = int(np.argmin(cost))
        return float(cost[best]), float(self.edges[best]) if best < len(self.edges) else math.inf

    def bins(self) -> tuple[Floats, Floats]:
        """Trials of both classes between (even bins) and on (odd bins) the edges, as floats."""
        shape = 2 * len(self.edges) + 1
        targets, nontargets = np.zeros(shape), np.zeros(shape)
        targets[1::2] = np.diff(self.missed)
        nontargets[1::2] = self.through - self.below
        nontargets[0::2] = np.append(self.below, self.num_nontarget)
        nontargets[2::2] -= self.through
        return targets, nontargets

    def min_cllr(self) -> float:
        """Cost in bits after the best monotone calibration."""
        return pooled_cllr(*self.bins())

    def rocch_eer(self) -> float:
        """Where the convex hull of the DET points crosses the diagonal."""
        targets, nontargets = pool(*self.bins())
        fnr = np.concatenate(([0.0], np.cumsum(targets) / targets.sum()))
        fpr = 1.0 - np.concatenate(([0.0], np.cumsum(nontargets) / nontargets.sum()))
        high = max(int(np.argmax(fnr >= fpr)), 1)
        before, after = fpr[high - 1] - fnr[high - 1], fnr[high] - fpr[high]
        return float(fnr[high - 1] + before / (before + after) * (fnr[high] - fnr[high - 1]))


def gap(errors: tuple[int, int], targets: int, nontargets: int) -> int:
    """Sign of the miss rate less the false-alarm rate; integers of any size make it exact."""
    return errors[0] * nontargets - errors[1] * targets


def crossing(low: tuple[int, int], high: tuple[int, int], targets: int, nontargets: int) -> float:
    """Rate where the line between two DET points (misses, false alarms) meets the diagonal."""
    before, after = gap(low, targets, nontargets), gap(high, targets, nontargets)
    return (low[0] - before / (after - before) * (high[0] - low[0])) / targets


def cost_of(fnr: ArrayLike, fpr: ArrayLike, costs: tuple[float, float, float]) -> Floats:
    """Cost of rates at a prior and two costs, normalised by the better trivial decision."""
    p_target, c_miss, c_fa = costs
    miss, false_alarm = p_target * c_miss, (1.0 - p_target) * c_fa
    lowest = min(miss, false_alarm)
    return miss / lowest * np.asarray(fnr) + false_alarm / lowest * np.asarray(fpr)


def distinct(ordered: Floats) -> tuple[Floats, Counts]:
    """Distinct values of a rising array, and where each starts, with the length at the end."""
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return ordered[starts], np.append(starts, len(ordered)).astype(np.int64)


def count_sorted(ordered: Floats, edges: Floats) -> tuple[Counts, Counts]:
    """Number of values below each edge, and of those not above it; both arrays rise."""
    below = np.searchsorted(ordered, edges, side="left").astype(np.int64)
    through = below.copy()
    inside = np.flatnonzero(below < len(ordered))
    # Few edges have ties, as a rule, and a second search of all would take as long as the first.
    tied = inside[ordered[below[inside]] == edges[inside]]
    through[tied] = np.searchsorted(ordered, edges[tied], side="right")
    return below, through


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


def pool(targets: Floats, nontargets: Floats) -> tuple[Floats, Floats]:
    """Pool adjacent violators: blocks of bins whose share of targets strictly rises.

    Args:
        targets: Weight of target trials per bin, in rising order of the score, shape (bins,).
        nontargets: The same for nontarget trials, shape (bins,).

    Returns:
        The weights per block, each of shape (blocks,).
    """
    used = targets + nontargets > 0
    tar, non = targets[used], nontargets[used]
    while True:
        # Every falling or flat run becomes one block, all runs in one pass: the order in which
        # adjacent violators are pooled does not matter. Cross-products avoid the division.
        rises = tar[:-1] * non[1:] < tar[1:] * non[:-1]
        if rises.all():
            return tar, non
        starts = np.flatnonzero(np.concatenate(([True], rises)))
        tar, non = np.add.reduceat(tar, starts), np.add.reduceat(non, starts)


def pooled_cllr(targets: Floats, nontargets: Floats) -> float:
    """Cllr, in bits, of the best non-decreasing map of bins to log-likelihood ratios (PAV).

    Args:
        targets: Weight of target trials per bin, in rising order of the score, shape (bins,).
        nontargets: The same for nontarget trials, shape (bins,).

    Returns:
        A cost in [0, 1] bits.
    """
    tar, non = pool(targets, nontargets)
    # A block's likelihood ratio is (tar / all tar) / (non / all non); each class pays
    # log(1 + odds against it), and only in blocks where it has a trial, so nothing is infinite.
    prior = float(tar.sum() / non.sum())
    hit, hot = tar > 0, non > 0
    miss = (tar[hit] * np.log1p(prior * non[hit] / tar[hit])).sum() / tar.sum()
    false_alarm = (non[hot] * np.log1p(tar[hot] / non[hot] / prior)).sum() / non.sum()
    return float(miss + false_alarm) / (2.0 * math.log(2.0))
