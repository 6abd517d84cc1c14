"""Gradient estimators by name, and which of them fits which latent variables."""

import difflib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import bbb.estimators as G
from bbb.errors import ConfigError
from recipes.vae.vae import LATENTS, Loss, negative_bound, negative_elbo, perceptron

DISCRETE = ("bernoulli", "categorical")


@dataclass(frozen=True)
class Sizes:
    """What an estimator may have to know of the model.

    Attributes:
        pixels: Pixels of an image.
        size: Shape of z.
        tau: Temperature; the first one, where it falls.
        steps: Training steps.
    """

    pixels: int
    size: tuple[int, ...]
    tau: float
    steps: int


class Control(nn.Module):
    """RELAX's control variate: a network of the perturbed logits and the image."""

    def __init__(self, pixels: int, size: tuple[int, ...]) -> None:
        super().__init__()
        self.dims = len(size)
        self.net = perceptron(math.prod(size) + pixels, 64, 1)

    def forward(self, perturbed: Tensor, x: Tensor) -> Tensor:
        """(samples, batch, *size) and (batch, pixels) -> (samples, batch, 1)."""
        flat = perturbed.flatten(-self.dims)
        found: Tensor = self.net(torch.cat([flat, x.expand(*flat.shape[:-1], -1)], -1))
        return found


@dataclass(frozen=True)
class Entry:
    """A name's estimator.

    Attributes:
        make: From the number of samples and the sizes.
        latents: What it fits.
        samples: Number of samples where none is asked for; 0 where there is no such number.
        loss: The objective that it is for.
    """

    make: Callable[[int, Sizes], G.Estimator]
    latents: tuple[str, ...] = DISCRETE
    samples: int = 1
    loss: Loss = negative_elbo


def _score(baseline: Callable[[Sizes], G.Baseline] | None = None) -> Entry:
    def make(samples: int, sizes: Sizes) -> G.Estimator:
        return G.ScoreFunction(baseline and baseline(sizes), num_samples=samples)

    return Entry(make, LATENTS)


def _annealed(sizes: Sizes) -> G.Anneal:
    return G.Anneal(max(1.0, sizes.tau), sizes.tau, steps=max(1, sizes.steps * 3 // 4))


def _baseline_net(sizes: Sizes) -> nn.Module:
    return perceptron(sizes.pixels, 64, 1)


ZOO: dict[str, Entry] = {
    "exact": Entry(lambda _, __: G.Exact(), samples=0),
    "reinforce": _score(),
    "ema": _score(lambda _: G.EMA()),
    "net": _score(lambda sizes: G.Net(_baseline_net(sizes))),
    "nvil": _score(lambda sizes: G.NVIL(_baseline_net(sizes))),
    "rloo": Entry(lambda s, _: G.RLOO(s), LATENTS, samples=4),
    "disarm": Entry(lambda s, _: G.DisARM(s), ("bernoulli",)),
    "muprop": Entry(lambda s, _: G.MuProp(s)),
    "rebar": Entry(lambda s, sizes: G.REBAR(s, tau=sizes.tau, learn=True)),
    "relax": Entry(lambda s, sizes: G.RELAX(Control(sizes.pixels, sizes.size), s)),
    "st": Entry(lambda s, _: G.StraightThrough(s)),
    "stgumbel": Entry(lambda s, sizes: G.STGumbel(s, tau=sizes.tau)),
    "stgumbel-anneal": Entry(lambda s, sizes: G.STGumbel(s, tau=_annealed(sizes))),
    "gumbel": Entry(lambda s, sizes: G.GumbelSoftmax(s, tau=sizes.tau)),
    "gumbel-anneal": Entry(lambda s, sizes: G.GumbelSoftmax(s, tau=_annealed(sizes))),
    "gumbel-rao": Entry(lambda s, sizes: G.GumbelRao(num_samples=s, tau=sizes.tau)),
    "reinmax": Entry(lambda s, _: G.ReinMax(s)),
    "darn": Entry(lambda s, _: G.DARN(s), ("bernoulli",)),
    "pathwise": Entry(lambda s, _: G.Pathwise(s), ("gaussian",)),
    "measure": Entry(lambda s, _: G.MeasureValued(s), ("gaussian",)),
    "vimco": Entry(lambda s, _: G.VIMCO(s), LATENTS, samples=8, loss=negative_bound),
    "iwae": Entry(lambda s, _: G.Pathwise(s), ("gaussian",), samples=8, loss=negative_bound),
    "dreg": Entry(lambda s, _: G.DReG(s), ("gaussian",), samples=8, loss=negative_bound),
}


def parse_spec(spec: str, latent: str, num_samples: int | None = None) -> tuple[Entry, int]:
    """Read ``NAME`` or ``NAME-SAMPLES``, such as ``rloo-4``.

    Args:
        spec: The words.
        latent: Family of the latent variables.
        num_samples: Where the name says none; the estimator's own default if None.

    Returns:
        The entry, and its number of samples.

    Raises:
        ConfigError: If the name is unknown, does not fit the latent variables, or has a number
            where there is none.
    """
    name, number = re.fullmatch(r"(.*?)(?:-(\d+))?", spec).groups()  # type: ignore[union-attr]
    if name not in ZOO:
        near = difflib.get_close_matches(name, ZOO, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        msg = f"unknown estimator '{spec}'; {hint}there are {', '.join(ZOO)}"
        raise ConfigError(msg)
    entry = ZOO[name]
    if latent not in entry.latents:
        fitting = ", ".join(other for other, each in ZOO.items() if latent in each.latents)
        msg = f"estimator '{name}' does not fit --latent {latent}, where there are {fitting}"
        raise ConfigError(msg)
    if not entry.samples:
        if number:
            msg = f"estimator '{name}' draws no samples, got '{spec}'; write '{name}'"
            raise ConfigError(msg)
        return entry, 0
    return entry, int(number) if number else num_samples or entry.samples
