"""Checks and averages that all measures share."""

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from bbb._numerics import at_least_float32
from bbb.errors import ConfigError, DataError, ShapeError

Kind: TypeAlias = Literal["logits", "probs"]

# Sums of probabilities in half precision are off by nearly this much.
_SUM_TOLERANCE = 0.01


def checked_samples(samples: Tensor, axes: int, shape: str, who: str) -> Tensor:
    """Return ``samples`` in float32 or better.

    Args:
        samples: Shape (samples, batch, ...).
        axes: Fewest axes that it may have.
        shape: Its shape in words, for the message.
        who: Name of the caller, for the message.

    Returns:
        The samples, of the same shape.

    Raises:
        ShapeError: If an axis is missing or empty.
    """
    if samples.dim() < axes or not samples.numel():
        msg = f"{who} expects {shape}, got {tuple(samples.shape)}; one sample is x.unsqueeze(0)"
        raise ShapeError(msg)
    return at_least_float32(samples)


def log_probabilities(predictions: Tensor, kind: str, who: str) -> Tensor:
    """Return log probabilities of two or more classes.

    Args:
        predictions: Shape (samples, batch, ..., classes).
        kind: "logits" or "probs".
        who: Name of the caller, for the message.

    Returns:
        Shape (samples, batch, ..., classes), where one class has become two.

    Raises:
        ShapeError: If an axis is missing or empty.
        DataError: If probabilities are not in [0, 1] with sum 1.
        ConfigError: If ``kind`` is unknown.
    """  # noqa: DOC502 (raised by _checked)
    x = _checked(predictions, kind, who)
    return x.log() if kind == "probs" else x.log_softmax(-1)


def mean_probabilities(predictions: Tensor, kind: str, who: str) -> Tensor:
    """Return the mean of the samples' probabilities, shape (batch, ..., classes).

    Arguments and errors as of `log_probabilities`.
    """
    x = _checked(predictions, kind, who)
    return (x if kind == "probs" else x.softmax(-1)).mean(0)


def _checked(predictions: Tensor, kind: str, who: str) -> Tensor:
    """Return predictions of two or more classes, in float32 or better.

    Raises:
        DataError: If probabilities are not in [0, 1] with sum 1.
        ConfigError: If ``kind`` is unknown.
    """
    x = checked_samples(predictions, 3, "(samples, batch, ..., classes)", who)
    one = x.shape[-1] == 1
    if kind == "logits":
        return torch.cat([torch.zeros_like(x), x], -1) if one else x
    if kind != "probs":
        msg = f"{who} needs the kind 'logits' or 'probs', got {kind!r}"
        raise ConfigError(msg)
    x = torch.cat([1.0 - x, x], -1) if one else x
    if not ((x >= 0).all() and ((x.sum(-1) - 1.0).abs() <= _SUM_TOLERANCE).all()):
        msg = f"{who} needs probabilities in [0, 1] with sum 1; for logits pass kind='logits'"
        raise DataError(msg)
    return x


def log_mean(log_values: Tensor) -> Tensor:
    """Logarithm of the mean over samples, the first axis."""
    return log_values.logsumexp(0) - math.log(len(log_values))


def checked_labels(target: Tensor, probs: Tensor, who: str) -> Tensor:
    """Return labels as indices.

    Args:
        target: Labels, shape (batch, ...), integer.
        probs: What they belong to, shape (batch, ..., classes).
        who: Name of the caller, for the message.

    Returns:
        The labels, int64.

    Raises:
        ShapeError: If there is not one for each prediction.
        DataError: If one is no class.
    """
    expected, classes = tuple(probs.shape[:-1]), probs.shape[-1]
    if tuple(target.shape) != expected:
        msg = f"{who} expects labels of shape {expected}, got {tuple(target.shape)}"
        raise ShapeError(msg)
    if target.is_floating_point() or target.min() < 0 or target.max() >= classes:
        found = f"{target.dtype} in [{target.min().item()}, {target.max().item()}]"
        msg = f"{who} needs integer labels in [0, {classes - 1}], got {found}"
        raise DataError(msg)
    return target.long()
