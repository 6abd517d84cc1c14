"""All figures of one score list at once, in the form that ``bbb evaluate --json`` writes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bbb.errors import ShapeError
from bbb.scoring._sorted import SortedScores, check_labels, check_numbers, check_scores
from bbb.scoring.det_counts import DetCounts
from bbb.scoring.metric import Key, Metric, nested, report_metrics
from bbb.scoring.points import OperatingPoint


def evaluate(
    scores: ArrayLike,
    is_target: ArrayLike,
    p_target: Sequence[float | str | OperatingPoint] = (0.01, 0.001),
    *,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
    preset: str = "",
    num_resamples: int = 0,
    speakers: tuple[ArrayLike, ArrayLike] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """EER, costs and Cllr of a score list, with intervals where asked.

    Args:
        scores: Score of each trial, shape (trials,).
        is_target: True for target trials, shape (trials,).
        p_target: Operating points: priors, texts ``p_target:c_miss:c_fa``, or points.
        c_miss: Cost of a miss where only a prior is given.
        c_fa: Cost of a false alarm, likewise.
        preset: Name of an evaluation whose points replace them, see `preset_points`.
        num_resamples: Resamples for the confidence intervals; 0 leaves them out.
        speakers: Speaker of the enrolment side and of the test side of each trial, each of shape
            (trials,), to resample speakers; None resamples trials.
        confidence: Probability that an interval aims to cover.
        seed: Seed of the resamples.
        progress: Called with the number of resamples done since the last call.

    Returns:
        ``num_target``, ``num_nontarget``, ``eer`` (fraction), ``min_dcf`` and ``act_dcf`` (by
        operating point as text, normalised), ``cllr`` and ``min_cllr`` (bits); for a preset of
        several points also ``min_dcf_mean`` and ``act_dcf_mean``. With intervals also ``eer_ci``
        and so on, each a pair ``[low, high]``, and ``bootstrap``, which says how they came about.

    Raises:
        ShapeError: If the arrays differ in length.
        DataError: If a score is NaN, a class has no trial, or there are too few speakers.
        ConfigError: If an argument is out of range.

    Example:
        >>> report = evaluate([3.0, 1.0, -1.0, 2.0], [True, True, False, False], [0.01])
        >>> report["eer"], report["min_dcf"]
        (0.5, {'0.01': 0.5})
    """  # noqa: DOC502 (raised by the shared checks)
    metrics = report_metrics(p_target, c_miss, c_fa, preset)
    report = _figures(SortedScores.split(scores, is_target), metrics)
    if num_resamples:
        options: dict[str, Any] = {
            "num_resamples": num_resamples,
            "confidence": confidence,
            "seed": seed,
        }
        report |= _intervals(
            scores, is_target, metrics, speakers=speakers, progress=progress, **options
        )
    return report


def evaluate_by(
    scores: ArrayLike,
    is_target: ArrayLike,
    conditions: ArrayLike,
    p_target: Sequence[float | str | OperatingPoint] = (0.01, 0.001),
    *,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
    preset: str = "",
) -> dict[str, dict[str, Any]]:
    """The report of `evaluate` for each condition, such as the gender or the channel.

    Args:
        scores: Score of each trial, shape (trials,).
        is_target: True for target trials, shape (trials,).
        conditions: Name of each trial's condition, any sortable type, shape (trials,).
        p_target: Operating points, as for `evaluate`.
        c_miss: Cost of a miss where only a prior is given.
        c_fa: Cost of a false alarm, likewise.
        preset: Name of an evaluation whose points replace them.

    Returns:
        Report by condition, in sorted order; only the two counts where a class has no trial, as
        for trials between genders.

    Raises:
        ShapeError: If the arrays differ in length.
        DataError: If a score is NaN.
        ConfigError: If an operating point is out of range.

    Example:
        >>> scores, labels = [3.0, 1.0, 2.0, -1.0, 0.0], [True, False, True, False, False]
        >>> reports = evaluate_by(scores, labels, ["f", "f", "m", "m", "x"])
        >>> reports["m"]["eer"], reports["x"]
        (0.0, {'num_target': 0, 'num_nontarget': 1})
    """  # noqa: DOC502 (raised by the shared checks)
    values = check_scores(scores)
    check_numbers(values)
    labels = check_labels(is_target, len(values))
    names, codes = np.unique(np.asarray(conditions), return_inverse=True)
    if codes.shape != labels.shape:
        msg = f"conditions need shape {labels.shape}, got {codes.shape}; name one for each trial"
        raise ShapeError(msg)
    metrics = report_metrics(p_target, c_miss, c_fa, preset)
    reports = {}
    for code, name in enumerate(names.tolist()):
        chosen = codes == code
        targets = int(labels[chosen].sum())
        counts = {"num_target": targets, "num_nontarget": int(chosen.sum()) - targets}
        if all(counts.values()):
            counts = _figures(SortedScores.split(values[chosen], labels[chosen]), metrics)
        reports[str(name)] = counts
    return reports


def evaluate_blocks(
    blocks: Callable[[], Iterable[tuple[ArrayLike, ArrayLike]]],
    p_target: Sequence[float | str | OperatingPoint] = (0.01, 0.001),
    *,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
    preset: str = "",
) -> dict[str, Any]:
    """The same report, exact, of more scores than memory holds; see `DetCounts`.

    Args:
        blocks: Called twice; gives pairs of scores (trials,) and ``is_target`` (trials,), as
            ``lambda: iter_scores(path)`` does.
        p_target: Operating points, as for `evaluate`.
        c_miss: Cost of a miss where only a prior is given.
        c_fa: Cost of a false alarm, likewise.
        preset: Name of an evaluation whose points replace them.

    Returns:
        What `evaluate` returns.

    Raises:
        ShapeError: If a block's arrays differ in length.
        DataError: If a score is NaN, or a class has no trial.
        ConfigError: If an operating point is out of range.
    """  # noqa: DOC502 (raised by the shared checks)
    metrics = report_metrics(p_target, c_miss, c_fa, preset)
    points = [point for metric in metrics.values() for point in metric.points]
    return _figures(DetCounts.of_blocks(blocks, points=points), metrics)


def evaluate_counts(
    counts: DetCounts, p_target: Sequence[float | str | OperatingPoint] = (0.01, 0.001)
) -> dict[str, Any]:
    """The same report of counts, such as those of `count_all_pairs`.

    Args:
        counts: Made with these operating points.
        p_target: Operating points, as for `evaluate`.

    Returns:
        What `evaluate` returns.

    Raises:
        DataError: If there is no nontarget trial.
        ConfigError: If the counts were made without one of the points.
    """  # noqa: DOC502 (raised by the counts)
    return _figures(counts, report_metrics(p_target, 1.0, 1.0, ""))


def compare(
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    is_target: ArrayLike,
    p_target: Sequence[float | str | OperatingPoint] = (0.01, 0.001),
    *,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
    preset: str = "",
    num_resamples: int = 1000,
    speakers: tuple[ArrayLike, ArrayLike] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Every figure of `evaluate` for two systems, with the difference; see `paired_bootstrap`.

    Args:
        scores_a: Scores of system A, shape (trials,) or (runs, trials).
        scores_b: Scores of system B on the same trials, likewise.
        is_target: True for target trials, shape (trials,).
        p_target: Operating points, as for `evaluate`.
        c_miss: Cost of a miss where only a prior is given.
        c_fa: Cost of a false alarm, likewise.
        preset: Name of an evaluation whose points replace them.
        num_resamples: Number of resamples.
        speakers: Speakers of both sides, each of shape (trials,); None resamples trials.
        confidence: Probability that an interval aims to cover.
        seed: Seed of the resamples.
        progress: Called with the number of resamples done since the last call.

    Returns:
        The fields of `PairedComparison` under the keys of `evaluate`, and ``bootstrap``.

    Raises:
        ShapeError: If the arrays differ in length.
        DataError: If a score is NaN, a class has no trial, or there are too few speakers.
        ConfigError: If an argument is out of range.
    """  # noqa: DOC502 (raised by the shared checks)
    from bbb.scoring.bootstrap import paired_bootstraps  # noqa: PLC0415 (needs SciPy)

    metrics = report_metrics(p_target, c_miss, c_fa, preset)
    options: dict[str, Any] = {
        "num_resamples": num_resamples,
        "confidence": confidence,
        "seed": seed,
    }
    results = paired_bootstraps(
        scores_a,
        scores_b,
        is_target,
        [*metrics.values()],
        speakers=speakers,
        progress=progress,
        **options,
    )
    figures = {key: asdict(result) for key, result in zip(metrics, results, strict=True)}
    return nested(figures) | _bootstrap(speakers, options)


