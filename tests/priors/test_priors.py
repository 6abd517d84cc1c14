import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, Normal

from bbb import priors, prune
from bbb.errors import ConfigError
from bbb.layers import BayesEmbedding
from tests.laws.prior_laws import ClosedFormLaws, DensityLaws


class TestNormal(ClosedFormLaws, DensityLaws):
    def prior(self):
        return priors.Normal(0.25, 0.7)

    def reference(self):
        return Normal(0.25, 0.7)


class TestNormalWithTensorMean(ClosedFormLaws, DensityLaws):
    loc = torch.tensor([0.5, -1.0])

    def prior(self):
        return priors.Normal(self.loc, 0.4)

    def reference(self):
        return Normal(self.loc.double(), 0.4)

    def test_survives_copy_and_pickle(self):
        pytest.skip("tensors have no truth value to compare by")

    @pytest.mark.parametrize("fraction", [0.0, 0.5])
    def test_of_fixed_and_pruned_weights_the_means_go_too(self, fraction):
        layer = BayesEmbedding(4, 2, padding_idx=1, prior=self.prior(), sigma_init=0.4)
        report = prune(layer, fraction=fraction)
        mu, mean = layer.posterior().mu.detach(), self.loc.expand(4, 2)
        kept = torch.ones(4, 2, dtype=torch.bool) if layer.mask() is None else layer.mask().clone()
        kept[1] = False
        assert kept.sum() == report.total.kept
        expected = ((mu - mean)[kept] / 0.4).square().sum() / 2  # sigma is the prior's scale
        torch.testing.assert_close(layer.kl("weight"), expected)


class TestScaleMixture(DensityLaws):
    def prior(self):
        return priors.ScaleMixture(0.25, 1.5, 0.1)

    def reference(self):
        scales = torch.tensor([1.5, 0.1], dtype=torch.float64)
        weights = torch.tensor([0.25, 0.75], dtype=torch.float64)
        return MixtureSameFamily(Categorical(weights), Normal(torch.zeros(2).double(), scales))

    def test_gradient_in_the_tail(self):
        """A peer returns 0 here (log(p + 1e-6)); the wide component pulls with -w / sigma1^2."""
        weight = torch.tensor([2.0, -2.0, 50.0], requires_grad=True)
        priors.ScaleMixture(0.5, 0.1, 0.002).log_prob(weight).sum().backward()
        torch.testing.assert_close(weight.grad, torch.tensor([-200.0, 200.0, -5000.0]))

    def test_gradient_in_the_centre_is_the_narrow_component(self):
        weight = torch.tensor([1e-4], requires_grad=True)
        priors.ScaleMixture(0.5, 1.0, 0.002).log_prob(weight).sum().backward()
        torch.testing.assert_close(weight.grad, torch.tensor([-25.0]), rtol=0.01, atol=0)

    def test_equal_sigmas_are_one_normal(self):
        weight = torch.linspace(-2, 2, 9)
        mixture = priors.ScaleMixture(0.3, 0.5, 0.5)
        torch.testing.assert_close(mixture.log_prob(weight), priors.Normal(0, 0.5).log_prob(weight))

    def test_has_no_closed_form(self):
        with pytest.raises(NotImplementedError):
            self.prior().kl(torch.zeros(1), torch.zeros(1))

    def test_runs_under_vmap(self):
        weight = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
        density = self.density()
        torch.testing.assert_close(torch.vmap(density.log_prob)(weight), density.log_prob(weight))


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize(
    "make",
    [
        lambda s: priors.EmpiricalBayes(scale=s),
        lambda s: priors.Laplace(0.0, s),
        lambda s: priors.MOPED(scale=s),
        lambda s: priors.Normal(0.0, s),
        priors.Pretrained,
        lambda s: priors.StudentT(3.0, 0.0, s),
    ],
)
def test_scale_must_be_positive(make, scale):
    with pytest.raises(ConfigError, match="needs a finite scale > 0, got"):
        make(scale)


@pytest.mark.parametrize("pi", [0.0, 1.0, -0.5, math.nan])
def test_mixture_weight_must_be_inside(pi):
    with pytest.raises(ConfigError, match="needs 0 < pi < 1, got"):
        priors.ScaleMixture(pi, 1.0, 0.1)


@pytest.mark.parametrize("sigmas", [(0.0, 1.0), (1.0, -6.0), (math.inf, 1.0), (math.nan, 1.0)])
def test_mixture_sigmas_must_be_positive(sigmas):
    with pytest.raises(ConfigError, match=r"needs sigma1 > 0 and sigma2 > 0, got .*pass sigmas"):
        priors.ScaleMixture(0.5, *sigmas)


def test_scale_is_a_standard_deviation():
    """Peers fill it with a variance."""
    at_one_sigma = priors.Normal(0.0, 0.5).log_prob(torch.tensor(0.5))
    torch.testing.assert_close(
        at_one_sigma, torch.tensor(-0.5 - math.log(0.5) - 0.5 * math.log(2 * math.pi))
    )
