"""Estimation of the two-covariance model, all speakers at once, in a whitened space."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from bbb.errors import DataError, NumericsError
from bbb.scoring._moments import BLOCK, RANK_TOLERANCE, whitening
from bbb.scoring.mapping import Mapper, local_map

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]
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
    embeddings: Floats,
    speakers: NDArray[Any],
    shrinkage: float,
    mapper: Mapper = local_map,
) -> tuple[Statistics, list[str]]:
    """Count, average and whiten; reads the embeddings in blocks.

    Args:
        embeddings: Shape (utterances, dim).
        speakers: Label of each, shape (utterances,).
        shrinkage: Share of the within scatter that is replaced by the identity of its trace.
        mapper: Where the blocks are summed.

    Returns:
        The statistics, and warnings to show.

    Raises:
        DataError: If there are fewer than two speakers.
        NumericsError: If all embeddings are equal.
    """  # noqa: DOC502 (raised by the helpers)
    names, codes, counts = np.unique(speakers, return_inverse=True, return_counts=True)
    if len(names) < 2:  # noqa: PLR2004
        msg = f"PLDA needs two speakers, got {len(names)}; are the labels right?"
        raise DataError(msg)
    mean, scatter, sums = _scatters(embeddings, codes, len(names), mapper)
    whiten, unwhiten, notes = whitening(scatter / len(codes), mean, embeddings.dtype)
    means = sums / counts[:, None]
    within = whiten.T @ (scatter - sums.T @ means) @ whiten
    if counts.max() > 1:
        within, note = _regular(within, shrinkage, len(codes))
        notes.extend(note)
    # The volume of the directions that are kept, which need not be orthogonal; large rows first,
    # without which dimensions of small units would be lost to rounding.
    rows = np.argsort(-np.linalg.norm(unwhiten, axis=1))
    triangle = linalg.qr(unwhiten[rows], mode="r", pivoting=True)[0]
    log_det = -float(np.log(np.abs(np.diag(triangle))).sum())
    return Statistics(
        counts[:, None].astype(np.float64), means @ whiten, within, mean, whiten, unwhiten, log_det
    ), notes


def _scatters(
    embeddings: Floats, codes: NDArray[np.intp], num_speakers: int, mapper: Mapper
) -> tuple[Doubles, Doubles, Doubles]:
    """First and second moments.

    Args:
        embeddings: Shape (utterances, dim).
        codes: Speaker of each, from 0, shape (utterances,).
        num_speakers: Number of speakers.
        mapper: Where the blocks are summed.

    Returns:
        Mean (dim,), scatter about it (dim, dim), centred sum of each speaker (speakers, dim).
    """
    dim = embeddings.shape[1]
    mean = embeddings.mean(axis=0, dtype=np.float64)
    scatter, sums = np.zeros((dim, dim)), np.zeros((num_speakers, dim))
    starts = range(0, len(codes), BLOCK)
    blocks = ((embeddings[at : at + BLOCK], codes[at : at + BLOCK]) for at in starts)
    for present, block_scatter, block_sums in mapper(_scatters_of_block, (mean,), blocks):
        scatter += block_scatter
        sums[present] += block_sums
    return mean, scatter, sums


def _scatters_of_block(
    mean: Doubles, rows: Floats, codes: NDArray[np.intp]
) -> tuple[NDArray[np.intp], Doubles, Doubles]:
    """Speakers of a block of embeddings, its scatter about a mean, and the speakers' sums."""
    # In float64 before the mean goes: float32 with a large mean keeps all that it has.
    centred = rows - mean
    present, own = np.unique(codes, return_inverse=True)
    members = sparse.csr_matrix((np.ones(len(own)), (own, np.arange(len(own)))))
    return present, centred.T @ centred, members @ centred


def _regular(within: Doubles, shrinkage: float, num: int) -> tuple[Doubles, list[str]]:
    """The within scatter, shrunk as asked, or more where it is singular, with a warning.

    Args:
        within: Whitened, shape (rank, rank).
        shrinkage: Share that is replaced by the identity of the same trace.
        num: Number of utterances, the scatter of all in each direction.

    Returns:
        The scatter, and warnings to show.

    Raises:
        NumericsError: If the utterances of each speaker are equal.
    """
    average = float(np.trace(within)) / len(within)
    if average <= RANK_TOLERANCE * num:
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
        quadratic = (self.basis * (statistics.within @ self.basis)).sum()
        quadratic += (counts * means**2 / spread).sum() + np.log(spread).sum()
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
    """Estimates that equal the expected scatters, unbiased also for unequal speakers.

    Without repetition within and between cannot be told apart: each gets half of the total.
    """
    counts, num = statistics.counts, statistics.num_utterances
    if counts.max() < 2:  # noqa: PLR2004
        half = np.eye(len(statistics.within)) / 2
        return diagonalise(np.zeros(len(half)), half, half)
    speakers = len(counts)
    within = statistics.within / (num - speakers)
    weighted = np.sqrt(counts) * statistics.means
    between = weighted.T @ weighted
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
    weighted = np.sqrt(counts) * gap
    within = basis.T @ statistics.within @ basis + weighted.T @ weighted
    within += np.diag((counts * variance).sum(axis=0))
    step = diagonalise(shift, within / statistics.num_utterances, between)
    return TwoCovariance(
        model.mean + linalg.solve(basis.T, shift),
        basis @ step.basis,
        step.between_var,
        model.log_det + step.log_det,
    )
