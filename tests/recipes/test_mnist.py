"""The MNIST recipe's parts: data, loop, plan, measures, pruning, corruption."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import nn

import bbb
from bbb.errors import ConfigError, DataError
from recipes.common.options import read_options
from recipes.mnist import corruptions, data, evaluate, mlp, ood, prune
from recipes.mnist.settings import Settings
from recipes.mnist.train import Training
from tests.recipes.test_recipes import RECIPES


def tiny(**changes):
    return Settings(
        **{"units": 8, "epochs": 4, "num_valid": 200, "eval_every": 2, "eval_samples": 2}
        | {"test_samples": 2, "save_every": 2}
        | changes
    )


@pytest.fixture(scope="module")
def digits():
    return data.load(tiny())


def seeded(function, *arguments, seed=0, **words):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return function(*arguments, **words)


# -- data -----------------------------------------------------------------------------------


class TestData:
    def test_split_covers_everything_once(self, digits):
        every = data.load(tiny(num_valid=0))
        assert [len(pair[1]) for pair in (digits.train, digits.valid, digits.test)] == [
            *(1200, 200, 397)
        ]
        assert every.train[0].shape == (1400, 784)
        assert len(every.valid[0]) == 0
        both = torch.cat([digits.train[0], digits.valid[0]])
        assert torch.equal(both, every.train[0])
        assert torch.equal(digits.test[0], every.test[0])
        assert digits.train[0].max() == pytest.approx(255 / 126)

    def test_real_one(self, real_data):
        found = data.load(Settings(data=str(real_data / "mnist.npz")))
        assert [len(pair[0]) for pair in (found.train, found.valid, found.test)] == [
            *(50_000, 10_000, 10_000)
        ]
        assert 0.25 < found.train[0].mean() < 0.28

    def test_wrong_files(self, tmp_path):
        path = tmp_path / "a.npz"
        with pytest.raises(ConfigError, match=r"'python data_prep/mnist\.py download"):
            data.read_arrays(str(path))
        x = {"x_train": np.zeros((2, 28, 28), np.uint8), "y_train": np.zeros(2, np.uint8)}
        np.savez(path, **x)
        with pytest.raises(DataError, match=r"expected an \.npz with x_train, y_train"):
            data.read_arrays(str(path))
        np.savez(path, **x, x_test=np.zeros((2, 9, 9), np.uint8), y_test=np.zeros(2, np.uint8))
        with pytest.raises(DataError, match=r"x_test and y_test .*got uint8 of \(2, 9, 9\)"):
            data.read_arrays(str(path))

    def test_too_few(self):
        with pytest.raises(ConfigError, match="1400 images to learn from: too few"):
            data.load(tiny(num_valid=1300))


# -- training -------------------------------------------------------------------------------


class TestTraining:
    @pytest.mark.parametrize("kl_weight", [0.3, 0.0])
    def test_step_descends_the_mean_over_draws(self, digits, kl_weight):
        x, y = (part[:20] for part in digits.train)
        prior = bbb.priors.ScaleMixture(0.5, 1.0, 0.1)
        model = seeded(mlp.make_bayesian, 5, prior, 0.1)
        twin = copy.deepcopy(model)
        optimizer = torch.optim.SGD(model.parameters(), 0.5)
        criterion = bbb.ELBO(model, num_train=1000)
        words = {"kl_weight": kl_weight, "num_samples": 3}
        nll, kl = seeded(mlp.train_step, model, criterion, optimizer, x, y, seed=1, **words)

        def objective():
            """By definition, with the same draws."""
            losses, parts = [], []
            for _ in range(3):
                with bbb.objective.record_draws(twin) as draws:
                    output = twin(x)
                found = (
                    nn.functional.cross_entropy(output, y),
                    bbb.kl_divergence(twin, draws=draws),
                )
                parts.append(torch.stack(found))
                losses.append(found[0] + kl_weight / 1000 * found[1])
            return torch.stack(losses).mean(), torch.stack(parts).mean(0)

        loss, parts = seeded(objective, seed=1)
        loss.backward()
        torch.testing.assert_close(nll, parts[0].detach())
        if kl_weight:
            torch.testing.assert_close(kl, parts[1].detach())
        else:
            assert kl.isnan()  # not computed
        for new, old in zip(model.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(new, old - 0.5 * old.grad)

    def test_rho_has_steps_of_its_own(self, digits):
        x, y = (part[:20] for part in digits.train)
        start = seeded(mlp.make_bayesian, 5, bbb.priors.Normal(0, 1), 0.1)
        moved = {}
        for rho_lr in (1.0, 0.25):
            model = copy.deepcopy(start)
            optimizer = torch.optim.SGD(mlp.parameter_groups(model, rho_lr), 1.0)
            criterion = bbb.ELBO(model, num_train=1000)
            words = {"batch_size": 20, "lrs": [0.5], "kl_weights": [1.0]}
            seeded(mlp.train_epoch, model, criterion, optimizer, x, y, seed=1, **words)
            old = dict(start.named_parameters())
            moved[rho_lr] = {name: p - old[name] for name, p in model.named_parameters()}
        for name, change in moved[1.0].items():
            factor = 0.25 if name.endswith("_rho") else 1.0
            torch.testing.assert_close(moved[0.25][name], factor * change)
            assert change.abs().max() > 0

    def test_epoch_sees_every_image_once(self):
        seen = []

        class Spy(nn.Linear):
            def forward(self, x):
                seen.append(x[:, 0].clone())
                return super().forward(x)

        model = Spy(784, 10)
        x = torch.arange(10.0)[:, None].expand(10, 784)
        y = torch.zeros(10, dtype=torch.long)
        optimizer = torch.optim.SGD(model.parameters(), 1.0)
        words = {"batch_size": 3, "lrs": [0.0] * 3, "kl_weights": [1.0] * 3}
        criterion = bbb.ELBO(model, num_train=10)
        expected = nn.functional.cross_entropy
        nll, kl = mlp.train_epoch(model, criterion, optimizer, x, y, **words)
        assert [len(part) for part in seen] == [3, 3, 3]
        assert len(torch.cat(seen).unique()) == 9
        whole = expected(model(x[torch.cat(seen).long()]), y[:9]).item()
        assert (nll, kl) == (pytest.approx(whole), 0.0)

    def test_plan(self, digits):
        words = {"kl_scheme": "blundell", "kl_weight": 0.25, "lr": 2.0, "warmup": 0.5}
        training = Training(tiny(**words), digits)
        plans = [training.plan(epoch) for epoch in range(4)]
        steps = 9
        assert all(len(part) == steps for plan in plans for part in plan)
        lrs = [lr for plan in plans for lr in plan[0]]
        expected = [1 + math.cos(math.pi * k / 36) for k in range(36)]
        assert lrs == pytest.approx(expected)
        # Once it is warm, an epoch has kl_weight of each step, in Blundell's shares.
        assert sum(plans[3][1]) == pytest.approx(0.25 * steps)
        assert plans[3][1][0] == pytest.approx(2 * plans[3][1][1])
        assert plans[0][1][0] == 0
        half = plans[1][1][1] / plans[3][1][1]
        assert half == pytest.approx((steps + 1) / 36 / 0.5)
        constant = Training(tiny(schedule="constant", lr=0.1), digits).plan(2)
        assert constant == ([0.1] * steps, pytest.approx([1.0] * steps))

    def test_a_rare_kl_weighs_as_much(self, digits):
        training = Training(tiny(kl_every=4, kl_weight=0.5), digits)
        weights = [weight for epoch in range(4) for weight in training.plan(epoch)[1]]
        assert weights == pytest.approx([2.0, 0.0, 0.0, 0.0] * 9)

    def test_learns(self, digits, tmp_path):
        settings = tiny(epochs=15, lr=0.01, units=32, kl_weight=0.1, folder=tmp_path)
        training = Training(settings, digits)
        training.fit("")
        valid = training.curve[-1]["valid"]
        assert valid["mean"]["error"] < 0.15
        assert valid["draws"]["error"] < 0.15


# -- settings -------------------------------------------------------------------------------


class TestSettings:
    @pytest.mark.parametrize("file", sorted((RECIPES / "mnist/conf").rglob("*.yaml")), ids=str)
    def test_every_file_is_read_and_flags_win(self, file):
        found = read_options(Settings, ["--config", str(file), "--units", "7"], "")
        found.check()
        assert (found.system, found.units) == (file.stem, 7)
        paper = found.bayesian and "paper" in file.parts
        assert found.kl_scheme == ("blundell" if paper else "uniform")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"units": 0}, "units has to be >= 1, got 0"),
            ({"num_valid": -1}, "num_valid has to be >= 0, got -1"),
            ({"lr": 0.0}, r"lr has to be > 0, got 0\.0"),
            ({"kl_every": 0}, "kl_every has to be >= 1, got 0"),
            ({"kl_every": 2, "kl_scheme": "blundell"}, "kl_every has to be 1 .*'blundell', got 2"),
            ({"device": "tpu"}, "device 'tpu' is not there; use cpu"),
            ({"dropout": 1.0}, r"dropout has to be in \[0, 1\), got 1\.0"),
        ],
    )
    def test_wrong_numbers(self, changes, message):
        with pytest.raises(ConfigError, match=message):
            tiny(**changes).check()

    def test_unknown_key(self):
        with pytest.raises(ConfigError, match="unknown key '--unit'; did you mean"):
            read_options(Settings, ["--unit", "5"], "")


# -- measures -------------------------------------------------------------------------------


class TestEvaluate:
    def test_figures_by_definition(self):
        logits = torch.randn(
            3, 50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64
        )
        y = torch.arange(50) % 4
        found = evaluate.figures(logits, y)
        p = (logits.exp() / logits.exp().sum(-1, keepdim=True)).mean(0).numpy()
        confidence, right = p.max(1), p.argmax(1) == y.numpy()
        bins = np.ceil(confidence * 15)
        gaps = [abs((confidence - right)[bins == b].sum()) for b in range(1, 16)]
        assert found["error"] == pytest.approx(1 - right.mean())
        assert found["nll"] == pytest.approx(-np.log(p[np.arange(50), y.numpy()]).mean())
        assert found["ece"] == pytest.approx(sum(gaps) / 50)

    def test_draws_are_the_same_for_all_blocks(self, digits, monkeypatch):
        x = digits.test[0]
        model = seeded(mlp.make_bayesian, 5, bbb.priors.Normal(0, 1), 0.1)
        whole = evaluate.outputs(model, x, 3)
        monkeypatch.setattr(evaluate, "BLOCK", 100)
        torch.testing.assert_close(evaluate.outputs(model, x, 3), whole)
        assert whole.shape == (3, 397, 10)
        torch.testing.assert_close(evaluate.outputs(model, x)[0], bbb.to_deterministic(model)(x))

    def test_dropout_is_drawn(self):
        net, x = nn.Sequential(nn.Dropout(0.25)).eval(), torch.ones(10, 784)
        state = torch.get_rng_state()
        found = evaluate.dropout_outputs(net, x, 50)
        assert torch.equal(torch.get_rng_state(), state)
        assert not net.training
        torch.testing.assert_close(found.unique(), torch.tensor([0, 1 / 0.75]))
        # z of a share of 392,000 draws; one false alarm in 150,000.
        share = (found > 0).double().mean().item()
        assert abs(share - 0.75) < 4.5 * math.sqrt(0.75 * 0.25 / found.numel())
        assert torch.equal(evaluate.dropout_outputs(net, x, 50), found)


# -- pruning --------------------------------------------------------------------------------


class TestPruning:
    @pytest.mark.parametrize("fraction", [0.0, 0.3, 0.95, 1.0])
    def test_smallest_magnitudes_go(self, fraction):
        net = seeded(mlp.make_net, 3)
        before = copy.deepcopy(net)
        pruned = prune.prune_magnitudes(net, fraction)
        old, new = (
            np.concatenate([p.detach().numpy().ravel() for p in n.parameters()])
            for n in (net, pruned)
        )
        gone = sorted(range(len(old)), key=lambda i: abs(old[i]))[: round(fraction * len(old))]
        expected = old.copy()
        expected[gone] = 0
        np.testing.assert_array_equal(new, expected)
        for p, q in zip(net.parameters(), before.parameters(), strict=True):
            assert torch.equal(p, q)

    def test_signal_to_noise_by_definition(self, digits, tmp_path):
        words = {"epochs": 10, "lr": 0.01, "kl_weight": 0.1, "sigma_init": 0.1}
        training = Training(tiny(folder=tmp_path / "a" / "seed0", **words), digits)
        training.fit("")
        run = ood.read_runs(tmp_path)["a"][0]
        found = prune.errors_of(run, 0.6, 2)
        net = bbb.to_deterministic(training.model)
        mus, rhos = (
            torch.cat(
                [p.flatten() for n, p in training.model.named_parameters() if n.endswith(end)]
            )
            for end in ("_mu", "_rho")
        )
        ratio = mus.detach().abs() / nn.functional.softplus(rhos.detach())
        names = [n.removesuffix("_mu") for n, _ in training.model.named_parameters() if "_mu" in n]
        mus = mus.detach().clone()
        mus[ratio.argsort()[: round(0.6 * len(mus))]] = 0
        sizes = [net.get_parameter(name).numel() for name in names]
        for name, part in zip(names, mus.split(sizes), strict=True):
            net.get_parameter(name).data = part.view_as(net.get_parameter(name))
        x, y = digits.test
        wrong = (net(x).argmax(1) != y).double().mean().item()
        assert found["a, signal-to-noise, mean"] == wrong < 0.8
        assert set(found) == {
            *("a, signal-to-noise, mean", "a, signal-to-noise, draws"),
            "a, magnitude of the mean",
        }

    def test_rise_is_paired(self):
        rows = prune.make_rows({"a": {0.0: [0.1, 0.3], 0.5: [0.2, 0.4]}})
        assert rows[0]["rise"]["0.5"] == pytest.approx([0.1, 0.1, 0.1])
        assert rows[0]["error"]["0.5"][0] == pytest.approx(0.3)


# -- corruption -----------------------------------------------------------------------------


class TestCorruption:
    images = torch.randint(
        256, (5, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )

    @pytest.mark.parametrize("turns", [0, 1, 2])
    def test_quarter_turns_are_exact(self, turns):
        turned = corruptions.rotate(self.images, 90.0 * turns)
        assert torch.equal(turned, torch.rot90(self.images, turns, (1, 2)))

    def test_corners_are_empty(self):
        turned = corruptions.rotate(torch.full((1, 28, 28), 200, dtype=torch.uint8), 45.0)
        assert turned[0, 0, 0] == turned[0, -1, 0] == 0
        assert turned[0, 14, 14] == 200

    def test_noise(self):
        grey = torch.full((50, 28, 28), 128, dtype=torch.uint8)
        assert torch.equal(corruptions.add_noise(grey, 0), grey)
        noise = corruptions.add_noise(grey, 20).double() - 128
        assert noise.std().item() == pytest.approx(20, rel=0.02)
        assert torch.equal(corruptions.add_noise(grey, 20), corruptions.add_noise(grey, 20))
        assert corruptions.add_noise(grey, 500).unique()[[0, -1]].tolist() == [0, 255]

    @given(
        st.lists(st.integers(0, 5), min_size=1, max_size=9),
        st.lists(st.integers(0, 5), min_size=1, max_size=9),
    )
    def test_area_by_pairs(self, inside, outside):
        pairs = [(o > i) + 0.5 * (o == i) for i in inside for o in outside]
        area = ood.area_under_roc(torch.tensor(inside), torch.tensor(outside))
        assert area == pytest.approx(np.mean(pairs))
        labels = [0] * len(inside) + [1] * len(outside)
        assert area == pytest.approx(roc_auc_score(labels, inside + outside))

    def test_judge(self, digits):
        arrays = data.read_arrays("digits")
        images = ood.load_images("digits", None, 30)
        assert torch.equal(images.test, torch.from_numpy(arrays["x_test"])[:30])
        assert torch.equal(images.labels, digits.test[1][:30])
        model = seeded(mlp.make_bayesian, 5, bbb.priors.Normal(0, 1), 0.3)
        predict = lambda x: evaluate.outputs(model, data.scale(x, 126), 3)  # noqa: E731
        found = ood.judge(predict, images)
        logits = evaluate.outputs(model, digits.test[0][:30], 3)
        p = logits.softmax(-1)
        entropy = -(p.mean(0) * p.mean(0).log()).sum(-1)
        expected = (entropy + (p * p.log()).sum(-1).mean(0)).mean().item()
        start = found["levels"]["rotation"]["0"]
        assert start["entropy"] == pytest.approx(entropy.mean().item(), rel=1e-5)
        assert start["mutual information"] == pytest.approx(expected, rel=1e-4)
        assert start["error"] == evaluate.figures(logits, images.labels)["error"]
        assert found["levels"]["noise"]["0"] == start
        assert set(found["auroc"]) == {"quarter turn", "noise"}
        assert set(found["auroc"]["noise"]) == {"entropy", "mutual information"}
        mean = ood.judge(lambda x: predict(x)[:1], images)
        assert set(mean["auroc"]["noise"]) == {"entropy"}
