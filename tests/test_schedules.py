import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbb.errors import ConfigError
from bbb.schedules import Warmup

shares = st.floats(0.0, 1.0)


def test_grows_in_a_straight_line_and_stays():
    weight = Warmup(share=0.5, final=2.0)
    assert [weight(done) for done in (0.0, 0.125, 0.25, 0.5, 0.75, 1.0)] == [0, 0.5, 1, 2, 2, 2]


def test_cycles_start_again_and_the_last_one_ends_with_the_training():
    weight = Warmup(share=0.5, cycles=2)
    places = (0.0, 0.125, 0.25, 0.4999, 0.5, 0.625, 0.75, 1.0)
    assert [weight(done) for done in places] == [0, 0.5, 1, 1, 0, 0.5, 1, 1]


@given(shares, shares, st.floats(0.0, 10.0), st.integers(1, 5))
def test_is_a_share_of_the_final_value_and_ends_there(share, done, final, cycles):
    weight = Warmup(share, final, cycles)
    assert 0 <= weight(done) <= final
    assert weight(1.0) == weight(1.5) == final


@given(st.lists(shares, min_size=2, max_size=5), shares)
def test_one_cycle_never_falls(places, share):
    values = [Warmup(share)(done) for done in sorted(places)]
    assert values == sorted(values)


def test_no_warmup_is_the_final_value_at_once():
    assert Warmup(share=0.0, final=0.3, cycles=3)(0.0) == 0.3


def test_travels_to_other_processes():
    assert pickle.loads(pickle.dumps(Warmup(0.1))) == Warmup(0.1)  # noqa: S301


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"share": 1.1}, r"0 <= share <= 1 .* got 1.1, 1.0 and 1"),
        ({"share": -0.1}, r"got -0.1"),
        ({"final": -1.0}, r"finite final >= 0 .* -1.0"),
        ({"final": float("inf")}, r"inf"),
        ({"final": float("nan")}, r"nan"),
        ({"cycles": 0}, r"cycles >= 1, got 0.25, 1.0 and 0"),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Warmup(**arguments)


@pytest.mark.parametrize("done", [-0.1, float("nan")])
def test_no_share_of_a_training(done):
    with pytest.raises(ConfigError, match="share of the training that is done, >= 0, got"):
        Warmup()(done)
