import math

import pytest
import torch
from scipy import integrate, stats
from torch.distributions import Laplace

from bbb import priors
from tests.laws.prior_laws import ClosedFormLaws, DensityLaws


class TestLaplace(ClosedFormLaws, DensityLaws):
    def prior(self):
        return priors.Laplace(0.25, 0.4)

    def reference(self):
        return Laplace(torch.zeros(2).double() + 0.25, 0.4)


@pytest.mark.parametrize("mu", [0.0, 0.3, -2.0])
@pytest.mark.parametrize("sigma", [0.01, 0.5, 5.0])
def test_kl_is_that_of_numerical_integration(mu, sigma):
    q, p = stats.norm(mu, sigma), stats.laplace(0.25, 0.4)
    expected, _ = integrate.quad(
        lambda w: q.pdf(w) * (q.logpdf(w) - p.logpdf(w)),
        mu - 12 * sigma,
        mu + 12 * sigma,
        points=[0.25, mu],
        limit=200,
    )
    rho = torch.tensor(math.log(math.expm1(sigma)), dtype=torch.float64)
    kl = priors.Laplace(0.25, 0.4).kl(torch.tensor(mu, dtype=torch.float64), rho)
    assert kl.item() == pytest.approx(expected, rel=1e-8)


def test_gradient_of_a_vanishing_sigma_is_that_of_the_density():
    """With all mass at one point the KL is -log p there; and its slope is +-1 / scale."""
    mu = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    rho = torch.full((3,), -100.0, requires_grad=True)
    priors.Laplace(0.0, 0.5).kl(mu, rho).backward()
    torch.testing.assert_close(mu.grad, torch.tensor([-2.0, 0.0, 2.0]))
    torch.testing.assert_close(rho.grad, -torch.ones(3))  # of -log sigma = -rho


def test_best_sigma_at_the_centre():
    """d KL / d sigma = 0 where sigma = scale sqrt(pi / 2)."""
    best = 0.4 * math.sqrt(math.pi / 2)
    rho = torch.tensor(math.log(math.expm1(best)), dtype=torch.float64, requires_grad=True)
    priors.Laplace(0.0, 0.4).kl(torch.zeros((), dtype=torch.float64), rho).backward()
    assert abs(rho.grad) < 1e-12
