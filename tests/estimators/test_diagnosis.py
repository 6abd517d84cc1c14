"""Measuring an estimator: the exact gradient, the moments, the verdict."""

import copy
import itertools
import math

import pytest
import scipy.integrate
import scipy.stats
import torch
from torch import distributions as td
from torch import nn

import bbb.estimators as G
from bbb.errors import ConfigError, ShapeError, UnsupportedDistributionError
from bbb.estimators.diagnosis import z_limit
from bbb.estimators.rebuild import replicate
from bbb.estimators.replicas import Problem, measure
from bbb.estimators.truth import find_truth
from tests.estimators.problems import DOUBLE, bits, scalar, tensor


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def coin(logit=0.3):
    return td.Bernoulli(logits=scalar(logit))


def square(z):
    return (z - 0.45) ** 2


class SelfBaseline(G.Estimator):
    """The mean that is subtracted includes the sample itself."""

    def forward(self, f, q, ctx=None):  # noqa: ARG002
        z = q.sample((4,))
        cost = f(z)
        surrogate = (cost - cost.mean(0)).detach() * q.log_prob(z) + cost
        return G.attach(cost, surrogate).mean(0)


class Multiple(G.Estimator):
    """The exact gradient times a number: no variance at all."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, f, q, ctx=None):  # noqa: ARG002
        value = G.expectation(f, q, G.Exact())
        return value * self.factor


class Unbroadcast(td.Normal):
    """A law of one's own, whose parameters keep the shapes that they came with."""

    def __init__(self, loc, scale, validate_args=None):
        super().__init__(loc, scale, validate_args=validate_args)
        self.loc, self.scale = loc, scale


# -- laws that can be built again -------------------------------------------------------------

LAWS = {
    "Normal": td.Normal(tensor(1.0, 2.0), tensor(1.5, 0.5)),
    "own": Unbroadcast(torch.zeros(2, 3, dtype=DOUBLE), tensor(1.0, 2.0, 3.0)),
    "Independent": td.Independent(td.Bernoulli(logits=torch.zeros(2, 3, dtype=DOUBLE)), 1),
    "Bernoulli of probs": td.Bernoulli(probs=tensor(0.2, 0.9)),
    "Categorical": td.Categorical(probs=tensor(0.2, 0.3, 0.5)),
    "OneHotCategorical": td.OneHotCategorical(logits=torch.randn(2, 4, generator=seeded())),
    "MultivariateNormal": td.MultivariateNormal(tensor(0.1, 0.2), torch.eye(2, dtype=DOUBLE) + 0.3),
    "LowRank": td.LowRankMultivariateNormal(
        tensor(0.1, 0.2), torch.ones(2, 1, dtype=DOUBLE), tensor(1.0, 2.0)
    ),
    "StudentT": td.StudentT(scalar(3.0), tensor(0.1, 0.2), scalar(1.5)),
    "Binomial": td.Binomial(4, logits=tensor(0.1, 0.2)),
    "NegativeBinomial": td.NegativeBinomial(scalar(3.0), logits=scalar(0.2)),
    "Dirichlet": td.Dirichlet(tensor(1.0, 2.0, 3.0)),
    "Beta": td.Beta(scalar(0.6), scalar(1.5)),
    "RelaxedBernoulli": td.RelaxedBernoulli(scalar(0.7), logits=tensor(0.1, 0.2)),
    "LogisticNormal": td.LogisticNormal(tensor(0.1, 0.2), tensor(1.0, 1.5)),
    "mixture": td.MixtureSameFamily(
        td.Categorical(logits=tensor(0.1, 0.5)), td.Normal(tensor(-1.0, 1.0), tensor(0.5, 1.0))
    ),
}


@pytest.mark.parametrize("name", LAWS)
def test_a_law_built_again_is_the_same_law(name):
    q = LAWS[name]
    built, leaves = replicate(q, 5)
    assert built.batch_shape == (5, *q.batch_shape)
    assert built.event_shape == q.event_shape
    assert all(leaf.is_leaf and leaf.requires_grad and len(leaf) == 5 for leaf in leaves.values())
    z = q.sample((7,))
    expected = q.log_prob(z).unsqueeze(1).expand(7, 5, *q.batch_shape)
    torch.testing.assert_close(built.log_prob(z.unsqueeze(1)), expected)


