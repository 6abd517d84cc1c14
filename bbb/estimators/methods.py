"""The table of all estimators: what each is for, what it asks for, and what it gives."""

from dataclasses import dataclass

from bbb.estimators.base import Estimator
from bbb.estimators.bounds import VIMCO, DReG
from bbb.estimators.control import REBAR, RELAX, DisARM, MuProp
from bbb.estimators.exact import Exact
from bbb.estimators.measure import MeasureValued
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


@dataclass(frozen=True)
class Method:
    """One estimator.

    Attributes:
        name: Its name.
        estimator: Its class.
        variables: "continuous", "discrete" or "both".
        unbiased: Whether the mean of its gradient is the exact one, for every cost.
        slope: Whether the cost has to be differentiable in ``z``.
        evals: Evaluations of the cost: S draws, D axes of the event, K states.
        exact_forward: Whether the cost sees real draws of ``q`` (and its value has no bias).
        note: What else to know.
    """

    name: str
    estimator: type[Estimator]
    variables: str
    unbiased: bool
    slope: bool
    evals: str
    exact_forward: bool
    note: str


def _method(
    estimator: type[Estimator], variables: str, evals: str, note: str, *, exact_forward: bool = True
) -> Method:
    flags = estimator.unbiased, estimator.needs_slope
    return Method(estimator.__name__, estimator, variables, *flags, evals, exact_forward, note)


METHODS: tuple[Method, ...] = (
    _method(Exact, "discrete", "K", "no noise; wherever the support is small"),
    _method(
        Pathwise,
        "continuous",
        "S",
        "needs rsample; its own gradient of a step in the cost would be 0",
    ),
    _method(
        ScoreFunction,
        "both",
        "S",
        "any cost; the support must not move with a parameter; give it a baseline "
        "(NVIL's variance normalisation scales the gradient)",
    ),
    _method(RLOO, "both", "S", "S >= 2; the first choice for a cost without slope"),
    _method(MeasureValued, "continuous", "S (3 D + 1)", "Normal, few axes; any cost"),
    _method(MuProp, "discrete", "S + 1", "helps where the cost is nearly linear around the mean"),
    _method(DisARM, "discrete", "2 S", "Bernoulli; antithetic pairs"),
    _method(REBAR, "discrete", "3 S", "relaxed control variate; learn=True tunes it"),
    _method(RELAX, "discrete", "S", "learned control variate; with tau= 3 S, and needs the slope"),
    _method(DARN, "discrete", "S", "Bernoulli; exact for quadratic costs, ReinMax at tau=1"),
    _method(ReinMax, "discrete", "S", "exact for quadratic costs at tau=1"),
    _method(StraightThrough, "discrete", "S", "the sign can be wrong for a curved cost"),
    _method(
        GumbelSoftmax,
        "discrete",
        "S",
        "the cost sees points between the states, unless hard=True; bias and variance by tau",
        exact_forward=False,
    ),
    _method(STGumbel, "discrete", "S", "relaxed backward; bias and variance by tau"),
    _method(GumbelRao, "discrete", "S", "STGumbel's bias, less variance, no more evaluations"),
    _method(VIMCO, "both", "S", "multi_sample_bound only; S >= 2"),
    _method(DReG, "continuous", "S", "multi_sample_bound only; needs rsample"),
)
"""All estimators, those without bias first for each kind of variable."""


def methods_table() -> str:
    """Render `METHODS` as a table in Markdown.

    Example:
        >>> print(methods_table().splitlines()[2])
        | `Exact` | discrete | yes | no | K | yes | no noise; wherever the support is small |
    """
    head = ("estimator", "variables", "unbiased", "needs df/dz", "evals", "real draws", "note")
    rows: list[tuple[str, ...]] = [head, ("---",) * len(head)]
    rows += [
        (
            f"`{m.name}`",
            m.variables,
            _word(m.unbiased),
            _word(m.slope),
            m.evals,
            _word(m.exact_forward),
            m.note,
        )
        for m in METHODS
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _word(flag: bool) -> str:
    return "yes" if flag else "no"
