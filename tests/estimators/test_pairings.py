"""A wrong pairing is a TypeError that names the estimator to use instead."""

import pytest
import torch
from torch import distributions as td

import bbb.estimators as G
from bbb.errors import ConfigError, UnsupportedDistributionError

P = torch.tensor([0.3, 0.6], requires_grad=True)


def square(z):
    return z.square()


@pytest.mark.parametrize(
    ("estimator", "q", "remedy"),
    [
        (G.Pathwise(), td.Bernoulli(P), r"RLOO\(\).*ReinMax\(\)"),
        (G.Pathwise(), td.Poisson(P), r"RLOO\(\)"),
        (G.Pathwise(), td.VonMises(P, 1.0), r"RLOO\(\)"),
        (G.Exact(), td.Normal(P, 1.0), r"use Pathwise\(\)"),
        (G.Exact(), td.Poisson(P), r"use RLOO\(\)"),
        (G.Exact(), td.Binomial(torch.tensor([2.0, 3.0]), P), r"Binomial lacks; use RLOO\(\)"),
        (G.Exact(), td.Independent(td.Bernoulli(torch.zeros(40)), 1), r"2\^40; use RLOO\(\)"),
        (G.DisARM(), td.OneHotCategorical(P), r"needs Bernoulli.*REBAR\(\) or RLOO\(\)"),
        (G.DARN(), td.OneHotCategorical(P), r"needs Bernoulli.*ReinMax\(\)"),
        (G.DisARM(), td.Normal(P, 1.0), r"use Pathwise\(\)"),
        (G.ReinMax(), td.Categorical(P), r"OneHotCategorical with the same logits"),
        (G.REBAR(), td.Poisson(P), r"use RLOO\(\)"),
        (G.MuProp(), td.Normal(P, 1.0), r"use Pathwise\(\)"),
        (G.MeasureValued(), td.Laplace(P, 1.0), r"use Pathwise\(\)"),
        (G.MeasureValued(), td.Bernoulli(P), r"use RLOO\(\)"),
        (G.ScoreFunction(), td.Uniform(0.0, P), r"support moves.*use Pathwise\(\)"),
        (G.RLOO(), td.Pareto(P, 3.0), r"support moves.*use Pathwise\(\)"),
        (G.RLOO(), td.Independent(td.Uniform(-P, P), 1), r"support moves.*use Pathwise\(\)"),
        (G.VIMCO(), td.Bernoulli(P), r"multi_sample_bound.*RLOO\(\)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_wrong_pairing_names_another_estimator(estimator, q, remedy):
    with pytest.raises(TypeError, match=remedy) as caught:
        G.expectation(
            lambda z: z.square().reshape(*z.shape[:1], *q.batch_shape, -1).sum(-1), q, estimator
        )
    assert isinstance(caught.value, UnsupportedDistributionError)


def test_the_pareto_trap_is_real():
    """The score function does not see that Pareto's scale moves the support."""
    scale = torch.tensor(2.0, dtype=torch.float64)
    at = scale.expand(20_000).clone().requires_grad_()
    torch.manual_seed(0)
    value = G.expectation(torch.tanh, td.Pareto(at, 3.0), G.Pathwise())
    (right,) = torch.autograd.grad(value.sum(), at)
    torch.manual_seed(0)
    q = td.Pareto(at, 3.0, validate_args=False)
    z = q.sample()
    (wrong,) = torch.autograd.grad((torch.tanh(z) * q.log_prob(z)).sum(), at)
    assert right.mean() > 0.01
    assert wrong.mean() > 20 * right.mean()


def test_a_support_that_does_not_move_is_taken():
    low = torch.tensor([0.0, 1.0])
    value = G.expectation(square, td.Uniform(low, low + 1), G.RLOO(4))
    assert value.shape == (2,)


@pytest.mark.parametrize(
    ("estimator", "q"),
    [
        (G.Pathwise(), td.Normal(P, 1.0)),
        (G.StraightThrough(), td.Bernoulli(P)),
        (G.GumbelSoftmax(), td.Bernoulli(P)),
    ],
)
def test_a_cost_that_is_constant_in_z_is_refused(estimator, q):
    """A peer returns zero gradients and says nothing."""
    with pytest.raises(TypeError, match=r"differentiable in z.*RLOO\(\)"):
        G.expectation(lambda z: (z > 0.4).float(), q, estimator)
    with torch.no_grad():
        assert G.expectation(lambda z: (z > 0.4).float(), q, estimator).shape == (2,)


def test_sample_needs_a_path():
    with pytest.raises(TypeError, match=r"RLOO has no draw.*ReinMax\(\)"):
        G.sample(td.Bernoulli(P), G.RLOO())


def test_bounds_need_an_estimator_of_bounds():
    q = td.Bernoulli(P)
    with pytest.raises(TypeError, match=r"ReinMax has no bound.*VIMCO\(\)"):
        G.multi_sample_bound(square, q, G.ReinMax())
    with pytest.raises(TypeError, match=r"DReG\(\) or Pathwise\(\)"):
        G.multi_sample_bound(square, td.Normal(P, 1.0), G.RLOO())
    with pytest.raises(TypeError, match=r"RLOO\(\)"):
        G.multi_sample_bound(square, q, G.DReG(3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: G.RLOO(1), "RLOO needs num_samples >= 2, got 1"),
        (lambda: G.VIMCO(1), "num_samples >= 2"),
        (lambda: G.VIMCO(3, mean="harmonic"), "got 'harmonic'"),
        (lambda: G.ScoreFunction(num_samples=0), "num_samples >= 1"),
        (lambda: G.GumbelSoftmax(tau=0.0), "finite and > 0, got 0"),
        (lambda: G.REBAR(tau=-1.0), "finite and > 0"),
        (lambda: G.REBAR(tau=float("nan"), learn=True), "finite and > 0"),
        (lambda: G.REBAR(tau=G.Anneal(), learn=True), "starts at a number"),
        (lambda: G.GumbelRao(0), "num_draws >= 1, got 0"),
        (lambda: G.Anneal(0.1, 0.5), "start >= floor > 0"),
        (lambda: G.EMA(1.0), "decay < 1, got 1"),
    ],
)
def test_arguments_out_of_range(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
