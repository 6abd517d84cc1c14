"""Priors around trained weights. Peers put the mean at 0, or share it with the posterior."""

import pytest
import torch
from torch import nn
from torch.distributions import Normal

import bbb
from bbb import priors
from bbb.errors import ConfigError
from bbb.layers import BayesLinear
from tests.laws.prior_laws import ClosedFormLaws, DensityLaws

AROUND = [priors.Pretrained(0.3), priors.MOPED(0.1, 0.3)]
TRAINED = torch.tensor([0.5, -1.0])


class TestPretrained(ClosedFormLaws, DensityLaws):
    weight = TRAINED

    def prior(self):
        return priors.Pretrained(0.3)

    def reference(self):
        return Normal(TRAINED.double(), 0.3)


class TestMOPED(ClosedFormLaws, DensityLaws):
    weight = TRAINED

    def prior(self):
        return priors.MOPED(0.2, 0.3)

    def reference(self):
        return Normal(TRAINED.double(), 0.3)


def plain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


@pytest.mark.parametrize("prior", AROUND, ids=str)
def test_prior_and_posterior_mean_start_at_the_trained_weight(prior):
    net = plain()
    layer = bbb.bayesianize(net, prior=prior)[0]
    assert torch.equal(layer.weight_mu, net[0].weight)
    assert torch.equal(layer.density().loc, net[0].weight)


@pytest.mark.parametrize("prior", AROUND, ids=str)
def test_kl_grows_as_the_mean_leaves_the_trained_weight(prior):
    """A peer shares storage between the two means, and this distance is always 0."""
    net = plain()
    model = bbb.bayesianize(net, prior=prior)
    trained = net[0].weight.detach().clone()
    before = bbb.kl_divergence(model)
    with torch.no_grad():
        model[0].weight_mu.add_(0.6)
    distance = 0.5 * (0.6 / 0.3) ** 2 * trained.numel()
    torch.testing.assert_close(bbb.kl_divergence(model), before + distance)
    assert torch.equal(net[0].weight, trained)


@pytest.mark.parametrize("prior", AROUND, ids=str)
def test_training_moves_the_posterior_and_not_the_prior(prior):
    model = bbb.bayesianize(plain(), prior=prior)
    centre = model[0].weight_prior_loc.clone()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        model(torch.ones(2, 4)).square().sum().backward()
        optimiser.step()
    assert torch.equal(model[0].weight_prior_loc, centre)
    assert not torch.equal(model[0].weight_mu, centre)


def test_moped_sigma_is_a_share_of_each_weight():
    net = plain()
    layer = bbb.bayesianize(net, prior=priors.MOPED(delta=0.2), sigma_init=0.7)[0]
    torch.testing.assert_close(layer.posterior().sigma, 0.2 * net[0].weight.abs())


def test_moped_sigma_of_tied_rows_is_their_root_mean_square():
    net = plain()
    layer = bbb.bayesianize(net, prior=priors.MOPED(delta=0.2), tie_sigma=True)[0]
    expected = 0.2 * net[0].weight.square().mean(0, keepdim=True).sqrt()
    torch.testing.assert_close(layer.posterior().sigma, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_moped_of_a_zero_weight_is_finite(dtype):
    net = nn.Linear(3, 2).to(dtype)
    with torch.no_grad():
        net.weight[0] = 0.0
    layer = bbb.bayesianize(net, prior=priors.MOPED())
    output, kl = layer(torch.ones(2, 3, dtype=dtype)), bbb.kl_divergence(layer)
    gradients = torch.autograd.grad(output.float().sum() + kl, list(layer.parameters()))
    for tensor in (layer.weight_rho, output, kl, *gradients):
        assert torch.isfinite(tensor).all()
    assert (layer.posterior().sigma[0] < 1e-7).all()


def test_moped_follows_a_plain_state_dict():
    layer = BayesLinear(4, 3, prior=priors.MOPED(delta=0.2))
    trained = nn.Linear(4, 3)
    layer.load_state_dict(trained.state_dict())
    assert torch.equal(layer.weight_prior_loc, trained.weight)
    torch.testing.assert_close(layer.posterior().sigma, 0.2 * trained.weight.abs())
    layer.reset_parameters()
    assert not torch.equal(layer.weight_mu, trained.weight)
    assert torch.equal(layer.weight_prior_loc, layer.weight_mu)
    torch.testing.assert_close(layer.posterior().sigma, 0.2 * layer.weight_mu.abs())


@pytest.mark.parametrize("delta", [0.0, -0.1, float("nan"), float("inf")])
def test_moped_needs_a_positive_delta(delta):
    with pytest.raises(ConfigError, match="MOPED needs a finite delta > 0, got"):
        priors.MOPED(delta)
