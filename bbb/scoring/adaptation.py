"""Adaptation to a new domain from embeddings without labels: of PLDA, or of its training data."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg
from sklearn.base import BaseEstimator, TransformerMixin

from bbb.errors import ConfigError, DataError
from bbb.scoring._moments import mean_and_covariance
from bbb.scoring._rows import as_rows, centre_rows

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]

# Of a direction that speakers do not differ in, as a share of the one that they differ in most.
SMALLEST_BETWEEN = 1e-8
# Variance of the new domain below this share of W is none.
SINGULAR = 1e-6
SHARES = {"kaldi": (0.3, 0.7), "coral": (1.0, 1.0), "coral+": (0.8, 0.8)}


def domain_moments(embeddings: ArrayLike, dim: int | None = None) -> tuple[Doubles, Doubles]:
    """Mean (dim,) and covariance (dim, dim) of at least two embeddings that differ.

    Args:
        embeddings: Shape (utterances, dim).
        dim: Dimension that they must have; None takes any.

    Returns:
        Both in float64.

    Raises:
        ShapeError: If the shape is another one.
        DataError: If a value is not finite, or all embeddings are equal.
    """  # noqa: DOC502 (raised by as_rows)
    rows = as_rows(embeddings, dim)
    mean, covariance = mean_and_covariance(rows)
    if not np.trace(covariance) > 0.0:
        msg = f"adaptation needs embeddings that differ, got {len(rows)} equal ones; add utterances"
        raise DataError(msg)
    return mean, covariance


def adaptation_shares(
    method: str, within: float | None, between: float | None
) -> tuple[float, float]:
    """The shares of `PLDA.adapt`, with their defaults.

    Args:
        method: "kaldi", "coral" or "coral+".
        within: Share for W, or None.
        between: Share for B, or None.

    Returns:
        Both.

    Raises:
        ConfigError: If the method is unknown, or a share is out of range or without use.
    """
    if method not in SHARES:
        msg = f"adapt needs method 'kaldi', 'coral' or 'coral+', got '{method}'; choose one"
        raise ConfigError(msg)
    given = [share for share in (within, between) if share is not None]
    if given and (method == "coral" or not all(0.0 <= share <= 1.0 for share in given)):
        msg = (
            "adapt needs shares in [0, 1], and none for 'coral', which moves both covariances "
            f"fully; got within {within} and between {between} for '{method}'; leave them out"
        )
        raise ConfigError(msg)
    defaults = SHARES[method]
    return (
        defaults[0] if within is None else within,
        defaults[1] if between is None else between,
    )


def adapt_covariances(
    basis: Doubles,
    between_var: Doubles,
    total: Doubles,
    method: str,
    shares: tuple[float, float],
) -> tuple[Doubles, Doubles]:
    """Within and between covariance for a domain of another total covariance.

    Everything is in the basis that makes the old W the identity and the old B diagonal.

    Args:
        basis: Columns of the old basis in the space of the embeddings, shape (dim, rank).
        between_var: Diagonal of the old B, shape (rank,).
        total: Covariance of the new domain in the basis, shape (rank, rank).
        method: "kaldi", "coral" or "coral+", as `PLDA.adapt` describes them.
        shares: For W and for B.

    Returns:
        The new W and B in the old basis, both (rank, rank).
    """
    within, between = shares
    if method == "kaldi":
        excess = _excess(1.0 + between_var, total)
        return np.eye(len(total)) + within * excess, np.diag(between_var) + between * excess
    if method == "coral" and linalg.eigvalsh(total)[0] < SINGULAR:
        warnings.warn(
            "the new domain's covariance is singular (fewer embeddings than dimensions?); a tenth "
            "of the old one is mixed in: add embeddings, or use 'coral+'",
            UserWarning,
            stacklevel=3,
        )
        total = 0.9 * total + 0.1 * np.diag(1.0 + between_var)
    # The roots are symmetric in the space of the embeddings, as in the papers.
    back = np.linalg.pinv(basis)
    old = back.T @ np.diag(1.0 + between_var) @ back
    recolour = back @ _power(old, -0.5) @ _power(back.T @ total @ back, 0.5) @ basis
    new_within, new_between = recolour.T @ recolour, (recolour.T * between_var) @ recolour
    if method == "coral":
        return new_within, new_between
    floor = SMALLEST_BETWEEN * float(between_var.max())
    return (
        np.eye(len(total)) + within * _excess(np.ones(len(total)), new_within),
        np.diag(between_var) + between * _excess(np.maximum(between_var, floor), new_between),
    )


def _excess(old: Doubles, new: Doubles) -> Doubles:
    """What a covariance has more than another, in the directions where it has more.

    Args:
        old: Diagonal of the other covariance, positive, shape (rank,).
        new: The covariance, shape (rank, rank).

    Returns:
        A covariance, shape (rank, rank).
    """
    sigma = np.sqrt(old)
    values, vectors = linalg.eigh(new / np.outer(sigma, sigma))
    excess = (vectors * np.maximum(values - 1.0, 0.0)) @ vectors.T
    return np.asarray(excess * np.outer(sigma, sigma))


def _power(covariance: Doubles, exponent: float) -> Doubles:
    """Symmetric power of a covariance on the directions that it fills, shape (dim, dim)."""
    values, vectors = linalg.eigh(covariance)
    kept = values > len(values) * np.finfo(float).eps * values[-1]
    return np.asarray((vectors[:, kept] * values[kept] ** exponent) @ vectors[:, kept].T)


class CORAL(TransformerMixin, BaseEstimator):  # type: ignore[misc] # sklearn has no types
    """Give embeddings the mean and the covariance of another domain.

    Train what follows on the transformed embeddings and their labels; those of the target domain
    are used as they are.

    Args:
        target: Embeddings of the other domain, without labels, shape (utterances, dim).
        regularization: Added to both covariances, in units of the target's mean variance, for
            domains with few embeddings. Equal domains stay equal.

    Attributes:
        mean_: Mean of the embeddings that `fit` saw, shape (dim,).
        target_mean_: Mean of the target, shape (dim,).
        map_: Matrix between the two, shape (dim, dim).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> target = rng.normal(size=(200, 2)) * [1.0, 3.0] + 5.0
        >>> x = CORAL(target).fit_transform(rng.normal(size=(100, 2)))
        >>> bool(abs(x.std(axis=0) / target.std(axis=0) - 1).max() < 0.01)
        True

    References:
        Sun, Feng and Saenko 2016, "Return of frustratingly easy domain adaptation".
    """

    mean_: Doubles
    target_mean_: Doubles
    map_: Doubles

    def __init__(self, target: ArrayLike, regularization: float = 1e-3) -> None:
        self.target = target
        self.regularization = regularization

    def fit(self, X: ArrayLike, y: object = None) -> "CORAL":  # noqa: ARG002, N803 (sklearn's)
        """Compare embeddings of shape (utterances, dim) with the target; y is not used."""
        self.mean_, own = domain_moments(X)
        self.target_mean_, wanted = domain_moments(self.target, len(self.mean_))
        ridge = self.regularization * np.trace(wanted) / len(wanted) * np.eye(len(wanted))
        self.map_ = _power(own + ridge, -0.5) @ _power(wanted + ridge, 0.5)
        return self

    def transform(self, X: ArrayLike) -> Floats:  # noqa: N803 (sklearn's name)
        """Embeddings as if of the target, of the same floating type, shape (utterances, dim)."""
        rows = centre_rows(X, self.mean_)
        coloured = rows @ self.map_.astype(rows.dtype)
        return np.asarray(coloured + self.target_mean_.astype(rows.dtype))
