from typing import ClassVar

import pytest
import torch
from torch import nn

import bbb
from bbb.errors import ConfigError, UnsupportedLayerError
from bbb.layers import BayesMultiheadAttention
from tests.laws.layer_laws import LayerLaws


class AttentionLaws(LayerLaws):
    layer = BayesMultiheadAttention
    args = (4, 2)
    need_weights = True
    compiled = ()

    def inputs(self, dtype=torch.float32):
        x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1)).to(dtype)
        # The product of two weights of size 100 leaves the range of half precision in torch too.
        return x / 100 if dtype == torch.float16 else x

    def arguments(self, x):
        return (x, x, x, None, self.need_weights)

    def output(self, result):
        output, weights = result
        assert (weights is not None) == self.need_weights
        return output

    def reset(self, plain):
        plain.out_proj.reset_parameters()
        plain._reset_parameters()


class TestAttention(AttentionLaws):
    compiled = None
    kwargs: ClassVar[dict] = {"batch_first": True}


class TestAttentionWithoutWeights(AttentionLaws):
    need_weights = False
    kwargs: ClassVar[dict] = {"batch_first": True, "bias": True}


class TestAttentionWithAllOptions(AttentionLaws):
    kwargs: ClassVar[dict] = {
        "kdim": 3, "vdim": 2, "add_bias_kv": True, "add_zero_attn": True
    }  # fmt: skip

    def arguments(self, x):
        return (x, x[..., :3], x[..., :2])


def test_names_of_the_weights():
    kwargs = {"kdim": 3, "add_bias_kv": True}
    layer = BayesMultiheadAttention(4, 2, **kwargs, bayesian_bias=True)
    plain = nn.MultiheadAttention(4, 2, **kwargs)
    expected = {f"{key}_{part}" for key in plain.state_dict() for part in ("mu", "rho")}
    assert set(layer.state_dict()) == expected
    assert {"k_proj_weight_rho", "bias_v_mu", "out_proj.weight_rho"} < expected
    layer = BayesMultiheadAttention(4, 2, bias=False, bayesian_bias=True)
    assert list(layer.state_dict()) == [
        "in_proj_weight_mu", "in_proj_weight_rho", "out_proj.weight_mu", "out_proj.weight_rho"
    ]  # fmt: skip


def test_masks_and_attention_weights_per_head():
    layer = BayesMultiheadAttention(4, 2, batch_first=True, sigma_init=0.3)
    x = torch.randn(2, 3, 4)
    options = {
        "key_padding_mask": torch.tensor([[False, False, True], [False, False, False]]),
        "attn_mask": torch.ones(3, 3, dtype=torch.bool).triu(1),
        "average_attn_weights": False,
    }
    with bbb.fixed_sample(layer, seed=1):
        results = layer(x, x, x, **options)
    plain = bbb.sample_deterministic(layer, generator=torch.Generator().manual_seed(1))
    for result, expected in zip(results, plain(x, x, x, **options), strict=True):
        torch.testing.assert_close(result, expected)
    assert results[1].shape == (2, 2, 3, 3)
    assert not results[1][:, :, 0, 1:].any()


def test_output_projection_is_drawn_with_the_attention():
    layer = BayesMultiheadAttention(4, 2, sigma_init=0.3)
    with torch.no_grad():
        layer.in_proj_weight_rho.fill_(-200.0)
    x = torch.randn(3, 2, 4)
    first, second = (layer(x, x, x)[0] for _ in range(2))
    assert not torch.equal(first, second)
    second.sum().backward()
    assert layer.out_proj.weight_rho.grad.any()


def test_output_projection_alone_is_converted_with_its_attention_only():
    plain = nn.MultiheadAttention(4, 2)
    with pytest.raises(UnsupportedLayerError, match="got NonDynamicallyQuantizableLinear"):
        bbb.bayesianize(plain, "out_proj")
    assert type(bbb.bayesianize(plain).out_proj).__name__ == "_BayesOutProjection"


def test_replaced_output_projection_is_left_or_refused():
    plain = nn.MultiheadAttention(4, 2)
    plain.out_proj = nn.Linear(4, 4)
    with pytest.raises(UnsupportedLayerError, match="its out_proj is a Linear"):
        bbb.bayesianize(plain, nn.MultiheadAttention)
    plain = nn.MultiheadAttention(4, 2)
    nn.utils.parametrizations.weight_norm(plain.out_proj)
    with pytest.raises(UnsupportedLayerError, match="its out_proj is a Param"):
        bbb.bayesianize(plain)


def test_error_before_anything_is_changed():
    net = nn.Sequential(nn.Linear(4, 4), nn.MultiheadAttention(4, 2))
    with pytest.raises(ConfigError, match="BayesMultiheadAttention needs an estimator of 'auto'"):
        bbb.bayesianize_(net, estimator="local")
    assert [type(m) for m in net] == [nn.Linear, nn.MultiheadAttention]
