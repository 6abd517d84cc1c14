"""Which estimator to take: the rules, and the table of all methods."""

import pytest
import torch
from torch import distributions as td

import bbb.estimators as G
from bbb.errors import ShapeError, UnsupportedDistributionError

BITS = td.Independent(td.Bernoulli(logits=torch.zeros(200)), 1)
CLASSES = td.Independent(td.OneHotCategorical(logits=torch.zeros(30, 5)), 1)
HALF = torch.tensor(0.5)
GAUSS = td.Normal(0.0, 1.0)
WIDE = td.Independent(td.Normal(torch.zeros(50), 1.0), 1)


def smooth(z):
    return torch.sin(z)


def step(z):
    return (z > z.float().median()).float()


def summed(f):
    return lambda z: f(z.flatten(-1).sum(-1))


def squares(z):
    return z.flatten(2).square().sum(-1).squeeze(-1) if z.dim() > 2 else (z.sum(-1) - 1) ** 2


RULES = [
    # q, f, first line.
    (
        BITS,
        lambda z: z.sum(-1) ** 2,
        "discrete, 2^200 states, f differentiable -> ReinMax (biased) or RLOO (unbiased)",
    ),
    (
        BITS,
        lambda z: (z.sum(-1) > 100).float(),
        "discrete, 2^200 states, f without slope -> RLOO (unbiased) or DisARM (unbiased)",
    ),
    (
        CLASSES,
        lambda z: (z[..., 0].sum(-1) - 1) ** 2,
        "discrete, 5^30 states, f differentiable -> ReinMax (biased) or RLOO (unbiased)",
    ),
    (
        CLASSES,
        lambda z: z.argmax(-1).sum(-1).float(),
        "discrete, 5^30 states, f without slope -> RLOO (unbiased)",
    ),
    (td.Bernoulli(logits=torch.zeros(7)), smooth, "discrete, 2 states, f differentiable -> Exact"),
    (td.Categorical(logits=torch.zeros(9)), lambda z: (z - 4.0) ** 2, "discrete, 9 states, f wi"),
    (GAUSS, smooth, "continuous, rsample, f differentiable -> Pathwise (unbiased) or RLOO"),
    (GAUSS, None, "continuous, rsample, f differentiable -> Pathwise (unbiased) or RLOO"),
    (GAUSS, step, "continuous, rsample, f without slope -> MeasureValued (unbiased) or RLOO"),
    (
        WIDE,
        lambda z: (z.sum(-1) > 0).float(),
        "continuous, rsample, f without slope -> RLOO (unbiased)",
    ),
    (td.Laplace(0.0, 1.0), step, "continuous, rsample, f without slope -> RLOO (unbiased)"),
    (td.VonMises(0.0, 1.0), smooth, "continuous, no rsample, f differentiable -> RLOO (unbiased)"),
    (td.Poisson(3.0), smooth, "discrete, states not listed, no rsample, f differentiable ->"),
    # Torch lists the values of one count only.
    (
        td.Binomial(torch.tensor([2.0, 3.0]), HALF),
        smooth,
        "discrete, states not listed, no rsample, f",
    ),
    (
        td.Uniform(torch.tensor(0.0), torch.tensor(2.0, requires_grad=True)),
        smooth,
        "continuous, rsample, f differentiable -> Pathwise (unbiased)\n",
    ),
    (td.Pareto(1.0, 2.0), smooth, "continuous, rsample, f differentiable -> Pathwise (unbiased)\n"),
    (
        td.Pareto(torch.tensor(1.0), torch.tensor(2.0, requires_grad=True)),
        smooth,
        "continuous, rsample, f differentiable -> Pathwise (unbiased) or RLOO",
    ),
]


@pytest.mark.parametrize(("q", "f", "expected"), RULES)
def test_the_rules(q, f, expected):
    choice = G.choose(q, f)
    assert str(choice).startswith(expected)
    assert choice.best is choice.estimators[0]
    assert len(choice.reasons) == len(choice.estimators)
    # What is advised works.
    for estimator in choice.estimators:
        value = G.expectation(f or smooth, q, estimator)
        assert value.shape == q.batch_shape


def test_reasons_are_printed_below():
    first, *rest = str(G.choose(BITS)).splitlines()
    assert first.endswith("ReinMax (biased) or RLOO (unbiased)")
    assert rest == [
        "  ReinMax: one evaluation, low variance, exact for quadratic costs",
        "  RLOO: unbiased for every cost, at 4 evaluations",
    ]


def test_a_context_lets_a_baseline_learn():
    assert "NVIL" in str(G.choose(BITS, ctx=torch.zeros(3)))


@pytest.mark.parametrize("f", [lambda z: z.detach() * 0 + 3.0, lambda z: (z > 50).float()])
def test_a_cost_that_does_not_change_is_told(f):
    with pytest.raises(
        UnsupportedDistributionError, match="for all of 64 draws: if it is constant"
    ):
        G.choose(GAUSS, f)


def test_nothing_sees_a_moving_support_through_a_step():
    with pytest.raises(UnsupportedDistributionError, match="no estimator fits: the support"):
        G.choose(td.Uniform(0.0, 2.0), step)


def test_the_shape_of_the_cost_is_checked():
    with pytest.raises(ShapeError, match="one value for each sample"):
        G.choose(BITS, lambda z: z)


def test_the_parameters_need_no_gradient_and_get_none():
    logits = torch.zeros(200, requires_grad=True)
    G.choose(td.Independent(td.Bernoulli(logits=logits), 1), lambda z: z.sum(-1) ** 2)
    assert logits.grad is None


# -- the table --------------------------------------------------------------------------------


def test_every_estimator_is_in_the_table_once():
    public = {
        value
        for name in G.__all__
        if isinstance(value := getattr(G, name), type) and issubclass(value, G.Estimator)
    }
    listed = [method.estimator for method in G.METHODS]
    assert sorted(c.__name__ for c in listed) == sorted(
        c.__name__ for c in public - {G.Estimator, G.PathEstimator}
    )


def test_the_table_says_what_the_seeds_got_wrong():
    by_name = {method.name: method for method in G.METHODS}
    assert by_name["REBAR"].unbiased
    assert by_name["REBAR"].slope
    assert not by_name["RELAX"].slope
    assert not by_name["DARN"].unbiased
    assert not by_name["STGumbel"].unbiased
    assert by_name["STGumbel"].exact_forward
    assert not by_name["GumbelSoftmax"].exact_forward
    assert not by_name["ScoreFunction"].slope


def test_it_renders_as_markdown():
    lines = G.methods_table().splitlines()
    assert len(lines) == 2 + len(G.METHODS)
    assert {line.count("|") for line in lines} == {8}
    assert lines[1] == "| --- | --- | --- | --- | --- | --- | --- |"
    assert "| `REBAR` | discrete | yes | yes | 3 S | yes |" in lines[2 + 7]
