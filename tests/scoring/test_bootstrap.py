"""Bootstrap: weighted metrics are exact, intervals cover, speakers are the unit."""

import numpy as np
import pytest

from bbb.errors import ConfigError, DataError, ShapeError
from bbb.scoring import (
    Metric,
    bootstrap_ci,
    bootstrap_cis,
    cllr,
    equal_error_rate,
    min_cllr,
    min_dcf,
    paired_bootstrap,
)
from bbb.scoring._resample import TrialTable, speaker_cells, trial_cells

METRICS = [
    Metric(name="eer"),
    Metric(name="min_dcf", p_target=0.1),
    Metric(name="act_dcf", p_target=0.2, c_miss=3.0),
    Metric(name="cllr"),
    Metric(name="min_cllr"),
]


def all_pairs(
    speakers: int, utts: int, seed: int, *, spread: float = 1.0, decimals: int = 8
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Scores, labels and speakers of all pairs of utterances."""
    rng = np.random.default_rng(seed)
    speaker = np.repeat(np.arange(speakers), utts)
    x = spread * rng.normal(size=(speakers, 6))[speaker] + rng.normal(size=(speakers * utts, 6))
    first, second = np.triu_indices(len(speaker), 1)
    scores = np.round((x[first] * x[second]).sum(axis=1), decimals)
    return scores, speaker[first] == speaker[second], (speaker[first], speaker[second])


class TestExactness:
    @pytest.mark.parametrize("decimals", [0, 1, 8])
    @pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
    def test_weights_are_copies(self, metric: Metric, decimals: int) -> None:
        scores, labels, speakers = all_pairs(8, 3, seed=0, decimals=decimals)
        cells = speaker_cells(labels, *speakers)
        target, nontarget = cells.draw(np.random.default_rng(2), 5)
        got = metric.of_resamples(
            TrialTable.build(scores, labels, cells).resample(target, nontarget)
        )
        copies = np.empty((len(scores), 5), dtype=int)
        copies[labels] = target[cells.target]
        copies[~labels] = nontarget[cells.nontarget]
        for column in range(5):
            copied = np.repeat(np.arange(len(scores)), copies[:, column])
            assert got[column] == pytest.approx(metric(scores[copied], labels[copied]), abs=1e-9)

    @pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
    def test_equal_weights_give_the_metric_itself(self, metric: Metric) -> None:
        scores, labels, _ = all_pairs(6, 4, seed=1, decimals=1)
        table = TrialTable.build(scores, labels, trial_cells(labels))
        ones = np.ones((labels.sum(), 1)), np.ones(((~labels).sum(), 1))
        assert metric.of_resamples(table.resample(*ones))[0] == pytest.approx(
            metric(scores, labels)
        )

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_scores_on_a_bayes_threshold(self, dtype: type) -> None:
        metric = Metric(name="act_dcf")
        on_it = metric.points[0].threshold
        scores = np.array([on_it] * 5 + [10.0] + [on_it] * 5 + [-9.0], dtype=dtype)
        labels = np.arange(12) < 6
        table = TrialTable.build(scores, labels, trial_cells(labels))
        ones = np.ones((6, 1))
        assert metric.of_resamples(table.resample(ones, ones))[0] == metric(scores, labels)

    def test_speaker_weights_are_products_and_counts_within(self) -> None:
        enroll, test = np.array(["a", "a", "b"]), np.array(["a", "b", "c"])
        cells = speaker_cells(np.array([True, False, False]), enroll, test)
        target, nontarget = cells.draw(np.random.default_rng(0), 50)
        count_a = target[cells.target[0]]
        assert set(count_a.tolist()) > {0.0, 1.0, 2.0}
        a_b, b_c = nontarget[cells.nontarget]
        # Three draws in all: m_a + m_b + m_c = 3 determines the rest.
        for m_a, ab, bc in zip(count_a, a_b, b_c, strict=True):
            options = {(m_a * m_b, m_b * (3 - m_a - m_b)) for m_b in range(4)}
            assert (ab, bc) in options

    def test_each_draw_has_as_many_trials_of_a_class(self) -> None:
        labels = np.arange(30) < 10
        target, nontarget = trial_cells(labels).draw(np.random.default_rng(0), 7)
        assert (target.sum(axis=0) == 10).all()
        assert (nontarget.sum(axis=0) == 20).all()


class TestIntervals:
    def test_metric_functions_and_estimates_agree(self) -> None:
        scores, labels, speakers = all_pairs(10, 3, seed=3)
        names = ["eer", "min_dcf", "cllr", "min_cllr"]
        intervals = bootstrap_cis(scores, labels, names, speakers=speakers, num_resamples=50)
        functions = [equal_error_rate, min_dcf, cllr, min_cllr]
        for interval, function in zip(intervals, functions, strict=True):
            assert interval.estimate == function(scores, labels)
            assert interval.low <= interval.high

    def test_seeded(self) -> None:
        scores, labels, speakers = all_pairs(10, 3, seed=3)
        same = [
            bootstrap_ci(scores, labels, speakers=speakers, num_resamples=80, seed=seed)
            for seed in (1, 1, 2)
        ]
        assert same[0] == same[1] != same[2]

    def test_coverage_by_speaker(self) -> None:
        # True EER from many speakers; 100 lists of 30. A nominal 90 % interval covers at least 82
        # and at most 99 of them but in 1 % of all seeds; one by trial covers far fewer.
        truth = equal_error_rate(*all_pairs(700, 3, seed=99)[:2])
        covered = {"speaker": 0, "trial": 0}
        for seed in range(100):
            scores, labels, speakers = all_pairs(30, 3, seed=seed)
            for unit in covered:
                interval = bootstrap_ci(
                    scores,
                    labels,
                    speakers=speakers if unit == "speaker" else None,
                    num_resamples=150,
                    confidence=0.9,
                )
                covered[unit] += interval.low <= truth <= interval.high
        assert 82 <= covered["speaker"] <= 99
        assert covered["trial"] < covered["speaker"]

    def test_independent_trials_have_the_binomial_spread(self) -> None:
        # act-DCF at p = 0.5 is the mean of two binomial shares; its standard error is known.
        rng = np.random.default_rng(0)
        labels = np.repeat([True, False], 1000)
        scores = np.where(rng.random(2000) < 0.2, -1.0, 1.0) * np.where(labels, 1.0, -1.0)
        metric = Metric(name="act_dcf", p_target=0.5)
        interval = bootstrap_ci(scores, labels, metric, num_resamples=800)
        expected = 2 * 1.96 * np.sqrt(2 * 0.2 * 0.8 / 1000)
        # The width of an interval from 800 resamples has a relative error of about 5 %.
        assert interval.high - interval.low == pytest.approx(expected, rel=0.2)

    def test_progress_counts_every_resample(self) -> None:
        scores, labels, speakers = all_pairs(6, 3, seed=0)
        done: list[int] = []
        bootstrap_cis(
            scores, labels, ["eer"], speakers=speakers, num_resamples=150, progress=done.append
        )
        assert sum(done) == 150
        assert len(done) > 1
        paired_bootstrap(
            scores, scores, labels, speakers=speakers, num_resamples=70, progress=done.append
        )
        assert sum(done) == 220


class TestInfinity:
    """A certain error costs an infinite Cllr, in the resamples that hold it."""

    def scores(self) -> tuple[np.ndarray, np.ndarray]:
        scores, labels, _ = all_pairs(8, 4, seed=4)
        scores[np.flatnonzero(labels)[0]] = -np.inf
        return scores, labels

    def test_only_the_resamples_with_the_trial_are_infinite(self) -> None:
        scores, labels = self.scores()
        interval = bootstrap_ci(scores, labels, "cllr", num_resamples=100)
        rest = cllr(scores[np.isfinite(scores)], labels[np.isfinite(scores)])
        # The trial is missing in 36 % of the resamples.
        assert interval.low == pytest.approx(rest, rel=0.5)
        assert (interval.estimate, interval.high) == (np.inf, np.inf)

    def test_two_infinite_systems_do_not_differ(self) -> None:
        scores, labels = self.scores()
        found = paired_bootstrap(scores, scores.copy(), labels, "cllr", num_resamples=50)
        assert (found.difference, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)
        better = paired_bootstrap(scores, np.nan_to_num(scores, neginf=0.0), labels, "cllr")
        assert (better.difference, better.low) == (-np.inf, -np.inf)
        assert better.high == 0.0


class TestPaired:
    def test_a_system_equals_itself(self) -> None:
        scores, labels, speakers = all_pairs(10, 3, seed=0)
        result = paired_bootstrap(scores, scores, labels, speakers=speakers, num_resamples=60)
        assert (result.difference, result.low, result.high, result.p_value) == (0, 0, 0, 1.0)

    def test_pairing_narrows_the_interval(self) -> None:
        scores, labels, speakers = all_pairs(25, 4, seed=0)
        noisy = scores + 0.5 * np.random.default_rng(1).normal(size=len(scores))
        paired = paired_bootstrap(noisy, scores, labels, speakers=speakers, num_resamples=200)
        alone = bootstrap_ci(scores, labels, speakers=speakers, num_resamples=200)
        assert paired.high - paired.low < 0.5 * (alone.high - alone.low)
        assert paired.difference == paired.b - paired.a
        assert paired.a == equal_error_rate(noisy, labels)
        assert paired.b == equal_error_rate(scores, labels)

    def test_a_clear_gain_is_found_and_swapped(self) -> None:
        scores, labels, speakers = all_pairs(60, 5, seed=0)
        worse = scores + 6.0 * np.random.default_rng(1).normal(size=len(scores))
        gain = paired_bootstrap(worse, scores, labels, speakers=speakers, num_resamples=200)
        loss = paired_bootstrap(scores, worse, labels, speakers=speakers, num_resamples=200)
        assert gain.high < 0 < loss.low
        assert gain.p_value == loss.p_value == pytest.approx(2 / 201)

    def test_p_values_of_equal_systems_are_not_small(self) -> None:
        # Two noisy copies of one system: 5 % of p-values fall below 0.05; 12 or more of 60 in
        # fewer than 1 of 10,000 seeds.
        small = 0
        for seed in range(60):
            scores, labels, speakers = all_pairs(15, 3, seed=seed)
            rng = np.random.default_rng(seed)
            pair = (scores + 2.0 * rng.normal(size=len(scores)) for _ in range(2))
            result = paired_bootstrap(*pair, labels, speakers=speakers, num_resamples=100)
            small += result.p_value < 0.05
        assert small < 12

    def test_runs_are_averaged(self) -> None:
        scores, labels, speakers = all_pairs(10, 3, seed=0)
        rng = np.random.default_rng(1)
        runs = np.stack([scores + rng.normal(size=len(scores)) for _ in range(3)])
        result = paired_bootstrap(runs, scores, labels, speakers=speakers, num_resamples=40)
        assert result.a == pytest.approx(np.mean([equal_error_rate(run, labels) for run in runs]))


class TestErrors:
    def test_unknown_metric(self) -> None:
        with pytest.raises(ConfigError, match=r"metric needs one of eer, .*, got 'auc'"):
            bootstrap_ci([1.0, 0.0], [True, False], "auc")  # type: ignore[arg-type]

    def test_operating_point(self) -> None:
        with pytest.raises(ConfigError, match="p_target needs a probability"):
            Metric(name="min_dcf", p_target=2.0)

    @pytest.mark.parametrize(
        ("argument", "match"),
        [
            ({"num_resamples": 0}, "num_resamples needs"),
            ({"confidence": 1.0}, "confidence needs"),
            ({"seed": -1}, "seed needs a number from 0, got -1"),
        ],
    )
    def test_arguments(self, argument: dict[str, float], match: str) -> None:
        with pytest.raises(ConfigError, match=match):
            bootstrap_ci([1.0, 0.0], [True, False], **argument)

    def test_speakers_must_fit(self) -> None:
        with pytest.raises(ShapeError, match="speakers need one value per side and trial"):
            bootstrap_ci([1.0, 0.0], [True, False], speakers=(["a"], ["a", "b"]))

    def test_too_few_speakers(self) -> None:
        scores, labels, speakers = all_pairs(4, 3, seed=0)
        with pytest.raises(DataError, match="needs at least 5 speakers, got 4"):
            bootstrap_ci(scores, labels, speakers=speakers)

    def test_nan(self) -> None:
        with pytest.raises(DataError, match="1 NaN"):
            paired_bootstrap([1.0, 0.0], [np.nan, 0.0], [True, False], num_resamples=5)

    def test_draws_without_a_target_are_drawn_again(self) -> None:
        # Only one of eight speakers has target trials; a third of all draws lack it.
        scores, labels, speakers = all_pairs(8, 3, seed=0)
        kept = ~labels | (speakers[0] == 0)
        interval = bootstrap_ci(
            scores[kept], labels[kept], speakers=(speakers[0][kept], speakers[1][kept])
        )
        assert np.isfinite([interval.low, interval.high]).all()
