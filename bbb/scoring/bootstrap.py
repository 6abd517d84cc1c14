"""Confidence intervals of the metrics, and the paired comparison of two systems, by bootstrap.

Exact: the metrics of a resample are those of the weighted trials, not of a histogram of them. It
is fast because only two things about a trial matter: between which target scores it lies (its
bin, see `bin_index`), and whose speakers it compares (its cell). A sparse table counts nontarget
trials per bin and cell once; the counts per bin of many resamples are then one matrix product
with the weights of the cells.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bbb.errors import ConfigError, DataError
from bbb.scoring._resample import Cells, Resamples, TrialTable, speaker_cells, trial_cells
from bbb.scoring._sorted import (
    Floats,
    SortedScores,
    check_labels,
    check_operating_point,
    check_scores,
)

MetricName = Literal["eer", "min_dcf", "act_dcf", "cllr", "min_cllr"]
Speakers = tuple[ArrayLike, ArrayLike]

# An interval from fewer would be far too narrow, and look like certainty.
MIN_SPEAKERS = 5


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A figure of merit with its operating point.

    Attributes:
        name: One of "eer", "min_dcf", "act_dcf", "cllr" and "min_cllr".
        p_target: Prior probability of a target trial; only the two costs use it.
        c_miss: Cost of a miss.
        c_fa: Cost of a false alarm.

    Raises:
        ConfigError: If the name is unknown, or the operating point is out of range.
    """

    name: MetricName = "eer"
    p_target: float = 0.01
    c_miss: float = 1.0
    c_fa: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in get_args(MetricName):
            known = ", ".join(get_args(MetricName))
            msg = f"metric needs one of {known}, got '{self.name}'"
            raise ConfigError(msg)
        check_operating_point(self.p_target, self.c_miss, self.c_fa)

    def __call__(self, scores: ArrayLike, is_target: ArrayLike) -> float:
        """Value on one list of trials; `SortedScores.split` says what it refuses."""
        return self.of(SortedScores.split(scores, is_target))

    def of(self, classes: SortedScores) -> float:
        """Value on classes that are sorted already."""
        if self.name == "min_dcf":
            return classes.min_dcf(self.p_target, self.c_miss, self.c_fa)
        if self.name == "act_dcf":
            return classes.act_dcf(self.p_target, self.c_miss, self.c_fa)
        return {
            "eer": classes.equal_error_rate,
            "cllr": classes.cllr,
            "min_cllr": classes.min_cllr,
        }[self.name]()

    def of_resamples(self, resamples: Resamples) -> NDArray[np.float64]:
        """Value on each of some resamples, shape (resamples,)."""
        if self.name == "min_dcf":
            return resamples.min_dcf(self.p_target, self.c_miss, self.c_fa)
        if self.name == "act_dcf":
            return resamples.act_dcf(self.p_target, self.c_miss, self.c_fa)
        return {
            "eer": resamples.equal_error_rate,
            "cllr": resamples.cllr,
            "min_cllr": resamples.min_cllr,
        }[self.name]()


@dataclass(frozen=True)
class Interval:
    """A figure and its confidence interval.

    Attributes:
        estimate: The figure on all trials.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedComparison:
    """Two systems on the same trials.

    Attributes:
        a: The figure of system A on all trials, averaged over its runs.
        b: The figure of system B, likewise.
        difference: ``b - a``; negative where B makes fewer errors.
        low: Lower end of the confidence interval of the difference.
        high: Upper end.
        p_value: Two-sided, of the hypothesis that both are equal, in (0, 1].
    """

    a: float
    b: float
    difference: float
    low: float
    high: float
    p_value: float


def bootstrap_ci(
    scores: ArrayLike,
    is_target: ArrayLike,
    metric: MetricName | Metric = "eer",
    *,
    speakers: Speakers | None = None,
    num_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of one metric; `bootstrap_cis` shares the work among several.

    Args:
        scores: Score of each trial, shape (trials,).
        is_target: True for target trials, shape (trials,).
        metric: A metric, or its name with the default operating point.
        speakers: Speaker of the enrolment side and of the test side of each trial, each of shape
            (trials,); None resamples trials.
        num_resamples: Number of resamples.
        confidence: Probability that the interval aims to cover, in (0, 1).
        seed: Seed of the resamples.

    Returns:
        The figure on all trials, and the interval.

    Raises:
        ShapeError: If the arrays differ in length.
        DataError: If a score is NaN, a class has no trial, or there are too few speakers.
        ConfigError: If an argument is out of range.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> labels = np.repeat([True, False], [100, 1000])
        >>> interval = bootstrap_ci(rng.normal(2.0 * labels), labels, num_resamples=200)
        >>> interval.low < interval.estimate < interval.high
        True
    """  # noqa: DOC502 (raised by the shared checks)
    return bootstrap_cis(
        scores,
        is_target,
        [metric],
        speakers=speakers,
        num_resamples=num_resamples,
        confidence=confidence,
        seed=seed,
    )[0]


