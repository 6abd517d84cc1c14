"""Weighted trials of many bootstrap resamples at once: cells, bins, and the metrics over them."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from bbb.errors import ShapeError
from bbb.scoring._sorted import bayes_threshold, least_accepted
from bbb.scoring._steps import Floats, bin_index, cost_of, pooled_cllr

ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Cells:
    """Groups of trials that have the same weight in every resample.

    Attributes:
        target: Cell of each target trial, in their order in the list, shape (targets,).
        nontarget: Cell of each nontarget trial, shape (nontargets,).
        size: Number of cells of the larger class.
        num_units: Number of speakers, or of trials, that are drawn.
        draw: Weights of the target cells (target cells, n) and of the nontarget cells
            (nontarget cells, n) in n new resamples, float32.
    """

    target: NDArray[np.intp]
    nontarget: NDArray[np.intp]
    size: int
    num_units: int
    draw: Callable[[np.random.Generator, int], tuple[Floats, Floats]]


def _counts(rng: np.random.Generator, units: int, size: int) -> Floats:
    """How often each of ``units`` is drawn in ``size`` resamples, (units, size) float32."""
    counts = np.empty((units, size), dtype=np.float32)
    for column in range(size):
        counts[:, column] = np.bincount(rng.integers(units, size=units), minlength=units)
    return counts


def trial_cells(labels: NDArray[np.bool_]) -> Cells:
    """Each trial on its own; the trials of each class are resampled."""
    targets, nontargets = int(labels.sum()), int((~labels).sum())

    def draw(rng: np.random.Generator, size: int) -> tuple[Floats, Floats]:
        """Weights of the target and of the nontarget trials."""
        return _counts(rng, targets, size), _counts(rng, nontargets, size)

    return Cells(
        np.arange(targets), np.arange(nontargets), max(targets, nontargets), len(labels), draw
    )


def speaker_cells(labels: NDArray[np.bool_], enroll: NDArray[Any], test: NDArray[Any]) -> Cells:
    """Trials by unordered pair of speakers; the speakers are resampled.

    Args:
        labels: True for target trials, shape (trials,).
        enroll: Speaker of the enrolment side, any sortable type, shape (trials,).
        test: Speaker of the test side, shape (trials,).

    Returns:
        The cells; a pair weighs the product of its speakers' counts, a speaker with itself the
        count.

    Raises:
        ShapeError: If there is not one speaker per side and trial.
    """
    if enroll.shape != labels.shape or test.shape != labels.shape:
        msg = (
            f"speakers need one value per side and trial, got shapes {enroll.shape} and "
            f"{test.shape} for {len(labels)} trials; align them by trial"
        )
        raise ShapeError(msg)
    names, codes = np.unique(np.concatenate((enroll, test)), return_inverse=True)
    first, second = codes[: len(labels)], codes[len(labels) :]
    pairs = np.minimum(first, second) * len(names) + np.maximum(first, second)
    target_pairs, target = np.unique(pairs[labels], return_inverse=True)
    nontarget_pairs, nontarget = np.unique(pairs[~labels], return_inverse=True)

    def weights(counts: Floats, chosen: NDArray[np.intp]) -> Floats:
        """Product of the counts of both sides, or the count within one speaker."""
        left, right = np.divmod(chosen, len(names))
        product = counts[left] * counts[right]
        product[left == right] = counts[left[left == right]]
        return product

    def draw(rng: np.random.Generator, size: int) -> tuple[Floats, Floats]:
        """Weights of the target and of the nontarget pairs of speakers."""
        counts = _counts(rng, len(names), size)
        return weights(counts, target_pairs), weights(counts, nontarget_pairs)

    size = max(len(target_pairs), len(nontarget_pairs))
    return Cells(target, nontarget, size, len(names), draw)


@dataclass(frozen=True, eq=False)
class TrialTable:
    """One system's trials, counted by bin and cell.

    Attributes:
        target: Number of target trials, sparse, shape (bins, target cells).
        nontarget: The same for nontarget trials, shape (bins, nontarget cells).
        target_scores: Scores of the target trials, shape (targets,).
        nontarget_scores: The same for nontarget trials, shape (nontargets,).
        cells: The cells of the trials.
    """

    target: Any
    nontarget: Any
    target_scores: Floats
    nontarget_scores: Floats
    cells: Cells

    @staticmethod
    def build(scores: Floats, labels: NDArray[np.bool_], cells: Cells) -> "TrialTable":
        """Count the trials; scores and labels have shape (trials,)."""
        parts = scores[labels], scores[~labels]
        edges = np.unique(parts[0])
        tables = []
        for part, cell in zip(parts, (cells.target, cells.nontarget), strict=True):
            ones = np.ones(len(part), dtype=np.float32)
            shape = (2 * len(edges) + 1, int(cell.max()) + 1)
            tables.append(sparse.csr_matrix((ones, (bin_index(edges, part), cell)), shape=shape))
        return TrialTable(tables[0], tables[1], parts[0], parts[1], cells)

    @property
    def num_bins(self) -> int:
        """Number of bins, twice the number of distinct target scores and one."""
        return int(self.target.shape[0])

    def resample(self, target: Floats, nontarget: Floats) -> "Resamples":
        """Weight the trials; the weights have shape (cells of the class, resamples)."""
        return Resamples(self, target, nontarget)

    def cell_sums(self, per_target: ArrayLike, per_nontarget: ArrayLike) -> tuple[Floats, Floats]:
        """Sum of a value per trial over each cell, for both classes."""
        cells = (self.cells.target, self.cells.nontarget)
        values = (np.asarray(per_target, np.float64), np.asarray(per_nontarget, np.float64))
        sums = [np.bincount(cell, value) for cell, value in zip(cells, values, strict=True)]
        return sums[0].astype(np.float64), sums[1].astype(np.float64)

    @functools.cached_property
    def cllr_sums(self) -> tuple[Floats, Floats]:
        """Cost of each cell in nats, for both classes."""
        return self.cell_sums(
            np.logaddexp(0.0, -self.target_scores.astype(np.float64)),
            np.logaddexp(0.0, self.nontarget_scores.astype(np.float64)),
        )


class Resamples:
    """The metrics of a block of resamples; each method returns one value per resample.

    Args:
        table: The counted trials.
        target: Weights of the target cells, shape (cells, resamples).
        nontarget: Weights of the nontarget cells, shape (cells, resamples).
    """

    def __init__(self, table: TrialTable, target: Floats, nontarget: Floats) -> None:
        self._table = table
        self._weights = target, nontarget
        self.size = target.shape[1]
        ones = table.cell_sums(
            np.ones(len(table.cells.target)), np.ones(len(table.cells.nontarget))
        )
        self._totals = ones[0] @ target, ones[1] @ nontarget

    @functools.cached_property
    def _bins(self) -> tuple[Floats, Floats]:
        """Weight per bin of both classes, each (bins, resamples)."""
        return self._table.target @ self._weights[0], self._table.nontarget @ self._weights[1]

    @functools.cached_property
    def _rates(self) -> tuple[Floats, Floats]:
        """Fnr and fpr at each point of the DET curve, each (bins + 1, resamples)."""
        points = []
        for weight, total in zip(self._bins, self._totals, strict=True):
            rejected = np.zeros((len(weight) + 1, self.size))
            np.cumsum(weight, axis=0, dtype=np.float64, out=rejected[1:])
            rejected /= total
            # The last point rejects everything; say so exactly.
            rejected[-1] = 1.0
            points.append(rejected)
        return points[0], 1.0 - points[1]

    def equal_error_rate(self) -> NDArray[np.float64]:
        """EER, as `bbb.scoring.metrics.equal_error_rate` defines it."""
        fnr, fpr = self._rates
        # Rounding in the rates must not move an exact crossing to the next point.
        high = np.argmax(fnr - fpr >= -ROUNDING, axis=0)
        columns = np.arange(self.size)
        before, after = (high - 1, columns), (high, columns)
        gap = fpr[before] - fnr[before]
        share = gap / (gap + fnr[after] - fpr[after])
        return np.asarray(fnr[before] + share * (fnr[after] - fnr[before]))

    def min_dcf(self, p_target: float, c_miss: float, c_fa: float) -> NDArray[np.float64]:
        """Lowest normalised cost over all thresholds."""
        fnr, fpr = self._rates
        return np.asarray(cost_of(fnr, fpr, (p_target, c_miss, c_fa)).min(axis=0))

    def act_dcf(self, p_target: float, c_miss: float, c_fa: float) -> NDArray[np.float64]:
        """Normalised cost at the Bayes threshold."""
        targets, nontargets = self._table.target_scores, self._table.nontarget_scores
        least = least_accepted(bayes_threshold(p_target, c_miss, c_fa), targets.dtype)
        miss, false_alarm = self._means(self._table.cell_sums(targets < least, nontargets >= least))
        return np.asarray(cost_of(miss, false_alarm, (p_target, c_miss, c_fa)), np.float64)

    def cllr(self) -> NDArray[np.float64]:
        """Cost of the log-likelihood ratios, in bits."""
        miss, false_alarm = self._means(self._table.cllr_sums)
        return np.asarray((miss + false_alarm) / (2.0 * math.log(2.0)))

    def min_cllr(self) -> NDArray[np.float64]:
        """Cost in bits after the best monotone calibration of each resample."""
        columns = (part.T.astype(np.float64) for part in self._bins)
        return np.array([pooled_cllr(*pair) for pair in zip(*columns, strict=True)])

    def _means(self, sums: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
        """Weighted means over the trials of each class, from sums over cells."""
        miss, false_alarm = (
            _weighted(values, weight) / total
            for values, weight, total in zip(sums, self._weights, self._totals, strict=True)
        )
        return miss, false_alarm


def _weighted(values: Floats, weights: Floats) -> Floats:
    """Sums of values (cells,) by weights (cells, n); an infinite value of weight 0 is left out."""
    endless = np.isinf(values)
    total = np.where(endless, 0.0, values) @ weights
    total[(weights[endless] > 0).any(axis=0)] = np.inf
    return np.asarray(total)
