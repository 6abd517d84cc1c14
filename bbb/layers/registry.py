"""Which torch.nn class has which Bayesian twin."""

from typing import Any

from torch import nn

from bbb.layers.attention import BayesMultiheadAttention
from bbb.layers.base import BayesianLayer
from bbb.layers.conv import (
    BayesConv1d,
    BayesConv2d,
    BayesConv3d,
    BayesConvTranspose1d,
    BayesConvTranspose2d,
    BayesConvTranspose3d,
)
from bbb.layers.embedding import BayesEmbedding, BayesEmbeddingBag
from bbb.layers.linear import BayesLinear
from bbb.layers.options import LayerOptions
from bbb.layers.posterior import Shared
from bbb.layers.recurrent import BayesGRU, BayesLSTM, BayesRNN

BAYESIAN: dict[type[nn.Module], type[BayesianLayer]] = {
    layer.twin: layer
    for layer in (
        BayesLinear,
        BayesConv1d,
        BayesConv2d,
        BayesConv3d,
        BayesConvTranspose1d,
        BayesConvTranspose2d,
        BayesConvTranspose3d,
        BayesEmbedding,
        BayesEmbeddingBag,
        BayesRNN,
        BayesGRU,
        BayesLSTM,
        BayesMultiheadAttention,
    )
}
"""Exact types; a subclass may have overridden what its Bayesian twin would replace."""


def make_bayesian_(module: nn.Module, options: LayerOptions, shared: Shared) -> None:
    """Turn a layer of torch.nn into its Bayesian twin, in place.

    Args:
        module: A layer whose exact type `BAYESIAN` knows.
        options: Prior and posterior.
        shared: See `BayesianLayer.make_bayesian_`.
    """
    # A class swap, as torch's own parametrizations and lazy modules do it: it alone keeps hooks,
    # sharing, attributes and every reference to the module, and needs no parent.
    layer: Any = module
    twin = BAYESIAN[type(module)]
    twin.check(options, module)
    layer.__class__ = twin
    layer.make_bayesian_(options, shared)
