import asyncio
import inspect
import subprocess
import sys
import threading

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import bbb
from bbb.errors import ConfigError


@pytest.fixture
def model():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Dropout(0.5), nn.Linear(5, 3))
    return bbb.bayesianize(net, sigma_init=0.3)


X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


# -- contexts -----------------------------------------------------------------------------------


def test_sampling_draws_in_eval(model):
    model.eval()
    mean = model(X)
    with bbb.sampling(model):
        assert not torch.equal(model(X), model(X))
    assert torch.equal(model(X), mean)


def test_posterior_mean_works_in_train(model):
    model[2].eval()
    with bbb.posterior_mean(model):
        assert torch.equal(model(X), model(X))
    assert not torch.equal(model(X), model(X))
    with bbb.posterior_mean(nn.Linear(1, 1)):
        pass  # nothing to change, nothing wrong


def test_fixed_sample_keeps_one_draw_and_touches_no_global_state(model):
    model.eval()
    state = torch.get_rng_state()
    with bbb.fixed_sample(model, seed=3):
        first, half = model(X), model(X[:3])
    with bbb.fixed_sample(model, seed=3):
        assert torch.equal(model(X), first)
    with bbb.fixed_sample(model, seed=4):
        assert not torch.equal(model(X), first)
    assert torch.equal(state, torch.get_rng_state())
    torch.testing.assert_close(half, first[:3])  # one function, whatever the batch


@pytest.mark.parametrize("estimator", ["weight", "local", "flipout"])
def test_fixed_sample_is_one_function_for_every_estimator(estimator):
    model = bbb.bayesianize(nn.Linear(4, 3), estimator=estimator, sigma_init=0.5)
    with bbb.fixed_sample(model):
        torch.testing.assert_close(model(X + 1) - model(X), model(X + 2) - model(X + 1))


def test_fixed_sample_follows_the_parameters_and_gives_gradients(model):
    model.eval()
    with bbb.fixed_sample(model):
        before = model(X)
        before.sum().backward()
        with torch.no_grad():
            model[3].weight_mu.add_(1.0)
        assert not torch.equal(model(X), before)
    assert model[0].weight_rho.grad.any()


def test_fixed_sample_by_generator(model):
    model.eval()
    with bbb.fixed_sample(model, seed=3):
        expected = model(X)
    with bbb.fixed_sample(model, generator=torch.Generator().manual_seed(3)):
        assert torch.equal(model(X), expected)


def test_contexts_apply_to_the_given_part_only(model):
    model.eval()
    with bbb.sampling(model[0]):
        assert not torch.equal(model[0](X), model[0](X))
        assert torch.equal(
            model[3](X[:, :1] @ torch.ones(1, 5)), model[3](X[:, :1] @ torch.ones(1, 5))
        )


def test_inner_context_wins_and_outer_comes_back(model):
    model.eval()
    mean = model(X)
    with bbb.sampling(model):
        with bbb.posterior_mean(model):
            assert torch.equal(model(X), mean)
        with bbb.posterior_mean(model[0]):
            assert not torch.equal(model(X), mean)  # the last layer is still sampled
        assert not torch.equal(model(X), mean)


def test_contexts_close_after_an_exception(model):
    model.eval()
    mean = model(X)
    with pytest.raises(KeyError), bbb.sampling(model):
        raise KeyError
    assert torch.equal(model(X), mean)


def test_contexts_are_those_of_the_thread(model):
    model.eval()
    mean = model(X)
    seen = []
    with bbb.sampling(model):
        thread = threading.Thread(target=lambda: seen.append(model(X)))
        thread.start()
        thread.join()
    assert torch.equal(seen[0], mean)


def test_contexts_are_those_of_the_task(model):
    model.eval()
    mean = model(X)

    async def sampler(ready, done):
        with bbb.sampling(model):
            ready.set()
            await done.wait()
            return model(X)

    async def main():
        ready, done = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(sampler(ready, done))
        await ready.wait()
        outside = model(X)
        done.set()
        return outside, await task

    outside, inside = asyncio.run(main())
    assert torch.equal(outside, mean)
    assert not torch.equal(inside, mean)


def test_two_threads_predict_at_once(model):
    model.eval()
    expected = [
        bbb.predict(model, X, 5, generator=torch.Generator().manual_seed(s)) for s in (1, 2)
    ]
    results = {}

    def work(seed):
        for _ in range(10):
            g = torch.Generator().manual_seed(seed)
            results.setdefault(seed, []).append(bbb.predict(model, X, 5, generator=g))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, value in zip((1, 2), expected, strict=True):
        assert all(torch.equal(result, value) for result in results[seed])


