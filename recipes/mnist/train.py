"""Train one net on MNIST; a training that was killed goes on, bit for bit.

    python -m recipes.mnist.train --config recipes/mnist/conf/mixture.yaml --data F.npz --folder DIR

writes curve.jsonl (a line for each epoch) to DIR, and in the end model.pt and run.json. The test
set is looked at once, by the last epoch's net: nothing is chosen by it. The words of several
trainings, with ``--`` between them, are done one after the other.
"""

import itertools
import json
import math
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

import bbb
from bbb.files import atomic_path, write_text
from recipes.common import script
from recipes.common.options import read_options
from recipes.mnist.data import Digits, load
from recipes.mnist.evaluate import evaluate
from recipes.mnist.mlp import cosine, parameter_groups, train_epoch
from recipes.mnist.runs import make_model
from recipes.mnist.settings import Settings

ROOT = Path(__file__).parents[2]
# Blundell's weights halve from batch to batch; below this a KL divergence of a million nats, over
# 50,000 images, changes no bit of the loss.
NEGLIGIBLE = 1e-10


class Training:
    """A net on its way: model, optimiser, curve and the state of the generators.

    Args:
        settings: What is trained, and how.
        digits: The data.
    """

    def __init__(self, settings: Settings, digits: Digits) -> None:
        self.settings, self.digits = settings, digits
        self.steps = len(digits.train[0]) // settings.batch_size
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(settings.seed)
            self.model = make_model(settings).to(settings.device)
            self.generators = _generators()
        parameters = parameter_groups(self.model, settings.rho_lr)
        self.optimizer: torch.optim.Optimizer
        # Fused: one pass over the parameters, which are many and whose batches are small.
        if settings.optimizer == "adam":
            self.optimizer = torch.optim.Adam(parameters, settings.lr, fused=True)
        else:
            self.optimizer = torch.optim.SGD(
                parameters, settings.lr, momentum=settings.momentum, fused=True
            )
        self.criterion = bbb.ELBO(self.model, num_train=len(digits.train[0]))
        self.warmup = bbb.schedules.Warmup(settings.warmup, final=settings.kl_weight)
        self.cpu_seconds = 0.0
        self.curve: list[dict[str, Any]] = []

    def save(self) -> None:
        """Write checkpoint and curve, each in one step."""
        state = {
            "identity": self.settings.identity,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generators": self.generators,
            "cpu_seconds": self.cpu_seconds,
            "curve": self.curve,
        }
        with atomic_path(self.settings.folder / "checkpoint.pt") as temporary:
            torch.save(state, temporary)
        lines = [json.dumps(point) + "\n" for point in self.curve]
        write_text(self.settings.folder / "curve.jsonl", "".join(lines))

    def load(self) -> None:
        """Take up the checkpoint, if there is one.

        Raises:
            ConfigError: If it is of a training with other settings.
        """  # noqa: DOC502 (by check_same)
        file = self.settings.folder / "checkpoint.pt"
        if not file.exists():
            return
        state = torch.load(file, weights_only=True)
        script.check_same(state["identity"], self.settings.identity, self.settings.folder)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generators = state["generators"]
        self.cpu_seconds, self.curve = state["cpu_seconds"], state["curve"]

    def plan(self, epoch: int) -> tuple[list[float], list[float]]:
        """Return step sizes and factors of the KL divergence for the steps of an epoch, from 0."""
        settings = self.settings
        total = self.steps * settings.epochs
        place = range(epoch * self.steps, (epoch + 1) * self.steps)
        done = [step / total for step in place]
        factors = [cosine(d) if settings.schedule == "cosine" else 1.0 for d in done]
        # Shares go with the sum of an epoch's losses, the loss of a step is a mean.
        factor = self.steps * settings.kl_every
        shares = (factor * bbb.kl_weights(self.steps, settings.kl_scheme)).tolist()
        kl_weights = [
            self.warmup(d) * share if step % settings.kl_every == 0 and share > NEGLIGIBLE else 0.0
            for step, d, share in zip(place, done, shares, strict=True)
        ]
        return [settings.lr * factor for factor in factors], kl_weights

    def epoch(self, after_step: Callable[[], None]) -> None:
        """Train for one epoch, and add a point to the curve."""
        settings, number = self.settings, len(self.curve)
        lrs, kl_weights = self.plan(number)
        begin = time.process_time()
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            _set_generators(self.generators)
            nll, kl = train_epoch(
                *(self.model, self.criterion, self.optimizer, *self.digits.train),
                batch_size=settings.batch_size,
                lrs=lrs,
                kl_weights=kl_weights,
                num_samples=settings.num_samples,
                after_step=after_step,
            )
            self.generators = _generators()
        self.cpu_seconds += time.process_time() - begin
        point: dict[str, Any] = {"epoch": number + 1, "train_nll": nll}
        point["kl"] = None if math.isnan(kl) else kl
        point["cpu_seconds"] = round(self.cpu_seconds, 2)
        last = number + 1 == settings.epochs
        if len(self.digits.valid[0]) and (last or (number + 1) % settings.eval_every == 0):
            point["valid"] = self.judge(*self.digits.valid, settings.eval_samples)
        self.curve.append(point)

    def judge(self, x: torch.Tensor, y: torch.Tensor, num_samples: int) -> dict[str, Any]:
        """Evaluate the net as it is now."""
        return evaluate(self.model, x, y, num_samples if self.settings.bayesian else 0)

    def fit(self, command: str, after_step: Callable[[], None] = lambda: None) -> None:
        """Train what is left, then evaluate and write model.pt and run.json."""
        settings = self.settings
        while len(self.curve) < settings.epochs:
            self.epoch(after_step)
            if len(self.curve) % settings.save_every == 0 or len(self.curve) == settings.epochs:
                self.save()
        result = {
            "settings": settings.identity,
            "command": command,
            "num_train": len(self.digits.train[0]),
            "cpu_seconds": self.cpu_seconds,
            "threads": settings.threads,
            "last": self.curve[-1],
        }
        if settings.test_samples:
            result["test"] = self.judge(*self.digits.test, settings.test_samples)
        with atomic_path(settings.folder / "model.pt") as temporary:
            torch.save(self.model.state_dict(), temporary)
        write_text(settings.folder / "run.json", json.dumps(result, indent=1) + "\n")
        (settings.folder / "checkpoint.pt").unlink()