class OfEncoder(td.Normal):
    def __init__(self, hidden):
        super().__init__(hidden, hidden.exp())


@pytest.mark.parametrize(
    "q", [td.TransformedDistribution(td.Normal(0.0, 1.0), []), OfEncoder(torch.zeros(2))]
)
def test_a_law_that_cannot_be_built_again_is_told(q):
    with pytest.raises(TypeError, match="cannot be built again from its parameters"):
        G.diagnose(square, q, G.Pathwise())


# -- exact gradients --------------------------------------------------------------------------


def exact(f, q):
    problem = Problem(f, q)
    truth = find_truth(problem, None, 1000)
    return problem.by_name(truth.gradient), truth


def test_sums_keep_batch_elements_apart():
    logits = tensor(-1.0, 0.0, 2.0)
    gradient, truth = exact(square, td.Bernoulli(logits=logits))
    p = logits.sigmoid()
    torch.testing.assert_close(gradient["logits"], 0.1 * p * (1 - p))
    assert truth.source == "sum over 2 states"


CONTINUOUS = {
    "norm": (td.Normal, {"loc": 0.7, "scale": 1.5}, scipy.stats.norm),
    "laplace": (td.Laplace, {"loc": 0.7, "scale": 1.5}, scipy.stats.laplace),
    "cauchy": (td.Cauchy, {"loc": 0.7, "scale": 1.5}, scipy.stats.cauchy),
    "t": (
        td.StudentT,
        {"df": 3.0, "loc": 0.7, "scale": 1.5},
        scipy.stats.t,
    ),
    "gamma": (
        td.Gamma,
        {"concentration": 0.4, "rate": 1.5},
        lambda a, b: scipy.stats.gamma(a, scale=1 / b),
    ),
    "narrow gamma": (
        td.Gamma,
        {"concentration": 1e4, "rate": 1e4},
        lambda a, b: scipy.stats.gamma(a, scale=1 / b),
    ),
    "beta": (
        td.Beta,
        {"concentration1": 0.5, "concentration0": 1.7},
        scipy.stats.beta,
    ),
    "uniform": (
        td.Uniform,
        {"low": 0.2, "high": 1.5},
        lambda a, b: scipy.stats.uniform(a, b - a),
    ),
    "pareto": (
        td.Pareto,
        {"scale": 1.2, "alpha": 2.5},
        lambda a, b: scipy.stats.pareto(b, scale=a),
    ),
    "weibull": (
        td.Weibull,
        {"scale": 1.2, "concentration": 0.8},
        lambda a, b: scipy.stats.weibull_min(b, scale=a),
    ),
    "halfcauchy": (td.HalfCauchy, {"scale": 1.2}, lambda a: scipy.stats.halfcauchy(scale=a)),
}


def scipy_mean(law):
    """E tanh(z), over quantiles, whose singularities SciPy likes better than long tails."""
    parts = [0.0, 1e-6, 1e-3, 0.5, 1 - 1e-3, 1 - 1e-6, 1.0]
    return sum(
        scipy.integrate.quad(lambda u: math.tanh(law.ppf(u)), a, b, epsabs=1e-12)[0]
        for a, b in itertools.pairwise(parts)
    )


@pytest.mark.parametrize("name", CONTINUOUS)
def test_quadrature_agrees_with_scipy(name):
    make, values, law = CONTINUOUS[name]
    gradient, truth = exact(torch.tanh, make(**{k: scalar(v) for k, v in values.items()}))
    assert truth.source.startswith("quadrature")
    for key, value in values.items():
        step = 1e-3 * value
        up, down = (
            scipy_mean(law(*{**values, key: at}.values())) for at in (value + step, value - step)
        )
        assert float(gradient[key]) == pytest.approx((up - down) / (2 * step), rel=1e-4, abs=1e-6)


