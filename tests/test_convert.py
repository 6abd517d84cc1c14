import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import bbb
from bbb.errors import ConfigError, UnsupportedLayerError
from bbb.layers import BAYESIAN, BayesConv1d, BayesLinear


class Block(nn.Module):
    def __init__(self, inp, out):
        super().__init__()
        self.conv = nn.Conv1d(inp, out, 3, padding=1)
        self.norm = nn.BatchNorm1d(out)

    def forward(self, x):
        return torch.relu(self.norm(self.conv(x)))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.frame1 = Block(4, 6)
        self.frame2 = Block(6, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.frame2(self.frame1(x)).mean(-1))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


def bayesian_names(model):
    return [name for name, m in model.named_modules() if isinstance(m, bbb.layers.BayesianLayer)]


# -- what is selected ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (None, ["frame1.conv", "frame2.conv", "head"]),
        ("*", ["frame1.conv", "frame2.conv", "head"]),
        ("frame1", ["frame1.conv"]),
        ("frame1.*", ["frame1.conv"]),
        (["frame1.*", "head"], ["frame1.conv", "head"]),
        ("frame?.conv", ["frame1.conv", "frame2.conv"]),
        (nn.Linear, ["head"]),
        ([nn.Conv1d], ["frame1.conv", "frame2.conv"]),
        (Block, ["frame1.conv", "frame2.conv"]),
        ((nn.Linear, "frame2"), ["frame2.conv", "head"]),
        (lambda name, _: name != "head", ["frame1.conv", "frame2.conv"]),
        (lambda _, module: isinstance(module, nn.Linear), ["head"]),
        (iter(["head", "head"]), ["head"]),
    ],
)
def test_selection(net, layers, expected):
    assert bayesian_names(bbb.bayesianize(net, layers)) == expected
    assert bayesian_names(net) == []


def test_selection_by_module(net):
    assert bayesian_names(bbb.bayesianize(net, layers=net.head)) == ["head"]
    assert bayesian_names(bbb.bayesianize(net, layers=[net.frame2])) == ["frame2.conv"]


def test_selection_by_subclass_is_exact(net):
    class Special(nn.Linear):
        pass

    net.head = Special(6, 3)
    assert "head" not in bayesian_names(bbb.bayesianize(net))
    with pytest.raises(UnsupportedLayerError, match="got Special"):
        bbb.bayesianize(net, "head")


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("fram1", "layers: 'fram1' matches nothing in the model; did you mean one of 'frame"),
        (["head", "frame9.*"], "layers: 'frame9.\\*' matches nothing"),
        (nn.LSTM, "layers: LSTM matches nothing in the model; did you mean one of 'BatchNorm1d'"),
        (nn.Linear(1, 1), "layers: Linear matches nothing"),
        ([], "layers needs at least one name, type or module, got none"),
        (
            lambda *_: False,
            "layers needs a predicate that accepts a supported layer, got one that accepts none",
        ),
    ],
)
def test_selector_without_a_hit_is_an_error(net, layers, message):
    with pytest.raises(ConfigError, match=message):
        bbb.bayesianize(net, layers)


@pytest.mark.parametrize(
    "layers", ["frame1.norm", "*.norm", nn.BatchNorm1d, ["head", "frame1.norm"]]
)
def test_selector_of_unsupported_layers_is_an_error(net, layers):
    with pytest.raises(
        UnsupportedLayerError, match=r"twin \(Conv1d, .*, RNN; not a subclass\), got BatchNorm1d;"
    ):
        bbb.bayesianize(net, layers)


def test_model_without_a_supported_layer_is_an_error():
    with pytest.raises(
        UnsupportedLayerError, match="bayesianize needs a layer with a Bayesian twin"
    ):
        bbb.bayesianize(nn.Sequential(nn.ReLU()))


def test_bayesian_already_is_an_error_that_says_so(net):
    model = bbb.bayesianize(net, "head")
    with pytest.raises(UnsupportedLayerError, match="BayesLinear, which is Bayesian already"):
        bbb.bayesianize(model, "head")
    assert len(bayesian_names(bbb.bayesianize(model))) == 3  # the rest may follow later


