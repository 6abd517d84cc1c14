"""Against torch.distributions, scikit-learn and cases by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss
from torch.distributions import Categorical, MixtureSameFamily, Normal

import bbb
from bbb import uncertainty
from bbb.errors import ConfigError, DataError, ShapeError

CLASSIFICATION = [
    uncertainty.predictive_entropy,
    uncertainty.aleatoric,
    uncertainty.mutual_information,
]
SCORES = [
    uncertainty.nll,
    uncertainty.brier_score,
    uncertainty.reliability,
    uncertainty.expected_calibration_error,
]


def some_logits(samples=5, batch=300, classes=4, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2.0 * torch.randn(samples, batch, classes, generator=generator, dtype=dtype)


def some_labels(logits, seed=1):
    probs = logits.softmax(-1).mean(0)
    return torch.multinomial(probs, 1, generator=torch.Generator().manual_seed(seed))[:, 0]


# -- kinds of uncertainty -------------------------------------------------------------------


def test_entropies_are_those_of_torch_distributions():
    logits = some_logits()
    total = Categorical(probs=logits.softmax(-1).mean(0)).entropy()
    noise = Categorical(logits=logits).entropy().mean(0)
    torch.testing.assert_close(uncertainty.predictive_entropy(logits), total)
    torch.testing.assert_close(uncertainty.aleatoric(logits), noise)
    torch.testing.assert_close(uncertainty.mutual_information(logits), total - noise)


@pytest.mark.parametrize("function", CLASSIFICATION)
def test_probabilities_say_the_same_as_logits(function):
    logits = some_logits()
    torch.testing.assert_close(function(logits.softmax(-1), kind="probs"), function(logits))


@pytest.mark.parametrize("function", CLASSIFICATION)
def test_one_class_is_the_second_of_two(function):
    logits = some_logits(classes=1)
    two = torch.cat([torch.zeros_like(logits), logits], -1)
    torch.testing.assert_close(function(logits), function(two))
    torch.testing.assert_close(function(logits.sigmoid(), kind="probs"), function(two))


def test_certain_samples_that_disagree_are_epistemic():
    predictions = torch.eye(2)[:, None]  # two samples, sure of different classes
    assert uncertainty.predictive_entropy(predictions, kind="probs").item() == pytest.approx(
        math.log(2)
    )
    assert uncertainty.aleatoric(predictions, kind="probs").item() == 0.0
    assert uncertainty.mutual_information(predictions, kind="probs").item() == pytest.approx(
        math.log(2)
    )


def test_uncertain_samples_that_agree_are_aleatoric():
    predictions = torch.full((3, 1, 4), 0.25)
    assert uncertainty.aleatoric(predictions, kind="probs").item() == pytest.approx(math.log(4))
    assert uncertainty.mutual_information(predictions, kind="probs").item() == 0.0


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([0.0, 1e-7, 1e-4, 1e-2, 1.0, 30.0, 1e4]),
    common=st.sampled_from([0.0, 5.0, 100.0]),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 5)),
    dtype=st.sampled_from([torch.float16, torch.float32, torch.float64]),
)
def test_mutual_information_is_never_negative(seed, scale, common, shape, dtype):
    generator = torch.Generator().manual_seed(seed)
    logits = common * torch.randn(shape[1:], generator=generator)
    logits = (logits + scale * torch.randn(shape, generator=generator)).to(dtype)
    information = uncertainty.mutual_information(logits)
    assert (information >= 0).all()
    assert (information <= math.log(max(2, min(shape[0], max(shape[2], 2)))) + 1e-6).all()
    parts = uncertainty.aleatoric(logits) + information
    torch.testing.assert_close(parts, uncertainty.predictive_entropy(logits), rtol=1e-4, atol=1e-5)


def test_mutual_information_of_nearly_equal_samples_keeps_its_digits():
    """A difference of entropies in float32 has none here."""
    logits = some_logits(samples=1, dtype=torch.float64)
    logits = logits + 1e-4 * some_logits(seed=5)
    exact = uncertainty.mutual_information(logits)
    torch.testing.assert_close(
        uncertainty.mutual_information(logits.float()).double(), exact, rtol=0.03, atol=0
    )


def test_one_sample_has_no_mutual_information():
    assert not uncertainty.mutual_information(some_logits(samples=1, dtype=torch.float32)).any()


@pytest.mark.parametrize("function", CLASSIFICATION)
def test_extreme_logits_are_finite_with_finite_gradients(function):
    logits = torch.tensor([[[1e4, -1e4, 0.0]], [[-1e4, 1e4, 0.0]]], requires_grad=True)
    value = function(logits)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("function", CLASSIFICATION)
def test_further_batch_axes_and_half_precision(function):
    logits = some_logits(batch=6, dtype=torch.float32).view(5, 2, 3, 4)
    value = function(logits)
    assert value.shape == (2, 3)
    half = function(logits.bfloat16())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, value, rtol=0.1, atol=0.05)


# -- scores -----------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 4])
def test_nll_is_that_of_scikit_learn(classes):
    logits = some_logits(classes=classes)
    labels = some_labels(logits)
    expected = log_loss(labels, logits.softmax(-1).mean(0))
    assert uncertainty.nll(logits, labels).item() == pytest.approx(expected, rel=1e-9)
    probs = logits.softmax(-1)
    assert uncertainty.nll(probs, labels, kind="probs").item() == pytest.approx(expected, rel=1e-9)


def test_nll_of_what_cannot_be_is_infinite():
    sure = torch.tensor([[[1.0, 0.0]]])
    assert uncertainty.nll(sure, torch.tensor([1]), kind="probs").item() == math.inf
    assert uncertainty.nll(sure, torch.tensor([0]), kind="probs").item() == 0.0


def test_nll_is_of_the_mean_of_probabilities():
    """Not of the mean of logits, nor the mean of the samples' NLLs."""
    predictions = torch.tensor([[[0.9, 0.1]], [[0.1, 0.9]]])
    value = uncertainty.nll(predictions, torch.tensor([0]), kind="probs")
    assert value.item() == pytest.approx(math.log(2))


