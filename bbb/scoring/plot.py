"""DET curves on probit axes, where Gaussian scores give straight lines."""

import os
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from bbb._plot import axes_at
from bbb.scoring.metrics import det_curve, equal_error_rate

TICKS = (0.0001, 0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.98)
HALF = 0.4


def plot_det(
    systems: Mapping[str, tuple[ArrayLike, ArrayLike]],
    path: str | os.PathLike[str],
    *,
    title: str = "",
) -> None:
    """Draw the DET curves of some systems into one picture, with their EER marked.

    Args:
        systems: Scores (trials,) and ``is_target`` (trials,) by the name for the legend.
        path: A ``.png``, ``.pdf`` or ``.svg`` file, written in one atomic step.
        title: Line above the picture.

    Raises:
        ConfigError: If the suffix is another one.
        ShapeError: If a system's arrays differ in length.
        DataError: If a score is NaN, or one class has no trial.
    """  # noqa: DOC502 (raised by the shared checks)
    with axes_at(path, "a DET plot", size=(5.5, 5.5)) as axes:
        from scipy.special import ndtri  # noqa: PLC0415 (slow to import)

        eers = []
        for name, (scores, is_target) in systems.items():
            fnr, fpr, _ = det_curve(scores, is_target)
            eer = equal_error_rate(scores, is_target)
            eers.append(eer)
            # Rates of 0 and 1 have no place on a probit axis; the curve leaves the picture there.
            x, y = (ndtri(np.clip(rate, 1e-7, 1.0 - 1e-7)) for rate in (fpr, fnr))
            (line,) = axes.plot(x, y, label=f"{name}: EER {eer:.2%}")
            centre = float(ndtri(np.clip(eer, 1e-7, 1.0 - 1e-7)))
            axes.plot(centre, centre, "o", color=line.get_color(), markersize=4)
        # Room for the best system's curve, and up to chance for a poor one.
        low = float(np.clip(min(eers) / 30.0, TICKS[0], 0.01))
        limits = ndtri([low, 0.5 if max(eers) < HALF else 0.99])
        ticks = [tick for tick in TICKS if low <= tick]
        labels = [f"{100 * tick:g}" for tick in ticks]
        axes.set_xticks(ndtri(ticks), labels)
        axes.set_yticks(ndtri(ticks), labels)
        axes.axline((0.0, 0.0), slope=1.0, color="0.8", linewidth=0.8, zorder=0)
        axes.set(
            xlim=limits,
            ylim=limits,
            xlabel="false alarms, % of nontarget trials",
            ylabel="misses, % of target trials",
            title=title,
            aspect="equal",
        )
        axes.grid(visible=True, linewidth=0.4, alpha=0.6)
        axes.legend(loc="lower left")
