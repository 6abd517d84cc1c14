import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import bbb
from bbb.errors import ConfigError, ShapeError
from bbb.layers import BayesLinear

MIXTURE = bbb.priors.ScaleMixture(0.25, 0.5, 0.05)


def make(prior=None, **bayes):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    return bbb.bayesianize(net, prior=prior, sigma_init=0.1, **bayes)


# -- closed form --------------------------------------------------------------------------------


def test_is_the_sum_over_all_weights():
    """A peer returns the mean: 1.174 instead of 28.19 nats for 24 weights."""
    model = make(bbb.priors.Normal(0.1, 0.3), bayesian_bias=True)
    expected = 0.0
    for layer in (model[0], model[2]):
        for mu, rho in ((layer.weight_mu, layer.weight_rho), (layer.bias_mu, layer.bias_rho)):
            q = torch.distributions.Normal(mu, F.softplus(rho))
            p = torch.distributions.Normal(torch.tensor(0.1), 0.3)
            expected = expected + torch.distributions.kl_divergence(q, p).sum()
    torch.testing.assert_close(bbb.kl_divergence(model), expected)


@pytest.mark.parametrize("prior", [bbb.priors.Normal(0.0, 0.2), MIXTURE])
def test_scales_with_the_number_of_weights(prior):
    def kl(width):
        layer = BayesLinear(width, width, bias=False, prior=prior, sigma_init=0.2)
        nn.init.constant_(layer.weight_mu, 0.3)
        return bbb.kl_divergence(layer, generator=torch.Generator().manual_seed(0)).item()

    # The mixture's is an estimate from one draw of 10^4 and 9*10^4 weights: within 3 %.
    assert kl(300) / kl(100) == pytest.approx(9, rel=1e-4 if prior is not MIXTURE else 0.03)


def test_is_zero_where_posterior_is_prior():
    layer = BayesLinear(30, 20, prior=bbb.priors.Pretrained(0.05), sigma_init=0.05)
    assert bbb.kl_divergence(layer).item() == pytest.approx(0, abs=1e-4)
    same = bbb.priors.ScaleMixture(0.5, 0.05, 0.05)
    layer = BayesLinear(30, 20, prior=same, sigma_init=0.05)
    nn.init.zeros_(layer.weight_mu)
    assert bbb.kl_divergence(layer).item() == pytest.approx(0, abs=2e-3)  # at each draw


def test_moves_only_as_sigma_does_with_tied_sigma():
    tied = BayesLinear(4, 3, tie_sigma=True, sigma_init=0.2)
    free = BayesLinear(4, 3, sigma_init=0.2)
    nn.init.normal_(tied.weight_rho)
    with torch.no_grad():
        free.weight_mu.copy_(tied.weight_mu)
        free.weight_rho.copy_(tied.weight_rho.expand(3, 4))
    for prior in (tied, free):
        bbb.kl_divergence(prior).backward()
    torch.testing.assert_close(bbb.kl_divergence(tied), bbb.kl_divergence(free))
    torch.testing.assert_close(tied.weight_rho.grad, free.weight_rho.grad.sum(0, keepdim=True))


def test_is_float32_or_better():
    model = make()
    reference = bbb.kl_divergence(model).item()
    assert bbb.kl_divergence(model.double()).dtype == torch.float64
    half = model.half()
    assert bbb.kl_divergence(half).dtype == torch.float32
    assert bbb.kl_divergence(half).item() == pytest.approx(reference, rel=1e-3)


def test_needs_no_forward_and_changes_nothing():
    model = make()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    first = bbb.kl_divergence(model)
    model(torch.ones(2, 4))
    assert torch.equal(first, bbb.kl_divergence(model))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_plain_model_is_an_error():
    with pytest.raises(ConfigError, match="kl_divergence needs a model with a Bayesian layer"):
        bbb.kl_divergence(nn.Linear(1, 1))


# -- Monte Carlo --------------------------------------------------------------------------------


def exact_kl(layer, density):
    """By quadrature, in float64, differentiable in mu and rho."""
    grid = torch.linspace(-9, 9, 4001, dtype=torch.float64)
    mu, rho = layer.weight_mu.double()[..., None], layer.weight_rho.double()[..., None]
    sigma = F.softplus(rho)
    w = mu + sigma * grid
    log_q = -0.5 * grid**2 - sigma.log() - 0.5 * math.log(2 * math.pi)
    component = [
        math.log(pi) - 0.5 * (w / s) ** 2 - math.log(s) - 0.5 * math.log(2 * math.pi)
        for pi, s in ((density.pi, density.sigma1), (1 - density.pi, density.sigma2))
    ]
    log_p = torch.logaddexp(*component)
    return torch.trapezoid((log_q - log_p) * torch.exp(-0.5 * grid**2), grid).sum() / math.sqrt(
        2 * math.pi
    )


