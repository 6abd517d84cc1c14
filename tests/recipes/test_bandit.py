"""The bandit recipe: its world, its agents, and its runs."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import bbb
from bbb.errors import ConfigError, DataError, FormatError
from recipes.bandit import play, regret, simulate
from recipes.bandit.bandit import (
    BayesStackedLinear,
    Buffer,
    Greedy,
    StackedLinear,
    Thompson,
    make_network,
)
from recipes.bandit.environment import Stream, load_mushrooms
from recipes.bandit.settings import Settings
from recipes.common.options import read_options
from tests.recipes.test_recipes import RECIPES, kill_once_there, run


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Simulated mushrooms."""
    file = tmp_path_factory.mktemp("data") / "simulated.data"
    simulate.main(["--output", str(file), "--count", "300"])
    return file


@pytest.fixture(scope="module")
def mushrooms(file):
    return load_mushrooms(file)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# -- the world ------------------------------------------------------------------------------


class TestMushrooms:
    def test_one_hot(self, mushrooms, file):
        rows = [line.split(",") for line in file.read_text().splitlines()]
        assert mushrooms.edible.tolist() == [row[0] == "e" for row in rows]
        assert mushrooms.inputs.shape == (600, 22 * 6 + 2)
        context, action = mushrooms.inputs[:, :-2], mushrooms.inputs[:, -2:]
        assert torch.equal(action, torch.eye(2).repeat(300, 1))
        assert torch.equal(context[::2], context[1::2])
        assert (context.unflatten(1, (22, 6)).sum(2) == 1).all()
        # Mushrooms agree in as many attributes as their letters do.
        shared = sum(a == b for a, b in zip(rows[0][1:], rows[7][1:], strict=True))
        assert context[0] @ context[14] == shared

    def test_line_of_names(self, mushrooms, file, tmp_path):
        named = tmp_path / "named.data"
        named.write_text(",".join(map(str, range(23))) + "\n" + file.read_text())
        assert torch.equal(load_mushrooms(named).inputs, mushrooms.inputs)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("e,x\n", r"a\.data:1: expected 'e' or 'p' and 22 attributes, got 'e,x'"),
            ("class\n" + "p" + ",x" * 22 + "\ny" + ",x" * 22, r"a\.data:3: expected"),
            ("", r"a\.data:0: expected mushrooms, got none"),
            ("names\n", r"a\.data:1: expected mushrooms, got none"),
        ],
    )
    def test_broken_file(self, text, message, tmp_path):
        (tmp_path / "a.data").write_text(text)
        with pytest.raises(FormatError, match=message):
            load_mushrooms(tmp_path / "a.data")

    def test_missing_file(self, tmp_path):
        with pytest.raises(ConfigError, match=r"got '.*a\.data'; 'python data_prep/mushrooms\.py"):
            load_mushrooms(tmp_path / "a.data")

    def test_the_real_ones(self, real_data):
        found = load_mushrooms(real_data / "agaricus-lepiota.data")
        assert found.inputs.shape == (2 * 8124, 117 + 2)
        assert found.edible.sum() == 4208


class TestStream:
    def test_rewards_and_regret_by_the_definition(self):
        edible = torch.tensor([True, False, True])
        stream = Stream(edible, [3, 4], 400)
        ate = torch.rand(2, 400, generator=generator()) < 0.5
        found = stream.regret(ate)
        for seed in range(2):
            for step in range(400):
                good = bool(edible[stream.mushroom[seed, step]])
                reward = float(stream.reward[seed, step]) if ate[seed, step] else 0.0
                assert not good or float(stream.reward[seed, step]) == 5
                assert float(stream.reward[seed, step]) in {5.0, -35.0}
                assert found[seed, step] == (5 if good else 0) - reward
        assert (stream.regret(stream.edible) == 0).all()
        poisonous = ~stream.edible
        assert torch.equal(
            stream.expected_regret(~stream.edible), 15.0 * poisonous + 5.0 * ~poisonous
        )
        # Luck is a fair coin, and mushrooms are drawn evenly; false alarm 1e-5 each.
        lucky = (stream.reward[poisonous] == 5).sum().item()
        assert stats.binomtest(lucky, int(poisonous.sum()), 0.5).pvalue > 1e-5
        assert stats.chisquare(stream.mushroom.flatten().bincount().numpy()).pvalue > 1e-5

    def test_belongs_to_the_seed_alone(self):
        edible = torch.tensor([True, False, True])
        alone, many = Stream(edible, [7], 40), Stream(edible, [5, 7, 7], 50)
        assert torch.equal(alone.mushroom[0], many.mushroom[1, :40])
        assert torch.equal(alone.reward[0], many.reward[2, :40])
        assert not torch.equal(many.mushroom[0], many.mushroom[1])


