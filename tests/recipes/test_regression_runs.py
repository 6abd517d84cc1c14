"""The regression recipe's options, runs and tables, and what they reach."""

import json

import pytest

import bbb
from bbb.errors import ConfigError, DataError
from recipes.common.options import read_options
from recipes.regression import summary
from recipes.regression.curve_tasks import TASKS
from recipes.regression.curves import draw, fit_bands, measure
from recipes.regression.options import CurveOptions, SetOptions, parse_prior
from tests.recipes.test_recipes import run


class TestOptions:
    def test_files_and_flags(self, tmp_path):
        file = tmp_path / "a.yaml"
        file.write_text("seeds: [4, 5]\nlr: 0.5\n")
        options = read_options(CurveOptions, ["--config", str(file), "--lr", "0.25"], "")
        assert (options.seeds, options.lr, options.steps) == ([4, 5], 0.25, 1000)

    def test_wrong_numbers(self):
        with pytest.raises(ConfigError, match="steps has to be >= 1, got 0"):
            SetOptions(steps=0)
        with pytest.raises(ConfigError, match="members has to be >= 1, got 0"):
            SetOptions(members=0)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"nets": 1}, "nets has to be >= 2, got 1"),
            ({"num_samples": 1}, "num_samples has to be >= 2, got 1"),
            ({"num_train": 1}, "num_train has to be >= 2, got 1"),
            ({"seeds": [0, 0]}, r"seeds needs one or more, and each once, got \[0, 0\]"),
            ({"lr": -1.0}, r"lr has to be > 0, got -1\.0"),
            ({"penalty": -1.0}, r"penalty has to be >= 0, got -1\.0"),
            ({"decay": -1.0}, r"decay has to be >= 0, got -1\.0"),
        ],
    )
    def test_what_has_no_spread_is_refused(self, changes, message):
        with pytest.raises(ConfigError, match=message):
            CurveOptions(**changes)

    def test_priors(self):
        assert parse_prior("normal:0.5") == bbb.priors.Normal(0, 0.5)
        assert parse_prior("mixture:0.5:1:0.1") == bbb.priors.ScaleMixture(0.5, 1, 0.1)
        for text in ("normal", "normal:a", "mixture:1", "gauss:1"):
            with pytest.raises(ConfigError, match="a prior is normal:SCALE or mixture:"):
                parse_prior(text)


def test_summary_without_results(tmp_path):
    with pytest.raises(DataError, match=r"no .*plain\.json; run the earlier stages first"):
        summary.main(["--exp-dir", str(tmp_path)])


def test_summary_of_a_part(tmp_path):
    (tmp_path / "wine").mkdir()
    for method in summary.METHODS:
        text = json.dumps({"ll": [1.0, 2.0, 4.0], "rmse": [3.0, 2.0, 1.0], "overlap": 0.1})
        (tmp_path / "wine" / f"{method}.json").write_text(text)
    summary.main(["--exp-dir", str(tmp_path), "--sets", "wine", "--splits", "20"])
    text = (tmp_path / "RESULTS.md").read_text()
    assert "Test part, 3 random splits;" in text
    assert "curve" not in text


def test_run_sh(tmp_path):
    first = run("regression", "--smoke", "--exp-dir", "exp", folder=tmp_path)
    assert first.returncode == 0, first.stderr
    exp = tmp_path / "exp"
    results = json.loads((exp / "results.json").read_text())
    assert set(results) == {"curve", "gap", "sets"}
    assert [row["method"] for row in results["sets"]] == list(summary.METHODS)
    for row in results["sets"]:
        mean, low, high = row["ll"]
        assert low <= mean <= high
    assert f"{results['sets'][0]['ll'][0]:.3f}" in (exp / "RESULTS.md").read_text()
    for name in ("curve", "gap"):
        assert (exp / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    words = ("--stage", "3", "--stop-stage", "3")
    second = run("regression", "--smoke", "--exp-dir", "exp", *words, folder=tmp_path)
    assert second.returncode == 0, second.stderr
    assert second.stdout.count("done already") == 5


# -- quality --------------------------------------------------------------------------------


@pytest.mark.slow
def test_spread_grows_away_from_the_data(tmp_path):
    options = CurveOptions(
        exp_dir=tmp_path, hidden=[50], steps=400, lr=0.02, nets=5, seeds=[0], num_samples=100
    )
    task = TASKS["curve"]
    found = measure(task, fit_bands(task, [draw(task, 100, 0)], options))
    assert found["bbb"]["ratio outside"][0] > 3
    assert found["gp"]["ratio outside"][0] > 3
    assert found["bbb"]["iqr outside"][0] > 2 * found["plain"]["iqr outside"][0]
