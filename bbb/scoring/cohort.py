"""How the scores of each id with a cohort are distributed, in blocks of constant memory."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bbb.errors import ConfigError, DataError
from bbb.scoring.cosine import check_dims

Floats = NDArray[np.floating[Any]]
ROWS, CELLS = 1024, 2**22
STRIDE = 8


class CohortStatistics(NamedTuple):
    """How the scores of each id with the cohort are distributed.

    Attributes:
        mean: Mean score, float64, shape (ids,).
        std: Standard deviation (of the population, not of a sample), positive, shape (ids,).
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    def take(self, rows: NDArray[np.intp]) -> "CohortStatistics":
        """Those of some ids, in their order."""
        return CohortStatistics(self.mean[rows], self.std[rows])


def check_cohort(size: int, top_n: int | None, who: str = "an id") -> None:
    """Refuse a cohort that gives no spread.

    Args:
        size: Cohort scores that an id has.
        top_n: How many are asked for; None takes all.
        who: Whose they are, for the message.

    Raises:
        ConfigError: If none is asked for.
        DataError: If there are fewer than asked for, or fewer than 2.
    """
    needed = 2 if top_n is None else top_n
    if needed < 1:
        msg = f"top_n needs at least 1, got {top_n}; 300 is usual"
        raise ConfigError(msg)
    if size < needed:
        msg = (
            f"score normalisation needs {needed} cohort scores, got {size} for {who} (its own "
            "utterances are left out); lower top_n, or use a larger cohort"
        )
        raise DataError(msg)


def cohort_statistics(
    rows: Floats,
    cohort: Floats,
    own: Sequence[Iterable[int]] | None = None,
    *,
    top_n: int | None = None,
    ids: Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> CohortStatistics:
    """Mean and standard deviation of each id's scores with the cohort, which are dot products.

    Args:
        rows: Embeddings of unit length, or one side of `PLDA.sides`, shape (ids, dim).
        cohort: Embeddings of unit length, or the other side, shape (cohort, dim).
        own: Cohort rows that are left out for each id, as they are its own utterances.
        top_n: Keep this many of the highest scores; None keeps all.
        ids: What to call the ids in messages.
        progress: Called with the number of ids done since the last call.

    Returns:
        One value of each per id.

    Raises:
        ShapeError: If the dimensions differ.
        ConfigError: If `top_n` is not positive.
        DataError: If too little of the cohort is left for an id, or its scores do not vary.

    Example:
        >>> cohort = np.array([[0.0, 1.0], [2.0, 1.0], [9.0, 4.0]])
        >>> cohort_statistics(np.eye(2), cohort, [[2], []]).mean
        array([1., 2.])
    """  # noqa: DOC502 (raised by the checks)
    check_dims(rows.shape, cohort.shape, "trials and cohort")
    check_cohort(len(cohort), top_n)
    names = ids or [f"row {row}" for row in range(len(rows))]
    mean, std = np.empty(len(rows)), np.empty(len(rows))
    step = max(min(ROWS, len(rows), CELLS // len(cohort)), 16)
    buffer = np.empty((step, len(cohort)), dtype=np.result_type(rows, cohort))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        out_rows, out_columns = _pairs(own[part] if own else ())
        lost = np.bincount(out_rows, minlength=1)
        poorest = names[start + int(lost.argmax())]
        check_cohort(len(cohort) - int(lost.max()), top_n, f"'{poorest}'")
        block = np.matmul(rows[part], cohort.T, out=buffer[: len(rows[part])])
        mean[part], std[part] = _moments(block, out_rows, out_columns, top_n)
        flat = std[part] <= 16 * np.finfo(block.dtype).eps * np.abs(mean[part])
        if flat.any():
            first = names[start + int(flat.argmax())]
            msg = (
                f"score normalisation needs cohort scores that vary, got equal ones for '{first}'; "
                "remove copies from the cohort, or raise top_n"
            )
            raise DataError(msg)
        if progress is not None:
            progress(len(block))
    return CohortStatistics(mean, std)


def _pairs(own: Sequence[Iterable[int]]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row and column of all cells to leave out."""
    cells = [(row, column) for row, columns in enumerate(own) for column in columns]
    rows, columns = np.array(cells, dtype=np.intp).reshape(-1, 2).T
    return rows, columns


def _moments(
    block: Floats, rows: NDArray[np.intp], columns: NDArray[np.intp], top_n: int | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each row, without some cells, of its highest values."""
    kept: NDArray[np.bool_] | Literal[True] = True
    if top_n is not None:
        block[rows, columns] = -np.inf
        block = _highest(block, top_n)
    elif len(rows):
        kept = np.ones(block.shape, dtype=np.bool_)
        kept[rows, columns] = False
    return (
        block.mean(axis=1, dtype=np.float64, where=kept),
        block.std(axis=1, dtype=np.float64, where=kept),
    )


def _highest(block: Floats, top_n: int) -> Floats:
    """The highest values of each row, in any order, shape (rows, top_n).

    Most values are thrown out by a threshold from every 8th column: selection by partition costs as
    much as the product itself.
    """
    sample = block[:, ::STRIDE].copy()
    guess = sample.shape[1] - int(1.2 * top_n / STRIDE) - STRIDE
    if guess <= 0:
        return np.partition(block, block.shape[1] - top_n, axis=1)[:, block.shape[1] - top_n :]
    sample.partition(guess, axis=1)
    above = block >= sample[:, guess, None]
    counts = np.count_nonzero(above, axis=1)
    short = counts < top_n
    width = max(int(counts.max()), top_n)
    kept = np.full((len(block), width), -np.inf, dtype=block.dtype)
    kept[np.arange(width) < counts[:, None]] = block[above]
    kept.partition(width - top_n, axis=1)
    result = kept[:, width - top_n :]
    if short.any():
        result[short] = np.partition(block[short], -top_n, axis=1)[:, -top_n:]
    return result
