"""Signal-to-noise ratio of the encoder's gradient of multi-sample bounds, over their samples K.

In the limit the pathwise gradient (IWAE) gets worse with every sample that tightens the bound, as
1 / sqrt(K), and the doubly reparameterised one (DReG) better, as sqrt(K); both laws are for weights
of finite variance. Both are measured on the same models, trained for some steps on the bound of 64
samples. The mean over the seeds is reported.
Writes snr.json and snr_over_k.png.

References:
    Rainforth et al. 2018, Tighter Variational Bounds are Not Necessarily Better. Tucker et al.
    2019, Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives.
"""

import json
from collections.abc import Sequence

import numpy as np
import torch
from rich.progress import track

from bbb.files import write_text
from bbb.plotting import axes_at
from recipes.common import script
from recipes.common.options import read_options
from recipes.common.tables import print_table
from recipes.vae.fit import Run, make_estimator
from recipes.vae.images import load_images
from recipes.vae.measures import gradient_noise
from recipes.vae.settings import Options
from recipes.vae.zoo import parse_spec

SAMPLES = (1, 4, 16, 64, 256)
NAMES = ("iwae", "dreg")
TRAINED = "dreg-64"


def measure(options: Options) -> dict[str, list[float]]:
    """Return the mean ratio over the seeds, of each estimator and number of samples."""
    images = load_images(options.data, options.binarization)
    options.check(images)
    found: dict[str, list[list[float]]] = {name: [] for name in NAMES}
    for seed in options.seeds:
        run = Run(options, TRAINED, seed, images, options.exp_dir / TRAINED / f"seed{seed}")
        run.load()
        run.fit(lambda _: None)
        for name in NAMES:
            ratios = []
            for samples in track(SAMPLES, f"{name}, seed {seed}", transient=True):
                entry, _ = parse_spec(name, options.latent)
                noise = gradient_noise(
                    run.vae,
                    make_estimator(entry, samples, options, images.train.shape[1]),
                    entry.loss,
                    run.fixed_batch,
                    replicas=options.replicas,
                    seed=seed,
                )
                ratios.append(noise["snr"])
            found[name].append(ratios)
    return {name: np.mean(each, axis=0).tolist() for name, each in found.items()}


def main(argv: Sequence[str]) -> None:
    """Measure, write, print and draw."""
    options = read_options(Options, argv, __doc__)
    torch.set_num_threads(options.threads)
    found = measure(options)
    result = {"samples": SAMPLES, "replicas": options.replicas, **found}
    write_text(options.exp_dir / "snr.json", json.dumps(result, indent=1) + "\n")
    with axes_at(options.exp_dir / "snr_over_k.png", "snr.py") as axes:
        for name, ratios in found.items():
            axes.loglog(SAMPLES, ratios, marker="o", label=name)
        axes.set(xlabel="samples K", ylabel="signal-to-noise ratio of the encoder's gradient")
        axes.legend()
    rows = [[name, *(f"{ratio:.2f}" for ratio in ratios)] for name, ratios in found.items()]
    print_table(["estimator", *(f"K = {samples}" for samples in SAMPLES)], rows)


if __name__ == "__main__":
    script.run(main)
