"""Margin heads against their formulas in float64, and at angles of 0 and pi."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bbb.errors import ConfigError
from bbb.speaker.heads import AAMSoftmax, AMSoftmax, Softmax

Head = type[AMSoftmax] | type[AAMSoftmax]
BOTH = pytest.mark.parametrize("kind", [AMSoftmax, AAMSoftmax])


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cosines(x: Tensor, weight: Tensor) -> Tensor:
    x, weight = x.double(), weight.double()
    return (x @ weight.T) / x.norm(dim=1, keepdim=True) / weight.norm(dim=1)


def at_angle(head: nn.Module, theta: Tensor) -> Tensor:
    """Target logits of unit vectors at angles ``theta`` from class 0's direction."""
    x = torch.stack([theta.cos(), theta.sin()], dim=1)
    with torch.no_grad():
        head.get_parameter("weight").copy_(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
        logits: Tensor = head(x, torch.zeros(len(theta), dtype=torch.long))
    return logits[:, 0]


def test_softmax_is_a_linear_layer() -> None:
    head, linear = Softmax(4, 3), nn.Linear(4, 3)
    linear.load_state_dict(head.state_dict())
    x = randn(5, 4)
    torch.testing.assert_close(head(x, torch.tensor([0, 1, 2, 0, 1])), linear(x))
    torch.testing.assert_close(head(x), linear(x))


def test_am_subtracts_the_margin_from_the_targets_cosine() -> None:
    head = AMSoftmax(4, 3, margin=0.3, scale=20.0)
    x, labels = randn(6, 4), torch.tensor([0, 1, 2, 2, 1, 0])
    expected = 20.0 * (cosines(x, head.weight) - 0.3 * F.one_hot(labels, 3))
    torch.testing.assert_close(head(x, labels), expected.float(), atol=1e-4, rtol=1e-5)


def test_aam_adds_the_margin_to_the_targets_angle() -> None:
    head = AAMSoftmax(4, 3, margin=0.3, scale=20.0)
    x, labels = randn(6, 4), torch.tensor([0, 1, 2, 2, 1, 0])
    cosine = cosines(x, head.weight)
    theta = cosine.arccos() + 0.3 * F.one_hot(labels, 3)
    assert theta.max() < math.pi  # none of these is in the part beyond pi - margin
    expected = (20.0 * theta.cos()).float()
    torch.testing.assert_close(head(x, labels), expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("margin", [0.1, 0.5, 1.2])
def test_aam_up_to_pi_less_the_margin_and_beyond(margin: float) -> None:
    head = AAMSoftmax(2, 2, margin=margin, scale=1.0)
    theta = torch.linspace(0.02, math.pi, 500)
    logits = at_angle(head, theta)
    near = theta < math.pi - margin - 1e-3
    torch.testing.assert_close(logits[near], (theta[near] + margin).cos(), atol=1e-5, rtol=0)
    far = theta > math.pi - margin + 1e-3
    line = theta[far].cos() - margin * math.sin(margin)
    torch.testing.assert_close(logits[far], line, atol=1e-5, rtol=0)
    assert (logits.diff() < 1e-6).all()
    assert logits.min() >= -1.0 - margin


@BOTH
def test_margin_0_and_no_labels_give_the_scaled_cosine(kind: Head) -> None:
    head = kind(4, 3, margin=0.0, scale=30.0)
    x, labels = randn(6, 4), torch.tensor([0, 1, 2, 2, 1, 0])
    expected = (30.0 * cosines(x, head.weight)).float()
    torch.testing.assert_close(head(x, labels), expected, atol=1e-4, rtol=1e-5)
    head.margin = 0.4
    torch.testing.assert_close(head(x), expected, atol=1e-4, rtol=1e-5)
    assert not torch.allclose(head(x, labels), expected, atol=0.1)


@BOTH
def test_length_of_the_input_and_of_the_classes_does_not_matter(kind: Head) -> None:
    head = kind(4, 3)
    x, labels = randn(6, 4), torch.tensor([0, 1, 2, 2, 1, 0])
    before = head(x, labels)
    with torch.no_grad():
        head.weight.mul_(torch.tensor([[3.0], [0.1], [50.0]]))
    torch.testing.assert_close(head(7.0 * x, labels), before, atol=1e-4, rtol=1e-4)


@BOTH
@pytest.mark.parametrize("factor", [1.0, -1.0, 0.0])
def test_gradient_is_finite_at_angles_of_0_and_pi_and_of_no_vector(
    kind: Head, factor: float
) -> None:
    head = kind(2, 2)
    with torch.no_grad():
        head.weight.copy_(torch.eye(2))
    x = torch.tensor([[factor, 0.0]], requires_grad=True)
    F.cross_entropy(head(x, torch.tensor([0])), torch.tensor([0])).backward()
    for gradient in (x.grad, head.weight.grad):
        assert gradient is not None
        assert gradient.isfinite().all()


@BOTH
def test_half_precision_comes_out_as_float32(kind: Head) -> None:
    head = kind(4, 3)
    x, labels = randn(6, 4), torch.tensor([0, 1, 2, 2, 1, 0])
    exact = head(x.bfloat16().float(), labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(x.bfloat16(), labels)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, exact)


@BOTH
def test_double_precision_is_kept(kind: Head) -> None:
    head, labels = kind(4, 3).double(), torch.tensor([0, 1, 2])
    x = randn(3, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: head(x, labels), (x,))


@BOTH
def test_input_is_not_changed(kind: Head) -> None:
    head, x = kind(4, 3), randn(2, 4)
    before = x.clone()
    head(x, torch.tensor([0, 1]))
    torch.testing.assert_close(x, before, atol=0, rtol=0)


@BOTH
@pytest.mark.parametrize(("margin", "scale"), [(-0.1, 30.0), (0.2, 0.0), (0.2, -1.0)])
def test_options_out_of_range_are_an_error(kind: Head, margin: float, scale: float) -> None:
    with pytest.raises(ConfigError, match=f"{kind.__name__}: needs margin >= 0 and scale > 0"):
        kind(4, 3, margin=margin, scale=scale)


def test_aam_needs_a_margin_below_a_right_angle() -> None:
    with pytest.raises(ConfigError, match=r"radians, below pi / 2, got 1.6"):
        AAMSoftmax(4, 3, margin=1.6)


def test_repr_shows_the_options() -> None:
    assert repr(AMSoftmax(4, 3)) == "AMSoftmax(4, 3, margin=0.2, scale=30.0)"
