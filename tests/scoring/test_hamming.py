"""Hamming scores against their definition, bit by bit, and against the cosine of -1 and 1."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbb.errors import ConfigError, ShapeError
from bbb.scoring import cosine_scores, hamming, hamming_matrix, hamming_scores, majority_codes

BIT_COUNTS = st.integers(1, 200)


def random_bits(rows: int, bits: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, size=(rows, bits), dtype=np.uint8)


def pack(bits: np.ndarray) -> np.ndarray:
    return np.packbits(bits, axis=1)


def lists(trials: int, bits: int = 256) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(1)
    sides = pack(random_bits(30, bits)), pack(random_bits(40, bits, seed=2))
    return *sides, rng.integers(30, size=trials), rng.integers(40, size=trials)


@pytest.fixture(params=["numpy 2", "numpy 1"], autouse=True)
def count(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test with NumPy's own count of ones, and without it."""
    if request.param == "numpy 1":
        monkeypatch.setattr(hamming, "COUNT", None)


@given(BIT_COUNTS, st.data())
def test_is_the_share_of_equal_bits(bits: int, data: st.DataObject) -> None:
    used = data.draw(st.integers(1, bits))
    seed = data.draw(st.integers(0, 1000))
    left, right = random_bits(5, bits, seed), random_bits(4, bits, seed + 1)
    expected = (left[:, None, :used] == right[None, :, :used]).mean(axis=2)
    first, second = (index.ravel() for index in np.indices((5, 4)))
    scores = hamming_scores(pack(left), pack(right), first, second, num_bits=used)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores.reshape(5, 4), expected, atol=1e-7)
    matrix = hamming_matrix(pack(left), pack(right), num_bits=used)
    np.testing.assert_array_equal(matrix, scores.reshape(5, 4))


def test_is_the_cosine_of_signs() -> None:
    left, right = random_bits(30, 96), random_bits(40, 96, seed=2)
    _, _, first, second = lists(5000)
    cosine = cosine_scores(2.0 * left - 1.0, 2.0 * right - 1.0, first, second)
    scores = hamming_scores(pack(left), pack(right), first, second)
    np.testing.assert_allclose(2.0 * scores - 1.0, cosine, atol=1e-6)


@pytest.mark.parametrize("bits", [8, 24, 64, 72, 1000])
def test_the_ends_are_exact(bits: int) -> None:
    codes = pack(np.stack([random_bits(1, bits)[0], 1 - random_bits(1, bits)[0]]))
    np.testing.assert_array_equal(hamming_matrix(codes, codes), np.eye(2))


def test_every_word_is_counted_right() -> None:
    words = np.random.default_rng(0).integers(0, 2**64, size=1000, dtype=np.uint64)
    words[:2] = 0, 2**64 - 1
    assert hamming._popcount(words).tolist() == [int(word).bit_count() for word in words.tolist()]


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = hamming_scores(*lists(3000))
    matrix = hamming_matrix(*lists(1)[:2])
    monkeypatch.setattr(hamming, "CELLS", 100)
    done: list[int] = []
    np.testing.assert_array_equal(hamming_scores(*lists(3000), progress=done.append), scores)
    assert done == [100] * 30
    np.testing.assert_array_equal(hamming_matrix(*lists(1)[:2]), matrix)


def test_memory_does_not_grow_with_the_gathered_rows() -> None:
    args = lists(2_000_000)
    tracemalloc.start()
    hamming_scores(*args)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The scores take 8 MB; gathering all codes at once would take 128 MB.
    assert peak < 14e6


def test_no_trials() -> None:
    assert hamming_scores(*lists(0)).shape == (0,)


def test_slices_and_read_only_arrays_are_welcome() -> None:
    codes = pack(random_bits(20, 128))
    codes.flags.writeable = False
    part = codes[::2, 3:12]
    np.testing.assert_array_equal(
        hamming_matrix(part, part), hamming_matrix(part.copy(), part.copy())
    )


@pytest.mark.parametrize("wrong", [np.zeros((2, 3)), np.zeros(3, np.uint8), np.zeros((2, 0), "u1")])
def test_codes_are_rows_of_bytes(wrong: Any) -> None:
    with pytest.raises(ShapeError, match=r"enroll need packed codes, uint8 .* np.packbits"):
        hamming_matrix(wrong, wrong)
    with pytest.raises(ShapeError, match="codes need packed codes"):
        majority_codes(wrong, [0, 1])


@pytest.mark.parametrize("num_bits", [0, -1, 257])
def test_num_bits_out_of_range(num_bits: int) -> None:
    with pytest.raises(ConfigError, match=f"number from 1 to 256.*got {num_bits}"):
        hamming_scores(*lists(1), num_bits=num_bits)


def test_sides_and_indices_must_fit() -> None:
    enroll, test, first, second = lists(10)
    with pytest.raises(ShapeError, match="same dimension"):
        hamming_scores(enroll, test[:, :8], first, second)
    with pytest.raises(ShapeError, match="one index per side"):
        hamming_scores(enroll, test, first, second[:5])
    second[3] = 40
    with pytest.raises(ShapeError, match="rows from 0 to 39"):
        hamming_scores(enroll, test, first, second)


@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 1000))
def test_majority_is_that_of_the_bits(rows: int, bits: int, seed: int) -> None:
    values = random_bits(rows, bits, seed)
    models = np.random.default_rng(seed).choice(["a", "b", "c"], size=rows)
    names, codes = majority_codes(pack(values), models)
    assert names.tolist() == sorted(set(models))
    for name, code in zip(names, np.unpackbits(codes, axis=1)[:, :bits], strict=True):
        own = values[models == name]
        ones = 2 * own.sum(axis=0)
        expected = np.where(ones == len(own), own[0], ones > len(own))
        np.testing.assert_array_equal(code, expected)


def test_majority_of_one_is_itself() -> None:
    codes = pack(random_bits(6, 80))
    names, found = majority_codes(codes, np.arange(6))
    assert names.tolist() == list(range(6))
    np.testing.assert_array_equal(found, codes)


def test_majority_needs_a_model_for_each_code() -> None:
    with pytest.raises(ShapeError, match=r"one model per code, shape \(4,\), got \(3,\)"):
        majority_codes(pack(random_bits(4, 8)), [0, 1, 2])
