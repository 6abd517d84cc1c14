"""What every prior must satisfy. A new prior subclasses the suites and fills in their methods.

`PriorLaws` hold for all, `DensityLaws` for those that have a density without seeing a posterior,
`ClosedFormLaws` for those that have a KL divergence in closed form.
"""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.distributions import Distribution

from bbb.layers import BayesLinear
from bbb.priors import Density, Prior

MU = torch.tensor([[0.3, -0.2, 0.0], [0.05, 1.0, -2.0]])
RHO = torch.tensor([[-3.0, -1.0, 0.5], [-5.0, -0.3, 0.2]])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class PriorLaws:
    """Subclass it, name the class ``Test...``, and run."""

    # The weight before conversion; every test compares with weights that broadcast to it.
    weight = torch.zeros(2)

    def prior(self) -> Prior:
        raise NotImplementedError

    def density(self) -> Density:
        prior = self.prior()
        return prior.at({key: value.detach() for key, value in prior.state(self.weight).items()})

    # -- the object ---------------------------------------------------------------------------

    def test_survives_copy_and_pickle(self):
        prior = self.prior()
        assert copy.deepcopy(prior) == prior
        assert pickle.loads(pickle.dumps(prior)) == prior  # noqa: S301

    def test_is_immutable(self):
        with pytest.raises(AttributeError):
            self.prior().scale = 3.0

    def test_repr_shows_the_arguments(self):
        assert type(self.prior()).__name__ + "(" in repr(self.prior())

    def test_says_the_same_of_its_closed_form_as_its_density(self):
        assert self.prior().closed_form == self.density().closed_form

    # -- what a layer keeps ---------------------------------------------------------------------

    def test_state_has_storage_of_its_own(self):
        """A peer's prior shares storage with the posterior and moves with it: KL always small."""
        weight = nn.Parameter(torch.randn(3, 2, generator=generator()))
        for value in self.prior().state(weight).values():
            assert value.data_ptr() != weight.data_ptr()
            assert value.shape in {weight.shape, torch.Size()}
            assert value.grad_fn is None
            assert value.dtype == weight.dtype

    def test_initial_sigma_is_positive_whatever_the_weight(self):
        weight = torch.tensor([0.0, 1e-30, -2.0, 1e4], dtype=torch.float16)
        sigma = self.prior().sigma_at(weight)
        if sigma is not None:
            assert sigma.dtype == torch.float32
            assert sigma.shape == weight.shape
            assert (sigma > 0).all()

    def test_works_in_a_layer(self):
        layer = BayesLinear(2, 2, prior=self.prior(), bayesian_bias=True)
        kl = sum(layer.kl(name, generator=generator()) for name in ("weight", "bias"))
        gradients = torch.autograd.grad(kl, list(layer.parameters()))
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
        other = BayesLinear(2, 2, prior=self.prior(), bayesian_bias=True)
        other.load_state_dict(copy.deepcopy(layer).state_dict())
        same = sum(other.kl(name, generator=generator()) for name in ("weight", "bias"))
        assert torch.equal(same, kl)


class ClosedFormLaws(PriorLaws):
    """Subclass it, name the class ``Test...``, and run."""

    def closed(self) -> Density:
        density = self.density()
        assert density.closed_form
        return density

    def test_kl_is_never_negative(self):
        density = self.closed()
        mu, rho = torch.randn(2, 500, 2, generator=generator(), dtype=torch.float64)
        for spread in (0.01, 1.0, 10.0):
            assert density.kl(mu * spread, rho * spread) >= 0
            for one_mu, one_rho in zip(mu[:20], rho[:20], strict=True):
                assert density.kl(one_mu * spread, one_rho * spread) >= 0

    def test_gradient_of_kl_is_right(self):
        density = self.closed()
        mu, rho = torch.randn(2, 7, 2, generator=generator(), dtype=torch.float64)
        assert torch.autograd.gradcheck(density.kl, (mu.requires_grad_(), rho.requires_grad_()))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("rho", [-100.0, -36.0, -15.0, 0.0, 20.0, 100.0])
    @pytest.mark.parametrize("mu", [0.0, 1e-3, 30.0])
    def test_kl_is_finite_and_exact_for_every_rho(self, dtype, rho, mu):
        """Against float64, which represents each sigma as a normal number."""
        density = self.closed()
        results = []
        for kind in (dtype, torch.float64):
            # First into the narrow type, so that both compute with the same numbers.
            mus = torch.full((4, 2), mu).to(dtype).to(kind).requires_grad_()
            rhos = torch.full((4, 2), rho).to(dtype).to(kind).requires_grad_()
            kl = density.kl(mus, rhos)
            results.append((kl, *torch.autograd.grad(kl, (mus, rhos))))
        assert results[0][0].dtype == torch.float32
        assert results[0][1].dtype == dtype
        # In half precision the gradients are rounded.
        rtol = 1e-2 if dtype != torch.float32 else 1e-5
        for actual, expected in zip(*results, strict=True):
            assert torch.isfinite(actual).all()
            torch.testing.assert_close(actual.double(), expected, rtol=rtol, atol=1e-5)

    def test_sigma_tied_over_outputs_counts_for_each(self):
        density = self.closed()
        mu = torch.randn(5, 2, generator=generator(), dtype=torch.float64)
        rho = torch.tensor([[-1.0, 0.5]], dtype=torch.float64).requires_grad_()
        tied, free = density.kl(mu, rho), density.kl(mu, rho.expand_as(mu))
        torch.testing.assert_close(tied, free)
        torch.testing.assert_close(*(torch.autograd.grad(kl, rho)[0] for kl in (tied, free)))

    def test_kl_runs_under_vmap(self):
        density = self.closed()
        mu, rho = torch.randn(2, 3, 4, 2, generator=generator())
        expected = torch.stack([density.kl(*pair) for pair in zip(mu, rho, strict=True)])
        torch.testing.assert_close(torch.vmap(density.kl)(mu, rho), expected)

    def test_kl_of_no_weight_is_zero(self):
        """What is left of a tensor that is pruned away."""
        nothing = torch.zeros(0, 2, requires_grad=True)
        kl = self.closed().kl(nothing, nothing)
        kl.backward()
        assert kl == 0