def test_quadrature_of_a_periodic_density_stays_in_its_period():
    gradient, _ = exact(torch.tanh, td.VonMises(scalar(0.4), scalar(2.0)))
    # With f' and the whole circle by parts: -d/dloc = d/dz, and the ends do not cancel.
    law = scipy.stats.vonmises(2.0, loc=0.4)
    inside = scipy.integrate.quad(lambda z: law.pdf(z) / math.cosh(z) ** 2, -math.pi, math.pi)[0]
    expected = inside - 2 * math.tanh(math.pi) * law.pdf(math.pi)
    assert float(gradient["loc"]) == pytest.approx(expected, rel=1e-8)


def test_quadrature_takes_a_step_where_only_the_density_has_a_slope():
    gradient, _ = exact(lambda z: (z > 1.0).to(z), td.Normal(scalar(0.3), scalar(1.5)))
    expected = scipy.stats.norm(0.3, 1.5).pdf(1.0)
    assert float(gradient["loc"]) == pytest.approx(expected, abs=2e-3)


def test_quadrature_in_two_dimensions():
    q = td.MultivariateNormal(tensor(0.1, 0.2), scale_tril=tensor(1.0, 0.0, 0.5, 0.8).reshape(2, 2))
    gradient, truth = exact(lambda z: z[..., 0] ** 2 * z[..., 1], q)
    # E x^2 y = (m1^2 + s11) m2 + 2 m1 s12.
    m, t = tensor(0.1, 0.2).requires_grad_(), q.scale_tril.clone().requires_grad_()
    s = t @ t.T
    ((m[0] ** 2 + s[0, 0]) * m[1] + 2 * m[0] * s[0, 1]).backward()
    torch.testing.assert_close(gradient["loc"], m.grad, atol=1e-8, rtol=0)
    torch.testing.assert_close(gradient["scale_tril"], t.grad.tril(), atol=1e-8, rtol=0)
    assert float(truth.error.max()) < 1e-6


def test_the_upper_triangle_is_no_parameter():
    q = td.MultivariateNormal(tensor(0.1, 0.2), torch.eye(2, dtype=DOUBLE) + 0.3)
    f = lambda z: (z[..., 0] * z[..., 1]).sin()  # noqa: E731
    G.assert_unbiased(f, q, G.Pathwise(), generator=seeded())


def test_sampling_is_the_last_resort_and_knows_its_error():
    gradient, truth = exact(lambda z: z * 1.0, td.Poisson(scalar(2.0)))
    assert truth.source == "RLOO, 4,000 estimates of 8 draws"
    assert abs(float(gradient["rate"]) - 1) < 4.5 * float(truth.error)  # 7e-6 by chance
    assert float(truth.error) > 1e-3
    counts = td.Binomial(torch.tensor([2.0, 3.0]), logits=tensor(0.0, 0.0))
    assert exact(lambda z: z * 1.0, counts)[1].source == truth.source


def test_the_callers_gradient_is_taken():
    q = td.Independent(td.Normal(torch.zeros(5, dtype=DOUBLE), torch.ones(5, dtype=DOUBLE)), 1)
    known = {"loc": torch.zeros(5), "scale": 2 * torch.ones(5)}
    f = lambda z: z.square().sum(-1)  # noqa: E731
    found = G.diagnose(f, q, G.Pathwise(), 2000, exact=known, generator=seeded())
    assert found.source == "given by the caller"
    assert not found.biased
    assert G.diagnose(f, q, G.Pathwise(), 2000, exact={**known, "loc": torch.ones(5)}).biased


@pytest.mark.parametrize("known", [torch.zeros(2), {"probs": torch.zeros(())}, {}])
def test_a_gradient_of_the_wrong_shape_is_told(known):
    with pytest.raises(ShapeError, match=r"a gradient for each parameter of q, \{'logits': \(\)\}"):
        G.diagnose(square, coin(), G.RLOO(), exact=known)


# -- moments ----------------------------------------------------------------------------------


def test_moments_are_those_of_all_draws_whatever_the_chunk():
    problem = Problem(bits().f, bits().q)
    torch.manual_seed(1)
    draws = problem.gradients(G.ScoreFunction(), 1000)
    for chunk in (1000, 999, 37, None):
        torch.manual_seed(1)
        found = measure(problem, G.ScoreFunction(), 1000, chunk)
        torch.testing.assert_close(found.mean, draws.mean(0))
        torch.testing.assert_close(found.variance, draws.var(0))


