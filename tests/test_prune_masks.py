"""Pruned weights: gone in every forward and in the KL divergence, and for good."""

import copy
import io
import math
import pickle

import pytest
import torch
from torch import nn

import bbb
from bbb import layers, priors
from tests.test_prune import make, shared

PRIORS = [
    priors.Normal(0.1, 0.3),
    priors.Pretrained(0.3),
    priors.MOPED(0.2, 0.3),
    priors.Laplace(0.0, 0.2),
    priors.EmpiricalBayes("learned", 0.3),
    priors.EmpiricalBayes(),
]


# -- gone everywhere ------------------------------------------------------------------------


def linear(**bayes):
    return layers.BayesLinear(4, 3, **bayes), torch.randn(5, 4)


def conv(**bayes):
    return layers.BayesConv1d(4, 6, 3, groups=2, **bayes), torch.randn(2, 4, 7)


def lstm(**bayes):
    return layers.BayesLSTM(3, 4, num_layers=2, bidirectional=True, **bayes), torch.randn(5, 2, 3)


def embedding(**bayes):
    return layers.BayesEmbedding(6, 3, padding_idx=1, **bayes), torch.tensor([0, 1, 2, 5])


CASES = [
    pytest.param(make_case, estimator, tie, id=f"{make_case.__name__}-{estimator}-{tie}")
    for make_case, estimators in (
        (linear, ("weight", "local", "flipout")),
        (conv, ("weight", "local", "flipout")),
        (lstm, ("weight",)),
        (embedding, ("weight", "local")),
    )
    for estimator in estimators
    for tie in (False, True)
]


def first_output(layer, x):
    output = layer(x)
    return output[0] if isinstance(output, tuple) else output


@pytest.mark.parametrize(("make_case", "estimator", "tie"), CASES)
def test_pruned_weights_have_no_effect_and_no_gradient(make_case, estimator, tie):
    torch.manual_seed(0)
    layer, x = make_case(estimator=estimator, tie_sigma=tie, sigma_init=0.3)
    bbb.prune(layer, fraction=0.5)
    with torch.no_grad():  # whatever a pruned mean is by now
        for name in layer.bayesian_names:
            layer.mean_parameter(name)[~layer.mask(name)] = 1e6
    for training in (True, False):
        layer.train(training)
        output = first_output(layer, x)
        assert output.abs().max() < 100
        layer.zero_grad()
        output.square().sum().backward()
        for name in layer.bayesian_names:
            mask = layer.mask(name)
            for part in ("mu", "rho") if training and not tie else ("mu",):
                gradient = layer.get_parameter(f"{name}_{part}").grad
                assert gradient[mask].any()
                assert not gradient[~mask].any()
    for plain in (bbb.to_deterministic(layer), bbb.sample_deterministic(layer)):
        for name in layer.bayesian_names:
            weight = getattr(plain, name)
            assert not weight[~layer.mask(name)].any()
            assert not any("mask" in key for key in plain.state_dict())
    plain = bbb.to_deterministic(layer)
    assert torch.equal(first_output(plain, x), first_output(layer.eval(), x))


@pytest.mark.parametrize("estimator", ["weight", "local", "flipout"])
def test_a_row_without_weights_is_its_bias(estimator):
    layer, x = linear(estimator=estimator, sigma_init=0.5)
    with torch.no_grad():
        layer.weight_mu[0] = 0.0
    bbb.prune(layer, fraction=1 / 3)
    for _ in range(3):
        assert torch.equal(layer(x)[:, 0], layer.bias[0].expand(5))
        assert not torch.equal(layer(x)[:, 1], layer(x)[:, 1])


@pytest.mark.parametrize("estimator", ["weight", "local", "flipout"])
@torch.no_grad()
def test_variance_is_that_of_the_kept_weights(estimator):
    layer, x = linear(estimator=estimator, sigma_init=0.5)
    bbb.prune(layer, fraction=0.5)
    outputs = torch.stack([layer(x) for _ in range(2000)])
    expected = x.square() @ (layer.weight_mask * 0.25).T
    # The standard error of a variance is sqrt(2 / n); six of them.
    torch.testing.assert_close(outputs.var(0), expected, rtol=6 * (2 / 2000) ** 0.5, atol=1e-12)


def test_attention_is_pruned_too():
    torch.manual_seed(0)
    net = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    model = bbb.bayesianize(net, sigma_init=0.1)
    report = bbb.prune(model, fraction=0.8)
    assert [row.name for row in report.layers] == [
        "self_attn.in_proj_weight",
        "self_attn.out_proj.weight",
        "linear1.weight",
        "linear2.weight",
    ]
    x = torch.randn(2, 5, 8)
    plain = bbb.to_deterministic(model)
    for row in report.layers:
        assert (plain.get_parameter(row.name) != 0).sum() == row.kept
    torch.testing.assert_close(plain(x), model.eval()(x))
    with torch.no_grad():
        torch.testing.assert_close(plain.eval()(x), model(x))  # the fused path
    model.train()(x).sum().backward()
    assert not model.linear1.weight_mu.grad[~model.linear1.weight_mask].any()


