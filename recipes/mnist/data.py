"""Digits with a fixed split into training, validation and test: MNIST's file, or scikit-learn's."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bbb.errors import ConfigError, DataError
from recipes.common.images import read_npz
from recipes.mnist.settings import Settings

SIDE = 28
DIGITS_TRAIN = 1400
Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Digits:
    """Images, float32 of (images, 784), and their digits, int64 of (images,).

    Attributes:
        train: What the net learns from.
        valid: What settings are compared on; empty where training takes all.
        test: What is looked at once, at the end.
    """

    train: Pair
    valid: Pair
    test: Pair


def load(settings: Settings) -> Digits:
    """Load, split and scale: the same split for every seed and system.

    Args:
        settings: Of a training: ``data``, ``num_valid``, ``pixel_scale`` and ``device`` count.

    Returns:
        The digits.

    Raises:
        ConfigError: If there is no such file, or it has too few images.
        DataError: If the file is not what it should be.
    """  # noqa: DOC502 (of the file, by read_arrays)
    arrays = read_arrays(settings.data)
    x, y = (torch.from_numpy(arrays[name]) for name in ("x_train", "y_train"))
    num_train = len(x) - settings.num_valid
    if num_train < settings.batch_size:
        msg = (
            f"{settings.data} has {len(x)} images to learn from: too few for num_valid "
            f"{settings.num_valid} and a batch_size of {settings.batch_size}; lower these"
        )
        raise ConfigError(msg)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    test = torch.from_numpy(arrays["x_test"]), torch.from_numpy(arrays["y_test"])

    def ready(images: Tensor, digits: Tensor) -> Pair:
        """Scale, and move to the device."""
        pixels = scale(images, settings.pixel_scale)
        return pixels.to(settings.device), digits.long().to(settings.device)

    parts = [ready(x[part], y[part]) for part in (order[:num_train], order[num_train:])]
    return Digits(*parts, ready(*test))


def scale(images: Tensor, pixel_scale: float) -> Tensor:
    """Turn images of pixels from 0 to 255 into rows: (images, 28, 28) to (images, 784)."""
    return images.flatten(1).float() / pixel_scale


def read_arrays(data: str) -> dict[str, NDArray[np.uint8]]:
    """Read images and digits.

    Args:
        data: "digits", or an ``.npz`` file.

    Returns:
        ``x_train`` and ``x_test``, uint8 of (images, 28, 28), ``y_train`` and ``y_test``.

    Raises:
        ConfigError: If there is no such file.
        DataError: If the file is not what it should be.
    """  # noqa: DOC502 (of the file, by read_npz)
    if data == "digits":
        return _enlarged_digits()
    arrays = read_npz(data, [f"{k}_{part}" for part in ("train", "test") for k in "xy"])
    for part in ("train", "test"):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if x.dtype != np.uint8 or x.shape[1:] != (SIDE, SIDE) or y.shape != (len(x),):
            msg = (
                f"{data}: x_{part} and y_{part} have to be uint8 of (images, {SIDE}, {SIDE}) and "
                f"(images,), got {x.dtype} of {x.shape} and {y.shape}"
            )
            raise DataError(msg)
    return arrays


def _enlarged_digits() -> dict[str, NDArray[np.uint8]]:
    """scikit-learn's 8 x 8 digits, in a fixed random order, enlarged: for trying things out."""
    # Slow to import, and not needed for MNIST.
    from sklearn.datasets import load_digits  # noqa: PLC0415

    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.images))
    grey = torch.from_numpy(found.images[order] * (255 / 16))
    large = F.interpolate(grey[:, None], (SIDE, SIDE), mode="bilinear")[:, 0]
    x, y = large.round().to(torch.uint8).numpy(), found.target[order].astype(np.uint8)
    parts = {"train": slice(DIGITS_TRAIN), "test": slice(DIGITS_TRAIN, None)}
    return {f"{kind}_{p}": v[rows] for p, rows in parts.items() for kind, v in (("x", x), ("y", y))}
