"""The laws of ``laws/estimator_laws.py``, for every estimator."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Independent

import bbb.estimators as G
from tests.laws.estimator_laws import (
    CASES,
    EVENT,
    KINDS,
    PAIRS,
    SIGMAS,
    cost,
    gradients,
    make,
    z_score,
)

LOGITS = torch.tensor([0.4, -0.8, 0.1, 1.1], dtype=torch.float64)
every_pair = pytest.mark.parametrize(("name", "kind"), PAIRS)
every = pytest.mark.parametrize("name", CASES)


def first_kind(name):
    return KINDS[CASES[name].kinds[0]]


def value_of(name, kind, logits, estimator=None, f=cost):
    estimator = make(name) if estimator is None else estimator
    return G.expectation(f, KINDS[kind](logits), estimator, logits.detach())


def truth(kind):
    """Exact value and gradient; of the Gaussian, by a fine product rule."""
    at = LOGITS.clone().requires_grad_()
    if kind == "normal":
        points, weights = quadrature()
        z = at + 0.5 * points
        value = (weights * cost(z)).sum()
    else:
        value = G.expectation(cost, KINDS[kind](at), G.Exact())
    (gradient,) = torch.autograd.grad(value, at)
    return value.detach(), gradient


def quadrature(order=12):
    import numpy as np  # noqa: PLC0415

    x, w = np.polynomial.hermite_e.hermegauss(order)
    axes = torch.tensor(x)
    points = torch.cartesian_prod(*[axes] * EVENT)
    weights = torch.cartesian_prod(*[torch.tensor(w / w.sum())] * EVENT).prod(-1)
    return points, weights


# -- what it estimates --------------------------------------------------------------------------


@every_pair
def test_unbiased_ones_have_the_exact_gradient_on_average(name, kind):
    estimator = make(name)
    if not estimator.unbiased:
        pytest.skip("biased: see the reference table")
    _, exact = truth(kind)
    _, found = gradients(cost, kind, LOGITS, estimator)
    assert z_score(found, exact) < SIGMAS


@every_pair
def test_the_value_is_the_mean_cost_of_its_draws(name, kind):
    if name == "GumbelSoftmax":
        pytest.skip("its draws are no draws of q")
    value, _ = truth(kind)
    found, _ = gradients(cost, kind, LOGITS, make(name))
    assert z_score(found[:, None], value) < SIGMAS


@every_pair
def test_parameters_inside_the_cost_get_their_gradient(name, kind):
    """Of all but the soft relaxation, whose draws are others: d/dw E[w f] = E[f]."""
    if name == "GumbelSoftmax":
        pytest.skip("its draws are no draws of q")
    weight = torch.ones(20_000, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(2)
    at = LOGITS.expand(20_000, EVENT).clone().requires_grad_()
    value = value_of(name, kind, at, f=lambda z: weight * cost(z))
    (found,) = torch.autograd.grad(value.sum(), weight)
    assert z_score(found[:, None], truth(kind)[0]) < SIGMAS


@every_pair
def test_a_constant_cost_has_no_gradient_on_average(name, kind):
    estimator = make(name)
    if isinstance(estimator, G.PathEstimator):
        pytest.skip("refused: see test_pairings")
    _, found = gradients(lambda z: torch.ones_like(z[..., 0]), kind, LOGITS, estimator)
    assert z_score(found, 0.0) < SIGMAS


# -- shapes, dtypes, edges ----------------------------------------------------------------------


@every_pair
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_batches_are_independent(name, kind, batch):
    logits = torch.randn(*batch, EVENT).requires_grad_()
    value = value_of(name, kind, logits)
    assert value.shape == batch
    value.reshape(-1)[0].backward()
    gradient = logits.grad.reshape(-1, EVENT)
    assert gradient[0].abs().sum() > 0
    assert (gradient[1:] == 0).all()


@every_pair
@pytest.mark.parametrize("size", [0.0, 50.0])
def test_float32_is_finite_where_logits_saturate(name, kind, size):
    signs = torch.tensor([1.0, -1.0, -1.0, -1.0])
    logits = (size * signs).expand(256, EVENT).clone().requires_grad_()
    estimator = make(name)
    value = value_of(name, kind, logits, estimator)
    value.mean().backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value).all()
    assert torch.isfinite(logits.grad).all()
    for parameter in estimator.parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all()


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if "onehot" in c.kinds])
def test_masked_classes_never_come_and_make_no_nan(name):
    logits = torch.tensor([0.0, -torch.inf, 0.3, -0.2]).expand(200, EVENT).clone().requires_grad_()
    hits = []

    def watched(z):
        hits.append(z.detach()[..., 1].abs().max())
        return cost(z)

    estimator = make(name).eval()
    value = G.expectation(watched, KINDS["onehot"](logits), estimator, torch.zeros(200, EVENT))
    value.mean().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[:, 1] == 0).all()
    assert name == "Exact" or max(hits) < 1e-6


@every
def test_the_generator_decides_the_draw_and_torchs_own_stays(name):
    if name == "Exact":
        pytest.skip("draws nothing")
    logits = torch.randn(50, EVENT).requires_grad_()
    found = []
    for seed in (5, 5, 6):
        estimator = make(name)
        estimator.generator = torch.Generator().manual_seed(seed)
        before = torch.get_rng_state()
        value = G.expectation(cost, first_kind(name)(logits), estimator, logits.detach())
        assert (torch.get_rng_state() == before).all()
        (gradient,) = torch.autograd.grad(value.sum(), logits)
        found.append(torch.cat([value.detach()[:, None], gradient], 1))
    assert (found[0] == found[1]).all()
    assert (found[0] != found[2]).any()


@every_pair
@pytest.mark.parametrize("count", [lambda z: z.sum(-1) > 1, lambda z: (z > 0.5).sum(-1)])
def test_a_count_is_a_cost(name, kind, count):
    """Integers or booleans, as rewards often are."""
    if make(name).needs_slope:
        pytest.skip("a count has no slope")
    costs = count, lambda z: count(z).float()
    found = [gradients(f, kind, LOGITS, make(name)) for f in costs]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, check_dtype=False)


@every
def test_a_wrong_shape_is_told(name):
    q = first_kind(name)(torch.zeros(3, EVENT, requires_grad=True))
    with pytest.raises(ValueError, match="sum over the event's axes"):
        G.expectation(lambda z: z, q, make(name), torch.zeros(3, EVENT))


# -- as a module --------------------------------------------------------------------------------


@every
def test_copies_saves_and_shows_itself(name):
    estimator = make(name)
    logits = torch.randn(6, EVENT).requires_grad_()
    for _ in range(3):
        G.expectation(cost, first_kind(name)(logits), estimator, logits.detach())
    stream = io.BytesIO()
    torch.save(estimator.state_dict(), stream)
    stream.seek(0)
    other = make(name)
    other.load_state_dict(torch.load(stream))
    twin = copy.deepcopy(estimator)
    values = []
    for each in (estimator, other, twin):
        torch.manual_seed(3)
        values.append(G.expectation(cost, first_kind(name)(logits), each, logits.detach()))
    assert (values[0] == values[1]).all()
    assert (values[0] == values[2]).all()
    assert repr(estimator).startswith(type(estimator).__name__)


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if c.learns])
@pytest.mark.parametrize("kind", ["bits", "onehot"])
def test_learning_leaves_all_other_gradients_alone(name, kind):
    """A public package lets the signal of the control variate leak into the model."""
    weight = torch.tensor(1.3, requires_grad=True)
    logits = torch.randn(50, EVENT).requires_grad_()
    found = []
    for learn in (True, False):
        estimator = make(name).train(learn)
        torch.manual_seed(4)
        value = value_of(name, kind, logits, estimator, f=lambda z: weight * cost(z))
        found.append(torch.autograd.grad(value.mean(), [logits, weight], retain_graph=True))
        wanted = [p for p in estimator.parameters() if p.requires_grad]
        own = torch.autograd.grad(value.mean(), wanted, allow_unused=True)
        assert any(g is not None and (g != 0).any() for g in own) == learn
    for learning, still in zip(*found, strict=True):
        torch.testing.assert_close(learning, still)


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if c.learns])
def test_own_gradient_is_that_of_the_second_moment(name):
    """Against finite differences of the mean square of the estimate, with the same noise."""
    torch.manual_seed(0)
    estimator = CASES[name].make().double()
    parameter = next(p for p in estimator.parameters() if p.requires_grad)
    logits = torch.randn(40, EVENT, dtype=torch.float64).requires_grad_()

    def moment():
        torch.manual_seed(5)
        value = value_of(name, "bits", logits, estimator)
        (gradient,) = torch.autograd.grad(value.sum(), logits, retain_graph=True)
        return value, gradient.square().sum(-1).mean()

    value, _ = moment()
    value.mean().backward()
    index = (0,) * parameter.dim()
    step, ends = 1e-5, []
    for sign in (1, -1):
        with torch.no_grad():
            parameter[index] += sign * step
        ends.append(moment()[1])
        with torch.no_grad():
            parameter[index] -= sign * step
    expected = (ends[0] - ends[1]) / (2 * step)
    torch.testing.assert_close(parameter.grad[index], expected, rtol=1e-4, atol=1e-7)


@every
def test_evaluations_are_counted(name):
    """What `compare` charges: rows of z that the cost sees, for one batch element."""
    estimator = make(name)
    kind = CASES[name].kinds[0]
    q = KINDS[kind](torch.randn(EVENT).requires_grad_())
    seen = []

    def counted(z):
        seen.append(z.shape[0])
        return cost(z)

    G.expectation(counted, q, estimator, torch.zeros(EVENT))
    assert sum(seen) == estimator.evals(q)


# -- under torch.func and torch.compile ---------------------------------------------------------


@every_pair
def test_runs_under_vmap_of_grad(name, kind):
    estimator = make(name)
    if CASES[name].counts:  # A running average cannot be kept for functions without state.
        estimator.eval()

    def one(logits):
        return value_of(name, kind, logits, estimator)

    logits = torch.randn(5, EVENT)
    found = torch.func.vmap(torch.func.grad(one), randomness="different")(logits)
    assert found.shape == logits.shape
    assert torch.isfinite(found).all()
    assert (found != 0).any()


@pytest.mark.slow
@every_pair
def test_compiles_as_one_graph(name, kind):
    torch._dynamo.reset()
    estimator = make(name)
    if CASES[name].learns:  # Differentiates inside, which the compiler does not trace.
        estimator.eval()
    compiled = torch.compile(
        lambda logits: value_of(name, kind, logits, estimator), fullgraph=True, backend="aot_eager"
    )
    logits = torch.randn(5, EVENT).requires_grad_()
    value = compiled(logits)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert (logits.grad != 0).any()


# -- the layer form -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"), [(n, k) for n, k in PAIRS if isinstance(make(n), G.PathEstimator)]
)
def test_sample_is_the_draw_of_expectation(name, kind):
    logits = torch.randn(7, EVENT).requires_grad_()
    found = []
    for form in ("sample", "expectation"):
        estimator = make(name)
        torch.manual_seed(6)
        q = KINDS[kind](logits)
        if form == "sample":
            z = G.sample(q, estimator)
            assert z.shape == (7, EVENT)
            value = cost(z)
        else:
            value = G.expectation(cost, q, estimator)
        found.append((value, *torch.autograd.grad(value.sum(), logits)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    assert G.sample(KINDS[kind](logits), make(name), (2, 3)).shape == (2, 3, 7, EVENT)


def test_a_linear_layer_of_bits_trains_through_sample():
    torch.manual_seed(0)
    encoder, decoder = nn.Linear(6, 8), nn.Linear(8, 6)
    x = torch.randn(32, 6)
    q = Independent(Bernoulli(logits=encoder(x)), 1)
    decoder(G.sample(q, G.ReinMax())).sub(x).square().mean().backward()
    assert (encoder.weight.grad != 0).any()
