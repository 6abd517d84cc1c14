"""Hamming similarity of binary codes, eight bits to a byte."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bbb.errors import ConfigError, ShapeError
from bbb.scoring.cosine import CELLS, check_dims, check_indices, check_trials

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]
Floats = NDArray[np.float32]

# NumPy 2 has an instruction for it.
COUNT = getattr(np, "bitwise_count", None)


def hamming_scores(
    enroll: ArrayLike,
    test: ArrayLike,
    enroll_index: NDArray[np.integer[Any]],
    test_index: NDArray[np.integer[Any]],
    *,
    num_bits: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Floats:
    """Share of bits in which both codes of each trial agree.

    With bits written as -1 and 1 the cosine of two codes is ``2 * score - 1``.

    Args:
        enroll: Codes of the enrolment side as `numpy.packbits` packs them along the last axis,
            uint8, shape (enrolments, bytes).
        test: Codes of the test side, uint8, shape (tests, bytes).
        enroll_index: Row of `enroll` of each trial, shape (trials,).
        test_index: Row of `test` of each trial, shape (trials,).
        num_bits: How many of the first bits count, for ordered codes and for codes whose last byte
            is not full; None takes all.
        progress: Called with the number of trials done since the last call.

    Returns:
        Scores in [0, 1], float32, shape (trials,).

    Raises:
        ShapeError: If the sides differ in length or are no rows of bytes, or an index does not fit.
        ConfigError: If `num_bits` is not from 1 to the length of the codes.

    Example:
        >>> codes = np.packbits([[0, 0, 1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 0, 0, 0, 0]], axis=1)
        >>> one, other = np.array([0]), np.array([1])
        >>> hamming_scores(codes, codes, one, other)
        array([0.375], dtype=float32)
        >>> hamming_scores(codes, codes, one, other, num_bits=4)
        array([0.75], dtype=float32)
    """  # noqa: DOC502 (raised by the shared checks)
    left, right, size = _sides(enroll, test, num_bits)
    shapes = left.shape[::-1], right.shape[::-1]
    check_trials(*shapes, enroll_index, test_index)
    check_indices(shapes[0][0], shapes[1][0], enroll_index, test_index)
    scores = np.empty(len(enroll_index), dtype=np.float32)
    for start in range(0, len(scores), CELLS):
        part = slice(start, start + CELLS)
        one, other = enroll_index[part], test_index[part]
        agree = np.full(len(one), size, dtype=np.min_scalar_type(size))
        for a, b in zip(left, right, strict=True):
            agree -= _popcount(a.take(one) ^ b.take(other))
        np.divide(agree, np.float32(size), out=scores[part])
        if progress is not None:
            progress(len(one))
    return scores


def hamming_matrix(enroll: ArrayLike, test: ArrayLike, *, num_bits: int | None = None) -> Floats:
    """Share of bits in which each code of one side agrees with each of the other.

    Args:
        enroll: Packed codes, uint8, shape (enrolments, bytes).
        test: Packed codes, uint8, shape (tests, bytes).
        num_bits: As of `hamming_scores`.

    Returns:
        Scores in [0, 1], float32, shape (enrolments, tests).

    Raises:
        ShapeError: If the sides differ in length, or are no rows of bytes.
        ConfigError: If `num_bits` is not from 1 to the length of the codes.

    Example:
        >>> codes = np.array([[0b11110000], [0b11111111]], dtype=np.uint8)
        >>> hamming_matrix(codes, codes)
        array([[1. , 0.5],
               [0.5, 1. ]], dtype=float32)
    """  # noqa: DOC502 (raised by the shared checks)
    left, right, size = _sides(enroll, test, num_bits)
    scores = np.empty((left.shape[1], right.shape[1]), dtype=np.float32)
    step = max(CELLS // max(right.shape[1], 1), 1)
    for start in range(0, len(scores), step):
        part = slice(start, start + step)
        out = scores[part]
        agree = np.full(out.shape, size, dtype=np.min_scalar_type(size))
        for a, b in zip(left, right, strict=True):
            agree -= _popcount(a[part, None] ^ b)
        np.divide(agree, np.float32(size), out=out)
    return scores


def majority_codes(codes: ArrayLike, models: ArrayLike) -> tuple[NDArray[Any], Bytes]:
    """One code for several utterances: each bit as most of them have it.

    Where the codes' probabilities are at hand, their mean above 1/2 says more; with equal votes
    for 0 and 1, which cannot happen there, the first utterance decides.

    Args:
        codes: Packed codes, uint8, shape (utterances, bytes).
        models: Model (or speaker) of each, shape (utterances,).

    Returns:
        The distinct models, sorted, and their packed codes, uint8, shape (models, bytes).

    Raises:
        ShapeError: If the shapes do not fit each other.

    Example:
        >>> codes = np.array([[0b1100], [0b1010], [0b1001], [0b0110]], dtype=np.uint8)
        >>> names, models = majority_codes(codes, ["anna", "anna", "anna", "ben"])
        >>> [f"{byte:04b}" for byte in models[:, 0]]
        ['1000', '0110']
    """
    packed = _check_bytes(codes, "codes")
    labels = np.asarray(models)
    if labels.shape != packed.shape[:1]:
        msg = (
            f"majority_codes needs one model per code, shape ({len(packed)},), got {labels.shape}; "
            "align them"
        )
        raise ShapeError(msg)
    names, first, which = np.unique(labels, return_index=True, return_inverse=True)
    bits = np.unpackbits(packed, axis=1)
    votes = np.zeros((len(names), bits.shape[1]), dtype=np.int32)
    np.add.at(votes, which, 2 * bits.astype(np.int32) - 1)
    return names, np.packbits(np.where(votes == 0, bits[first], votes > 0), axis=1)


def _check_bytes(codes: ArrayLike, name: str) -> Bytes:
    rows = np.asarray(codes)
    if rows.dtype != np.uint8 or rows.ndim != 2 or not rows.shape[1]:  # noqa: PLR2004
        msg = (
            f"{name} need packed codes, uint8 of shape (utterances, bytes), got {rows.dtype} of "
            f"shape {rows.shape}; pack bits with np.packbits(bits, axis=1)"
        )
        raise ShapeError(msg)
    return rows


def _sides(enroll: ArrayLike, test: ArrayLike, num_bits: int | None) -> tuple[Words, Words, int]:
    """Both sides as words, with zeros beyond the bits that count.

    Args:
        enroll: Packed codes of one side.
        test: Packed codes of the other.
        num_bits: How many bits count; None for all.

    Returns:
        Both sides, each of shape (words, codes), and the number of bits that count.

    Raises:
        ConfigError: If that number is out of range.
    """
    left = _check_bytes(enroll, "enroll")
    right = left if test is enroll else _check_bytes(test, "test")
    check_dims(left.shape, right.shape)
    size = 8 * left.shape[1] if num_bits is None else num_bits
    if not 1 <= size <= 8 * left.shape[1]:
        msg = f"num_bits needs a number from 1 to {8 * left.shape[1]}, the codes' bits, got {size}"
        raise ConfigError(msg)
    first = _words(left, size)
    return first, first if right is left else _words(right, size), size


def _words(codes: Bytes, num_bits: int) -> Words:
    """The first bits of codes, 64 to a word, a row for each word."""
    used = -(-num_bits // 8)
    padded = np.zeros((len(codes), 8 * -(-used // 8)), dtype=np.uint8)
    padded[:, :used] = codes[:, :used]
    padded[:, used - 1] &= np.uint8(0xFF << (8 * used - num_bits) & 0xFF)
    return np.ascontiguousarray(padded.view(np.uint64).T)


def _popcount(words: Words) -> Bytes:
    """Number of ones in each word, uint8."""
    if COUNT is not None:
        return np.asarray(COUNT(words))
    # The sums of neighbours in fields of 2, 4 and 8 bits; the product adds up the bytes.
    words = words - (words >> np.uint64(1) & np.uint64(0x5555555555555555))
    pairs = np.uint64(0x3333333333333333)
    words = (words & pairs) + (words >> np.uint64(2) & pairs)
    words = words + (words >> np.uint64(4)) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.asarray(words * np.uint64(0x0101010101010101) >> np.uint64(56), dtype=np.uint8)
