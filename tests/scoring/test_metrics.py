"""Metrics: degenerate inputs, known values, oracles, real scores."""

import math
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bbb.errors import ConfigError, DataError, ShapeError
from bbb.scoring import (
    act_dcf,
    cllr,
    det_curve,
    equal_error_rate,
    min_cllr,
    min_dcf,
    rocch_eer,
    threshold_at,
)


def gaussian(targets: int = 200, nontargets: int = 1800) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping scores, targets first in the file."""
    rng = np.random.default_rng(1)
    scores = np.concatenate((rng.normal(2.0, 1.0, targets), rng.normal(0.0, 1.0, nontargets)))
    return scores, np.repeat([True, False], [targets, nontargets])


def definition(scores: np.ndarray, labels: np.ndarray, p: float = 0.01) -> tuple[float, float]:
    """EER and min-DCF by a loop over thresholds."""
    thresholds = [*np.unique(scores), np.inf]
    fnr = np.array([(scores[labels] < t).mean() for t in thresholds])
    fpr = np.array([(scores[~labels] >= t).mean() for t in thresholds])
    high = int(np.argmax(fnr >= fpr))
    before, after = fpr[high - 1] - fnr[high - 1], fnr[high] - fpr[high]
    eer = fnr[high - 1] + before / (before + after) * (fnr[high] - fnr[high - 1])
    return float(eer), float((p * fnr + (1 - p) * fpr).min() / p)


CASES = {
    "all equal": np.zeros_like,
    "rounded to integers": np.round,
    "saturating": lambda scores: np.minimum(np.round(scores, 5), 1.0),
    "untied": lambda scores: scores,
}


class TestDegenerateTable:
    """Every row of the table of ties and degenerate inputs, in both orders of the file."""

    @pytest.mark.parametrize("case", CASES)
    def test_ties_agree_with_the_definition_in_any_order(self, case: str) -> None:
        scores, labels = gaussian()
        scores = CASES[case](scores)
        eer, dcf = definition(scores, labels)
        for step in (1, -1):
            assert equal_error_rate(scores[::step], labels[::step]) == pytest.approx(eer, abs=1e-12)
            assert min_dcf(scores[::step], labels[::step]) == pytest.approx(dcf, abs=1e-12)

    @pytest.mark.parametrize("step", [1, -1])
    def test_a_collapsed_model_is_chance(self, step: int) -> None:
        labels = gaussian()[1][::step]
        scores = np.full(len(labels), 0.7)
        assert equal_error_rate(scores, labels) == 0.5
        assert min_dcf(scores, labels) == 1.0
        assert min_dcf(scores, labels, 0.001) == 1.0

    def test_a_million_rounded_scores(self) -> None:
        rng = np.random.default_rng(0)
        labels = np.arange(1_000_000) < 100_000
        scores = np.round(rng.normal(3.2 * labels), 1)
        eer, dcf = definition(scores, labels)
        assert equal_error_rate(scores, labels) == pytest.approx(eer, abs=1e-12)
        assert min_dcf(scores, labels) == pytest.approx(dcf, abs=1e-12)

    def test_nan_is_an_error(self) -> None:
        scores, labels = gaussian()
        scores[100:120] = np.nan
        metrics = (equal_error_rate, min_dcf, act_dcf, cllr, min_cllr, det_curve)
        for metric in (*metrics, rocch_eer, threshold_at):
            with pytest.raises(DataError, match="got 20 NaN, the first at trial 100"):
                metric(scores, labels)

    @pytest.mark.parametrize(("labels", "name"), [([1, 1], "nontarget"), ([0, 0], "target")])
    def test_a_missing_class_is_an_error(self, labels: list[int], name: str) -> None:
        with pytest.raises(DataError, match=f"got no {name} trial"):
            equal_error_rate([1.0, 2.0], labels)

    def test_empty_lists_are_an_error(self) -> None:
        with pytest.raises(DataError, match="got no target trial"):
            equal_error_rate(np.array([]), np.array([], dtype=bool))


def tied_lists(number: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Short lists with many ties, of any balance, and some with none."""
    rng = np.random.default_rng(0)
    while number:
        labels = rng.random(rng.integers(2, 40)) < rng.choice([0.1, 0.5, 0.9])
        if labels.any() and not labels.all():
            decimals = rng.choice([0, 1, 9])
            yield np.round(rng.normal(rng.choice([0.0, 2.0]) * labels), decimals), labels
            number -= 1


