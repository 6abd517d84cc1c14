"""Embeddings as rows of arrays: checked, centred, averaged."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bbb.errors import DataError, ShapeError

Floats = NDArray[np.floating[Any]]


def as_rows(vectors: ArrayLike, dim: int | None = None, *, name: str = "embeddings") -> Floats:
    """Embeddings as a floating array.

    Args:
        vectors: Shape (utterances, dim).
        dim: Dimension that they must have; None takes any.
        name: What to call them in the message.

    Returns:
        The same values, shape (utterances, dim).

    Raises:
        ShapeError: If the shape is another one.
        DataError: If a value is NaN or infinite.
    """
    rows = np.asarray(vectors)
    if not np.issubdtype(rows.dtype, np.floating):
        rows = rows.astype(np.float64)
    if rows.ndim != 2 or (dim is not None and rows.shape[1] != dim) or not len(rows):  # noqa: PLR2004
        needed = "dim" if dim is None else dim
        msg = (
            f"{name} need shape (utterances, {needed}), got {rows.shape}; use the model that the "
            "back-end was trained with"
        )
        raise ShapeError(msg)
    if not np.isfinite(rows).all():
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        msg = (
            f"{name} need finite values, got NaN or infinity in {len(bad)} rows, the first in row "
            f"{bad[0]}; extract them again"
        )
        raise DataError(msg)
    return rows


def check_speakers(speakers: ArrayLike, rows: Floats, who: str) -> NDArray[Any]:
    """Speakers as an array, one per embedding.

    Args:
        speakers: Any sortable labels.
        rows: Embeddings, shape (utterances, dim).
        who: Name of the caller, for the message.

    Returns:
        The labels, shape (utterances,).

    Raises:
        ShapeError: If there is not one label per embedding.
    """
    labels = np.asarray(speakers)
    if labels.shape != (len(rows),):
        msg = (
            f"{who} needs one speaker per embedding, shape ({len(rows)},), got {labels.shape}; "
            "align utt2spk with the embeddings"
        )
        raise ShapeError(msg)
    return labels


def centre_rows(vectors: ArrayLike, mean: NDArray[np.float64]) -> Floats:
    """Embeddings less a mean, of their floating type, without the rounding of a large mean.

    Args:
        vectors: Shape (utterances, dim).
        mean: Shape (dim,).

    Returns:
        Shape (utterances, dim).

    Raises:
        ShapeError: If the dimension is not that of the mean.
        DataError: If a value is not finite.
    """  # noqa: DOC502 (raised by as_rows)
    rows = as_rows(vectors, len(mean))
    near = mean.astype(rows.dtype)
    return np.asarray(rows - near - (mean - near).astype(rows.dtype))


def group_means(rows: Floats, index: NDArray[np.intp], sizes: NDArray[np.intp]) -> Floats:
    """Mean of each run of ``sizes`` entries of ``rows[index]``, shape (groups, ...)."""
    if (sizes == 1).all():
        return rows[index]
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    sums = np.add.reduceat(rows[index], starts, axis=0)
    return np.asarray(sums / sizes.reshape(-1, *[1] * (rows.ndim - 1)).astype(rows.dtype))