class DensityLaws(PriorLaws):
    """Subclass it, name the class ``Test...``, and run."""

    def reference(self) -> Distribution:
        """The same distribution by torch.distributions."""
        raise NotImplementedError

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
        weight = torch.randn(7, 2, dtype=torch.float64, generator=generator())
        torch.autograd.gradcheck(self.density().log_prob, weight.requires_grad_())

    def test_half_precision_is_computed_in_float32(self):
        for dtype in (torch.float16, torch.bfloat16):
            assert self.density().log_prob(torch.ones(3, 2, dtype=dtype)).dtype == torch.float32

    def test_log_prob_is_finite_at_the_centre_and_far_out(self):
        weight = torch.tensor([[0.0, 0.0], [1e4, -1e4]], requires_grad=True)
        value = self.density().log_prob(weight)
        value.sum().backward()
        assert torch.isfinite(value).all()
        assert torch.isfinite(weight.grad).all()
        # Outliers are pulled back, by every prior.
        assert weight.grad[1, 0] < 0 < weight.grad[1, 1]

    def test_sample_moments(self):
        count = 40_000
        sample = self.density().sample(torch.Size((count, 2)), generator=generator(1))
        reference = self.reference()
        # Five standard errors: one false alarm in 10^6 runs, and the seed is fixed.
        tolerance = 5 * (reference.variance / count).sqrt()
        assert ((sample.mean(0) - reference.mean).abs() < tolerance).all()
        torch.testing.assert_close(
            sample.double().var(0), (reference.variance + torch.zeros(2)).double(), rtol=0.1, atol=0
        )

    def test_samples_follow_the_density(self):
        """Kolmogorov and Smirnov's distance from the numerically integrated density."""
        count = 20_000
        sample = self.density().sample(torch.Size((count, 2)), generator=generator(2)).double()
        grid = torch.linspace(-30, 30, 600_001, dtype=torch.float64)[:, None].expand(-1, 2)
        mass = torch.cumulative_trapezoid(self.density().log_prob(grid).exp(), grid, dim=0)
        for column in range(2):
            ordered = sample[:, column].sort().values
            index = torch.searchsorted(grid[:, column].contiguous(), ordered).clamp(1, len(mass))
            expected = mass[index - 1, column]
            steps = torch.arange(1, count + 1) / count
            # 1.95 / sqrt(n) is exceeded once in a thousand; the seed is fixed.
            assert (expected - steps).abs().max() < 1.95 / count**0.5

    def test_kl_is_the_expectation_of_its_definition(self):
        """The closed form against quadrature."""
        density = self.density()
        if not density.closed_form:
            pytest.skip("no closed form; the Monte Carlo KL is tested in test_objective")
        mu, rho = torch.tensor([0.3, -0.2]).double(), torch.tensor([-1.0, 0.3]).double()
        sigma = nn.functional.softplus(rho)
        grid = torch.linspace(-12, 12, 20_001, dtype=torch.float64)[:, None]
        q = torch.distributions.Normal(mu, sigma)
        weight = mu + sigma * grid
        integrand = q.log_prob(weight).exp() * (q.log_prob(weight) - density.log_prob(weight))
        expected = (torch.trapezoid(integrand, grid, dim=0) * sigma).sum()
        torch.testing.assert_close(density.kl(mu, rho), expected, rtol=1e-6, atol=1e-8)

    def test_kl_is_a_sum_over_weights(self):
        """A peer returns the mean over each tensor."""
        density = self.density()
        if not density.closed_form:
            pytest.skip("no closed form; the Monte Carlo KL is tested in test_objective")
        mu, rho = torch.randn(2, 6, 2, generator=generator(), dtype=torch.float64)
        each = sum(density.kl(*pair) for pair in zip(mu, rho, strict=True))
        torch.testing.assert_close(density.kl(mu, rho), each)