class TestDefinitions:
    """Thousands of short lists against loops over thresholds and priors."""

    def test_eer_and_min_dcf(self) -> None:
        for scores, labels in tied_lists(2000):
            eer, dcf = definition(scores, labels, 0.1)
            assert equal_error_rate(scores, labels) == pytest.approx(eer, abs=1e-12)
            assert min_dcf(scores, labels, 0.1) == pytest.approx(dcf, abs=1e-12)

    def test_min_dcf_of_many_targets_looks_everywhere(self) -> None:
        rng = np.random.default_rng(0)
        for decimals, p_target in [(1, 0.01), (3, 0.5), (9, 0.2), (9, 0.999)]:
            labels = rng.random(6000) < 0.5
            scores = np.round(rng.normal(1.5 * labels), decimals)
            fnr, fpr, thresholds = det_curve(scores, labels)
            cost = p_target * fnr + (1 - p_target) * fpr
            trivial = min(p_target, 1 - p_target)
            assert min_dcf(scores, labels, p_target) == pytest.approx(cost.min() / trivial)
            best = thresholds == threshold_at(scores, labels, p_target)
            assert cost[best] == pytest.approx(cost.min())

    def test_rocch_eer_is_the_worst_bayes_error(self) -> None:
        for scores, labels in tied_lists(300):
            fnr, fpr, _ = det_curve(scores, labels)
            # At the worst prior two DET points cost the same.
            rise, fall = fnr[:, None] - fnr, fpr[:, None] - fpr
            with np.errstate(invalid="ignore", divide="ignore"):
                priors = (fall / (fall - rise)).ravel()
            priors = priors[(priors >= 0) & (priors <= 1)]
            worst = np.min(priors[:, None] * fnr + (1 - priors[:, None]) * fpr, axis=1).max()
            assert rocch_eer(scores, labels) == pytest.approx(worst, abs=1e-12)
            assert rocch_eer(scores, labels) <= equal_error_rate(scores, labels) + 1e-12

    def test_thresholds(self) -> None:
        for scores, labels in tied_lists(500):
            fnr, fpr, thresholds = det_curve(scores, labels)
            # Rates are quotients; where they are equal, only counts say so.
            assert threshold_at(scores, labels) == thresholds[fnr - fpr > -1e-12][0]
            threshold = threshold_at(scores, labels, 0.3, 2.0)
            assert threshold == math.inf or threshold in scores[labels]
            cost = 0.6 * fnr + 0.7 * fpr
            assert cost[thresholds == threshold] == pytest.approx(cost.min())

    @pytest.mark.parametrize("p_target", [0.01, 0.02, 0.03, 0.04, 0.1, 0.3])
    def test_act_dcf_at_a_threshold_between_two_singles(self, p_target: float) -> None:
        # The Bayes threshold is no float32; a score next to it is on the right side.
        threshold = math.log((1 - p_target) / p_target)
        near = np.float32(threshold)
        for end in (-9, 9):
            for score in (near, np.nextafter(near, np.float32(end))):
                expected = 0.0 if float(score) >= threshold else 1.0
                scores = np.array([score, -9], np.float32)
                assert act_dcf(scores, [True, False], p_target) == expected


