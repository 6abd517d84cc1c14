import numpy as np
import pytest

from bbb.errors import DataError, ShapeError
from bbb.scoring import equal_error_rate, min_dcf
from bbb.scoring.all_pairs import count_all_pairs
from bbb.scoring.mapping import local_map, thread_map


@pytest.fixture
def utterances():
    rng = np.random.default_rng(0)
    speakers = rng.integers(6, size=40)
    return rng.normal(size=(6, 5))[speakers] + rng.normal(size=(40, 5)), speakers


@pytest.mark.parametrize("each_once", [True, False])
@pytest.mark.parametrize("pairs", [1, 100, 10_000])
def test_counts_are_those_of_the_whole_matrix(utterances, each_once, pairs, monkeypatch):
    monkeypatch.setattr("bbb.scoring.all_pairs.PAIRS", pairs)
    rows, speakers = utterances
    counts = count_all_pairs(rows, rows, speakers, speakers, each_once=each_once)
    chosen = np.triu_indices(40, 1) if each_once else np.indices((40, 40)).reshape(2, -1)
    scores = (rows @ rows.T)[tuple(chosen)]
    is_target = speakers[chosen[0]] == speakers[chosen[1]]
    assert counts.num_target == is_target.sum()
    assert counts.num_nontarget == (~is_target).sum()
    # Products of other shapes round otherwise, which moves a rate by one trial at most.
    np.testing.assert_allclose(
        counts.equal_error_rate(), equal_error_rate(scores, is_target), atol=2e-3
    )
    np.testing.assert_allclose(counts.min_dcf(0.1), min_dcf(scores, is_target, 0.1), atol=5e-3)


def test_a_collapsed_model_is_no_better_than_chance(utterances):
    _, speakers = utterances
    rows = np.full((40, 5), 0.3)
    assert count_all_pairs(rows, rows, speakers, speakers).equal_error_rate() == 0.5


def test_progress_counts_each_row_twice(utterances):
    rows, speakers = utterances
    done = []
    count_all_pairs(rows, rows[:7], speakers, speakers[:7], progress=done.append)
    assert sum(done) == 80


def test_no_target_pair_is_an_error(utterances):
    rows, _ = utterances
    with pytest.raises(DataError, match="got none"):
        count_all_pairs(rows, rows, np.arange(40), np.arange(40), each_once=True)


def test_one_speaker_per_row(utterances):
    rows, speakers = utterances
    with pytest.raises(ShapeError, match="one speaker per row, 40 and 40"):
        count_all_pairs(rows, rows, speakers, speakers[:3])


def test_threads_give_the_figures_of_one(utterances, monkeypatch):
    monkeypatch.setattr("bbb.scoring.all_pairs.PAIRS", 100)
    rows, speakers = utterances
    one, many = (
        count_all_pairs(rows, rows, speakers, speakers, mapper=mapper)
        for mapper in (local_map, thread_map)
    )
    assert one.equal_error_rate() == many.equal_error_rate()
    assert one.min_cllr() == many.min_cllr()


def test_threads_keep_the_order_and_pass_errors_on():
    items = [(number,) for number in range(100)]
    assert list(thread_map(lambda base, number: base + number, [5], items)) == list(range(5, 105))
    with pytest.raises(ZeroDivisionError):
        list(thread_map(lambda number: 1 // number, [], [(1,), (0,)]))
