from typing import ClassVar

import pytest
import torch

from bbb.layers import BayesConv1d
from tests.laws.layer_laws import LayerLaws


class TestConv1d(LayerLaws):
    layer = BayesConv1d
    args = (2, 3, 3)
    kwargs: ClassVar[dict] = {"dilation": 2, "padding": 1}
    estimators = ("weight", "local", "flipout")

    def inputs(self, dtype=torch.float32):
        return torch.randn(2, 2, 6, generator=torch.Generator().manual_seed(1)).to(dtype)


class TestConv1dGroupedCircular(TestConv1d):
    args = (4, 2, 2)
    kwargs: ClassVar[dict] = {"groups": 2, "stride": 2, "padding": 1, "padding_mode": "circular"}

    def inputs(self, dtype=torch.float32):
        return torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(1)).to(dtype)


class TestConv1dReflect(TestConv1d):
    args = (2, 2, 3)
    kwargs: ClassVar[dict] = {"padding": "same", "padding_mode": "reflect", "bias": True}


@pytest.mark.parametrize("estimator", TestConv1d.estimators)
def test_unbatched_input(estimator):
    layer = BayesConv1d(2, 3, 3, estimator=estimator)
    assert layer(torch.ones(2, 7)).shape == (3, 5)


def test_auto_draws_one_weight_for_the_whole_utterance():
    layer = BayesConv1d(1, 1, 1, bias=False, sigma_init=1.0)
    output = layer(torch.ones(3, 1, 5))
    assert torch.equal(output, output[:1, :, :1].expand_as(output))


def test_tied_sigma_has_one_output_row():
    assert BayesConv1d(4, 6, 5, tie_sigma=True).weight_rho.shape == (1, 4, 5)
