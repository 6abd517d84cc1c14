import math

import pytest
import torch
from torch.distributions import StudentT

import bbb
from bbb import priors
from bbb.errors import ConfigError
from bbb.layers import BayesLinear
from tests.laws.prior_laws import DensityLaws


class TestStudentT(DensityLaws):
    def prior(self):
        return priors.StudentT(8.0, 0.25, 0.4)

    def reference(self):
        return StudentT(8.0, torch.zeros(2).double() + 0.25, 0.4)


def test_one_degree_of_freedom_is_cauchy():
    weight = torch.linspace(-9, 9, 19, dtype=torch.float64)
    expected = torch.distributions.Cauchy(torch.tensor(0.5).double(), 0.3).log_prob(weight)
    torch.testing.assert_close(priors.StudentT(1.0, 0.5, 0.3).log_prob(weight), expected)


def test_many_degrees_of_freedom_are_normal():
    weight = torch.linspace(-1, 1, 19, dtype=torch.float64)
    expected = priors.Normal(0.1, 0.3).log_prob(weight)
    actual = priors.StudentT(1e7, 0.1, 0.3).log_prob(weight)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


def test_far_weights_are_pulled_ever_less():
    weight = torch.tensor([1.0, 10.0, 1e6], requires_grad=True)
    priors.StudentT(3.0, 0.0, 0.1).log_prob(weight).sum().backward()
    torch.testing.assert_close(
        weight.grad * weight.detach(), torch.full((3,), -4.0), rtol=0.03, atol=0
    )


def test_monte_carlo_kl_is_the_integral():
    prior = priors.StudentT(4.0, 0.1, 0.3)
    layer = BayesLinear(200, 200, bias=False, prior=prior, sigma_init=0.5)
    torch.nn.init.constant_(layer.weight_mu, 0.3)
    with bbb.record_draws() as draws:
        layer(torch.zeros(1, 200))
    assert len(draws) == 1
    q = torch.distributions.Normal(torch.tensor(0.3).double(), 0.5)
    grid = torch.linspace(-6, 6, 20_001, dtype=torch.float64)
    integrand = q.log_prob(grid).exp() * (q.log_prob(grid) - prior.log_prob(grid))
    expected = torch.trapezoid(integrand, grid).item() * 40_000
    # Five standard errors of 4 * 10^4 terms, each of standard deviation below 0.7.
    assert bbb.kl_divergence(layer, draws=draws).item() == pytest.approx(
        expected, abs=5 * 200 * 0.7
    )


@pytest.mark.parametrize("df", [0.0, -1.0, math.nan, math.inf])
def test_df_must_be_positive(df):
    with pytest.raises(ConfigError, match="StudentT needs a finite df > 0, got"):
        priors.StudentT(df)
