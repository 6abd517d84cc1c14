from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bbb
from bbb.errors import ConfigError, UnsupportedLayerError
from bbb.layers import BayesEmbedding, BayesEmbeddingBag
from tests.laws.linear_laws import LinearMapLaws


class TestEmbedding(LinearMapLaws):
    layer = BayesEmbedding
    args = (4, 3)
    estimators = ("weight", "local")

    def inputs(self, dtype=None):  # noqa: ARG002
        return torch.tensor([[1, 3, 1], [0, 2, 3]])


class TestPaddedEmbedding(TestEmbedding):
    kwargs: ClassVar[dict] = {"padding_idx": 3}
    # The padding row does not count and gets no gradient: see the tests of padding below.
    test_kl_counts_each_weight_once = None
    test_gradients_of_a_draw_are_right = None

    def with_noise(self, layer, eps, x):
        eps["weight"][3] = 0.0
        return super().with_noise(layer, eps, x)


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch's, of vmap
class TestEmbeddingBag(LinearMapLaws):
    layer = BayesEmbeddingBag
    args = (4, 3)
    kwargs: ClassVar[dict] = {"mode": "mean"}
    mappable = False  # one bag needs offsets
    compiled = ()

    def inputs(self, dtype=None):  # noqa: ARG002
        return torch.tensor([[1, 3, 1], [0, 2, 3]])


def test_embedding_of_many_indices_draws_one_table():
    layer = BayesEmbedding(10, 3)
    rows = layer(torch.tensor([[4, 4]]))[0]
    assert torch.equal(rows[0], rows[1])


def test_local_draws_each_looked_up_row():
    torch.manual_seed(0)
    layer = BayesEmbedding(10, 3, estimator="local", sigma_init=1.0)
    first, second = layer(torch.tensor([4]).expand(2, 5000))
    correlation = torch.stack([first.flatten(), second.flatten()]).corrcoef()[0, 1]
    assert abs(correlation) < 0.9  # of the means only
    noise = first - layer.weight_mu[4]
    assert abs(noise.flatten().std() - 1.0) < 5 / (2 * 15000) ** 0.5


@pytest.mark.parametrize(
    ("shape", "prior", "expected"),
    [
        ((), None, "local"),
        ((10,), None, "local"),
        ((11,), None, "weight"),
        ((2, 2), None, "weight"),
        ((2,), bbb.priors.ScaleMixture(), "weight"),
    ],
)
def test_auto_goes_by_shape(shape, prior, expected):
    layer = BayesEmbedding(10, 3, prior=prior)
    generator, other = (torch.Generator().manual_seed(1) for _ in range(2))
    ids = torch.ones(shape, dtype=torch.long)
    with bbb.sampling(layer, generator=generator):
        layer(ids)
    torch.randn((10, 3) if expected == "weight" else (*shape, 3), generator=other)
    assert torch.equal(generator.get_state(), other.get_state())


# -- padding ------------------------------------------------------------------------------------

TABLES = pytest.mark.parametrize(
    ("kind", "bayes"),
    [
        (kind, {"tie_sigma": tie, **estimator})
        for kind, estimators in (
            (BayesEmbedding, ({"estimator": "weight"}, {"estimator": "local"})),
            (BayesEmbeddingBag, ({},)),
        )
        for estimator in estimators
        for tie in (False, True)
    ],
)


def ids_of(kind, *ids):
    ids = torch.tensor(ids)
    return ids[:, None] if kind is BayesEmbeddingBag else ids


@TABLES
@pytest.mark.parametrize("padding", [0, 2, -1])
def test_padding_row_is_the_means_in_each_draw(kind, bayes, padding):
    layer = kind(5, 3, padding_idx=padding, sigma_init=0.5, **bayes)
    plain = layer.twin(5, 3, padding_idx=padding)
    with torch.no_grad():
        layer.weight_mu[padding] = plain.weight[padding] = 7.0  # which torch allows
    expected = plain(ids_of(kind, padding % 5))
    for _ in range(2):
        assert torch.equal(layer(ids_of(kind, padding % 5)), expected)
        assert not torch.equal(layer(ids_of(kind, 1)), plain(ids_of(kind, 1)))
    with bbb.fixed_sample(layer, seed=1):
        assert torch.equal(layer(ids_of(kind, padding % 5)), expected)
        assert torch.equal(layer.weight[padding], layer.weight_mu[padding])
    sample = bbb.sample_deterministic(layer)
    assert torch.equal(sample.weight[padding], layer.weight_mu[padding])
    assert not torch.equal(sample.weight[1], layer.weight_mu[1])


