"""Two-covariance PLDA: speakers and utterances are Gaussian, both with full covariance."""

import os
import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg
from sklearn.base import BaseEstimator

from bbb.errors import ConfigError, ShapeError
from bbb.scoring._kaldi_model import read_plda, write_objects
from bbb.scoring._npz import load_arrays, save_arrays
from bbb.scoring._rows import as_rows, centre_rows, check_speakers
from bbb.scoring._two_covariance import (
    diagonalise,
    expectation_maximisation,
    moments,
    speaker_statistics,
)
from bbb.scoring.adaptation import adapt_covariances, adaptation_shares, domain_moments
from bbb.scoring.cosine import check_trials, pair_dots
from bbb.scoring.mapping import Mapper, local_map

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]
ARRAYS = ("mean", "transform", "between_var")


class PLDA(BaseEstimator):  # type: ignore[misc] # sklearn has no types
    r"""Two-covariance probabilistic linear discriminant analysis.

    An embedding is ``x = y + e`` with the speaker's ``y ~ N(mean, B)`` and the utterance's
    ``e ~ N(0, W)``. The model is kept in the basis that makes W the identity and B diagonal, so
    that training and scoring work on dimensions one by one.

    Args:
        method: "em" maximises the likelihood; "moments" is its closed-form start, several times
            faster and nearly as good on balanced data.
        num_iters: Steps of EM.
        shrinkage: Share in [0, 1] of the within-speaker scatter that is replaced by the identity
            of the same trace. When that scatter is singular (fewer utterances than dimensions), at
            least 0.1 is taken, with a warning.

    Attributes:
        mean_: Mean of the speakers, shape (dim,).
        transform_: Columns in which W is the identity, shape (dim, rank).
        between_var_: Variance of y in those columns, falling, shape (rank,).
        log_likelihoods_: Log-likelihood of the training data in nats before each step of EM and
            after the last one, shape (num_iters + 1,); of length 1 without EM. It never falls.

    References:
        Ioffe 2006, "Probabilistic linear discriminant analysis"; Brummer and de Villiers 2010,
        "The speaker partitioning problem".
    """

    mean_: NDArray[np.float64]
    transform_: NDArray[np.float64]
    between_var_: NDArray[np.float64]
    log_likelihoods_: NDArray[np.float64]

    def __init__(
        self,
        method: Literal["em", "moments"] = "em",
        num_iters: int = 10,
        shrinkage: float = 0.0,
    ) -> None:
        self.method = method
        self.num_iters = num_iters
        self.shrinkage = shrinkage

    def fit(
        self,
        X: ArrayLike,  # noqa: N803 (sklearn's name)
        y: ArrayLike,
        *,
        mapper: Mapper = local_map,
    ) -> "PLDA":
        """Estimate the model.

        Args:
            X: Embeddings, shape (utterances, dim).
            y: Speaker of each, shape (utterances,). Speakers with one utterance are welcome: they
                count for B only. Where all are such, W and B each take half of the variance, with
                a warning.
            mapper: Where the statistics of blocks of embeddings are summed.

        Returns:
            Itself.

        Raises:
            ConfigError: If an argument of the model is out of range.
            ShapeError: If the shapes do not fit each other.
            DataError: If a value is not finite, or there are fewer than two speakers.
            NumericsError: If all embeddings are equal, or speakers do not differ.
        """  # noqa: DOC502 (raised by the shared checks)
        if self.method not in {"em", "moments"} or self.num_iters < 1:
            msg = (
                "PLDA needs method 'em' or 'moments' and num_iters >= 1, got "
                f"'{self.method}' and {self.num_iters}; correct the arguments"
            )
            raise ConfigError(msg)
        if not 0.0 <= self.shrinkage <= 1.0:
            msg = f"PLDA needs a shrinkage in [0, 1], got {self.shrinkage}; 0 means none"
            raise ConfigError(msg)
        from threadpoolctl import threadpool_limits  # noqa: PLC0415 (only training needs it)

        # On matrices of a few hundred rows a second BLAS thread mostly waits, and burns time.
        with threadpool_limits(limits=1):
            rows = as_rows(X)
            speakers = check_speakers(y, rows, "PLDA")
            statistics, notes = speaker_statistics(rows, speakers, self.shrinkage, mapper)
            repeated = bool(statistics.counts.max() > 1)
            if not repeated:
                notes.append(
                    "no speaker has two utterances, so that within and between cannot be told "
                    "apart; PLDA gives each half of the variance: add utterances of a speaker"
                )
            for note in notes:
                warnings.warn(note, UserWarning, stacklevel=2)
            model = moments(statistics)
            if self.method == "em" and repeated:
                model, likelihoods = expectation_maximisation(statistics, model, self.num_iters)
            else:
                likelihoods = [model.log_likelihood(statistics)]
        self.log_likelihoods_ = np.array(likelihoods)
        mean = statistics.mean + statistics.unwhiten @ model.mean
        _fill(self, mean, statistics.whiten @ model.basis, model.between_var)
        return self

    @property
    def within_cov_(self) -> NDArray[np.float64]:
        """W in the space of the embeddings, shape (dim, dim)."""
        inverse = np.linalg.pinv(self.transform_)
        return np.asarray(inverse.T @ inverse)

    @property
    def between_cov_(self) -> NDArray[np.float64]:
        """B in the space of the embeddings, shape (dim, dim)."""
        inverse = np.linalg.pinv(self.transform_)
        return np.asarray((inverse.T * self.between_var_) @ inverse)

    def transform(self, X: ArrayLike) -> Floats:  # noqa: N803 (sklearn's name)
        """Embeddings in the model's basis, of their floating type, shape (utterances, rank)."""
        rows = centre_rows(X, self.mean_)
        return np.asarray(rows @ self.transform_.astype(rows.dtype))

    def llr(
        self,
        enroll: ArrayLike,
        test: ArrayLike,
        enroll_index: NDArray[np.integer[Any]],
        test_index: NDArray[np.integer[Any]],
        *,
        num_enroll: ArrayLike | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Floats:
        """Log-likelihood ratio of "same speaker" against "different speakers" per trial.

        Args:
            enroll: Embeddings, or means of several embeddings, of the enrolment side, shape
                (enrolments, dim).
            test: Embeddings of the test side, shape (tests, dim).
            enroll_index: Row of `enroll` of each trial, shape (trials,).
            test_index: Row of `test` of each trial, shape (trials,).
            num_enroll: Number of utterances behind each row of `enroll`, shape (enrolments,), which
                scores several enrolment utterances by the book; None takes each row as one
                utterance, that is, scores averages as such.
            progress: Called with the number of trials done since the last call.

        Returns:
            Natural log-likelihood ratios, float32 for float32 embeddings, shape (trials,).

        Raises:
            ShapeError: If the shapes do not fit each other.
            DataError: If an embedding is not finite.
        """  # noqa: DOC502 (raised by the shared checks)
        left, right = self.sides(enroll, test, num_enroll)
        check_trials(left.shape, right.shape, enroll_index, test_index)
        return pair_dots(left, right, enroll_index, test_index, progress=progress)

    def llr_matrix(
        self, enroll: ArrayLike, test: ArrayLike, *, num_enroll: ArrayLike | None = None
    ) -> Floats:
        """`llr` of every enrolment with every test embedding, by one matrix product.

        Args:
            enroll: As in `llr`, shape (enrolments, dim).
            test: As in `llr`, shape (tests, dim).
            num_enroll: As in `llr`, shape (enrolments,).

        Returns:
            Natural log-likelihood ratios, float32 for float32 embeddings, shape (enrolments,
            tests).

        Raises:
            ShapeError: If the shapes do not fit each other.
            DataError: If an embedding is not finite.
        """  # noqa: DOC502 (raised by the shared checks)
        left, right = self.sides(enroll, test, num_enroll)
        return np.asarray(left @ right.T)

    def sides(
        self, enroll: ArrayLike, test: ArrayLike, num_enroll: ArrayLike | None
    ) -> tuple[Floats, Floats]:
        """Two matrices whose rows have the log-likelihood ratios as dot products.

        Args:
            enroll: As in `llr`, shape (enrolments, dim).
            test: As in `llr`, shape (tests, dim).
            num_enroll: As in `llr`, shape (enrolments,).

        Returns:
            Shapes (enrolments, length) and (tests, length), of the embeddings' floating type.

        Raises:
            ShapeError: If the shapes do not fit each other.
        """
        left, right = self.transform(enroll), self.transform(test)
        counts = np.ones(len(left)) if num_enroll is None else np.asarray(num_enroll, dtype=float)
        if counts.shape != (len(left),) or (counts < 1).any():
            msg = (
                f"num_enroll needs one count >= 1 per enrolment, shape ({len(left)},), got shape "
                f"{counts.shape}; count the utterances of each model"
            )
            raise ShapeError(msg)
        distinct, group = np.unique(counts, return_inverse=True)
        # Given the enrolment, y has the variance v and the mean c m; so the test utterance has
        # N(c m, 1 + v) if the speaker is the same, and N(0, 1 + between_var) if not.
        v = self.between_var_ / (1.0 + distinct[:, None] * self.between_var_)
        c = distinct[:, None] * v
        alone = 1.0 + self.between_var_
        constant = 0.5 * (np.log(alone) - np.log1p(v)).sum(axis=1)
        # One column per number of enrolment utterances, which the enrolment's indicator selects.
        test_terms = 0.5 * np.square(right, dtype=np.float64) @ (1.0 / alone - 1.0 / (1.0 + v)).T
        gain = (c / (1.0 + v))[group]
        enroll_term = constant[group] - 0.5 * (gain * c[group] * np.square(left)).sum(axis=1)
        return (
            np.column_stack((left * gain, enroll_term, np.eye(len(distinct))[group])).astype(
                left.dtype
            ),
            np.column_stack((right, np.ones(len(right)), test_terms)).astype(right.dtype),
        )

    def adapt(
        self,
        X: ArrayLike,  # noqa: N803 (sklearn's name)
        method: Literal["kaldi", "coral", "coral+"] = "coral+",
        *,
        within: float | None = None,
        between: float | None = None,
    ) -> "PLDA":
        """Fit the model to another domain, of which there are embeddings without labels.

        The mean becomes that of the embeddings. Their total covariance changes W and B: "coral"
        maps both by the whitening of the old total covariance and the colouring of the new one;
        "coral+" adds to each a share of what it would gain by that in the directions where it
        gains; "kaldi" shares out what the new total covariance exceeds the old one by, the square
        of the mean's shift included, direction by direction. The last two never lower a variance.

        Args:
            X: Embeddings of the new domain, shape (utterances, dim).
            method: Which of the three.
            within: Share for W in [0, 1]; None is 0.3 for "kaldi", 0.8 for "coral+".
            between: Share for B in [0, 1]; None is 0.7 for "kaldi", 0.8 for "coral+".

        Returns:
            A new model.

        Raises:
            ConfigError: If the method is unknown, or a share is out of range or without use.
            ShapeError: If the dimension differs.
            DataError: If a value is not finite, or all embeddings are equal.

        References:
            Lee, Wang and Koshinaka 2019, "The CORAL+ algorithm for unsupervised domain adaptation
            of PLDA"; Kaldi's ``ivector-adapt-plda``, whose shares are the defaults.
        """  # noqa: DOC502 (raised by the helpers)
        shares = adaptation_shares(method, within, between)
        mean, covariance = domain_moments(X, len(self.mean_))
        total = self.transform_.T @ covariance @ self.transform_
        if method == "kaldi":
            shift = (mean - self.mean_) @ self.transform_
            total += np.outer(shift, shift)
        changed = adapt_covariances(self.transform_, self.between_var_, total, method, shares)
        step = diagonalise(np.zeros(len(total)), *changed)
        return _fill(PLDA(), mean, self.transform_ @ step.basis, step.between_var)

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """What `from_arrays` needs, by name."""
        return {"mean": self.mean_, "transform": self.transform_, "between_var": self.between_var_}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> "PLDA":
        """A fitted model.

        Args:
            arrays: ``mean`` (dim,), ``transform`` (dim, rank) and ``between_var`` (rank,).

        Returns:
            The model; `log_likelihoods_` is not kept.

        Raises:
            ShapeError: If the shapes do not fit each other.
        """
        mean, transform, between_var = (np.asarray(arrays[name], dtype=float) for name in ARRAYS)
        if transform.shape != (*mean.shape, *between_var.shape):
            msg = (
                f"PLDA needs mean (dim,), transform (dim, rank) and between_var (rank,), got "
                f"{mean.shape}, {transform.shape} and {between_var.shape}; train it again"
            )
            raise ShapeError(msg)
        return _fill(cls(), mean, transform, between_var)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model as an ``.npz`` of plain arrays, in one atomic step."""
        save_arrays(path, self.arrays())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "PLDA":
        """Read what `save` wrote; a broken file is a FormatError."""
        return cls.from_arrays(load_arrays(path, ARRAYS, remedy="train it with 'bbb plda'"))

    @classmethod
    def from_kaldi(cls, path: str | os.PathLike[str]) -> "PLDA":
        """Read a PLDA that ``ivector-compute-plda`` wrote, binary or text.

        Args:
            path: The file.

        Returns:
            The model, which takes what Kaldi's takes: embeddings after centring, LDA and Kaldi's
            length normalisation (`PLDABackend.from_kaldi` holds all of these).

        Raises:
            FormatError: If the file is missing, cut off, or holds something else.
        """  # noqa: DOC502 (raised by read_plda)
        mean, transform, psi = read_plda(path)
        return _fill(cls(), mean, transform.T, psi)

    def to_kaldi(self, path: str | os.PathLike[str], *, text: bool = False) -> None:
        """Write the model for Kaldi's ``ivector-plda-scoring``, in one atomic step.

        Kaldi wants as many directions as dimensions: those that the training data did not fill
        are added without between-speaker variance, which leaves every score as it is.

        Args:
            path: The file.
            text: Whether to write text.
        """
        rest = linalg.null_space(self.transform_.T)
        transform = np.column_stack((self.transform_, rest)).T
        psi = np.concatenate((self.between_var_, np.zeros(rest.shape[1])))
        write_objects(path, "<Plda>", self.mean_, transform, psi, "</Plda>", text=text)


def _fill(model: PLDA, mean: Doubles, transform: Doubles, between_var: Doubles) -> PLDA:
    """The model with these parameters, whose columns may be in any order."""
    order = np.argsort(-between_var, kind="stable")
    model.mean_, model.transform_ = mean, transform[:, order]
    model.between_var_ = between_var[order]
    return model
