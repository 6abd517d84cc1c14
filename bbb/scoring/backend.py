"""The classic back-end in one object: centring, LDA, length normalisation, PLDA."""

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

from bbb.errors import ConfigError, DataError, ShapeError
from bbb.scoring._kaldi_model import read_array, write_objects
from bbb.scoring._lda import fit_lda
from bbb.scoring._npz import load_arrays, save_arrays
from bbb.scoring._rows import as_rows, centre_rows, check_speakers
from bbb.scoring.adaptation import domain_moments
from bbb.scoring.cosine import unit_rows
from bbb.scoring.mapping import Mapper, local_map
from bbb.scoring.plda import ARRAYS, PLDA

Floats = NDArray[np.floating[Any]]


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

    def fit(
        self,
        X: ArrayLike,  # noqa: N803 (sklearn's name)
        y: ArrayLike,
        *,
        mapper: Mapper = local_map,
    ) -> "PLDABackend":
        """Train every part on the same embeddings.

        Args:
            X: Embeddings, shape (utterances, dim).
            y: Speaker of each, shape (utterances,).
            mapper: Where PLDA's statistics of blocks of embeddings are summed.

        Returns:
            Itself.

        Raises:
            ConfigError: If an argument of the back-end is out of range.
            ShapeError: If there is not one speaker per embedding.
            DataError: If fewer than two speakers have enough utterances, or a value is not finite.
            NumericsError: If all embeddings are equal, or all those of each speaker, or speakers do
                not differ.
        """  # noqa: DOC502 (PLDA raises it)
        self._check_arguments()
        rows = as_rows(X)
        speakers = check_speakers(y, rows, "PLDABackend")
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
        used_rows, codes = rows[used].astype(np.float64), codes[used]
        from threadpoolctl import threadpool_limits  # noqa: PLC0415 (only training needs it)

        with threadpool_limits(limits=1):
            self.mean_ = used_rows.mean(axis=0)
            self.lda_ = fit_lda(used_rows, codes, self.lda_dim, self.shrinkage)
        self.plda_ = PLDA(method=self.method, num_iters=self.num_iters)
        self.plda_.fit(self.transform(used_rows), codes, mapper=mapper)
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
        rows = centre_rows(X, self.mean_)
        projected = rows @ self.lda_.astype(rows.dtype)
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

    def adapt(
        self,
        X: ArrayLike,  # noqa: N803 (sklearn's name)
        method: Literal["kaldi", "coral", "coral+"] = "coral+",
        *,
        within: float | None = None,
        between: float | None = None,
    ) -> "PLDABackend":
        """The same back-end for another domain: centred there, and its PLDA adapted.

        Args:
            X: Embeddings of the new domain without labels, shape (utterances, dim).
            method: As in `PLDA.adapt`.
            within: As in `PLDA.adapt`.
            between: As in `PLDA.adapt`.

        Returns:
            A new back-end that shares LDA.

        Raises:
            ConfigError: If the method is unknown, or a share is out of range or without use.
            ShapeError: If the dimension differs.
            DataError: If a value is not finite, or all embeddings are equal.
        """  # noqa: DOC502 (raised by what it calls)
        moved = self.with_mean(domain_moments(X, len(self.mean_))[0])
        moved.plda_ = moved.plda_.adapt(moved.transform(X), method, within=within, between=between)
        return moved

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

    @classmethod
    def from_kaldi(
        cls,
        plda: str | os.PathLike[str],
        *,
        transform: str | os.PathLike[str] | None = None,
        mean: str | os.PathLike[str] | None = None,
        length_norm: bool = True,
        scaleup: bool = True,
    ) -> "PLDABackend":
        """Read the back-end of a Kaldi recipe; each file may be binary or text.

        Args:
            plda: What ``ivector-compute-plda`` wrote.
            transform: What ``ivector-compute-lda`` wrote (``transform.mat``), with or without a
                column of offsets; None where the recipe has no LDA.
            mean: ``mean.vec``, subtracted first; None subtracts nothing.
            length_norm: Whether the recipe has ``ivector-normalize-length`` before PLDA.
            scaleup: Whether that scales to the root of the dimension, as it does unless told
                otherwise, and not to 1; it is converted to our length of 1.

        Returns:
            The back-end. Scores are those of ``ivector-plda-scoring --normalize-length=false``.

        Raises:
            FormatError: If a file is missing, cut off, or holds something else.
            ShapeError: If the files do not fit each other.
        """  # noqa: DOC502 (raised by the readers)
        model = PLDA.from_kaldi(plda)
        dim = len(model.mean_)
        lda = np.eye(dim) if transform is None else read_array(transform, 2).T
        centre = np.zeros(len(lda)) if mean is None else read_array(mean, 1)
        if len(lda) == len(centre) + 1 or (mean is None and len(lda) == dim + 1):
            # The offset b of A x + b, as a part of the mean.
            lda, offset = lda[:-1], lda[-1]
            centre = centre[: len(lda)] - np.linalg.pinv(lda).T @ offset
        scale = np.sqrt(dim) if length_norm and scaleup else 1.0
        arrays = {
            "centre": centre,
            "lda": lda,
            "length_norm": np.array(length_norm),
            "mean": model.mean_ / scale,
            "transform": model.transform_ * scale,
            "between_var": model.between_var_,
        }
        return cls.from_arrays(arrays)

    def to_kaldi(self, folder: str | os.PathLike[str], *, text: bool = False) -> None:
        """Write ``mean.vec``, ``transform.mat`` and ``plda``, as the recipes of Kaldi name them.

        Args:
            folder: Where; made when missing.
            text: Whether to write text.
        """
        scale = np.sqrt(len(self.plda_.mean_)) if self.length_norm else 1.0
        arrays = self.plda_.arrays()
        scaled = {"mean": arrays["mean"] * scale, "transform": arrays["transform"] / scale}
        PLDA.from_arrays({**arrays, **scaled}).to_kaldi(Path(folder) / "plda", text=text)
        write_objects(Path(folder) / "mean.vec", self.mean_, text=text)
        write_objects(Path(folder) / "transform.mat", self.lda_.T, text=text)

    def _check_arguments(self) -> None:
        shrinkage_ok = self.shrinkage == "auto" or 0.0 <= self.shrinkage <= 1.0
        if self.lda_dim < 0 or self.min_utts < 1 or not shrinkage_ok:
            msg = (
                "PLDABackend needs lda_dim >= 0, min_utts >= 1 and shrinkage 'auto' or in [0, 1], "
                f"got {self.lda_dim}, {self.min_utts} and {self.shrinkage}; correct the arguments"
            )
            raise ConfigError(msg)
