import pytest
import torch
from torch import distributions as td

from bbb.distributions import drawn_by

Q = td.Gamma(torch.tensor([0.5, 2.0]), 1.0, validate_args=True)


def test_draws_are_the_generators():
    g, first = torch.Generator().manual_seed(3), []
    before = torch.get_rng_state()
    for _ in range(2):
        with drawn_by(g):
            first.append(Q.rsample((4,)))
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(*first)
    with drawn_by(torch.Generator().manual_seed(3)):
        assert torch.equal(torch.stack([Q.rsample((4,)) for _ in range(2)]), torch.stack(first))


def test_none_is_torchs_own():
    state = torch.get_rng_state()
    with drawn_by(None):
        first = Q.sample()
    torch.set_rng_state(state)
    assert torch.equal(Q.sample(), first)


def test_what_is_filled_in_place_stays_filled():
    x = torch.zeros(3)
    with drawn_by(None):
        assert x.normal_() is x
    assert x.count_nonzero() == 3


def test_torchs_default_advances():
    state = torch.get_rng_state()
    with drawn_by(torch.default_generator):
        Q.sample()
    assert not torch.equal(torch.get_rng_state(), state)


def test_an_error_leaves_torchs_generator_alone():
    g = torch.Generator().manual_seed(3)
    before, own = torch.get_rng_state(), g.get_state()
    with pytest.raises(ValueError, match="support"), drawn_by(g):
        Q.log_prob(-Q.sample())
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(g.get_state(), own)


def test_two_at_once():
    a, b = (torch.Generator().manual_seed(seed) for seed in (1, 2))
    with drawn_by(a):
        first = Q.sample()
        with drawn_by(b):
            inner = Q.sample()
        last = Q.sample()
    with drawn_by(torch.Generator().manual_seed(1)):
        assert torch.equal(first, Q.sample())
        assert torch.equal(last, Q.sample())
    with drawn_by(torch.Generator().manual_seed(2)):
        assert torch.equal(inner, Q.sample())


@pytest.mark.gpu
def test_a_generator_of_the_gpu():
    q = td.Normal(torch.zeros(5, device="cuda"), 1.0)
    before = torch.cuda.get_rng_state()
    draws = []
    for _ in range(2):
        with drawn_by(torch.Generator("cuda").manual_seed(3)):
            draws.append(q.sample())
    assert torch.equal(*draws)
    assert torch.equal(torch.cuda.get_rng_state(), before)


def test_layers_can_be_made_inside():
    """torch.nn.init has functions of the same names, and hands its tensor over by keyword."""
    with drawn_by(torch.Generator().manual_seed(0)):
        one = torch.nn.Linear(3, 2)
    with drawn_by(torch.Generator().manual_seed(0)):
        other = torch.nn.Linear(3, 2)
    assert torch.equal(one.weight, other.weight)