def test_padding_row_of_an_embedding_is_no_weight():
    layer, _ = embedding()
    assert (bbb.signal_to_noise(layer)["weight"][1] == math.inf).all()
    report = bbb.prune(layer, fraction=0.4)
    assert (report.total.weights, report.total.kept) == (15, 9)
    assert layer.weight_mask[1].all()
    assert bbb.prune(layer, fraction=1.0).total.kept == 0
    assert bbb.kl_divergence(layer) == 0


def test_predictions_and_fixed_samples_use_the_mask():
    model = shared()
    bbb.prune(model, fraction=0.5)
    x = torch.randn(4, 3)
    with bbb.fixed_sample(model, seed=1):
        expected = model(x)
        plain = bbb.sample_deterministic(model, generator=torch.Generator().manual_seed(1))
    # Weights that layers share get one noise, also when a mask stands before them.
    torch.testing.assert_close(expected, plain(x))
    assert plain[0].weight is plain[1].weight
    for chunk_size in (None, 3):
        generator = torch.Generator().manual_seed(2)
        samples = bbb.predict(model, x, 6, chunk_size, generator)
        assert samples.shape == (6, 4, 3)
        assert samples.std(0).min() > 0


def test_pruned_layer_draws_the_same_noise():
    """Pruning changes what it removes and nothing else."""
    model = make()
    x = torch.randn(4, 6)
    pruned = copy.deepcopy(model)
    bbb.prune(pruned, fraction=0.5)
    with torch.no_grad():
        for layer, other in ((model[0], pruned[0]), (model[2], pruned[2])):
            layer.weight_mu[~other.weight_mask] = 0.0
            layer.weight_rho[~other.weight_mask] = -100.0
    torch.testing.assert_close(
        *(bbb.predict(m, x, 3, generator=torch.Generator().manual_seed(0)) for m in (model, pruned))
    )


# -- divergence from the prior ---------------------------------------------------------------


@pytest.mark.parametrize("prior", PRIORS, ids=str)
@pytest.mark.parametrize("tie", [False, True])
def test_kl_is_that_of_the_kept_weights(prior, tie):
    model = make(prior=prior, tie_sigma=tie)
    layer = model[0]
    bbb.prune(layer, fraction=0.4)
    keep = layer.weight_mask
    mu, rho = layer.weight_mu[keep], layer.weight_rho.expand(5, 6)[keep]
    state = {"loc": layer.weight_prior_loc[keep]} if hasattr(layer, "weight_prior_loc") else {}
    if hasattr(layer, "weight_prior_log_scale"):
        state = {"log_scale": layer.weight_prior_log_scale}
    torch.testing.assert_close(layer.kl("weight"), prior.at(state).kl(mu, rho))
    gradients = torch.autograd.grad(layer.kl("weight"), (layer.weight_mu, layer.weight_rho))
    assert not gradients[0][~keep].any()
    if not tie:
        assert gradients[1][keep].all()
        assert not gradients[1][~keep].any()


@pytest.mark.parametrize("prior", [priors.ScaleMixture(), priors.StudentT()], ids=str)
@pytest.mark.parametrize("estimator", ["weight", "flipout"])
def test_monte_carlo_kl_is_that_of_the_kept_weights(prior, estimator):
    layer, x = linear(prior=prior, sigma_init=0.2, estimator=estimator)
    bbb.prune(layer, fraction=0.5)
    with bbb.record_draws() as draws:
        layer(x)
    [draw] = draws.of(layer, "weight")
    keep = layer.weight_mask
    log_q = torch.distributions.Normal(layer.weight_mu, layer.posterior().sigma.clamp(min=1e-9))
    expected = (log_q.log_prob(draw.weight) - prior.log_prob(draw.weight))[keep].sum()
    kl = bbb.kl_divergence(layer, draws=draws)
    torch.testing.assert_close(kl, expected, rtol=1e-4, atol=1e-4)
    gradients = torch.autograd.grad(kl, (layer.weight_mu, layer.weight_rho))
    for gradient in gradients:
        assert gradient[keep].any()
        assert not gradient[~keep].any()
    fresh = bbb.kl_divergence(layer, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(fresh)
    assert abs(fresh - kl) < 30


@pytest.mark.parametrize("prior", [priors.Normal(), priors.ScaleMixture()], ids=str)
def test_training_after_pruning_keeps_the_zeros(prior):
    model = make(prior=prior)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05, weight_decay=0.01)
    criterion = bbb.ELBO(model, num_train=10)
    x, y = torch.randn(10, 6), torch.randint(0, 4, (10,))
    for step in range(6):
        if step == 3:  # the optimiser's momentum pushes on
            bbb.prune(model, fraction=0.5)
        with criterion.record() as draws:
            output = model(x)
        optimiser.zero_grad()
        criterion(output, y, draws=draws).backward()
        optimiser.step()
    plain = bbb.to_deterministic(model)
    assert sum(int((plain[i].weight == 0).sum()) for i in (0, 2)) == 25
    assert all(torch.isfinite(p).all() for p in model.parameters())


