"""The Gaussian posterior: draws, variances and KL divergences, each in as few passes as possible.

They are ``torch.autograd.Function``s because plain autograd would keep several copies of the
weights alive and make many passes over them; they run under ``torch.compile``, ``vmap`` and the
reverse mode of ``torch.func``. All are finite, with finite gradients, for rho from -100 to +100.
"""

from bbb._gaussian.divergence import (
    FLAT,
    Gaussian,
    deviation,
    gaussian_kl,
    gaussian_log_prob,
)
from bbb._gaussian.draw import draw_gaussian, draw_gaussian_kl

__all__ = [
    "FLAT",
    "Gaussian",
    "deviation",
    "draw_gaussian",
    "draw_gaussian_kl",
    "gaussian_kl",
    "gaussian_log_prob",
]
