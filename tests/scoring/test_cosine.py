"""Cosine scores over trial lists."""

import tracemalloc

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from bbb.errors import DataError, ShapeError
from bbb.scoring import cosine_scores


def lists(trials: int, dtype: type = np.float64) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    return (
        rng.normal(size=(30, 8)).astype(dtype),
        rng.normal(size=(40, 8)).astype(dtype),
        rng.integers(30, size=trials),
        rng.integers(40, size=trials),
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-14)])
def test_agrees_with_scikit_learn(dtype: type, tolerance: float) -> None:
    enroll, test, first, second = lists(10_000, dtype)
    scores = cosine_scores(enroll, test, first, second)
    assert scores.dtype == dtype
    expected = cosine_similarity(enroll, test)[first, second]
    np.testing.assert_allclose(scores, expected, atol=tolerance)


def test_integers_are_welcome() -> None:
    one = np.array([0])
    assert cosine_scores([[1, 1]], [[3, 3]], one, one)[0] == pytest.approx(1.0)


def test_memory_does_not_grow_with_the_gathered_rows() -> None:
    enroll, test, first, second = lists(400_000)
    tracemalloc.start()
    cosine_scores(enroll, test, first, second)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The scores take 3.2 MB; gathering all rows at once would take 51 MB.
    assert peak < 6e6


def test_progress() -> None:
    done: list[int] = []
    cosine_scores(*lists(20_000), progress=done.append)
    assert sum(done) == 20_000
    assert len(done) == 3


def test_zero_vectors_have_no_direction() -> None:
    enroll, test, first, second = lists(10)
    enroll[3] = 0.0
    with pytest.raises(DataError, match=r"enroll need a direction, got 1 zero .* in row 3"):
        cosine_scores(enroll, test, first, second)


def test_half_precision_does_not_overflow() -> None:
    rows = 50.0 * np.random.default_rng(0).normal(size=(2, 512))
    one, other = np.array([0]), np.array([1])
    scores = cosine_scores(rows.astype(np.float16), rows.astype(np.float16), one, other)
    assert scores.dtype == np.float16
    assert scores[0] == pytest.approx(cosine_similarity(rows)[0, 1], abs=2e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_lengths_are_finite(value: float) -> None:
    enroll, test, first, second = lists(10, np.float32)
    test[7, 2] = value
    with pytest.raises(DataError, match=r"test need .* finite length, got 1 .* in row 7"):
        cosine_scores(enroll, test, first, second)


def test_dimensions() -> None:
    enroll, test, first, second = lists(10)
    with pytest.raises(ShapeError, match="need the same dimension, got 8 and 5"):
        cosine_scores(enroll, test[:, :5], first, second)
    with pytest.raises(ShapeError, match="one index per side"):
        cosine_scores(enroll, test, first, second[:5])
    with pytest.raises(ShapeError, match=r"test need shape \(utterances, dim\)"):
        cosine_scores(enroll, test[0], first, second)


@pytest.mark.parametrize("row", [-1, 40])
def test_indices(row: int) -> None:
    enroll, test, first, second = lists(10)
    second[4] = row
    with pytest.raises(ShapeError, match=r"rows from 0 to 39, got (-1|\d+) to "):
        cosine_scores(enroll, test, first, second)
