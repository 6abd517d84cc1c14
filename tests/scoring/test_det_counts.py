"""DetCounts: the figures of all scores at once, whatever the blocks, the order and the workers."""

import functools
import math
import operator
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbb.errors import ConfigError, DataError, ShapeError
from bbb.scoring import (
    DetCounts,
    act_dcf,
    cllr,
    det_curve,
    equal_error_rate,
    min_cllr,
    min_dcf,
    rocch_eer,
    threshold_at,
)

POINTS = [0.5, 0.01, "0.2:10:1"]
COSTS = [(0.5, 1.0, 1.0), (0.01, 1.0, 1.0), (0.2, 10.0, 1.0)]


def collect(target: np.ndarray, blocks: list[np.ndarray]) -> DetCounts:
    counts = DetCounts(target, points=POINTS)
    for block in blocks:
        counts.update(block)
    return counts


def assert_same(counts: DetCounts, target: np.ndarray, nontarget: np.ndarray) -> None:
    """Every figure is that of its function on all scores."""
    scores = np.concatenate((target, nontarget))
    labels = np.arange(len(scores)) < len(target)
    assert (counts.num_target, counts.num_nontarget) == (len(target), len(nontarget))
    assert counts.equal_error_rate() == equal_error_rate(scores, labels)
    for costs in COSTS:
        assert counts.min_dcf(*costs) == min_dcf(scores, labels, *costs)
        assert counts.threshold_at(*costs) == threshold_at(scores, labels, *costs)
        assert counts.act_dcf(*costs) == act_dcf(scores, labels, *costs)
    assert counts.rocch_eer() == rocch_eer(scores, labels)
    assert counts.min_cllr() == min_cllr(scores, labels)
    assert counts.cllr() == pytest.approx(cllr(scores, labels), rel=1e-12)


