"""Logistic, Rayleigh, Gumbel against SciPy.

Validation is asked for by name: torch turns its default off, for good, at the first compilation.
"""

import math

import pytest
import scipy.integrate
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributions as td

from bbb.distributions import Gumbel, Logistic, Rayleigh

LOC, SCALE = 0.3, 0.8
LAWS = {
    "logistic": (Logistic, (LOC, SCALE), scipy.stats.logistic(LOC, SCALE)),
    "rayleigh": (Rayleigh, (SCALE,), scipy.stats.rayleigh(scale=SCALE)),
    "gumbel": (Gumbel, (LOC, SCALE), scipy.stats.gumbel_r(LOC, SCALE)),
}
every_law = pytest.mark.parametrize("name", LAWS)


def law(name, dtype=torch.float64):
    kind, parameters, oracle = LAWS[name]
    return kind(*(torch.tensor(p, dtype=dtype) for p in parameters)), oracle


@every_law
def test_moments(name):
    q, oracle = law(name)
    wanted = [oracle.mean(), oracle.var(), oracle.std(), oracle.entropy()]
    found = torch.stack([q.mean, q.variance, q.stddev, q.entropy()])
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), rtol=1e-9, atol=0)


@every_law
def test_mode_is_where_the_density_is_largest(name):
    q, _ = law(name)
    around = q.log_prob(q.mode + torch.tensor([-1e-3, 0.0, 1e-3]))
    assert around[1] > around[[0, 2]].max()


@every_law
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_density_and_probability_in_both_tails(name, dtype):
    q, oracle = law(name, dtype)
    # Of the logistic, 250 scales out on both sides; the others end sooner on one side.
    lowest = {"logistic": -200.0, "rayleigh": 1e-12, "gumbel": -2.5}[name]
    value = torch.linspace(lowest, 200.0, 301, dtype=dtype).requires_grad_()
    wanted = torch.tensor(oracle.logpdf(value.detach().double().numpy())).to(dtype)
    tight = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {}
    torch.testing.assert_close(q.log_prob(value), wanted, **tight)
    assert torch.autograd.grad(q.log_prob(value).sum(), value)[0].isfinite().all()
    if name != "gumbel":  # Torch's own probability is good to 1e-7 only.
        wanted = torch.tensor(oracle.cdf(value.detach().double().numpy())).to(dtype)
        torch.testing.assert_close(q.cdf(value), wanted, rtol=1e-4, atol=1e-37)


@pytest.mark.parametrize("name", ["logistic", "rayleigh"])
@given(p=st.floats(1e-12, 1 - 1e-12))
def test_quantiles(name, p):
    q, oracle = law(name)
    found = q.icdf(torch.tensor(p, dtype=torch.float64)).item()
    assert found == pytest.approx(oracle.ppf(p), rel=1e-9)
    assert q.cdf(torch.tensor(found, dtype=torch.float64)).item() == pytest.approx(p, rel=1e-9)


@every_law
def test_shapes(name):
    kind, parameters, _ = LAWS[name]
    assert kind(*parameters).batch_shape == ()
    assert kind(*parameters).rsample((7,)).shape == (7,)
    batch = kind(*(torch.full((3,), p, requires_grad=True) for p in parameters))
    wide = batch.expand((2, 3))
    assert type(wide) is kind
    assert wide.batch_shape == (2, 3)
    assert wide.sample((5,)).shape == wide.rsample((5,)).shape == (5, 2, 3)
    assert wide.log_prob(wide.sample()).shape == (2, 3)
    event = td.Independent(wide, 1)
    assert event.log_prob(event.rsample((4,))).shape == (4, 2)
    assert batch.rsample().requires_grad
    assert not batch.sample().requires_grad


@every_law
def test_half_precision(name):
    kind, parameters, _ = LAWS[name]
    q = kind(*(torch.tensor(p, dtype=torch.bfloat16) for p in parameters))
    draw = q.sample((10_000,))
    assert draw.dtype == torch.bfloat16
    assert draw.isfinite().all()


@pytest.mark.parametrize(
    "make", [lambda **k: Logistic(0.0, -1.0, **k), lambda **k: Rayleigh(0.0, **k)]
)
def test_scales_must_be_positive(make):
    with pytest.raises(ValueError, match="scale"):
        make(validate_args=True)


def test_values_must_be_in_the_support():
    rayleigh = Rayleigh(1.0, validate_args=True)
    for function in (rayleigh.log_prob, rayleigh.cdf, rayleigh.expand((2,)).log_prob):
        with pytest.raises(ValueError, match="support"):
            function(torch.tensor(-1.0))
    with pytest.raises(ValueError, match="support"):
        Logistic(0.0, 1.0, validate_args=True).log_prob(torch.tensor(math.nan))
    free = Rayleigh(1.0, validate_args=False).expand((2,))
    assert free.log_prob(torch.tensor(-1.0)).isnan().all()


@given(p=st.floats(0.1, 10.0), q=st.floats(0.1, 10.0))
def test_divergence_of_two_rayleighs(p, q):
    first, second = (scipy.stats.rayleigh(scale=s) for s in (p, q))
    integrand = lambda x: first.pdf(x) * (first.logpdf(x) - second.logpdf(x))  # noqa: E731
    exact, _ = scipy.integrate.quad(integrand, 1e-9 * p, 12 * p, limit=200)
    laws = [Rayleigh(torch.tensor(s, dtype=torch.float64)) for s in (p, q)]
    assert td.kl_divergence(*laws).item() == pytest.approx(exact, rel=1e-6, abs=1e-8)


def test_divergence_of_two_gumbels_is_torchs():
    first, second = Gumbel(0.0, 1.0), Gumbel(1.0, 2.0)
    wanted = td.kl_divergence(td.Gumbel(0.0, 1.0), td.Gumbel(1.0, 2.0))
    assert torch.equal(td.kl_divergence(first, second), wanted)
