"""What every prior must satisfy. A new prior subclasses `PriorLaws` and fills in two methods."""

import copy
import math
import pickle

import pytest
import torch
from torch.distributions import Distribution

from bbb.priors import Density, Prior

MU = torch.tensor([[0.3, -0.2, 0.0], [0.05, 1.0, -2.0]])
RHO = torch.tensor([[-3.0, -1.0, 0.5], [-5.0, -0.3, 0.2]])


class PriorLaws:
    """Subclass it, name the class ``Test...``, and run."""

    centre: torch.Tensor | None = None

    def prior(self) -> Prior:
        raise NotImplementedError

    def reference(self) -> Distribution:
        """The same distribution by torch.distributions."""
        raise NotImplementedError

    def density(self) -> Density:
        return self.prior().at(self.centre)

    def test_log_prob_is_that_of_torch_distributions(self):
        weight = torch.linspace(-3, 3, 62, dtype=torch.float64).view(31, 2)
        actual = self.density().log_prob(weight)
        assert actual.dtype == torch.float64
        torch.testing.assert_close(actual, self.reference().log_prob(weight), rtol=1e-6, atol=1e-6)

    def test_density_integrates_to_one(self):
        grid = torch.linspace(-30, 30, 600_001, dtype=torch.float64)[:, None].expand(-1, 2)
        mass = torch.trapezoid(self.density().log_prob(grid).exp(), grid, dim=0)
        torch.testing.assert_close(mass, torch.ones(2, dtype=torch.float64), rtol=1e-4, atol=0)

    def test_gradient_of_log_prob_is_right(self):
        weight = torch.randn(7, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        torch.autograd.gradcheck(self.density().log_prob, weight.requires_grad_())

    def test_half_precision_is_computed_in_float32(self):
        for dtype in (torch.float16, torch.bfloat16):
            assert self.density().log_prob(torch.ones(3, 2, dtype=dtype)).dtype == torch.float32

    def test_sample_moments(self):
        count = 40_000
        sample = self.density().sample(
            torch.Size((count, 2)), generator=torch.Generator().manual_seed(1)
        )
        reference = self.reference()
        # Five standard errors: one false alarm in 10^6 runs, and the seed is fixed.
        tolerance = 5 * (reference.variance / count).sqrt()
        assert ((sample.mean(0) - reference.mean).abs() < tolerance).all()
        torch.testing.assert_close(
            sample.double().var(0), (reference.variance + torch.zeros(2)).double(), rtol=0.1, atol=0
        )

    def test_kl_is_the_expectation_of_its_definition(self):
        """Closed form, or the law of the Monte Carlo KL, against Gauss-Hermite-like quadrature."""
        density = self.density()
        if not density.closed_form:
            pytest.skip("no closed form; the Monte Carlo KL is tested in test_objective")
        mu, rho = torch.tensor([0.3, -0.2]).double(), torch.tensor([-1.0, 0.3]).double()
        sigma = torch.nn.functional.softplus(rho)
        grid = torch.linspace(-12, 12, 20_001, dtype=torch.float64)[:, None]
        q = torch.distributions.Normal(mu, sigma)
        weight = mu + sigma * grid
        integrand = q.log_prob(weight).exp() * (q.log_prob(weight) - density.log_prob(weight))
        expected = (torch.trapezoid(integrand, grid, dim=0) * sigma).sum()
        torch.testing.assert_close(density.kl(mu, rho), expected, rtol=1e-6, atol=1e-8)

    def test_survives_copy_and_pickle(self):
        prior = self.prior()
        assert copy.deepcopy(prior) == prior
        assert pickle.loads(pickle.dumps(prior)) == prior  # noqa: S301

    def test_is_immutable(self):
        with pytest.raises(AttributeError):
            self.prior().scale = 3.0

    def test_repr_shows_the_arguments(self):
        assert type(self.prior()).__name__ + "(" in repr(self.prior())
        assert math.isfinite(float(self.density().log_prob(torch.zeros(1, 2)).sum()))
