"""Confidence intervals of the metrics, and the paired comparison of two systems, by bootstrap.

Exact: the metrics of a resample are those of the weighted trials, not of a histogram of them. It
is fast because only two things about a trial matter: between which target scores it lies (its
bin, see `bin_index`), and whose speakers it compares (its cell). A sparse table counts nontarget
trials per bin and cell once; the counts per bin of many resamples are then one matrix product
with the weights of the cells.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bbb.errors import ConfigError
from bbb.scoring._draws import Speakers, resampled
from bbb.scoring._sorted import check_scores
from bbb.scoring.metric import Metric, MetricName


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
    wanted = [Metric.of_name(metric) for metric in metrics]
    figures, draws = resampled(
        [check_scores(scores)],
        is_target,
        wanted,
        speakers=speakers,
        num_resamples=num_resamples,
        seed=seed,
        progress=progress,
    )
    return [
        Interval(figure, *_percentiles(draw, confidence))
        for figure, draw in zip(figures[0].tolist(), draws[0], strict=True)
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
        >>> paired_bootstrap(poor, good, labels, num_resamples=200).p_value < 0.05
        True
    """  # noqa: DOC502 (raised by the shared checks)
    return paired_bootstraps(
        scores_a,
        scores_b,
        is_target,
        [metric],
        speakers=speakers,
        num_resamples=num_resamples,
        confidence=confidence,
        seed=seed,
        progress=progress,
    )[0]


def paired_bootstraps(
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    is_target: ArrayLike,
    metrics: Sequence[MetricName | Metric],
    *,
    speakers: Speakers | None = None,
    num_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> list[PairedComparison]:
    """Compare two systems by several metrics on the same resamples; see `paired_bootstrap`.

    Args:
        scores_a: Scores of system A, shape (trials,) or (runs, trials).
        scores_b: Scores of system B on the same trials, shape (trials,) or (runs, trials).
        is_target: True for target trials, shape (trials,).
        metrics: Metrics, or names of them with the default operating point.
        speakers: Speakers of both sides, each of shape (trials,); None resamples trials.
        num_resamples: Number of resamples.
        confidence: Probability that an interval aims to cover, in (0, 1).
        seed: Seed of the resamples.
        progress: Called with the number of resamples done since the last call.

    Returns:
        One comparison per metric, in their order.

    Raises:
        ShapeError: If the arrays differ in length.
        DataError: If a score is NaN, a class has no trial, or there are too few speakers.
        ConfigError: If an argument is out of range.
    """  # noqa: DOC502 (raised by the shared checks)
    wanted = [Metric.of_name(metric) for metric in metrics]
    figures, draws = resampled(
        (scores_a, scores_b),
        is_target,
        wanted,
        speakers=speakers,
        num_resamples=num_resamples,
        seed=seed,
        progress=progress,
    )
    results = []
    differences = _difference(*figures).tolist(), _difference(*draws)
    for (a, b), difference, draw in zip(figures.T.tolist(), *differences, strict=True):
        tail = min(int((draw <= 0).sum()), int((draw >= 0).sum()))
        p_value = min(1.0, 2.0 * (tail + 1) / (num_resamples + 1))
        ends = _percentiles(draw, confidence)
        results.append(PairedComparison(a, b, difference, *ends, p_value))
    return results


def _difference(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """What B has more than A; nothing where both are infinite."""
    with np.errstate(invalid="ignore"):
        return np.where(a == b, 0.0, b - a)


def _percentiles(draws: NDArray[Any], confidence: float) -> tuple[float, float]:
    """Ends of the interval.

    Args:
        draws: Figures of the resamples, shape (resamples,).
        confidence: Probability that the interval aims to cover.

    Returns:
        Lower and upper end.

    Raises:
        ConfigError: If the confidence is no probability.
    """
    if not 0.0 < confidence < 1.0:
        msg = f"confidence needs a probability between 0 and 1, got {confidence}; 0.95 is usual"
        raise ConfigError(msg)
    ends = [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0]
    # There is no point between a number and infinity.
    method: Any = "linear" if np.isfinite(draws).all() else "nearest"
    low, high = np.quantile(draws, ends, method=method)
    return float(low), float(high)
