"""How many of a stream of scores lie below and on each of some thresholds, exactly."""

import math

import numpy as np
from numpy.typing import NDArray

from bbb.scoring._steps import Counts, Floats, count_sorted

CELLS = 2**12, 2**21  # least and most; the counts of the most still fit a cache
PENDING = 2**18
NEAR = 1e-30  # a range that float32 can still divide


class EdgeCounts:
    """A counter of scores between thresholds.

    The range of the thresholds (edges) is cut into equal cells. In a cell without an edge it is
    enough to count, which takes a few nanoseconds a score, a tenth of sorting; the scores in the
    other cells are sorted.

    Args:
        edges: Distinct values in rising order, at least one, shape (edges,).
    """

    def __init__(self, edges: Floats) -> None:
        self.edges = edges
        number = edges.dtype.type
        size = 1 << (4 * len(edges) - 1).bit_length()
        self._cells = min(max(size, CELLS[0]), CELLS[1])
        finite = edges[np.isfinite(edges)]
        self._low, width = number(0.0), 0.0
        if len(finite):
            self._low, width = finite[0], float(finite[-1]) - float(finite[0])
        # Where the edges are too near or too far apart for numbers to tell, any scale is right.
        usable = NEAR < width < math.inf
        self._scale = number(self._cells / width if usable else 1.0)
        self._edge_cell = self._cell(edges)
        self._has_edge = np.zeros(self._cells + 2, dtype=np.bool_)
        self._has_edge[self._edge_cell] = True
        sizes = self._cells + 2, len(edges), len(edges)
        self._in_cell, self._below, self._through = (np.zeros(size, np.int64) for size in sizes)
        self._pending: list[Floats] = []
        self._num_pending = 0

    def add(self, scores: Floats) -> None:
        """Count scores of the edges' type; blocks that fit the cache are fastest."""
        cell = self._cell(scores)
        np.add.at(self._in_cell, cell, 1)
        near = scores[self._has_edge[cell]]
        self._pending.append(near)
        self._num_pending += len(near)
        if self._num_pending > max(PENDING, 2 * len(self.edges)):
            self.settle()

    def settle(self) -> None:
        """Sort and count the scores that share a cell with an edge."""
        if self._pending:
            ordered = np.concatenate(self._pending)
            ordered.sort()
            self._pending, self._num_pending = [], 0
            below, through = count_sorted(ordered, self.edges)
            self._below += below
            self._through += through

    def merge(self, other: "EdgeCounts") -> None:
        """Add the counts of an object with the same edges."""
        for mine, added in zip(self.arrays(), other.arrays(), strict=True):
            np.add(mine, added, out=mine)

    def arrays(self) -> tuple[Counts, Counts, Counts]:
        """All counts, as they add."""
        self.settle()
        return self._in_cell, self._below, self._through

    def totals(self) -> tuple[Counts, Counts]:
        """Number of scores below each edge, and of those not above it, each (edges,)."""
        self.settle()
        # Scores in cells that hold an edge have been counted one by one.
        before = np.cumsum(np.where(self._has_edge, 0, self._in_cell))[self._edge_cell]
        return before + self._below, before + self._through

    def _cell(self, scores: Floats) -> NDArray[np.intp]:
        """Cell of each score; it never falls where scores rise, whatever the rounding."""
        with np.errstate(over="ignore"):
            place = scores - self._low
            place *= self._scale
        np.clip(place, -1.0, self._cells, out=place)
        place += 1.0
        return place.astype(np.intp)
