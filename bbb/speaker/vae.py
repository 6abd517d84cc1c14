"""Normalisation of embeddings by a variational autoencoder."""

import math
import os
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from bbb._numerics import softplus
from bbb.errors import ConfigError, DataError, FormatError, NumericsError
from bbb.scoring._npz import load_arrays, save_arrays
from bbb.scoring._rows import as_rows, centre_rows, check_speakers
from bbb.speaker._autoencoder import Autoencoder, centres_of, mean_codes, mlp
from bbb.speaker._descent import BatchLoss, descend

Floats = NDArray[np.floating[Any]]
ARRAYS = ("mean", "scale", "sizes", "parameters")


class VAENormalizer(TransformerMixin, BaseEstimator):  # type: ignore[misc] # sklearn has no types
    r"""Replace embeddings by the codes of a variational autoencoder, near N(0, I).

    Embeddings x, each dimension standardised, are modelled as :math:`z \sim N(0, I)`,
    :math:`x \mid z \sim N(f(z), s^2 I)`, with :math:`q(z \mid x) = N(\mu(x), \sigma(x)^2)`; f, mu
    and sigma are multilayer perceptrons. What is minimised, in nats per embedding, is

    .. math:: -\log p(x \mid z) + \mathrm{KL}(q \,\|\, N(0, I))
        + \frac{c}{2} \lVert \mu(x) - m \rVert^2

    with one z drawn from q, the divergence in closed form, and m the mean code of the speaker at
    the start of the epoch (the cohesive term of the paper's c-vectors). The code is mu(x).

    Args:
        code_dim: Dimensions of a code.
        hidden_dim: Units of each hidden layer; the paper has 1800.
        num_layers: Hidden layers of the encoder, and as many of the decoder; 0 makes it
            probabilistic PCA, which may do better with few thousand embeddings.
        obs_sigma: The s above, in standard deviations of the embeddings, > 0. Its square is the
            weight of the divergence where errors are squared (beta): a large s keeps only
            directions in which the embeddings vary more than that, a small one keeps all, and the
            codes are not far from whitened embeddings. "learned" trains it with the networks.
        cohesion: The c above, >= 0; more than 0 needs speakers.
        sampling: False takes z = mu(x) and leaves the divergence out: a plain autoencoder.
        epochs: Passes over the training embeddings.
        batch_size: Embeddings of an update.
        lr: Step size of Adam; falls to 0 over the training in a straight line.
        seed: Of the initial weights, batches and draws; the global generators are left alone.
        device: Where to train. Codes are computed on the CPU.

    Attributes:
        mean_: Mean of the training embeddings, shape (dim,), float64.
        scale_: Their standard deviations, 1 for constant dimensions, shape (dim,), float64.
        encoder_: Network from standardised embeddings to mu and rho, with sigma = softplus(rho).
        obs_sigma_: The s that was used or learned.
        losses_: Mean loss of each epoch, shape (epochs,).

    Example:
        In front of centring, length normalisation and PLDA:

        >>> from sklearn.pipeline import make_pipeline
        >>> from bbb.scoring import PLDA, Centering, LengthNorm
        >>> rng = np.random.default_rng(0)
        >>> speakers = np.repeat(np.arange(40), 5)
        >>> x = rng.normal(size=(40, 9))[speakers] + 0.2 * rng.normal(size=(200, 9))
        >>> vae = VAENormalizer(code_dim=6, hidden_dim=32, epochs=5)
        >>> chain = make_pipeline(vae, Centering(), LengthNorm(), PLDA()).fit(x, speakers)
        >>> chain[:-1].transform(x).shape
        (200, 6)

    References:
        Zhang, Li and Wang 2019, "VAE-based regularization for deep speaker embedding"; Kingma and
        Welling 2014, "Auto-encoding variational Bayes".
    """

    mean_: NDArray[np.float64]
    scale_: NDArray[np.float64]
    encoder_: nn.Sequential
    obs_sigma_: float
    losses_: NDArray[np.float64]

    def __init__(
        self,
        code_dim: int = 200,
        hidden_dim: int = 512,
        num_layers: int = 1,
        *,
        obs_sigma: float | Literal["learned"] = "learned",
        cohesion: float = 0.0,
        sampling: bool = True,
        epochs: int = 10,
        batch_size: int = 128,
        lr: float = 1e-3,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        self.code_dim = code_dim
        self.hidden_dim = hidden_dim
        self.num_layers = num_layers
        self.obs_sigma = obs_sigma
        self.cohesion = cohesion
        self.sampling = sampling
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.seed = seed
        self.device = device

    def fit(
        self,
        X: ArrayLike,  # noqa: N803 (sklearn's name)
        y: ArrayLike | None = None,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> "VAENormalizer":
        """Train the autoencoder.

        Args:
            X: Embeddings, shape (utterances, dim).
            y: Speaker of each, shape (utterances,); used for `cohesion` only.
            progress: Called with the epochs done and their number, such as ``Progress.update``.

        Returns:
            Itself.

        Raises:
            ConfigError: If an argument is out of range, or cohesion has no speakers.
            ShapeError: If the shapes do not fit each other.
            DataError: If a value is not finite, or there is only one embedding.
            NumericsError: If all embeddings are equal, or the training diverges.
        """  # noqa: DOC502 (also raised by the shared checks)
        self._check_arguments()
        rows = as_rows(X)
        labels = None if y is None else check_speakers(y, rows, "VAENormalizer")
        if self.cohesion and y is None:
            msg = f"cohesion={self.cohesion} needs speakers, got y=None; fit(X, y), or cohesion=0"
            raise ConfigError(msg)
        if len(rows) < 2:  # noqa: PLR2004
            msg = "VAENormalizer needs two embeddings or more, got 1; add embeddings to train on"
            raise DataError(msg)
        self.mean_ = rows.mean(axis=0, dtype=np.float64)
        sigma = centre_rows(rows, self.mean_).std(axis=0, dtype=np.float64)
        # What varies less than the floating type rounds the mean does not vary.
        alive = sigma > 8.0 * np.finfo(rows.dtype).eps * np.abs(self.mean_)
        if not (alive.any() and np.isfinite(sigma).all()):
            msg = (
                "VAENormalizer needs embeddings that differ, with a finite variance, got standard "
                f"deviations from {sigma.min()} to {sigma.max()}; has the model collapsed?"
            )
            raise NumericsError(msg)
        self.scale_ = np.where(alive, sigma, 1.0)
        speakers = None
        if self.cohesion and labels is not None:
            speakers = torch.from_numpy(np.unique(labels, return_inverse=True)[1])
        with torch.enable_grad():
            self._train(self._standardised(rows), speakers, progress)
        return self

    def transform(self, X: ArrayLike) -> Floats:  # noqa: N803 (sklearn's name)
        """Codes of embeddings.

        Args:
            X: Embeddings, shape (utterances, dim).

        Returns:
            The means of q, of the embeddings' floating type, shape (utterances, code_dim).

        Raises:
            ShapeError: If the dimension is not that of the training embeddings.
            DataError: If a value is not finite.
        """  # noqa: DOC502 (raised by the shared checks)
        check_is_fitted(self, "encoder_")
        rows = as_rows(X, len(self.mean_))
        return mean_codes(self.encoder_, self._standardised(rows)).numpy().astype(rows.dtype)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what `transform` needs as an ``.npz`` of plain arrays, in one atomic step."""
        check_is_fitted(self, "encoder_")
        layers = [layer for layer in self.encoder_ if isinstance(layer, nn.Linear)]
        sizes = np.array([layers[0].in_features, *(layer.out_features for layer in layers)])
        vector = nn.utils.parameters_to_vector(self.encoder_.parameters()).detach().numpy()
        values = (self.mean_, self.scale_, sizes, vector)
        save_arrays(path, dict(zip(ARRAYS, values, strict=True)))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "VAENormalizer":
        """Read what `save` wrote.

        Args:
            path: The file.

        Returns:
            A normaliser that can transform. Of the arguments it has the sizes; it has no
            ``losses_`` and no ``obs_sigma_``.

        Raises:
            FormatError: If the file is missing, broken, or its arrays do not fit each other.
        """
        arrays = load_arrays(path, ARRAYS, remedy="fit and save it again")
        mean, scale, sizes, vector = (arrays[name] for name in ARRAYS)
        numbers = all(array.dtype.kind in "fiu" for array in arrays.values())
        widths = sizes.astype(int).tolist() if numbers and sizes.ndim == 1 else []
        wanted = sum((a + 1) * b for a, b in pairwise(widths))
        fits = mean.shape == scale.shape == tuple(widths[:1]) and vector.shape == (wanted,)
        if not (fits and len(widths) > 1 and min(widths) > 0):
            msg = (
                f"{path}:0: expected mean and scale of {widths[:1]} and {wanted} parameters, got "
                f"shapes {mean.shape}, {scale.shape} and {vector.shape}; fit and save it again"
            )
            raise FormatError(msg)
        model = cls(widths[-1] // 2, hidden_dim=widths[1], num_layers=len(widths) - 2)
        model.mean_, model.scale_ = mean.astype(np.float64), scale.astype(np.float64)
        model.encoder_ = mlp(widths, torch.Generator())
        values = torch.from_numpy(vector.astype(np.float32))
        nn.utils.vector_to_parameters(values, model.encoder_.parameters())
        return model

    def _standardised(self, rows: Floats) -> Tensor:
        """What the networks take, float32."""
        centred = centre_rows(rows, self.mean_)
        return torch.from_numpy((centred / self.scale_).astype(np.float32))

    def _train(
        self, x: Tensor, speakers: Tensor | None, progress: Callable[[int, int], None] | None
    ) -> None:
        """Train the networks.

        Args:
            x: Standardised embeddings, shape (utterances, dim).
            speakers: Code of each one's speaker, shape (utterances,); None without cohesion.
            progress: As in `fit`.

        Raises:
            NumericsError: If the loss is not finite.
        """  # noqa: DOC502 (raised by descend)
        generator = torch.Generator().manual_seed(self.seed)
        model = Autoencoder(
            x.shape[1],
            self.code_dim,
            [self.hidden_dim] * self.num_layers,
            obs_sigma=self.obs_sigma,
            cohesion=self.cohesion,
            sampling=self.sampling,
            generator=generator,
        ).to(self.device)
        x, speakers = x.to(self.device), None if speakers is None else speakers.to(self.device)

        def new_epoch() -> BatchLoss:
            centres = None if speakers is None else centres_of(model.encoder, x, speakers)
            return lambda rows: model.loss(
                x[rows], None if centres is None else centres[rows], generator
            )

        self.losses_ = descend(
            self, model.parameters(), len(x), new_epoch, generator=generator, progress=progress
        )
        self.encoder_ = model.encoder.cpu()
        self.obs_sigma_ = float(softplus(model.obs_rho.detach()))

    def _check_arguments(self) -> None:
        sizes = (self.code_dim, self.hidden_dim, self.num_layers + 1, self.epochs, self.batch_size)
        sigma: object = 1.0 if self.obs_sigma == "learned" else self.obs_sigma
        positive = isinstance(sigma, int | float | np.floating) and 0 < sigma < math.inf
        positive = positive and 0 < self.lr < math.inf
        if min(sizes) < 1 or not positive or not 0 <= self.cohesion < math.inf:
            msg = (
                "VAENormalizer needs code_dim, hidden_dim, epochs and batch_size >= 1, num_layers "
                "and cohesion >= 0, lr > 0 and obs_sigma > 0 or 'learned', got "
                f"{self.code_dim}, {self.hidden_dim}, {self.epochs}, {self.batch_size}, "
                f"{self.num_layers}, {self.cohesion}, {self.lr} and {self.obs_sigma}; correct them"
            )
            raise ConfigError(msg)
