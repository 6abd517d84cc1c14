"""How uncertain predictions are, in all and by kind."""

import torch
from torch import Tensor

from bbb.uncertainty._predictions import Kind, log_mean, log_probabilities


def predictive_entropy(predictions: Tensor, *, kind: Kind = "logits") -> Tensor:
    """Entropy of the mean of the samples' probabilities: the total uncertainty.

    Args:
        predictions: Shape (samples, batch, ..., classes).
        kind: "logits", or "probs" for probabilities.

    Returns:
        Nats in [0, log(classes)], shape (batch, ...), float32 or better.

    Raises:
        ShapeError: If ``predictions`` has fewer than three axes, or an empty one.
        DataError: If probabilities are not in [0, 1] with sum 1.
        ConfigError: If ``kind`` is unknown.
    """  # noqa: DOC502 (raised by log_probabilities)
    return _entropy(log_mean(log_probabilities(predictions, kind, "predictive_entropy")))


def aleatoric(predictions: Tensor, *, kind: Kind = "logits") -> Tensor:
    """Mean entropy of the samples: the noise that would be left if the weights were known.

    Args:
        predictions: Shape (samples, batch, ..., classes).
        kind: "logits", or "probs" for probabilities.

    Returns:
        Nats in [0, log(classes)], shape (batch, ...), float32 or better.

    Raises:
        ShapeError: If ``predictions`` has fewer than three axes, or an empty one.
        DataError: If probabilities are not in [0, 1] with sum 1.
        ConfigError: If ``kind`` is unknown.
    """  # noqa: DOC502 (raised by log_probabilities)
    return _entropy(log_probabilities(predictions, kind, "aleatoric")).mean(0)


def mutual_information(predictions: Tensor, *, kind: Kind = "logits") -> Tensor:
    r"""Information that the label would give about the weights: the epistemic uncertainty, BALD.

    It is not computed as a difference of entropies, which rounding can make negative, but as the
    mean divergence of the samples from their mean, whose every term is a square to first order.

    Args:
        predictions: Shape (samples, batch, ..., classes).
        kind: "logits", or "probs" for probabilities.

    Returns:
        Nats in [0, log(min(samples, classes))], shape (batch, ...), float32 or better; exactly 0
        for one sample.

    Raises:
        ShapeError: If ``predictions`` has fewer than three axes, or an empty one.
        DataError: If probabilities are not in [0, 1] with sum 1.
        ConfigError: If ``kind`` is unknown.

    References:
        Houlsby et al. 2011, Bayesian Active Learning for Classification and Preference Learning.
    """  # noqa: DOC502 (raised by log_probabilities)
    log_probs = _finite(log_probabilities(predictions, kind, "mutual_information"))
    mean = log_mean(log_probs)
    difference = log_probs - mean
    # KL(p || m) = sum of m (r log r - r + 1) with r = p / m; each term is >= 0.
    terms = difference * difference.exp() - difference.expm1()
    return (mean.exp() * terms).sum(-1).mean(0).clamp(min=0.0)


def _finite(log_probs: Tensor) -> Tensor:
    """Make 0 log 0 come out as 0, not as NaN."""
    return log_probs.clamp(min=torch.finfo(log_probs.dtype).min)


def _entropy(log_probs: Tensor) -> Tensor:
    return -(log_probs.exp() * _finite(log_probs)).sum(-1).clamp(max=0.0)