def case(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A small list with few distinct values, many, or extreme ones."""
    sizes = rng.integers(1, [8, 30])
    kind = rng.integers(4)
    target, nontarget = (
        rng.normal(shift, 1.5, size) for shift, size in zip((1.0, 0.0), sizes, strict=True)
    )
    if kind == 0:
        return np.round(target), np.round(nontarget)
    if kind == 1:
        return np.round(target, 1).astype(np.float32), np.round(nontarget, 1).astype(np.float32)
    if kind == 2:
        return target, nontarget
    extremes = np.array([-np.inf, -1e300, -1.0, 0.0, 5e-324, 1e-9, 1.0, 1e300, np.inf])
    return rng.choice(extremes, sizes[0]), rng.choice(extremes[1:-1], sizes[1])


class TestExactness:
    def test_thousands_of_tied_cases(self) -> None:
        rng = np.random.default_rng(0)
        for _ in range(1500):
            target, nontarget = case(rng)
            cuts = np.sort(rng.integers(len(nontarget) + 1, size=3))
            with np.errstate(over="ignore", invalid="ignore"):
                counts = collect(target, np.split(nontarget, cuts))
                if np.isfinite(target).all():
                    assert_same(counts, target, nontarget)
                else:
                    scores = np.concatenate((target, nontarget))
                    labels = np.arange(len(scores)) < len(target)
                    assert counts.equal_error_rate() == equal_error_rate(scores, labels)
                    assert counts.min_dcf() == min_dcf(scores, labels)

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1),
        st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1),
    )
    def test_any_numbers(self, target: list[float], nontarget: list[float]) -> None:
        pair = np.array(target, np.float32), np.array(nontarget, np.float32)
        assert_same(collect(pair[0], [pair[1]]), *pair)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("decimals", [2, 9])
    def test_large_lists_and_small_blocks(self, dtype: type, decimals: int) -> None:
        rng = np.random.default_rng(0)
        target = np.round(rng.normal(2.0, 1.0, 3000), decimals).astype(dtype)
        nontarget = np.round(rng.normal(-1.0, 1.5, 700_000), decimals).astype(dtype)
        assert_same(collect(target, np.array_split(nontarget, 37)), target, nontarget)

    def test_more_targets_than_nontargets(self) -> None:
        rng = np.random.default_rng(0)
        target, nontarget = rng.normal(1.0, 1.0, 40_000), rng.normal(size=500)
        assert_same(collect(target, [nontarget]), target, nontarget)

    def test_narrower_types_are_welcome(self) -> None:
        target, nontarget = np.array([0.1, 3.0]), np.array([0.1, 1.0], np.float32)
        assert_same(collect(target, [nontarget]), target, nontarget.astype(np.float64))
        assert DetCounts(np.array([1, 2])).num_target == 2
        half = collect(np.array([1.0, 2.0], np.float16), [np.array([1.5], np.float16)])
        assert half.equal_error_rate() == 0.5

    def test_det_curve_lies_on_the_whole_one(self) -> None:
        rng = np.random.default_rng(0)
        target, nontarget = np.round(rng.normal(1, 1, 50), 1), np.round(rng.normal(size=400), 1)
        part = collect(target, [nontarget]).det_curve()
        scores = np.concatenate((target, nontarget))
        whole = det_curve(scores, np.arange(450) < 50)
        at = np.searchsorted(whole.thresholds, part.thresholds)
        np.testing.assert_array_equal(part.fnr, whole.fnr[at])
        np.testing.assert_array_equal(part.fpr, whole.fpr[at])


class TestSums:
    def test_workers_add_up(self) -> None:
        rng = np.random.default_rng(0)
        target, nontarget = rng.normal(2, 1, 500), rng.normal(size=20_000)
        parts = [collect(target, [block]) for block in np.array_split(nontarget, 7)]
        parts = [pickle.loads(pickle.dumps(part)) for part in parts]  # noqa: S301 (its own)
        total = functools.reduce(operator.add, parts)
        assert_same(total, target, nontarget)
        assert parts[0].num_nontarget < total.num_nontarget
        assert_same(
            parts[0].merge(parts[1]), target, np.concatenate(np.array_split(nontarget, 7)[:2])
        )

    @pytest.mark.parametrize(
        "other",
        [
            DetCounts([1.0, 2.0, 2.0]),
            DetCounts([1.0, 3.0]),
            DetCounts([1.0, 2.0], points=[0.1]),
            DetCounts(np.array([1.0, 2.0], np.float32)),
        ],
    )
    def test_others_do_not_add(self, other: DetCounts) -> None:
        with pytest.raises(DataError, match="the same target scores and points, got 2 and"):
            DetCounts([1.0, 2.0]).merge(other)

    def test_mixed_blocks_are_read_twice(self) -> None:
        rng = np.random.default_rng(0)
        scores, labels = rng.normal(size=1000), rng.random(1000) < 0.1
        scores += 2.0 * labels
        reads = []

        def blocks() -> list[tuple[np.ndarray, np.ndarray]]:
            reads.append(1)
            return list(zip(np.split(scores, 10), np.split(labels, 10), strict=True))

        counts = DetCounts.of_blocks(blocks, points=POINTS)
        assert_same(counts, scores[labels], scores[~labels])
        assert len(reads) == 2

    def test_memory_depends_on_targets_alone(self) -> None:
        rng = np.random.default_rng(0)
        counts = DetCounts(rng.normal(3, 1, 1000))
        blocks = [rng.normal(size=2**17) for _ in range(4)]
        tracemalloc.start()
        for block in blocks * 10:
            counts.update(block)
        counts.equal_error_rate()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 12 * 2**20  # the 40 blocks are 42 MB


class TestErrors:
    def test_targets(self) -> None:
        with pytest.raises(DataError, match="needs target scores first, got none"):
            DetCounts([])
        with pytest.raises(DataError, match="got 1 NaN, the first at trial 1"):
            DetCounts([0.0, math.nan])
        with pytest.raises(DataError, match="needs target scores first"):
            DetCounts.of_blocks(lambda: [([1.0], [False])])

    def test_nothing_of_a_bad_block_is_counted(self) -> None:
        counts = DetCounts(np.array([1.0], np.float32))
        for block, error, match in (
            (np.array([0.0, math.nan], np.float32), DataError, "1 NaN, the first at trial 1"),
            (np.array([0.0]), DataError, "of float32 targets needs scores of that type"),
            (np.zeros((2, 2), np.float32), ShapeError, "shape"),
        ):
            with pytest.raises(error, match=match):
                counts.update(block)
        assert counts.num_nontarget == 0
        for figure in (counts.equal_error_rate, counts.cllr, counts.min_dcf):
            with pytest.raises(DataError, match=r"got no nontarget trial; update\(\) first"):
                figure()

    def test_an_operating_point_must_be_known_before(self) -> None:
        counts = collect(np.array([1.0]), [np.array([0.0])])
        with pytest.raises(ConfigError, match=r"before counting, got 0\.3; name it in DetCounts"):
            counts.act_dcf(0.3)
        with pytest.raises(ConfigError, match="p_target needs a probability"):
            counts.min_dcf(2.0)
