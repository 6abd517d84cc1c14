"""The mixin must carry every layer of torch.nn: here is one that the library does not have."""

import pytest
import torch
from torch import nn

import bbb
from bbb.layers import BAYESIAN, BayesianLayer, BayesLinear
from tests.laws.linear_laws import LinearMapLaws


class BayesBilinear(BayesianLayer, nn.Bilinear):
    twin = nn.Bilinear


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch's, of vmap
class TestBilinear(LinearMapLaws):
    layer = BayesBilinear
    args = (2, 3, 2)
    compiled = ()

    @pytest.fixture(autouse=True)
    def _registered(self, monkeypatch):
        monkeypatch.setitem(BAYESIAN, nn.Bilinear, BayesBilinear)

    def inputs(self, dtype=torch.float32):
        return torch.randn(2, 5, generator=torch.Generator().manual_seed(1)).to(dtype)

    def arguments(self, x):
        return (x[..., :2], x[..., 2:])


def test_an_own_layer_can_be_registered(monkeypatch):
    net = nn.ModuleDict({"a": nn.Bilinear(2, 3, 2), "b": nn.Linear(2, 2)})
    assert type(bbb.bayesianize(net)["a"]) is nn.Bilinear
    monkeypatch.setitem(BAYESIAN, nn.Bilinear, BayesBilinear)
    model = bbb.bayesianize(net)
    assert type(model["a"]) is BayesBilinear
    assert type(bbb.to_deterministic(model)["a"]) is nn.Bilinear


def test_estimator_that_a_layer_lacks_is_refused():
    with pytest.raises(
        bbb.errors.ConfigError,
        match="BayesBilinear needs an estimator of 'auto', 'weight', got 'local', which is for "
        "layers whose output is one linear map of weight and input; 'auto' chooses",
    ):
        BayesBilinear(3, 4, 2, estimator="local")


# -- what code that reads weights finds ---------------------------------------------------------


def test_code_that_bypasses_a_draw_gets_an_error():
    """Tying by hand, as ``F.linear(x, embedding.weight)``, would not see the noise."""
    layer = BayesLinear(4, 3, bayesian_bias=True)
    for value in (
        lambda: nn.functional.linear(torch.ones(2, 4), layer.weight),
        lambda: layer.weight.T,
        lambda: layer.weight + 1,
        lambda: layer.bias.data,
        lambda: layer.weight.sum(0),
        lambda: torch.stack([layer.weight]),
        lambda: layer.weight.mul_(2),
    ):
        with pytest.raises(
            bbb.errors.ConfigError,
            match=r"needs the value of a weight that each forward draws anew; call the layer "
            r"instead, or keep one draw with bbb\.fixed_sample",
        ):
            value()
    assert layer.weight.shape == (3, 4)
    assert layer.weight.size(0) == len(layer.bias.shape) + 2
    assert layer.weight.device.type == "cpu"
    with bbb.posterior_mean(layer):
        assert layer.weight is layer.weight_mu


def test_code_that_bypasses_a_fixed_draw_sees_it():
    layer = BayesLinear(4, 3, sigma_init=0.3, bayesian_bias=True)
    x = torch.ones(2, 4)
    with bbb.fixed_sample(layer, seed=1):
        output = nn.functional.linear(x, layer.weight, layer.bias)
        assert torch.equal(output, layer(x))
    output.sum().backward()
    assert layer.weight_rho.grad.any()


def test_deterministic_bias_is_an_ordinary_parameter():
    layer = BayesLinear(4, 3)
    assert type(layer.bias) is nn.Parameter
    with pytest.raises(AttributeError, match="'BayesLinear' object has no attribute 'scale'"):
        layer.scale  # noqa: B018


def test_weight_cannot_be_replaced_by_accident():
    layer = BayesLinear(4, 3)
    with pytest.raises(KeyError, match="attribute 'weight' already exists"):
        layer.weight = nn.Parameter(torch.ones(3, 4))
