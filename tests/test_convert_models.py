"""Conversion of models as they are found in the wild: blocks, transformers, tied tables."""

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bbb
from bbb.layers import BayesConv2d, BayesEmbedding, BayesianLayer, BayesLinear


class BasicBlock(nn.Module):
    def __init__(self, inp, out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inp, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample = None
        if stride != 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(inp, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + identity)


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.layer1 = nn.Sequential(BasicBlock(4, 4, 1))
        self.layer2 = nn.Sequential(BasicBlock(4, 8, 2))
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        return self.fc(self.layer2(self.layer1(self.conv1(x))).mean((-2, -1)))


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.heads = heads

    def forward(self, x):
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).flatten(2))


class LanguageModel(nn.Module):
    """As libraries of transformers build them: projections apart, output tied to the input."""

    def __init__(self, vocabulary=11, dim=8):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, dim, padding_idx=0)
        self.attention = Attention(dim, 2)
        self.norm = nn.LayerNorm(dim)
        self.lm_head = nn.Linear(dim, vocabulary, bias=False)
        self.lm_head.weight = self.embed.weight

    def forward(self, ids):
        x = self.embed(ids)
        # Some read the dtype of a weight before they call the layer.
        return self.lm_head(self.norm(x + self.attention(x)).to(self.lm_head.weight.dtype))


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 4)
        self.lstm = nn.LSTM(4, 3, 2, bidirectional=True, batch_first=True)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.up = nn.ConvTranspose1d(6, 2, 2, stride=2)

    def forward(self, ids):
        x, _ = self.lstm(self.embed(ids))
        x, _ = self.attention(x, x, x, need_weights=False)
        return self.up(x.transpose(1, 2))


