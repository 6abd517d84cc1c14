import math

import pytest
import torch

from bbb import _numerics

RHOS = [-100.0, -88.0, -40.0, -36.0, -20.0, -15.0, -3.0, 0.0, 5.0, 20.0, 89.0, 100.0]


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
    rho = _numerics.inverse_softplus(torch.tensor(sigma, dtype=torch.float64))
    torch.testing.assert_close(_numerics.softplus(rho).item(), sigma, rtol=1e-9, atol=0)


def test_safe_sqrt_has_gradient_zero_at_zero():
    value = torch.tensor([0.0, 4.0, 1e-30], requires_grad=True)
    root = _numerics.safe_sqrt(value)
    root.sum().backward()
    torch.testing.assert_close(root, torch.tensor([0.0, 2.0, 1e-15]))
    torch.testing.assert_close(value.grad, torch.tensor([0.0, 0.25, 0.5e15]))


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