def test_variance_of_the_score_function_is_the_exact_one():
    q, p = coin(), float(torch.sigmoid(scalar(0.3)))
    g = [0.45**2 * (0 - p), 0.55**2 * (1 - p)]
    mean = (1 - p) * g[0] + p * g[1]
    variance = (1 - p) * g[0] ** 2 + p * g[1] ** 2 - mean**2
    found = G.diagnose(square, q, G.ScoreFunction(), 50_000, generator=seeded())
    assert found.variance == pytest.approx(variance, rel=0.02)
    assert found.snr == pytest.approx(abs(mean) / variance**0.5, rel=0.02)
    assert found.mse == pytest.approx(variance, rel=0.02)
    assert float(found.exact["logits"]) == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize(
    ("estimator", "evals"),
    [(G.RLOO(4), 4), (G.MuProp(), 2), (G.DisARM(), 2), (G.REBAR(2), 6), (SelfBaseline(), 4)],
)
def test_evaluations_are_counted_not_believed(estimator, evals):
    assert G.diagnose(square, coin(), estimator, 100, chunk=30).evals == evals


def test_biases_spread_as_their_standard_errors_say():
    found = [
        G.diagnose(bits().f, bits().q, G.RLOO(), 300, generator=seeded(seed)) for seed in range(200)
    ]
    z = torch.stack([d.bias["logits"] / d.standard_error["logits"] for d in found])
    # 4.5 standard errors of a mean and of a standard deviation of 200.
    assert float(z.mean(0).abs().max()) < 4.5 / 200**0.5
    assert float((z.std(0) - 1).abs().max()) < 4.5 / 400**0.5


def test_the_limit_grows_with_the_coordinates():
    for count in (1, 12, 10_000):
        expected = scipy.stats.norm.isf(scipy.stats.norm.sf(4.5) / count)
        assert z_limit(4.5, count) == pytest.approx(expected, rel=1e-6)


# -- verdicts ---------------------------------------------------------------------------------


def test_a_mean_that_includes_the_sample_itself_is_found_out():
    with pytest.raises(AssertionError, match=r"SelfBaseline.*\n.*BIASED, against its own word"):
        G.assert_unbiased(bits().f, bits().q, SelfBaseline(), generator=seeded())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_no_variance_is_no_bias_if_the_gradient_is_right(dtype, offset):
    q = td.Bernoulli(logits=torch.tensor([0.0, 0.7, -2.0], dtype=dtype))
    f = lambda z: (z - 0.499) ** 2 + offset  # noqa: E731
    for estimator in (G.Exact(), Multiple(1.0)):
        G.assert_unbiased(f, q, estimator, replicas=200)
    coarse = 1e-9 if dtype == torch.float64 else 0.9
    if not offset:
        with pytest.raises(AssertionError, match="BIASED"):
            G.assert_unbiased(f, q, Multiple(1 + coarse), replicas=200)


@pytest.mark.parametrize("factor", [0.0, math.nan])
def test_no_gradient_and_no_number_are_biased(factor):
    assert G.diagnose(square, coin(), Multiple(factor), 10).biased


def test_an_estimator_without_any_gradient_is_biased():
    class Lost(G.Estimator):
        def forward(self, f, q, ctx=None):  # noqa: ARG002
            return f(q.sample((1,))).mean(0).detach()

    assert G.diagnose(square, coin(), Lost(), 10).biased


def test_theory_has_its_say():
    r = G.diagnose(square, coin(), G.ReinMax(), 1000, generator=seeded())
    assert r.verdict == "no bias seen (theory: biased in general)"
    assert G.diagnose(square, coin(-1.4), G.StraightThrough(), 1000).verdict == "BIASED"


