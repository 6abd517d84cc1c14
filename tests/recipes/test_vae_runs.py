"""The VAE recipe's runs: killed and resumed, refused, reported, and what they reach."""

import json
from contextlib import contextmanager

import pytest
import torch
from matplotlib.figure import Figure

from bbb.errors import ConfigError, DataError
from recipes.common.options import read_options
from recipes.vae import figures, fit, report
from recipes.vae.fit import Run
from recipes.vae.settings import Options, Settings
from tests.recipes.test_recipes import RECIPES, kill_once_there, run
from tests.recipes.test_vae import tiny

# -- runs -----------------------------------------------------------------------------------


def result(folder):
    """What a run wrote, without the time that it took."""
    found = json.loads((folder / "run.json").read_text())
    found.pop("cpu_seconds")
    return found


def same_checkpoint(one, other):
    one, other = (torch.load(f / "checkpoint.pt", weights_only=True) for f in (one, other))
    for key, value in one["modules"].items():
        assert torch.equal(value, other["modules"][key]), key
    assert torch.equal(one["generator"], other["generator"])
    for index, state in one["optimizer"]["state"].items():
        for key, value in state.items():
            assert torch.equal(value, other["optimizer"]["state"][index][key])


class TestResuming:
    @pytest.mark.parametrize(
        "spec", ["rloo-2", "ema", "nvil", "gumbel-anneal", "rebar", "relax", "vimco-3"]
    )
    def test_is_bitwise(self, spec, digits, tmp_path):
        whole = Run(tiny(), spec, 0, digits, tmp_path / "whole")
        whole.fit(lambda _: None)
        killed = Run(tiny(), spec, 0, digits, tmp_path / "killed")
        count = killed.after_step

        def until_17(loss):
            count(loss)
            if killed.step == 17:
                raise KeyboardInterrupt

        killed.after_step = until_17
        with pytest.raises(KeyboardInterrupt):
            killed.fit(lambda _: None)
        again = Run(tiny(), spec, 0, digits, tmp_path / "killed")
        again.load()
        assert again.step == 10
        again.fit(lambda _: None)
        assert result(tmp_path / "whole") == result(tmp_path / "killed")
        same_checkpoint(tmp_path / "whole", tmp_path / "killed")

    def test_after_a_real_kill(self, digits, tmp_path):
        settings = {"steps": 600, "save_every": 20, "measure_every": 0, "bound_samples": 20}
        words = ["--estimator", "rloo-2", "--exp-dir", str(tmp_path)]
        for key, value in settings.items():
            words += ["--" + key.replace("_", "-"), str(value)]
        folder = tmp_path / "rloo-2" / "seed0"
        kill_once_there(folder / "checkpoint.pt", "vae.fit", *words)
        assert not (folder / "run.json").exists()
        again = Run(Settings(**settings), "rloo-2", 0, digits, folder)
        again.load()
        assert 0 < again.step < 600
        again.fit(lambda _: None)
        whole = Run(Settings(**settings), "rloo-2", 0, digits, tmp_path / "whole")
        whole.fit(lambda _: None)
        assert result(folder) == result(tmp_path / "whole")
        same_checkpoint(folder, tmp_path / "whole")

    def test_refuses_other_settings(self, digits, tmp_path):
        Run(tiny(), "ema", 0, digits, tmp_path).save()
        other = Run(tiny(lr=0.1), "ema", 0, digits, tmp_path)
        with pytest.raises(ConfigError, match=r"other settings: lr \(0\.003 there, 0\.1 now\)"):
            other.load()

    def test_leaves_the_global_generator_alone(self, digits, tmp_path):
        state = torch.get_rng_state()
        Run(tiny(), "gumbel", 0, digits, tmp_path).fit(lambda _: None)
        assert torch.equal(torch.get_rng_state(), state)


class TestSettings:
    def test_file_and_flags(self, tmp_path):
        file = tmp_path / "a.yaml"
        file.write_text("estimator: [ema, rloo-2]\nlatent_size: [5]\nlr: 0.5\n")
        options = read_options(
            Options, ["--config", str(file), "--lr", "0.25", "--seeds", "1", "2"], ""
        )
        assert options.estimator == ["ema", "rloo-2"]
        assert (options.latent_size, options.lr) == ([5], 0.25)
        assert options.seeds == [1, 2]

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"latent": "categorical"}, r"categorical z is variables and classes, got \[6\]"),
            ({"latent_size": [0]}, r"bernoulli z is one number, got \[0\]"),
            ({"latent_size": []}, r"bernoulli z is one number, got \[\]"),
            ({"batch_size": 5000}, "batch_size is 5000, with 1400 training images"),
            ({"steps": 0}, "steps has to be >= 1, got 0"),
            ({"num_samples": 0}, "num_samples has to be >= 1, got 0"),
            ({"lr": -1.0}, r"lr has to be > 0, got -1\.0"),
            ({"measure_every": 5, "replicas": 1}, "replicas has to be >= 2"),
        ],
    )
    def test_wrong_numbers(self, changes, message, digits):
        with pytest.raises(ConfigError, match=message):
            tiny(**changes).check(digits)

    def test_a_seed_counts_once(self):
        with pytest.raises(ConfigError, match=r"seeds needs one or more, .* got \[0, 0\]"):
            Options(seeds=[0, 0])

    def test_unknown_key(self):
        with pytest.raises(ConfigError, match="unknown key '--estimater'; did you mean"):
            read_options(Options, ["--estimater", "ema"], "")