# -- the agents -----------------------------------------------------------------------------


class TestStack:
    def test_is_linear_layers_side_by_side(self):
        stack = StackedLinear(3, 5, 4)
        x = torch.randn(3, 6, 5, generator=generator())
        for net, found in enumerate(stack(x)):
            weight, bias = stack.weight[net].T, stack.bias[net, 0]
            torch.testing.assert_close(found, nn.functional.linear(x[net], weight, bias))

    def test_has_the_initial_values_of_linear(self):
        stack = StackedLinear(50, 30, 40)
        for found, twin in zip(stack.parameters(), nn.Linear(30, 40).parameters(), strict=True):
            scaled = (found.detach().flatten() * math.sqrt(30) + 1) / 2
            assert stats.kstest(scaled.numpy(), "uniform").pvalue > 1e-5
            assert 0.9 < twin.abs().max() / found.abs().max() <= 1

    def test_its_divergence_is_the_sum_of_theirs(self):
        options = {"prior": bbb.priors.Normal(0.1, 0.5), "sigma_init": 0.3, "bayesian_bias": True}
        stack = BayesStackedLinear(3, 5, 4, **options)
        total = 0.0
        for net in range(3):
            alone = bbb.layers.BayesLinear(5, 4, **options)
            state = {"weight": stack.weight_mu[net].T, "bias": stack.bias_mu[net, 0]}
            alone.load_state_dict(state, strict=False)
            total += bbb.kl_divergence(alone)
        torch.testing.assert_close(bbb.kl_divergence(stack), total)

    def test_draws_another_weight_for_each_network(self):
        stack = BayesStackedLinear(2, 5, 4)
        nn.init.zeros_(stack.weight_mu)
        nn.init.zeros_(stack.bias)
        with bbb.fixed_sample(stack, seed=1):
            one, other = stack(torch.ones(2, 1, 5))
        assert (one != other).all()

    def test_local_draws_have_exact_moments_and_are_independent(self):
        options = {"sigma_init": 0.3, "bayesian_bias": True, "estimator": "local"}
        stack = BayesStackedLinear(2, 5, 4, **options)
        x = torch.randn(2, 3, 5, generator=generator())
        torch.manual_seed(0)
        draws = torch.stack([stack(x).detach().flatten() for _ in range(3000)])
        mean = torch.baddbmm(stack.bias_mu, x, stack.weight_mu).flatten()
        var = 0.3**2 * (x.square().sum(2, keepdim=True) + 1).expand(2, 3, 4).flatten()
        assert ((draws.mean(0) - mean) / (var / 3000).sqrt()).abs().max() < 4.5
        correlation = draws.T.corrcoef() - torch.eye(24)
        assert correlation.abs().max() < 4.5 / math.sqrt(3000)
        assert ((draws.var(0) / var - 1) / math.sqrt(2 / 3000)).abs().max() < 4.5

    def test_networks_learn_independently(self):
        torch.manual_seed(0)
        x, reward = torch.randn(2, 8, 3), torch.randn(2, 8)
        network = make_network(2, 3, [4])
        agent = Greedy(network, torch.zeros(2), 0.01, generator())
        alone = make_network(1, 3, [4])
        for own, both in zip(alone.parameters(), network.parameters(), strict=True):
            own.data.copy_(both.data[1:])
        single = Greedy(alone, torch.zeros(1), 0.01, generator())
        for _ in range(5):
            agent.learn(x, reward, 0.0)
            single.learn(x[1:], reward[1:], 0.0)
        for own, both in zip(alone.parameters(), network.parameters(), strict=True):
            torch.testing.assert_close(own[0], both[1])


def thompson(network, samples=(1, 1), noise=1.0, seed=0):
    return Thompson(
        network,
        lr=0.01,
        noise=noise,
        samples=samples,
        generator=generator(seed),
    )


