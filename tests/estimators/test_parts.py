"""Baselines, temperatures, enumeration: the parts that estimators are made of."""

import itertools

import pytest
import torch
from torch import distributions as td
from torch import nn

import bbb.estimators as G
from bbb.errors import ConfigError, ShapeError
from bbb.estimators.discrete import need_discrete
from bbb.estimators.exact import enumerate_states

# -- baselines ----------------------------------------------------------------------------------


def test_ema_answers_before_it_learns_and_has_no_start_up_bias():
    """Storchastic's starts at 0 and includes the batch at hand."""
    ema = G.EMA(0.9)
    costs = [torch.full((1, 4), c) for c in (3.0, 5.0, 5.0)]
    answers = [(c - ema(c, None)[0]).mean().item() for c in costs]
    expected = [0.0, 3.0, (0.09 * 3 + 0.1 * 5) / 0.19]
    assert answers == pytest.approx(expected)


def test_ema_stands_still_in_eval():
    ema = G.EMA(0.9)
    ema(torch.ones(1, 4), None)
    ema.eval()
    for _ in range(3):
        assert ema(torch.zeros(1, 4), None)[0].mean() == -1


def test_rloo_by_its_definition():
    cost = torch.randn(4, 3, dtype=torch.float64)
    found, _ = G.RLOO(4).advantage(cost, None)
    for i in range(4):
        others = cost[[j for j in range(4) if j != i]].mean(0)
        torch.testing.assert_close(found[i], cost[i] - others)


def test_net_learns_the_cost_of_each_context_and_leaves_the_encoder_alone():
    torch.manual_seed(0)
    ctx = torch.eye(6).requires_grad_()
    estimator = G.ScoreFunction(G.Net(nn.Linear(6, 1)))
    target = torch.arange(6.0)
    optimizer = torch.optim.Adam(estimator.parameters(), 0.1)
    logits = torch.zeros(6, requires_grad=True)
    for _ in range(300):
        optimizer.zero_grad()
        q = td.Bernoulli(logits=logits)
        G.expectation(lambda z: target + 0 * z, q, estimator, ctx).mean().backward()
        optimizer.step()
    found = estimator.baseline.predict(torch.zeros(1, 6), ctx)
    torch.testing.assert_close(found, target, atol=0.05, rtol=0)
    assert ctx.grad is None


def test_nvil_normalisation_scales_the_gradient_down():
    net = nn.Linear(1, 1)
    nn.init.zeros_(net.weight)
    nn.init.zeros_(net.bias)
    costs = 10 * torch.randn(1, 1000, generator=torch.Generator().manual_seed(0))
    ctx = torch.zeros(1000, 1)
    plain, scaled = G.NVIL(net), G.NVIL(net, normalize=True)
    for baseline in (plain, scaled):
        baseline(costs, ctx)
    one, _ = plain(costs, ctx)
    other, _ = scaled(costs, ctx)
    torch.testing.assert_close(one.std() / other.std(), costs.std(), rtol=0.01, atol=0)
    small = G.NVIL(net, normalize=True)
    small(0.05 * costs, ctx)
    torch.testing.assert_close(small(0.05 * costs, ctx)[0].std(), (0.05 * costs).std())


def test_a_learned_baseline_says_what_it_misses():
    q = td.Bernoulli(logits=torch.zeros(3, requires_grad=True))
    estimator = G.ScoreFunction(G.Net(nn.Linear(2, 5)))
    with pytest.raises(ConfigError, match="ctx=x"):
        G.expectation(torch.sin, q, estimator)
    with pytest.raises(ShapeError, match=r"has to return \(3,\).*got \(3, 5\)"):
        G.expectation(torch.sin, q, estimator, torch.zeros(3, 2))
    with pytest.raises(ShapeError, match=r"RELAX's network has to return \(2, 3\)"):
        G.expectation(torch.sin, q, G.RELAX(nn.Linear(3, 7)))


# -- temperatures -------------------------------------------------------------------------------


