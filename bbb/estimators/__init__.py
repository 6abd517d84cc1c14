r"""Gradients of expectations, :math:`\nabla\,\mathrm{E}_{z \sim q}[f(z)]`, by every known way.

One function, ``expectation(f, q, estimator)``, takes any ``torch.distributions`` object and gives
one tensor: the Monte Carlo mean, whose ``backward`` is the estimator. ``choose`` says which to
take, and ``diagnose`` how good it is.
"""

from bbb.estimators.base import Estimator, PathEstimator, attach, expectation, sample
from bbb.estimators.baselines import EMA, NVIL, Baseline, Net
from bbb.estimators.bounds import VIMCO, DReG, multi_sample_bound
from bbb.estimators.choice import Choice, choose
from bbb.estimators.comparison import Comparison, Tuned, compare, tune_tau
from bbb.estimators.control import REBAR, RELAX, DisARM, MuProp
from bbb.estimators.diagnosis import Diagnosis, assert_unbiased, diagnose
from bbb.estimators.exact import Exact
from bbb.estimators.measure import MeasureValued
from bbb.estimators.methods import METHODS, Method, methods_table
from bbb.estimators.path import Pathwise
from bbb.estimators.relaxed import (
    DARN,
    GumbelRao,
    GumbelSoftmax,
    ReinMax,
    STGumbel,
    StraightThrough,
)
from bbb.estimators.score import RLOO, ScoreFunction
from bbb.estimators.temperature import Anneal
from bbb.estimators.training import fit

__all__ = [
    "DARN",
    "EMA",
    "METHODS",
    "NVIL",
    "REBAR",
    "RELAX",
    "RLOO",
    "VIMCO",
    "Anneal",
    "Baseline",
    "Choice",
    "Comparison",
    "DReG",
    "Diagnosis",
    "DisARM",
    "Estimator",
    "Exact",
    "GumbelRao",
    "GumbelSoftmax",
    "MeasureValued",
    "Method",
    "MuProp",
    "Net",
    "PathEstimator",
    "Pathwise",
    "ReinMax",
    "STGumbel",
    "ScoreFunction",
    "StraightThrough",
    "Tuned",
    "assert_unbiased",
    "attach",
    "choose",
    "compare",
    "diagnose",
    "expectation",
    "fit",
    "methods_table",
    "multi_sample_bound",
    "sample",
    "tune_tau",
]