@pytest.mark.parametrize("record", [False, True])
def test_mixture_kl_and_its_gradient_are_unbiased(record):
    """Pathwise: log q depends on the parameters directly and through the draw, log p through it."""
    torch.manual_seed(0)
    layer = BayesLinear(3, 1, bias=False, prior=MIXTURE, estimator="weight", sigma_init=0.2)
    with torch.no_grad():
        layer.weight_mu.copy_(torch.tensor([[0.0, 0.3, -1.0]]))
        layer.weight_rho.copy_(torch.tensor([[-1.0, -3.0, 0.0]]))
    parameters = [layer.weight_mu, layer.weight_rho]
    expected = exact_kl(layer, MIXTURE)
    expected_gradient = torch.autograd.grad(expected, parameters)
    samples = []
    for _ in range(3000):
        with bbb.record_draws() as draws:
            layer(torch.ones(1, 3))
        kl = bbb.kl_divergence(layer, draws=draws if record else None)
        samples.append(
            torch.cat([kl[None], *(g.flatten() for g in torch.autograd.grad(kl, parameters))])
        )
    samples = torch.stack(samples)
    exact = torch.cat([expected[None], *(g.flatten() for g in expected_gradient)]).float()
    z = (samples.mean(0) - exact) / (samples.std(0) / len(samples) ** 0.5)
    assert z.abs().max() < 5  # one false alarm in 2 * 10^5 runs


@pytest.mark.parametrize("estimator", ["weight", "flipout"])
@pytest.mark.parametrize("tie", [False, True])
def test_mixture_kl_uses_the_very_draw_of_the_forward(estimator, tie):
    model = make(MIXTURE, estimator=estimator, tie_sigma=tie, bayesian_bias=True)
    with bbb.record_draws() as draws:
        model(torch.ones(2, 4))
    assert len(draws) == 4
    state = torch.get_rng_state()
    kl = bbb.kl_divergence(model, draws=draws)
    assert torch.equal(state, torch.get_rng_state())  # no further random number
    expected = 0.0
    for layer in (model[0], model[2]):
        for name in ("weight", "bias"):
            mu, sigma = layer.posterior(name).mu, layer.posterior(name).sigma
            (draw,) = draws.of(layer, name)
            log_q = torch.distributions.Normal(mu, sigma).log_prob(draw.weight)
            expected = expected + (log_q - MIXTURE.log_prob(draw.weight)).sum()
    torch.testing.assert_close(kl, expected, rtol=1e-4, atol=0)


def test_weight_estimator_hands_on_the_weights_that_made_the_output():
    layer = BayesLinear(4, 3, bias=False, prior=MIXTURE, estimator="weight")
    with bbb.record_draws() as draws:
        output = layer(torch.eye(4))
    torch.testing.assert_close(draws.of(layer, "weight")[0].weight.T, output)


def test_fresh_draws_follow_the_generator():
    model = make(MIXTURE)
    values = [
        bbb.kl_divergence(model, generator=torch.Generator().manual_seed(s)).item()
        for s in (1, 1, 2)
    ]
    assert values[0] == values[1] != values[2]


def test_draws_of_several_forwards_are_averaged():
    layer = BayesLinear(4, 3, prior=MIXTURE, estimator="weight")
    records = []
    with bbb.record_draws() as both:
        for _ in range(2):
            with bbb.record_draws() as one:
                layer(torch.ones(1, 4))
            records.append(one)
    expected = sum(bbb.kl_divergence(layer, draws=one) for one in records) / 2
    torch.testing.assert_close(bbb.kl_divergence(layer, draws=both), expected)


def test_record_of_one_model_leaves_others_out():
    first, second = make(MIXTURE), make(MIXTURE)
    with bbb.record_draws(first) as draws:
        second(torch.ones(1, 4))
    assert len(draws) == 0
    with bbb.record_draws(first) as draws:
        first(torch.ones(1, 4))
    assert len(draws) == 2


def test_nothing_is_kept_where_nothing_was_drawn():
    model = make(MIXTURE).eval()
    with bbb.record_draws() as draws:
        model(torch.ones(1, 4))
    assert len(draws) == 0
    assert torch.isfinite(bbb.kl_divergence(model, draws=draws))


