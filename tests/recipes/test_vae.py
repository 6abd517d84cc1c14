"""The VAE recipe's parts: model, names, data, measures, resuming."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import kl_divergence

import bbb.estimators as G
from bbb.errors import ConfigError, DataError
from recipes.vae.fit import Run
from recipes.vae.images import batches, load_images
from recipes.vae.measures import bounds_of, gradient_noise
from recipes.vae.settings import Settings
from recipes.vae.vae import LATENTS, VAE, make_optimizer, negative_bound, negative_elbo
from recipes.vae.zoo import ZOO, parse_spec

SIZES = {"gaussian": [3], "bernoulli": [4], "categorical": [2, 3]}
PAIRS = [(name, latent) for name, entry in ZOO.items() for latent in entry.latents]


def make_vae(latent, *, pixels=6, hidden=()):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VAE(pixels, latent, SIZES[latent], hidden)


def some_images(count=5, pixels=6):
    return (torch.rand(count, pixels, generator=torch.Generator().manual_seed(1)) < 0.5).float()


def tiny(**changes):
    return Settings(
        **{"steps": 25, "log_every": 5, "measure_every": 10, "replicas": 2, "save_every": 10}
        | {"bound_samples": 20, "batch_size": 16, "tau": 0.5, "latent_size": [6]}
        | changes
    )


# -- model ----------------------------------------------------------------------------------


class TestModel:
    @pytest.mark.parametrize("latent", LATENTS)
    def test_divergence_is_that_of_q_from_p(self, latent):
        vae, x = make_vae(latent), 3 * some_images()
        q = vae.posterior(x)
        if latent == "gaussian":
            mu, sigma = q.base_dist.loc, q.base_dist.scale
            expected = 0.5 * (mu**2 + sigma**2 - 1 - 2 * sigma.log()).sum(-1)
        else:
            # By definition: the sum over all values of z.
            values = G.Exact()
            ratio = lambda z: q.log_prob(z) - vae.prior().log_prob(z)  # noqa: E731
            expected = G.expectation(ratio, q, values)
        torch.testing.assert_close(vae.kl(q), expected)
        other = kl_divergence(vae.prior(q.batch_shape), q)
        assert not torch.allclose(vae.kl(q), other, rtol=1e-3)

    @pytest.mark.parametrize("latent", LATENTS)
    def test_shapes(self, latent):
        vae, x = make_vae(latent, hidden=[7, 5]), some_images()
        q = vae.posterior(x)
        z = q.sample((9,))
        assert z.shape == (9, 5, *SIZES[latent])
        assert vae.log_likelihood(x, z).shape == vae.log_weight(x, z, q).shape == (9, 5)
        assert vae.decode(vae.prior((4,)).sample()).shape == (4, 6)

    @pytest.mark.parametrize("latent", ["bernoulli", "categorical"])
    def test_elbo_is_below_bound_is_below_likelihood(self, latent):
        vae, x = make_vae(latent), some_images()
        prior = vae.prior((len(x),))
        log_p = -math.inf
        for z in G.exact.enumerate_states(prior):
            log_p = torch.logaddexp(
                torch.as_tensor(log_p), vae.log_likelihood(x, z[None])[0] + prior.log_prob(z)
            )
        exact_elbo = negative_elbo(vae, x, G.Exact()).mean().item()
        elbo, bound = bounds_of(vae, x.byte(), 4000, 0, rows=2)
        assert elbo == pytest.approx(exact_elbo, abs=0.05)
        assert bound == pytest.approx(-log_p.mean().item(), abs=0.02)
        assert bound < elbo

    @pytest.mark.parametrize("num_samples", [1, 20, 30])
    def test_bounds_take_as_many_draws_as_they_say(self, num_samples, monkeypatch):
        vae, x = make_vae("bernoulli"), some_images().byte()
        rows, log_likelihood = [], vae.log_likelihood
        monkeypatch.setattr(
            vae, "log_likelihood", lambda x, z: rows.append(len(z)) or log_likelihood(x, z)
        )
        elbo, bound = bounds_of(vae, x, num_samples, 0, draws=20)
        assert sum(rows) == num_samples
        assert max(rows) <= 20
        assert math.isfinite(elbo + bound)

    def test_bound_of_one_draw_is_the_elbo(self):
        vae, x = make_vae("gaussian"), some_images(2000)
        loose = negative_bound(vae, x, G.Pathwise(1, generator=torch.Generator().manual_seed(0)))
        elbo = negative_elbo(vae, x, G.Pathwise(50, generator=torch.Generator().manual_seed(0)))
        error = (loose - elbo).std() / math.sqrt(len(x))
        assert abs((loose - elbo).mean()) < 4.5 * error


# -- names ----------------------------------------------------------------------------------


class TestNames:
    @pytest.mark.parametrize(("name", "latent"), PAIRS)
    def test_every_pair_trains_every_part(self, name, latent, digits):
        settings = tiny(latent=latent, latent_size=SIZES[latent], num_samples=2)
        run = Run(settings, name, 0, digits, Path("unused"))
        before = {key: value.clone() for key, value in run.modules.named_parameters()}
        run.loss(run.vae, run.fixed_batch, run.estimator).mean().backward()
        run.optimizer.step()
        for key, value in run.modules.named_parameters():
            assert torch.isfinite(value).all()
            if value.requires_grad:
                assert not torch.equal(value, before[key]), key

    def test_number_of_samples(self):
        assert parse_spec("rloo-7", "bernoulli")[1] == 7
        assert parse_spec("rloo", "bernoulli", 3)[1] == 3
        assert parse_spec("rloo", "bernoulli")[1] == 4
        assert parse_spec("gumbel-anneal-2", "bernoulli") == (ZOO["gumbel-anneal"], 2)

    @pytest.mark.parametrize(
        ("spec", "latent", "message"),
        [
            ("rlo", "bernoulli", "unknown estimator 'rlo'; did you mean 'rloo'"),
            ("zzz", "bernoulli", "unknown estimator 'zzz'; there are exact, reinforce"),
            ("disarm", "gaussian", "does not fit --latent gaussian, where there are .*pathwise"),
            ("darn", "categorical", "does not fit --latent categorical, where .*reinmax"),
            ("pathwise", "bernoulli", "does not fit --latent bernoulli, where .*rloo"),
            ("exact-4", "bernoulli", "draws no samples, got 'exact-4'; write 'exact'"),
        ],
    )
    def test_wrong_ones(self, spec, latent, message):
        with pytest.raises(ConfigError, match=message):
            parse_spec(spec, latent)

    def test_too_few_samples_is_the_estimators_own_message(self, digits):
        with pytest.raises(ConfigError, match="RLOO needs num_samples >= 2, got 1"):
            Run(tiny(), "rloo-1", 0, digits, Path("unused"))


# -- data -----------------------------------------------------------------------------------


class TestImages:
    def test_digits(self, digits):
        assert digits.train.shape == (1400, 64)
        assert digits.test.shape == (397, 64)
        assert digits.train.unique().tolist() == [0, 1]

    def write(self, path, **changes):
        grey = np.random.default_rng(0).integers(256, size=(400, 5, 5)).astype(np.uint8)
        grey[:, 0, 0], grey[:, 0, 1] = 0, 255
        arrays = {"x_train": grey, "x_test": grey[:7]} | changes
        np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
        return grey

    def test_fixed_binarization_follows_the_grey_values(self, tmp_path):
        grey = self.write(tmp_path / "a.npz")
        first, second = (load_images(str(tmp_path / "a.npz"), "fixed") for _ in range(2))
        torch.testing.assert_close(first.train, second.train, rtol=0, atol=0)
        assert first.test.shape == (7, 25)
        assert first.side == 5
        assert (first.train[:, 0] == 0).all()
        assert (first.train[:, 1] == 1).all()
        p = torch.from_numpy(grey / 255).flatten(1)
        z = (first.train - p).sum() / (p * (1 - p)).sum().sqrt()
        assert abs(z) < 4.5
        high = load_images(str(tmp_path / "a.npz"), "threshold")
        assert torch.equal(high.train, (p >= 0.5).byte())

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"x_test": None}, "x_train, x_test .*x_test"),
            ({"x_test": np.zeros((3, 4, 4), np.uint8)}, r"x_test .*got uint8 of \(3, 4, 4\)"),
            ({"x_train": np.zeros((3, 5, 5))}, "x_train has to be uint8 .*got float64"),
        ],
    )
    def test_wrong_files(self, changes, message, tmp_path):
        self.write(tmp_path / "a.npz", **changes)
        with pytest.raises(DataError, match=message):
            load_images(str(tmp_path / "a.npz"), "fixed")

    def test_no_file(self, tmp_path):
        with pytest.raises(ConfigError, match=r"got '.*none\.npz'; 'python data_prep/mnist\.py"):
            load_images(str(tmp_path / "none.npz"), "fixed")
        (tmp_path / "bad.npz").write_bytes(b"PK\3\4 but no more")
        with pytest.raises(DataError, match=r"bad\.npz: expected an \.npz"):
            load_images(str(tmp_path / "bad.npz"), "fixed")

    def test_mnist(self, real_data):
        images = load_images(str(real_data / "mnist.npz"), "fixed")
        assert images.train.shape == (60_000, 784)
        assert 0.12 < images.train.float().mean() < 0.14

    def test_batches_are_epochs_and_a_function_of_the_step(self):
        images = torch.arange(10)[:, None]
        whole = torch.stack(list(batches(images, 3, 5, 0, 9)))
        assert whole.shape == (9, 3, 1)
        for epoch in whole.split(3):
            assert len(epoch.unique()) == 9
        assert not torch.equal(whole[:3], whole[3:6])
        assert torch.equal(torch.stack(list(batches(images, 3, 5, 4, 9))), whole[4:])
        assert not torch.equal(torch.stack(list(batches(images, 3, 6, 0, 9))), whole)


# -- measures -------------------------------------------------------------------------------


class TestNoise:
    def test_is_the_variance_of_repeated_gradients(self):
        vae, x = make_vae("bernoulli"), some_images()
        found = gradient_noise(vae, G.RLOO(2), negative_elbo, x, replicas=40, seed=3)
        estimator = G.RLOO(2, generator=torch.Generator().manual_seed(3))
        gradients = []
        for _ in range(40):
            vae.zero_grad()
            negative_elbo(vae, x, estimator).mean().backward()
            flat = torch.cat([p.grad.flatten() for p in vae.encoder.parameters()])
            gradients.append(flat.double().clone())
        each = torch.stack(gradients)
        variance = each.var(0).sum().item()
        signal = each.mean(0).square().sum().item() - variance / 40
        assert found["variance"] == pytest.approx(variance, rel=1e-6)
        assert found["snr"] == pytest.approx(math.sqrt(max(signal, 0) / variance), rel=1e-5)

    def test_is_none_without_draws(self):
        found = gradient_noise(
            make_vae("bernoulli"), G.Exact(), negative_elbo, some_images(), replicas=3, seed=0
        )
        assert found["variance"] < 1e-12

    @pytest.mark.parametrize("spec", ["ema", "nvil", "gumbel-anneal", "rebar"])
    def test_changes_nothing(self, spec, digits):
        run = Run(tiny(), spec, 0, digits, Path("unused"))
        before = {key: value.clone() for key, value in run.modules.state_dict().items()}
        drawn = run.generator.get_state()
        run.measure()
        assert torch.equal(run.generator.get_state(), drawn)
        for key, value in run.modules.state_dict().items():
            assert torch.equal(value, before[key]), key
        assert all(p.grad is None for p in run.modules.parameters())
        assert run.estimator.training

    def test_reparameterised_twice_gains_with_samples(self):
        vae, x, ratios = make_vae("gaussian"), some_images(), {}
        # The laws, 1 / sqrt(K) and sqrt(K), are for weights of finite variance: q wider than p.
        vae.encoder[-1].bias.data[3:] += 2
        for name, estimator in (("iwae", G.Pathwise), ("dreg", G.DReG)):
            for samples in (16, 256):
                noise = gradient_noise(
                    vae, estimator(samples), negative_bound, x, replicas=200, seed=0
                )
                ratios[name, samples] = noise["snr"]
        assert ratios["dreg", 256] > 2 * ratios["dreg", 16]
        assert ratios["iwae", 256] < 0.7 * ratios["iwae", 16]


def test_example_of_the_readme(digits):
    """The loop as a user would write it, from the recipe's public parts."""
    vae, estimator = make_vae("categorical", pixels=64), G.ReinMax()
    optimizer = make_optimizer(vae, estimator, 0.01)
    x = digits.train.float()
    start = negative_elbo(vae, x, estimator).mean().item()
    for batch in batches(digits.train, 64, 0, 0, 60):
        optimizer.zero_grad()
        negative_elbo(vae, batch, estimator).mean().backward()
        optimizer.step()
    assert negative_elbo(vae, x, estimator).mean().item() < start - 5