# -- quality --------------------------------------------------------------------------------


def test_order_of_the_estimators(digits, tmp_path):
    # Seeds differ by some 0.2 nats, the estimators by 2.4; the whole order is a slow test.
    found = {}
    for spec in ("reinforce", "rloo-4"):
        run = Run(Settings(measure_every=0, bound_samples=40), spec, 0, digits, tmp_path / spec)
        run.fit(lambda _: None)
        found[spec] = result(tmp_path / spec)["negative_elbo"]
    assert found["reinforce"] - found["rloo-4"] > 1.5


@pytest.mark.slow
def test_whole_order_of_the_estimators(tmp_path):
    done = run("vae", "--stage", "3", "--stop-stage", "3", "--exp-dir", "exp", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "exp" / "anchor" / "results.json").read_text())
    less = {row["estimator"]: row["difference"] for row in rows}
    assert set(less) == set(json.loads((RECIPES / "vae" / "anchor.json").read_text()))
    # Paired by seed, 95 % intervals: every other one is better than REINFORCE.
    assert all(high < -0.8 for name, (_, _, high) in less.items() if name != "reinforce")
    assert less["rloo-4"][2] < -1.5
    assert less["rloo-4"][0] < less["nvil"][0] < less["ema"][0] < less["reinforce"][0] == 0
    best = [less[name][0] for name in ("rloo-4", "reinmax", "gumbel", "gumbel-anneal")]
    assert max(best) < less["nvil"][0] - 0.2
    assert max(best) - min(best) < 0.5


def test_run_sh(tmp_path):
    words = ["--smoke", "--exp-dir", "exp", "--estimators", "rloo-2 gumbel"]
    first = run("vae", *words, folder=tmp_path)
    assert first.returncode == 0, first.stderr
    exp = tmp_path / "exp"
    rows = json.loads((exp / "results.json").read_text())
    assert [row["estimator"] for row in rows] == ["rloo-2", "gumbel"]
    for row in rows:
        mean, low, high = row["negative_elbo"]
        assert low <= mean <= high
        assert row["negative_bound"][0] < mean
    assert rows[0]["evals"] == 2
    assert f"{rows[0]['negative_elbo'][0]:.2f}" in (exp / "RESULTS.md").read_text()
    pictures = ["curves", "variance", "snr", "reconstructions", "samples"]
    for name in [*pictures, "anchor/curves", "snr/snr_over_k"]:
        assert (exp / f"{name}.png").read_bytes().startswith(b"\x89PNG"), name
    assert "24.43" in (exp / "anchor" / "RESULTS.md").read_text()
    assert set(json.loads((exp / "snr" / "snr.json").read_text())) >= {"iwae", "dreg", "samples"}
    second = run("vae", *words, "--stop-stage", "1", folder=tmp_path)
    assert second.returncode == 0, second.stderr
    assert second.stdout.count("done already") == 4


def test_run_sh_names_wrong_words(tmp_path):
    wrong = run("vae", "--estimators", "disarmed", "--exp-dir", "exp", folder=tmp_path)
    assert wrong.returncode != 0
    assert "unknown estimator 'disarmed'; did you mean 'disarm'" in wrong.stderr
    assert not list(tmp_path.iterdir())


def test_wrong_words_are_named_before_the_first_training(tmp_path):
    with pytest.raises(ConfigError, match="RLOO needs num_samples >= 2, got 1"):
        fit.main(["--estimator", "ema", "rloo-1", "--exp-dir", str(tmp_path)])
    assert not list(tmp_path.iterdir())


class TestReport:
    words = ("--estimator", "ema", "--steps", "2", "--measure-every", "0", "--bound-samples", "1")

    def test_of_other_settings_writes_nothing(self, tmp_path):
        words = [*self.words, "--exp-dir", str(tmp_path)]
        fit.main(words)
        with pytest.raises(ConfigError, match=r"other settings: steps \(2 there, 3 now\)"):
            report.main([*words, "--steps", "3"])
        assert [path.name for path in tmp_path.iterdir()] == ["ema"]
        report.main([*words, "--threads", "2"])
        assert (tmp_path / "samples.png").exists()

    def test_needs_the_trained_model(self, tmp_path):
        words = [*self.words, "--exp-dir", str(tmp_path)]
        fit.main(words)
        (tmp_path / "ema" / "seed0" / "checkpoint.pt").unlink()
        with pytest.raises(DataError, match=r"no .*checkpoint\.pt; train first"):
            report.main(words)

    def test_curves_can_be_told_apart(self, tmp_path, monkeypatch):
        drawn = []

        @contextmanager
        def axes_at(*_):
            axes = Figure().subplots()
            yield axes
            drawn.append({(line.get_color(), line.get_linestyle()) for line in axes.lines})

        monkeypatch.setattr(figures, "axes_at", axes_at)
        run = {"curve": [{"step": 1, "loss": 2.0}], "noise": []}
        figures.draw_curves({f"e{i}": [run] for i in range(11)}, tmp_path)
        assert len(drawn[0]) == 11


def test_report_without_runs(tmp_path):
    with pytest.raises(DataError, match=r"no .*run\.json; train first \(stage 1\)"):
        report.main(["--exp-dir", str(tmp_path)])
