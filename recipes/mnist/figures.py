"""Pictures of trainings: validation error over epochs, the weights, their signal-to-noise ratios.

Writes curves.png, weights.png and snr_NAME.png to --exp-dir. Weights and ratios are of the first
seed. The curves are of validation images, since the test set is looked at once, at the end.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

import bbb
from bbb.plotting import axes_at
from bbb.prune import plot_signal_to_noise
from recipes.common import script
from recipes.mnist.runs import Run, load_model, read_curve, read_runs, settings_of

WIDEST = 0.25
BINS = 250


def draw_curves(runs: dict[str, list[Run]], path: Path) -> None:
    """Draw the validation error over epochs, mean and range of the seeds; draws where there are."""
    with axes_at(path, "figures.py", (6.5, 4.5)) as axes:
        for name, each in runs.items():
            curves = [
                {point["epoch"]: point["valid"] for point in read_curve(run) if "valid" in point}
                for run in each
            ]
            if not curves[0]:
                continue
            weights = "draws" if settings_of(each[0]).bayesian else "mean"
            errors = [[100 * point[weights]["error"] for point in c.values()] for c in curves]
            values = np.array(errors)
            (line,) = axes.plot(list(curves[0]), values.mean(0), label=name)
            low, high = values.min(0), values.max(0)
            axes.fill_between(list(curves[0]), low, high, alpha=0.15, color=line.get_color())
        axes.set(xlabel="epoch", ylabel="validation error, %", yscale="log")
        if axes.lines:
            axes.legend(fontsize="small")


def draw_weights(runs: dict[str, list[Run]], path: Path) -> None:
    """Draw the density of all weights, of a Bayesian net those of one draw."""
    edges = np.linspace(-WIDEST, WIDEST, BINS + 1)
    with axes_at(path, "figures.py", (6.5, 4.5)) as axes:
        for name, each in runs.items():
            net = load_model(each[0])
            if settings_of(each[0]).bayesian:
                source = torch.Generator().manual_seed(0)
                net = bbb.sample_deterministic(net, generator=source)
            weights = [w.detach().flatten() for k, w in net.named_parameters() if "weight" in k]
            flat = torch.cat(weights).numpy()
            counts, _ = np.histogram(flat, edges)
            # A share of all weights, also of those beyond the edges.
            axes.stairs(counts / len(flat) / np.diff(edges), edges, label=name)
        axes.set(xlabel="weight", ylabel="density", yscale="log")
        axes.legend(fontsize="small")


def main(argv: Sequence[str]) -> None:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exp-dir", type=Path, required=True, help="folder of the trainings")
    parser.add_argument("--names", nargs="+", help="which trainings (default: all)")
    args = parser.parse_args(argv)
    runs = read_runs(args.exp_dir, args.names)
    draw_curves(runs, args.exp_dir / "curves.png")
    draw_weights(runs, args.exp_dir / "weights.png")
    for name, each in runs.items():
        if settings_of(each[0]).bayesian:
            target = args.exp_dir / f"snr_{name}.png"
            plot_signal_to_noise(load_model(each[0]), target, fraction=0.75)
    print(f"wrote curves, weights and snr_* (.png) to {args.exp_dir}")


if __name__ == "__main__":
    script.run(main)
