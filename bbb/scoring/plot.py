"""Pictures of scores: DET curves on probit axes, where Gaussian scores are straight; histograms."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bbb.plotting import Target, axes_at
from bbb.scoring._sorted import SortedScores
from bbb.scoring.metrics import det_curve
from bbb.scoring.points import OperatingPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TICKS = (0.0001, 0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.98)
MARKS = {"min-DCF": "s", "act-DCF": "x"}
NUM_BINS = 100
DOTS = 500.0  # per unit of a probit axis: finer than a picture


def plot_det(
    systems: Mapping[str, tuple[ArrayLike, ArrayLike]],
    path: Target,
    *,
    title: str = "",
    points: Sequence[float | str | OperatingPoint] = (),
) -> None:
    """Draw the DET curves of some systems into one picture, with their EER marked.

    Args:
        systems: Scores (trials,) and ``is_target`` (trials,) by the name for the legend.
        path: A ``.png``, ``.pdf`` or ``.svg`` file, written in one atomic step, or matplotlib's
            axes.
        title: Line above the picture.
        points: Operating points to mark on each curve: a square where the cost is lowest, a cross
            at the Bayes threshold. The further they are apart, the worse the calibration.

    Raises:
        ConfigError: If the suffix is another one, or an operating point is out of range.
        ShapeError: If a system's arrays differ in length.
        DataError: If a score is NaN, or one class has no trial.
    """  # noqa: DOC502 (raised by the shared checks)
    wanted = [OperatingPoint.of(point) for point in points]
    with axes_at(path, "a DET plot", size=(5.5, 5.5)) as axes:
        shown = []
        for name, (scores, is_target) in systems.items():
            curve = det_curve(scores, is_target)
            classes = SortedScores.split(scores, is_target)
            eer = classes.equal_error_rate()
            corners = _thinned(_probit(curve.fpr), _probit(curve.fnr))
            (line,) = axes.plot(*corners, label=f"{_plain(name)}: EER {eer:.2%}")
            axes.plot(_probit(eer), _probit(eer), "o", color=line.get_color(), markersize=4)
            shown += [eer, eer / 15.0, 2.0 * eer]
            for point in wanted:
                best = classes.best_point(*point.costs)[1]
                for threshold, mark in zip((best, point.threshold), MARKS.values(), strict=True):
                    misses, accepted = classes.errors_at(threshold)
                    rates = accepted / classes.num_nontarget, misses / classes.num_target
                    axes.plot(*map(_probit, rates), mark, color=line.get_color(), markersize=6)
                    shown += rates
        if wanted:
            text = ", ".join(map(str, wanted))
            for name, mark in MARKS.items():
                axes.plot([], [], mark, color="0.3", label=f"{name} ({text})")
        _probit_axes(axes, shown)
        axes.set_title(title)


def plot_scores(
    scores: ArrayLike,
    is_target: ArrayLike,
    path: Target,
    *,
    title: str = "",
    points: Sequence[float | str | OperatingPoint] = (),
) -> None:
    """Draw the histograms of both classes, and the thresholds of the EER and of some costs.

    Each class has area 1, whatever its size. Outliers are counted into the outermost bins, so that
    they do not squeeze the rest.

    Args:
        scores: Score of each trial, shape (trials,).
        is_target: True for target trials, shape (trials,).
        path: A ``.png``, ``.pdf`` or ``.svg`` file, written in one atomic step, or matplotlib's
            axes.
        title: Line above the picture.
        points: Operating points whose min-DCF thresholds are drawn.

    Raises:
        ConfigError: If the suffix is another one, or an operating point is out of range.
        ShapeError: If the arrays differ in length.
        DataError: If a score is NaN, or one class has no trial.
    """  # noqa: DOC502 (raised by the shared checks)
    classes = SortedScores.split(scores, is_target)
    thresholds = {"EER": classes.eer_point()[1]}
    for value in points:
        point = OperatingPoint.of(value)
        thresholds[f"min-DCF ({point})"] = classes.best_point(*point.costs)[1]
    edges = _bin_edges(classes)
    with axes_at(path, "a histogram") as axes:
        for name, part in (("nontarget", classes.nontarget), ("target", classes.target)):
            inside = np.clip(part, edges[0], edges[-1])
            counts = np.histogram(inside, edges)[0] / len(part) / (edges[1] - edges[0])
            axes.stairs(counts, edges, fill=True, alpha=0.5, label=f"{len(part)} {name}")
        for number, (name, threshold) in enumerate(thresholds.items()):
            if np.isfinite(threshold):
                style = ("-", "--", "-.", ":")[number % 4]
                label = f"{name} at {threshold:.4g}"
                axes.axvline(threshold, color="0.2", linestyle=style, linewidth=1.0, label=label)
        axes.set(xlabel="score", ylabel="density", title=title)
        axes.margins(y=0.4)
        axes.legend(loc="upper left", fontsize="small", ncols=2)


def _plain(name: str) -> str:
    """A name such as a path, of which matplotlib would hide some and take others for formulas."""
    return f"{' ' * name.startswith('_')}{name}".replace("$", r"\$")


def _bin_edges(classes: SortedScores) -> NDArray[np.float64]:
    """Equal bins over the inner 99 % of each class and a quarter more, or all scores if less."""
    parts = [part[np.isfinite(part)] for part in (classes.target, classes.nontarget)]
    ends = [np.quantile(part, [0.005, 0.995]) for part in parts if len(part)] or [np.zeros(2)]
    low, high = float(np.min(ends)), float(np.max(ends))
    margin = (high - low) / 4.0
    everything = np.concatenate((*parts, [low, high]))
    low, high = max(low - margin, everything.min()), min(high + margin, everything.max())
    return np.linspace(low, high if high > low else low + 1.0, NUM_BINS + 1)


def _probit(rate: ArrayLike) -> NDArray[np.float64]:
    """Rates of 0 and 1 have no place on a probit axis; the curve leaves the picture there."""
    from scipy.special import ndtri  # noqa: PLC0415 (slow to import)

    return np.asarray(ndtri(np.clip(rate, 1e-7, 1.0 - 1e-7)), np.float64)


def _thinned(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The points of a curve that fall on different dots of a fine picture, and its ends."""
    dots = np.round(np.stack((x, y)) * DOTS)
    moved = (np.diff(dots) != 0.0).any(axis=0)
    # Both ends of a jump are corners.
    kept = np.concatenate(([True], moved)) | np.concatenate((moved, [True]))
    return x[kept], y[kept]


def _probit_axes(axes: "Axes", shown: Sequence[float]) -> None:
    """Ticks in percent, on both axes from half the lowest rate to show to above the highest."""
    low = float(np.clip(min(shown) / 2.0, TICKS[0], 0.01))
    limits = _probit([low, np.clip(1.1 * max(shown), 0.5, 0.99)])
    ticks = [tick for tick in TICKS if low <= tick]
    labels = [f"{100 * tick:g}" for tick in ticks]
    axes.set_xticks(_probit(ticks), labels)
    axes.set_yticks(_probit(ticks), labels)
    axes.axline((0.0, 0.0), slope=1.0, color="0.8", linewidth=0.8, zorder=0)
    axes.set(
        xlim=limits,
        ylim=limits,
        xlabel="false alarms, % of nontarget trials",
        ylabel="misses, % of target trials",
        aspect="equal",
    )
    axes.grid(visible=True, linewidth=0.4, alpha=0.6)
    axes.legend(loc="upper right", fontsize="small")