def bootstrap_cis(
    scores: ArrayLike,
    is_target: ArrayLike,
    metrics: Sequence[MetricName | Metric],
    *,
    speakers: Speakers | None = None,
    num_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> list[Interval]:
    """Percentile bootstrap intervals of several metrics from the same resamples.

    Trials that share a speaker are not independent, so where the speakers of both sides are known
    they are what is drawn: if ``m_s`` is how often speaker s was drawn, a trial of speakers s and t
    weighs ``m_s m_t``, and a trial within a speaker ``m_s`` (two copies of one speaker are not
    compared with each other). Without speakers the trials of each class are drawn, which is honest
    only when no speaker appears twice.

    Args:
        scores: Score of each trial, shape (trials,).
        is_target: True for target trials, shape (trials,).
        metrics: Metrics, or names of them with the default operating point.
        speakers: Speaker of the enrolment side and of the test side of each trial, each of shape
            (trials,); None resamples trials.
        num_resamples: Number of resamples.
        confidence: Probability that an interval aims to cover, in (0, 1).
        seed: Seed of the resamples.
        progress: Called with the number of resamples done since the last call.

    Returns:
        One interval per metric, in their order.

    Raises:
        ShapeError: If the arrays differ in length.
        DataError: If a score is NaN, a class has no trial, or there are too few speakers.
        ConfigError: If an argument is out of range.

    References:
        Poh and Bengio 2007, "Estimating the confidence interval of expected performance curve in
        biometric authentication using joint bootstrap"; Owen 2007, "The pigeonhole bootstrap".
    """  # noqa: DOC502 (raised by the shared checks)
    wanted = [metric if isinstance(metric, Metric) else Metric(name=metric) for metric in metrics]
    _check_arguments(num_resamples, confidence)
    values = check_scores(scores)
    labels = check_labels(is_target, len(values))
    classes = SortedScores.split(values, labels)
    cells = _cells(labels, speakers)
    table = TrialTable.build(values, labels, cells)
    parts = []
    for weights in _weights(cells, num_resamples, [table], seed):
        resamples = table.resample(*weights)
        parts.append([metric.of_resamples(resamples) for metric in wanted])
        if progress is not None:
            progress(resamples.size)
    draws = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return [
        Interval(metric.of(classes), *_percentiles(draw, confidence))
        for metric, draw in zip(wanted, draws, strict=True)
    ]


def paired_bootstrap(
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    is_target: ArrayLike,
    metric: MetricName | Metric = "eer",
    *,
    speakers: Speakers | None = None,
    num_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> PairedComparison:
    """Compare two systems on the same trials with the same resamples.

    Both systems see the same easy and hard speakers, so the interval of their difference is much
    narrower than two separate intervals suggest. Several runs of a system (seeds) may be given as
    rows: the metric is computed per run and averaged. The resamples cover the choice of speakers,
    not that of the seeds.

    Args:
        scores_a: Scores of system A, shape (trials,) or (runs, trials).
        scores_b: Scores of system B on the same trials, shape (trials,) or (runs, trials).
        is_target: True for target trials, shape (trials,).
        metric: A metric, or its name with the default operating point.
        speakers: Speaker of the enrolment side and of the test side of each trial, each of shape
            (trials,); None resamples trials. See `bootstrap_cis`.
        num_resamples: Number of resamples.
        confidence: Probability that the interval aims to cover, in (0, 1).
        seed: Seed of the resamples.
        progress: Called with the number of resamples done since the last call.

    Returns:
        Both figures, their difference ``b - a``, its percentile interval and a two-sided p-value:
        twice the smaller share of resamples on either side of zero.

    Raises:
        ShapeError: If the arrays differ in length.
        DataError: If a score is NaN, a class has no trial, or there are too few speakers.
        ConfigError: If an argument is out of range.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> labels = np.repeat([True, False], [100, 1000])
        >>> good = rng.normal(3.0 * labels)
        >>> poor = good + rng.normal(size=1100)
        >>> result = paired_bootstrap(poor, good, labels, num_resamples=200)
        >>> result.difference < 0 and result.p_value < 0.05
        True
    """  # noqa: DOC502 (raised by the shared checks)
    wanted = metric if isinstance(metric, Metric) else Metric(name=metric)
    _check_arguments(num_resamples, confidence)
    systems = [
        [check_scores(run) for run in np.atleast_2d(system)] for system in (scores_a, scores_b)
    ]
    labels = check_labels(is_target, len(systems[0][0]))
    figures = [
        float(np.mean([wanted.of(SortedScores.split(run, labels)) for run in runs]))
        for runs in systems
    ]
    cells = _cells(labels, speakers)
    tables = [[TrialTable.build(run, labels, cells) for run in runs] for runs in systems]
    parts = []
    for weights in _weights(cells, num_resamples, [*tables[0], *tables[1]], seed):
        values = [
            np.mean([wanted.of_resamples(table.resample(*weights)) for table in runs], axis=0)
            for runs in tables
        ]
        parts.append(values[1] - values[0])
        if progress is not None:
            progress(len(values[0]))
    draws = np.concatenate(parts)
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return PairedComparison(
        figures[0],
        figures[1],
        figures[1] - figures[0],
        *_percentiles(draws, confidence),
        min(1.0, 2.0 * (tail + 1) / (num_resamples + 1)),
    )


def _check_arguments(num_resamples: int, confidence: float) -> None:
    if num_resamples < 1:
        msg = f"num_resamples needs a positive number, got {num_resamples}; 1000 is usual"
        raise ConfigError(msg)
    if not 0.0 < confidence < 1.0:
        msg = f"confidence needs a probability between 0 and 1, got {confidence}; 0.95 is usual"
        raise ConfigError(msg)


def _cells(labels: NDArray[np.bool_], speakers: Speakers | None) -> Cells:
    """What is resampled.

    Args:
        labels: True for target trials, shape (trials,).
        speakers: Speakers of both sides, or None for trials.

    Returns:
        The cells.

    Raises:
        DataError: If there are fewer than `MIN_SPEAKERS` speakers.
    """
    if speakers is None:
        return trial_cells(labels)
    cells = speaker_cells(labels, np.asarray(speakers[0]), np.asarray(speakers[1]))
    if cells.num_units < MIN_SPEAKERS:
        msg = (
            f"the speaker bootstrap needs at least {MIN_SPEAKERS} speakers, got "
            f"{cells.num_units}; add speakers, or resample trials"
        )
        raise DataError(msg)
    return cells


def _weights(
    cells: Cells, num_resamples: int, tables: Sequence[TrialTable], seed: int
) -> Iterator[tuple[Floats, Floats]]:
    """Blocks of cell weights, as many resamples at a time as about 2^22 numbers allow."""
    rng = np.random.default_rng(seed)
    width = max(cells.size, *(table.num_bins for table in tables))
    block = max(1, min(64, 2**22 // width))
    for start in range(0, num_resamples, block):
        yield _usable(cells, rng, min(block, num_resamples - start))


def _usable(cells: Cells, rng: np.random.Generator, size: int) -> tuple[Floats, Floats]:
    """Weights under which both classes have a trial; a draw of few speakers can lose one.

    Each class needs only the speakers of one of its trials, so this ends.
    """
    target, nontarget = cells.draw(rng, size)
    while True:
        lost = np.flatnonzero(~(target.any(axis=0) & nontarget.any(axis=0)))
        if not len(lost):
            return target, nontarget
        target[:, lost], nontarget[:, lost] = cells.draw(rng, len(lost))


def _percentiles(draws: NDArray[Any], confidence: float) -> tuple[float, float]:
    low, high = np.quantile(draws, [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0])
    return float(low), float(high)