class TestThompson:
    @pytest.mark.parametrize("samples", [1, 3])
    def test_eats_as_often_as_eating_is_best(self, samples):
        # One weight per action, N(mu, 0.5^2); "eat" is best with a known probability.
        nets = 20_000
        network = make_network(nets, 2, [], sigma_init=0.5, prior=bbb.priors.Normal())
        network[0].weight_mu.data[:] = torch.tensor([[0.2], [0.0]])
        nn.init.zeros_(network[0].bias)
        agent = thompson(network, (samples, 1))
        ate = agent.act(torch.eye(2).expand(nets, 2, 2)).sum().item()
        share = stats.norm.cdf(-0.2 / (0.5 * math.sqrt(2 / samples)))
        assert stats.binomtest(ate, nets, share).pvalue > 1e-5

    def test_one_draw_judges_all_actions(self):
        # With one row for both actions, they differ only if each had a draw of its own.
        network = make_network(50, 2, [8], sigma_init=1.0, prior=bbb.priors.Normal())
        same = torch.ones(50, 2, 2)
        assert (thompson(network).act(same) == 0).all()

    def test_gradient_is_the_elbos(self):
        # Linear and Gaussian: the expected gradient is exact. Thresholds at z = 4.5.
        nets, noise, scale, num_train = 4000, 2.0, 0.7, 5
        network = make_network(nets, 3, [], sigma_init=0.4, prior=bbb.priors.Normal(0, scale))
        layer = network[0]
        mu = torch.tensor([0.5, -0.3, 0.1])
        layer.weight_mu.data[:] = mu[:, None]
        nn.init.zeros_(layer.bias)
        x, reward = torch.randn(6, 3, generator=generator(1)), torch.arange(6.0)
        agent = thompson(network, (1, 2), noise)
        agent.learn(x.expand(nets, 6, 3), reward.expand(nets, 6), 1 / num_train)
        slope = x.T @ (x @ mu - reward) / (6 * noise**2) + mu / scale**2 / num_train
        found = layer.weight_mu.grad[..., 0]
        error = found.std(0) / math.sqrt(nets)
        assert ((found.mean(0) - slope).abs() < 4.5 * error).all()
        sigma = torch.tensor(0.4)
        by_sigma = sigma * x.square().sum(0) / (6 * noise**2)
        by_sigma += (sigma / scale**2 - 1 / sigma) / num_train
        found = layer.weight_rho.grad[..., 0] / -torch.expm1(-sigma)
        error = found.std(0) / math.sqrt(nets)
        assert ((found.mean(0) - by_sigma).abs() < 4.5 * error).all()


def test_greedy_explores_as_often_as_it_should():
    nets = 20_000
    network = make_network(nets, 2, [])
    network[0].weight.data[:] = torch.tensor([[0.0], [1.0]])
    agent = Greedy(network, torch.full((nets,), 0.3), 0.01, generator())
    left = (agent.act(torch.eye(2).expand(nets, 2, 2)) == 0).sum().item()
    assert stats.binomtest(left, nets, 0.15).pvalue > 1e-5
    agent.epsilon = torch.zeros(nets)
    assert (agent.act(torch.eye(2).expand(nets, 2, 2)) == 1).all()


def test_buffer_holds_the_last():
    buffer = Buffer(2, 4)
    for step in range(6):
        buffer.add(torch.tensor([step, 10 + step]), torch.tensor([-1.0 * step, 0.0]))
        rows, rewards = buffer.draw(200, generator())
        first = max(0, step - 3)
        assert set(rows[0].tolist()) == set(range(first, step + 1))
        assert set(rows[1].tolist()) == set(range(10 + first, 10 + step + 1))
        assert torch.equal(rewards[0], -rows[0].float())


# -- runs -----------------------------------------------------------------------------------


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
        # What only the other agent uses may change.
        change = {"greedy_lr": 1.0} if kind == "bbb" else {"lr": 1.0}
        play.Run(replace(tiny(tmp_path), threads=2, **change), kind, mushrooms).load()


def test_resumes_after_a_real_kill(file, mushrooms, tmp_path):
    words = ["--data", str(file), "--seeds", "0", "--hidden", "8", "--steps", "200"]
    words += ["--save-every", "20", "--agents", "bbb", "--minibatches", "1"]
    words += ["--exp-dir", str(tmp_path)]
    kill_once_there(tmp_path / "bbb" / "checkpoint.pt", "bandit.play", *words)
    assert not (tmp_path / "bbb/run.json").exists()
    play.main(words)
    settings = read_options(Settings, [*words, "--exp-dir", str(tmp_path / "whole")], "")
    whole = play.Run(settings, "bbb", mushrooms)
    whole.play(lambda _: None)
    assert done(tmp_path / "bbb") == done(whole.folder)


def test_curves_and_table_by_the_definition(file, mushrooms, tmp_path):
    words = ["--data", str(file), "--exp-dir", str(tmp_path), "--seeds", "0", "1", "--steps", "100"]
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
        ({"seeds": [1, 1]}, "seeds have to differ"),
        ({"epsilon": [1.5]}, "epsilon has to be probabilities"),
        ({"agents": ["oracle"]}, r"unknown agents \['oracle'\]; there are bbb, greedy"),
    ],
)
def test_wrong_numbers(changes, message):
    with pytest.raises(ConfigError, match=message):
        Settings(**changes).check()


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
