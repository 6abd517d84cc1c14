r"""Pruning by signal-to-noise ratio: which weights a network can do without.

The signal-to-noise ratio of a weight is :math:`|\mu| / \sigma`. A pruned weight is 0 with
certainty: in the mean, in every draw and for every estimator; it leaves the KL divergence and gets
no gradient. The layer keeps a boolean buffer ``weight_mask``, which copies and checkpoints carry;
a checkpoint without masks leaves those that a model has.

References:
    Blundell et al. 2015, Weight Uncertainty in Neural Networks, section 5.1 (50 % of the weights of
    an MNIST network go for free, and 95 % at a small cost).
"""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from bbb import _numerics
from bbb._module import make_callable
from bbb.errors import ConfigError, NumericsError
from bbb.layers import BayesianLayer, bayesian_layers
from bbb.plotting import Target, axes_at


@dataclass(frozen=True)
class PrunedWeight:
    """What `prune` left of one weight tensor.

    Attributes:
        name: Qualified name, as in the plain model's state dict.
        weights: Number of weights.
        kept: Number of those that are left.
        threshold: Signal-to-noise ratio below which weights went.
    """

    name: str
    weights: int
    kept: int
    threshold: float

    @property
    def share(self) -> float:
        """Kept weights, as a fraction of all."""
        return self.kept / self.weights if self.weights else 1.0


@dataclass(frozen=True)
class PruneReport:
    """What `prune` left; ``str()`` is a table.

    Attributes:
        layers: One entry for each weight tensor; one that layers share appears once.
    """

    layers: tuple[PrunedWeight, ...]

    @property
    def total(self) -> PrunedWeight:
        """The sum over all tensors, named "total"; its threshold is the largest of theirs."""
        weights = sum(row.weights for row in self.layers)
        kept = sum(row.kept for row in self.layers)
        return PrunedWeight("total", weights, kept, max(row.threshold for row in self.layers))

    def __str__(self) -> str:
        rows = [("weight", "weights", "kept", "share", "threshold")]
        rows += [
            (row.name, f"{row.weights}", f"{row.kept}", f"{row.share:.2%}", f"{row.threshold:.4g}")
            for row in (*self.layers, self.total)
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join((row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])))
            for row in rows
        )


def signal_to_noise(model: nn.Module) -> dict[str, Tensor]:
    r"""Signal-to-noise ratio :math:`|\mu| / \sigma` of each Bayesian weight.

    Args:
        model: A module with Bayesian layers.

    Returns:
        Ratios >= 0, by qualified name ("frame1.weight"), of the weight's shape, float32 or better,
        without a graph. A pruned weight has 0; one that is fixed by the layer (an embedding's
        ``padding_idx``) has infinity. A weight that layers share appears once, by its first name.

    Raises:
        ConfigError: If ``model`` has no Bayesian layer.
        NumericsError: If a weight is NaN.
    """  # noqa: DOC502 (raised by the helpers)
    found = _places(model, "signal_to_noise")
    return {name: _ratio(*places[0]) for name, places in found.items()}


def snr_db(ratio: Tensor) -> Tensor:
    """Signal-to-noise ratios of amplitudes in decibels, ``20 log10(ratio)``, any shape."""
    return 20.0 * ratio.log10()


def prune(
    model: nn.Module,
    *,
    fraction: float | None = None,
    threshold: float | None = None,
    scope: Literal["global", "layer"] = "global",
) -> PruneReport:
    """Set the weights of the lowest signal-to-noise ratio to 0 for good, in place.

    Exactly ``round(fraction * n)`` of n weights go; of equal ratios, those that come first in the
    model. Weights that were pruned before stay pruned and count among those that go.

    Args:
        model: A module with Bayesian layers.
        fraction: Share of the weights that go, in [0, 1].
        threshold: Instead, the ratio (not in dB) below which weights go, >= 0.
        scope: "global" ranks all weights of the model together; "layer" takes the same share of
            each weight tensor.

    Returns:
        What is left.

    Raises:
        ConfigError: If an argument is out of range, or not exactly one of ``fraction`` and
            ``threshold`` is given.

    Example:
        >>> import bbb
        >>> model = bbb.bayesianize(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)))
        >>> print(bbb.prune(model, fraction=0.75, scope="layer").total.kept)
        12
    """  # noqa: DOC502 (raised by the checks)
    _check(fraction, threshold, scope)
    weights = [_Weight(name, tuple(places)) for name, places in _places(model, "prune").items()]
    report: list[PrunedWeight] = []
    for group in [weights] if scope == "global" else [[weight] for weight in weights]:
        report += _prune_together(group, fraction, threshold)
    return PruneReport(tuple(report))