def test_brier_score_is_that_of_scikit_learn():
    logits = some_logits(classes=2)
    labels = some_labels(logits)
    binary = brier_score_loss(labels, logits.softmax(-1).mean(0)[:, 1])
    assert uncertainty.brier_score(logits, labels).item() == pytest.approx(2 * binary)
    difference = logits[..., 1:] - logits[..., :1]
    assert uncertainty.brier_score(difference, labels).item() == pytest.approx(2 * binary)


def test_brier_score_by_hand():
    predictions = torch.tensor([[[0.7, 0.2, 0.1], [0.0, 0.0, 1.0]]])
    value = uncertainty.brier_score(predictions, torch.tensor([0, 0]), kind="probs")
    assert value.item() == pytest.approx((0.09 + 0.04 + 0.01 + 2.0) / 2)


def test_scores_have_gradients():
    logits = some_logits().requires_grad_()
    labels = some_labels(logits.detach())
    for score in (uncertainty.nll, uncertainty.brier_score):
        (gradient,) = torch.autograd.grad(score(logits, labels), logits)
        assert gradient.any()


# -- calibration ------------------------------------------------------------------------------


@pytest.mark.parametrize(("binning", "strategy"), [("width", "uniform"), ("mass", "quantile")])
@pytest.mark.parametrize("bins", [1, 4, 10])
def test_reliability_is_that_of_scikit_learn(binning, strategy, bins):
    logits = some_logits(classes=2, batch=500)
    labels = some_labels(logits)
    positive = logits.softmax(-1).mean(0)[:, 1]
    accuracy, confidence = calibration_curve(labels, positive, n_bins=bins, strategy=strategy)
    data = uncertainty.reliability(logits, labels, label=1, bins=bins, binning=binning)
    filled = data.count > 0
    np.testing.assert_allclose(data.accuracy[filled], accuracy)
    np.testing.assert_allclose(data.confidence[filled], confidence)
    assert data.count.sum() == 500