IMAGES = torch.randn(2, 3, 8, 8)
TOKENS = torch.tensor([[1, 5, 2, 5], [3, 4, 0, 0]])
MODELS = pytest.mark.parametrize(
    ("make", "x"), [(ResNet, IMAGES), (LanguageModel, TOKENS), (Tagger, TOKENS)]
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@MODELS
@pytest.mark.parametrize("bayesian_bias", [False, True])
def test_round_trip_is_exact_in_both_modes(make, x, bayesian_bias):
    net = make()
    model = bbb.bayesianize(net, bayesian_bias=bayesian_bias, prior=bbb.priors.Pretrained())
    copy.deepcopy(model)(x).sum().backward()
    plain = bbb.to_deterministic(model)
    assert [type(m) for m in plain.modules()] == [type(m) for m in net.modules()]
    assert list(plain.state_dict()) == list(net.state_dict())
    for training in (True, False):
        for grad in (True, False):
            outputs = []
            for each in (net, model, plain):
                each = copy.deepcopy(each).train(training)  # batch norm changes  # noqa: PLW2901
                with torch.set_grad_enabled(grad), bbb.posterior_mean(each):
                    outputs.append(each(x))
            assert torch.equal(outputs[0], outputs[1])
            assert torch.equal(outputs[0], outputs[2])
    assert torch.equal(model.eval()(x), net.eval()(x))


@MODELS
def test_training_step_reaches_every_parameter(make, x):
    model = bbb.bayesianize(make(), bayesian_bias=True, prior=bbb.priors.ScaleMixture())
    with bbb.record_draws(model) as draws:
        output = model(x)
    kl = bbb.kl_divergence(model, draws=draws)
    (output.square().mean() + kl / 1000).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@MODELS
def test_checkpoints_go_both_ways(make, x):
    net, model = make().eval(), bbb.bayesianize(make()).eval()
    model.load_state_dict(net.state_dict())
    assert torch.equal(model(x), net(x))
    other = make().eval()
    other.load_state_dict(bbb.to_deterministic(model).state_dict())
    assert torch.equal(other(x), net(x))
    again = bbb.bayesianize(make()).eval()
    again.load_state_dict(model.state_dict())
    with bbb.fixed_sample(model, seed=1), bbb.fixed_sample(again, seed=1):
        assert torch.equal(again(x), model(x))


@MODELS
def test_saved_after_a_forward(make, x, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    model = bbb.bayesianize(make())
    model(x).sum()
    stream = io.BytesIO()
    torch.save(model, stream)
    stream.seek(0)
    loaded = torch.load(stream, weights_only=False)
    path = str(tmp_path / "model.safetensors")
    safetensors.save_model(model, path)
    read = bbb.bayesianize(make())
    safetensors.load_model(read, path)
    for other in (copy.deepcopy(model), loaded, read):
        assert bbb.kl_divergence(other) == bbb.kl_divergence(model)
        assert torch.equal(other.eval()(x), model.eval()(x))
        with bbb.fixed_sample(model, seed=1), bbb.fixed_sample(other, seed=1):
            assert torch.equal(other(x), model(x))


@pytest.mark.parametrize("make", [ResNet, Tagger])
def test_state_dict_without_shared_weights_is_a_plain_safetensors_file(make, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    model, other = bbb.bayesianize(make()), bbb.bayesianize(make())
    safetensors.save_file(model.state_dict(), tmp_path / "model.safetensors")
    other.load_state_dict(safetensors.load_file(tmp_path / "model.safetensors"))
    assert bbb.kl_divergence(other) == bbb.kl_divergence(model)


@MODELS
@pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning")  # of nn.LSTM
def test_plain_copy_exports(make, x):
    plain = bbb.to_deterministic(bbb.bayesianize(make())).eval()
    exported = torch.export.export(plain, (x,)).module()
    torch.testing.assert_close(exported(x), plain(x))


@MODELS
def test_half_precision_and_meta_device(make, x):
    model = bbb.bayesianize(make().to(torch.bfloat16))
    output = model(x.bfloat16() if x.is_floating_point() else x)
    assert output.dtype == torch.bfloat16
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert bbb.kl_divergence(model).dtype == torch.float32
    with torch.device("meta"):
        net = make()
    assert {p.device.type for p in bbb.bayesianize(net).parameters()} == {"meta"}


# -- residual blocks ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("layer2.*", ["layer2.0.conv1", "layer2.0.conv2", "layer2.0.downsample.0"]),
        ("*.conv2", ["layer1.0.conv2", "layer2.0.conv2"]),
        ("conv1", ["conv1"]),
        (["fc", "layer1"], ["layer1.0.conv1", "layer1.0.conv2", "fc"]),
        (lambda name, m: "layer" not in name and isinstance(m, nn.Conv2d), ["conv1"]),
    ],
)
def test_selection_in_blocks(layers, expected):
    model = bbb.bayesianize(ResNet(), layers)
    assert [n for n, m in model.named_modules() if isinstance(m, BayesianLayer)] == expected


def test_batch_norm_stays():
    model = bbb.bayesianize(ResNet())
    assert type(model.layer1[0].bn1) is nn.BatchNorm2d
    assert type(model.layer1[0].conv1) is BayesConv2d
    model(IMAGES)
    assert model.layer1[0].bn1.num_batches_tracked == 1


# -- tied tables --------------------------------------------------------------------------------


def test_tied_table_is_shared_and_counts_once():
    model = bbb.bayesianize(LanguageModel())
    assert type(model.embed) is BayesEmbedding
    assert type(model.lm_head) is BayesLinear
    assert model.embed.weight_mu is model.lm_head.weight_mu
    assert model.embed.weight_rho is model.lm_head.weight_rho
    # The padding row is a weight of the output layer.
    expected = bbb.kl_divergence(model.attention) + bbb.kl_divergence(model.lm_head)
    torch.testing.assert_close(bbb.kl_divergence(model), expected)
    assert bbb.kl_divergence(model.embed) < bbb.kl_divergence(model.lm_head)
    plain = bbb.to_deterministic(model)
    assert plain.embed.weight is plain.lm_head.weight


def test_tied_layers_draw_their_own_noise_unless_it_is_fixed():
    model = bbb.bayesianize(LanguageModel(), ["embed", "lm_head"], sigma_init=0.3)
    ids, identity = torch.arange(1, 11), torch.eye(8)
    assert not torch.allclose(model.embed(ids[None])[0], model.lm_head(identity).T[1:])
    for prior in (bbb.priors.Normal(), bbb.priors.ScaleMixture()):
        model = bbb.bayesianize(LanguageModel(), prior=prior, sigma_init=0.3)
        generator = torch.Generator().manual_seed(0)
        tables = []
        for _ in range(2):  # two steps of training
            with bbb.fixed_sample(model, generator=generator), bbb.record_draws(model) as draws:
                tables.append(model.embed(ids[None])[0])
                torch.testing.assert_close(tables[-1], model.lm_head(identity).T[1:])
                loss = model(TOKENS).square().mean()
            (loss + bbb.kl_divergence(model, draws=draws)).backward()
        assert not torch.allclose(*tables)
        assert model.lm_head.weight_rho.grad[1:].all()


def test_prediction_sees_one_tied_table():
    model = bbb.bayesianize(LanguageModel(), sigma_init=0.3)
    outputs = bbb.predict(model, TOKENS, 2, generator=torch.Generator().manual_seed(0))
    plain = bbb.sample_deterministic(model, generator=torch.Generator().manual_seed(0))
    assert plain.embed.weight is plain.lm_head.weight
    # At a padded place the plain copy shows a row that is random for its output layer.
    torch.testing.assert_close(outputs[0][0], plain(TOKENS)[0])
    torch.testing.assert_close(outputs[0][1, :2], plain(TOKENS)[1, :2])
