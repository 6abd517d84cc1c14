"""Train VAEs, one for each estimator and seed; a run that was killed goes on, bit for bit.

Each run's folder EXP/ESTIMATOR/seedN holds checkpoint.pt, and once it is done run.json.
"""

import functools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bbb.files import atomic_path, write_text
from recipes.common import script
from recipes.common.options import read_options
from recipes.vae.images import Images, batches, load_images
from recipes.vae.measures import bounds_of, gradient_noise
from recipes.vae.settings import Options, Settings
from recipes.vae.vae import VAE, make_optimizer, train
from recipes.vae.zoo import Entry, Sizes, parse_spec


class Run:
    """One training: model, estimator, optimiser and curves, to be saved and resumed.

    Args:
        settings: All runs'.
        spec: The estimator's name.
        seed: Of the initial weights, batches and draws.
        images: The data.
        folder: Where the run lives.
    """

    def __init__(
        self, settings: Settings, spec: str, seed: int, images: Images, folder: Path
    ) -> None:
        self.settings, self.seed, self.images, self.folder = settings, seed, images, folder
        entry, samples = parse_spec(spec, settings.latent, settings.num_samples)
        self.loss = entry.loss
        self.identity = {"estimator": spec, "seed": seed, **settings.identity}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            pixels = images.train.shape[1]
            self.vae = VAE(pixels, settings.latent, settings.latent_size, settings.hidden)
            self.estimator = make_estimator(entry, samples, settings, pixels)
        # Seeds of the draws must not be those of the weights or the batches.
        self.generator = torch.Generator().manual_seed(1_000_000 + seed)
        self.estimator.generator = self.generator
        self.optimizer = make_optimizer(self.vae, self.estimator, settings.lr)
        self.modules = nn.ModuleDict({"vae": self.vae, "estimator": self.estimator})
        self.fixed_batch = images.train[: settings.batch_size].float()
        self.step, self.cpu_seconds, self.recent = 0, 0.0, 0.0
        self.curve: list[dict[str, float]] = []
        self.noise: list[dict[str, float]] = []

    def save(self) -> None:
        """Write the checkpoint in one step."""
        with atomic_path(self.folder / "checkpoint.pt") as temporary:
            torch.save(
                {
                    "identity": self.identity,
                    "modules": self.modules.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "generator": self.generator.get_state(),
                    "progress": (self.step, self.cpu_seconds, self.recent, self.curve, self.noise),
                },
                temporary,
            )

    def load(self) -> None:
        """Take up the checkpoint, if there is one.

        Raises:
            ConfigError: If it is of a run with other settings.
        """  # noqa: DOC502 (by check_same)
        file = self.folder / "checkpoint.pt"
        if not file.exists():
            return
        state = torch.load(file, weights_only=True)
        wanted = {"estimator": self.identity["estimator"], "seed": self.seed}
        script.check_same(state["identity"], wanted | self.settings.fixed, self.folder)
        self.modules.load_state_dict(state["modules"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.step, self.cpu_seconds, self.recent, self.curve, self.noise = state["progress"]

    def after_step(self, loss: float) -> None:
        """Count, and log, measure and save when it is time."""
        settings = self.settings
        self.recent += loss
        self.step += 1
        if self.step % settings.log_every == 0:
            mean = self.recent / settings.log_every
            self.curve.append({"step": self.step, "loss": mean})
            self.recent = 0.0
        if settings.measure_every and self.step % settings.measure_every == 0:
            self.measure()

    def measure(self) -> None:
        """Add a point to the curve of the gradient's noise."""
        begin = time.process_time()
        found = gradient_noise(
            self.vae,
            self.estimator,
            self.loss,
            self.fixed_batch,
            replicas=self.settings.replicas,
            seed=self.step,
        )
        self.noise.append({"step": self.step, **found})
        # What is reported is the training's own time.
        self.cpu_seconds -= time.process_time() - begin

    def fit(self, advance: Any) -> None:  # noqa: ANN401 (a callback of rich)
        """Train what is left, then evaluate and write run.json."""
        settings = self.settings
        while self.step < settings.steps:
            stop = min(settings.steps, self.step + settings.save_every)
            todo = batches(self.images.train, settings.batch_size, self.seed, self.step, stop)
            begin, before = time.process_time(), self.step
            train(
                *(self.vae, self.estimator, self.loss, self.optimizer),
                batches=todo,
                after_step=self.after_step,
            )
            self.cpu_seconds += time.process_time() - begin
            self.save()
            advance(self.step - before)
        elbo, bound = bounds_of(self.vae, self.images.test, settings.bound_samples, self.seed)
        q = self.vae.posterior(self.fixed_batch[:1])
        result = {
            **self.identity,
            "evals": self.estimator.evals(q),
            "negative_elbo": elbo,
            "negative_bound": bound,
            "cpu_seconds": self.cpu_seconds,
            "curve": self.curve,
            "noise": self.noise,
        }
        write_text(self.folder / "run.json", json.dumps(result, indent=1) + "\n")


def make_estimator(entry: Entry, samples: int, settings: Settings, pixels: int) -> Any:  # noqa: ANN401
    """Return an entry's estimator for these settings."""
    sizes = Sizes(pixels, tuple(settings.latent_size), settings.tau, settings.steps)
    return entry.make(samples, sizes)


def main(argv: Sequence[str]) -> None:
    """Train every estimator with every seed."""
    options = read_options(Options, argv, __doc__)
    torch.set_num_threads(options.threads)
    images = load_images(options.data, options.binarization)
    options.check(images)
    for spec in options.estimator:
        # All names and numbers, before the first training.
        found = parse_spec(spec, options.latent, options.num_samples)
        make_estimator(*found, options, images.train.shape[1])
    with script.steps_progress() as progress:
        for spec in options.estimator:
            for seed in options.seeds:
                folder = options.exp_dir / spec / f"seed{seed}"
                run = Run(options, spec, seed, images, folder)
                run.load()
                if (folder / "run.json").exists():
                    print(f"done already: {folder}")
                    continue
                task = progress.add_task(
                    f"{spec}, seed {seed}", total=options.steps, completed=run.step
                )
                run.fit(functools.partial(progress.advance, task))


if __name__ == "__main__":
    script.run(main)