def test_it_prints_as_two_lines():
    first, second = str(G.diagnose(bits().f, bits().q, G.RLOO(4), 1000)).splitlines()
    assert first == (
        "RLOO(num_samples=4) on Bernoullis (3,), 1,000 replicas; exact: sum over 8 states"
    )
    for part in ("bias", "+-", "no bias seen", "| var ", "| MSE ", "| SNR ", "| 4 evals |", " ms"):
        assert part in second


# -- what it leaves alone -----------------------------------------------------------------------


def test_nothing_is_changed():
    weight = nn.Parameter(torch.ones((), dtype=DOUBLE))
    logits = torch.zeros(3, dtype=DOUBLE, requires_grad=True)
    q = td.Independent(td.Bernoulli(logits=logits), 1)
    estimator = G.REBAR(learn=True, generator=seeded(5))
    before = copy.deepcopy(estimator.state_dict())
    default, own = torch.get_rng_state(), estimator.generator.get_state()
    f = lambda z: (weight * z.sum(-1) - 0.4) ** 2  # noqa: E731
    G.diagnose(f, q, estimator, 100, warmup=5, generator=seeded())
    assert weight.grad is None
    assert logits.grad is None
    assert estimator.training
    assert all(
        torch.equal(a, b)
        for a, b in zip(before.values(), estimator.state_dict().values(), strict=True)
    )
    assert torch.equal(default, torch.get_rng_state())
    assert torch.equal(own, estimator.generator.get_state())


@pytest.mark.parametrize(
    "estimator",
    [G.RLOO(), G.RLOO(generator=seeded(9)), SelfBaseline(), G.ScoreFunction(G.EMA())],
)
def test_a_generator_decides_everything(estimator):
    def once(seed):
        r = G.diagnose(square, coin(), estimator, 50, warmup=3, generator=seeded(seed))
        return float(r.mean["logits"])

    assert once(1) == once(1)
    assert once(1) != once(2)


def test_what_is_measured_stands_still():
    plain, average = (
        G.diagnose(square, coin(), estimator, 200, chunk=10, generator=seeded())
        for estimator in (G.ScoreFunction(), G.ScoreFunction(G.EMA()))
    )
    assert average.variance == pytest.approx(plain.variance)


@pytest.mark.parametrize("wrong", [{"replicas": 1}, {"warmup": -1}, {"chunk": 0}])
def test_counts_are_checked(wrong):
    with pytest.raises(ConfigError, match="diagnose needs replicas >= 2"):
        G.diagnose(square, coin(), G.RLOO(), **wrong)


def test_a_misfit_is_told():
    with pytest.raises(UnsupportedDistributionError, match="DisARM needs Bernoulli"):
        G.diagnose(square, td.Normal(scalar(0.0), 1.0), G.DisARM())


# -- fit ----------------------------------------------------------------------------------------


def test_fit_brings_the_average_to_the_mean_cost():
    estimator = G.ScoreFunction(G.EMA()).eval()
    assert G.fit(estimator, square, coin(), 400, generator=seeded()) is estimator
    assert not estimator.training
    p = float(torch.sigmoid(scalar(0.3)))
    mean = float(estimator.baseline.average.mean())
    assert mean == pytest.approx(0.45**2 + p * 0.1, abs=2e-3)


def test_fit_moves_nothing_but_the_estimator():
    weight = nn.Parameter(torch.ones((), dtype=DOUBLE))
    logits = torch.zeros(3, dtype=DOUBLE, requires_grad=True)
    q = td.Independent(td.Bernoulli(logits=logits), 1)
    rebar = G.REBAR(learn=True)
    G.fit(rebar, lambda z: (weight * z.sum(-1) - 0.4) ** 2, q, 3)
    assert weight.grad is None
    assert logits.grad is None
    assert weight.item() == 1
    assert rebar.eta.item() != 1
    assert all(p.grad is None for p in rebar.parameters())


def test_fit_leaves_alone_what_does_not_learn():
    calls = []
    G.fit(G.RLOO(), lambda z: calls.append(z) or z, coin())
    assert not calls


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"lr": 0.0}, {"copies": 0}])
def test_fit_checks_its_counts(wrong):
    with pytest.raises(ConfigError, match="fit needs steps >= 1"):
        G.fit(G.RLOO(), square, coin(), **wrong)