@pytest.mark.parametrize("context", [bbb.sampling, bbb.fixed_sample])
def test_contexts_need_a_bayesian_model(context):
    with (
        pytest.raises(
            ConfigError, match="needs a model with a Bayesian layer, got Linear with none"
        ),
        context(nn.Linear(1, 1)),
    ):
        pass


# -- predict ------------------------------------------------------------------------------------


def test_predict_shape_and_mode(model):
    model[0].eval()
    flags = [m.training for m in model.modules()]
    samples = bbb.predict(model, X, num_samples=7)
    assert samples.shape == (7, 6, 3)
    assert not samples.requires_grad
    assert [m.training for m in model.modules()] == flags
    assert bbb.predict(model, X).shape == (20, 6, 3)


@pytest.mark.parametrize("chunk_size", [1, 3, 7, 100])
def test_chunks_do_not_change_the_samples(model, chunk_size):
    def run(size):
        return bbb.predict(model, X, 7, size, torch.Generator().manual_seed(0))

    torch.testing.assert_close(run(chunk_size), run(None))


def test_chunks_of_a_convolution():
    model = bbb.bayesianize(nn.Conv1d(4, 6, 3, groups=2), bayesian_bias=True, tie_sigma=True)
    x = torch.randn(2, 4, 9)
    together = bbb.predict(model, x, 5, 5, torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        together, bbb.predict(model, x, 5, None, torch.Generator().manual_seed(0))
    )


def test_each_sample_is_one_network(model):
    g = torch.Generator().manual_seed(9)
    samples = bbb.predict(model, X, 3, generator=g)
    g = torch.Generator().manual_seed(9)
    for sample in samples:
        plain = bbb.sample_deterministic(model, generator=g).eval()
        torch.testing.assert_close(sample, plain(X))


def test_moments_of_a_linear_model_are_exact():
    torch.manual_seed(0)
    model = bbb.bayesianize(nn.Linear(4, 3), sigma_init=0.5)
    samples = bbb.predict(model, X, 4000, chunk_size=1000)
    sd = 0.5 * X.norm(dim=1, keepdim=True).expand(6, 3)
    # Five standard errors; one false alarm in 10^5 runs over 18 numbers.
    assert (samples.mean(0) - model.eval()(X)).abs().max() < 5 * sd.max() / 4000**0.5
    torch.testing.assert_close(samples.std(0), sd, rtol=5 / 8000**0.5, atol=0)


# 1 of the inputs is 0: there the local estimator's noise is 0, too.
FEW = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, -2.0, 0.5, 1.0]])


def test_local_samples_have_the_moments_of_joint_ones_row_by_row(model):
    model = bbb.bayesianize(bbb.to_deterministic(model), sigma_init=0.5, estimator="local")
    torch.manual_seed(0)
    local = bbb.predict(model, FEW, 4000)
    joint = bbb.predict(model, FEW, 4000, chunk_size=1000, joint=True)
    assert local.shape == joint.shape == (4000, 2, 3)
    error = (local.mean(0) - joint.mean(0)) / ((local.var(0) + joint.var(0)) / 4000).sqrt()
    assert error.abs().max() < 5  # one false alarm in 10^5 runs
    # Kurtosis is below 4: five standard errors of the ratio of two sample deviations.
    torch.testing.assert_close(local.std(0), joint.std(0), rtol=5 * (1.5 / 4000) ** 0.5, atol=0)


def test_rows_of_a_joint_sample_come_from_one_network_and_local_ones_do_not():
    model = bbb.bayesianize(nn.Linear(4, 3), sigma_init=0.5)
    twice = FEW[1].expand(3, 4)  # three rows, at most in_features: "auto" is "local"
    joint = bbb.predict(model, twice, 5, joint=True)
    torch.testing.assert_close(joint[:, 0], joint[:, 1])
    local = bbb.predict(model, twice, 5)
    assert not torch.isclose(local[:, 0], local[:, 1]).any()
    assert not torch.isclose(local[0], local[1]).any()


