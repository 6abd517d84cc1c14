"""Cost of Bayesian layers beside torch.nn and beside peers that are installed.

    python benchmarks/layers.py --threads 1
    pip install bayesian-torch torchbnn blitz-bayesian-pytorch torchbayesian    # to see them, too

A step is forward, KL and backward, with the input's gradient; for the MLPs, cross-entropy and an
SGD update, without it. Contenders take turns within each round, so that a busy machine slows all
alike; a ratio is the median over rounds of a contender's CPU time to torch.nn's in the same round.
With more than one thread it is wall time. Memory is the peak of live tensors above parameters and
inputs. Every library keeps its own default prior and KL, so the ratios measure what a user gets.
"""

import argparse
import json
import statistics
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from peers import PEERS
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: PLC2701 - torch's own guide
from torch.utils._pytree import tree_leaves  # noqa: PLC2701 - has it so

import bbb


@dataclass(frozen=True)
class Case:
    """A network, its input, and whether it is trained as a classifier."""

    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    classes: int = 0


def mlp(width: int) -> nn.Module:
    """Blundell's MNIST network."""
    return nn.Sequential(
        nn.Linear(784, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)
    )


CASES = (
    Case("linear 12800x512->1500", lambda: nn.Linear(512, 1500), (12800, 512)),
    Case("linear 128x1024->1024", lambda: nn.Linear(1024, 1024), (128, 1024)),
    Case("conv1d 32x30x300->512 k5", lambda: nn.Conv1d(30, 512, 5), (32, 30, 300)),
    Case(
        "conv1d 32x512x300->512 k3 d2", lambda: nn.Conv1d(512, 512, 3, dilation=2), (32, 512, 300)
    ),
    Case("conv2d 16x64x40x100->64 3x3", lambda: nn.Conv2d(64, 64, 3), (16, 64, 40, 100)),
    Case("mlp 784-400-400-10 b128", lambda: mlp(400), (128, 784), 10),
    Case("mlp 784-1200-1200-10 b128", lambda: mlp(1200), (128, 784), 10),
)


def bayesian(**options: Any) -> Callable[[nn.Module], tuple[nn.Module, Callable[..., Any]]]:  # noqa: ANN401
    """Our own contender: model, and a step's loss."""

    def convert(net: nn.Module) -> tuple[nn.Module, Callable[..., Any]]:
        model = bbb.bayesianize(net, **options)
        criterion = bbb.ELBO(model, num_train=60_000)

        def loss(x: Tensor, mean_nll: Callable[[Tensor], Tensor]) -> Tensor:
            with criterion.record() as draws:
                output = model(x)
            return criterion(mean_nll(output), draws=draws).loss

        return model, loss

    return convert


def plain(net: nn.Module) -> tuple[nn.Module, Callable[..., Any]]:
    """torch.nn itself."""
    return net, lambda x, mean_nll: mean_nll(net(x))


OURS = {
    "torch.nn": plain,
    "bbb weight": bayesian(estimator="weight"),
    "bbb local": bayesian(estimator="local"),
    "bbb flipout": bayesian(estimator="flipout"),
    "bbb auto": bayesian(),
    "bbb weight, scale mixture": bayesian(
        estimator="weight", prior=bbb.priors.ScaleMixture(0.5, 1.0, 0.0025)
    ),
}


class PeakMemory(TorchDispatchMode):
    """Bytes of the storages that operations made and that are alive; their peak."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet()

    def ignore(self, tensors: Iterator[Tensor]) -> None:
        """Leave storages out: parameters and inputs."""
        for tensor in tensors:
            self._seen.add(tensor.untyped_storage())

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN204
        """Run the operation and count what it made."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._seen:
            return
        self._seen.add(storage)
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self.live -= size


def make_step(case: Case, contender: Callable[..., Any]) -> tuple[nn.Module, Callable[[], None]]:
    """A model, and a function that does one training step of it."""
    torch.manual_seed(0)
    model, loss = contender(case.make())
    x = torch.randn(case.shape, requires_grad=not case.classes)
    labels = torch.randint(max(case.classes, 1), case.shape[:1])
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4) if case.classes else None

    def mean_nll(output: Tensor) -> Tensor:
        return F.cross_entropy(output, labels) if case.classes else output.square().mean()

    def step() -> None:
        model.zero_grad()
        x.grad = None
        loss(x, mean_nll).backward()
        if optimizer is not None:
            optimizer.step()

    return model, step


def peak_bytes(model: nn.Module, step: Callable[[], None]) -> int:
    """Peak of live tensors within a step."""
    model.zero_grad()
    mode = PeakMemory()
    mode.ignore(iter(model.state_dict().values()))
    with mode:
        step()
    return mode.peak


def first_step(case: Case, name: str) -> tuple[nn.Module, Callable[[], None]] | None:
    """A contender after its first step; None, with a line that says why, where it has no twin."""
    try:
        made = make_step(case, {**OURS, **PEERS}[name])
        made[1]()
    except (TypeError, NotImplementedError, RuntimeError) as error:
        print(f"{case.name}: {name} cannot: {error}")
        return None
    return made


def measure(case: Case, names: list[str], rounds: int, threads: int) -> list[dict[str, Any]]:
    """A row per contender."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    made = {name: step for name in names if (step := first_step(case, name)) is not None}
    times: dict[str, list[float]] = {name: [] for name in made}
    for _ in track(range(rounds), case.name, transient=True):
        for name, (_, step) in made.items():
            start = clock()
            step()
            times[name].append(clock() - start)
    base = peak_bytes(*made["torch.nn"])
    return [
        {
            "case": case.name,
            "contender": name,
            "seconds": statistics.median(times[name]),
            "time_ratio": statistics.median(
                mine / theirs for mine, theirs in zip(times[name], times["torch.nn"], strict=True)
            ),
            "memory_ratio": peak_bytes(*made[name]) / base,
        }
        for name in made
    ]


def main() -> None:
    """Time every contender on every case, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--cases", default="", help="only cases whose name holds this")
    parser.add_argument("--contenders", nargs="*", default=[*OURS, *PEERS])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = []
    for case in CASES:
        if args.cases in case.name:
            names = ["torch.nn", *(name for name in args.contenders if name != "torch.nn")]
            rows += measure(case, names, args.rounds, args.threads)
    clock = "CPU time, 1 thread" if args.threads == 1 else f"wall time, {args.threads} threads"
    table = Table("case", "contender", "ms", "time ratio", "memory ratio", title=clock)
    for row in rows:
        table.add_row(
            row["case"],
            row["contender"],
            f"{1000 * row['seconds']:.2f}",
            f"{row['time_ratio']:.2f}",
            f"{row['memory_ratio']:.2f}",
        )
    Console(width=110).print(table)
    if args.json:
        args.json.write_text(json.dumps({"clock": clock, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
