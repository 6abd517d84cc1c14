r"""Scores of embeddings that are known up to a covariance.

With PLDA an utterance is ``x = y + e + u``, where ``u ~ N(0, C)`` is the error of its own
embedding. Such an utterance says of its speaker's ``y`` a Gaussian with the precision
``L = (W + C)^{-1}`` and the information ``L x``; both add up over utterances of one speaker, and
the likelihood ratio of two sides is ``Z(both) / (Z(enroll) Z(test))``, with ``Z`` the integral over
``y`` under its prior (Brummer et al. 2018, "Gaussian meta-embeddings for efficient scoring of a
heavy-tailed PLDA model").

A covariance goes through LDA and the basis of PLDA as linear maps do. Length normalisation counts
as division by the length of the one embedding, radial error included (Wang, Lee and Liu 2023,
"Incorporating uncertainty from speaker embedding estimation to speaker verification"): in our
simulations its first derivative, which drops that error, loses most of the gain where errors are as
large as the within-speaker variance.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bbb.scoring._rows import centre_rows, group_means
from bbb.scoring.cosine import pair_dots, unit_rows

if TYPE_CHECKING:
    from bbb.scoring.backend import PLDABackend

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]
# About as many numbers as fit a cache: of utterances or trials, times what each needs.
BLOCK_NUMBERS = 1 << 19


def propagate(
    backend: "PLDABackend", vectors: Floats, covariances: Floats, *, full: bool
) -> tuple[Floats, Doubles]:
    """Embeddings and their covariances in the basis of the back-end's PLDA.

    Args:
        backend: A fitted back-end.
        vectors: Embeddings, shape (utterances, dim).
        covariances: Variances (utterances, dim), or matrices (utterances, dim, dim).
        full: Whether to keep whole matrices, or their diagonals only.

    Returns:
        Values (utterances, rank), and covariances (utterances, rank) or, when full,
        (utterances, rank, rank).

    Raises:
        ShapeError: If the dimension is not that of the back-end.
        DataError: If a value is not finite, or an embedding equals the mean.
    """  # noqa: DOC502 (raised by the back-end)
    reduced = backend.transform(vectors.astype(np.float64))
    slope = backend.lda_ @ backend.plda_.transform_
    lengths = np.ones(len(vectors))
    if backend.length_norm:
        centred = centre_rows(vectors.astype(np.float64), backend.mean_)
        lengths = np.linalg.norm(centred @ backend.lda_, axis=1)
    dim, rank = slope.shape
    result: Doubles = np.empty((len(vectors), rank, rank) if full else (len(vectors), rank))
    step = max(1, BLOCK_NUMBERS // (dim * dim))
    for start in range(0, len(vectors), step):
        part = slice(start, start + step)
        own = covariances[part]
        if own.ndim == 2 and not full:  # noqa: PLR2004 (diagonals)
            result[part] = own @ slope**2
            continue
        spread = own[:, :, None] * slope if own.ndim == 2 else own @ slope  # noqa: PLR2004
        result[part] = slope.T @ spread if full else np.einsum("ij,nij->nj", slope, spread)
    result /= np.square(lengths).reshape(-1, *[1] * (result.ndim - 1))
    return backend.plda_.transform(reduced), result


def _information(
    values: Floats, covariances: Floats, between_var: Doubles
) -> tuple[Floats, Floats]:
    """Information and precision of utterances about y, in units of y's prior.

    Args:
        values: In PLDA's basis, shape (utterances, rank).
        covariances: Of each, shape (utterances, rank) or (utterances, rank, rank).
        between_var: Variance of y, shape (rank,).

    Returns:
        Information (utterances, rank), and precision of the shape of the covariances.
    """
    sigma = np.sqrt(between_var)
    if covariances.ndim == 2:  # noqa: PLR2004 (diagonals)
        weight = sigma / (1.0 + covariances)
        return weight * values, weight * sigma
    weights = np.linalg.inv(covariances + np.eye(len(sigma))) * sigma[:, None]
    return (weights @ values[:, :, None])[:, :, 0], weights * sigma


def _log_evidence(information: Floats, precision: Floats) -> Doubles:
    """Log of the integral over y, up to what cancels in the ratio, shape (utterances,)."""
    if precision.ndim == 2:  # noqa: PLR2004 (diagonals)
        total = 1.0 + precision
        return np.asarray(0.5 * (information**2 / total - np.log(total)).sum(axis=1))
    # One factorisation gives both: its last pivot squared is what bounds the quadratic form, less
    # that form.
    rank = information.shape[1]
    bordered = np.empty((len(information), rank + 1, rank + 1))
    bordered[:, :rank, :rank] = precision + np.eye(rank)
    bordered[:, rank, :rank] = bordered[:, :rank, rank] = information
    bound = 1.0 + (information**2).sum(axis=1)
    bordered[:, rank, rank] = bound
    pivots = np.diagonal(np.linalg.cholesky(bordered), axis1=1, axis2=2)
    quadratic = bound - pivots[:, rank] ** 2
    return np.asarray(0.5 * quadratic - np.log(pivots[:, :rank]).sum(axis=1))


@dataclass(frozen=True, eq=False)
class UncertainSides:
    """Enrolment and test sides of a trial list, with their uncertainty.

    Attributes:
        enroll: Embeddings of the enrolment utterances, shape (utterances, dim).
        enroll_cov: Their covariances, shape (utterances, dim) or (utterances, dim, dim).
        test: Embeddings of the test side, shape (tests, dim).
        test_cov: Their covariances.
        groups: Rows of `enroll` of all models, one model after the other.
        sizes: Number of rows of each model, shape (models,).
    """

    enroll: Floats
    enroll_cov: Floats
    test: Floats
    test_cov: Floats
    groups: NDArray[np.intp]
    sizes: NDArray[np.intp]

    def _means(self, values: Floats, power: int = 0) -> Floats:
        """Mean over each model's utterances, times their number to a power, shape (models, ...)."""
        scale = self.sizes.reshape(-1, *[1] * (values.ndim - 1)).astype(values.dtype) ** power
        return np.asarray(group_means(values, self.groups, self.sizes) * scale)

    def llr(
        self,
        backend: "PLDABackend",
        enroll_index: NDArray[np.integer[Any]],
        test_index: NDArray[np.integer[Any]],
        *,
        full: bool = False,
        book: bool = True,
        progress: Callable[[int], None] | None = None,
    ) -> Doubles:
        """Log-likelihood ratio of each trial, with the covariance of each utterance.

        Args:
            backend: A fitted back-end.
            enroll_index: Model of each trial, shape (trials,).
            test_index: Row of the test side of each trial, shape (trials,).
            full: Whether to be exact, at rank^3 operations per trial and rank^2 numbers per
                utterance; else covariances are diagonal in the basis of PLDA.
            book: Whether the utterances of a model count one by one, or their mean as one.
            progress: Called with the number of trials done since the last call.

        Returns:
            Natural log-likelihood ratios, shape (trials,).

        Raises:
            ShapeError: If a dimension is not that of the back-end.
            DataError: If a value is not finite.
        """  # noqa: DOC502 (raised by propagate)
        between_var = backend.plda_.between_var_
        values, spread = propagate(backend, self.enroll, self.enroll_cov, full=full)
        if book:
            a, p = (self._means(part, 1) for part in _information(values, spread, between_var))
        else:
            a, p = _information(self._means(values), self._means(spread, -1), between_var)
        b, q = _information(*propagate(backend, self.test, self.test_cov, full=full), between_var)
        alone, other = _log_evidence(a, p), _log_evidence(b, q)
        result = np.empty(len(enroll_index))
        step = max(1, BLOCK_NUMBERS // (len(between_var) ** (2 if full else 1)))
        for start in range(0, len(result), step):
            part = slice(start, start + step)
            i, j = enroll_index[part], test_index[part]
            result[part] = _log_evidence(a[i] + b[j], p[i] + q[j]) - alone[i] - other[j]
            if progress is not None:
                progress(len(i))
        return result

    def cosine(
        self,
        enroll_index: NDArray[np.integer[Any]],
        test_index: NDArray[np.integer[Any]],
        *,
        progress: Callable[[int], None] | None = None,
    ) -> Floats:
        """Cosine of what the true embeddings are expected to be, given the uncertain ones.

        Under a prior ``N(0, b I)`` that is ``b (b I + C)^{-1} x``, which mostly drops the
        directions in doubt; ``b`` is the utterance's own ``(|x|^2 - trace C) / dim``. The
        utterances of a model are averaged by what is left of their length, and so count the less
        the more they are in doubt. (Wang and Lee 2024, "Cosine scoring with uncertainty for neural
        speaker embedding", weigh directions too.)

        Args:
            enroll_index: Model of each trial, shape (trials,).
            test_index: Row of the test side of each trial, shape (trials,).
            progress: Called with the number of trials done since the last call.

        Returns:
            Scores in [-1, 1], shape (trials,).

        Raises:
            DataError: If an embedding is all zero.
        """  # noqa: DOC502 (raised by unit_rows)
        left = unit_rows(self._means(_expected(self.enroll, self.enroll_cov)))
        right = unit_rows(_expected(self.test, self.test_cov))
        return pair_dots(left, right, enroll_index, test_index, progress=progress)


def _expected(rows: Floats, covariances: Floats) -> Floats:
    """Expected true embeddings over the uncertain ones' lengths, shape (utterances, dim)."""
    dim = rows.shape[1]
    # An utterance of noise only keeps a direction.
    smallest = 1e-3
    unit = unit_rows(rows)
    spread = covariances / np.square(rows).sum(axis=1).reshape(-1, *[1] * (covariances.ndim - 1))
    if spread.ndim == 2:  # noqa: PLR2004 (diagonals)
        prior = np.maximum(1.0 - spread.sum(axis=1), smallest)[:, None] / dim
        return np.asarray(unit * (prior / (prior + spread)), dtype=rows.dtype)
    traces = np.trace(spread, axis1=1, axis2=2)
    prior = np.maximum(1.0 - traces, smallest)[:, None, None] / dim
    result = np.empty_like(unit)
    step = max(1, BLOCK_NUMBERS // (dim * dim))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        ratio = spread[part] / prior[part] + np.eye(dim)
        result[part] = np.linalg.solve(ratio, unit[part, :, None])[:, :, 0]
    return result
