import copy
import io
from typing import ClassVar

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence

import bbb
from bbb.errors import UnsupportedLayerError
from bbb.layers import BayesGRU, BayesLSTM, BayesRNN
from tests.laws.layer_laws import LayerLaws

ALL_OPTIONS = {"num_layers": 2, "bidirectional": True, "batch_first": True, "proj_size": 2}


class RecurrentLaws(LayerLaws):
    traceable = mappable = False
    compiled = ()

    def inputs(self, dtype=torch.float32):
        return torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(1)).to(dtype)

    def output(self, result):
        output, state = result
        states = state if isinstance(state, tuple) else (state,)
        return torch.cat([output.flatten(), *(s.flatten() for s in states)])


class TestLSTM(RecurrentLaws):
    compiled = None
    layer = BayesLSTM
    args = (2, 3)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
class TestLSTMWithAllOptions(RecurrentLaws):
    layer = BayesLSTM
    args = (2, 3)
    kwargs: ClassVar[dict] = ALL_OPTIONS


class TestGRU(RecurrentLaws):
    layer = BayesGRU
    args = (2, 3, 2)
    kwargs: ClassVar[dict] = {"bidirectional": True}


class TestRNN(RecurrentLaws):
    layer = BayesRNN
    args = (2, 3)
    kwargs: ClassVar[dict] = {"nonlinearity": "relu", "bias": True}


KINDS = pytest.mark.parametrize("kind", [BayesLSTM, BayesGRU, BayesRNN])


def test_names_of_the_weights():
    layer = BayesLSTM(2, 3, **ALL_OPTIONS, bayesian_bias=True)
    plain = nn.LSTM(2, 3, **ALL_OPTIONS)
    expected = [f"{key}_{part}" for key in plain.state_dict() for part in ("mu", "rho")]
    assert list(layer.state_dict()) == expected
    assert "weight_hr_l1_reverse_rho" in expected
    assert len(layer.bayesian_names) == 20


@KINDS
def test_no_bias(kind):
    layer = kind(2, 3, bias=False, bayesian_bias=True)
    assert layer.bayesian_names == ("weight_ih_l0", "weight_hh_l0")
    assert layer(torch.ones(4, 2, 2))[0].shape == (4, 2, 3)


@KINDS
def test_packed_sequences_and_initial_states(kind):
    layer = kind(2, 3, 2, bidirectional=True)
    sequences = [torch.randn(length, 2) for length in (2, 4, 3)]
    packed = pack_sequence(sequences, enforce_sorted=False)
    state = torch.randn(4, 3, 3)
    hx = (state, state.tanh()) if kind is BayesLSTM else state
    with bbb.fixed_sample(layer, seed=1):
        output, last = layer(packed, hx)
        plain = bbb.sample_deterministic(layer, generator=torch.Generator().manual_seed(1))
        expected, final = plain(packed, hx)
        alone, _ = layer(sequences[0])
    assert type(output) is type(packed)
    torch.testing.assert_close(output.data, expected.data)
    torch.testing.assert_close(last, final)
    assert torch.equal(output.batch_sizes, expected.batch_sizes)
    assert pad_packed_sequence(output)[0].shape == (4, 3, 6)
    assert alone.shape == (2, 6)


@KINDS
def test_time_steps_share_the_weights(kind):
    """A peer draws anew at each step: then equal steps would give unequal results."""
    layer = kind(2, 2, bias=False)
    with torch.no_grad():
        for name in layer.bayesian_names:
            if "hh" in name:  # without a memory of the past, equal inputs give equal outputs
                getattr(layer, f"{name}_mu").zero_()
                getattr(layer, f"{name}_rho").fill_(-200.0)
    state = torch.zeros(1, 1, 2)
    x = torch.ones(1, 1, 2)
    with bbb.sampling(layer, generator=torch.Generator().manual_seed(0)):
        hx = (state, state) if kind is BayesLSTM else state
        once = layer(x, hx)[0]
    with bbb.sampling(layer, generator=torch.Generator().manual_seed(0)):
        many = layer(x.expand(5, 1, 2), hx)[0]
    torch.testing.assert_close(many[:1], once)
    if kind is BayesRNN:
        torch.testing.assert_close(many, once.expand(5, 1, 2))


