import copy
import math

import pytest
import torch
from torch import nn
from torch.distributions import Normal

import bbb
from bbb import priors
from bbb.errors import ConfigError
from bbb.layers import BayesLinear
from tests.laws.prior_laws import ClosedFormLaws, DensityLaws

LEARNED = priors.EmpiricalBayes("learned", 0.4)


class TestClosed(ClosedFormLaws):
    def prior(self):
        return priors.EmpiricalBayes()


class TestLearned(ClosedFormLaws, DensityLaws):
    def prior(self):
        return LEARNED

    def reference(self):
        return Normal(torch.zeros(2).double(), 0.4)

    def density(self):
        return self.prior().at({"log_scale": torch.tensor(0.4, dtype=torch.float64).log()})


def some_posterior():
    generator = torch.Generator().manual_seed(3)
    mu, rho = torch.randn(2, 50, 3, generator=generator, dtype=torch.float64)
    return (mu * 0.1).requires_grad_(), (rho - 3.0).requires_grad_()


def test_closed_is_the_best_normal():
    mu, rho = some_posterior()
    closed = priors.EmpiricalBayes().at({}).kl(mu, rho)
    scale = (mu.square() + nn.functional.softplus(rho).square()).mean().sqrt().item()
    kls = {factor: priors.Normal(0.0, scale * factor).kl(mu, rho) for factor in (0.99, 1.0, 1.01)}
    torch.testing.assert_close(closed, kls[1.0])
    assert closed < kls[0.99]
    assert closed < kls[1.01]


def test_closed_has_the_gradient_of_the_best_normal():
    """The envelope theorem: at its optimum the scale contributes nothing."""
    mu, rho = some_posterior()
    scale = (mu.square() + nn.functional.softplus(rho).square()).mean().sqrt().item()
    actual = torch.autograd.grad(priors.EmpiricalBayes().at({}).kl(mu, rho), (mu, rho))
    expected = torch.autograd.grad(priors.Normal(0.0, scale).kl(mu, rho), (mu, rho))
    torch.testing.assert_close(actual, expected)


def test_closed_does_not_depend_on_the_unit_of_the_weights():
    mu = torch.randn(50, generator=torch.Generator().manual_seed(0))
    for sigma in (1e-20, 1e-3, 1.0):
        rho = torch.full((50,), math.log(math.expm1(sigma)) if sigma > 1e-9 else math.log(sigma))
        torch.testing.assert_close(
            priors.EmpiricalBayes().at({}).kl(mu * sigma, rho),
            priors.EmpiricalBayes().at({}).kl(mu, torch.full((50,), math.log(math.e - 1))),
            rtol=1e-4,
            atol=0,
        )


def test_closed_is_zero_where_all_weights_are_alike():
    layer = BayesLinear(30, 20, prior=priors.EmpiricalBayes(), sigma_init=0.3)
    nn.init.zeros_(layer.weight_mu)
    assert bbb.kl_divergence(layer).item() == pytest.approx(0.0, abs=1e-4)
    assert list(layer.state_dict()) == ["weight_mu", "weight_rho", "bias"]


def test_learned_scale_is_a_parameter_of_each_tensor():
    layer = BayesLinear(3, 2, prior=LEARNED, bayesian_bias=True)
    assert isinstance(layer.weight_prior_log_scale, nn.Parameter)
    assert [key for key in layer.state_dict() if "prior" in key] == [
        "weight_prior_log_scale",
        "bias_prior_log_scale",
    ]
    assert layer.weight_prior_log_scale.item() == pytest.approx(math.log(0.4))
    torch.testing.assert_close(layer.kl("weight"), priors.Normal(0.0, 0.4).kl(*layer.posterior()))


def test_learned_scale_converges_to_the_closed_one():
    layer = BayesLinear(20, 30, prior=LEARNED, sigma_init=0.05)
    before = [p.detach().clone() for p in (layer.weight_mu, layer.weight_rho)]
    optimiser = torch.optim.Adam([layer.weight_prior_log_scale], lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        bbb.kl_divergence(layer).backward()
        optimiser.step()
    closed = priors.EmpiricalBayes().at({}).kl(*before)
    torch.testing.assert_close(bbb.kl_divergence(layer), closed, rtol=1e-4, atol=1e-2)


def test_gradient_of_the_learned_scale_is_right():
    mu, rho = some_posterior()
    log_scale = torch.tensor(-1.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: LEARNED.at({"log_scale": s}).kl(mu, rho), log_scale)


def test_layers_that_share_a_weight_share_its_scale():
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    net[1].weight = net[0].weight
    model = bbb.bayesianize(net, prior=LEARNED)
    for one in (model, copy.deepcopy(model)):
        assert one[0].weight_prior_log_scale is one[1].weight_prior_log_scale
        assert len(list(one.parameters())) == 3
    centred = bbb.bayesianize(net, prior=priors.Pretrained())
    for one in (centred, copy.deepcopy(centred)):
        assert one[0].weight_prior_loc is one[1].weight_prior_loc


def test_frozen_weight_has_a_frozen_scale():
    net = nn.Linear(3, 2)
    net.weight.requires_grad_(False)
    layer = bbb.bayesianize(net, prior=LEARNED)
    assert not layer.weight_prior_log_scale.requires_grad
    assert not layer.weight_rho.requires_grad


def test_plain_state_dict_leaves_the_learned_scale():
    layer = BayesLinear(3, 2, prior=LEARNED)
    nn.init.constant_(layer.weight_prior_log_scale, 1.5)
    layer.load_state_dict(nn.Linear(3, 2).state_dict())
    assert layer.weight_prior_log_scale.item() == 1.5
    layer.reset_parameters()
    assert layer.weight_prior_log_scale.item() == pytest.approx(math.log(0.4))


def test_goes_with_the_layer_when_it_becomes_plain():
    for prior in (LEARNED, priors.Pretrained(), priors.MOPED()):
        layer = BayesLinear(3, 2, prior=prior, bayesian_bias=True)
        for plain in (bbb.to_deterministic(layer), bbb.sample_deterministic(layer)):
            assert vars(plain).keys() == vars(nn.Linear(3, 2)).keys()
            assert list(plain.state_dict()) == ["weight", "bias"]


def test_unknown_method_is_refused():
    with pytest.raises(ConfigError, match="needs method 'closed' or 'learned', got 'best'"):
        priors.EmpiricalBayes("best")