def test_anneal_falls_as_jang_et_al_to_its_floor():
    tau = G.Anneal(1.0, 0.5, steps=1000, every=100)
    found = [float(tau()) for _ in range(1500)]
    rate = torch.tensor(2.0).log().item() / 1000
    for step in (0, 99, 100, 550, 1499):
        expected = max(0.5, torch.tensor(-rate * (step // 100 * 100)).exp().item())
        assert found[step] == pytest.approx(expected, rel=1e-6)


def test_anneal_goes_on_by_itself_and_stands_still_in_eval():
    """A toolkit's temperature was never advanced, and stayed at 2 for a whole training."""
    estimator = G.STGumbel(tau=G.Anneal(2.0, 0.5, steps=4))
    q = td.Bernoulli(logits=torch.zeros(3, requires_grad=True))
    for _ in range(4):
        G.expectation(torch.sin, q, estimator)
    assert float(estimator.eval().tau()) == pytest.approx(0.5)
    assert int(estimator.tau.calls) == 4


def test_rebar_learns_a_temperature_and_weight_of_less_variance():
    def f(b):
        return torch.exp(1.5 * (b.sum(-1) - 1.2)) + torch.sin(3 * b[..., 0] * b[..., 1])

    logits = torch.tensor([-0.5, 0.3, 1.0]).expand(500, 3).clone().requires_grad_()
    torch.manual_seed(0)
    estimator = G.REBAR(tau=0.1, learn=True)

    def variance():
        q = td.Independent(td.Bernoulli(logits=logits), 1)
        value = G.expectation(f, q, estimator)
        (gradient,) = torch.autograd.grad(value.sum(), logits, retain_graph=True)
        return value, gradient.var(0).sum()

    optimizer = torch.optim.Adam(estimator.parameters(), 0.05)
    before = variance()[1]
    for _ in range(150):
        optimizer.zero_grad()
        variance()[0].mean().backward(inputs=list(estimator.parameters()))
        optimizer.step()
    assert variance()[1] < before / 3
    assert estimator.tau().item() > 0.2


# -- enumeration and conditional noise ----------------------------------------------------------


@pytest.mark.parametrize(
    ("q", "count"),
    [
        (td.Bernoulli(logits=torch.zeros(2)), 2),
        (td.Independent(td.Bernoulli(logits=torch.zeros(2, 3)), 1), 8),
        (td.OneHotCategorical(logits=torch.zeros(2, 4)), 4),
        (td.Independent(td.OneHotCategorical(logits=torch.zeros(2, 3, 4)), 1), 64),
        (td.Categorical(logits=torch.zeros(2, 5)), 5),
        (td.Binomial(3, logits=torch.zeros(2)), 4),
    ],
)
def test_every_state_once_and_all_of_the_probability(q, count):
    states = enumerate_states(q)
    assert states.shape == (count, *q.batch_shape, *q.event_shape)
    assert len(torch.unique(states.reshape(count, -1), dim=0)) == count
    torch.testing.assert_close(q.log_prob(states).exp().sum(0), torch.ones(q.batch_shape))


def test_states_are_in_the_order_of_product():
    states = enumerate_states(td.Independent(td.Bernoulli(logits=torch.zeros(3)), 1))
    expected = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)))
    assert (states == expected).all()


@pytest.mark.parametrize("kind", ["bits", "onehot"])
def test_conditional_noise_has_the_law_of_noise_given_its_draw(kind):
    """Against rejection: perturbed logits of fresh noise, kept where they give the same draw."""
    torch.manual_seed(0)
    logits = torch.tensor([0.5, -1.0, 1.5], dtype=torch.float64)
    q = td.Bernoulli(logits=logits) if kind == "bits" else td.OneHotCategorical(logits=logits)
    variables = need_discrete(q, "test")
    count = torch.Size((60_000,))
    # Gumbels have a free offset: those of normalised logits are comparable.
    base = variables.logits if kind == "bits" else torch.log_softmax(variables.logits, -1)
    fresh = base + variables.noise(count, None)
    z = variables.harden(fresh)
    given = variables.conditional(z, base, variables.noise(count, None))
    assert (variables.harden(given) == z).all()
    for i in range(3):
        for value in (0, 1):
            rows = z[:, i] == value
            one, other = fresh[rows, i], given[rows, i]
            error = (one.var() / len(one) + other.var() / len(other)).sqrt()
            assert (one.mean() - other.mean()).abs() < 4.5 * error
            quantiles = torch.linspace(0.05, 0.95, 10, dtype=torch.float64)
            for at, share in zip(one.quantile(quantiles), quantiles, strict=True):
                sigma = (share * (1 - share) * 2 / len(one)).sqrt()
                assert ((other < at).double().mean() - share).abs() < 4.5 * sigma


@pytest.mark.parametrize(
    ("estimator", "shown"),
    [
        (G.RLOO(3), "RLOO(num_samples=3)"),
        (G.ReinMax(), "ReinMax(num_samples=1, tau=1.0)"),
        (G.DARN(), "DARN(num_samples=1)"),
        (G.GumbelRao(5, tau=0.5), "GumbelRao(num_draws=5, num_samples=1, tau=0.5)"),
        (G.REBAR(2, tau=0.3), "REBAR(num_samples=2, tau=0.3, eta=1)"),
    ],
)
def test_repr_shows_what_tells_it_apart(estimator, shown):
    assert repr(estimator) == shown
