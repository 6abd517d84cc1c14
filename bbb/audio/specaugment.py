"""SpecAugment: masks over frames and channels of features (Park et al. 2019)."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from bbb.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class SpecAugmentConfig:
    """Masks of random place and width, drawn anew for each item of a batch.

    Attributes:
        time_masks: Masks over frames.
        time_width: Largest width of one, in frames.
        freq_masks: Masks over feature channels.
        freq_width: Largest width of one, in channels.
    """

    time_masks: int = 1
    time_width: int = 20
    freq_masks: int = 1
    freq_width: int = 5

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            ConfigError: If a number is negative.
        """
        for name in ("time_masks", "time_width", "freq_masks", "freq_width"):
            if getattr(self, name) < 0:
                msg = f"SpecAugmentConfig: {name} cannot be negative, got {getattr(self, name)}"
                raise ConfigError(msg)


def spec_augment(features: Tensor, config: SpecAugmentConfig, rng: np.random.Generator) -> Tensor:
    """Set random stripes of frames and of channels to zero, the mean after normalisation.

    A mask's width is uniform from 0 to its largest, and never covers a whole axis.

    Args:
        features: Mean-normalised, shape (batch, frames, dim).
        config: How many masks, and how wide.
        rng: The only source of randomness.

    Returns:
        A new tensor of the same shape.
    """
    masked = features.clone()
    for item in masked:
        mask_(item, config, rng)
    return masked


def mask_(features: Tensor, config: SpecAugmentConfig, rng: np.random.Generator) -> None:
    """Set random stripes of one item to zero, in place; see ``spec_augment``.

    Args:
        features: Shape (frames, dim).
        config: How many masks, and how wide.
        rng: The only source of randomness.
    """
    frames, dim = features.shape
    for start, end in _stripes(frames, config.time_masks, config.time_width, rng):
        features[start:end] = 0.0
    for start, end in _stripes(dim, config.freq_masks, config.freq_width, rng):
        features[:, start:end] = 0.0


def _stripes(size: int, number: int, width: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Start and end of ``number`` random stripes on an axis."""
    widths = rng.integers(0, min(width, size - 1) + 1, size=number)
    return [(start := int(rng.integers(0, size - int(w) + 1)), start + int(w)) for w in widths]
