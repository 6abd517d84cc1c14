"""Packed binary codes of embeddings, learned and applied with scikit-learn's interface."""

import copy
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from bbb.errors import ConfigError, DataError, FormatError, NumericsError
from bbb.estimators import Estimator
from bbb.scoring._npz import load_arrays, save_arrays
from bbb.scoring._rows import as_rows, centre_rows, check_speakers
from bbb.speaker._descent import descend
from bbb.speaker.binary import BinaryHead
from bbb.speaker.heads import Softmax

Floats = NDArray[np.floating[Any]]
ARRAYS = ("mean", "weight", "bias")


class BinaryCodes(TransformerMixin, BaseEstimator):  # type: ignore[misc] # sklearn has no types
    """Replace embeddings by ordered binary codes, eight bits to a byte; see `BinaryHead`.

    Training starts from random hyperplanes through the mean (locality-sensitive hashing) and turns
    them so that a softmax over the training speakers does well on prefixes of the bits.

    Args:
        num_bits: Length of the codes, a multiple of 8.
        estimator: As of `BinaryHead`; it is copied.
        min_bits: As of `BinaryHead`; None is no nested dropout.
        epochs: Passes over the training embeddings.
        batch_size: Embeddings of an update.
        lr: Step size of Adam; falls to 0 over the training in a straight line.
        seed: Of all that is random; torch's generators are left as they were. An estimator with a
            generator of its own starts from that generator's state.

    Attributes:
        mean_: Mean of the training embeddings, shape (dim,), float64.
        weight_: Map from centred embeddings to the bits' logits, shape (num_bits, dim), float32.
        bias_: Added to that, shape (num_bits,), float32.
        losses_: Mean loss of each epoch in nats, shape (epochs,).

    Example:
        >>> from bbb.scoring import hamming_scores
        >>> rng = np.random.default_rng(0)
        >>> speakers = np.repeat(np.arange(40), 5)
        >>> x = rng.normal(size=(40, 9))[speakers] + 0.2 * rng.normal(size=(200, 9))
        >>> codes = BinaryCodes(num_bits=64, epochs=5).fit(x, speakers).transform(x)
        >>> codes.shape, codes.dtype
        ((200, 8), dtype('uint8'))
        >>> same, other = hamming_scores(codes, codes, np.array([0, 0]), np.array([1, 5]))
        >>> bool(same > other)
        True

    References:
        Those of `BinaryHead`.
    """

    mean_: NDArray[np.float64]
    weight_: NDArray[np.float32]
    bias_: NDArray[np.float32]
    losses_: NDArray[np.float64]

    def __init__(
        self,
        num_bits: int = 256,
        *,
        estimator: Estimator | None = None,
        min_bits: int | None = 8,
        epochs: int = 30,
        batch_size: int = 128,
        lr: float = 1e-3,
        seed: int = 0,
    ) -> None:
        self.num_bits = num_bits
        self.estimator = estimator
        self.min_bits = min_bits
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.seed = seed

    def fit(
        self,
        X: ArrayLike,  # noqa: N803 (sklearn's name)
        y: ArrayLike,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> "BinaryCodes":
        """Train the hyperplanes.

        Args:
            X: Embeddings, shape (utterances, dim).
            y: Speaker of each, shape (utterances,).
            progress: Called with the epochs done and their number, such as ``Progress.update``.

        Returns:
            Itself.

        Raises:
            ConfigError: If an argument is out of range.
            ShapeError: If the shapes do not fit each other.
            DataError: If a value is not finite, or there is one speaker only.
            NumericsError: If all embeddings are equal, or the training diverges.
            UnsupportedDistributionError: If the estimator is not for Bernoulli variables.
        """  # noqa: DOC502 (also raised by the shared checks)
        self._check_arguments()
        rows = as_rows(X)
        names, speakers = np.unique(check_speakers(y, rows, "BinaryCodes"), return_inverse=True)
        if len(names) < 2:  # noqa: PLR2004
            msg = f"BinaryCodes needs two speakers, got {len(names)}; are the labels right?"
            raise DataError(msg)
        self.mean_ = rows.mean(axis=0, dtype=np.float64)
        centred = centre_rows(rows, self.mean_)
        scale = float(np.sqrt(np.mean(np.square(centred, dtype=np.float64))))
        if not 0.0 < scale < np.inf:
            msg = (
                "BinaryCodes needs embeddings that differ, with a finite variance, got a standard "
                f"deviation of {scale}; has the model collapsed?"
            )
            raise NumericsError(msg)
        x = torch.from_numpy((centred / scale).astype(np.float32))
        # An estimator draws by torch's own generator unless it is told otherwise.
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.default_generator.manual_seed(self.seed)
            head = self._train(x, torch.from_numpy(speakers), len(names), progress)
        weight = head.to_bits.weight.detach().numpy()
        self.weight_ = np.asarray(weight / scale, dtype=np.float32)
        self.bias_ = head.to_bits.bias.detach().numpy()
        return self

    def probs(self, X: ArrayLike) -> Floats:  # noqa: N803 (as sklearn's)
        """Probability that each bit is 1.

        The code of a speaker with several utterances has the bits whose mean probability is above
        1/2: ``np.packbits(codes.probs(X).mean(axis=0) > 0.5)``.

        Args:
            X: Embeddings, shape (utterances, dim).

        Returns:
            Probabilities of the embeddings' floating type, shape (utterances, num_bits).

        Raises:
            ShapeError: If the dimension is not that of the training embeddings.
            DataError: If a value is not finite.
        """  # noqa: DOC502 (raised by the shared checks)
        # The logistic function by one that cannot overflow.
        return np.asarray(0.5 + 0.5 * np.tanh(0.5 * self._logits(X)))

    def transform(self, X: ArrayLike) -> NDArray[np.uint8]:  # noqa: N803 (sklearn's name)
        """Codes of embeddings, for `bbb.scoring.hamming_scores`.

        Args:
            X: Embeddings, shape (utterances, dim).

        Returns:
            The likeliest bits as `numpy.packbits` packs them, shape (utterances, num_bits / 8).

        Raises:
            ShapeError: If the dimension is not that of the training embeddings.
            DataError: If a value is not finite.
        """  # noqa: DOC502 (raised by the shared checks)
        return np.packbits(self._logits(X) > 0.0, axis=1)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what `transform` needs as an ``.npz`` of plain arrays, in one atomic step."""
        check_is_fitted(self)
        values = (self.mean_, self.weight_, self.bias_)
        save_arrays(path, dict(zip(ARRAYS, values, strict=True)))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "BinaryCodes":
        """Read what `save` wrote.

        Args:
            path: The file.

        Returns:
            Codes that can transform. Of the arguments it has the length; it has no ``losses_``.

        Raises:
            FormatError: If the file is missing, broken, or its arrays do not fit each other.
        """
        arrays = load_arrays(path, ARRAYS, remedy="fit and save it again")
        mean, weight, bias = (arrays[name] for name in ARRAYS)
        floats = all(array.dtype.kind == "f" for array in arrays.values())
        shaped = weight.shape == (*bias.shape, *mean.shape) and weight.ndim == 2  # noqa: PLR2004
        if not (floats and shaped) or len(bias) % 8:
            msg = (
                f"{path}:0: expected floats, the weight of shape (num_bits, dim), got mean, weight "
                f"and bias of shapes {mean.shape}, {weight.shape} and {bias.shape}; fit and save "
                "it again"
            )
            raise FormatError(msg)
        model = cls(len(bias))
        model.mean_ = mean.astype(np.float64)
        model.weight_, model.bias_ = weight.astype(np.float32), bias.astype(np.float32)
        return model

    def _logits(self, X: ArrayLike) -> Floats:  # noqa: N803 (sklearn's name)
        check_is_fitted(self)
        rows = centre_rows(X, self.mean_)
        return np.asarray(rows @ self.weight_.T.astype(rows.dtype) + self.bias_.astype(rows.dtype))

    def _train(
        self,
        x: Tensor,
        speakers: Tensor,
        num_speakers: int,
        progress: Callable[[int, int], None] | None,
    ) -> BinaryHead:
        """Train a head on embeddings about zero with a mean square of 1, (utterances, dim)."""
        head = BinaryHead(
            x.shape[1],
            Softmax(self.num_bits, num_speakers),
            self.num_bits,
            estimator=copy.deepcopy(self.estimator),
            min_bits=self.num_bits if self.min_bits is None else self.min_bits,
        )
        # Directions without preference; torch's default makes bits that are nearly coins.
        nn.init.normal_(head.to_bits.weight, std=x.shape[1] ** -0.5)
        nn.init.zeros_(head.to_bits.bias)

        def loss(batch: Tensor) -> Tensor:
            total: Tensor = head(x[batch], speakers[batch]).sum()
            return total

        self.losses_ = descend(self, head.parameters(), len(x), lambda: loss, progress=progress)
        return head

    def _check_arguments(self) -> None:
        shortest = self.num_bits if self.min_bits is None else self.min_bits
        sizes = self.num_bits, self.epochs, self.batch_size
        if (
            min(sizes) < 1
            or self.num_bits % 8
            or not 1 <= shortest <= self.num_bits
            or not 0.0 < self.lr < np.inf
        ):
            msg = (
                "BinaryCodes needs num_bits a multiple of 8, min_bits from 1 to num_bits or None, "
                "epochs and batch_size >= 1 and a finite lr > 0, got "
                f"{self.num_bits}, {self.min_bits}, {self.epochs}, {self.batch_size} and {self.lr};"
                " correct them"
            )
            raise ConfigError(msg)
