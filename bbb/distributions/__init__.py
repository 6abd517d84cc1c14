"""What torch.distributions lacks: noise and draws that are right in the tails, and more laws."""

from bbb.distributions.continuous import Gumbel, Logistic, Rayleigh
from bbb.distributions.discrete import (
    Bernoulli,
    OneHotCategorical,
    sample_bernoulli,
    sample_one_hot,
)
from bbb.distributions.drawing import drawn_by
from bbb.distributions.noise import exponential_noise, gumbel_noise, logistic_noise, uniform_noise
from bbb.distributions.simplex import Beta, Dirichlet

__all__ = [
    "Bernoulli",
    "Beta",
    "Dirichlet",
    "Gumbel",
    "Logistic",
    "OneHotCategorical",
    "Rayleigh",
    "drawn_by",
    "exponential_noise",
    "gumbel_noise",
    "logistic_noise",
    "sample_bernoulli",
    "sample_one_hot",
    "uniform_noise",
]