@TABLES
@pytest.mark.parametrize("prior", [bbb.priors.Normal(0.5, 0.3), bbb.priors.ScaleMixture()])
@pytest.mark.parametrize("padding", [0, 2, -1])
def test_padding_row_gets_no_gradient(kind, bayes, prior, padding):
    layer = kind(5, 3, padding_idx=padding, prior=prior, **bayes)
    with bbb.record_draws(layer) as draws:
        output = layer(ids_of(kind, 0, 1, 2, 3, 4))
    for kl in (bbb.kl_divergence(layer, draws=draws), bbb.kl_divergence(layer)):
        (output.square().sum() + kl).backward(retain_graph=True)
        kept = [row for row in range(5) if row != padding % 5]
        assert not layer.weight_mu.grad[padding].any()
        assert layer.weight_mu.grad[kept].all()
        if not layer.options.tie_sigma:
            assert not layer.weight_rho.grad[padding].any()
            assert layer.weight_rho.grad[kept].all()


@TABLES
@pytest.mark.parametrize("padding", [0, 2, -1])
def test_padding_row_does_not_count_in_the_kl(kind, bayes, padding):
    prior = bbb.priors.Pretrained(0.1)
    layer = kind(5, 3, padding_idx=padding, prior=prior, **bayes)
    other = kind(4, 3, prior=prior, **bayes)
    with torch.no_grad():
        layer.weight_mu.add_(torch.randn(5, 3))
        kept = [row for row in range(5) if row != padding % 5]
        other.weight_mu.copy_(layer.weight_mu[kept])
        other.weight_prior_loc.copy_(layer.weight_prior_loc[kept])
    torch.testing.assert_close(bbb.kl_divergence(layer), bbb.kl_divergence(other))


def test_padding_row_does_not_count_in_the_kl_of_a_pruned_table():
    layer, other = BayesEmbedding(5, 3, padding_idx=2), BayesEmbedding(5, 3)
    other.load_state_dict(layer.state_dict())
    mask = torch.ones(5, 3, dtype=torch.bool)
    mask[1, 1] = False
    layer.set_mask("weight", mask.clone())
    mask[2] = False
    other.set_mask("weight", mask)
    torch.testing.assert_close(bbb.kl_divergence(layer), bbb.kl_divergence(other))


def test_padding_does_not_disturb_a_tied_output_layer():
    """The noise that both share must not be changed in place."""

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(5, 3, padding_idx=0)
            self.out = nn.Linear(3, 5, bias=False)
            self.out.weight = self.embed.weight

    model = bbb.bayesianize(Tied(), sigma_init=0.5)
    with bbb.fixed_sample(model, seed=1):
        table = model.embed(torch.arange(5))
        matrix = model.out(torch.eye(3)).T
    assert torch.equal(table[0], torch.zeros(3))
    assert matrix[0].all()
    torch.testing.assert_close(table[1:], matrix[1:])


# -- options of torch's -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [BayesEmbedding, BayesEmbeddingBag])
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"max_norm": 1.0}, "cannot have a posterior: it has max_norm, which rescales"),
        ({"sparse": True}, "cannot have a posterior: it has sparse=True, and the gradient"),
    ],
)
def test_options_that_do_not_go_with_a_posterior_are_refused(kind, option, message):
    with pytest.raises(ConfigError, match=f"{kind.__name__} {message}.*; use {kind.__name__[5:]}"):
        kind(5, 3, **option)
    plain = kind.twin(5, 3, **option)
    with pytest.raises(UnsupportedLayerError, match=f"got {kind.__name__[5:]} .it has"):
        bbb.bayesianize(plain)
    net = nn.Sequential(plain, nn.Linear(3, 2))
    with pytest.raises(UnsupportedLayerError, match="it has"):
        bbb.bayesianize(net, "0")
    assert type(bbb.bayesianize(net)[0]) is kind.twin  # it merely stands in the model


def test_scale_grad_by_freq():
    layer = BayesEmbedding(5, 3, scale_grad_by_freq=True)
    layer(torch.tensor([[1, 1, 2]])).sum().backward()
    assert torch.equal(layer.weight_mu.grad[1:3], torch.ones(2, 3))


def test_from_pretrained():
    table = torch.randn(5, 3)
    layer = BayesEmbedding.from_pretrained(table, freeze=False, padding_idx=1)
    assert torch.equal(layer.weight_mu, table)
    assert layer.weight_rho.requires_grad
    frozen = BayesEmbedding.from_pretrained(table)
    assert not any(p.requires_grad for p in frozen.parameters())


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bag_modes_offsets_and_weights(mode):
    layer = BayesEmbeddingBag(5, 3, mode=mode, include_last_offset=True)
    ids, offsets = torch.tensor([1, 2, 4, 0]), torch.tensor([0, 1, 4])
    scale = {"per_sample_weights": torch.rand(4)} if mode == "sum" else {}
    with bbb.fixed_sample(layer, seed=3):
        output = layer(ids, offsets, **scale)
        expected = F.embedding_bag(
            ids, layer.weight, offsets, mode=mode, include_last_offset=True, **scale
        )
    assert torch.equal(output, expected)
