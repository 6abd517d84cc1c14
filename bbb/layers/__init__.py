"""Bayesian drop-ins for torch.nn; one mixin for all. See `bbb.layers.base`."""

from bbb.layers.base import BayesianLayer, Posterior, bayesian_layers, posteriors
from bbb.layers.conv import BayesConv1d
from bbb.layers.linear import BayesLinear
from bbb.layers.linear_map import LinearMapLayer
from bbb.layers.modes import Draws
from bbb.layers.options import Estimator, LayerOptions
from bbb.layers.registry import BAYESIAN, make_bayesian_

__all__ = [
    "BAYESIAN",
    "BayesConv1d",
    "BayesLinear",
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