@pytest.mark.parametrize("estimator", ["auto", "local", "flipout", "weight"])
def test_a_seed_names_networks_whatever_the_batch(model, estimator):
    model = bbb.bayesianize(bbb.to_deterministic(model), sigma_init=0.3, estimator=estimator)
    state = torch.get_rng_state()
    whole = bbb.predict(model, X, 5, seed=1)
    parts = [bbb.predict(model, part, 5, seed=1) for part in X.split(2)]
    torch.testing.assert_close(whole, torch.cat(parts, dim=1))
    assert not torch.equal(whole, bbb.predict(model, X, 5, seed=2))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("chunk_size", [None, 1, 2])
def test_local_samples_follow_the_generator(chunk_size):
    model = bbb.bayesianize(nn.Linear(4, 3), estimator="local")
    first, again, other = (
        bbb.predict(model, FEW, 5, chunk_size, torch.Generator().manual_seed(s)) for s in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_what_comes_before_the_first_noise_is_computed_once():
    """That is what vectorising is for: mean and variance of the first layer's output."""
    net = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3))
    model = bbb.bayesianize(net, estimator="local")
    with FlopCounterMode(display=False) as counter:
        bbb.predict(model, FEW, 10)
    assert counter.get_total_flops() == 2 * 2 * 2 * (4 * 5 + 10 * 5 * 3)


def test_dropout_is_off_and_batch_norm_untouched():
    net = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.9))
    model = bbb.bayesianize(net, sigma_init=1e-7)
    running = model[1].running_mean.clone()
    samples = bbb.predict(model, X, 3)
    torch.testing.assert_close(samples[0], samples[2], rtol=1e-3, atol=1e-4)
    assert torch.equal(model[1].running_mean, running)
    assert model.training


def test_mode_comes_back_after_an_exception(model):
    with pytest.raises(RuntimeError):
        bbb.predict(model, torch.ones(2, 99))
    assert model.training


def test_predict_refuses_nonsense(model):
    with pytest.raises(ConfigError, match="predict needs num_samples >= 1, got 0"):
        bbb.predict(model, X, 0)
    with pytest.raises(ConfigError, match="predict needs chunk_size >= 1, got 0"):
        bbb.predict(model, X, 3, 0)
    with pytest.raises(ConfigError, match="predict needs a generator or a seed, got both"):
        bbb.predict(model, X, generator=torch.Generator(), seed=0)
    with pytest.raises(ConfigError, match="predict needs a model with a Bayesian layer"):
        bbb.predict(nn.Linear(4, 3), X)

    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x):
            return self.inner(x), x

    with pytest.raises(ConfigError, match="needs a model that returns one tensor, got tuple"):
        bbb.predict(Pair(), X)


def test_the_name_is_callable_however_it_was_imported():
    code = (
        "import bbb.predict, torch; from bbb.predict import predict as f;"
        "m = bbb.bayesianize(torch.nn.Linear(2, 2));"
        "assert bbb.predict(m, torch.ones(1, 2), 3).shape == f(m, torch.ones(1, 2), 3).shape"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert "num_samples" in inspect.signature(bbb.predict).parameters


class _Recurrent(nn.Module):
    """A plain recurrent layer, for which torch.vmap has no rule, under a Bayesian one."""

    def __init__(self):
        super().__init__()
        self.recurrent = nn.LSTM(4, 3, batch_first=True)
        self.output = nn.Linear(3, 2)

    def forward(self, x):
        return self.output(self.recurrent(x)[0][:, -1])


def test_a_model_that_vmap_cannot_run_is_looped_over():
    model = bbb.bayesianize(_Recurrent(), layers=["output"], estimator="local")
    assert bbb.predict(model, torch.randn(5, 6, 4), 3).shape == (3, 5, 2)


def test_a_chunk_size_for_such_a_model_is_refused():
    model = bbb.bayesianize(_Recurrent(), layers=["recurrent"])
    with pytest.raises(ConfigError, match=r"lstm.*drop chunk_size"):
        bbb.predict(model, torch.randn(5, 6, 4), 3, chunk_size=2)


class _Padded(nn.Module):
    """A transformer whose padding torch cuts out by nested tensors, which vmap does not know."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)

    def forward(self, x):
        padding = torch.tensor([[False, False, False], [False, True, True]])
        return self.encoder(x, src_key_padding_mask=padding)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_a_chunk_size_for_nested_tensors_is_refused():
    model, x = bbb.bayesianize(_Padded()), torch.randn(2, 3, 8)
    assert bbb.predict(model, x, 3).shape == (3, 2, 3, 8)
    with pytest.raises(ConfigError, match=r"NestedTensor.*drop chunk_size"):
        bbb.predict(model, x, 3, chunk_size=2)