class TestInputs:
    def test_lengths_must_agree(self) -> None:
        with pytest.raises(ShapeError, match="got 3 scores and labels of shape"):
            equal_error_rate([1.0, 2.0, 3.0], [True, False])

    def test_scores_are_one_dimensional(self) -> None:
        with pytest.raises(ShapeError, match=r"shape \(trials,\)"):
            equal_error_rate([[1.0, 2.0]], [[True, False]])

    def test_scores_are_numbers(self) -> None:
        with pytest.raises(DataError, match="scores need numbers, got dtype"):
            equal_error_rate(np.array(["a", "b"]), [True, False])

    def test_labels_are_booleans(self) -> None:
        with pytest.raises(DataError, match="is_target needs booleans"):
            equal_error_rate([1.0, 2.0], np.array(["target", "nontarget"]))

    def test_integers_and_zero_one_labels_are_welcome(self) -> None:
        assert equal_error_rate([3, 2, 1], [1, 0, 0]) == 0.0

    def test_infinite_scores_are_ordered_like_others(self) -> None:
        scores = [math.inf, 1.0, -math.inf, -math.inf]
        assert equal_error_rate(scores, [True, True, False, False]) == 0.0
        assert cllr([math.inf, -math.inf], [True, False]) == 0.0

    def test_ties_of_both_classes_at_infinity(self) -> None:
        assert equal_error_rate([math.inf, math.inf], [True, False]) == 0.5
        # All other trials are right: the line from (0, 1/3) to (1, 0) crosses the diagonal.
        scores = [math.inf, 2.0, 1.0, math.inf]
        assert equal_error_rate(scores, [True, False, False, False]) == pytest.approx(0.25)
        assert threshold_at(scores, [True, False, False, False]) == math.inf

    @pytest.mark.parametrize("p_target", [0.0, 1.0, -0.1, math.nan])
    def test_prior_must_be_a_probability(self, p_target: float) -> None:
        with pytest.raises(ConfigError, match="p_target needs a probability"):
            min_dcf([1.0, 0.0], [True, False], p_target)

    @pytest.mark.parametrize("costs", [(0.0, 1.0), (1.0, -1.0), (math.inf, 1.0)])
    def test_costs_must_be_positive(self, costs: tuple[float, float]) -> None:
        with pytest.raises(ConfigError, match="need positive finite costs"):
            act_dcf([1.0, 0.0], [True, False], 0.5, *costs)

    def test_arguments_are_left_as_they_were(self) -> None:
        scores, labels = gaussian()
        kept = scores.copy()
        equal_error_rate(scores, labels)
        np.testing.assert_array_equal(scores, kept)

    @pytest.mark.parametrize("metric", [equal_error_rate, min_dcf, act_dcf, cllr])
    def test_scores_are_copied_once(self, metric: Callable[..., float]) -> None:
        scores, labels = gaussian(200_000, 800_000)
        single = scores.astype(np.float32)
        expected = metric(scores, labels)
        tracemalloc.start()
        value = metric(single, labels)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert value == pytest.approx(expected, abs=1e-5)
        # And some blocks of 65,536 scores, a third of this array.
        assert peak < 1.4 * single.nbytes


