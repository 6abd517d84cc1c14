"""The topology of Snyder et al. 2018: contexts, sizes, where the embedding is taken."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bbb
from bbb.errors import ConfigError, ShapeError
from bbb.layers import BayesConv1d, BayesianLayer
from bbb.speaker.xvector import SegmentLayer, TDNNLayer, XVector

FRAMES = ("frame1", "frame2", "frame3", "frame4", "frame5")


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def small(**options: object) -> XVector:
    torch.manual_seed(0)
    return XVector(4, 6, 7, 5, **options)  # type: ignore[arg-type]


def positive(net: XVector) -> XVector:
    """All weights 0.1: no ReLU blocks a gradient, no sum cancels."""
    for layer in FRAMES:
        nn.init.constant_(getattr(net, layer).affine.weight, 0.1)
        nn.init.constant_(getattr(net, layer).affine.bias, 0.1)
    return net.eval()


@pytest.mark.parametrize(
    ("layer", "inputs", "outputs", "kernel", "dilation"),
    [
        ("frame1", 30, 512, 5, 1),
        ("frame2", 512, 512, 3, 2),
        ("frame3", 512, 512, 3, 3),
        ("frame4", 512, 512, 1, 1),
        ("frame5", 512, 1500, 1, 1),
    ],
)
def test_frame_layers_are_kaldis(
    layer: str, inputs: int, outputs: int, kernel: int, dilation: int
) -> None:
    conv = getattr(XVector(), layer).affine
    assert (conv.in_channels, conv.out_channels) == (inputs, outputs)
    assert (conv.kernel_size, conv.dilation) == ((kernel,), (dilation,))
    assert (conv.stride, conv.padding, conv.groups) == ((1,), (0,), 1)
    assert conv.bias is not None


@pytest.mark.parametrize(
    ("layer", "context"),
    [
        ("frame1", {-2, -1, 0, 1, 2}),
        ("frame2", {-2, 0, 2}),
        ("frame3", {-3, 0, 3}),
        ("frame4", {0}),
        ("frame5", {0}),
    ],
)
def test_each_frame_layer_sees_its_context_alone(layer: str, context: set[int]) -> None:
    module = getattr(positive(small()), layer)
    x = torch.ones(1, module.affine.in_channels, 21, requires_grad=True)
    out = module(x)
    lost = (21 - out.shape[2]) // 2
    out[0, :, 10 - lost].sum().backward()
    assert x.grad is not None
    seen = x.grad[0].abs().sum(0).nonzero().flatten() - 10
    assert set(seen.tolist()) == context


def test_frame5_sees_7_frames_on_each_side_and_no_other() -> None:
    net = positive(small())
    x = torch.ones(1, 4, 41, requires_grad=True)
    out = x
    for layer in FRAMES:
        out = getattr(net, layer)(out)
    assert out.shape == (1, 7, 41 - 14)
    assert net.context_frames == 15
    t = 20
    out[0, :, t - 7].sum().backward()
    assert x.grad is not None
    seen = x.grad[0].abs().sum(0).nonzero().flatten()
    assert seen.tolist() == list(range(t - 7, t + 8))


def test_number_of_parameters_by_hand() -> None:
    def norm(size: int) -> int:
        return 2 * size

    def affine(inputs: int, outputs: int) -> int:
        return inputs * outputs + outputs

    expected = (
        affine(5 * 30, 512)
        + 2 * affine(3 * 512, 512)
        + affine(512, 512)
        + affine(512, 1500)
        + affine(2 * 1500, 512)
        + affine(512, 512)
        + 6 * norm(512)
        + norm(1500)
    )
    assert expected == 4_491_668
    assert sum(p.numel() for p in XVector().parameters()) == expected


def test_a_tdnn_layer_normalises_after_the_relu() -> None:
    torch.manual_seed(0)
    layer = TDNNLayer(3, 4, 3, 2)
    x = randn(8, 3, 20)
    active = F.conv1d(x, layer.affine.weight, layer.affine.bias, dilation=2).relu()
    variance, mean = torch.var_mean(active, dim=(0, 2), correction=0, keepdim=True)
    expected = (active - mean) / (variance + layer.norm.eps).sqrt()
    out = layer(x)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    assert (out < 0).any()  # a ReLU at the end would leave none


def test_embedding_is_the_affine_output_of_segment6() -> None:
    net = small().eval()
    x = randn(3, 30, 4)
    hidden = x.transpose(1, 2)
    for layer in FRAMES:
        hidden = getattr(net, layer)(hidden)
    variance, mean = torch.var_mean(hidden, dim=2, correction=0)
    pooled = torch.cat([mean, (variance + net.pooling.eps).sqrt()], dim=1)
    expected = F.linear(pooled, net.segment6.affine.weight, net.segment6.affine.bias)
    torch.testing.assert_close(net(x), expected)
    assert (expected < 0).any()


def test_head_sits_behind_segment7() -> None:
    net = small().eval()
    for layer in (net.segment6, net.segment7):
        nn.init.uniform_(layer.norm.running_mean, -1, 1)
        nn.init.uniform_(layer.norm.running_var, 0.5, 2)
    embeddings = randn(6, 5, seed=2)

    def norm(x: Tensor, layer: SegmentLayer) -> Tensor:
        stats = layer.norm
        return (x - stats.running_mean) / (stats.running_var + stats.eps).sqrt()

    hidden = norm(embeddings.relu(), net.segment6)
    hidden = F.linear(hidden, net.segment7.affine.weight, net.segment7.affine.bias)
    expected = norm(hidden.relu(), net.segment7)
    torch.testing.assert_close(net.head_input(embeddings), expected)


def test_segment6_norm_ends_with_the_norm_of_the_affine_output() -> None:
    net = small(embed_from="segment6_norm").eval()
    nn.init.uniform_(net.segment6.norm.running_mean, -1, 1)
    x = randn(3, 30, 4)
    hidden = x.transpose(1, 2)
    for layer in FRAMES:
        hidden = getattr(net, layer)(hidden)
    affine = net.segment6.affine(net.pooling(hidden))
    expected = net.segment6.norm(affine)
    torch.testing.assert_close(net(x), expected)
    assert (expected < 0).any()
    torch.testing.assert_close(net.head_input(expected), expected)
    assert not any(name.startswith("segment7") for name, _ in net.named_parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("place", ["segment6", "segment6_norm"])
def test_a_network_in_half_precision(dtype: torch.dtype, place: str) -> None:
    net, x = small(embed_from=place).eval(), randn(3, 30, 4)
    exact = net(x)
    rounded = net.to(dtype)(x.to(dtype))
    assert rounded.dtype == dtype
    # Five layers, each rounded to 8 bits or more.
    torch.testing.assert_close(rounded.float(), exact, atol=0.05, rtol=0.05)


def test_dropout_thins_the_heads_input_in_training_alone() -> None:
    net = small(embed_from="segment6_norm", dropout=0.5)
    embeddings = torch.ones(200, 5)
    torch.manual_seed(0)
    share = (net.head_input(embeddings) == 0).float().mean()
    # 1000 draws: 0.5 +- 5 standard errors; false alarm below 1e-6.
    assert abs(float(share) - 0.5) < 0.08
    torch.testing.assert_close(net.eval().head_input(embeddings), embeddings)


def test_length_is_free_from_the_context_on() -> None:
    net = small().eval()
    assert net(randn(2, 15, 4)).shape == (2, 5)
    assert net(randn(2, 500, 4)).shape == (2, 5)
    with pytest.raises(ShapeError, match="at least 15 frames, got 14; repeat or drop"):
        net(randn(2, 14, 4))


@pytest.mark.parametrize("shape", [(2, 30, 5), (30, 4), (2, 4, 30), (1, 2, 30, 4)])
def test_features_of_another_shape_are_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"expects \(batch, frames, 4\), got .*set in_dim"):
        small()(torch.zeros(shape))


def test_unknown_place_of_the_embedding_is_an_error() -> None:
    with pytest.raises(ConfigError, match="'segment6' or 'segment6_norm', got 'segment7'"):
        small(embed_from="segment7")


def test_bayesianize_reaches_exactly_the_conv_of_frame1() -> None:
    plain = small()
    net = bbb.bayesianize(plain, layers=["frame1"])
    bayesian = [name for name, m in net.named_modules() if isinstance(m, BayesianLayer)]
    assert bayesian == ["frame1.affine"]
    assert type(net.get_submodule("frame1.affine")) is BayesConv1d
    before, after = plain.state_dict(), net.state_dict()
    assert set(after) - set(before) == {"frame1.affine.weight_mu", "frame1.affine.weight_rho"}
    assert set(before) - set(after) == {"frame1.affine.weight"}
    torch.testing.assert_close(after["frame1.affine.weight_mu"], before["frame1.affine.weight"])
    x = randn(2, 30, 4)
    torch.testing.assert_close(net.eval()(x), plain.eval()(x))


def test_a_bayesian_layer_varies_the_embedding_in_training() -> None:
    net = bbb.bayesianize(small(), layers=["frame1"], sigma_init=0.5)
    x = randn(4, 30, 4)
    assert not torch.equal(net(x), net(x))
