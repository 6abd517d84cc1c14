"""Priors p(w) over one weight; every weight of a layer is independent. See `bbb.priors.base`."""

from bbb.priors.base import Density, Prior
from bbb.priors.normal import Normal, Pretrained
from bbb.priors.scale_mixture import ScaleMixture

__all__ = ["Density", "Normal", "Pretrained", "Prior", "ScaleMixture"]
