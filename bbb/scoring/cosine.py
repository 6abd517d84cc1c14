"""Cosine similarity over a trial list, in blocks of constant memory."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bbb.errors import DataError, ShapeError

Floats = NDArray[np.floating[Any]]
CELLS = 2**16


def unit_rows(vectors: ArrayLike, *, name: str = "embeddings") -> Floats:
    """Divide each row by its Euclidean length.

    Args:
        vectors: Shape (utterances, dim).
        name: What to call them in the message.

    Returns:
        Rows of length 1, of the same floating type, shape (utterances, dim).

    Raises:
        ShapeError: If they are not two-dimensional.
        DataError: If a row is all zero, and so has no direction, or not of finite length.
    """
    rows = np.asarray(vectors)
    if not np.issubdtype(rows.dtype, np.floating):
        rows = rows.astype(np.float64)
    if rows.ndim != 2:  # noqa: PLR2004
        msg = f"{name} need shape (utterances, dim), got {rows.shape}; stack them"
        raise ShapeError(msg)
    # Half precision ends at 65504, which squares exceed.
    dtype = np.result_type(rows, np.float32)
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=dtype))[:, None]
    wild = np.flatnonzero(~np.isfinite(lengths[:, 0]))
    if len(wild):
        msg = (
            f"{name} need a finite length, got {len(wild)} rows of NaN, infinity or numbers that "
            f"are too large, the first in row {wild[0]}; extract them again"
        )
        raise DataError(msg)
    zero = np.flatnonzero(lengths[:, 0] == 0.0)
    if len(zero):
        msg = (
            f"{name} need a direction, got {len(zero)} zero vectors, the first in row {zero[0]}; "
            "remove these utterances, or check the extractor"
        )
        raise DataError(msg)
    unit: Floats = (rows / lengths).astype(rows.dtype, copy=False)
    return unit


def pair_dots(
    left: Floats,
    right: Floats,
    left_index: NDArray[np.integer[Any]],
    right_index: NDArray[np.integer[Any]],
    *,
    progress: Callable[[int], None] | None = None,
) -> Floats:
    """Dot product of a row of each side per trial; gathers a few hundred trials at a time.

    Args:
        left: Shape (enrolments, dim).
        right: Shape (tests, dim).
        left_index: Row of `left` of each trial, shape (trials,).
        right_index: Row of `right` of each trial, shape (trials,).
        progress: Called with the number of trials done since the last call.

    Returns:
        One number per trial, of the sides' floating type, shape (trials,).

    Raises:
        ShapeError: If an index is not that of a row.
    """  # noqa: DOC502 (raised by check_indices)
    check_indices(len(left), len(right), left_index, right_index)
    result = np.empty(len(left_index), dtype=np.result_type(left, right))
    size = max(CELLS // max(left.shape[1], 1), 1)
    # Gathered into the same memory each time: fresh arrays cost page faults, and larger ones do
    # not stay in the cache. "clip" is what lets take write there directly.
    left_rows, right_rows = (np.empty((size, side.shape[1]), side.dtype) for side in (left, right))
    for start in range(0, len(result), size):
        part = slice(start, start + size)
        out = result[part]
        left.take(left_index[part], axis=0, out=left_rows[: len(out)], mode="clip")
        right.take(right_index[part], axis=0, out=right_rows[: len(out)], mode="clip")
        np.einsum("nd,nd->n", left_rows[: len(out)], right_rows[: len(out)], out=out)
        if progress is not None:
            progress(len(out))
    return result


def cosine_scores(
    enroll: ArrayLike,
    test: ArrayLike,
    enroll_index: NDArray[np.integer[Any]],
    test_index: NDArray[np.integer[Any]],
    *,
    progress: Callable[[int], None] | None = None,
) -> Floats:
    """Cosine of the angle between both embeddings of each trial.

    Args:
        enroll: Embeddings of the enrolment side, shape (enrolments, dim).
        test: Embeddings of the test side, shape (tests, dim).
        enroll_index: Row of `enroll` of each trial, shape (trials,).
        test_index: Row of `test` of each trial, shape (trials,).
        progress: Called with the number of trials done since the last call.

    Returns:
        Scores in [-1, 1], float32 for float32 embeddings, shape (trials,).

    Raises:
        ShapeError: If the sides differ in dimension, or the indices in length.
        DataError: If an embedding is all zero, or not finite.

    Example:
        >>> cosine_scores([[1.0, 0.0]], [[2.0, 0.0], [0.0, 3.0]], *np.array([[0, 0], [0, 1]]))
        array([1., 0.])
    """  # noqa: DOC502 (raised by the shared checks)
    left = unit_rows(enroll, name="enroll")
    right = left if test is enroll else unit_rows(test, name="test")
    check_trials(left.shape, right.shape, enroll_index, test_index)
    return pair_dots(left, right, enroll_index, test_index, progress=progress)


def check_trials(
    enroll: tuple[int, ...],
    test: tuple[int, ...],
    enroll_index: NDArray[np.integer[Any]],
    test_index: NDArray[np.integer[Any]],
) -> None:
    """Refuse sides of different dimension, and indices of different length.

    Args:
        enroll: Shape of the enrolment side.
        test: Shape of the test side.
        enroll_index: Row of each trial.
        test_index: Row of each trial.

    Raises:
        ShapeError: If they do not fit each other.
    """
    check_dims(enroll, test)
    if enroll_index.shape != test_index.shape or enroll_index.ndim != 1:
        msg = (
            f"trials need one index per side, got shapes {enroll_index.shape} and "
            f"{test_index.shape}; give both the shape (trials,)"
        )
        raise ShapeError(msg)


def check_dims(
    enroll: tuple[int, ...], test: tuple[int, ...], names: str = "enroll and test"
) -> None:
    """Refuse two sides of different dimension.

    Args:
        enroll: Shape of one side.
        test: Shape of the other side.
        names: What to call them in the message.

    Raises:
        ShapeError: If the dimensions differ.
    """
    if enroll[1] != test[1]:
        msg = (
            f"{names} need the same dimension, got {enroll[1]} and {test[1]}; extract both with "
            "one model"
        )
        raise ShapeError(msg)


def check_indices(
    enrolments: int,
    tests: int,
    enroll_index: NDArray[np.integer[Any]],
    test_index: NDArray[np.integer[Any]],
) -> None:
    """Refuse indices that are not those of rows.

    Args:
        enrolments: Rows of the enrolment side.
        tests: Rows of the test side.
        enroll_index: Row of each trial.
        test_index: Row of each trial.

    Raises:
        ShapeError: If an index is negative or too large.
    """
    for rows, index in ((enrolments, enroll_index), (tests, test_index)):
        if len(index) and not 0 <= index.min() <= index.max() < rows:
            msg = (
                f"trials need rows from 0 to {rows - 1}, got {index.min()} to {index.max()}; "
                "index the embeddings that are given"
            )
            raise ShapeError(msg)
