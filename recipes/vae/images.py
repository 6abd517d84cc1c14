"""Binary images: scikit-learn's 8x8 digits, or MNIST from a file."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor

from bbb.errors import DataError
from recipes.common.images import read_npz

DIGITS_TRAIN = 1400


@dataclass(frozen=True)
class Images:
    """Images of zeros and ones, uint8.

    Attributes:
        train: (images, pixels).
        test: (images, pixels).
        side: Pixels in a row, for pictures.
    """

    train: Tensor
    test: Tensor
    side: int


def load_images(data: str, binarization: str) -> Images:
    """Load and binarise, the same way in every run.

    Args:
        data: "digits", or an ``.npz`` with uint8 ``x_train`` and ``x_test``, (images, side, side).
        binarization: "threshold": a pixel is 1 from half of the largest value on. "fixed": it is 1
            with the probability that its grey value says, drawn once and for all.

    Returns:
        The images; of the digits 1,400 for training and 397 for test, in a fixed random order.

    Raises:
        ConfigError: If there is no such file.
        DataError: If it is not what it should be.
    """  # noqa: DOC502 (by read_npz and _read_images)
    if data == "digits":
        grey = load_digits().images / 16
        grey = grey[np.random.default_rng(0).permutation(len(grey))]
        sets = grey[:DIGITS_TRAIN], grey[DIGITS_TRAIN:]
    else:
        sets = _read_images(data)
    rng = np.random.default_rng(0)
    train, test = (_binarize(grey, binarization, rng) for grey in sets)
    return Images(train, test, sets[0].shape[-1])


def _read_images(data: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    train, test = read_npz(data, ("x_train", "x_test")).values()
    for name, found in (("x_train", train), ("x_test", test)):
        if found.dtype != np.uint8 or found.ndim != 3 or found.shape[1:] != train.shape[1:]:  # noqa: PLR2004
            msg = (
                f"{data}: {name} has to be uint8 of (images, side, side), got {found.dtype} of "
                f"{found.shape}"
            )
            raise DataError(msg)
    return train.astype(np.float32) / 255, test.astype(np.float32) / 255


def _binarize(grey: NDArray[np.floating], how: str, rng: np.random.Generator) -> Tensor:
    threshold = 0.5 if how == "threshold" else rng.random(grey.shape, dtype=np.float32)
    # A grey value of 0 is never 1, and one of 1 always: random() is in [0, 1).
    bits = (grey >= threshold) if how == "threshold" else (grey > threshold)
    return torch.from_numpy(bits.astype(np.uint8)).flatten(1)


def batches(images: Tensor, size: int, seed: int, start: int, stop: int) -> Iterator[Tensor]:
    """Yield the batches of steps ``start`` to ``stop``, (size, pixels), of shuffled epochs.

    A function of the seed and the step alone, so that a run that was killed goes on with the same
    ones. An epoch's incomplete last batch is left out.
    """
    per_epoch = len(images) // size
    order, epoch_of_order = torch.empty(0), -1
    for step in range(start, stop):
        epoch, place = divmod(step, per_epoch)
        if epoch != epoch_of_order:
            generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
            order, epoch_of_order = torch.randperm(len(images), generator=generator), epoch
        yield images[order[place * size : (place + 1) * size]].float()
