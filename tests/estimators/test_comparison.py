"""Tables at equal cost, and the temperature that measurement chooses."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Normal

import bbb.estimators as G
from bbb.errors import ConfigError, UnsupportedDistributionError
from tests.estimators.problems import bits, onehots, scalar


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def table():
    reference = bits()
    estimators = [G.ScoreFunction(), G.RLOO(4), G.ReinMax(), G.Pathwise(), G.Exact()]
    return G.compare(reference.f, reference.q, estimators, 4, 2000, generator=seeded())


def test_variance_is_divided_by_what_the_budget_pays_for_and_bias_is_not(table):
    for row in table.rows[:-1]:
        found = row.diagnosis
        averaged = 4 / found.evals
        squared_bias = sum(float(part.square().sum()) for part in found.bias.values())
        assert row.variance == pytest.approx(found.variance / averaged)
        assert row.mse == pytest.approx(squared_bias + found.variance / averaged)
    rloo = next(row for row in table.rows if row.name == "RLOO(num_samples=4)")
    assert rloo.variance == rloo.diagnosis.variance
    exact = next(row for row in table.rows if row.name.startswith("Exact"))
    assert exact.diagnosis.evals == 8


def test_the_best_comes_first_and_misfits_last_with_the_reason(table):
    errors = [row.mse for row in table.rows[:-1]]
    assert errors == sorted(errors)
    last = table.rows[-1]
    assert last.name == "Pathwise(num_samples=1)"
    assert last.diagnosis is None
    assert math.isnan(last.mse)
    assert last.reason.startswith("Pathwise needs a distribution with rsample")


def test_it_prints_as_an_aligned_table(table):
    lines = str(table).splitlines()
    assert lines[0] == "exact: sum over 8 states, budget 4 evals"
    assert lines[1].split() == [
        "estimator", "evals", "bias", "z", "variance", "MSE", "at", "budget", "ms",
    ]  # fmt: skip
    assert len({len(line) for line in lines[1:-1]}) == 1
    assert len(lines) == 2 + len(table.rows)
    assert lines[-1].startswith("Pathwise(num_samples=1): Pathwise needs")
    starred = [line.split()[0] for line in lines if "*" in line]
    assert starred == ["ReinMax(num_samples=1,"]


def test_it_is_drawn(table, tmp_path):
    from matplotlib.figure import Figure  # noqa: PLC0415 (slow to import)

    table.plot(tmp_path / "mse.png")
    assert (tmp_path / "mse.png").stat().st_size > 1000
    axes = Figure().add_subplot()
    table.plot(axes)
    ends = sorted(bar.get_x() + bar.get_width() for bar in axes.containers[1])
    assert ends == pytest.approx([row.mse for row in table.rows[:-1]])
    with pytest.raises(ConfigError, match=r"\.png"):
        table.plot(tmp_path / "mse.doc")


def test_names_can_be_given_and_learners_learn_first():
    reference = bits()
    estimators = {"plain": G.ScoreFunction(), "average": G.ScoreFunction(G.EMA())}
    found = G.compare(reference.f, reference.q, estimators, 1, 2000, generator=seeded())
    assert [row.name for row in found.rows] == ["average", "plain"]
    assert found.rows[0].variance < 0.8 * found.rows[1].variance
    assert estimators["average"].baseline.average.weight == 0


@pytest.mark.parametrize("budget", [0, -1, math.inf, math.nan])
def test_the_budget_is_checked(budget):
    with pytest.raises(ConfigError, match="budget_evals > 0"):
        G.compare(bits().f, bits().q, [G.RLOO()], budget)


def test_nothing_to_compare():
    assert str(G.compare(bits().f, bits().q, [])).startswith("exact: sum over 8 states\n")


# -- temperature ------------------------------------------------------------------------------


def test_the_more_is_averaged_the_lower_the_temperature():
    reference = onehots()
    small, large = (
        G.tune_tau(
            reference.f, reference.q, G.GumbelSoftmax(), budget_evals=b, replicas=4000,
            generator=seeded(),
        )
        for b in (1, 1000)
    )  # fmt: skip
    assert small.tau > large.tau
    for found in (small, large):
        assert len(found.table.rows) == 8
        assert found.table.rows[0].name == f"tau = {found.tau:g}"
        assert found.table.rows[0].mse == min(row.mse for row in found.table.rows)
        assert str(found).startswith(f"tau = {found.tau:g}\nexact: sum over 64 states")


@pytest.mark.parametrize(
    "estimator",
    [
        G.STGumbel(),
        G.GumbelRao(3),
        G.StraightThrough(),
        G.ReinMax(),
        G.REBAR(learn=True),
        G.GumbelSoftmax(tau=G.Anneal()),
        G.RELAX(nn.Linear(3, 1, dtype=torch.float64), tau=1.0),
    ],
)
def test_every_temperature_can_be_tuned(estimator):
    before = estimator.tau
    found = G.tune_tau(bits().f, bits().q, estimator, (0.5, 1.0), replicas=200)
    assert found.tau in {0.5, 1.0}
    assert estimator.tau is before


def test_all_temperatures_see_the_same_noise():
    q = Bernoulli(logits=scalar(0.3))
    found = G.tune_tau(lambda z: z**2, q, G.REBAR(), (0.5, 0.5), replicas=50)
    a, b = (row.diagnosis.variance for row in found.table.rows)
    assert a == b


@pytest.mark.parametrize(
    ("estimator", "taus"),
    [
        (G.RLOO(), (1.0,)),
        (G.RELAX(nn.Linear(3, 1)), (1.0,)),
        (G.STGumbel(), ()),
        (G.STGumbel(), (1.0, 0.0)),
    ],
)
def test_without_a_temperature_there_is_nothing_to_tune(estimator, taus):
    with pytest.raises(ConfigError, match="tune_tau needs an estimator with a temperature"):
        G.tune_tau(bits().f, bits().q, estimator, taus)


def test_a_misfit_is_told():
    with pytest.raises(UnsupportedDistributionError, match="STGumbel needs"):
        G.tune_tau(torch.sin, Normal(scalar(0.0), 1.0), G.STGumbel())