def test_calibration_error_by_hand():
    predictions = torch.tensor(
        [[[0.9, 0.1], [0.2, 0.8], [0.15, 0.85], [0.45, 0.55]]], dtype=torch.float64
    )
    labels = torch.tensor([0, 1, 0, 1])
    data = uncertainty.reliability(predictions, labels, kind="probs", bins=2)
    # All of the four confidences lie above 1/2.
    assert data.count.tolist() == [0, 4]
    assert data.accuracy[0].isnan()
    assert data.accuracy[1].item() == 0.75
    assert data.confidence[1].item() == pytest.approx((0.9 + 0.8 + 0.85 + 0.55) / 4)
    data = uncertainty.reliability(predictions, labels, kind="probs", bins=5)
    assert data.count.tolist() == [0, 0, 1, 1, 2]  # 0.8 belongs to the bin that it closes
    error = (0.45 * 1 + 0.2 * 1 + abs(0.875 - 0.5) * 2) / 4
    value = uncertainty.expected_calibration_error(predictions, labels, kind="probs", bins=5)
    assert value.item() == pytest.approx(error)


@pytest.mark.parametrize("binning", ["width", "mass"])
def test_calibration_error_of_what_is_no_number_is_no_number(binning):
    logits = some_logits()
    labels = some_labels(logits)
    logits[0, 7] = math.inf  # of an overflow in half precision; its softmax is NaN
    assert uncertainty.nll(logits, labels).isnan()
    assert uncertainty.expected_calibration_error(logits, labels, binning=binning).isnan()


@pytest.mark.parametrize("binning", ["width", "mass"])
def test_calibrated_predictions_have_a_small_error(binning):
    logits = some_logits(samples=1, batch=20_000)
    error = uncertainty.expected_calibration_error(logits, some_labels(logits), binning=binning)
    assert error < 0.01
    error = uncertainty.expected_calibration_error(
        3.0 * logits, some_labels(logits), binning=binning
    )
    assert error > 0.1


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), batch=st.integers(1, 40), bins=st.integers(1, 12))
def test_calibration_does_not_depend_on_the_order_of_tied_examples(seed, batch, bins):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randint(0, 3, (2, batch, 3), generator=generator).double()
    labels = torch.randint(0, 3, (batch,), generator=generator)
    order = torch.randperm(batch, generator=generator)
    for binning in ("width", "mass"):
        first, second = (
            uncertainty.reliability(x, y, bins=bins, binning=binning)
            for x, y in ((logits, labels), (logits[:, order], labels[order]))
        )
        assert torch.equal(first.count, second.count)
        torch.testing.assert_close(first.error, second.error)
        assert 0 <= first.error <= 1
        assert first.count.sum() == batch


def test_quantiles_are_those_of_numpy():
    values = torch.rand(101, generator=torch.Generator().manual_seed(0)).double()
    data = uncertainty.reliability(
        values[None, :, None],
        torch.zeros(101).long(),
        kind="probs",
        label=1,
        bins=7,
        binning="mass",
    )
    np.testing.assert_allclose(data.edges, np.quantile(values, np.linspace(0, 1, 8)))
    assert data.count.max() - data.count.min() <= 1


def test_reliability_can_be_plotted(tmp_path):
    logits = some_logits()
    data = uncertainty.reliability(logits, some_labels(logits))
    uncertainty.plot_reliability(data, tmp_path / "new" / "reliability.png")
    assert (tmp_path / "new" / "reliability.png").stat().st_size > 2000
    axes = Figure().add_subplot()
    uncertainty.plot_reliability(data, axes)
    points = axes.collections[-1].get_offsets()
    filled = data.count > 0
    np.testing.assert_allclose(points[filled.numpy(), 1], data.accuracy[filled])
    with pytest.raises(ConfigError, match=r"plot_reliability needs a path ending in \.png"):
        uncertainty.plot_reliability(data, tmp_path / "reliability.gif")


