"""Linear discriminant analysis that survives dead dimensions and speakers without repetition."""

import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from bbb.errors import NumericsError
from bbb.scoring._moments import RANK_TOLERANCE, mean_and_covariance, whitening

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]

# Below this share of its mean a dimension varies only by the rounding of float32.
ROUNDING = 1e-7


def fit_lda(
    rows: Doubles, codes: NDArray[np.intp], lda_dim: int, shrinkage: float | Literal["auto"]
) -> Doubles:
    """Train scikit-learn's LDA.

    Args:
        rows: Embeddings, shape (utterances, dim).
        codes: Speaker of each, shape (utterances,).
        lda_dim: Dimensions to keep; reduced with a warning where there are not that many; 0 keeps
            the embeddings as they are.
        shrinkage: Of the within-speaker covariance towards the identity, or "auto".

    Returns:
        Map from centred embeddings to LDA's, shape (dim, lda_dim). Where no speaker has two
        utterances, that of principal components with equal variance, with a warning.

    Raises:
        NumericsError: If all embeddings are equal, or all those of each speaker.
    """
    if lda_dim == 0:
        return np.eye(rows.shape[1])
    speakers, codes = np.unique(codes, return_inverse=True)
    mean = rows.mean(axis=0)
    # Shrinkage towards the identity means the same for every dimension only in equal units.
    scale = rows.std(axis=0)
    dead = scale <= ROUNDING * np.abs(mean)
    if dead.all():
        msg = "LDA needs embeddings that differ, got equal ones; has the model collapsed?"
        raise NumericsError(msg)
    scale[dead] = np.inf
    scaled = (rows - mean) / scale
    # Shrinkage would make a direction in which nothing varies as discriminant as an average one.
    basis = _span(scaled)
    scaled = scaled @ basis
    possible = min(len(speakers) - 1, basis.shape[1])
    if lda_dim > possible:
        warnings.warn(
            f"lda_dim {lda_dim} is more than {len(speakers)} speakers and "
            f"{basis.shape[1]} dimensions that vary allow; LDA keeps {possible}",
            UserWarning,
            stacklevel=3,
        )
    keep = min(lda_dim, possible)
    if len(speakers) == len(rows):
        scalings = _principal_components(scaled)[:, :keep]
    else:
        scalings = _discriminants(scaled, codes, shrinkage)[:, :keep]
    return np.asarray(basis @ scalings / scale[:, None], dtype=np.float64)


def _span(rows: Doubles) -> Doubles:
    """Orthonormal columns of the space that rows (utterances, dim) fill, shape (dim, rank)."""
    values, vectors = linalg.eigh(rows.T @ rows)
    kept = values > RANK_TOLERANCE * values[-1]
    return np.eye(len(kept)) if kept.all() else np.asarray(vectors[:, kept])


def _principal_components(rows: Floats) -> Doubles:
    """The map of whitening, largest variance first, shape (dim, rank)."""
    warnings.warn(
        "no speaker has two utterances, which LDA needs; principal components are kept instead",
        UserWarning,
        stacklevel=4,
    )
    mean, covariance = mean_and_covariance(rows)
    return whitening(covariance, mean, rows.dtype)[0][:, ::-1]


def _discriminants(
    rows: Floats, codes: NDArray[np.intp], shrinkage: float | Literal["auto"]
) -> Doubles:
    """LDA's directions, the most discriminant first.

    Args:
        rows: Embeddings, shape (utterances, dim).
        codes: Speaker of each, shape (utterances,).
        shrinkage: As in `fit_lda`.

    Returns:
        Shape (dim, dim).

    Raises:
        NumericsError: If the embeddings of each speaker are equal.
    """
    from sklearn.discriminant_analysis import (  # noqa: PLC0415 (only training needs it)
        LinearDiscriminantAnalysis,
    )

    lda = LinearDiscriminantAnalysis(solver="eigen", shrinkage=_shrinkage(rows, codes, shrinkage))
    with warnings.catch_warnings():
        # Speakers with one utterance scale LDA's within-speaker covariance, all directions
        # alike, and so do not change its result.
        warnings.filterwarnings("ignore", message="Only one sample available")
        try:
            lda.fit(rows, codes)
        except linalg.LinAlgError as error:
            msg = "LDA needs utterances of a speaker that differ, got equal ones; remove the copies"
            raise NumericsError(msg) from error
    return np.asarray(lda.scalings_)


def _shrinkage(rows: Floats, codes: NDArray[np.intp], shrinkage: float | Literal["auto"]) -> float:
    """The shrinkage, kept above zero where utterances are few."""
    if shrinkage != "auto":
        return max(float(shrinkage), 1e-6)
    from sklearn.covariance import ledoit_wolf_shrinkage  # noqa: PLC0415 (only training)

    sums = np.zeros((codes.max() + 1, rows.shape[1]))
    np.add.at(sums, codes, rows)
    residuals = rows - (sums / np.bincount(codes)[:, None])[codes]
    return max(float(ledoit_wolf_shrinkage(residuals, assume_centered=True)), 1e-4)
