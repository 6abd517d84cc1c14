"""Bayesian drop-ins for torch.nn; one mixin for all. See `bbb.layers.base`."""

from bbb.layers.attention import BayesMultiheadAttention
from bbb.layers.base import BayesianLayer, bayesian_layers, posteriors
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
from bbb.layers.linear_map import LinearMapLayer
from bbb.layers.modes import Draws
from bbb.layers.options import Estimator, LayerOptions
from bbb.layers.posterior import Posterior
from bbb.layers.recurrent import BayesGRU, BayesLSTM, BayesRNN
from bbb.layers.registry import BAYESIAN, make_bayesian_

__all__ = [
    "BAYESIAN",
    "BayesConv1d",
    "BayesConv2d",
    "BayesConv3d",
    "BayesConvTranspose1d",
    "BayesConvTranspose2d",
    "BayesConvTranspose3d",
    "BayesEmbedding",
    "BayesEmbeddingBag",
    "BayesGRU",
    "BayesLSTM",
    "BayesLinear",
    "BayesMultiheadAttention",
    "BayesRNN",
    "BayesianLayer",
    "Draws",
    "Estimator",
    "LayerOptions",
    "LinearMapLayer",
    "Posterior",
    "bayesian_layers",
    "make_bayesian_",
    "posteriors",
]
