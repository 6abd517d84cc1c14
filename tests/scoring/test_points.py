"""Operating points: text, thresholds, presets, and means over several points."""

import math

import numpy as np
import pytest

from bbb.errors import ConfigError
from bbb.scoring import (
    PRESETS,
    Metric,
    OperatingPoint,
    act_dcf,
    bootstrap_ci,
    compare,
    evaluate,
    min_dcf,
    paired_bootstrap,
    preset_points,
)

LABELS = np.arange(400) % 5 == 0
SCORES = np.random.default_rng(0).normal(2.0 * LABELS)


@pytest.mark.parametrize("text", ["0.01", "0.005", "0.01:10:1", "0.5:1:0.25"])
def test_text_and_back(text: str) -> None:
    assert str(OperatingPoint.of(text)) == text
    assert OperatingPoint.of(OperatingPoint.of(text)) == OperatingPoint.of(text)


def test_costs_that_priors_share() -> None:
    assert OperatingPoint.of(0.1, 2.0, 3.0) == OperatingPoint(0.1, 2.0, 3.0)
    assert OperatingPoint.of("0.1:1:1", 2.0, 3.0) == OperatingPoint(0.1)


def test_threshold() -> None:
    assert OperatingPoint(0.5).threshold == 0.0
    assert OperatingPoint(0.01).threshold == pytest.approx(math.log(99))
    assert OperatingPoint(0.01, 10.0, 1.0).threshold == pytest.approx(math.log(9.9))


@pytest.mark.parametrize("text", ["", "a", "0.1:2", "0.1:1:1:1", "0.1:x:1"])
def test_other_text(text: str) -> None:
    with pytest.raises(ConfigError, match=f"or p_target:c_miss:c_fa, got '{text}'"):
        OperatingPoint.of(text)


@pytest.mark.parametrize("text", ["1.5", "0", "nan", "0.1:0:1", "0.1:1:inf"])
def test_out_of_range(text: str) -> None:
    with pytest.raises(ConfigError, match=r"p_target needs a probability|positive finite costs"):
        OperatingPoint.of(text)


def test_presets_are_those_of_the_evaluations() -> None:
    assert {name: list(map(str, points)) for name, points in PRESETS.items()} == {
        "voxceleb": ["0.01"],
        "sre08": ["0.01:10:1"],
        "sre10": ["0.001"],
        "sre16": ["0.01", "0.005"],
        "sre18": ["0.01", "0.005"],
    }
    with pytest.raises(ConfigError, match=r"preset needs one of voxceleb, .*, got 'sre'"):
        preset_points("sre")
    with pytest.raises(ConfigError, match="preset needs one of"):
        Metric(name="min_dcf", preset="sre")


def test_figures_of_a_preset() -> None:
    report = evaluate(SCORES, LABELS, preset="sre16", num_resamples=30)
    for name, function in (("min_dcf", min_dcf), ("act_dcf", act_dcf)):
        costs = [function(SCORES, LABELS, p) for p in (0.01, 0.005)]
        assert report[name] == dict(zip(("0.01", "0.005"), costs, strict=True))
        assert report[f"{name}_mean"] == np.mean(costs)
        assert len(report[f"{name}_mean_ci"]) == 2
    assert "min_dcf_mean" not in evaluate(SCORES, LABELS, preset="sre08")
    metric = Metric(name="min_dcf", preset="sre16")
    assert metric(SCORES, LABELS) == report["min_dcf_mean"]
    interval = bootstrap_ci(SCORES, LABELS, metric, num_resamples=30)
    assert [interval.low, interval.high] == report["min_dcf_mean_ci"]


def test_equal_names_of_points_are_refused() -> None:
    assert list(evaluate(SCORES, LABELS, [0.01, 0.01])["min_dcf"]) == ["0.01"]
    with pytest.raises(ConfigError, match=r"distinct names, got '0\.01' twice"):
        evaluate(SCORES, LABELS, [0.01, "0.01:1:1"], c_miss=10.0)


def test_comparison_of_all_figures() -> None:
    other = SCORES + np.random.default_rng(1).normal(size=400)
    found = compare(SCORES, other, LABELS, [0.05], num_resamples=40, seed=3)
    assert list(found) == ["eer", "min_dcf", "act_dcf", "cllr", "min_cllr", "bootstrap"]
    metric = Metric(name="min_dcf", p_target=0.05)
    alone = paired_bootstrap(SCORES, other, LABELS, metric, num_resamples=40, seed=3)
    assert found["min_dcf"]["0.05"] == vars(alone)
    assert found["bootstrap"]["unit"] == "trial"
