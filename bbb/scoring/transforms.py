"""Transforms of embeddings with scikit-learn's interface, for use in its pipelines."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from bbb.scoring._moments import mean_and_covariance, whitening
from bbb.scoring._rows import as_rows, centre_rows
from bbb.scoring.cosine import unit_rows

Floats = NDArray[np.floating[Any]]


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
        return centre_rows(X, self.mean_)


class Whitening(TransformerMixin, BaseEstimator):  # type: ignore[misc] # sklearn has no types
    """Subtract the mean, and make the covariance of the training embeddings the identity.

    The whitened values are the principal components divided by their deviations; dimensions that
    are constant or collinear give no component, with a warning.

    Attributes:
        mean_: Shape (dim,), float64.
        map_: Shape (dim, rank), float64.

    Example:
        A chain for scikit-learn's Pipeline, and scores of two trials:

        >>> from sklearn.pipeline import make_pipeline
        >>> from bbb.scoring import PLDA
        >>> rng = np.random.default_rng(0)
        >>> speakers = np.repeat(np.arange(40), 5)
        >>> x = rng.normal(size=(40, 9))[speakers] + 0.2 * rng.normal(size=(200, 9))
        >>> chain = make_pipeline(Whitening(), LengthNorm(), PLDA()).fit(x, speakers)
        >>> z = chain[:-1].transform(x)
        >>> llr = chain[-1].llr(z, z, np.array([0, 0]), np.array([1, 5]))
        >>> bool(llr[0] > 0 > llr[1])
        True
    """

    mean_: NDArray[np.float64]
    map_: NDArray[np.float64]

    def fit(self, X: ArrayLike, y: object = None) -> "Whitening":  # noqa: ARG002, N803 (sklearn's)
        """Learn from embeddings of shape (utterances, dim); y is not used.

        Args:
            X: Embeddings.
            y: Not used.

        Returns:
            Itself.

        Raises:
            ShapeError: If the shape is another one.
            DataError: If a value is not finite.
            NumericsError: If all embeddings are equal.
        """  # noqa: DOC502 (raised by the helpers)
        rows = as_rows(X)
        self.mean_, covariance = mean_and_covariance(rows)
        self.map_, _, notes = whitening(covariance, self.mean_, rows.dtype)
        for note in notes:
            warnings.warn(note, UserWarning, stacklevel=2)
        return self

    def transform(self, X: ArrayLike) -> Floats:  # noqa: N803 (sklearn's name)
        """Whitened embeddings, of the same floating type, shape (utterances, rank)."""
        rows = centre_rows(X, self.mean_)
        return np.asarray(rows @ self.map_.astype(rows.dtype))


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