def test_computed_weights_are_left_or_refused(net):
    net.head = nn.utils.parametrizations.weight_norm(net.head)
    prune.identity(net.frame1.conv, "weight")
    with pytest.raises(UnsupportedLayerError, match=r"got Conv1d \(its weight is not a plain"):
        bbb.bayesianize_(net, "frame1.conv")
    assert bayesian_names(bbb.bayesianize_(net)) == ["frame2.conv"]


def test_computed_bias_is_refused_where_it_would_get_a_posterior(net):
    prune.identity(net.head, "bias")
    with pytest.raises(ConfigError, match=r"BayesLinear cannot have .* its bias is not a plain"):
        bbb.bayesianize_(net, bayesian_bias=True)
    assert bayesian_names(net) == []
    assert "head" in bayesian_names(bbb.bayesianize_(net))


# -- what is kept -------------------------------------------------------------------------------


def test_old_weights_are_the_means_and_the_original_is_left_alone(net):
    before = copy.deepcopy(net.state_dict())
    model = bbb.bayesianize(net, sigma_init=0.05)
    assert torch.equal(model.head.weight_mu, net.head.weight)
    assert model.head.weight_mu is not net.head.weight
    torch.testing.assert_close(model.head.posterior().sigma, torch.full((3, 6), 0.05))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key])


def test_prior_does_not_move_with_the_mean(net):
    """In a peer, mean, prior mean and the source layer share one storage."""
    model = bbb.bayesianize(net, prior=bbb.priors.Pretrained(0.1))
    before = bbb.kl_divergence(model).item()
    with torch.no_grad():
        model.head.weight_mu.add_(1.0)
    expected = before + model.head.weight_mu.numel() / (2 * 0.1**2)
    assert bbb.kl_divergence(model).item() == pytest.approx(expected, rel=1e-5)


def test_options_reach_the_layers(net):
    model = bbb.bayesianize(
        net,
        prior=bbb.priors.Normal(0.0, 0.3),
        estimator="flipout",
        bayesian_bias=True,
        tie_sigma=True,
    )
    assert model.head.options == bbb.layers.LayerOptions(
        prior=bbb.priors.Normal(0.0, 0.3), estimator="flipout", bayesian_bias=True, tie_sigma=True
    )
    assert model.frame1.conv.weight_rho.shape == (1, 4, 3)
    assert model.frame1.conv.bias_rho.shape == (6,)


def test_every_option_of_the_twin_is_kept():
    conv = nn.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2, padding_mode="circular")
    x = torch.randn(2, 4, 20)
    model = bbb.bayesianize(conv)
    assert type(model) is BayesConv1d
    assert torch.equal(model.eval()(x), conv(x))


def test_bare_layer(net):
    model = bbb.bayesianize(net.head)
    assert type(model) is BayesLinear
    assert type(net.head) is nn.Linear
    assert bbb.bayesianize_(net.head) is net.head
    assert type(net.head) is BayesLinear


def test_in_place_keeps_identities(net):
    conv, weight = net.frame1.conv, net.frame1.conv.weight
    assert bbb.bayesianize_(net, "frame1") is net
    assert net.frame1.conv is conv
    assert conv.weight_mu is weight  # an optimiser that holds it goes on
    assert bayesian_names(net) == ["frame1.conv"]


def test_dtype_training_flag_and_requires_grad_are_kept(net):
    net.double()
    net.frame1.conv.eval()
    net.head.weight.requires_grad_(False)
    net.head.bias.requires_grad_(False)
    model = bbb.bayesianize(net)
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert not model.frame1.conv.training
    assert model.frame2.conv.training
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen == ["head.weight_mu", "head.weight_rho", "head.bias"]


def test_meta_device_is_kept():
    with torch.device("meta"):
        net = nn.Linear(3, 2)
    assert bbb.bayesianize(net).weight_rho.device.type == "meta"


def test_hooks_and_attributes_are_kept(net):
    calls = []
    net.head.register_forward_hook(lambda *_: calls.append("after"))
    handle = net.head.register_forward_pre_hook(lambda *_: calls.append("before"))
    net.head.note = "mine"
    bbb.bayesianize_(net)
    x = torch.randn(2, 4, 9)
    net(x)
    handle.remove()
    net(x)
    assert calls == ["before", "after", "after"]
    assert net.head.note == "mine"