# -- regression -------------------------------------------------------------------------------


def test_variances_add_up_to_that_of_the_mixture():
    means = some_logits(classes=2)
    variances = some_logits(classes=2, seed=3).square() + 0.1
    parts = uncertainty.mean_variance(means, variances)
    mixture = MixtureSameFamily(
        Categorical(torch.ones(300, 2, 5)),
        Normal(means.movedim(0, -1), variances.movedim(0, -1).sqrt()),
    )
    torch.testing.assert_close(parts.mean, mixture.mean)
    torch.testing.assert_close(parts.total, mixture.variance)
    torch.testing.assert_close(parts.aleatoric, variances.mean(0))


def test_variance_without_noise_is_epistemic():
    means = some_logits(classes=1)
    parts = uncertainty.mean_variance(means)
    assert not parts.aleatoric.any()
    torch.testing.assert_close(parts.epistemic, means.var(0, correction=0))
    assert torch.equal(uncertainty.mean_variance(means, 0.25).aleatoric, torch.full((300, 1), 0.25))
    assert not uncertainty.mean_variance(means[:1]).epistemic.any()


def test_gaussian_nll_is_that_of_torch_distributions():
    means = some_logits(classes=2)
    variances = some_logits(classes=2, seed=3).square() + 0.1
    target = some_logits(samples=1, classes=2, seed=4)[0]
    # One output: the mixture itself.
    mixture = MixtureSameFamily(
        Categorical(torch.ones(300, 5)), Normal(means[..., 0].T, variances[..., 0].T.sqrt())
    )
    value = uncertainty.gaussian_nll(means[..., 0], variances[..., 0], target[:, 0])
    torch.testing.assert_close(value, -mixture.log_prob(target[:, 0]).mean())
    # Two outputs: independent given the weights.
    joint = torch.distributions.Independent(
        Normal(means.transpose(0, 1), variances.transpose(0, 1).sqrt()), 1
    )
    mixture = MixtureSameFamily(Categorical(torch.ones(300, 5)), joint)
    value = uncertainty.gaussian_nll(means, variances, target)
    torch.testing.assert_close(value, -mixture.log_prob(target).mean())


def test_gaussian_nll_of_far_targets_is_finite():
    value = uncertainty.gaussian_nll(torch.zeros(3, 2), 1e-4, torch.full((2,), 10.0))
    assert value.item() == pytest.approx(0.5 * 100 / 1e-4 + 0.5 * math.log(2e-4 * math.pi))


@pytest.mark.parametrize("shape", [(6,), (6, 1), (6, 2, 3)])
@pytest.mark.parametrize("sigma", [1e-4, 0.3, 50.0])
def test_likelihood_is_that_of_torch_distributions(shape, sigma):
    likelihood = uncertainty.GaussianLikelihood(sigma)
    output, target = (torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))).unbind()
    value = likelihood(output, target)
    expected = -Normal(output, likelihood.sigma).log_prob(target).sum()
    torch.testing.assert_close(value, expected / 6)
    assert likelihood.sigma.item() == pytest.approx(sigma, rel=1e-5)
    # The same definition as the measure of one sample.
    measure = uncertainty.gaussian_nll(output[None], likelihood.sigma.square(), target)
    torch.testing.assert_close(value, measure)
    half = likelihood(output.bfloat16(), target.bfloat16())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, value, rtol=0.02, atol=0)


