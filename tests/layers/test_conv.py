from typing import ClassVar

import pytest
import torch
from torch import nn

import bbb
from bbb.layers import BayesConv1d, BayesConvTranspose1d, BayesConvTranspose2d
from tests.laws.linear_laws import LinearInputLaws

ALL = ("weight", "local", "flipout")


class ConvLaws(LinearInputLaws):
    estimators = ALL
    compiled = ()
    shape: tuple[int, ...]

    def inputs(self, dtype=torch.float32):
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(1)).to(dtype)


class TestConv1d(ConvLaws):
    layer = bbb.layers.BayesConv1d
    args = (2, 3, 3)
    kwargs: ClassVar[dict] = {"dilation": 2, "padding": 1}
    compiled = ALL
    shape = (2, 2, 6)


class TestConv1dGroupedCircular(ConvLaws):
    layer = bbb.layers.BayesConv1d
    args = (4, 2, 2)
    kwargs: ClassVar[dict] = {"groups": 2, "stride": 2, "padding": 1, "padding_mode": "circular"}
    shape = (2, 4, 4)


class TestConv2dReflect(ConvLaws):
    layer = bbb.layers.BayesConv2d
    args = (2, 2, (1, 3))
    kwargs: ClassVar[dict] = {"padding": "same", "padding_mode": "reflect"}
    shape = (2, 2, 2, 4)


class TestConv3d(ConvLaws):
    layer = bbb.layers.BayesConv3d
    args = (1, 2, (2, 1, 2))
    kwargs: ClassVar[dict] = {"stride": (1, 2, 1), "bias": True}
    shape = (2, 1, 2, 3, 2)


class TestConvTranspose1dGrouped(ConvLaws):
    layer = bbb.layers.BayesConvTranspose1d
    args = (4, 6, 2)
    kwargs: ClassVar[dict] = {"stride": 2, "groups": 2, "output_padding": 1}
    compiled = ("local",)
    shape = (2, 4, 2)


class TestConvTranspose1dSized(ConvLaws):
    """The size of the output is an argument of forward."""

    layer = bbb.layers.BayesConvTranspose1d
    args = (2, 3, 3)
    kwargs: ClassVar[dict] = {"stride": 2}
    shape = (2, 2, 2)

    def arguments(self, x):
        return (x, [6])


class TestConvTranspose2d(ConvLaws):
    layer = bbb.layers.BayesConvTranspose2d
    args = (2, 3, (2, 1))
    kwargs: ClassVar[dict] = {"stride": (2, 1), "dilation": (1, 2), "padding": (1, 0)}
    shape = (2, 2, 2, 2)


class TestConvTranspose3d(ConvLaws):
    layer = bbb.layers.BayesConvTranspose3d
    args = (1, 2, (1, 2, 1))
    kwargs: ClassVar[dict] = {"bias": True}
    shape = (2, 1, 2, 1, 2)


@pytest.mark.parametrize("estimator", ALL)
def test_unbatched_input(estimator):
    assert BayesConv1d(2, 3, 3, estimator=estimator)(torch.ones(2, 7)).shape == (3, 5)
    layer = BayesConvTranspose2d(2, 3, 3, stride=2, estimator=estimator)
    assert layer(torch.ones(2, 4, 5)).shape == (3, 9, 11)
    assert layer(torch.ones(2, 4, 5), output_size=[10, 12]).shape == (3, 10, 12)


def test_auto_draws_one_weight_for_the_whole_utterance():
    layer = BayesConv1d(1, 1, 1, bias=False, sigma_init=1.0)
    output = layer(torch.ones(3, 1, 5))
    assert torch.equal(output, output[:1, :, :1].expand_as(output))


def test_tied_sigma_has_one_output_row():
    assert BayesConv1d(4, 6, 5, tie_sigma=True).weight_rho.shape == (1, 4, 5)


def test_tied_sigma_of_a_transposed_convolution_has_one_output_column():
    """Its weight has shape (in, out / groups, kernel)."""
    assert BayesConvTranspose1d(4, 6, 5, tie_sigma=True).weight_rho.shape == (4, 1, 5)
    assert BayesConvTranspose1d(4, 6, 5, groups=2, tie_sigma=True).weight_rho.shape == (4, 1, 5)


def test_tie_is_over_outputs_only():
    """With one input channel, tied outputs of one place have the same variance."""
    layer = BayesConvTranspose1d(1, 2, 1, bias=False, tie_sigma=True, estimator="local")
    plain = nn.ConvTranspose1d(1, 2, 1, bias=False)
    layer.load_state_dict(plain.state_dict() | {"weight_rho": torch.zeros(1, 1, 1)})
    torch.manual_seed(0)
    noise = layer(torch.full((1, 1, 4000), 3.0)) - plain(torch.full((1, 1, 4000), 3.0))
    torch.testing.assert_close(
        noise.std(-1), torch.full((1, 2), 3.0 * nn.functional.softplus(torch.zeros(())).item()),
        rtol=0.06, atol=0.0,
    )  # fmt: skip
