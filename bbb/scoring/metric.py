"""A figure of merit as a value: its name and operating points."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bbb.errors import ConfigError
from bbb.scoring._sorted import SortedScores
from bbb.scoring.points import OperatingPoint, preset_points

if TYPE_CHECKING:
    from bbb.scoring._resample import Resamples
    from bbb.scoring.det_counts import DetCounts

Key = tuple[str, str]  # of a report: name, and operating point or ""
MetricName = Literal["eer", "min_dcf", "act_dcf", "cllr", "min_cllr"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A figure of merit with its operating point.

    Attributes:
        name: One of "eer", "min_dcf", "act_dcf", "cllr" and "min_cllr".
        p_target: Prior probability of a target trial; only the two costs use it.
        c_miss: Cost of a miss.
        c_fa: Cost of a false alarm.
        preset: Name of an evaluation, whose operating points then replace that one; the figure is
            the mean over them (see `preset_points`).

    Raises:
        ConfigError: If a name is unknown, or the operating point is out of range.
    """

    name: MetricName = "eer"
    p_target: float = 0.01
    c_miss: float = 1.0
    c_fa: float = 1.0
    preset: str = ""

    def __post_init__(self) -> None:
        if self.name not in get_args(MetricName):
            known = ", ".join(get_args(MetricName))
            msg = f"metric needs one of {known}, got '{self.name}'"
            raise ConfigError(msg)
        self.points  # noqa: B018 (checks them)

    @staticmethod
    def of_name(metric: "MetricName | Metric") -> "Metric":
        """The metric itself, or the one of a name at the default operating point."""
        return metric if isinstance(metric, Metric) else Metric(name=metric)

    @property
    def points(self) -> tuple[OperatingPoint, ...]:
        """The operating points over which the two costs are averaged."""
        if self.preset:
            return preset_points(self.preset)
        return (OperatingPoint(self.p_target, self.c_miss, self.c_fa),)

    def __call__(self, scores: ArrayLike, is_target: ArrayLike) -> float:
        """Value on one list of trials; `SortedScores.split` says what it refuses."""
        return self.of(SortedScores.split(scores, is_target))

    def of(self, figures: "SortedScores | DetCounts") -> float:
        """Value on trials that are sorted or counted already."""
        return float(self._of(figures))

    def of_resamples(self, resamples: "Resamples") -> NDArray[np.float64]:
        """Value on each of some resamples, shape (resamples,)."""
        return np.asarray(self._of(resamples), np.float64)

    def _of(self, figures: "SortedScores | DetCounts | Resamples") -> Any:  # noqa: ANN401 (one or more)
        """The value by the method of this name."""
        if self.name in {"min_dcf", "act_dcf"}:
            cost: Any = figures.min_dcf if self.name == "min_dcf" else figures.act_dcf
            return np.mean([cost(*point.costs) for point in self.points], axis=0)
        if self.name == "eer":
            return figures.equal_error_rate()
        return figures.cllr() if self.name == "cllr" else figures.min_cllr()


def report_metrics(
    p_target: Sequence[float | str | OperatingPoint], c_miss: float, c_fa: float, preset: str
) -> dict[Key, Metric]:
    """What a report holds.

    Args:
        p_target: Operating points.
        c_miss: Cost of a miss where only a prior is given.
        c_fa: Cost of a false alarm, likewise.
        preset: Name of an evaluation whose points replace them, or "".

    Returns:
        Metric by its key in the report, and by its operating point's (or "").

    Raises:
        ConfigError: If a point is out of range, or two have the same name.
    """
    points: dict[str, OperatingPoint] = {}
    for value in preset_points(preset) if preset else p_target:
        point = OperatingPoint.of(value, c_miss, c_fa)
        # The costs that all priors share are not part of a prior's name.
        name = f"{value:.12g}" if isinstance(value, float) else str(point)
        if points.setdefault(name, point) != point:
            msg = f"operating points need distinct names, got '{name}' twice; write out the costs"
            raise ConfigError(msg)
    metrics: dict[Key, Metric] = {("eer", ""): Metric(name="eer")}
    for cost in ("min_dcf", "act_dcf"):
        for name, point in points.items():
            p, miss, fa = point.costs
            metrics[cost, name] = Metric(name=cost, p_target=p, c_miss=miss, c_fa=fa)
        if preset and len(points) > 1:
            metrics[f"{cost}_mean", ""] = Metric(name=cost, preset=preset)
    return metrics | {(name, ""): Metric(name=name) for name in ("cllr", "min_cllr")}


def nested(values: Mapping[Key, Any]) -> dict[str, Any]:
    """The values by key, those of operating points one level deeper."""
    report: dict[str, Any] = {}
    for (name, point), value in values.items():
        if point:
            report.setdefault(name, {})[point] = value
        else:
            report[name] = value
    return report