@pytest.mark.parametrize("prior", [bbb.priors.Normal(0.2, 0.3), bbb.priors.Pretrained(0.3)])
@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("estimator", ["weight", "local", "flipout"])
def test_closed_form_is_the_same_with_and_without_a_record(prior, tie, estimator):
    model = make(prior, estimator=estimator, tie_sigma=tie, bayesian_bias=True)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    with bbb.record_draws() as draws:
        outputs = model(torch.ones(2, 4)), model(torch.ones(2, 4))
    assert len(draws) == (0 if estimator == "flipout" else 8)
    recorded, closed = bbb.kl_divergence(model, draws=draws), bbb.kl_divergence(model)
    torch.testing.assert_close(recorded, closed)
    parameters = list(model.parameters())
    sums = [kl + sum(output.sum() for output in outputs) for kl in (recorded, closed)]
    gradients = [torch.autograd.grad(total, parameters, retain_graph=True) for total in sums]
    for with_record, without in zip(*gradients, strict=True):
        torch.testing.assert_close(with_record, without)


@pytest.mark.parametrize("prior", [bbb.priors.Normal(), MIXTURE])
@pytest.mark.parametrize("reentrant", [False, True])
def test_record_survives_gradient_checkpointing(prior, reentrant):
    """The second forward runs outside of the record; a reentrant first one has no graph."""
    model = make(prior, estimator="weight")
    x = torch.ones(2, 4, requires_grad=True)
    gradients = []
    for run in (model, lambda x: checkpoint(model, x, use_reentrant=reentrant)):
        torch.manual_seed(1)
        with bbb.record_draws() as draws:
            output = run(x)
        if reentrant:  # what has no graph is not recorded: the KL divergence takes a fresh draw
            assert run is model or not len(draws)
            draws = None
        loss = output.sum() + bbb.kl_divergence(model, draws=draws)
        model.zero_grad()
        loss.backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again)


def test_record_is_closed_after_an_exception():
    model = make(MIXTURE)
    records = []

    def fail():
        with bbb.record_draws() as draws:
            records.append(draws)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    model(torch.ones(1, 4))
    assert len(records[0]) == 0


def test_mixture_pulls_an_outlier_back():
    layer = BayesLinear(1, 1, bias=False, prior=bbb.priors.ScaleMixture(0.5, 0.1, 0.002))
    with torch.no_grad():
        layer.weight_mu.fill_(2.0)
        layer.weight_rho.fill_(-20.0)
    bbb.kl_divergence(layer).backward()
    assert layer.weight_mu.grad.item() == pytest.approx(200.0, rel=1e-5)


# Dynamo itself instantiates every autograd.Function that it traces.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_kl_compiles_without_graph_breaks():
    torch.compiler.reset()
    model = make()
    compiled = torch.compile(bbb.kl_divergence, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(model), bbb.kl_divergence(model))


# -- kl_weights ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["uniform", "blundell"])
@pytest.mark.parametrize("num_batches", [1, 2, 7, 5000])
def test_kl_weights_sum_to_one(scheme, num_batches):
    weights = bbb.kl_weights(num_batches, scheme)
    assert weights.shape == (num_batches,)
    assert torch.isfinite(weights).all()
    assert weights.sum().item() == pytest.approx(1.0, abs=1e-12)


def test_kl_weights_of_blundell():
    expected = torch.tensor([2.0 ** (4 - i) / (2**4 - 1) for i in (1, 2, 3, 4)]).double()
    torch.testing.assert_close(bbb.kl_weights(4, "blundell"), expected, rtol=1e-7, atol=0)
    assert bbb.kl_weights(4).tolist() == [0.25] * 4


def test_kl_weights_refuse_nonsense():
    with pytest.raises(ConfigError, match="needs num_batches >= 1, got 0"):
        bbb.kl_weights(0)
    with pytest.raises(ConfigError, match="needs 'uniform' or 'blundell', got 'soenderby'"):
        bbb.kl_weights(3, "soenderby")


# -- ELBO ---------------------------------------------------------------------------------------


