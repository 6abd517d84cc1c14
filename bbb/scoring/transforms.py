"""Transforms of embeddings with scikit-learn's interface, for use in its pipelines."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from bbb.errors import DataError, ShapeError
from bbb.scoring.cosine import unit_rows

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


class Centering(TransformerMixin, BaseEstimator):  # type: ignore[misc] # sklearn has no types
    """Subtract the mean of the training embeddings.

    Attributes:
        mean_: Shape (dim,), float64.

    Example:
        >>> Centering().fit([[1.0, 2.0], [3.0, 4.0]]).transform([[2.0, 5.0]])
        array([[0., 2.]])
    """

    mean_: NDArray[np.float64]

    def fit(self, X: ArrayLike, y: object = None) -> "Centering":  # noqa: ARG002, N803 (sklearn's)
        """Take the mean of embeddings of shape (utterances, dim); y is not used."""
        self.mean_ = as_rows(X).mean(axis=0, dtype=np.float64)
        return self

    def transform(self, X: ArrayLike) -> Floats:  # noqa: N803 (sklearn's name)
        """Embeddings less the mean, of the same floating type, shape (utterances, dim)."""
        rows = as_rows(X, len(self.mean_))
        return np.asarray(rows - self.mean_.astype(rows.dtype))


class LengthNorm(TransformerMixin, BaseEstimator):  # type: ignore[misc] # sklearn has no types
    """Scale each embedding to unit length, which makes its distribution more Gaussian.

    Example:
        >>> LengthNorm().fit_transform([[3.0, 4.0]])
        array([[0.6, 0.8]])

    References:
        Garcia-Romero and Espy-Wilson 2011, "Analysis of i-vector length normalization in speaker
        recognition systems".
    """

    def fit(self, X: ArrayLike, y: object = None) -> "LengthNorm":  # noqa: ARG002, N803 (sklearn's)
        """Nothing to learn; here for pipelines."""
        return self

    def transform(self, X: ArrayLike) -> Floats:  # noqa: N803 (sklearn's name)
        """Rows of length 1, shape (utterances, dim); a zero row is an error."""
        return unit_rows(X)

    def __sklearn_is_fitted__(self) -> bool:
        return True
