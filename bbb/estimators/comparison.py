"""Estimators side by side, at equal cost."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from bbb.errors import ConfigError, UnsupportedDistributionError
from bbb.estimators.base import Cost, Estimator
from bbb.estimators.diagnosis import Diagnosis, diagnose_against, title
from bbb.estimators.replicas import Problem
from bbb.estimators.truth import Given, find_truth
from bbb.plotting import Target, axes_at

TAUS = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0)


@dataclass(frozen=True)
class Row:
    """One estimator of a comparison.

    Attributes:
        name: Its name.
        budget_evals: Evaluations of the cost that all may make.
        diagnosis: The measurement; None if the estimator does not fit the problem.
        reason: Why it does not.
    """

    name: str
    budget_evals: float
    diagnosis: Diagnosis | None
    reason: str = ""

    @property
    def variance(self) -> float:
        """Variance of the mean of as many estimates as the budget pays for; NaN without any."""
        if self.diagnosis is None:
            return math.nan
        return self.diagnosis.variance * self.diagnosis.evals / self.budget_evals

    @property
    def mse(self) -> float:
        """Squared bias, which no budget makes smaller, and variance; NaN without a measurement."""
        return math.nan if self.diagnosis is None else self.diagnosis.squared_bias + self.variance


@dataclass(frozen=True)
class Comparison:
    """Estimators on one problem, the smallest mean squared error first; ``print`` it.

    Attributes:
        rows: One for each estimator; at the end those that do not fit.
        source: How the exact gradient was found.
    """

    rows: tuple[Row, ...]
    source: str

    def __str__(self) -> str:
        head = ("estimator", "evals", "bias", "z", "variance", "MSE at budget", "ms")
        lines = [head, *(_cells(row) for row in self.rows if row.diagnosis is not None)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = [
            "  ".join((line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])))
            for line in lines
        ]
        left = [f"{row.name}: {row.reason}" for row in self.rows if row.diagnosis is None]
        budget = f", budget {self.rows[0].budget_evals:g} evals" if self.rows else ""
        return "\n".join([f"exact: {self.source}{budget}", *table, *left])

    def plot(self, target: Target) -> None:
        """Draw squared bias and variance at the budget, one bar for each estimator.

        Args:
            target: A ``.png``, ``.pdf`` or ``.svg`` file, written in one atomic step, or
                matplotlib's axes to draw on.

        Raises:
            ConfigError: If the file's suffix is another one.
            ModuleNotFoundError: If matplotlib is not installed.
        """  # noqa: DOC502 (by axes_at)
        shown = [row for row in self.rows if row.diagnosis is not None][::-1]
        squares = [row.mse - row.variance for row in shown]
        with axes_at(target, "Comparison.plot", (6.5, 1.2 + 0.3 * len(shown))) as axes:
            places = range(len(shown))
            axes.barh(places, squares, color="C3", label="squared bias")
            axes.barh(places, [row.variance for row in shown], left=squares, label="variance")
            axes.set_yticks(places, [row.name for row in shown])
            axes.set_xlabel("mean squared error at the budget")
            axes.legend(frameon=False)


def _cells(row: Row) -> tuple[str, ...]:
    found = row.diagnosis
    assert found is not None  # noqa: S101 (only such rows are asked for)
    mark = "*" if found.biased else ""
    return (
        row.name,
        f"{found.evals:g}",
        f"{found.squared_bias**0.5:.2g}{mark}",
        f"{found.z:.1f}",
        f"{found.variance:.4g}",
        f"{row.mse:.4g}",
        f"{found.seconds * 1e3:.2g}",
    )


def compare(
    f: Cost,
    q: Distribution,
    estimators: Sequence[Estimator] | Mapping[str, Estimator],
    budget_evals: float = 4,
    replicas: int = 20_000,
    *,
    ctx: Tensor | None = None,
    exact: Given = None,
    warmup: int = 400,
    generator: torch.Generator | None = None,
) -> Comparison:
    """Measure estimators on one problem, at the same number of evaluations of the cost.

    One that evaluates the cost ``e`` times is averaged ``budget_evals / e`` times, which divides
    its variance and leaves its bias. In print, ``bias`` is a length, starred where it is one.

    Args:
        f: As of `diagnose`.
        q: As of `diagnose`.
        estimators: What to compare; none is changed. A mapping gives names.
        budget_evals: Evaluations of the cost that each may make, > 0.
        replicas: As of `diagnose`.
        ctx: As of `diagnose`.
        exact: As of `diagnose`.
        warmup: Steps in which those that learn something do so before.
        generator: As of `diagnose`.

    Returns:
        The table. Estimators that do not fit ``q`` or ``f`` are in it with the reason.

    Raises:
        ConfigError: If the budget is not positive, or as of `diagnose`.
        UnsupportedDistributionError: If ``q`` cannot be built again from its parameters.

    Example:
        >>> import torch, bbb.estimators as G
        >>> q = torch.distributions.Bernoulli(logits=torch.zeros(2))
        >>> f = lambda z: (z - 0.45) ** 2
        >>> G.compare(f, q, [G.ScoreFunction(), G.RLOO(4)], replicas=1000).rows[0].name
        'RLOO(num_samples=4)'
    """  # noqa: DOC502 (by Problem)
    if not 0 < budget_evals < math.inf:
        msg = f"compare needs a finite budget_evals > 0, got {budget_evals}"
        raise ConfigError(msg)
    names = estimators if isinstance(estimators, Mapping) else map(title, estimators)
    each = estimators.values() if isinstance(estimators, Mapping) else estimators
    problem = Problem(f, q, ctx)
    truth = find_truth(problem, exact, replicas, generator)

    def row(name: str, one: Estimator) -> Row:
        try:
            found = diagnose_against(problem, truth, one, replicas, warmup, generator=generator)
        except UnsupportedDistributionError as error:
            return Row(name, budget_evals, None, str(error))
        return Row(name, budget_evals, found)

    rows = [row(*pair) for pair in zip(names, each, strict=True)]
    order = sorted(rows, key=lambda row: (row.diagnosis is None, _last(row.mse)))
    return Comparison(tuple(order), truth.source)


def _last(value: float) -> float:
    return math.inf if math.isnan(value) else value


@dataclass(frozen=True)
class Tuned:
    """The best temperature of an estimator; ``print`` it.

    Attributes:
        tau: The temperature with the smallest mean squared error at the budget.
        table: The measurement of all, best first.
    """

    tau: float
    table: Comparison

    def __str__(self) -> str:
        return f"tau = {self.tau:g}\n{self.table}"


def _with_tau(estimator: Estimator, tau: float) -> Estimator:
    candidate = copy.deepcopy(estimator)
    del candidate.tau  # It may be a module, in whose place no number can be put.
    candidate.tau = float(tau)  # type: ignore[assignment]
    return candidate


def _check_taus(estimator: Estimator, taus: Sequence[float]) -> None:
    if getattr(estimator, "tau", None) is None or not taus or not all(t > 0 for t in taus):
        msg = (
            "tune_tau needs an estimator with a temperature, such as GumbelSoftmax() or REBAR(), "
            f"and temperatures > 0; got {title(estimator)} and {tuple(taus)}"
        )
        raise ConfigError(msg)


def tune_tau(
    f: Cost,
    q: Distribution,
    estimator: Estimator,
    taus: Sequence[float] = TAUS,
    *,
    budget_evals: float = 4,
    replicas: int = 10_000,
    ctx: Tensor | None = None,
    exact: Given = None,
    warmup: int = 0,
    generator: torch.Generator | None = None,
) -> Tuned:
    """Choose a temperature by the measured error of the gradient.

    A low temperature has little bias and much variance, a high one the opposite; what is best
    depends on how much is averaged: on the budget. All are measured with the same noise.

    Args:
        f: As of `diagnose`.
        q: As of `diagnose`.
        estimator: One with a temperature: GumbelSoftmax, STGumbel, GumbelRao, StraightThrough,
            ReinMax, REBAR, RELAX with the relaxed cost. It is not changed.
        taus: The temperatures, > 0.
        budget_evals: As of `compare`: evaluations in one step of training, of the whole batch.
        replicas: As of `diagnose`.
        ctx: As of `diagnose`.
        exact: As of `diagnose`.
        warmup: As of `diagnose`.
        generator: As of `diagnose`.

    Returns:
        The best temperature, and the table of all.

    Raises:
        ConfigError: If there is no temperature to set, or one is not positive.
        UnsupportedDistributionError: If the estimator does not fit ``q``.

    Example:
        >>> import torch, bbb.estimators as G
        >>> q = torch.distributions.Bernoulli(logits=torch.tensor(0.3))
        >>> f = lambda z: (z - 0.45) ** 2
        >>> G.tune_tau(f, q, G.GumbelSoftmax(), taus=(0.5, 1.0), replicas=100).tau in (0.5, 1.0)
        True
    """  # noqa: DOC502 (by _check_taus and the estimator)
    _check_taus(estimator, taus)
    device = generator.device if generator is not None else torch.device("cpu")
    seed = int(torch.randint(2**62, (), generator=generator, device=device))
    problem = Problem(f, q, ctx)
    truth = find_truth(problem, exact, replicas, generator)
    rows = []
    for tau in taus:
        candidate = _with_tau(estimator, tau)
        noise = torch.Generator(problem.device).manual_seed(seed)
        found = diagnose_against(problem, truth, candidate, replicas, warmup, generator=noise)
        rows.append((tau, Row(f"tau = {tau:g}", budget_evals, found)))
    rows.sort(key=lambda pair: _last(pair[1].mse))
    return Tuned(float(rows[0][0]), Comparison(tuple(row for _, row in rows), truth.source))
