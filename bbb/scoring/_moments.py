"""Mean, covariance and whitening of embeddings, read in blocks."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from bbb.errors import NumericsError

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]
RANK_TOLERANCE = 1e-10
BLOCK = 4096


def mean_and_covariance(rows: Floats) -> tuple[Doubles, Doubles]:
    """Mean (dim,) and covariance (dim, dim) of embeddings (utterances, dim), in float64."""
    mean = rows.mean(axis=0, dtype=np.float64)
    scatter = np.zeros((len(mean), len(mean)))
    for start in range(0, len(rows), BLOCK):
        # In float64 before the mean goes: float32 with a large mean keeps all that it has.
        block = rows[start : start + BLOCK] - mean
        scatter += block.T @ block
    return mean, scatter / len(rows)


def whitening(
    covariance: Doubles, mean: Doubles, dtype: "np.dtype[Any]"
) -> tuple[Doubles, Doubles, list[str]]:
    """Map from centred embeddings to a space where their covariance is the identity.

    Args:
        covariance: Shape (dim, dim).
        mean: Shape (dim,).
        dtype: Floating type of the embeddings: what varies less than that type rounds the mean
            does not vary.

    Returns:
        The map and its way back, both (dim, rank), and warnings to show.

    Raises:
        NumericsError: If no dimension varies.
    """
    sigma = np.sqrt(np.diag(covariance))
    alive = sigma > 8.0 * np.finfo(dtype).eps * np.abs(mean)
    if not alive.any():
        msg = "whitening needs embeddings that differ, got equal ones; has the model collapsed?"
        raise NumericsError(msg)
    # In equal units, so that a small dimension is not taken for a constant one.
    units = np.where(alive, sigma, 1.0)[:, None]
    correlation = covariance / units / units.T * np.outer(alive, alive)
    values, vectors = linalg.eigh(correlation)
    kept = values > RANK_TOLERANCE * values[-1]
    scale = np.sqrt(values[kept])
    notes = []
    if not kept.all():
        notes.append(
            f"embeddings fill only {int(kept.sum())} of {len(kept)} dimensions (constant or "
            "collinear ones, or too few utterances); the rest is ignored"
        )
    return vectors[:, kept] / scale / units, vectors[:, kept] * scale * units, notes
