import math

import pytest
import torch
from torch import distributions as td
from torch.func import grad, vmap

from bbb.distributions import Bernoulli, OneHotCategorical, sample_bernoulli, sample_one_hot

# Of a normal variable: 7e-6 false alarms for each number that is compared.
SIGMAS = 4.5
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# -- rates ----------------------------------------------------------------------------------


def test_rates_of_classes():
    logits = torch.tensor([[0.0, 1.0, -3.0, -math.inf], [5.0, 5.0, 5.0, 5.0]])
    count = 100_000
    found = sample_one_hot(logits, (count,), seeded()).mean(0)
    exact = logits.softmax(-1)
    error = (exact * (1 - exact) / count).sqrt()
    assert ((found - exact).abs() <= SIGMAS * error).all()


def test_rates_of_ones():
    logits = torch.tensor([0.0, 2.0, -7.0, math.inf, -math.inf])
    count = 100_000
    found = sample_bernoulli(logits, (count,), seeded()).mean(0)
    exact = logits.sigmoid()
    error = (exact * (1 - exact) / count).sqrt()
    assert ((found - exact).abs() <= SIGMAS * error).all()


# The rare outcomes happen at the ends of the random numbers: all multiples of 2^-53 there are gone
# through, and those counted at which the outcome is the rare one. No chance is left.
STEPS = torch.arange(1, 4001, dtype=torch.float64) * 2.0**-53
RARE = 30.0
EXPECTED = math.exp(-RARE) * 2**53


def count_ones(monkeypatch, unit, draw):
    monkeypatch.setattr(torch, "rand", lambda *_args, **_kwargs: unit)
    return draw().double().sum(0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_outcomes_30_nats_down(dtype, monkeypatch):
    rare = torch.full((4000,), -RARE, dtype=dtype)
    ones = count_ones(monkeypatch, STEPS, lambda: sample_bernoulli(rare))
    assert ones == pytest.approx(EXPECTED, abs=2)
    zeros = count_ones(monkeypatch, 1 - STEPS, lambda: 1 - sample_bernoulli(-rare))
    assert zeros == pytest.approx(EXPECTED, abs=2)
    # The first class has noise 0.
    unit = torch.stack([torch.full_like(STEPS, math.exp(-1)), 1 - STEPS], -1)
    logits = torch.stack([torch.zeros_like(rare), rare], -1)
    classes = count_ones(monkeypatch, unit, lambda: sample_one_hot(logits))
    assert classes[1] == pytest.approx(EXPECTED, abs=2)


def test_probabilities_that_torch_would_cut(monkeypatch):
    rare = torch.full((4000,), math.exp(-RARE))
    ones = count_ones(monkeypatch, STEPS, Bernoulli(probs=rare).sample)
    assert ones == pytest.approx(EXPECTED, abs=2)
    unit = torch.stack([torch.full_like(STEPS, math.exp(-1)), 1 - STEPS], -1)
    probs = torch.stack([torch.ones_like(rare), rare], -1)
    classes = count_ones(monkeypatch, unit, OneHotCategorical(probs=probs).sample)
    assert classes[1] == pytest.approx(EXPECTED, abs=2)


@pytest.mark.slow
def test_outcomes_17_nats_down():
    """2e8 draws hold 8.3 of them on average; none, or more than 24, with probability 3e-4 each."""
    g, counts = seeded(1), torch.zeros(3)
    for _ in range(50):
        ones = sample_bernoulli(torch.tensor([-17.0, 17.0]), (4_000_000,), g)
        counts[0] += ones[:, 0].sum()
        counts[1] += (1 - ones[:, 1]).sum()
        counts[2] += sample_one_hot(torch.tensor([0.0, -17.0]), (4_000_000,), g)[:, 1].sum()
    assert ((counts >= 1) & (counts <= 24)).all()


def test_sure_outcomes():
    assert torch.equal(
        Bernoulli(probs=torch.tensor([0.0, 1.0])).sample((9,)).sum(0), torch.tensor([0.0, 9.0])
    )
    sure = OneHotCategorical(probs=torch.tensor([0.0, 1.0, 0.0]))
    assert torch.equal(sure.sample((9,)).sum(0), torch.tensor([0.0, 9.0, 0.0]))


def test_a_common_offset_changes_nothing():
    for offset in (1e8, -1e8):
        logits = torch.full((2,), offset)
        assert abs(sample_one_hot(logits, (10_000,), seeded())[:, 0].mean() - 0.5) < SIGMAS * 0.005


# -- manners --------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", [sample_bernoulli, sample_one_hot])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_shape_dtype_gradient_and_generator(draw, dtype):
    logits = torch.randn(3, 4, dtype=dtype, requires_grad=True)
    before = torch.get_rng_state()
    z = draw(logits, (5, 2), seeded(8))
    assert torch.equal(torch.get_rng_state(), before)
    assert z.shape == (5, 2, 3, 4)
    assert z.dtype == dtype
    assert not z.requires_grad
    assert ((z == 0) | (z == 1)).all()
    assert torch.equal(z, draw(logits, torch.Size((5, 2)), seeded(8)))
    if draw is sample_one_hot:
        assert (z.sum(-1) == 1).all()


LAWS = [
    lambda x: Bernoulli(logits=x),
    lambda x: Bernoulli(probs=x.sigmoid()),
    lambda x: OneHotCategorical(logits=x),
    lambda x: OneHotCategorical(probs=x.softmax(-1)),
]


@pytest.mark.parametrize("law", LAWS)
def test_laws_are_torchs(law):
    q = law(torch.randn(2, 3))
    twin = type(q).__bases__[0](logits=q.logits)
    z = q.sample((4,))
    torch.testing.assert_close(q.log_prob(z), twin.log_prob(z))
    torch.testing.assert_close(q.entropy(), twin.entropy())
    wide = q.expand((4, *q.batch_shape))
    assert type(wide) is type(q)
    assert wide.sample((5,)).shape == (5, 4, 2, 3)
    assert td.kl_divergence(q, twin).abs().max() < 1e-6
    assert torch.equal(q.enumerate_support(), twin.enumerate_support())


@pytest.mark.parametrize("law", LAWS)
def test_under_vmap_grad_and_compiled(law):
    def score(x):
        q = law(x)
        return q.log_prob(q.sample()).sum()

    x = torch.randn(6, 3)
    slopes = vmap(grad(score), randomness="different")(x)
    assert slopes.isfinite().all()
    assert slopes.count_nonzero() == 18
    compiled = torch.compile(score, fullgraph=True, backend="aot_eager")
    assert compiled(x).isfinite()


def test_vmap_draws_differ():
    z = vmap(lambda x: sample_one_hot(x, (20,)), randomness="different")(torch.zeros(4, 5))
    assert len({tuple(row.flatten().tolist()) for row in z}) == 4
