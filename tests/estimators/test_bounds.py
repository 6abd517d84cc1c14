"""Bounds of several samples, against every combination of draws and against closed forms."""

import itertools
import math

import pytest
import torch
from torch import distributions as td

import bbb.estimators as G

REPLICAS = 40_000
LOGITS = torch.tensor([0.2, -0.4, 0.7], dtype=torch.float64)
WEIGHTS = torch.tensor([1.3, -0.7, 0.9], dtype=torch.float64)


def bits(logits):
    return td.Independent(td.Bernoulli(logits=logits), 1)


def log_weight(q):
    prior = bits(torch.tensor([0.1, 0.3, -0.2], dtype=torch.float64))
    return lambda z: -((z @ WEIGHTS - 1) ** 2) + prior.log_prob(z) - q.log_prob(z)


def exact_bound(logits, count):
    """Sum over all draws of ``count`` samples."""
    q = bits(logits)
    states = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)), dtype=torch.float64)
    index = torch.tensor(list(itertools.product(range(8), repeat=count)))
    probability = q.log_prob(states)[index].sum(-1).exp()
    return (probability * (log_weight(q)(states)[index].logsumexp(-1) - math.log(count))).sum()


def vimco(count, mean):
    torch.manual_seed(0)
    at = LOGITS.expand(REPLICAS, 3).clone().requires_grad_()
    q = bits(at)
    value = G.multi_sample_bound(log_weight(q), q, G.VIMCO(count, mean=mean))
    (gradient,) = torch.autograd.grad(value.sum(), at)
    return value.detach(), gradient


def z_score(samples, truth):
    return ((samples.mean(0) - truth).abs() / (samples.std(0) / len(samples) ** 0.5)).max()


@pytest.mark.parametrize("mean", ["geometric", "arithmetic", "none"])
@pytest.mark.parametrize("count", [2, 5])
def test_vimco_has_the_exact_gradient_on_average(count, mean):
    at = LOGITS.clone().requires_grad_()
    bound = exact_bound(at, count)
    (exact,) = torch.autograd.grad(bound, at)
    value, gradient = vimco(count, mean)
    assert z_score(value[:, None], bound.detach()) < 4.5
    assert z_score(gradient, exact) < 4.5


def test_the_baselines_take_most_of_the_variance_away():
    found = {m: vimco(5, m)[1].var(0).sum() for m in ("geometric", "arithmetic", "none")}
    assert found["geometric"] < found["arithmetic"] < found["none"] / 10


def test_vimco_is_finite_where_weights_underflow():
    """All in logsumexp: exp(-1000) of every weight is 0."""
    logits = torch.zeros(4, 3, requires_grad=True)
    q = bits(logits)
    value = G.multi_sample_bound(lambda z: -1000 * (1 + z.sum(-1)), q, G.VIMCO(5))
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(logits.grad).all()


def gaussian(estimator, replicas=REPLICAS):
    """Gradients in q's mean and log-deviation, and in a parameter of the model."""
    torch.manual_seed(1)
    at = torch.tensor([0.6, 0.1, 0.7], dtype=torch.float64)
    at = at.expand(replicas, 3).clone().requires_grad_()
    q = td.Normal(at[:, 0], at[:, 1].exp())
    x = torch.tensor(1.2, dtype=torch.float64)

    def log_w(z):
        likelihood = td.Normal(at[:, 2] * z, 0.8).log_prob(x)
        return td.Normal(0.0, 1.0).log_prob(z) + likelihood - q.log_prob(z)

    value = G.multi_sample_bound(log_w, q, estimator)
    return value.detach(), torch.autograd.grad(value.sum(), at)[0]


@pytest.mark.parametrize("count", [1, 2, 8])
def test_dreg_agrees_with_the_pathwise_gradient(count):
    _, path = gaussian(G.Pathwise(count))
    _, doubly = gaussian(G.DReG(count))
    error = ((path.var(0) + doubly.var(0)) / REPLICAS).sqrt()
    assert ((path.mean(0) - doubly.mean(0)).abs() < 4.5 * error).all()


def test_dregs_signal_grows_with_the_samples_and_the_pathwise_one_drowns():
    def signal_to_noise(estimator):
        gradient = gaussian(estimator)[1][:, 1]
        return (gradient.mean().abs() / gradient.std()).item()

    # q is wider than the posterior: of a narrow one the weights would have no fourth moment.
    path = [signal_to_noise(G.Pathwise(count)) for count in (4, 64)]
    doubly = [signal_to_noise(G.DReG(count)) for count in (4, 64)]
    assert path[1] < path[0]
    assert doubly[1] > doubly[0]
    assert doubly[1] > 5 * path[1]


def test_one_sample_of_dreg_sticks_the_landing():
    """At the true posterior every single draw of its gradient is 0; the pathwise one is not."""
    variance = 1 / (1 + 0.7**2 / 0.8**2)
    mean = variance * 0.7 * 1.2 / 0.8**2
    at = torch.tensor([mean, 0.5 * math.log(variance)], dtype=torch.float64).requires_grad_()
    q = td.Normal(at[0].expand(100), at[1].exp().expand(100))
    x = torch.tensor(1.2, dtype=torch.float64)

    def log_w(z):
        likelihood = td.Normal(0.7 * z, 0.8).log_prob(x)
        return td.Normal(0.0, 1.0).log_prob(z) + likelihood - q.log_prob(z)

    found = {}
    for estimator in (G.DReG(1), G.Pathwise(1)):
        value = G.multi_sample_bound(log_w, q, estimator)
        (gradient,) = torch.autograd.grad(value[0], at, retain_graph=True)
        found[type(estimator)] = gradient.abs().sum()
    assert found[G.DReG] < 1e-12
    assert found[G.Pathwise] > 1e-3


def test_bounds_grow_with_the_samples_towards_the_evidence():
    evidence = td.Normal(0.0, (0.7**2 + 0.8**2) ** 0.5).log_prob(torch.tensor(1.2)).item()
    values = [gaussian(G.DReG(count), 20_000)[0].mean().item() for count in (1, 4, 32)]
    assert values[0] < values[1] < values[2] < evidence + 0.01


@pytest.mark.parametrize("mean", ["geometric", "arithmetic"])
def test_a_weight_of_zero_leaves_the_gradient_finite(mean):
    """Its own baseline is a mean of the others, not infinity less infinity."""
    logits = torch.zeros(300, 3, requires_grad=True)
    q = bits(logits)
    torch.manual_seed(0)
    value = G.multi_sample_bound(
        lambda z: torch.where(z.sum(-1) > 2, -math.inf, z @ WEIGHTS.float()) - q.log_prob(z),
        q,
        G.VIMCO(5, mean=mean),
    )
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert value.isfinite().all()
    assert gradient.isfinite().all()
