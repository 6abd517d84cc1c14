import math

import pytest
import torch
import torch.nn.functional as F

from bbb import _numerics

RHOS = [-100.0, -88.0, -40.0, -36.0, -20.0, -15.0, -3.0, 0.0, 5.0, 20.0, 89.0, 100.0]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def exact_log_softplus(rho: float) -> float:
    """By the series log(log1p(e^r)) = r - e^r/2 where e^r is small, else by definition."""
    return rho - math.exp(rho) / 2 if rho < -20 else math.log(math.log1p(math.exp(rho)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_softplus_is_exact_and_its_slope_too(dtype):
    rho = torch.tensor(RHOS, dtype=dtype, requires_grad=True)
    value = _numerics.log_softplus(rho)
    value.sum().backward()
    expected = torch.tensor([exact_log_softplus(r) for r in RHOS], dtype=dtype)
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-7)
    slope = [1.0 if r < -36 else 1 / (1 + math.exp(-r)) / math.log1p(math.exp(r)) for r in RHOS]
    torch.testing.assert_close(rho.grad, torch.tensor(slope, dtype=dtype), rtol=1e-6, atol=0)


@pytest.mark.parametrize("sigma", [1e-8, 1e-3, 0.02, 1.0, 50.0, 1000.0])
def test_inverse_softplus_inverts(sigma):
    rho = torch.tensor(_numerics.inverse_softplus(sigma), dtype=torch.float64)
    torch.testing.assert_close(_numerics.softplus(rho).item(), sigma, rtol=1e-9, atol=0)


def test_safe_sqrt_has_gradient_zero_at_zero():
    value = torch.tensor([0.0, 4.0, 1e-30], requires_grad=True)
    root = _numerics.safe_sqrt(value)
    root.sum().backward()
    torch.testing.assert_close(root, torch.tensor([0.0, 2.0, 1e-15]))
    torch.testing.assert_close(value.grad, torch.tensor([0.0, 0.25, 0.5e15]))


@pytest.mark.parametrize("rho_shape", [(3, 4), (1, 4)])
def test_draw_gaussian_and_its_gradients(rho_shape):
    g = torch.Generator().manual_seed(0)
    mu, eps = torch.randn(2, 3, 4, dtype=torch.float64, generator=g)
    rho = torch.randn(rho_shape, dtype=torch.float64, generator=g)
    torch.testing.assert_close(
        _numerics.draw_gaussian(mu, rho, eps), mu + torch.log1p(torch.exp(rho)) * eps
    )
    mu.requires_grad_()
    rho.requires_grad_()
    torch.autograd.gradcheck(lambda m, r: _numerics.draw_gaussian(m, r, eps), (mu, rho))
    torch.autograd.gradgradcheck(lambda m, r: _numerics.draw_gaussian(m, r, eps), (mu, rho))


@pytest.mark.parametrize("rho_shape", [(3, 4), (1, 4)])
def test_gaussian_kl_is_that_of_torch_distributions(rho_shape):
    g = torch.Generator().manual_seed(0)
    delta = torch.randn(3, 4, dtype=torch.float64, generator=g, requires_grad=True)
    rho = torch.randn(rho_shape, dtype=torch.float64, generator=g, requires_grad=True)
    q = torch.distributions.Normal(delta, F.softplus(rho).expand(3, 4))
    p = torch.distributions.Normal(torch.zeros(3, 4).double(), 0.3)
    expected = torch.distributions.kl_divergence(q, p).sum()
    torch.testing.assert_close(_numerics.gaussian_kl(delta, rho, 0.3), expected)
    torch.autograd.gradcheck(lambda d, r: _numerics.gaussian_kl(d, r, 0.3), (delta, rho))


def test_gaussian_kl_is_zero_where_q_is_p_for_a_million_weights():
    """The terms must cancel one by one: a difference of two sums of 10^6 would be off by nats."""
    for scale in (0.1, 0.003):
        rho = torch.full((1000, 1000), _numerics.inverse_softplus(scale))
        assert abs(_numerics.gaussian_kl(torch.zeros(1000, 1000), rho, scale).item()) < 0.05


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rho", RHOS)
def test_everything_is_finite_for_every_rho_and_dtype(dtype, rho):
    mu = torch.full((5,), 0.5, dtype=dtype, requires_grad=True)
    rhos = torch.full((5,), rho, dtype=dtype, requires_grad=True)
    eps = torch.linspace(-2, 2, 5).to(dtype)
    weight = _numerics.draw_gaussian(mu, rhos, eps)
    kl = _numerics.gaussian_kl(mu, rhos, 0.1)
    log_q = _numerics.gaussian_log_prob(rhos, eps)
    (weight.sum().to(kl.dtype) + kl + log_q.sum()).backward()
    for tensor in (weight, kl, log_q, mu.grad, rhos.grad):
        assert torch.isfinite(tensor).all()
    assert kl.dtype == log_q.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_gaussian_kl_pulls_a_collapsed_posterior_back():
    """At rho = -100 each peer's gradient is NaN, infinite or 0; the truth is -1."""
    rho = torch.full((4,), -100.0, requires_grad=True)
    _numerics.gaussian_kl(torch.zeros(4), rho, 0.1).backward()
    torch.testing.assert_close(rho.grad, -torch.ones(4))


def test_gaussian_log_prob_is_the_density_of_the_draw():
    g = torch.Generator().manual_seed(0)
    mu, rho, eps = torch.randn(3, 6, dtype=torch.float64, generator=g)
    sigma = F.softplus(rho)
    expected = torch.distributions.Normal(mu, sigma).log_prob(mu + sigma * eps)
    torch.testing.assert_close(_numerics.gaussian_log_prob(rho, eps), expected)


def test_functions_run_under_vmap():
    g = torch.Generator().manual_seed(0)
    mu, rho, eps = torch.randn(3, 4, 5, generator=g)
    for f, args in (
        (lambda m, r: _numerics.gaussian_kl(m, r, 0.2), (mu, rho)),
        (_numerics.log_softplus, (rho,)),
        (_numerics.safe_sqrt, (eps.square(),)),
        (_numerics.draw_gaussian, (mu, rho, eps)),
    ):
        looped = torch.stack([f(*row) for row in zip(*args, strict=True)])
        torch.testing.assert_close(torch.vmap(f)(*args), looped)
        grad = torch.func.grad(lambda *a, f=f: f(*a).sum())
        looped = torch.stack([grad(*row) for row in zip(*args, strict=True)])
        torch.testing.assert_close(torch.vmap(grad)(*args), looped)


@pytest.mark.parametrize("draw", [_numerics.standard_normal, _numerics.random_signs])
def test_noise_follows_the_generator_and_the_dtype(draw):
    like = torch.empty(0, dtype=torch.bfloat16)
    shape = torch.Size((100,))
    first = draw(shape, like, torch.Generator().manual_seed(3))
    assert first.dtype == torch.bfloat16
    assert torch.equal(first, draw(shape, like, torch.Generator().manual_seed(3)))
    assert not torch.equal(first, draw(shape, like, torch.Generator().manual_seed(4)))
    state = torch.get_rng_state()
    draw(shape, like, torch.Generator())
    assert torch.equal(state, torch.get_rng_state())  # the global one is left alone


def test_signs_are_fair():
    signs = _numerics.random_signs(
        torch.Size((10_000,)), torch.empty(0), torch.Generator().manual_seed(0)
    )
    assert set(signs.tolist()) == {-1.0, 1.0}
    assert abs(signs.mean().item()) < 5 / 100  # five standard errors
