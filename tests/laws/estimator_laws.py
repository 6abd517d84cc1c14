"""What every estimator must satisfy; a new one joins `CASES`.

Statistical tests have fixed seeds and allow 4.5 standard errors: each comparison would fail by
chance once in 150,000 seeds.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent, Normal, OneHotCategorical

import bbb.estimators as G

REPLICAS = 20_000
SIGMAS = 4.5
EVENT = 4
WEIGHTS = torch.tensor([0.7, -1.2, 0.4, 1.5])


class Critic(nn.Module):
    """A control variate or a baseline, as small as they come."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(EVENT, 1)

    def forward(self, z: Tensor, ctx: Tensor | None = None) -> Tensor:  # noqa: ARG002
        return self.layer(z.to(self.layer.weight.dtype)).to(z.dtype)


def bits(logits: Tensor) -> Distribution:
    base = Bernoulli(logits=logits, validate_args=False)
    return Independent(base, 1, validate_args=False)


def onehot(logits: Tensor) -> Distribution:
    return OneHotCategorical(logits=logits, validate_args=False)


def normal(logits: Tensor) -> Distribution:
    return Independent(Normal(logits, 0.5, validate_args=False), 1, validate_args=False)


KINDS = {"bits": bits, "onehot": onehot, "normal": normal}


@dataclass(frozen=True)
class Case:
    make: Callable[[], G.Estimator]
    kinds: tuple[str, ...]
    # Whether it runs under vmap(grad) and torch.compile(fullgraph=True) while it learns.
    learns: bool = False
    counts: bool = False


DISCRETE = ("bits", "onehot")
ALL = ("bits", "onehot", "normal")

CASES = {
    "Exact": Case(G.Exact, DISCRETE),
    "ScoreFunction": Case(G.ScoreFunction, ALL),
    "EMA": Case(lambda: G.ScoreFunction(G.EMA()), ALL, counts=True),
    "Net": Case(lambda: G.ScoreFunction(G.Net(Critic())), ALL),
    "NVIL": Case(lambda: G.ScoreFunction(G.NVIL(Critic())), ALL, counts=True),
    "RLOO": Case(lambda: G.RLOO(8), ALL),
    "MuProp": Case(G.MuProp, DISCRETE),
    "DARN": Case(G.DARN, ("bits",)),
    "StraightThrough": Case(G.StraightThrough, DISCRETE),
    "GumbelSoftmax": Case(G.GumbelSoftmax, DISCRETE),
    "GumbelSoftmax hard": Case(lambda: G.GumbelSoftmax(hard=True), DISCRETE),
    "Anneal": Case(lambda: G.STGumbel(tau=G.Anneal(2.0, 0.5, steps=5)), DISCRETE, counts=True),
    "STGumbel": Case(G.STGumbel, DISCRETE),
    "GumbelRao": Case(lambda: G.GumbelRao(3), DISCRETE),
    "ReinMax": Case(G.ReinMax, DISCRETE),
    "DisARM": Case(G.DisARM, ("bits",)),
    "REBAR": Case(G.REBAR, DISCRETE),
    "REBAR learned": Case(lambda: G.REBAR(learn=True), DISCRETE, learns=True),
    "RELAX": Case(lambda: G.RELAX(Critic()), DISCRETE, learns=True),
    "RELAX with f": Case(lambda: G.RELAX(Critic(), learn_tau=True), DISCRETE, learns=True),
    "Pathwise": Case(G.Pathwise, ("normal",)),
    "MeasureValued": Case(G.MeasureValued, ("normal",)),
}

PAIRS = [(name, kind) for name, case in CASES.items() for kind in case.kinds]


def make(name: str) -> G.Estimator:
    torch.manual_seed(0)
    return CASES[name].make()


def cost(z: Tensor) -> Tensor:
    """Smooth, curved, with an interaction; (..., 4) -> (...)."""
    along = z @ WEIGHTS.to(z.dtype)
    return (along - 1) ** 2 + torch.sin(2 * z[..., 0] * z[..., 3])


def gradients(
    f: Callable[[Tensor], Tensor], kind: str, logits: Tensor, estimator: G.Estimator
) -> tuple[Tensor, Tensor]:
    """Values and gradients in the logits of many independent estimates."""
    torch.manual_seed(1)
    at = logits.expand(REPLICAS, *logits.shape).clone().requires_grad_()
    value = G.expectation(f, KINDS[kind](at), estimator, at.detach())
    (gradient,) = torch.autograd.grad(value.sum(), at)
    return value.detach(), gradient


def z_score(samples: Tensor, truth: Tensor | float) -> float:
    """Largest distance of a mean from the truth, in standard errors."""
    error = samples.std(0) / samples.shape[0] ** 0.5
    return float(((samples.mean(0) - truth).abs() / (error + 1e-12)).max())


def copied(estimator: G.Estimator) -> G.Estimator:
    return copy.deepcopy(estimator)