# -- stays gone -----------------------------------------------------------------------------


def same(first, second, x):
    return torch.equal(first.eval()(x), second.eval()(x))


def test_mask_is_in_the_state_dict_and_survives():
    model, x = make(), torch.randn(3, 6)
    bbb.prune(model, fraction=0.5)
    assert model.state_dict()["0.weight_mask"].dtype == torch.bool
    for other in (make(), copy.deepcopy(model)):
        other.load_state_dict(model.state_dict())
        assert same(other, model, x)
        assert torch.equal(other[0].weight_mask, model[0].weight_mask)
    other = copy.deepcopy(model)
    with torch.no_grad():  # a mask of its own
        other[0].weight_mask.fill_(value=True)
    assert not model[0].weight_mask.all()


def test_checkpoint_of_another_pruning_replaces_the_mask():
    model, other, x = make(), make(), torch.randn(3, 6)
    bbb.prune(model, fraction=0.2)
    bbb.prune(other, fraction=0.8)
    other.load_state_dict(model.state_dict())
    assert same(other, model, x)


def test_checkpoints_without_a_mask_leave_it():
    model = make()
    bbb.prune(model, fraction=0.5)
    mask = model[0].weight_mask.clone()
    torch.manual_seed(5)
    plain = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))
    for state in (make().state_dict(), plain.state_dict()):
        before = dict(state)
        model.load_state_dict(state)
        assert torch.equal(model[0].weight_mask, mask)
        assert state.keys() == before.keys()  # the caller's own is left alone
    assert torch.equal(model[0].weight_mu, plain[0].weight)
    expected = plain[0].weight.masked_fill(~mask, 0.0)
    assert torch.equal(bbb.to_deterministic(model)[0].weight, expected)


def test_mask_of_a_wrong_shape_is_refused():
    model, state = make(), None
    bbb.prune(model, fraction=0.5)
    state = model.state_dict()
    state["0.weight_mask"] = torch.ones(2, 2, dtype=torch.bool)
    with pytest.raises(RuntimeError, match=r"size mismatch for 0\.weight_mask"):
        make().load_state_dict(state)


def test_copies_pickles_and_dtypes():
    model, x = make(), torch.randn(3, 6)
    bbb.prune(model, fraction=0.5)
    model(x).sum()
    stream = io.BytesIO()
    torch.save(model, stream)
    stream.seek(0)
    pickled = pickle.loads(pickle.dumps(model))  # noqa: S301
    for other in (copy.deepcopy(model), pickled, torch.load(stream, weights_only=False)):
        assert same(other, model, x)
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        other = copy.deepcopy(model).to(dtype).train()
        assert other[0].weight_mask.dtype == torch.bool
        output, kl = other(x.to(dtype)), bbb.kl_divergence(other)
        (output.float().mean() + 1e-3 * kl).backward()
        for parameter in other.parameters():
            assert torch.isfinite(parameter.grad).all()
        assert not other[0].weight_mu.grad[~model[0].weight_mask].any()


def test_shared_weight_has_one_mask():
    model = shared()
    report = bbb.prune(model, fraction=0.5)
    assert [row.weights for row in report.layers] == [9]
    assert model[0].weight_mask is model[1].weight_mask
    other = shared()
    other.load_state_dict(model.state_dict())
    for one in (model, copy.deepcopy(model), other, copy.deepcopy(model).double()):
        assert torch.equal(one[0].weight_mask, one[1].weight_mask)
        plain = bbb.to_deterministic(one)
        assert plain[0].weight is plain[1].weight
        assert (plain[0].weight == 0).sum() == 4
        assert bbb.prune(one, fraction=0.5).total.kept == 5
    bbb.prune(other, fraction=0.9)  # the masks were loaded apart, and meet again
    assert torch.equal(other[0].weight_mask, other[1].weight_mask)


def test_weight_shared_with_a_plain_layer_is_pruned_in_the_bayesian_one():
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    net[1].weight = net[0].weight
    model = bbb.bayesianize(net, layers="1").eval()
    bbb.prune(model, fraction=0.5)
    x = torch.randn(4, 3)
    assert torch.equal(bbb.to_deterministic(model)(x), model(x))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_runs_under_compile_without_graph_breaks():
    torch.compiler.reset()
    layer, x = linear(sigma_init=0.3)
    bbb.prune(layer, fraction=0.5)
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    compiled(x).square().sum().backward()
    assert not layer.weight_mu.grad[~layer.weight_mask].any()
    layer.eval()
    assert torch.equal(compiled(x), layer(x))
