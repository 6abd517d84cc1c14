"""Pictures of what corruption does."""

from pathlib import Path
from typing import Any

import numpy as np

from bbb.plotting import axes_at
from recipes.mnist.corruptions import LEVELS

XLABELS = {"rotation": "rotation, degrees", "noise": "noise, standard deviation in grey values"}
YLABELS = {
    "error": "error, %",
    "ece": "expected calibration error, %",
    "entropy": "entropy of the prediction, nats",
    "mutual information": "mutual information, nats",
}


def draw(found: dict[str, list[dict[str, Any]]], folder: Path) -> None:
    """Draw every measure over the level of each corruption: mean and range of the seeds.

    Args:
        found: For each net and seed "levels", with every measure at every level.
        folder: Where ood_KIND_MEASURE.png go.
    """
    for kind, levels in LEVELS.items():
        for measure, label in YLABELS.items():
            name = f"ood_{kind}_{measure.replace(' ', '_')}.png"
            with axes_at(folder / name, "ood.py", (6.0, 4.2)) as axes:
                unit = 100 if label.endswith("%") else 1
                for net, each in found.items():
                    points = [list(values["levels"][kind].values()) for values in each]
                    seeds = unit * np.array([[point[measure] for point in row] for row in points])
                    (line,) = axes.plot(levels, seeds.mean(0), label=net)
                    low, high = seeds.min(0), seeds.max(0)
                    axes.fill_between(levels, low, high, alpha=0.15, color=line.get_color())
                axes.set(xlabel=XLABELS[kind], ylabel=label)
                axes.legend(fontsize="small")
