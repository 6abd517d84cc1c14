"""Pruning: the ratio, what goes, the report and the picture."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from torch import nn

import bbb
from bbb import layers
from bbb.errors import ConfigError, NumericsError
from bbb.prune import plot_signal_to_noise, snr_db


def make(**bayes):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))
    model = bbb.bayesianize(net, **{"sigma_init": 0.1, **bayes})
    with torch.no_grad():
        for layer, name in layers.posteriors(layers.bayesian_layers(model, "test")):
            rho = layer.posterior(name).rho
            rho.add_(0.3 * torch.randn_like(rho))
    return model


def shared():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    return bbb.bayesianize(net, sigma_init=0.1)


# -- the ratio ------------------------------------------------------------------------------


def test_ratio_is_mean_over_sigma():
    model = make(bayesian_bias=True, tie_sigma=True)
    ratios = bbb.signal_to_noise(model)
    assert list(ratios) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    for name, ratio in ratios.items():
        mu, rho = (model.get_parameter(f"{name}_{part}") for part in ("mu", "rho"))
        torch.testing.assert_close(ratio, mu.abs() / nn.functional.softplus(rho).expand_as(mu))
        assert not ratio.requires_grad
    assert list(bbb.signal_to_noise(model[0])) == ["weight", "bias"]


def test_ratio_of_a_shared_weight_appears_once():
    assert list(bbb.signal_to_noise(shared())) == ["0.weight"]


def test_ratio_in_half_precision_is_computed_in_float32():
    model = make()
    exact = bbb.signal_to_noise(model)["0.weight"]
    ratio = bbb.signal_to_noise(model.bfloat16())["0.weight"]
    assert ratio.dtype == torch.float32
    torch.testing.assert_close(ratio, exact, rtol=0.05, atol=0)


def test_ratio_is_defined_where_sigma_or_mean_vanish():
    layer = layers.BayesLinear(4, 1)
    with torch.no_grad():
        layer.weight_mu.copy_(torch.tensor([[0.0, 0.0, 1.0, 1.0]]))
        layer.weight_rho.copy_(torch.tensor([[-3.0, -200.0, -200.0, 100.0]]))
    assert bbb.signal_to_noise(layer)["weight"].tolist() == [
        [0.0, 0.0, math.inf, pytest.approx(0.01)]
    ]


def test_decibels_are_of_amplitudes():
    assert snr_db(torch.tensor([0.1, 1.0, 10.0])).tolist() == pytest.approx([-20.0, 0.0, 20.0])


# -- what goes ------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_the_lowest_ratios_go(scope):
    model = make()
    ratios = bbb.signal_to_noise(model)
    report = bbb.prune(model, fraction=0.6, scope=scope)
    groups = [["0.weight", "2.weight"]] if scope == "global" else [["0.weight"], ["2.weight"]]
    for group in groups:
        flat = torch.cat([ratios[name].flatten() for name in group])
        kept = torch.cat([model.get_buffer(f"{name}_mask").flatten() for name in group])
        assert (~kept).sum() == round(0.6 * len(flat))
        assert flat[~kept].max() < flat[kept].min()
        for row in report.layers:
            if row.name in group:
                assert row.threshold == pytest.approx(flat[kept].min().item())
                assert row.kept == model.get_buffer(f"{row.name}_mask").sum()


@settings(max_examples=25, deadline=None)
@given(
    fraction=st.floats(0.0, 1.0),
    seed=st.integers(0, 1000),
    levels=st.integers(1, 4),
    scope=st.sampled_from(["global", "layer"]),
)
def test_exactly_the_share_goes_whatever_the_ties(fraction, seed, levels, scope):
    model = make()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in (model[0], model[2]):
            values = torch.randint(0, levels, layer.weight_mu.shape, generator=generator)
            layer.weight_mu.copy_(values)
            layer.weight_rho.fill_(-1.0)
    again = copy.deepcopy(model)
    report = bbb.prune(model, fraction=fraction, scope=scope)
    sizes = [50] if scope == "global" else [30, 20]
    gone = report.total.weights - report.total.kept
    assert gone == sum(round(fraction * n) for n in sizes)
    assert bbb.prune(again, fraction=fraction, scope=scope) == report
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)


def test_of_equal_ratios_the_first_go():
    layer = layers.BayesLinear(2, 3)
    nn.init.ones_(layer.weight_mu)
    bbb.prune(layer, fraction=0.5)
    assert layer.weight_mask.flatten().tolist() == [False, False, False, True, True, True]


def test_threshold_is_a_ratio():
    model = make()
    ratios = bbb.signal_to_noise(model)
    report = bbb.prune(model, threshold=2.0)
    for row in report.layers:
        assert torch.equal(model.get_buffer(f"{row.name}_mask"), ratios[row.name] >= 2.0)
        assert row.threshold == 2.0
    assert 0 < report.total.kept < 50


def test_pruned_weights_stay_pruned_and_count():
    model = make()
    bbb.prune(model, fraction=0.5)
    first = model[0].weight_mask.clone()
    assert (bbb.signal_to_noise(model)["0.weight"][~first] == 0).all()
    with torch.no_grad():
        for layer in (model[0], model[2]):  # unpruned weights that tie with the pruned ones
            layer.weight_mu[layer.weight_mask] = 0.0
    for fraction, kept in ((0.3, 25), (0.5, 25), (0.7, 15), (0.2, 15)):
        assert bbb.prune(model, fraction=fraction).total.kept == kept
    assert not (model[0].weight_mask & ~first).any()
    assert bbb.prune(model, threshold=0.0).total.kept == 15


def test_nothing_and_everything():
    model = make()
    report = bbb.prune(model, fraction=0.0)
    assert report.total.kept == 50
    assert not any("mask" in key for key in model.state_dict())  # and hence no cost
    report = bbb.prune(model, fraction=1.0)
    assert (report.total.kept, report.total.threshold) == (0, math.inf)
    x = torch.randn(3, 6)
    assert torch.equal(model(x), model[2].bias.expand(3, 4))
    assert bbb.kl_divergence(model) == 0


def test_report_is_a_table():
    model = make()
    report = bbb.prune(model, fraction=0.75, scope="layer")
    first, second = report.layers
    assert (first.name, first.weights, first.kept) == ("0.weight", 30, 8)
    assert (second.name, second.weights, second.kept) == ("2.weight", 20, 5)
    assert second.share == 0.25
    assert (report.total.weights, report.total.kept) == (50, 13)
    lines = str(report).splitlines()
    assert lines[0].split() == ["weight", "weights", "kept", "share", "threshold"]
    assert lines[2].split() == ["2.weight", "20", "5", "25.00%", f"{second.threshold:.4g}"]
    assert lines[3].split()[:4] == ["total", "50", "13", "26.00%"]
    assert len({len(line) for line in lines}) == 1


def test_module_and_function_have_one_name():
    import bbb.prune  # noqa: PLC0415

    model = make()
    assert bbb.prune(model, fraction=0.5).total.kept == 25


# -- picture and errors ---------------------------------------------------------------------


def test_plot_shows_density_share_and_cut(tmp_path):
    model = make()
    path = tmp_path / "new" / "snr.png"
    plot_signal_to_noise(model, path, fraction=0.75)
    assert path.stat().st_size > 2000
    axes = Figure().add_subplot()
    plot_signal_to_noise(model, axes, fraction=0.5, bins=10)
    ratios = torch.cat([ratio.flatten() for ratio in bbb.signal_to_noise(model).values()])
    level = np.sort(20 * np.log10(ratios.numpy().astype(float)))
    share, cut = axes.lines
    np.testing.assert_allclose(share.get_ydata()[[0, -1]], [0.0, 1.0])
    np.testing.assert_allclose(share.get_xdata()[[0, -1]], level[[0, -1]], rtol=1e-5)
    assert cut.get_xdata()[0] == pytest.approx(level[24], rel=1e-5)
    bbb.prune(model, fraction=0.5)
    left = Figure().add_subplot()
    plot_signal_to_noise(model, left)
    assert left.lines[0].get_xdata()[0] == pytest.approx(level[25], rel=1e-5)


def test_plot_says_what_is_missing(tmp_path, monkeypatch):
    model = make()
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs matplotlib.*pip install 'bayes"):
        plot_signal_to_noise(model, tmp_path / "snr.png")
    with pytest.raises(ConfigError, match=r"needs a path ending in \.png, \.pdf, \.svg, got"):
        plot_signal_to_noise(model, tmp_path / "snr.jpeg")
    with pytest.raises(ConfigError, match="needs bins >= 1, got 0"):
        plot_signal_to_noise(model, tmp_path / "snr.png", bins=0)
    bbb.prune(model, fraction=1.0)
    with pytest.raises(ConfigError, match="needs a weight with mu != 0"):
        plot_signal_to_noise(model, tmp_path / "snr.png")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs either fraction or threshold, got None and None"),
        ({"fraction": 0.5, "threshold": 1.0}, "needs either fraction or threshold, got 0.5 and"),
        ({"fraction": 75}, r"needs a fraction in \[0, 1\], got 75"),
        ({"fraction": math.nan}, r"needs a fraction in \[0, 1\], got nan"),
        ({"threshold": -1.0}, "needs a finite threshold >= 0, got -1.0; it is .* not dB"),
        ({"fraction": 0.5, "scope": "model"}, "needs the scope 'global' or 'layer', got 'model'"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ConfigError, match=message):
        bbb.prune(make(), **options)


def test_models_are_checked():
    with pytest.raises(ConfigError, match="prune needs a model with a Bayesian layer"):
        bbb.prune(nn.Linear(2, 2), fraction=0.5)
    with pytest.raises(ConfigError, match="signal_to_noise needs a model with a Bayesian layer"):
        bbb.signal_to_noise(nn.Linear(2, 2))
    layer = layers.BayesLinear(2, 2)
    nn.init.constant_(layer.weight_mu, math.nan)
    with pytest.raises(NumericsError, match="needs numbers, got NaN in weight of BayesLinear"):
        bbb.prune(layer, fraction=0.5)
