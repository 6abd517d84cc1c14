"""Statistics pooling against torch, and at its edges."""

import pytest
import torch

from bbb.errors import ShapeError
from bbb.speaker.pooling import StatisticsPooling


def test_it_is_the_mean_and_the_biased_standard_deviation() -> None:
    x = torch.randn(3, 5, 40, generator=torch.Generator().manual_seed(0)) * 2 + 1
    variance, mean = torch.var_mean(x, dim=2, correction=0)
    pooled = StatisticsPooling(eps=0.0)(x)
    torch.testing.assert_close(pooled[:, :5], mean)
    torch.testing.assert_close(pooled[:, 5:], variance.sqrt())


def test_eps_is_added_to_the_variance_and_keeps_the_gradient_finite() -> None:
    x = torch.full((2, 3, 10), 4.0, requires_grad=True)
    pooled = StatisticsPooling(eps=1e-4)(x)
    torch.testing.assert_close(pooled[:, 3:], torch.full((2, 3), 1e-2))
    pooled.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_frames_are_exchangeable() -> None:
    x = torch.randn(2, 4, 30, generator=torch.Generator().manual_seed(1))
    pool = StatisticsPooling()
    torch.testing.assert_close(pool(x), pool(x.flip(2)))


def test_one_frame_has_no_spread() -> None:
    x = torch.tensor([[[2.0], [-3.0]]])
    expected = torch.tensor([[2.0, -3.0, 1e-5**0.5, 1e-5**0.5]])
    torch.testing.assert_close(StatisticsPooling()(x), expected)


def test_half_precision_is_pooled_in_float32() -> None:
    # 2048 is as far as float16 counts in ones: a spread of 1 around it would be lost.
    x = torch.tensor([2047.0, 2048.0] * 50).view(1, 1, -1)
    pooled = StatisticsPooling()(x.half())
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, torch.tensor([[2047.5, 0.5]]), atol=1e-4, rtol=0)


def test_no_frame_is_an_error() -> None:
    with pytest.raises(ShapeError, match=r"at least one frame, got \(2, 3, 0\)"):
        StatisticsPooling()(torch.zeros(2, 3, 0))


def test_repr_shows_eps() -> None:
    assert repr(StatisticsPooling(eps=0.5)) == "StatisticsPooling(eps=0.5)"
