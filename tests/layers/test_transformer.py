"""torch's own transformer layers with converted attention and linear layers."""

import copy

import pytest
import torch
from torch import nn

import bbb
from bbb.layers import BayesianLayer

# Torch's own, of the nested tensors and of the kernels that its fast path uses.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype"),
    pytest.mark.filterwarnings("ignore:There is a performance drop because we have not yet"),
]

PADDING = torch.tensor([[False] * 5, [False, False, False, True, True]])
MASKS = {
    "no mask": {},
    "padding": {"src_key_padding_mask": PADDING},
    "causal": {"mask": nn.Transformer.generate_square_subsequent_mask(5)},
}


def encoder(**kwargs):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, dropout=0.1, **kwargs)
    net = nn.TransformerEncoder(layer, 2)
    with torch.no_grad():  # its layers are equal copies
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net


SELECTIONS = pytest.mark.parametrize(
    "layers", [None, "layers.0", "layers.1", "*.linear1", "*.self_attn"]
)
BIASES = pytest.mark.parametrize("bayesian_bias", [False, True])


@SELECTIONS
@BIASES
def test_mean_is_the_plain_encoder_to_the_last_bit(layers, bayesian_bias):
    net = encoder().eval()
    model = bbb.bayesianize(net, layers, bayesian_bias=bayesian_bias)
    plain = bbb.to_deterministic(model)
    x = torch.randn(2, 5, 4)
    for grad in (True, False):  # without gradients the fast path
        for mask in MASKS.values():
            with torch.set_grad_enabled(grad):
                assert torch.equal(model(x, **mask), net(x, **mask))
                assert torch.equal(plain(x, **mask), net(x, **mask))


@SELECTIONS
@BIASES
@pytest.mark.parametrize("mask", MASKS)
def test_fast_path_does_not_bypass_the_draws(layers, bayesian_bias, mask):
    model = bbb.bayesianize(encoder(), layers, bayesian_bias=bayesian_bias, sigma_init=0.3).eval()
    x, mask = torch.randn(2, 5, 4), MASKS[mask]
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            mean = model(x, **mask)
            with bbb.sampling(model):
                first, second = (model(x, **mask) for _ in range(2))
            with bbb.fixed_sample(model, seed=3):
                fixed, again = (model(x, **mask) for _ in range(2))
            plain = bbb.sample_deterministic(model, generator=torch.Generator().manual_seed(3))
            torch.testing.assert_close(fixed, plain(x, **mask))
        assert torch.equal(fixed, again)
        outputs = (mean, first, second, fixed)
        for i, output in enumerate(outputs):
            for other in outputs[:i]:
                assert not torch.allclose(output[0], other[0])


def test_layers_that_alone_are_in_train_mode_draw():
    """As for Monte Carlo dropout: the model in eval(), some of its layers in train()."""
    model = bbb.bayesianize(encoder(), sigma_init=0.3).eval()
    for module in model.modules():
        if isinstance(module, BayesianLayer) and "linear" in type(module).__name__.lower():
            module.train()
    x = torch.randn(2, 5, 4)
    with torch.no_grad():
        assert not torch.equal(model(x), model(x))


@BIASES
@pytest.mark.parametrize("options", [{}, {"norm_first": True, "bias": True, "activation": "gelu"}])
def test_training_reaches_every_parameter(bayesian_bias, options):
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, **options)
    model = bbb.bayesianize(layer, bayesian_bias=bayesian_bias)
    names = [name for name, m in model.named_modules() if isinstance(m, BayesianLayer)]
    assert names == ["self_attn", "self_attn.out_proj", "linear1", "linear2"]
    model(torch.randn(2, 5, 4)).square().sum().backward()
    assert all(parameter.grad.any() for parameter in model.parameters())
    assert bbb.kl_divergence(model) > 0


def test_predictions_do_not_depend_on_the_chunk_size():
    model = bbb.bayesianize(encoder(), sigma_init=0.1)
    x = torch.randn(2, 5, 4)
    loop, mapped = (
        bbb.predict(model, x, 4, chunk_size=size, generator=torch.Generator().manual_seed(0))
        for size in (None, 2)
    )
    torch.testing.assert_close(loop, mapped)
    assert loop.std(0).min() > 0


def test_bayesian_layer_can_be_stacked():
    layer = bbb.bayesianize(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True))
    model = nn.TransformerEncoder(layer, 2)
    assert torch.isfinite(model(torch.randn(2, 5, 4))).all()
    single = bbb.kl_divergence(layer)
    torch.testing.assert_close(bbb.kl_divergence(model), 2 * single)


def test_whole_transformer_with_a_decoder():
    net = nn.Transformer(4, 2, 1, 1, 8, dropout=0.0, batch_first=True)
    model = bbb.bayesianize(net, sigma_init=0.1)
    source, target = torch.randn(2, 5, 4), torch.randn(2, 3, 4)
    model(source, target).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    net.eval(), model.eval()
    assert torch.equal(model(source, target), net(source, target))
    with bbb.fixed_sample(model, seed=1):
        drawn = model(source, target)
    plain = bbb.sample_deterministic(model, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(drawn, plain(source, target))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("training", [True, False])
def test_compiles_without_graph_breaks(training):
    torch.compiler.reset()
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, dropout=0.0)
    model = bbb.bayesianize(layer).train(training)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 5, 4)
    assert torch.equal(compiled(x), compiled(x)) == (not training)
    if not training:
        torch.testing.assert_close(compiled(x), copy.deepcopy(layer).eval()(x))
