"""The report of all figures."""

import json

import numpy as np
import pytest

from bbb.errors import ConfigError, DataError
from bbb.scoring import act_dcf, cllr, equal_error_rate, evaluate, min_cllr, min_dcf

LABELS = np.arange(600) % 6 == 0
SCORES = np.random.default_rng(0).normal(2.0 * LABELS)


def test_every_figure_is_that_of_its_function() -> None:
    report = evaluate(SCORES, LABELS, [0.01, 1e-3], c_miss=10.0)
    assert list(report) == [
        "num_target",
        "num_nontarget",
        "eer",
        "min_dcf",
        "act_dcf",
        "cllr",
        "min_cllr",
    ]
    assert (report["num_target"], report["num_nontarget"]) == (100, 500)
    assert report["eer"] == equal_error_rate(SCORES, LABELS)
    assert report["min_dcf"] == {
        "0.01": min_dcf(SCORES, LABELS, 0.01, 10.0),
        "0.001": min_dcf(SCORES, LABELS, 0.001, 10.0),
    }
    assert report["act_dcf"]["0.001"] == act_dcf(SCORES, LABELS, 0.001, 10.0)
    assert report["cllr"] == cllr(SCORES, LABELS)
    assert report["min_cllr"] == min_cllr(SCORES, LABELS)


@pytest.mark.parametrize("unit", ["trial", "speaker"])
def test_intervals(unit: str) -> None:
    speakers = (np.arange(600) % 20, np.arange(600) // 20 % 20) if unit == "speaker" else None
    done: list[int] = []
    report = evaluate(
        SCORES, LABELS, num_resamples=100, speakers=speakers, seed=4, progress=done.append
    )
    assert sum(done) == 100
    assert report["bootstrap"] == {
        "unit": unit,
        "num_resamples": 100,
        "confidence": 0.95,
        "seed": 4,
    }
    for name in ("eer", "cllr", "min_cllr"):
        low, high = report[f"{name}_ci"]
        assert low < report[name] < high or name == "min_cllr"
    for name in ("min_dcf", "act_dcf"):
        assert list(report[f"{name}_ci"]) == ["0.01", "0.001"]
    assert json.loads(json.dumps(report)) == report


def test_errors() -> None:
    with pytest.raises(ConfigError, match="p_target needs a probability"):
        evaluate(SCORES, LABELS, [1.5])
    with pytest.raises(DataError, match="no target trial"):
        evaluate(SCORES, np.zeros(600, dtype=bool))
