"""The regression recipe: networks side by side, tasks, choices, resuming."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.gaussian_process import GaussianProcessRegressor
from torch import nn

import bbb
from bbb.errors import ConfigError
from recipes.common.statistics import t_interval
from recipes.regression.benchmark import Bench, best_noise, jobs, reference
from recipes.regression.curve_tasks import CURVE_SIGMA, TASKS, paper_curve
from recipes.regression.curves import measure
from recipes.regression.fitting import fit, make_model
from recipes.regression.options import SetOptions, Training
from recipes.regression.references import bayesian_ridge, gaussian_process, latent, scores
from recipes.regression.regression import Regressor, Replicas, perceptron, predictions
from recipes.regression.small_sets import SETS, load_splits

PRIORS = [None, "normal:0.5", "mixture:0.5:1:0.1"]


def some_data(replicas=3, examples=12, features=2):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(replicas, examples, features, generator=generator)
    return x, x.sum(-1, keepdim=True) + torch.arange(replicas).view(-1, 1, 1)


def some_models(prior, penalties=(1.0, 1.0, 1.0), **options):
    options = Training(hidden=[4], **options)
    return [
        make_model(2, options, 12, prior=prior, penalty=penalty, seed=seed)
        for seed, penalty in enumerate(penalties)
    ]


# -- networks -------------------------------------------------------------------------------


class TestReplicas:
    @pytest.mark.parametrize("prior", [None, "normal:0.5"])
    def test_losses_are_those_of_the_networks(self, prior):
        models, (x, y) = some_models(prior, (0.0, 0.3, 1.0)), some_data()
        for i, model in enumerate(models):
            model.likelihood.load_state_dict({"rho": torch.tensor(0.5 * i)})
        replicas = Replicas(models, x, y, seed=0)
        with bbb.posterior_mean(replicas.model):
            together = replicas.losses(x, y)
        for i, model in enumerate(models):
            with bbb.posterior_mean(model):
                torch.testing.assert_close(together[i], model(x[i], y[i]))

    def test_loss_of_a_plain_network_is_its_negative_log_posterior(self):
        (model, *_), (x, y) = some_models(None, (0.7,)), some_data()
        normal = torch.distributions.Normal
        likelihood = normal(model.net(x[0]), model.likelihood.sigma).log_prob(y[0]).sum()
        weights = torch.cat([w.flatten() for w in model.net.parameters()])
        prior = normal(0.0, 1.0).log_prob(weights).sum() + 0.5 * len(weights) * math.log(
            2 * math.pi
        )
        torch.testing.assert_close(12 * model(x[0], y[0]), -likelihood - 0.7 * prior)

    def test_loss_of_a_bayesian_network_is_the_tempered_elbo(self):
        (model, *_), (x, y) = some_models("normal:0.5", (0.7,)), some_data()
        with bbb.posterior_mean(model):
            expected = model.likelihood(model.net(x[0]), y[0])
            expected = expected + 0.7 * bbb.kl_divergence(model) / 12
            torch.testing.assert_close(model(x[0], y[0]), expected)

    def test_draws_of_the_networks_differ(self):
        models, (x, y) = some_models("normal:0.5"), some_data()
        replicas = Replicas([models[0]] * 3, x[:1].expand(3, -1, -1), y[:1].expand(3, -1, -1), 0)
        generator = torch.Generator().manual_seed(0)
        with bbb.sampling(replicas.model, generator=generator):
            losses = replicas.losses(replicas.x, replicas.y)
        assert len(losses.unique()) == 3

    def test_plain_networks_train_as_they_would_alone(self):
        # All examples in each batch, in whatever order and number: as many steps, the same batches.
        models, (x, y) = some_models(None), some_data()
        x, y = x[:, :1].expand(3, 5, 2), y[:, :1].expand(3, 5, 1)
        replicas = Replicas(models, x, y, seed=0)
        replicas.train(20, 5, 0.05)
        for i, model in enumerate(models):
            optimizer = torch.optim.Adam(model.parameters())
            for step in range(20):
                optimizer.param_groups[0]["lr"] = 0.025 * (1 + math.cos(math.pi * step / 20))
                optimizer.zero_grad()
                model(x[i], y[i]).backward()
                optimizer.step()
        for trained, model in zip(replicas.models(), models, strict=True):
            for name, value in model.state_dict().items():
                torch.testing.assert_close(trained.state_dict()[name], value, atol=1e-5, rtol=1e-4)

    @pytest.mark.parametrize("prior", PRIORS)
    def test_training_lowers_the_loss_of_each(self, prior):
        x, y = some_data()
        replicas = Replicas(some_models(prior), x, y, seed=0)
        with bbb.posterior_mean(replicas.model):
            before = replicas.losses(x, y)
            replicas.train(40, 12, 0.1)
            assert (replicas.losses(x, y) < before - 0.1).all()

    def test_posterior_of_a_line_is_exact(self):
        # Bayesian linear regression of one weight with known noise: the Gaussian posterior that
        # ELBO finds is the true one.
        x = torch.linspace(-1, 1, 10).view(1, 10, 1)
        y = 0.7 * x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        line = bbb.layers.BayesLinear(1, 1, bias=False, prior=bbb.priors.Normal(0, 1))
        model = Regressor(line, 10, sigma=0.3)
        model.likelihood.rho.requires_grad_(False)
        replicas = Replicas([model], x, y, seed=0)
        replicas.train(400, 10, 0.05)
        (trained,) = replicas.models()
        precision = 1 + x.square().sum() / 0.09
        mean = (x * y).sum() / 0.09 / precision
        posterior = trained.net.posterior()
        # Batches are drawn with replacement, and so are the weights: some noise is left.
        assert posterior.mu.item() == pytest.approx(mean.item(), abs=0.05)
        assert posterior.sigma.item() == pytest.approx(precision.rsqrt().item(), rel=0.1)

    def test_leaves_the_global_generator_alone(self, tmp_path):
        state = torch.get_rng_state()
        models, (x, y) = some_models("normal:0.5"), some_data()
        options = Training(steps=3, hidden=[4])
        for model in fit(models, x, y, options, tmp_path / "a.pt"):
            predictions(model, x[0], 3)
        assert torch.equal(torch.get_rng_state(), state)

    def test_predictions(self):
        x, _ = some_data()
        (bayesian, *_), (plain, *_) = some_models("normal:0.5"), some_models(None)
        found = predictions(bayesian, x[0], 7)
        assert found.shape == (7, 12, 1)
        assert found.var(0).min() > 0
        torch.testing.assert_close(found, predictions(bayesian, x[0], 7))
        assert predictions(plain, x[0], 7).shape == (1, 12, 1)

    def test_perceptron(self):
        net = perceptron(3, [5, 4])
        assert [m.out_features for m in net if isinstance(m, nn.Linear)] == [5, 4, 1]
        assert isinstance(net[-1], nn.Linear)


class TestResuming:
    @pytest.mark.parametrize("prior", PRIORS)
    def test_is_bitwise(self, prior, tmp_path):
        x, y = some_data()
        options = Training(steps=20, save_every=10, hidden=[4], batch_size=5)
        whole = fit(some_models(prior), x, y, options, tmp_path / "whole.pt")
        killed = Replicas(some_models(prior), x, y, seed=1_000_000)

        def until_13():
            if killed.step == 10:
                killed.save(tmp_path / "killed.pt", options.identity)
            if killed.step == 13:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            killed.train(20, 5, options.lr, until_13)
        again = fit(some_models(prior), x, y, options, tmp_path / "killed.pt")
        for one, other in zip(whole, again, strict=True):
            for name, value in one.state_dict().items():
                assert torch.equal(value, other.state_dict()[name]), name

    def test_refuses_other_options(self, tmp_path):
        x, y = some_data()
        options = Training(steps=2, hidden=[4])
        fit(some_models(None), x, y, options, tmp_path / "a.pt")
        other = Training(steps=2, hidden=[4], lr=0.5, threads=2)
        with pytest.raises(
            ConfigError, match=r"other settings: lr \(0\.01 there, 0\.5 now\); take"
        ):
            fit(some_models(None), x, y, other, tmp_path / "a.pt")


# -- tasks ----------------------------------------------------------------------------------


class TestTasks:
    def test_paper_curve_by_hand(self):
        x, e = torch.tensor([0.0, 0.25, 0.125]), torch.tensor([0.0, 0.0, 0.125])
        expected = [0.0, 0.25 + 0.3, 0.125 + 0.3 + 0.125]
        torch.testing.assert_close(paper_curve(x, e), torch.tensor(expected))

    @pytest.mark.parametrize("name", TASKS)
    def test_examples_are_in_the_data_regions(self, name):
        task = TASKS[name]
        x, y = task.draw(4000, torch.Generator().manual_seed(0))
        assert x.shape == y.shape == (4000, 1)
        assert task.where("data", x).all()
        for region in list(task.regions)[1:]:
            assert not task.where(region, x).any()
            assert task.where(region, task.grid()).any()
        noise = (y - task.curve(x)).std().item()
        # On the paper's curve the noise inside of the sines adds to that outside.
        low, high = (0.1, 0.1) if name == "gap" else (CURVE_SIGMA, 7 * CURVE_SIGMA)
        assert 0.9 * low < noise < 1.1 * high

    def test_measures_by_hand(self):
        task = TASKS["curve"]
        grid = task.grid()
        truth = task.curve(grid).squeeze(1).double().numpy()
        wide = np.where(grid.squeeze(1).numpy() > 0.7, 3.0, 0.5)
        band = np.stack([truth - wide, truth + 0.1, truth + wide])
        row = measure(task, {"bbb": np.stack([band, band])})["bbb"]
        assert row["iqr data"] == pytest.approx([1.0] * 3)
        assert row["iqr outside"] == pytest.approx([6.0] * 3)
        assert row["ratio outside"] == pytest.approx([6.0] * 3)
        assert row["rmse"] == pytest.approx([0.1] * 3)

    @pytest.mark.parametrize("name", SETS)
    def test_splits(self, name):
        x, y = SETS[name]()
        splits = load_splits(name, 3)
        count = splits.x.shape[1] + splits.x_test.shape[1]
        assert count == len(x) == len(y)
        assert splits.x_test.shape[1] == max(1, round(0.1 * count))
        assert splits.overlap == pytest.approx(1 / 9, rel=0.1)
        assert splits.y.mean(1).abs().max() < 1e-5
        torch.testing.assert_close(splits.x.std(1, correction=0), torch.ones(3, x.shape[1]))
        # Each split holds every target once, in the targets' own unit again.
        for i in range(3):
            both = torch.cat([splits.y[i], splits.y_test[i]]).double() * splits.scale[i]
            both = (both - both.mean() + y.mean()).squeeze(1).sort().values
            np.testing.assert_allclose(both, np.sort(y), rtol=1e-4, atol=1e-4 * y.std())
        assert not torch.equal(splits.x[0], splits.x[1])
        torch.testing.assert_close(load_splits(name, 1).x, splits.x[:1])

    def test_unknown_set(self):
        with pytest.raises(ConfigError, match=r"sets are diabetes, .* got 'boston'"):
            load_splits("boston", 1)


# -- measures -------------------------------------------------------------------------------


class TestMeasures:
    def test_best_noise_of_one_sample_is_its_error(self):
        y = 0.3 * torch.randn(400, 1, generator=torch.Generator().manual_seed(0))
        found = best_noise(torch.zeros(1, 400, 1), y)
        assert found["sigma"] == pytest.approx(y.square().mean().sqrt().item(), rel=0.1)
        assert found["nll"] == pytest.approx(
            -stats.norm(0, found["sigma"]).logpdf(y.numpy()).mean(), rel=1e-5
        )

    def test_scores_are_in_the_unit_of_the_targets(self):
        splits = load_splits("linnerud", 2)
        bench = Bench(splits, SetOptions(), "unused")
        samples = torch.stack([splits.y_test, splits.y_test + 0.2], 1)
        rows = [(each, {"sigma": 0.5}) for each in samples]
        result = bench.evaluate(rows)
        for i, scale in enumerate(splits.scale.tolist()):
            assert result["rmse"][i] == pytest.approx(0.1 * scale, rel=1e-4)
            each = [stats.norm(0, 0.5 * scale).pdf(shift * scale) for shift in (0, 0.2)]
            assert result["ll"][i] == pytest.approx(math.log(np.mean(each)), rel=1e-4)

    def test_choices_do_not_see_the_test_part(self, tmp_path):
        options = SetOptions(steps=3, hidden=[3], num_samples=4, penalties=[0.1, 1.0])
        splits = load_splits("linnerud", 3)
        other = replace(splits, y_test=splits.y_test + 1)
        one, two = (
            Bench(data, options, tmp_path / name).bayesian("a", ["normal:1", "normal:0.1"])
            for name, data in (("one", splits), ("two", other))
        )
        assert one["choice"] == two["choice"]
        assert one["ll"] != two["ll"]

    def test_results_depend_on_their_own_options(self):
        splits = load_splits("linnerud", 1)

        def identities(**changes):
            every = jobs(splits, SetOptions(splits=1, **changes), Path("unused"))
            return {name: identity for name, identity, _ in every}

        before = identities()
        for name, after in identities(decays=[7.0]).items():
            assert (after != before[name]) == (name == "ensemble")
        for name, after in identities(mixture=["mixture:0.5:1:0.5"]).items():
            assert (after != before[name]) == (name == "bbb_mixture")
        for name, after in identities(steps=7).items():
            assert (after != before[name]) == (name not in {"ridge", "gp"})
        assert identities(threads=2, sets=["wine"]) == before

    @pytest.mark.parametrize("model", [gaussian_process, bayesian_ridge])
    def test_references_know_their_noise(self, model):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(120, 1))
        y = 0.8 * x[:, 0] + 0.5 * rng.normal(size=120)
        ll, rmse = scores(model(x[:90], y[:90]), x[90:], y[90:])
        assert rmse == pytest.approx(0.5, abs=0.15)
        assert ll == pytest.approx(stats.norm(0, 0.5).logpdf(rmse), abs=0.15)

    def test_references_in_the_unit_of_the_targets(self):
        splits = load_splits("linnerud", 2)
        result = reference(splits, bayesian_ridge)
        assert np.mean(result["rmse"]) > 2
        assert -8 < np.mean(result["ll"]) < -3

    def test_latent_has_no_noise(self):
        x = np.linspace(-1, 1, 200)[:, None]
        y = np.sin(3 * x[:, 0]) + 0.1 * np.random.default_rng(0).normal(size=200)
        process = gaussian_process(x, y)
        assert isinstance(process, GaussianProcessRegressor)
        _, sigma = latent(process, np.array([[0.0], [6.0]]))
        assert sigma[0] < 0.05
        assert sigma[1] > 5 * sigma[0]

    def test_interval_of_overlapping_splits(self):
        values = [3.0, 5.0, 4.5, 4.0]
        low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
        assert t_interval(values) == pytest.approx([np.mean(values), low, high])
        wide = t_interval(values, overlap=0.75)
        assert wide[2] - wide[0] == pytest.approx(2 * (high - np.mean(values)))
        assert t_interval([3.0]) == [3.0, None, None]