def _figures(classes: SortedScores | DetCounts, metrics: Mapping[Key, Metric]) -> dict[str, Any]:
    """The report without intervals."""
    counts = {"num_target": classes.num_target, "num_nontarget": classes.num_nontarget}
    return counts | nested({key: metric.of(classes) for key, metric in metrics.items()})


def _intervals(
    scores: ArrayLike,
    is_target: ArrayLike,
    metrics: Mapping[Key, Metric],
    *,
    speakers: tuple[ArrayLike, ArrayLike] | None,
    progress: Callable[[int], None] | None,
    **options: Any,  # noqa: ANN401 (numbers)
) -> dict[str, Any]:
    """The part of a report that the bootstrap adds."""
    from bbb.scoring.bootstrap import bootstrap_cis  # noqa: PLC0415 (needs SciPy)

    intervals = bootstrap_cis(
        scores, is_target, [*metrics.values()], speakers=speakers, progress=progress, **options
    )
    pairs = {
        (f"{name}_ci", point): [interval.low, interval.high]
        for (name, point), interval in zip(metrics, intervals, strict=True)
    }
    return nested(pairs) | _bootstrap(speakers, options)


def _bootstrap(speakers: object, options: Mapping[str, Any]) -> dict[str, Any]:
    """How the intervals of a report came about."""
    return {"bootstrap": {"unit": "trial" if speakers is None else "speaker", **options}}
