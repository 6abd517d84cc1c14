"""The classic back-end in one object: centring, LDA, length normalisation, PLDA."""

import os
import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

from bbb.errors import ConfigError, DataError, NumericsError, ShapeError
from bbb.scoring._npz import load_arrays, save_arrays
from bbb.scoring.cosine import unit_rows
from bbb.scoring.plda import ARRAYS, PLDA
from bbb.scoring.transforms import as_rows

Floats = NDArray[np.floating[Any]]

# Below this share of its mean a dimension varies only by the rounding of float32.
ROUNDING = 1e-7


class PLDABackend(BaseEstimator):  # type: ignore[misc] # sklearn has no types
    """Centring, LDA (scikit-learn's), length normalisation and two-covariance PLDA.

    Args:
        lda_dim: Dimensions to keep by LDA; reduced, with a warning, when there are not that many
            speakers. 0 leaves LDA out.
        shrinkage: Shrinkage of LDA's within-speaker covariance towards a multiple of the identity,
            in [0, 1]; "auto" estimates it (Ledoit-Wolf) from the residuals of all speakers.
        length_norm: Whether to scale to unit length before PLDA.
        method: How to train PLDA, "em" or "moments".
        num_iters: Steps of EM.
        min_utts: Speakers with fewer utterances are left out of everything, the mean included: they
            say nothing about the within-speaker covariance, and often come from another corpus.

    Attributes:
        mean_: Mean of the training embeddings, shape (dim,).
        lda_: Map after centring, shape (dim, lda_dim).
        plda_: The `PLDA` of the transformed embeddings.
        num_speakers_: Number of speakers that were used.
        num_utts_: Number of utterances that were used.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> speakers = np.repeat(np.arange(50), 10)
        >>> x = rng.normal(size=(50, 8))[speakers] + rng.normal(size=(500, 8))
        >>> backend = PLDABackend(lda_dim=4).fit(x, speakers)
        >>> z = backend.transform(x)
        >>> llr = backend.plda_.llr(z, z, np.array([0, 0]), np.array([1, 499]))
        >>> llr.shape
        (2,)
    """

    mean_: NDArray[np.float64]
    lda_: NDArray[np.float64]
    plda_: PLDA
    num_speakers_: int
    num_utts_: int

    def __init__(
        self,
        lda_dim: int = 150,
        shrinkage: float | Literal["auto"] = "auto",
        *,
        length_norm: bool = True,
        method: Literal["em", "moments"] = "em",
        num_iters: int = 10,
        min_utts: int = 2,
    ) -> None:
        self.lda_dim = lda_dim
        self.shrinkage = shrinkage
        self.length_norm = length_norm
        self.method = method
        self.num_iters = num_iters
        self.min_utts = min_utts

    def fit(self, X: ArrayLike, y: ArrayLike) -> "PLDABackend":  # noqa: N803 (sklearn's name)
        """Train every part on the same embeddings.

        Args:
            X: Embeddings, shape (utterances, dim).
            y: Speaker of each, shape (utterances,).

        Returns:
            Itself.

        Raises:
            ConfigError: If an argument of the back-end is out of range.
            ShapeError: If there is not one speaker per embedding.
            DataError: If fewer than two speakers have enough utterances, or a value is not finite.
            NumericsError: If all embeddings are equal, or speakers do not differ.
        """  # noqa: DOC502 (PLDA raises it)
        self._check_arguments()
        rows, speakers = as_rows(X), np.asarray(y)
        if speakers.shape != (len(rows),):
            msg = (
                f"PLDABackend needs one speaker per embedding, shape ({len(rows)},), got "
                f"{speakers.shape}; align utt2spk with the embeddings"
            )
            raise ShapeError(msg)
        names, codes, counts = np.unique(speakers, return_inverse=True, return_counts=True)
        used = counts[codes] >= self.min_utts
        self.num_speakers_ = int((counts >= self.min_utts).sum())
        self.num_utts_ = int(used.sum())
        if self.num_speakers_ < 2:  # noqa: PLR2004
            msg = (
                f"PLDABackend needs two speakers with at least {self.min_utts} utterances, got "
                f"{self.num_speakers_} of {len(names)}; add utterances or lower min_utts"
            )
            raise DataError(msg)
        rows, codes = rows[used].astype(np.float64), codes[used]
        from threadpoolctl import threadpool_limits  # noqa: PLC0415 (only training needs it)

        with threadpool_limits(limits=1):
            self.mean_ = rows.mean(axis=0)
            self.lda_ = self._fit_lda(rows - self.mean_, codes)
        self.plda_ = PLDA(method=self.method, num_iters=self.num_iters)
        self.plda_.fit(self.transform(rows), codes)
        return self

    def transform(self, X: ArrayLike) -> Floats:  # noqa: N803 (sklearn's name)
        """Centre, reduce and normalise.

        Args:
            X: Embeddings, shape (utterances, dim).

        Returns:
            What PLDA takes, of the same floating type, shape (utterances, lda_dim).

        Raises:
            ShapeError: If the dimension is not that of the training embeddings.
            DataError: If a value is not finite, or an embedding equals the mean.
        """  # noqa: DOC502 (raised by the shared checks)
        rows = as_rows(X, len(self.mean_))
        projected = (rows - self.mean_.astype(rows.dtype)) @ self.lda_.astype(rows.dtype)
        return unit_rows(projected) if self.length_norm else np.asarray(projected)

    def with_mean(self, mean: ArrayLike) -> "PLDABackend":
        """The same back-end around another mean: the cheapest adaptation to a new domain.

        Args:
            mean: Mean of embeddings of the new domain, shape (dim,).

        Returns:
            A new back-end that shares the other parts.

        Raises:
            ShapeError: If the dimension differs.
        """
        centre = np.asarray(mean, dtype=np.float64)
        if centre.shape != self.mean_.shape:
            msg = (
                f"with_mean needs shape {self.mean_.shape}, got {centre.shape}; take the mean of "
                "embeddings of the same model"
            )
            raise ShapeError(msg)
        return self.from_arrays({**self.arrays(), "centre": centre})

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What `from_arrays` needs, by name."""
        return {
            "centre": self.mean_,
            "lda": self.lda_,
            "length_norm": np.array(self.length_norm),
            **self.plda_.arrays(),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> "PLDABackend":
        """A fitted back-end.

        Args:
            arrays: ``centre`` (dim,), ``lda`` (dim, lda_dim), ``length_norm`` (), and the arrays of
                `PLDA.from_arrays`.

        Returns:
            The back-end.

        Raises:
            ShapeError: If the shapes do not fit each other.
        """
        plda = PLDA.from_arrays(arrays)
        centre, lda = (np.asarray(arrays[name], dtype=float) for name in ("centre", "lda"))
        if lda.shape != (*centre.shape, *plda.mean_.shape):
            msg = (
                f"PLDABackend needs centre (dim,) and lda (dim, {len(plda.mean_)}), got "
                f"{centre.shape} and {lda.shape}; train it again"
            )
            raise ShapeError(msg)
        backend = cls(lda_dim=lda.shape[1], length_norm=bool(arrays["length_norm"]))
        backend.mean_, backend.lda_, backend.plda_ = centre, lda, plda
        return backend

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the back-end as an ``.npz`` of plain arrays, in one atomic step."""
        save_arrays(path, self.arrays())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "PLDABackend":
        """Read what `save` wrote; a broken file is a FormatError."""
        names = ("centre", "lda", "length_norm", *ARRAYS)
        return cls.from_arrays(load_arrays(path, names, remedy="train it with 'bbb plda'"))

    def _check_arguments(self) -> None:
        shrinkage_ok = self.shrinkage == "auto" or 0.0 <= self.shrinkage <= 1.0
        if self.lda_dim < 0 or self.min_utts < 1 or not shrinkage_ok:
            msg = (
                "PLDABackend needs lda_dim >= 0, min_utts >= 1 and shrinkage 'auto' or in [0, 1], "
                f"got {self.lda_dim}, {self.min_utts} and {self.shrinkage}; correct the arguments"
            )
            raise ConfigError(msg)

    def _fit_lda(self, centred: Floats, codes: NDArray[np.intp]) -> NDArray[np.float64]:
        """Train LDA.

        Args:
            centred: Embeddings less their mean, shape (utterances, dim).
            codes: Speaker of each, shape (utterances,).

        Returns:
            Map from centred embeddings to LDA's, shape (dim, lda_dim).

        Raises:
            NumericsError: If all embeddings are equal.
        """
        dim = centred.shape[1]
        if self.lda_dim == 0:
            return np.eye(dim)
        possible = min(self.num_speakers_ - 1, dim)
        if self.lda_dim > possible:
            warnings.warn(
                f"lda_dim {self.lda_dim} is more than {self.num_speakers_} speakers and dimension "
                f"{dim} allow; LDA keeps {possible}",
                UserWarning,
                stacklevel=3,
            )
        from sklearn.discriminant_analysis import (  # noqa: PLC0415 (only training needs it)
            LinearDiscriminantAnalysis,
        )

        # Shrinkage towards the identity means the same for every dimension only in equal units.
        scale = centred.std(axis=0)
        dead = scale <= ROUNDING * np.abs(self.mean_)
        if dead.all():
            msg = "LDA needs embeddings that differ, got equal ones; has the model collapsed?"
            raise NumericsError(msg)
        scale[dead] = np.inf
        rows = centred / scale
        lda = LinearDiscriminantAnalysis(solver="eigen", shrinkage=self._lda_shrinkage(rows, codes))
        with warnings.catch_warnings():
            # Speakers with one utterance scale LDA's within-speaker covariance, all directions
            # alike, and so do not change its result.
            warnings.filterwarnings("ignore", message="Only one sample available")
            lda.fit(rows, codes)
        scalings = lda.scalings_[:, : min(self.lda_dim, possible)]
        return np.asarray(scalings / scale[:, None], dtype=np.float64)

    def _lda_shrinkage(self, rows: Floats, codes: NDArray[np.intp]) -> float:
        """The shrinkage, kept above zero so that dead and collinear dimensions do no harm."""
        if self.shrinkage != "auto":
            return max(float(self.shrinkage), 1e-6)
        from sklearn.covariance import ledoit_wolf_shrinkage  # noqa: PLC0415 (only training)

        _, codes = np.unique(codes, return_inverse=True)
        sums = np.zeros((codes.max() + 1, rows.shape[1]))
        np.add.at(sums, codes, rows)
        residuals = rows - (sums / np.bincount(codes)[:, None])[codes]
        return max(float(ledoit_wolf_shrinkage(residuals, assume_centered=True)), 1e-4)
