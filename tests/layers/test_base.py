"""The mixin must carry every layer of torch.nn: here are some that the library does not have."""

from typing import ClassVar

import pytest
import torch
from torch import nn

import bbb
from bbb.layers import BayesianLayer, LinearMapLayer
from tests.laws.layer_laws import LayerLaws


class BayesBilinear(BayesianLayer, nn.Bilinear):
    twin = nn.Bilinear


class BayesEmbedding(BayesianLayer, nn.Embedding):
    twin = nn.Embedding


class BayesConvTranspose1d(LinearMapLayer, nn.ConvTranspose1d):
    twin = nn.ConvTranspose1d
    spatial_dims = 1
    tied_axis = 1

    def _map(self, input, weight, bias):  # noqa: A002
        return nn.functional.conv_transpose1d(
            input, weight, bias, self.stride, self.padding, groups=self.groups
        )


class BayesLSTM(BayesianLayer, nn.LSTM):
    twin = nn.LSTM

    def weight_names(self):
        return tuple(n for n, _ in self.named_parameters() if n.startswith("weight"))

    def bias_names(self):
        return tuple(n for n, _ in self.named_parameters() if n.startswith("bias"))

    def _standin(self, weights):
        standin = super()._standin(weights)
        names = self._flat_weights_names
        vars(standin)["_flat_weights"] = [getattr(standin, name) for name in names]
        return standin


class TestConvTranspose1d(LayerLaws):
    layer = BayesConvTranspose1d
    args = (2, 3, 2)
    kwargs: ClassVar[dict] = {"stride": 2}
    estimators = ("weight", "local", "flipout")

    def inputs(self, dtype=torch.float32):
        return torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(1)).to(dtype)


def test_bilinear_needs_two_lines():
    layer = BayesBilinear(3, 4, 2, sigma_init=0.1)
    x, y = torch.randn(5, 3), torch.randn(5, 4)
    plain = nn.Bilinear(3, 4, 2)
    layer.load_state_dict(plain.state_dict())
    assert torch.equal(layer.eval()(x, y), plain(x, y))
    layer.train()(x, y).square().sum().backward()
    assert layer.weight_rho.grad.any()
    assert "in1_features=3" in repr(layer)
    assert not hasattr(layer, "weight")


def test_embedding_needs_two_lines():
    layer = BayesEmbedding(10, 3, padding_idx=0)
    assert layer(torch.tensor([[0, 1, 1]])).shape == (1, 3, 3)
    rows = layer(torch.tensor([4, 4]))
    assert torch.equal(rows[0], rows[1])  # one draw of the table


def test_layer_of_many_weights_draws_once_per_sequence():
    """A peer draws anew at every time step, and drops layers and directions."""
    kwargs = {"num_layers": 2, "bidirectional": True, "batch_first": True}
    layer = BayesLSTM(3, 4, **kwargs, sigma_init=0.1, bayesian_bias=True)
    plain = nn.LSTM(3, 4, **kwargs)
    layer.load_state_dict(plain.state_dict())
    x = torch.randn(2, 5, 3)
    output, (h, c) = layer.eval()(x)
    expected, _ = plain(x)
    assert torch.equal(output, expected)
    assert h.shape == c.shape == (4, 2, 4)
    assert len(layer.bayesian_names) == 16
    torch.manual_seed(0)
    output, _ = layer.train()(x)
    torch.manual_seed(0)
    draw = bbb.sample_deterministic(layer)
    assert type(draw) is nn.LSTM
    torch.testing.assert_close(output, draw(x)[0])
    output.sum().backward()
    assert all(p.grad is not None for p in layer.parameters())


def test_estimator_that_a_layer_lacks_is_refused():
    with pytest.raises(bbb.errors.ConfigError, match="BayesBilinear needs an estimator of 'auto'"):
        BayesBilinear(3, 4, 2, estimator="local")
