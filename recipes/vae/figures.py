"""Pictures of runs: their curves, what they reconstruct, what they dream."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bbb.distributions import drawn_by
from bbb.plotting import axes_at
from recipes.vae.fit import Run
from recipes.vae.images import load_images
from recipes.vae.settings import Options

COLUMNS = 12


def draw_curves(runs: dict[str, list[dict[str, Any]]], folder: Path) -> None:
    """Draw means over seeds: curves.png, variance.png and snr.png."""
    pictures = (
        ("curves", "curve", "loss", "training loss, nats per image"),
        ("variance", "noise", "variance", "variance of the encoder's gradient"),
        ("snr", "noise", "snr", "signal-to-noise ratio of the encoder's gradient"),
    )
    for name, points, key, label in pictures:
        with axes_at(folder / f"{name}.png", "report.py", (6.5, 4.5)) as axes:
            for place, (spec, each) in enumerate(runs.items()):
                steps = [point["step"] for point in each[0][points]]
                values = np.array([[point[key] for point in run[points]] for run in each])
                # Colours come again after ten.
                style = ("-", "--", ":")[place // 10 % 3]
                axes.plot(steps, values.mean(0), style, label=spec)
            axes.set(xlabel="step", ylabel=label, yscale="linear" if key == "loss" else "log")
            axes.legend(fontsize="small")


def draw_images(options: Options) -> None:
    """Draw reconstructions.png and samples.png, a row for each estimator of the first seed."""
    images = load_images(options.data, options.binarization)
    x = images.test[:COLUMNS].float()
    reconstructions, samples = [x], []
    for spec in options.estimator:
        folder = options.exp_dir / spec / f"seed{options.seeds[0]}"
        run = Run(options, spec, options.seeds[0], images, folder)
        run.load()
        with torch.no_grad(), drawn_by(torch.Generator().manual_seed(0)):
            reconstructions.append(run.vae.decode(run.vae.posterior(x).sample()).sigmoid())
            samples.append(run.vae.decode(run.vae.prior((COLUMNS,)).sample()).sigmoid())
    pictures = {
        "reconstructions": (["test", *options.estimator], reconstructions),
        "samples": (options.estimator, samples),
    }
    for name, (labels, rows) in pictures.items():
        size = (2 + 0.5 * COLUMNS, 0.3 + 0.5 * len(rows))
        with axes_at(options.exp_dir / f"{name}.png", "report.py", size) as axes:
            axes.imshow(_mosaic(rows, images.side), cmap="gray_r", vmin=0, vmax=1)
            centres = (np.arange(len(rows)) + 0.5) * (images.side + 1) - 1
            axes.set_yticks(centres, labels)
            axes.set_xticks([])


def _mosaic(rows: list[Tensor], side: int) -> NDArray[np.float32]:
    """Rows of images, (images, pixels) each, as one picture with lines of a pixel between them."""
    found = torch.stack(rows).unflatten(-1, (-1, side))
    framed = torch.nn.functional.pad(found, (0, 1, 0, 1), value=0.5)
    return framed.permute(0, 2, 1, 3).flatten(2).flatten(0, 1).numpy()
