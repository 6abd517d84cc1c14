import math

import pytest
import torch
import torch.nn.functional as F

from bbb import _gaussian, _numerics
from bbb._gaussian import blocks

RHOS = [-100.0, -88.0, -40.0, -36.0, -20.0, -15.0, -3.0, 0.0, 5.0, 20.0, 89.0, 100.0]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("rho_shape", [(3, 4), (1, 4)])
def test_draw_gaussian_and_its_gradients(rho_shape):
    g = torch.Generator().manual_seed(0)
    mu, eps = torch.randn(2, 3, 4, dtype=torch.float64, generator=g)
    rho = torch.randn(rho_shape, dtype=torch.float64, generator=g)
    torch.testing.assert_close(
        _gaussian.draw_gaussian(mu, rho, eps), mu + torch.log1p(torch.exp(rho)) * eps
    )
    mu.requires_grad_()
    rho.requires_grad_()
    torch.autograd.gradcheck(lambda m, r: _gaussian.draw_gaussian(m, r, eps), (mu, rho))
    torch.autograd.gradgradcheck(lambda m, r: _gaussian.draw_gaussian(m, r, eps), (mu, rho))


@pytest.mark.parametrize("rho_shape", [(3, 4), (1, 4)])
@pytest.mark.parametrize("loc", [0.0, 0.4, "tensor"])
@pytest.mark.parametrize("scale", [0.3, math.inf])
def test_draw_with_kl_is_both_in_one_and_its_gradients_too(rho_shape, loc, scale):
    g = torch.Generator().manual_seed(0)
    mu, eps, centre = torch.randn(3, 3, 4, dtype=torch.float64, generator=g)
    prior = _gaussian.Gaussian(centre if loc == "tensor" else loc, scale)
    rho = torch.randn(rho_shape, dtype=torch.float64, generator=g)
    weight, kl = _gaussian.draw_gaussian_kl(mu, rho, eps, prior)
    torch.testing.assert_close(weight, _gaussian.draw_gaussian(mu, rho, eps))
    if scale == math.inf:
        posterior = torch.distributions.Normal(mu, F.softplus(rho))
        torch.testing.assert_close(kl, posterior.log_prob(weight).sum())
    else:
        torch.testing.assert_close(
            kl, _gaussian.gaussian_kl(_gaussian.deviation(mu, prior.loc), rho, scale)
        )
    mu.requires_grad_()
    rho.requires_grad_()

    def run(mu, rho):
        return _gaussian.draw_gaussian_kl(mu, rho, eps, prior)

    torch.autograd.gradcheck(run, (mu, rho))
    torch.autograd.gradgradcheck(run, (mu, rho))


@pytest.mark.parametrize("rho_shape", [(3, 4), (1, 4)])
def test_gaussian_kl_is_that_of_torch_distributions(rho_shape):
    g = torch.Generator().manual_seed(0)
    delta = torch.randn(3, 4, dtype=torch.float64, generator=g, requires_grad=True)
    rho = torch.randn(rho_shape, dtype=torch.float64, generator=g, requires_grad=True)
    q = torch.distributions.Normal(delta, F.softplus(rho).expand(3, 4))
    p = torch.distributions.Normal(torch.zeros(3, 4).double(), 0.3)
    expected = torch.distributions.kl_divergence(q, p).sum()
    torch.testing.assert_close(_gaussian.gaussian_kl(delta, rho, 0.3), expected)
    torch.autograd.gradcheck(lambda d, r: _gaussian.gaussian_kl(d, r, 0.3), (delta, rho))
    torch.autograd.gradgradcheck(lambda d, r: _gaussian.gaussian_kl(d, r, 0.3), (delta, rho))


def test_gaussian_kl_is_zero_where_q_is_p_for_a_million_weights():
    """The terms must cancel one by one: a difference of two sums of 10^6 would be off by nats."""
    for scale in (0.1, 0.003):
        rho = _numerics.inverse_softplus(torch.tensor(scale)).expand(1000, 1000)
        assert abs(_gaussian.gaussian_kl(torch.zeros(1000, 1000), rho, scale).item()) < 0.05


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rho", RHOS)
def test_everything_is_finite_for_every_rho_and_dtype(dtype, rho):
    mu = torch.full((5,), 0.5, dtype=dtype, requires_grad=True)
    rhos = torch.full((5,), rho, dtype=dtype, requires_grad=True)
    eps = torch.linspace(-2, 2, 5).to(dtype)
    weight = _gaussian.draw_gaussian(mu, rhos, eps)
    kl = _gaussian.gaussian_kl(mu, rhos, 0.1)
    log_q = _gaussian.gaussian_log_prob(rhos, eps)
    (weight.sum().to(kl.dtype) + kl + log_q.sum()).backward()
    for tensor in (weight, kl, log_q, mu.grad, rhos.grad):
        assert torch.isfinite(tensor).all()
    assert kl.dtype == log_q.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_gaussian_kl_pulls_a_collapsed_posterior_back():
    """At rho = -100 each peer's gradient is NaN, infinite or 0; the truth is -1."""
    rho = torch.full((4,), -100.0, requires_grad=True)
    _gaussian.gaussian_kl(torch.zeros(4), rho, 0.1).backward()
    torch.testing.assert_close(rho.grad, -torch.ones(4))


