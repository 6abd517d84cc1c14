"""Estimation of the two-covariance model, all speakers at once, in a whitened space."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from bbb.errors import DataError, NumericsError, ShapeError

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]
RANK_TOLERANCE = 1e-10
SINGULAR = 1e-4
SINGULAR_SHRINKAGE = 0.1


@dataclass(frozen=True, eq=False)
class Statistics:
    """Sufficient statistics of labelled embeddings, whitened by their total covariance.

    Attributes:
        counts: Utterances of each speaker, shape (speakers, 1).
        means: Mean of each speaker, whitened, shape (speakers, rank).
        within: Scatter of utterances about their speaker's mean, whitened, shape (rank, rank).
        mean: Mean of all embeddings, shape (dim,).
        whiten: Map from centred embeddings to the whitened space, shape (dim, rank).
        unwhiten: Map back, shape (dim, rank).
        log_det: Logarithm of the determinant of `whiten` on the kept directions, nats.
    """

    counts: Doubles
    means: Doubles
    within: Doubles
    mean: Doubles
    whiten: Doubles
    unwhiten: Doubles
    log_det: float

    @property
    def num_utterances(self) -> float:
        """Number of embeddings."""
        return float(self.counts.sum())


def speaker_statistics(
    embeddings: Floats, speakers: NDArray[Any], shrinkage: float
) -> tuple[Statistics, list[str]]:
    """Count, average and whiten.

    Args:
        embeddings: Shape (utterances, dim).
        speakers: Label of each, shape (utterances,).
        shrinkage: Share of the within scatter that is replaced by the identity of its trace.

    Returns:
        The statistics, and warnings to show.

    Raises:
        ShapeError: If there is not one label per embedding.
        DataError: If there are fewer than two speakers, or none with two utterances.
        NumericsError: If all embeddings are equal.
    """
    if speakers.shape != (len(embeddings),):
        msg = (
            f"PLDA needs one speaker per embedding, shape ({len(embeddings)},), got "
            f"{speakers.shape}; align utt2spk with the embeddings"
        )
        raise ShapeError(msg)
    names, codes, counts = np.unique(speakers, return_inverse=True, return_counts=True)
    if len(names) < 2 or counts.max() < 2:  # noqa: PLR2004
        msg = (
            f"PLDA needs two speakers, and speakers with two utterances, got {len(names)} speakers "
            f"with at most {counts.max()}; without repetition within and between cannot be told "
            "apart"
        )
        raise DataError(msg)
    notes = []
    mean = embeddings.mean(axis=0, dtype=np.float64)
    centred = embeddings - mean
    values, vectors = linalg.eigh(centred.T @ centred / len(centred))
    kept = values > RANK_TOLERANCE * max(values[-1], np.finfo(float).tiny)
    if values[-1] <= (RANK_TOLERANCE * np.abs(mean).max()) ** 2:
        msg = "PLDA needs embeddings that differ, got equal ones; has the model collapsed?"
        raise NumericsError(msg)
    if not kept.all():
        notes.append(
            f"embeddings fill only {int(kept.sum())} of {len(kept)} dimensions (constant or "
            "collinear ones, or too few utterances); PLDA ignores the rest"
        )
    scale = np.sqrt(values[kept])
    whiten = vectors[:, kept] / scale
    white = centred @ whiten
    sums = sparse.csr_matrix((np.ones(len(codes)), (codes, np.arange(len(codes))))) @ white
    means = sums / counts[:, None]
    residuals = white - means[codes]
    within, note = _regular(residuals.T @ residuals, shrinkage)
    notes.extend(note)
    return (
        Statistics(
            counts[:, None].astype(np.float64),
            means,
            within,
            mean,
            whiten,
            vectors[:, kept] * scale,
            -float(np.log(scale).sum()),
        ),
        notes,
    )


def _regular(within: Doubles, shrinkage: float) -> tuple[Doubles, list[str]]:
    """The within scatter, shrunk as asked, or more where it is singular, with a warning.

    Args:
        within: Shape (rank, rank).
        shrinkage: Share that is replaced by the identity of the same trace.

    Returns:
        The scatter, and warnings to show.

    Raises:
        NumericsError: If the utterances of each speaker are equal.
    """
    average = float(np.trace(within)) / len(within)
    if average <= 0.0:
        msg = "PLDA needs utterances of a speaker that differ, got equal ones; remove the copies"
        raise NumericsError(msg)
    notes = []
    shrunk = (1.0 - shrinkage) * within + shrinkage * average * np.eye(len(within))
    if linalg.eigvalsh(shrunk)[0] < SINGULAR * average:
        shrinkage = max(shrinkage, SINGULAR_SHRINKAGE)
        notes.append(
            "the within-speaker covariance is singular (too few utterances for the dimension); "
            f"PLDA shrinks it by {shrinkage}: add utterances, or reduce the dimension"
        )
        shrunk = (1.0 - shrinkage) * within + shrinkage * average * np.eye(len(within))
    return shrunk, notes


@dataclass(frozen=True, eq=False)
class TwoCovariance:
    """A model in the whitened space.

    Attributes:
        mean: Mean of the speakers, shape (rank,).
        basis: Columns V with V' W V = I and V' B V diagonal, shape (rank, rank).
        between_var: Diagonal of V' B V, shape (rank,).
        log_det: Logarithm of the absolute determinant of the basis, nats.
    """

    mean: Doubles
    basis: Doubles
    between_var: Doubles
    log_det: float

    def log_likelihood(self, statistics: Statistics) -> float:
        """Log-likelihood in nats of the embeddings, in the directions that they fill."""
        counts = statistics.counts
        means = (statistics.means - self.mean) @ self.basis
        spread = 1.0 + counts * self.between_var
        within = np.einsum("ik,ij,jk->", self.basis, statistics.within, self.basis, optimize=True)
        quadratic = within + (counts * means**2 / spread).sum() + np.log(spread).sum()
        num = statistics.num_utterances
        constant = self.log_det + statistics.log_det - 0.5 * len(self.mean) * math.log(2 * math.pi)
        return float(num * constant - 0.5 * quadratic)


def diagonalise(mean: Doubles, within: Doubles, between: Doubles) -> TwoCovariance:
    """The basis in which W is the identity and B diagonal.

    Args:
        mean: Shape (rank,).
        within: W, positive definite, shape (rank, rank).
        between: B, symmetric, shape (rank, rank); its negative directions become zero.

    Returns:
        The model.

    Raises:
        NumericsError: If W is not positive definite, or B has no positive direction.
    """
    try:
        factor = linalg.cholesky(within, lower=True)
    except linalg.LinAlgError as error:
        msg = "PLDA needs a positive definite within-speaker covariance; raise the shrinkage"
        raise NumericsError(msg) from error
    half = linalg.solve_triangular(factor, between, lower=True)
    values, vectors = linalg.eigh(linalg.solve_triangular(factor, half.T, lower=True))
    if values[-1] <= 0.0:
        msg = (
            "PLDA needs speakers that differ more than the utterances of one speaker, got no such "
            "direction; are the labels right?"
        )
        raise NumericsError(msg)
    basis = linalg.solve_triangular(factor, vectors, lower=True, trans="T")
    log_det = -float(np.log(np.diag(factor)).sum())
    return TwoCovariance(mean, basis, np.maximum(values, 0.0), log_det)


def moments(statistics: Statistics) -> TwoCovariance:
    """Estimates that equal the expected scatters, unbiased also for unequal speakers."""
    counts, num = statistics.counts, statistics.num_utterances
    speakers = len(counts)
    within = statistics.within / (num - speakers)
    between = (counts * statistics.means).T @ statistics.means
    typical = (num - (counts**2).sum() / num) / (speakers - 1)
    between = (between / (speakers - 1) - within) / typical
    return diagonalise(np.zeros(len(within)), within, between)


def expectation_maximisation(
    statistics: Statistics, start: TwoCovariance, num_iters: int
) -> tuple[TwoCovariance, list[float]]:
    """Maximise the likelihood.

    Args:
        statistics: The data.
        start: Where to begin.
        num_iters: Number of steps.

    Returns:
        The model, and the log-likelihood in nats before each step and after the last one.
    """
    # A direction without between-speaker variance would never get any.
    floor = 1e-4 * start.between_var.max()
    model = TwoCovariance(
        start.mean, start.basis, np.maximum(start.between_var, floor), start.log_det
    )
    likelihoods = [model.log_likelihood(statistics)]
    for _ in range(num_iters):
        model = _step(statistics, model)
        likelihoods.append(model.log_likelihood(statistics))
    return model, likelihoods


def _step(statistics: Statistics, model: TwoCovariance) -> TwoCovariance:
    """One step of EM, in the basis of the model, where the posteriors are independent."""
    counts, basis = statistics.counts, model.basis
    means = (statistics.means - model.mean) @ basis
    variance = model.between_var / (1.0 + counts * model.between_var)
    expected = counts * variance * means
    shift = expected.mean(axis=0)
    centred = expected - shift
    between = (centred.T @ centred + np.diag(variance.sum(axis=0))) / len(counts)
    gap = means - expected
    within = basis.T @ statistics.within @ basis + (counts * gap).T @ gap
    within += np.diag((counts * variance).sum(axis=0))
    step = diagonalise(shift, within / statistics.num_utterances, between)
    return TwoCovariance(
        model.mean + linalg.solve(basis.T, shift),
        basis @ step.basis,
        step.between_var,
        model.log_det + step.log_det,
    )