class TestKnownValues:
    def test_eer_of_two_gaussians(self) -> None:
        # Phi(-d/2) for d = 2; with 4e5 targets the standard error is 6e-4, false alarm 1e-4.
        rng = np.random.default_rng(0)
        labels = np.arange(800_000) % 2 == 0
        value = equal_error_rate(rng.normal(2.0 * labels), labels)
        assert value == pytest.approx(0.158655, abs=2.4e-3)

    def test_eer_interpolates_a_tied_step(self) -> None:
        # Points (fnr, fpr): (0, 1), (0, 1/2), (1, 0); the last step crosses at 1/3.
        scores = [1.0, 1.0, 0.0]
        assert equal_error_rate(scores, [True, False, False]) == pytest.approx(1 / 3)

    def test_act_dcf_accepts_on_the_threshold(self) -> None:
        threshold = math.log(99.0)
        assert act_dcf([threshold + 1e-9, 0.0], [True, False], 0.01) == 0.0
        assert act_dcf([threshold - 1e-9, 0.0], [True, False], 0.01) == 1.0
        assert act_dcf([1.0, 0.0], [True, False], 0.5) == pytest.approx(1.0)
        assert act_dcf([1.0, -1e-9], [True, False], 0.5) == 0.0

    def test_act_dcf_counts_by_cost(self) -> None:
        # One of two missed, one of four accepted, at the threshold log(5 * 0.9 / (2 * 0.1)).
        scores = [9.0, 0.0, 9.0, 0.0, 0.0, 0.0]
        labels = [True, True, False, False, False, False]
        cost = (0.1 * 2.0 * 0.5 + 0.9 * 5.0 * 0.25) / (0.1 * 2.0)
        assert act_dcf(scores, labels, 0.1, 2.0, 5.0) == pytest.approx(cost)

    def test_cllr_of_large_ratios_is_finite(self) -> None:
        assert cllr([-1000.0, -1000.0], [True, False]) == pytest.approx(500.0 / math.log(2.0))
        # Alone, a target with a ratio of -1000 costs 1442.7 bits, half of the mean of both classes.
        assert 2.0 * cllr([-1000.0, -1e9], [True, False]) == pytest.approx(1442.695, abs=1e-3)
        assert math.isfinite(cllr(np.array([-1e38, 1e38], np.float32), [True, False]))

    def test_cllr_against_the_formula(self) -> None:
        rng = np.random.default_rng(0)
        scores, labels = rng.normal(size=50), rng.random(50) < 0.4
        expected = 0.5 * np.log2(1 + np.exp(-scores[labels])).mean()
        expected += 0.5 * np.log2(1 + np.exp(scores[~labels])).mean()
        assert cllr(scores, labels) == pytest.approx(expected)

    def test_calibrated_scores_lose_little(self) -> None:
        # For N(+-d^2/2, d^2) the score is its own log-likelihood ratio.
        rng = np.random.default_rng(0)
        labels = np.arange(200_000) % 2 == 0
        scores = rng.normal(np.where(labels, 2.0, -2.0), 2.0)
        assert cllr(scores, labels) - min_cllr(scores, labels) < 2e-3
        assert cllr(scores + 3.0, labels) - min_cllr(scores + 3.0, labels) > 0.1

    def test_min_cllr_and_rocch_against_llreval(self) -> None:
        pav = pytest.importorskip("llreval.pav_rocch", reason="llreval is not installed")
        oracle = pytest.importorskip("llreval.cllr")
        for scores, labels in (gaussian(), (np.round(gaussian()[0], 1), gaussian()[1])):
            pooled = pav.PAV(scores, labels.astype(int))
            assert min_cllr(scores, labels) == pytest.approx(oracle.min_cllr(pooled), abs=1e-10)
            assert rocch_eer(scores, labels) == pytest.approx(pav.ROCCH(pooled).EER(), abs=1e-10)

    def test_det_curve_ends(self) -> None:
        curve = det_curve(*gaussian())
        assert (curve.fnr[0], curve.fpr[0]) == (0.0, 1.0)
        assert (curve.fnr[-1], curve.fpr[-1], curve.thresholds[-1]) == (1.0, 0.0, np.inf)
        assert (np.diff(curve.fnr) >= 0).all()
        assert (np.diff(curve.fpr) <= 0).all()


def test_published_scores(real_data: Path) -> None:
    path = real_data / "scores" / "ASVspoof2019.LA.asv.dev.gi.trl.scores.txt"
    lines = [line.split() for line in path.read_text().splitlines()]
    kept = [(float(line[2]), line[1] == "target") for line in lines if line[1] != "spoof"]
    scores, labels = (np.array(column) for column in zip(*kept, strict=True))
    assert (labels.sum(), (~labels).sum()) == (1484, 5768)
    # The DET steps cross the diagonal where 36 targets are missed, between 140 and 139 false
    # alarms; the published 2.427 % is the mean of both rates at 140, (36/1484 + 140/5768) / 2.
    assert equal_error_rate(scores, labels) == pytest.approx(36 / 1484, abs=1e-12)
    assert equal_error_rate(scores, labels) == pytest.approx(0.02427, abs=0.5 / 5768)
    assert min_dcf(scores, labels, 0.01) == pytest.approx(0.2217, abs=5e-5)
    assert min_dcf(scores, labels, 0.05) == pytest.approx(0.1374, abs=5e-5)