def test_gaussian_log_prob_is_the_density_of_the_draw():
    g = torch.Generator().manual_seed(0)
    mu, rho, eps = torch.randn(3, 6, dtype=torch.float64, generator=g)
    sigma = F.softplus(rho)
    expected = torch.distributions.Normal(mu, sigma).log_prob(mu + sigma * eps)
    torch.testing.assert_close(_gaussian.gaussian_log_prob(rho, eps), expected)


def test_functions_run_under_vmap():
    g = torch.Generator().manual_seed(0)
    mu, rho, eps = torch.randn(3, 4, 5, generator=g)
    for f, args in (
        (lambda m, r: _gaussian.gaussian_kl(m, r, 0.2), (mu, rho)),
        (_numerics.log_softplus, (rho,)),
        (_numerics.safe_sqrt, (eps.square(),)),
        (_gaussian.draw_gaussian, (mu, rho, eps)),
    ):
        looped = torch.stack([f(*row) for row in zip(*args, strict=True)])
        torch.testing.assert_close(torch.vmap(f)(*args), looped)
        grad = torch.func.grad(lambda *a, f=f: f(*a).sum())
        looped = torch.stack([grad(*row) for row in zip(*args, strict=True)])
        torch.testing.assert_close(torch.vmap(grad)(*args), looped)


@pytest.mark.parametrize("rho", [-100.0, -95.0, -60.0, -36.0, -10.0, 3.0])
def test_kl_keeps_its_digits_where_float32_has_few_of_sigma(rho):
    """Below rho = -87 softplus is a subnormal number; its logarithm is rho itself."""
    rho = torch.full((5,), rho)
    exact = _gaussian.gaussian_kl(torch.zeros(5).double(), rho.double(), 0.3)
    _, kl = _gaussian.draw_gaussian_kl(
        torch.zeros(5), rho, torch.ones(5), _gaussian.Gaussian(0.0, 0.3)
    )
    for value in (kl, _gaussian.gaussian_kl(torch.zeros(5), rho, 0.3)):
        torch.testing.assert_close(value.double(), exact, rtol=1e-6, atol=0)


def test_blocks_change_nothing(monkeypatch):
    """Large tensors are worked on in blocks; small ones are one block."""
    g = torch.Generator().manual_seed(0)
    mu, rho, eps, grad = torch.randn(4, 30, 7, dtype=torch.float64, generator=g)
    results = []
    for block in (1 << 17, 16):
        monkeypatch.setattr(blocks, "BLOCK", block)
        mu, rho = mu.detach().requires_grad_(), rho.detach().requires_grad_()
        for noise in (eps, None):
            drawn, kl = _gaussian.draw_gaussian_kl(mu, rho, noise, _gaussian.Gaussian(0.1, 0.3))
            total = (drawn * grad).sum() + 2.0 * kl
            results.append((drawn, kl, *torch.autograd.grad(total, (mu, rho))))
    for whole, cut in zip(results[:2], results[2:], strict=True):
        for one, other in zip(whole, cut, strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("with_eps", [True, False])
def test_a_kept_graph_gives_the_same_gradient_again(with_eps):
    """Backward works in the memory of what it saved, but not where that is needed once more."""
    g = torch.Generator().manual_seed(0)
    mu, rho, eps = torch.randn(3, 4, 5, generator=g)
    mu.requires_grad_()
    rho.requires_grad_()
    prior = _gaussian.Gaussian(0.1, 0.3)
    drawn, kl = _gaussian.draw_gaussian_kl(mu, rho, eps if with_eps else None, prior)
    loss = drawn.square().sum() + 3.0 * kl
    first = torch.autograd.grad(loss, (mu, rho), retain_graph=True)
    again = torch.autograd.grad(loss, (mu, rho), retain_graph=True)
    last = torch.autograd.grad(loss, (mu, rho))
    for one, two, three in zip(first, again, last, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


def test_draw_with_kl_runs_under_vmap_and_grad():
    g = torch.Generator().manual_seed(0)
    mu, rho, eps = torch.randn(3, 4, 5, generator=g)
    prior = _gaussian.Gaussian(0.1, 0.3)

    def loss(*row):
        drawn, kl = _gaussian.draw_gaussian_kl(*row, prior)
        return drawn.square().sum() + kl

    grad = torch.func.grad(loss, argnums=(0, 1))
    looped = [grad(*row) for row in zip(mu, rho, eps, strict=True)]
    for mapped, parts in zip(
        torch.vmap(grad)(mu, rho, eps), zip(*looped, strict=True), strict=True
    ):
        torch.testing.assert_close(mapped, torch.stack(parts))
