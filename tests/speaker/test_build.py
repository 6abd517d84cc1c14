"""From configurations to modules; where means and the prior's centre come from."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bbb import priors
from bbb.audio.features import FeatureConfig
from bbb.errors import ConfigError
from bbb.layers import BayesConv1d, BayesianLayer, BayesLinear
from bbb.speaker.build import (
    build_head,
    build_network,
    build_prior,
    load_weights,
    make_bayesian,
)
from bbb.speaker.config import BayesConfig, NetworkConfig, TrainConfig
from bbb.speaker.heads import AAMSoftmax, AMSoftmax, Softmax
from bbb.speaker.xvector import XVector

SIZES = {"channels": 6, "pooled_channels": 7, "embed_dim": 5}


def config(**network: Any) -> TrainConfig:
    return TrainConfig(
        data="data",
        output="exp",
        features=FeatureConfig(num_ceps=8),
        network=NetworkConfig(**(SIZES | network)),
    )


def network(seed: int = 0) -> XVector:
    torch.manual_seed(seed)
    net = build_network(config())
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.running_mean)
    return net


def test_network_follows_the_configuration() -> None:
    net = build_network(config(embed_from="segment6_norm", dropout=0.3))
    assert (net.in_dim, net.embed_dim, net.embed_from) == (8, 5, "segment6_norm")
    assert net.frame1.affine.weight.shape == (6, 8, 5)
    assert net.frame5.affine.weight.shape == (7, 6, 1)
    assert net.dropout.p == 0.3
    assert net.training


@pytest.mark.parametrize(
    ("name", "kind"), [("softmax", Softmax), ("am", AMSoftmax), ("aam", AAMSoftmax)]
)
def test_head_follows_the_configuration(name: Any, kind: type[nn.Module]) -> None:
    head = build_head(NetworkConfig(head=name, embed_dim=5, margin=0.3, scale=12.0), 9)
    assert type(head) is kind
    assert head.get_parameter("weight").shape == (9, 5)
    if name != "softmax":
        assert (head.margin, head.scale) == (0.3, 12.0)


def test_priors_follow_the_configuration() -> None:
    assert build_prior(BayesConfig(prior_sigma=0.3)) == priors.Normal(0.0, 0.3)
    pretrained = BayesConfig(prior="pretrained", prior_sigma=0.2)
    assert build_prior(pretrained) == priors.Pretrained(0.2)
    mixture = BayesConfig(
        prior="scale_mixture", mixture_pi=0.3, mixture_sigma1=2.0, mixture_sigma2=0.01
    )
    assert build_prior(mixture) == priors.ScaleMixture(pi=0.3, sigma1=2.0, sigma2=0.01)


def test_no_layers_leave_the_network_plain() -> None:
    net = network()
    before = list(net.state_dict())
    make_bayesian(net, BayesConfig())
    assert list(net.state_dict()) == before


def test_options_of_the_layers_follow_the_configuration() -> None:
    net = network()
    bayes = BayesConfig(
        layers=("frame2", "segment6"), sigma_init=0.3, tie_sigma=True, estimator="local"
    )
    make_bayesian(net, bayes)
    layers = [module for module in net.modules() if isinstance(module, BayesianLayer)]
    assert [type(layer) for layer in layers] == [BayesConv1d, BayesLinear]
    assert net.frame2.affine.weight_rho.shape == (1, 6, 3)
    for layer in layers:
        assert layer.options.estimator == "local"
        torch.testing.assert_close(
            layer.posterior().sigma, torch.full_like(layer.posterior().rho, 0.3)
        )


def test_means_are_the_start_and_the_priors_centre_is_the_baseline() -> None:
    net, trained = network(seed=1), network(seed=2)
    start = {name: value.clone() for name, value in net.state_dict().items()}
    bayes = BayesConfig(
        layers=("frame1",), prior="pretrained", prior_sigma=0.25, sigma_init=0.1, baseline="b"
    )
    make_bayesian(net, bayes, trained.state_dict())
    layer = net.frame1.affine
    assert isinstance(layer, BayesConv1d)
    assert torch.equal(layer.weight_mu, start["frame1.affine.weight"])
    assert torch.equal(layer.weight_prior_loc, trained.frame1.affine.weight)
    assert not torch.equal(layer.weight_mu, layer.weight_prior_loc)
    # Everything else is the start's too: biases, norms and their running statistics.
    after = net.state_dict()
    for name in start.keys() - {"frame1.affine.weight"}:
        assert torch.equal(after[name], start[name]), name
    # KL(q || p) by hand: log(s_p / s_q) + (s_q^2 + d^2) / (2 s_p^2) - 1/2, summed.
    distance = (start["frame1.affine.weight"] - trained.frame1.affine.weight).detach().double()
    sizes: Tensor = (0.1**2 + distance.square()) / (2 * 0.25**2)
    expected = float((torch.tensor(0.25 / 0.1).log() + sizes - 0.5).sum())
    assert float(layer.kl("weight").detach()) == pytest.approx(expected, rel=1e-4)


def test_a_baseline_of_another_shape_is_an_error() -> None:
    centre = build_network(config(channels=4)).state_dict()
    bayes = BayesConfig(layers=("frame1",), prior="pretrained", baseline="exp/b")
    with pytest.raises(ConfigError, match=r"another architecture: 'frame1.affine.weight' is \(4,"):
        make_bayesian(network(), bayes, centre)


def test_a_layer_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"'fram1' matches nothing .* 'frame1'"):
        make_bayesian(network(), BayesConfig(layers=("fram1",)))


def test_load_weights_names_what_does_not_fit() -> None:
    net = network()
    state = net.state_dict()
    load_weights(network(seed=3), state, "x.ckpt")
    wider = state | {"segment6.affine.bias": torch.zeros(9)}
    with pytest.raises(ConfigError, match=r"x.ckpt: .*'segment6.affine.bias' is \(9,\) there and"):
        load_weights(net, wider, "x.ckpt")
    missing = {name: value for name, value in state.items() if name != "frame1.affine.bias"}
    with pytest.raises(ConfigError, match=r"x.ckpt: .*Missing.*frame1.affine.bias.*use the"):
        load_weights(net, missing, "x.ckpt")
    with pytest.raises(ConfigError, match=r"x.ckpt: .*Unexpected.*frame9"):
        load_weights(net, state | {"frame9": torch.zeros(1)}, "x.ckpt")
