"""All figures of one score list at once, in the form that ``bbb evaluate --json`` writes."""

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import ArrayLike

from bbb.scoring._sorted import SortedScores


def evaluate(
    scores: ArrayLike,
    is_target: ArrayLike,
    p_target: Sequence[float] = (0.01, 0.001),
    *,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
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
        p_target: Priors of the operating points.
        c_miss: Cost of a miss.
        c_fa: Cost of a false alarm.
        num_resamples: Resamples for the confidence intervals; 0 leaves them out.
        speakers: Speaker of the enrolment side and of the test side of each trial, each of shape
            (trials,), to resample speakers; None resamples trials.
        confidence: Probability that an interval aims to cover.
        seed: Seed of the resamples.
        progress: Called with the number of resamples done since the last call.

    Returns:
        ``num_target``, ``num_nontarget``, ``eer`` (fraction), ``min_dcf`` and ``act_dcf`` (by
        ``p_target`` as text, normalised), ``cllr`` and ``min_cllr`` (bits). With intervals also
        ``eer_ci`` and so on, each a pair ``[low, high]``, and ``bootstrap``, which says how they
        came about.

    Raises:
        ShapeError: If the arrays differ in length.
        DataError: If a score is NaN, a class has no trial, or there are too few speakers.
        ConfigError: If an argument is out of range.

    Example:
        >>> report = evaluate([3.0, 1.0, -1.0, 2.0], [True, True, False, False], [0.01])
        >>> report["eer"], report["min_dcf"]
        (0.5, {'0.01': 0.5})
    """  # noqa: DOC502 (raised by the shared checks)
    classes = SortedScores.split(scores, is_target)
    points = {f"{prior:.12g}": float(prior) for prior in p_target}
    report: dict[str, Any] = {
        "num_target": len(classes.target),
        "num_nontarget": len(classes.nontarget),
        "eer": classes.equal_error_rate(),
        "min_dcf": {key: classes.min_dcf(p, c_miss, c_fa) for key, p in points.items()},
        "act_dcf": {key: classes.act_dcf(p, c_miss, c_fa) for key, p in points.items()},
        "cllr": classes.cllr(),
        "min_cllr": classes.min_cllr(),
    }
    if not num_resamples:
        return report
    from bbb.scoring.bootstrap import Metric, bootstrap_cis  # noqa: PLC0415 (needs SciPy)

    wanted = {(name, ""): Metric(name=name) for name in ("eer", "cllr", "min_cllr")}
    for name in ("min_dcf", "act_dcf"):
        for key, prior in points.items():
            wanted[name, key] = Metric(name=name, p_target=prior, c_miss=c_miss, c_fa=c_fa)
    intervals = bootstrap_cis(
        scores,
        is_target,
        list(wanted.values()),
        speakers=speakers,
        num_resamples=num_resamples,
        confidence=confidence,
        seed=seed,
        progress=progress,
    )
    for (name, key), interval in zip(wanted, intervals, strict=True):
        pair = [interval.low, interval.high]
        if key:
            report.setdefault(f"{name}_ci", {})[key] = pair
        else:
            report[f"{name}_ci"] = pair
    report["bootstrap"] = {
        "unit": "trial" if speakers is None else "speaker",
        "num_resamples": num_resamples,
        "confidence": confidence,
        "seed": seed,
    }
    return report