def test_shared_module_stays_shared_and_counts_once():
    shared = nn.Linear(4, 4)
    net = nn.Sequential(shared, nn.ReLU(), shared)
    for model in (bbb.bayesianize(net), bbb.bayesianize(net, "2")):
        assert model[0] is model[2]
        assert len(list(model.parameters())) == 3
        assert bbb.kl_divergence(model) == bbb.kl_divergence(model[0])
        plain = bbb.to_deterministic(model)
        assert plain[0] is plain[2]


def test_shared_weight_stays_shared_and_counts_once():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    model = bbb.bayesianize(net)
    assert model[0].weight_mu is model[1].weight_mu
    assert model[0].weight_rho is model[1].weight_rho
    assert bbb.kl_divergence(model) == bbb.kl_divergence(model[0])
    for plain in (bbb.to_deterministic(model), bbb.sample_deterministic(model)):
        assert plain[0].weight is plain[1].weight
    with bbb.fixed_sample(model):
        first, second = (layer(torch.eye(4)) - layer.bias for layer in model)
        torch.testing.assert_close(first, second)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.out = nn.Linear(3, 5, bias=False)
        self.out.weight = self.embed.weight


def test_weight_shared_with_a_layer_that_stays_plain():
    model = bbb.bayesianize(Tied(), "out")
    assert model.out.weight_mu is model.embed.weight


@pytest.mark.parametrize("convert", [bbb.bayesianize, bbb.bayesianize_])
def test_weight_shared_with_a_bayesian_layer_is_refused(convert):
    """It would get a second sigma, which no KL divergence holds."""
    model = bbb.bayesianize(Tied(), "embed")
    for layers in (None, "out"):
        with pytest.raises(ConfigError, match="shares a weight with a layer that is Bayesian"):
            convert(model, layers)
    assert type(model.out) is nn.Linear


def test_conversion_draws_no_random_numbers(net):
    state = torch.get_rng_state()
    bbb.bayesianize(net)
    assert torch.equal(torch.get_rng_state(), state)


def test_registry_is_by_type():
    assert BAYESIAN[nn.Linear] is BayesLinear
    assert {f"Bayes{plain.__name__}" for plain in BAYESIAN} == {
        layer.__name__ for layer in BAYESIAN.values()
    }
    doors = {name for name in bbb.layers.__all__ if name.startswith("Bayes")} - {"BayesianLayer"}
    assert doors == {layer.__name__ for layer in BAYESIAN.values()}


# -- and back -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bayesian_bias", [False, True])
def test_round_trip_is_exact(net, bayesian_bias):
    x = torch.randn(2, 4, 9)
    model = bbb.bayesianize(net, prior=bbb.priors.Pretrained(), bayesian_bias=bayesian_bias)
    model(x)
    plain = bbb.to_deterministic(model)
    assert [type(m) for m in plain.modules()] == [type(m) for m in net.modules()]
    assert list(plain.state_dict()) == list(net.state_dict())
    assert vars(plain.head).keys() == vars(net.head).keys()
    assert torch.equal(plain.eval()(x), model.eval()(x))
    assert plain.head.weight is not model.head.weight_mu
    assert bayesian_names(model) == ["frame1.conv", "frame2.conv", "head"]
    again = bbb.bayesianize(plain)
    assert torch.equal(again.eval()(x), plain(x))


def test_sample_is_the_draw_of_the_generator(net):
    model = bbb.bayesianize(net, sigma_init=0.1, bayesian_bias=True).eval()
    x = torch.randn(2, 4, 9)
    first = bbb.sample_deterministic(model, generator=torch.Generator().manual_seed(7))
    second = bbb.sample_deterministic(model, generator=torch.Generator().manual_seed(7))
    assert torch.equal(first(x), second(x))
    assert not torch.equal(first(x), model(x))
    assert type(first.head) is nn.Linear
    with bbb.fixed_sample(model, seed=7):
        assert torch.equal(model(x), first(x))


def test_back_needs_a_bayesian_model(net):
    for back in (bbb.to_deterministic, bbb.sample_deterministic):
        with pytest.raises(
            ConfigError, match=f"{back.__name__} needs a model with a Bayesian layer"
        ):
            back(net)


def test_plain_model_exports(net):
    model = bbb.bayesianize(net)
    x = torch.randn(2, 4, 9)
    plain = bbb.to_deterministic(model).eval()
    exported = torch.export.export(plain, (x,))
    torch.testing.assert_close(exported.module()(x), model.eval()(x))