def plot_signal_to_noise(
    model: nn.Module, target: Target, *, fraction: float | None = None, bins: int = 100
) -> None:
    """Draw the density and the cumulative share of all weights' ratios, as Blundell's figure 5.

    Args:
        model: A module with Bayesian layers. Weights that are pruned or exactly 0 are left out.
        target: A ``.png``, ``.pdf`` or ``.svg`` file, written in one atomic step, or matplotlib's
            axes.
        fraction: A share in [0, 1] to mark: what pruning would remove.
        bins: Steps of the histogram, >= 1.

    Raises:
        ConfigError: If an argument is out of range, or no weight is left.
        ModuleNotFoundError: If matplotlib is not installed.
    """  # noqa: DOC502 (raised by axes_at)
    if bins < 1:
        msg = f"plot_signal_to_noise needs bins >= 1, got {bins}"
        raise ConfigError(msg)
    _check_fraction("plot_signal_to_noise", 0.0 if fraction is None else fraction)
    ratios = torch.cat([ratio.flatten().cpu() for ratio in signal_to_noise(model).values()])
    levels = snr_db(ratios[(ratios > 0) & ratios.isfinite()].double()).sort().values
    if not len(levels):
        msg = "plot_signal_to_noise needs a weight with mu != 0 and sigma > 0, got none"
        raise ConfigError(msg)
    counts, edges = torch.histogram(levels, bins)
    shares = torch.cat([counts.new_zeros(1), counts.cumsum(0) / len(levels)])
    with axes_at(target, "plot_signal_to_noise") as axes:
        height = (counts / counts.max()).numpy()
        axes.stairs(height, edges.numpy(), fill=True, color="0.8", label="density, to its peak")
        axes.plot(edges.numpy(), shares.numpy(), color="C0", label="share of weights below")
        count = round((fraction or 0.0) * len(levels))
        if count:
            cut = levels[count - 1].item()
            label = f"{fraction:.0%} removed, below {cut:.1f} dB"
            axes.axvspan(edges[0].item(), cut, color="C3", alpha=0.15, linewidth=0)
            axes.axvline(cut, color="C3", linestyle="--", label=label)
        axes.set(xlabel="signal-to-noise ratio |mu| / sigma, dB", ylim=(0.0, 1.0))
        axes.legend(loc="upper left")


_PRUNED = -1.0  # below every ratio, so that these go first
_Place: TypeAlias = tuple[BayesianLayer, str]


def _places(model: nn.Module, who: str) -> dict[str, list[_Place]]:
    """Return every place of each Bayesian weight tensor, by its first qualified name."""
    bayesian_layers(model, who)
    names: dict[Tensor, str] = {}
    places: dict[str, list[_Place]] = {}
    for prefix, layer in model.named_modules():
        for name in layer.bayesian_names if isinstance(layer, BayesianLayer) else ():
            mu = layer.mean_parameter(name)
            first = names.setdefault(mu, f"{prefix}.{name}" if prefix else name)
            places.setdefault(first, []).append((layer, name))
    return places


class _Weight:
    """One weight tensor on its way to a new mask.

    Attributes:
        name: Its first qualified name.
        places: The layers that have it.
        ratios: Signal-to-noise ratios of its weights, flat; `_PRUNED` where pruned already.
    """

    def __init__(self, name: str, places: tuple[_Place, ...]) -> None:
        layer, key = places[0]
        self.name = name
        self.places = places
        mask, ratio = layer.mask(key), _ratio(layer, key)
        if mask is not None:
            ratio = torch.where(mask, ratio, _PRUNED)
        self._candidates = ~_fixed(layer, key)
        self.ratios = ratio[self._candidates]

    def prune(self, keep: Tensor, threshold: float) -> PrunedWeight:
        """Set the mask in all places, from a flat one of the weights to keep."""
        keep = keep.to(self.ratios.device) & (self.ratios != _PRUNED)
        if not keep.all():
            mask = torch.ones_like(self._candidates)
            mask[self._candidates] = keep
            for layer, key in self.places:
                layer.set_mask(key, mask)
        return PrunedWeight(self.name, len(keep), int(keep.sum()), threshold)


@torch.no_grad()
def _ratio(layer: BayesianLayer, name: str) -> Tensor:
    mu, rho = map(_numerics.at_least_float32, layer.posterior(name))
    ratio = torch.where(mu == 0, 0.0, mu.abs() / _numerics.softplus(rho))
    if ratio.isnan().any():
        msg = f"a signal-to-noise ratio needs numbers, got NaN in {name} of {type(layer).__name__}"
        raise NumericsError(msg)
    return ratio.masked_fill(_fixed(layer, name), math.inf)


@torch.no_grad()
def _fixed(layer: BayesianLayer, name: str) -> Tensor:
    """Return where a number of the tensor has sigma 0 without being pruned, so is no weight."""
    mu, rho = layer.posterior(name)
    mask = layer.mask(name)
    fixed = rho.expand_as(mu) == -math.inf
    return fixed if mask is None else fixed & mask


def _prune_together(
    weights: list[_Weight], fraction: float | None, threshold: float | None
) -> list[PrunedWeight]:
    ratios = torch.cat([weight.ratios.to(weights[0].ratios.device) for weight in weights])
    if threshold is not None:
        keep = ratios >= threshold
    else:
        count = round((fraction or 0.0) * len(ratios))
        keep = torch.ones_like(ratios, dtype=torch.bool)
        keep[ratios.argsort(stable=True)[:count]] = False
        left = ratios[keep & (ratios != _PRUNED)]
        threshold = left.min().item() if len(left) else math.inf
    parts = torch.split(keep, [len(weight.ratios) for weight in weights])
    return [weight.prune(part, threshold) for weight, part in zip(weights, parts, strict=True)]


def _check_fraction(who: str, fraction: float) -> None:
    if not 0 <= fraction <= 1:
        msg = f"{who} needs a fraction in [0, 1], got {fraction}; 0.75 is three weights of four"
        raise ConfigError(msg)


def _check(fraction: float | None, threshold: float | None, scope: str) -> None:
    if (fraction is None) == (threshold is None):
        msg = f"prune needs either fraction or threshold, got {fraction} and {threshold}"
        raise ConfigError(msg)
    if fraction is not None:
        _check_fraction("prune", fraction)
    if threshold is not None and not 0 <= threshold < math.inf:
        msg = f"prune needs a finite threshold >= 0, got {threshold}; it is |mu| / sigma, not dB"
        raise ConfigError(msg)
    if scope not in {"global", "layer"}:
        msg = f"prune needs the scope 'global' or 'layer', got {scope!r}"
        raise ConfigError(msg)


make_callable(__name__, prune)
