"""How good probabilities are: proper scores, and confidence against accuracy."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from bbb.errors import ConfigError
from bbb.plotting import Target, axes_at
from bbb.uncertainty._predictions import (
    Kind,
    checked_labels,
    log_mean,
    log_probabilities,
    mean_probabilities,
)


def nll(predictions: Tensor, target: Tensor, *, kind: Kind = "logits") -> Tensor:
    """Negative log likelihood of the labels under the mean of the samples' probabilities.

    Args:
        predictions: Shape (samples, batch, ..., classes).
        target: Labels, shape (batch, ...), integer.
        kind: "logits", or "probs" for probabilities.

    Returns:
        Nats per example, the mean over all, shape (); differentiable.

    Raises:
        ShapeError: If a shape is wrong.
        DataError: If a label is no class, or probabilities are not in [0, 1] with sum 1.
        ConfigError: If ``kind`` is unknown.
    """  # noqa: DOC502 (raised by the checks)
    log_probs = log_mean(log_probabilities(predictions, kind, "nll"))
    index = checked_labels(target, log_probs, "nll").unsqueeze(-1)
    return -log_probs.gather(-1, index).mean()


def brier_score(predictions: Tensor, target: Tensor, *, kind: Kind = "logits") -> Tensor:
    """Squared distance of the predictive probabilities from the labels, summed over classes.

    Args:
        predictions: Shape (samples, batch, ..., classes).
        target: Labels, shape (batch, ...), integer.
        kind: "logits", or "probs" for probabilities.

    Returns:
        The mean over all examples, in [0, 2] (for two classes twice the score that looks at class
        1 alone), shape (); differentiable.

    Raises:
        ShapeError: If a shape is wrong.
        DataError: If a label is no class, or probabilities are not in [0, 1] with sum 1.
        ConfigError: If ``kind`` is unknown.

    References:
        Brier 1950, Verification of Forecasts Expressed in Terms of Probability.
    """  # noqa: DOC502 (raised by the checks)
    probs = mean_probabilities(predictions, kind, "brier_score")
    labels = checked_labels(target, probs, "brier_score")
    return (probs - F.one_hot(labels, probs.shape[-1])).square().sum(-1).mean()


@dataclass(frozen=True)
class Reliability:
    """How often predictions of some confidence are right; all tensors float64, on the CPU.

    Attributes:
        edges: Bounds of the bins, shape (bins + 1,); a bin includes its upper one.
        count: Predictions in each bin, shape (bins,).
        confidence: Their mean confidence, shape (bins,), NaN in an empty bin.
        accuracy: Share of them that is right, shape (bins,), NaN in an empty bin.
    """

    edges: Tensor
    count: Tensor
    confidence: Tensor
    accuracy: Tensor

    @property
    def error(self) -> Tensor:
        """Expected calibration error: the mean gap, each bin weighted by its count, shape ()."""
        gap = (self.accuracy - self.confidence).abs() * self.count
        # Of an empty bin only: NaN that came with the predictions has to stay.
        return gap.where(self.count > 0, 0.0).sum() / self.count.sum()


@torch.no_grad()
def reliability(
    predictions: Tensor,
    target: Tensor,
    *,
    kind: Kind = "logits",
    label: int | None = None,
    bins: int = 15,
    binning: Literal["width", "mass"] = "width",
) -> Reliability:
    """Compare confidence with accuracy, bin by bin.

    Predictions of equal confidence are in one bin, so that the order of the examples is of no
    account.

    Args:
        predictions: Shape (samples, batch, ..., classes).
        target: Labels, shape (batch, ...), integer.
        kind: "logits", or "probs" for probabilities.
        label: Compare the probability of this class with its frequency; None compares the
            probability of the most probable class with how often it is right.
        bins: Number of bins, >= 1.
        binning: Bins of equal "width" on [0, 1], or of equal "mass" (number of examples).

    Returns:
        The bins.

    Raises:
        ShapeError: If a shape is wrong.
        DataError: If a label is no class, or probabilities are not in [0, 1] with sum 1.
        ConfigError: If an option is out of range.
    """  # noqa: DOC502 (raised by the checks)
    probs = mean_probabilities(predictions, kind, "reliability")
    labels = checked_labels(target, probs, "reliability")
    classes = probs.shape[-1]
    if label is not None and not 0 <= label < classes:
        msg = f"reliability needs a label in [0, {classes - 1}], got {label}"
        raise ConfigError(msg)
    if bins < 1 or binning not in {"width", "mass"}:
        msg = f"reliability needs bins >= 1 of equal 'width' or 'mass', got {bins} of {binning!r}"
        raise ConfigError(msg)
    confidence, best = probs.max(-1) if label is None else (probs[..., label], label)
    confidence = confidence.flatten().double().cpu().contiguous()
    right = (labels == best).flatten().double().cpu()
    edges = torch.linspace(0.0, 1.0, bins + 1, dtype=torch.float64)
    if binning == "mass":
        edges = _quantiles(confidence, edges)
    which = torch.searchsorted(edges[1:-1].contiguous(), confidence)
    count, sum_confidence, sum_right = (
        torch.bincount(which, weights, minlength=bins)
        for weights in (torch.ones_like(right), confidence, right)
    )
    return Reliability(edges, count, sum_confidence / count, sum_right / count)


def expected_calibration_error(
    predictions: Tensor,
    target: Tensor,
    *,
    kind: Kind = "logits",
    label: int | None = None,
    bins: int = 15,
    binning: Literal["width", "mass"] = "width",
) -> Tensor:
    """Mean gap between confidence and accuracy, over bins of examples of like confidence.

    The value depends on ``bins`` and ``binning``: name them beside it. Arguments and errors as of
    `reliability`.

    Returns:
        The error as a fraction in [0, 1], shape (), float64.

    References:
        Guo et al. 2017, On Calibration of Modern Neural Networks.
    """
    parts = reliability(predictions, target, kind=kind, label=label, bins=bins, binning=binning)
    return parts.error


def plot_reliability(data: Reliability, target: Target) -> None:
    """Draw accuracy over confidence, with the share of the examples as the size of each point.

    Args:
        data: What `reliability` returned.
        target: A ``.png``, ``.pdf`` or ``.svg`` file, written in one atomic step, or matplotlib's
            axes.

    Raises:
        ConfigError: If the suffix is another one.
        ModuleNotFoundError: If matplotlib is not installed.
    """  # noqa: DOC502 (raised by axes_at)
    share = data.count / data.count.sum()
    with axes_at(target, "plot_reliability") as axes:
        axes.axline((0.0, 0.0), slope=1.0, color="0.7", linewidth=0.8, label="calibrated")
        axes.vlines(data.confidence, data.confidence, data.accuracy, color="C3", linewidth=1.0)
        label = f"ECE {float(data.error):.2%}"
        axes.scatter(data.confidence, data.accuracy, s=10 + 200 * share, color="C0", label=label)
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy", aspect="equal")
        axes.legend(loc="upper left")


def _quantiles(values: Tensor, shares: Tensor) -> Tensor:
    """Quantiles with linear interpolation; torch.quantile refuses more than 2^24 values."""
    ordered = values.sort().values
    position = shares * (len(ordered) - 1)
    below = position.floor().long()
    above = position.ceil().long()
    return torch.lerp(ordered[below], ordered[above], position - below)