def test_learned_sigma_is_the_root_mean_square_error():
    output, target = torch.zeros(50, 1), some_logits(1, 50, 1, torch.float32)[0]
    likelihood = uncertainty.GaussianLikelihood()
    optimizer = torch.optim.Adam(likelihood.parameters(), lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        likelihood(output, target).backward()
        optimizer.step()
    torch.testing.assert_close(likelihood.sigma, target.square().mean().sqrt(), rtol=1e-3, atol=0)


def test_fixed_sigma_is_in_the_state_and_not_trained():
    fixed = uncertainty.GaussianLikelihood(0.3, learned=False)
    assert not [p for p in fixed.parameters() if p.requires_grad]
    other = uncertainty.GaussianLikelihood(2.0, learned=False)
    other.load_state_dict(fixed.state_dict())
    assert other.sigma.item() == pytest.approx(0.3)


def test_likelihood_is_a_criterion_of_the_elbo_under_vmap():
    model = bbb.layers.BayesLinear(3, 1)
    likelihood = uncertainty.GaussianLikelihood()
    criterion = bbb.ELBO(model, num_train=10, nll=likelihood)
    x, y = torch.randn(4, 5, 3), torch.randn(4, 5, 1)
    with bbb.posterior_mean(model):
        values = torch.vmap(lambda x, y: criterion(model(x), y).nll)(x, y)
        for value, row, target in zip(values, x, y, strict=True):
            torch.testing.assert_close(value, likelihood(model(row), target))


# -- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("function", CLASSIFICATION)
def test_predictions_need_three_axes(function):
    with pytest.raises(ShapeError, match=r"expects \(samples, batch, .*got \(3, 4\); one sample"):
        function(torch.zeros(3, 4))
    with pytest.raises(ShapeError, match=r"got \(0, 3, 4\)"):
        function(torch.zeros(0, 3, 4))
    with pytest.raises(DataError, match=r"needs probabilities in .* pass kind='logits'"):
        function(some_logits(), kind="probs")
    with pytest.raises(ConfigError, match="needs the kind 'logits' or 'probs', got 'logit'"):
        function(some_logits(), kind="logit")


@pytest.mark.parametrize("function", SCORES)
def test_labels_have_to_fit(function):
    logits = some_logits(batch=3)
    with pytest.raises(ShapeError, match=r"expects labels of shape \(3,\), got \(3, 1\)"):
        function(logits, torch.zeros(3, 1).long())
    for labels in (
        torch.tensor([0, 1, 4]),
        torch.tensor([0, -1, 2]),
        torch.tensor([0.0, 1.0, 2.0]),
    ):
        with pytest.raises(DataError, match=r"needs integer labels in \[0, 3\], got torch"):
            function(logits, labels)


def test_options_of_reliability_are_checked():
    logits = some_logits(batch=3)
    labels = torch.zeros(3).long()
    with pytest.raises(ConfigError, match=r"needs a label in \[0, 3\], got 4"):
        uncertainty.reliability(logits, labels, label=4)
    with pytest.raises(ConfigError, match=r"needs bins >= 1 of equal .* got 0 of 'width'"):
        uncertainty.reliability(logits, labels, bins=0)
    with pytest.raises(ConfigError, match=r"got 5 of 'masses'"):
        uncertainty.reliability(logits, labels, bins=5, binning="masses")


def test_variances_are_checked():
    means = torch.zeros(5, 3)
    with pytest.raises(DataError, match="mean_variance needs finite variances >= 0; for log"):
        uncertainty.mean_variance(means, -1.0)
    with pytest.raises(DataError, match="gaussian_nll needs finite variances > 0"):
        uncertainty.gaussian_nll(means, 0.0, torch.zeros(3))
    with pytest.raises(ShapeError, match=r"variances that broadcast to \(5, 3\), got \(4,\)"):
        uncertainty.mean_variance(means, torch.ones(4))
    with pytest.raises(ShapeError, match=r"expects targets \(3,\), got \(3, 1\)"):
        uncertainty.gaussian_nll(means, 1.0, torch.zeros(3, 1))
    with pytest.raises(ShapeError, match=r"expects \(samples, batch, ...\), got \(3,\)"):
        uncertainty.mean_variance(torch.zeros(3))


def test_likelihood_is_checked():
    for sigma in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ConfigError, match=r"needs a finite sigma > 0, got .*; try sigma=1\.0"):
            uncertainty.GaussianLikelihood(sigma)
    with pytest.raises(ShapeError, match=r"expects targets \(5, 1\), got \(5,\); reshape"):
        uncertainty.GaussianLikelihood()(torch.zeros(5, 1), torch.zeros(5))
