"""The bandit recipe: its world and its agents."""

import gzip
import math

import pytest
import torch
from scipy import stats
from torch import nn

import bbb
from bbb.errors import ConfigError, FormatError
from recipes.bandit.bandit import (
    BayesStackedLinear,
    Buffer,
    Greedy,
    StackedLinear,
    Thompson,
    make_network,
)
from recipes.bandit.environment import Stream, load_mushrooms


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# -- the world ------------------------------------------------------------------------------


class TestMushrooms:
    def test_one_hot(self, mushrooms, mushroom_file):
        rows = [line.split(",") for line in mushroom_file.read_text().splitlines()]
        assert mushrooms.edible.tolist() == [row[0] == "e" for row in rows]
        assert mushrooms.inputs.shape == (600, 22 * 6 + 2)
        context, action = mushrooms.inputs[:, :-2], mushrooms.inputs[:, -2:]
        assert torch.equal(action, torch.eye(2).repeat(300, 1))
        assert torch.equal(context[::2], context[1::2])
        assert (context.unflatten(1, (22, 6)).sum(2) == 1).all()
        # Mushrooms agree in as many attributes as their letters do.
        shared = sum(a == b for a, b in zip(rows[0][1:], rows[7][1:], strict=True))
        assert context[0] @ context[14] == shared

    def test_line_of_names(self, mushrooms, mushroom_file, tmp_path):
        named = tmp_path / "named.data"
        named.write_text(",".join(map(str, range(23))) + "\n" + mushroom_file.read_text())
        assert torch.equal(load_mushrooms(named).inputs, mushrooms.inputs)

    @pytest.mark.parametrize("how", ["BOM", "CRLF", "blank lines", "gzip"])
    def test_files_of_other_systems(self, how, mushrooms, mushroom_file, tmp_path):
        content = mushroom_file.read_bytes()
        other = {
            "BOM": b"\xef\xbb\xbf" + content,
            "CRLF": content.replace(b"\n", b"\r\n"),
            "blank lines": b"\n" + content + b"\n",
            "gzip": gzip.compress(content),
        }
        (tmp_path / "other.data").write_bytes(other[how])
        found = load_mushrooms(tmp_path / "other.data")
        assert torch.equal(found.inputs, mushrooms.inputs)
        assert torch.equal(found.edible, mushrooms.edible)

    def test_not_text(self, tmp_path):
        (tmp_path / "a.data").write_bytes(b"e,\xe9\n")
        with pytest.raises(FormatError, match=r"a\.data:1: not UTF-8"):
            load_mushrooms(tmp_path / "a.data")

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
