"""Tasks with one input: how far the fitted curves spread, on the data and away from them.

Bayes by Backprop over draws of its weights, plain networks over their seeds, a Gaussian process.
Writes TASK.png and TASK.json.
"""

import json
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bbb.files import write_text
from bbb.plotting import axes_at
from recipes.common import script
from recipes.common.options import read_options
from recipes.common.statistics import interval_text, t_interval
from recipes.regression.curve_tasks import TASKS, Task
from recipes.regression.fitting import fit, make_model
from recipes.regression.options import CurveOptions
from recipes.regression.references import gaussian_process, latent
from recipes.regression.regression import predictions

# Half of the distance between the quartiles of a standard normal.
QUARTILE = 0.6744897501960817
Bands = dict[str, NDArray[np.float64]]
"""Quartiles (seeds, 3, points) by method."""
Results = dict[str, dict[str, list[float | None]]]
"""Intervals by method and measure."""


def main(argv: Sequence[str]) -> None:
    """Fit, measure, draw."""
    options = read_options(CurveOptions, argv, __doc__)
    torch.set_num_threads(options.threads)
    task = TASKS[options.task]
    data = [draw(task, options.num_train, seed) for seed in options.seeds]
    bands = fit_bands(task, data, options)
    results = measure(task, bands)
    found = {"options": options.identity, "results": results}
    write_text(options.exp_dir / f"{options.task}.json", json.dumps(found, indent=1) + "\n")
    plot(task, data[0], bands, options)
    for method, row in results.items():
        print(
            method,
            *(f"{name} {interval_text(values, '.3g')}" for name, values in row.items()),
            sep="; ",
        )
    print(f"wrote {options.task}.png and {options.task}.json to {options.exp_dir}")


def draw(task: Task, num_train: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the training examples of a seed."""
    return task.draw(num_train, torch.Generator().manual_seed(seed))


def fit_bands(task: Task, data: list[tuple[Tensor, Tensor]], options: CurveOptions) -> Bands:
    """Return quartiles of the curves of each method, seed by seed."""
    x, y = (torch.stack(part) for part in zip(*data, strict=True))
    # Inputs and targets of about unit scale, by the first seed's data for all.
    centre, scale = (x[0].mean(), y[0].mean()), (x[0].std(), y[0].std())
    x, y = (x - centre[0]) / scale[0], (y - centre[1]) / scale[1]
    grid = (task.grid() - centre[0]) / scale[0]
    curves = {}
    for name, prior, nets in (("bbb", options.prior, 1), ("plain", None, options.nets)):
        penalty = options.decay if prior is None else options.penalty
        models = [
            make_model(1, options, x.shape[1], prior=prior, penalty=penalty, seed=1000 * seed + net)
            for seed in options.seeds
            for net in range(nets)
        ]
        file = options.exp_dir / f"{options.task}_{name}.pt"
        x_all, y_all = x.repeat_interleave(nets, 0), y.repeat_interleave(nets, 0)
        trained = fit(models, x_all, y_all, options, file)
        each = [predictions(model, grid, options.num_samples) for model in trained]
        # One "sample" of each plain network: those of a seed together are its ensemble.
        curves[name] = torch.stack(each).reshape(len(x), -1, len(grid)).double().numpy()
    bands = {name: np.quantile(each, (0.25, 0.5, 0.75), axis=1) for name, each in curves.items()}
    found = {name: np.moveaxis(each, 0, 1) for name, each in bands.items()}
    found["gp"] = np.stack([process_band(*pair, grid) for pair in zip(x, y, strict=True)])
    return {name: each * float(scale[1]) + float(centre[1]) for name, each in found.items()}


def process_band(x: Tensor, y: Tensor, grid: Tensor) -> NDArray[np.float64]:
    """Return quartiles of a Gaussian process, (3, points)."""
    process = gaussian_process(x.double().numpy(), y.double().numpy()[:, 0])
    mean, sigma = latent(process, grid.double().numpy())
    return np.stack([mean - QUARTILE * sigma, mean, mean + QUARTILE * sigma])


def measure(task: Task, bands: Bands) -> Results:
    """Return each method's spread by region, and its error on the data.

    "iqr REGION" is the mean interquartile range there, "ratio REGION" that over the range on the
    data (the geometric mean over seeds, with the interval of its logarithm), and "rmse" the error
    of the median curve on the data, against the truth without noise.
    """
    grid = task.grid()
    truth = task.curve(grid).squeeze(1).double().numpy()
    results = {}
    for method, band in bands.items():
        width = band[:, 2] - band[:, 0]
        spread = {name: width[:, task.where(name, grid).numpy()].mean(1) for name in task.regions}
        row = {f"iqr {name}": t_interval(values) for name, values in spread.items()}
        for name in list(task.regions)[1:]:
            logs = t_interval(np.log(spread[name] / spread["data"]))
            row[f"ratio {name}"] = [
                None if value is None else float(np.exp(value)) for value in logs
            ]
        error = (band[:, 1] - truth)[:, task.where("data", grid).numpy()]
        row["rmse"] = t_interval(np.sqrt((error**2).mean(1)))
        results[method] = row
    return results


def plot(task: Task, data: tuple[Tensor, Tensor], bands: Bands, options: CurveOptions) -> None:
    """Draw the first seed's curves, a panel for each method."""
    titles = {
        "bbb": f"Bayes by Backprop, {options.num_samples} draws of the weights",
        "plain": f"{options.nets} plain networks of other seeds",
        "gp": "Gaussian process",
    }
    methods = ["bbb", "plain"] if options.task == "curve" else list(titles)
    grid, size = task.grid().squeeze(1), (4.5 * len(methods), 4.0)
    with axes_at(options.exp_dir / f"{options.task}.png", "curves.py", size) as axes:
        figure = axes.figure
        axes.remove()
        panels = figure.subplots(1, len(methods), sharey=True)
        for panel, method in zip(panels, methods, strict=True):
            low, middle, high = bands[method][0]
            panel.scatter(*data, s=6, color="0.6", label="training examples")
            panel.plot(grid, task.curve(grid), "k--", linewidth=0.8, label="truth")
            panel.fill_between(grid, low, high, color="C0", alpha=0.3, label="quartiles")
            panel.plot(grid, middle, color="C3", label="median")
            panel.set(xlim=task.limits[0], ylim=task.limits[1], xlabel="x", title=titles[method])
        panels[0].legend(loc="upper left", fontsize="small")


if __name__ == "__main__":
    script.run(main)
