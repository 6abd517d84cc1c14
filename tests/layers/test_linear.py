import pytest
import torch
from torch import nn

import bbb
from bbb.layers import BayesLinear
from tests.laws.linear_laws import LinearInputLaws

ALL = ("weight", "local", "flipout")


class TestLinear(LinearInputLaws):
    layer = BayesLinear
    args = (4, 3)
    estimators = ALL

    def inputs(self, dtype=torch.float32):
        return torch.randn(2, 4, generator=torch.Generator().manual_seed(1)).to(dtype)


class TestLinearOverFrames(TestLinear):
    compiled = ()

    def inputs(self, dtype=torch.float32):
        return torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1)).to(dtype)


def outputs_of(estimator, x, replicas=3000):
    torch.manual_seed(0)
    layer = BayesLinear(4, 2, bias=False, sigma_init=0.5, estimator=estimator)
    with torch.no_grad():
        return torch.stack([layer(x) for _ in range(replicas)])


def correlation(outputs, first, second):
    pair = torch.stack([outputs[(slice(None), *first)], outputs[(slice(None), *second)]])
    return pair.corrcoef()[0, 1].item()


# Standard error of a correlation of 3000 draws: at most 0.018; bounds are five of them.
BOUND = 0.09


def test_local_gives_each_frame_its_own_noise():
    x = torch.ones(2, 3, 4)
    outputs = outputs_of("local", x)
    assert abs(correlation(outputs, (0, 0, 0), (0, 1, 0))) < BOUND
    assert abs(correlation(outputs, (0, 0, 0), (1, 0, 0))) < BOUND


def test_flipout_keeps_one_weight_per_example_and_decorrelates_examples():
    x = torch.ones(2, 3, 4)
    outputs = outputs_of("flipout", x)
    assert correlation(outputs, (0, 0, 0), (0, 1, 0)) > 1 - BOUND
    assert abs(correlation(outputs, (0, 0, 0), (1, 0, 0))) < BOUND


def test_weight_keeps_one_weight_for_all():
    x = torch.ones(2, 3, 4)
    outputs = outputs_of("weight", x)
    assert correlation(outputs, (0, 0, 0), (1, 2, 0)) > 1 - BOUND


def chosen_by_auto(x, **bayes):
    """Which estimator drew: by the number of normals that the generator gave."""
    layer = BayesLinear(8, 8, **bayes)
    torch.manual_seed(0)
    expected = {}
    for estimator in ("weight", "local"):
        twin = BayesLinear(8, 8, **{**bayes, "estimator": estimator})
        twin.load_state_dict(layer.state_dict())
        torch.manual_seed(1)
        expected[estimator] = twin(x)
    torch.manual_seed(1)
    output = layer(x)
    return [name for name, value in expected.items() if torch.equal(value, output)]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((8,), "local"),
        ((4, 8), "local"),
        ((16, 8), "local"),
        ((17, 8), "weight"),
        ((2, 2, 8), "weight"),
    ],
)
def test_auto_goes_by_shape(shape, expected):
    assert chosen_by_auto(torch.randn(shape)) == [expected]


def test_auto_is_local_for_larger_batches_where_there_is_no_backward():
    with torch.no_grad():
        assert chosen_by_auto(torch.randn(64, 8)) == ["local"]
        assert chosen_by_auto(torch.randn(65, 8)) == ["weight"]


def test_auto_prefers_a_draw_that_the_monte_carlo_kl_can_share():
    prior = bbb.priors.ScaleMixture()
    assert chosen_by_auto(torch.randn(4, 8), prior=prior) == ["weight"]


def test_unbatched_input():
    for estimator in ALL:
        assert BayesLinear(4, 3, estimator=estimator)(torch.ones(4)).shape == (3,)


def test_no_bias():
    layer = BayesLinear(4, 3, bias=False, bayesian_bias=True)
    assert list(layer.state_dict()) == ["weight_mu", "weight_rho"]
    assert layer(torch.ones(2, 4)).shape == (2, 3)


def test_tied_sigma_has_one_row():
    layer = BayesLinear(4, 3, tie_sigma=True, bayesian_bias=True)
    assert layer.weight_rho.shape == (1, 4)
    assert layer.bias_rho.shape == (3,)


def test_sigma_init_is_in_sigma_units():
    layer = BayesLinear(4, 3, sigma_init=0.07)
    torch.testing.assert_close(layer.posterior().sigma, torch.full((3, 4), 0.07))


def test_is_its_twin_by_type():
    assert isinstance(BayesLinear(1, 1), nn.Linear)
    assert BayesLinear(in_features=4, out_features=3, bias=False).out_features == 3


def test_sequence_of_layers_returns_tensors():
    """A peer returns (output, kl), which nn.Sequential cannot chain."""
    net = nn.Sequential(BayesLinear(4, 3), nn.ReLU(), BayesLinear(3, 2))
    assert net(torch.ones(5, 4)).shape == (5, 2)


@pytest.mark.parametrize("sigma", [0.0, -3.0, float("nan"), float("inf")])
def test_sigma_init_must_be_a_standard_deviation(sigma):
    with pytest.raises(bbb.errors.ConfigError, match="it is sigma, not rho"):
        BayesLinear(4, 3, sigma_init=sigma)


def test_prior_must_be_a_prior():
    with pytest.raises(bbb.errors.ConfigError, match=r"prior needs a bbb\.priors\.Prior, got 0\.1"):
        BayesLinear(4, 3, prior=0.1)
