"""Which torch.nn class has which Bayesian twin."""

from collections.abc import MutableMapping
from typing import Any

from torch import Tensor, nn

from bbb.layers.base import BayesianLayer
from bbb.layers.conv import BayesConv1d
from bbb.layers.linear import BayesLinear
from bbb.layers.options import LayerOptions

BAYESIAN: dict[type[nn.Module], type[BayesianLayer]] = {
    layer.twin: layer for layer in (BayesLinear, BayesConv1d)
}
"""Exact types; a subclass may have overridden what its Bayesian twin would replace."""


def make_bayesian_(
    module: nn.Module, options: LayerOptions, rhos: MutableMapping[Tensor, nn.Parameter]
) -> None:
    """Turn a layer of torch.nn into its Bayesian twin, in place.

    Args:
        module: A layer whose exact type `BAYESIAN` knows.
        options: Prior and posterior.
        rhos: See `BayesianLayer.make_bayesian_`.
    """
    # A class swap, as torch's own parametrizations and lazy modules do it: it alone keeps hooks,
    # sharing, attributes and every reference to the module, and needs no parent.
    layer: Any = module
    layer.__class__ = BAYESIAN[type(module)]
    layer.make_bayesian_(options, rhos)