def test_elbo_is_the_sum_of_its_parts():
    model = make()
    logits, target = model(torch.ones(2, 4)), torch.tensor([0, 2])
    criterion = bbb.ELBO(model, num_train=500, kl_weight=0.5)
    loss, nll, kl = criterion(logits, target)
    torch.testing.assert_close(nll, F.cross_entropy(logits, target))
    torch.testing.assert_close(kl, bbb.kl_divergence(model))
    torch.testing.assert_close(loss, nll + 0.5 * kl / 500)
    assert criterion(nll).loss == loss
    assert criterion(nll, kl_weight=0.0).loss == nll
    assert criterion(nll, kl_weight=0.0).kl == kl  # reported unweighted
    loss.backward()
    assert model[0].weight_rho.grad.any()


def test_elbo_with_another_likelihood():
    model = make()
    output = model(torch.ones(2, 4))
    criterion = bbb.ELBO(model, num_train=10, nll=F.mse_loss)
    torch.testing.assert_close(criterion(output, output + 2).nll, torch.tensor(4.0))


def test_elbo_takes_the_forwards_draw():
    model = make(MIXTURE)
    criterion = bbb.ELBO(model, num_train=10)
    with criterion.record() as draws:
        output = model(torch.ones(2, 4))
    parts = criterion(output, torch.tensor([0, 2]), draws=draws)
    assert parts.kl == bbb.kl_divergence(model, draws=draws)
    assert criterion(output, torch.tensor([0, 2])).kl != parts.kl


def test_elbo_of_a_plain_model_is_its_nll():
    nll = torch.tensor(2.5)
    assert bbb.ELBO(nn.Linear(1, 1), num_train=10)(nll) == (nll, nll, torch.tensor(0.0))


def test_blundells_weights_and_a_mean_nll_add_up_to_the_uniform_objective():
    model = make()
    criterion = bbb.ELBO(model, num_train=60)
    shares = bbb.kl_weights(6, "blundell")
    total = sum(criterion(torch.tensor(1.0), kl_weight=6 * s.item()).loss for s in shares)
    torch.testing.assert_close(total, 6 * criterion(torch.tensor(1.0)).loss)


def test_elbo_refuses_nonsense():
    model = make()
    with pytest.raises(
        ConfigError, match="needs num_train >= 1, the size of the training set, got 0"
    ):
        bbb.ELBO(model, num_train=0)
    with pytest.raises(ConfigError, match="needs a finite kl_weight >= 0, got -1"):
        bbb.ELBO(model, num_train=1, kl_weight=-1.0)
    criterion = bbb.ELBO(model, num_train=1)
    with pytest.raises(ConfigError, match="needs a finite kl_weight >= 0, got nan"):
        criterion(torch.tensor(0.0), kl_weight=math.nan)
    with pytest.raises(ShapeError, match=r"expects a mean NLL of shape \(\), got \(3,\)"):
        criterion(torch.zeros(3))


def test_training_finds_the_posterior_of_bayesian_linear_regression():
    """The ELBO has one optimum, known in closed form where the posterior is diagonal."""
    torch.manual_seed(0)
    x = torch.eye(3).repeat(4, 1)
    y = (x @ torch.tensor([[1.0], [-2.0], [0.5]])) + 0.1 * torch.randn(12, 1)
    layer = BayesLinear(3, 1, bias=False, prior=bbb.priors.Normal(0.0, 1.0), estimator="local")
    noise = 0.5

    def mean_nll(output, target):
        return 0.5 * ((output - target) / noise).square().mean()

    criterion = bbb.ELBO(layer, num_train=12, nll=mean_nll)
    optimizer = torch.optim.Adam(layer.parameters(), 0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1500)
    for _ in range(1500):
        optimizer.zero_grad()
        criterion(layer(x), y).loss.backward()
        optimizer.step()
        schedule.step()
    precision = 1.0 + 4 / noise**2
    mean = (x.T @ y).T / noise**2 / precision
    torch.testing.assert_close(layer.weight_mu.detach(), mean, atol=0.03, rtol=0)
    sigma = torch.full((1, 3), precision**-0.5)
    torch.testing.assert_close(layer.posterior().sigma.detach(), sigma, atol=0, rtol=0.05)


def test_elbo_backpropagates_as_one_object():
    model = bbb.layers.BayesLinear(3, 2)
    x, y = torch.ones(4, 3), torch.tensor([0, 1, 1, 0])
    with bbb.fixed_sample(model, seed=0):
        bbb.ELBO(model, num_train=10)(model(x), y).backward()
        whole = model.weight_mu.grad.clone()
        model.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y) + bbb.kl_divergence(model) / 10
    loss.backward()
    torch.testing.assert_close(whole, model.weight_mu.grad)
