"""The bandit recipe's runs: planned, resumed, refused, and their tables."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from bbb.errors import ConfigError, DataError
from recipes.bandit import play, regret
from recipes.bandit.environment import Stream
from recipes.bandit.settings import Settings
from recipes.common.options import read_options
from tests.recipes.test_recipes import RECIPES, kill_once_there, run


def tiny(folder, **changes):
    known = {"seeds": [0, 1], "steps": 47, "hidden": [8], "buffer_size": 16, "batch_size": 4}
    known |= {"minibatches": 2, "early": 23, "kl_every": 3, "decay": 0.5}
    return Settings(exp_dir=folder, save_every=10, **(known | changes))


def done(folder):
    """What a run wrote, without the time that it took."""
    found = json.loads((folder / "run.json").read_text())
    found.pop("cpu_seconds")
    return found


def test_plan_of_the_training_steps():
    settings = Settings(
        minibatches=3, early=4, late_minibatches=2, decay=0.5, lr=0.1, greedy_lr=0.2
    )
    numbers = [number for mushroom in range(7) for number in settings.training_steps(mushroom)]
    assert numbers == list(range(4 * 3 + 3 * 2))
    assert [settings.step_size("bbb", mushroom) for mushroom in (0, 3, 15)] == [0.1, 0.1, 0.05]
    assert settings.step_size("greedy", 15) == 0.1
    assert Settings(early=0).step_size("bbb", 10**6) == Settings().lr


def test_divergence_of_some_steps_counts_for_all(mushrooms, tmp_path):
    run = play.Run(tiny(tmp_path, kl_every=3, num_train=100), "bbb", mushrooms)
    weights = []
    run.agent.learn = lambda _x, _reward, kl_weight: weights.append(kl_weight)
    while run.step < 15:
        run.interact()
    assert weights == [0.03, 0.0, 0.0] * 10


@pytest.mark.parametrize("kind", ["bbb", "greedy"])
class TestResuming:
    def test_is_bitwise(self, kind, mushrooms, tmp_path):
        settings = tiny(tmp_path / "killed")
        whole = play.Run(tiny(tmp_path / "whole"), kind, mushrooms)
        state = torch.get_rng_state()
        whole.play(lambda _: None)
        assert torch.equal(torch.get_rng_state(), state)
        killed = play.Run(settings, kind, mushrooms)

        def until_27(x):
            if killed.step == 27:
                raise KeyboardInterrupt
            return act(x)

        act, killed.agent.act = killed.agent.act, until_27
        with pytest.raises(KeyboardInterrupt):
            killed.play(lambda _: None)
        again = play.Run(settings, kind, mushrooms)
        again.load()
        assert again.step == 20
        again.play(lambda _: None)
        assert done(whole.folder) == done(again.folder)
        for one, other in zip(
            whole.agent.network.parameters(), again.agent.network.parameters(), strict=True
        ):
            assert torch.equal(one, other)

    def test_refuses_other_settings(self, kind, mushrooms, tmp_path):
        play.Run(tiny(tmp_path), kind, mushrooms).save()
        other = play.Run(tiny(tmp_path, batch_size=5), kind, mushrooms)
        with pytest.raises(ConfigError, match=r"other settings: batch_size \(4 there, 5 now\)"):
            other.load()
        inputs = mushrooms.inputs.flip(0)
        with pytest.raises(ConfigError, match="other settings: mushrooms"):
            play.Run(tiny(tmp_path), kind, replace(mushrooms, inputs=inputs)).load()
        # What only the other agent uses may change.
        change = {"greedy_lr": 1.0} if kind == "bbb" else {"lr": 1.0}
        play.Run(replace(tiny(tmp_path), threads=2, **change), kind, mushrooms).load()


def test_resumes_after_a_real_kill(mushroom_file, mushrooms, tmp_path):
    words = ["--data", str(mushroom_file), "--seeds", "0", "--hidden", "8", "--steps", "200"]
    words += ["--save-every", "20", "--agents", "bbb", "--minibatches", "1"]
    words += ["--exp-dir", str(tmp_path)]
    kill_once_there(tmp_path / "bbb" / "checkpoint.pt", "bandit.play", *words)
    assert not (tmp_path / "bbb/run.json").exists()
    play.main(words)
    settings = read_options(Settings, [*words, "--exp-dir", str(tmp_path / "whole")], "")
    whole = play.Run(settings, "bbb", mushrooms)
    whole.play(lambda _: None)
    assert done(tmp_path / "bbb") == done(whole.folder)


def test_curves_and_table_by_the_definition(mushroom_file, mushrooms, tmp_path):
    words = [
        "--data",
        str(mushroom_file),
        "--exp-dir",
        str(tmp_path),
        "--seeds",
        "0",
        "1",
        "--steps",
        "100",
    ]
    words += ["--minibatches", "1"]
    words += ["--hidden", "8", "--epsilon", "0", "0.5"]
    play.main(words)
    regret.main(words)
    rows = json.loads((tmp_path / "results.json").read_text())
    assert [row["agent"] for row in rows] == ["bbb", "greedy 0%", "greedy 50%"]
    ate = torch.load(tmp_path / "greedy" / "checkpoint.pt", weights_only=True)["ate"]
    each = Stream(mushrooms.edible, [0, 1], 100).regret(ate[2:]).double()
    assert rows[2]["regret_by_seed"] == each.sum(1).tolist()
    assert rows[2]["regret_late_by_seed"] == each[:, 80:].sum(1).tolist()
    more = each.sum(1).numpy() - np.array(rows[0]["regret_by_seed"])
    low, high = stats.t.interval(0.95, 1, loc=more.mean(), scale=stats.sem(more))
    assert rows[2]["regret_more"] == pytest.approx([more.mean(), low, high])
    assert f"{rows[1]['regret'][0]:,.0f}" in (tmp_path / "RESULTS.md").read_text()
    assert (tmp_path / "regret.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps has to be >= 1, got 0"),
        ({"num_train": -1}, "num_train has to be >= 0, got -1"),
        ({"noise": 0.0}, "noise has to be > 0"),
        ({"decay": -0.5}, "decay has to be >= 0, got -0.5"),
        ({"decay": 0.5, "early": 0}, "decay needs early >= 1, got 0"),
        ({"kl_every": 0}, "kl_every has to be >= 1, got 0"),
        ({"hidden": [5, 0]}, r"hidden has to be numbers of units, got \[5, 0\]"),
        ({"seeds": [1, 1]}, r"seeds needs one or more, and each once, got \[1, 1\]"),
        ({"seeds": []}, r"seeds needs one or more, .* got \[\]"),
        ({"epsilon": [0.1, 0.1]}, "epsilon needs one or more, and each once"),
        ({"agents": ["bbb", "bbb"]}, "agents needs one or more, and each once"),
        ({"epsilon": [1.5]}, "epsilon has to be probabilities"),
        ({"agents": ["oracle"]}, r"unknown agents \['oracle'\]; there are bbb, greedy"),
    ],
)
def test_wrong_numbers(changes, message):
    with pytest.raises(ConfigError, match=message):
        Settings(**changes).check()


def test_no_hidden_layer():
    Settings(hidden=[]).check()


def test_players_have_names_of_their_own():
    players = Settings(seeds=[0], epsilon=[0.0, 0.004, 0.005, 0.07]).players("greedy")
    names = [player["agent"] for player in players]
    assert names == ["greedy 0%", "greedy 0.4%", "greedy 0.5%", "greedy 7%"]


def test_table_without_runs(tmp_path):
    with pytest.raises(DataError, match=r"no .*run\.json; let the agents play first"):
        regret.main(["--exp-dir", str(tmp_path)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": [0, 1]}, r"different seeds \(\[0, 1\] of bbb, \[0\] of greedy\)"),
        ({"early": 7}, r"different early \(7 of bbb, 5 of greedy\); remove one"),
        ({"batch_size": 9}, r"different batch_size \(9 of bbb, 8 of greedy\)"),
    ],
)
def test_only_runs_of_the_same_training_are_compared(change, message, tmp_path):
    same = {"steps": 3, "seeds": [0], "early": 5, "minibatches": 2, "late_minibatches": 1}
    same |= {"batch_size": 8, "decay": 0.0}
    settings = Settings(exp_dir=tmp_path)
    for kind, own in (("bbb", change), ("greedy", {})):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "run.json").write_text(json.dumps({"kind": kind} | same | own))
    with pytest.raises(DataError, match=message):
        regret.read_runs(settings)
    (tmp_path / "bbb" / "run.json").write_text(json.dumps({"kind": "bbb"} | same))
    assert len(regret.read_runs(settings)) == 2


@pytest.mark.parametrize("name", ["short", "paper", "search"])
def test_configs(name):
    config = RECIPES / "bandit" / "conf" / f"{name}.yaml"
    read_options(Settings, ["--config", str(config)], "").check()


def test_run_sh(tmp_path):
    first = run("bandit", "--smoke", "--exp-dir", "exp", folder=tmp_path)
    assert first.returncode == 0, first.stderr
    rows = json.loads((tmp_path / "exp" / "results.json").read_text())
    assert [row["agent"] for row in rows] == ["bbb", "greedy 0%", "greedy 1%", "greedy 5%"]
    second = run("bandit", "--smoke", "--exp-dir", "exp", "--stop-stage", "1", folder=tmp_path)
    assert second.returncode == 0, second.stderr
    assert second.stdout.count("done already") == 3
    missing = run("bandit", "--exp-dir", "other", folder=tmp_path)
    assert missing.returncode != 0
    assert "--data FILE is needed" in missing.stderr