def test_dropout_is_the_twins():
    layer = BayesLSTM(2, 3, num_layers=2, dropout=0.5)
    plain = nn.LSTM(2, 3, num_layers=2, dropout=0.5)
    layer.load_state_dict(plain.state_dict())
    x = torch.randn(5, 4, 2)
    outputs = []
    for model in (layer, plain):
        with bbb.posterior_mean(model):
            torch.manual_seed(2)
            outputs.append(model(x)[0])
    assert torch.equal(*outputs)
    assert not torch.equal(outputs[0], layer.eval()(x)[0])
    assert torch.equal(plain.eval()(x)[0], layer(x)[0])


# -- the list of parameters that torch's layer keeps --------------------------------------------


@KINDS
def test_list_of_weights_is_never_stale(kind):
    layer = kind(2, 3).eval()
    x = torch.randn(4, 2, 2)
    layer(x)
    layer.flatten_parameters()
    for changed in (layer.double(), copy.deepcopy(layer), copy.deepcopy(layer).float().double()):
        with torch.no_grad():
            for parameter in changed.parameters():
                parameter.add_(0.1)
        plain = bbb.to_deterministic(changed).eval()
        assert torch.equal(changed(x.double())[0], plain(x.double())[0])
        again = bbb.bayesianize(plain).eval()
        assert torch.equal(again(x.double())[0], plain(x.double())[0])


@KINDS
def test_all_weights_can_be_read(kind):
    layer = kind(2, 3).eval()
    [weights] = layer.all_weights
    assert weights[0] is layer.weight_ih_l0_mu
    assert weights[2] is layer.bias_ih_l0
    [weights] = layer.train().all_weights
    assert [w.shape for w in weights] == [w.shape for w in kind.twin(2, 3).all_weights[0]]


@KINDS
def test_a_saved_layer_is_as_small_as_its_parameters(kind):
    layer = kind(20, 30)
    layer(torch.randn(4, 2, 20))
    stream = io.BytesIO()
    torch.save(layer, stream)
    size = sum(p.numel() * p.element_size() for p in layer.parameters())
    assert stream.tell() < size + 20_000


@KINDS
def test_twin_is_whole_again(kind):
    plain = bbb.to_deterministic(kind(2, 3))
    assert plain._flat_weights == list(plain.parameters())
    assert plain.all_weights == [list(plain.parameters())]
    plain.double()
    x = torch.randn(4, 2, 2).double()
    output = plain(x)[0]
    copied = copy.deepcopy(plain)
    assert torch.equal(copied(x)[0], output)
    with torch.no_grad():
        plain.weight_ih_l0.mul_(2.0)
    assert not torch.equal(plain(x)[0], output)
    assert torch.equal(copied(x)[0], output)


def test_weights_shared_inside_a_layer_stay_shared_and_count_once():
    plain = nn.LSTM(2, 3, bidirectional=True)
    plain.weight_ih_l0_reverse = plain.weight_ih_l0
    model = bbb.bayesianize(plain)
    assert model.weight_ih_l0_reverse_rho is model.weight_ih_l0_rho
    once = ("weight_ih_l0", "weight_hh_l0", "weight_hh_l0_reverse")
    expected = torch.stack([model.kl(name) for name in once]).sum()
    torch.testing.assert_close(bbb.kl_divergence(model), expected)
    again = bbb.to_deterministic(model)
    assert again.weight_ih_l0_reverse is again.weight_ih_l0
    x = torch.randn(4, 2, 2)
    assert torch.equal(again(x)[0], plain(x)[0])


def test_weight_norm_is_left_or_refused():
    plain = nn.LSTM(2, 3)
    with pytest.warns(FutureWarning):
        plain = nn.utils.weight_norm(plain, "weight_hh_l0")
    with pytest.raises(UnsupportedLayerError, match=r"LSTM \(its weight_hh_l0 is not a plain"):
        bbb.bayesianize_(plain)
    assert type(plain) is nn.LSTM


def test_prediction_draws_one_function_for_the_whole_sequence():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(2, 3)

        def forward(self, x):
            return self.lstm(x)[0]

    model = bbb.bayesianize(Last(), sigma_init=0.3)
    x = torch.randn(5, 4, 2)
    outputs = bbb.predict(model, x, 3, generator=torch.Generator().manual_seed(0))
    assert outputs.shape == (3, 5, 4, 3)
    generator = torch.Generator().manual_seed(0)
    for output in outputs:
        plain = bbb.sample_deterministic(model, generator=generator)
        torch.testing.assert_close(plain(x), output)
