"""Small regression sets that come with scikit-learn, in random splits; nothing is downloaded."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn import datasets
from torch import Tensor

from bbb.errors import ConfigError

Array = NDArray[np.float64]
TEST_SHARE = 0.1


def _wine() -> tuple[Array, Array]:
    """Alcohol from the twelve other measurements."""
    x, _ = datasets.load_wine(return_X_y=True)
    return x[:, 1:], x[:, 0]


def _linnerud() -> tuple[Array, Array]:
    """Weight from three exercises."""
    x, y = datasets.load_linnerud(return_X_y=True)
    return x, y[:, 0]


SETS = {
    "diabetes": lambda: datasets.load_diabetes(return_X_y=True, scaled=False),
    # Noise of standard deviation 1; half of the ten features say nothing.
    "friedman1": lambda: datasets.make_friedman1(500, noise=1.0, random_state=0),
    "wine": _wine,
    "linnerud": _linnerud,
}


@dataclass(frozen=True)
class Splits:
    """Random splits of a set, standardised by the training part of each.

    Attributes:
        x: Training inputs, (splits, examples, features).
        y: Training targets, (splits, examples, 1).
        x_test: Test inputs, (splits, tests, features).
        y_test: Test targets, (splits, tests, 1).
        scale: Standard deviation of each split's training targets, in their own unit, (splits,).
    """

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor
    scale: Tensor

    @property
    def overlap(self) -> float:
        """Test examples over training examples."""
        return self.x_test.shape[1] / self.x.shape[1]


def load_splits(name: str, number: int) -> Splits:
    """Return random splits of a set, the same in every call.

    Args:
        name: One of `SETS`.
        number: Splits.

    Raises:
        ConfigError: If there is no such set.
    """
    if name not in SETS:
        msg = f"sets are {', '.join(SETS)}, got '{name}'"
        raise ConfigError(msg)
    x, y = SETS[name]()
    order = np.stack([np.random.default_rng(seed).permutation(len(x)) for seed in range(number)])
    cut = max(1, round(TEST_SHARE * len(x)))
    parts = [x[order[:, cut:]], y[order[:, cut:], None], x[order[:, :cut]], y[order[:, :cut], None]]
    standard = []
    for train, part in zip((0, 1, 0, 1), parts, strict=True):
        mean = parts[train].mean(1, keepdims=True)
        scale = parts[train].std(1, keepdims=True)
        # A feature that is constant in a training part says nothing.
        standard.append(torch.from_numpy((part - mean) / np.where(scale > 0, scale, 1)).float())
    x_train, y_train, x_test, y_test = standard
    return Splits(x_train, y_train, x_test, y_test, torch.from_numpy(parts[1].std((1, 2))))
