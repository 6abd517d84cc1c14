"""The MNIST recipe's trainings: killed and resumed, refused, reported by run.sh."""

import json

import pytest
import torch

from bbb.errors import ConfigError, DataError
from recipes.mnist import prune, runs, train
from recipes.mnist.data import load
from recipes.mnist.train import Training
from tests.recipes.test_mnist import tiny
from tests.recipes.test_recipes import run


@pytest.fixture(scope="module")
def digits():
    return load(tiny())


def result(folder):
    """What a training wrote, without the time that it took."""
    found = json.loads((folder / "run.json").read_text())
    curve = [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
    for part in (found, found["last"], *curve):
        part.pop("cpu_seconds")
    return found, curve


class TestResuming:
    @pytest.mark.parametrize(
        "changes",
        [
            {"system": "mixture", "kl_scheme": "blundell", "num_samples": 2},
            {"system": "gaussian", "warmup": 0.5, "estimator": "local"},
            {"system": "dropout"},
            {"system": "sgd", "optimizer": "sgd", "momentum": 0.9},
        ],
        ids=lambda changes: changes["system"],
    )
    def test_is_bitwise(self, changes, digits, tmp_path):
        whole = Training(tiny(folder=tmp_path / "whole", **changes), digits)
        whole.fit("c")
        settings = tiny(folder=tmp_path / "killed", **changes)
        count = 0

        def until_30():
            nonlocal count
            count += 1
            if count == 30:  # in the last of four epochs of nine steps
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            Training(settings, digits).fit("c", until_30)
        torch.rand(1)  # another process has another state
        again = Training(settings, digits)
        again.load()
        assert len(again.curve) == 2
        again.fit("c")
        assert result(tmp_path / "whole") == result(tmp_path / "killed")
        one, other = (torch.load(tmp_path / n / "model.pt") for n in ("whole", "killed"))
        for key, value in one.items():
            assert torch.equal(value, other[key]), key
        assert not (tmp_path / "killed" / "checkpoint.pt").exists()

    def test_seeds_differ_and_the_global_generator_is_left_alone(self, digits, tmp_path):
        state = torch.get_rng_state()
        found = []
        for seed in (0, 1):
            training = Training(tiny(folder=tmp_path / f"{seed}", seed=seed), digits)
            training.fit("")
            found.append(training.curve[-1]["train_nll"])
        assert torch.equal(torch.get_rng_state(), state)
        assert found[0] != found[1]

    def test_refuses_other_settings(self, digits, tmp_path):
        Training(tiny(folder=tmp_path), digits).save()
        other = Training(tiny(folder=tmp_path, lr=0.1), digits)
        with pytest.raises(ConfigError, match=r"other settings: lr \(0\.001 there, 0\.1 now\)"):
            other.load()
        Training(tiny(folder=tmp_path, threads=2), digits).load()


def test_several_trainings_in_one_process(tmp_path, capsys):
    words = ["--epochs", "1", "--num-valid", "0", "--units", "4", "--test-samples", "0"]
    jobs = []
    for seed in ("0", "1"):
        folder = str(tmp_path / "a" / f"seed{seed}")
        jobs += [*words, "--seed", seed, "--folder", folder, "--"]
    train.main(jobs)
    found = runs.read_runs(tmp_path)["a"]
    assert [r["settings"]["seed"] for r in found] == [0, 1]
    assert all("test" not in r and "valid" not in r["last"] for r in found)
    train.main(jobs)
    assert capsys.readouterr().out.count("done already") == 2
    with pytest.raises(ConfigError, match="other settings: units"):
        train.main([*jobs[:-1], "--units", "5"])


def test_trained_net_comes_back(digits, tmp_path):
    training = Training(tiny(folder=tmp_path / "a" / "seed0"), digits)
    training.fit("")
    (found,) = runs.read_runs(tmp_path)["a"]
    model = runs.load_model(found)
    x = digits.test[0]
    assert torch.equal(model(x), training.model.eval()(x))
    assert runs.settings_of(found).identity == training.settings.identity
    with pytest.raises(DataError, match="no trainings of b in"):
        runs.read_runs(tmp_path, ["a", "b"])
    with pytest.raises(DataError, match="no trainings of any in"):
        runs.read_runs(tmp_path / "none")


def test_only_trainings_with_the_same_settings_are_averaged(digits, tmp_path):
    for seed, epochs in enumerate((1, 2)):
        folder = tmp_path / "a" / f"seed{seed}"
        Training(tiny(folder=folder, seed=seed, epochs=epochs, threads=epochs), digits).fit("")
    with pytest.raises(ConfigError, match=r"a.seed1 .*other settings: epochs \(2 there, 1 now\)"):
        runs.read_runs(tmp_path)


def test_fractions_of_one_net(digits, tmp_path):
    Training(tiny(folder=tmp_path / "a" / "seed0", system="sgd"), digits).fit("")
    words = ["--exp-dir", str(tmp_path), "--names", "a", "--fractions", "0.995", "0.5", "0.5"]
    prune.main(words)
    assert "| removed | 0% | 50% | 99.5% |" in (tmp_path / "PRUNING.md").read_text()
    (row,) = json.loads((tmp_path / "pruning.json").read_text())
    assert list(row["error"]) == ["0", "0.5", "0.995"]
    whole = json.loads((tmp_path / "a" / "seed0" / "run.json").read_text())["test"]["mean"]["error"]
    assert row["error"]["0"][0] == whole
    assert row["rise"]["0.995"][0] == pytest.approx(row["error"]["0.995"][0] - whole)


def test_folder_of_any_name(tmp_path, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    exp = tmp_path / "bücher it's $HOME"
    words = ["--systems", "sgd", "--seeds", "0", "--flags", "--epochs 1", "--stop-stage", "2"]
    done = run("mnist", "--smoke", "--exp-dir", str(exp), *words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (exp / "modern-sgd-64" / "seed0" / "run.json").exists()
    assert list(tmp_path.iterdir()) == [exp]


def test_run_sh(tmp_path):
    words = ["--smoke", "--exp-dir", "exp"]
    first = run("mnist", *words, folder=tmp_path)
    assert first.returncode == 0, first.stderr
    exp = tmp_path / "exp"
    names = ["modern-sgd-64", "modern-dropout-64", "modern-mixture-64"]
    rows = json.loads((exp / "results.json").read_text())
    assert list(dict.fromkeys(row["training"] for row in rows)) == names
    for row in rows:
        mean, low, high = row["error"]
        assert low <= mean <= high
        # Chance is 0.9.
        assert mean < 0.6
    assert f"{100 * rows[0]['error'][0]:.2f}" in (exp / "RESULTS.md").read_text()
    pruned = json.loads((exp / "pruning.json").read_text())
    assert pruned[0]["method"] == "modern-sgd-64, magnitude"
    assert pruned[1]["error"]["0"][0] == pytest.approx(rows[2]["error"][0])
    strange = json.loads((exp / "ood.json").read_text())
    assert [*strange] == [
        *(*names[:2], "modern-dropout-64, draws", "modern-mixture-64, mean"),
        "modern-mixture-64, draws",
    ]
    for name in ("curves", "weights", "snr_modern-mixture-64", "pruning", "ood_rotation_ece"):
        assert (exp / f"{name}.png").read_bytes().startswith(b"\x89PNG"), name
    second = run("mnist", *words, "--stop-stage", "2", folder=tmp_path)
    assert second.returncode == 0, second.stderr
    assert second.stdout.count("done already") == 6


def test_search_sh(tmp_path):
    words = ["--smoke", "--exp-dir", "exp"]
    result_ = run("mnist", *words, folder=tmp_path, script="search.sh")
    assert result_.returncode == 0, result_.stderr
    rows = json.loads((tmp_path / "exp" / "search.json").read_text())
    assert len(rows) == 2
    errors = [row["valid"]["draws"]["error"] for row in rows]
    assert errors == sorted(errors)
    assert all(row["settings"]["test_samples"] == 0 for row in rows)
    assert "| " in (tmp_path / "exp" / "SEARCH.md").read_text()


def test_wrong_words_are_named(tmp_path):
    wrong = run("mnist", "--systems", "sgd laplace", "--exp-dir", "exp", folder=tmp_path)
    assert wrong.returncode != 0
    assert "no system 'laplace'; there are sgd, dropout" in wrong.stderr
    config = run("mnist", "--config", "best", folder=tmp_path)
    assert "no folder best; --config takes one" in config.stderr
    data = run("mnist", "--data", "none.npz", "--stop-stage", "1", folder=tmp_path)
    assert data.returncode != 0
    assert "no file none.npz; 'python data_prep/mnist.py download" in data.stderr
    assert not list(tmp_path.iterdir())
