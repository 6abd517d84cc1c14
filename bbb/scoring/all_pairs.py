"""All pairs of utterances as trials: the square of their number, counted and not kept."""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bbb.errors import ShapeError
from bbb.scoring.cosine import check_dims
from bbb.scoring.det_counts import DetCounts
from bbb.scoring.mapping import Mapper, local_map
from bbb.scoring.points import OperatingPoint

Floats = NDArray[np.floating[Any]]
Codes = NDArray[np.intp]
PAIRS = 2**24  # of one block


def count_all_pairs(
    left: Floats,
    right: Floats,
    left_speakers: ArrayLike,
    right_speakers: ArrayLike,
    *,
    each_once: bool = False,
    points: Sequence[float | str | OperatingPoint] = (),
    mapper: Mapper = local_map,
    progress: Callable[[int], None] | None = None,
) -> DetCounts:
    """Score each row of one side with each of the other, and count.

    Args:
        left: Rows of one side, prepared so that a dot product is the score (unit length for
            cosine, `PLDA.sides` for PLDA), shape (enrolments, dim).
        right: Rows of the other side, shape (tests, dim).
        left_speakers: Speaker of each row, shape (enrolments,).
        right_speakers: Speaker of each row, shape (tests,).
        each_once: Both sides are the same utterances in the same order: count each pair once, and
            no utterance with itself.
        points: Operating points at which `DetCounts.act_dcf` will be asked for.
        mapper: Where the blocks are computed.
        progress: Called with the number of rows done since the last call; each row is done twice,
            for its targets and for its nontargets.

    Returns:
        The counts.

    Raises:
        ShapeError: If the shapes do not fit each other.
        DataError: If there is no target pair, or a score is NaN.

    Example:
        >>> unit = np.eye(2)[[0, 0, 1, 1]]
        >>> who = ["anna", "anna", "ben", "ben"]
        >>> counts = count_all_pairs(unit, unit, who, who, each_once=True)
        >>> counts.num_target, counts.num_nontarget, counts.equal_error_rate()
        (2, 4, 0.0)
    """  # noqa: DOC502 (by DetCounts)
    check_dims(left.shape, right.shape)
    codes = _speaker_codes(left_speakers, right_speakers, (len(left), len(right)))
    sides = _Sides(left, right, *codes, each_once)
    rows = max(1, PAIRS // max(1, len(right)))
    starts = [(start, min(start + rows, len(left))) for start in range(0, len(left), rows)]

    def over_blocks(function: Callable[..., Any], *more: object) -> Iterator[Any]:
        """Map over the blocks, and tell the progress."""
        results = mapper(function, (sides, *more), starts)
        for (start, stop), result in zip(starts, results, strict=True):
            yield result
            if progress is not None:
                progress(stop - start)

    # By the same matrix products as the others, so that equal pairs stay equal to the last bit.
    targets = np.concatenate([np.empty(0, left.dtype), *over_blocks(_targets)])
    counts = DetCounts(targets, points=points)
    for part in over_blocks(_nontargets, copy.deepcopy(counts)):
        counts.merge(part)
    return counts


def _speaker_codes(
    left: ArrayLike, right: ArrayLike, lengths: tuple[int, int]
) -> tuple[Codes, Codes]:
    """Numbers of the speakers of both sides.

    Args:
        left: Speaker of each row of one side.
        right: Of the other.
        lengths: Rows of both sides.

    Returns:
        The numbers, shapes (enrolments,) and (tests,).

    Raises:
        ShapeError: If there is not one speaker per row.
    """
    names = np.asarray(left), np.asarray(right)
    if tuple(side.shape for side in names) != tuple((length,) for length in lengths):
        msg = (
            f"all pairs need one speaker per row, {lengths[0]} and {lengths[1]}, got "
            f"{names[0].shape} and {names[1].shape}; align utt2spk"
        )
        raise ShapeError(msg)
    codes = np.unique(np.concatenate(names), return_inverse=True)[1]
    return codes[: lengths[0]], codes[lengths[0] :]


class _Sides(NamedTuple):
    """Rows and speakers of both sides."""

    left: Floats
    right: Floats
    left_codes: Codes
    right_codes: Codes
    each_once: bool

    def scores(self, start: int, stop: int, *, is_target: bool) -> Floats:
        """Scores of one class of a block of rows with all columns, flat."""
        scores = self.left[start:stop] @ self.right.T
        wanted = (self.left_codes[start:stop, None] == self.right_codes) == is_target
        if self.each_once:
            wanted &= np.arange(len(self.right)) > np.arange(start, stop)[:, None]
        return np.asarray(scores[wanted])


def _targets(sides: _Sides, start: int, stop: int) -> Floats:
    return sides.scores(start, stop, is_target=True)


def _nontargets(sides: _Sides, empty: DetCounts, start: int, stop: int) -> DetCounts:
    counts = copy.deepcopy(empty)
    counts.update(sides.scores(start, stop, is_target=False))
    return counts