def _generators() -> list[torch.Tensor]:
    """State of torch's generators, the CPU's first."""
    return [torch.get_rng_state(), *torch.cuda.get_rng_state_all()]


def _set_generators(states: list[torch.Tensor]) -> None:
    torch.set_rng_state(states[0])
    torch.cuda.set_rng_state_all(states[1:])


def main(argv: Sequence[str]) -> None:
    """Train one net after the other."""
    for between, words in itertools.groupby(argv, lambda word: word == "--"):
        if not between:
            train(list(words))


def train(argv: Sequence[str]) -> None:
    """Read the options of a training, and train unless that is done."""
    settings = read_options(Settings, argv, __doc__)
    settings.check()
    file = settings.folder / "run.json"
    if file.exists():
        found = json.loads(file.read_text(encoding="utf-8"))["settings"]
        script.check_same(found, settings.identity, settings.folder)
        print(f"done already: {settings.folder}")
        return
    torch.set_num_threads(settings.threads)
    training = Training(settings, load(settings))
    training.load()
    command = shlex.join(["python", "-m", "recipes.mnist.train", *argv])
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.1f} %"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        steps = training.steps
        task = progress.add_task(
            f"{settings.system}, {settings.units} units, seed {settings.seed}",
            total=steps * settings.epochs,
            completed=steps * len(training.curve),
        )
        training.fit(command.replace(f"{ROOT}/", ""), lambda: progress.advance(task))
    print(f"wrote {settings.folder}")


if __name__ == "__main__":
    script.run(main)
