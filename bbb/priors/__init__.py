"""Priors p(w) over one weight; every weight of a layer is independent. See `bbb.priors.base`."""

from bbb.priors.base import Density, Prior
from bbb.priors.empirical import EmpiricalBayes
from bbb.priors.laplace import Laplace
from bbb.priors.normal import Normal
from bbb.priors.pretrained import MOPED, Pretrained
from bbb.priors.scale_mixture import ScaleMixture
from bbb.priors.student_t import StudentT

__all__ = [  # noqa: RUF022 - in the order of sorted(), as in every door
    "Density",
    "EmpiricalBayes",
    "Laplace",
    "MOPED",
    "Normal",
    "Pretrained",
    "Prior",
    "ScaleMixture",
    "StudentT",
]
