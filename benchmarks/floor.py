"""What a Bayesian step must cost at least: torch.nn's step plus the operations on each weight.

    python benchmarks/floor.py

Each operation runs on a tensor of the size of the largest weight, into memory that is there; its
time per number, times the number of weights, is added to the step of torch.nn. No library built on
these operations can be faster, whatever it fuses. CPU time, 1 thread; medians of interleaved
rounds.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from layers import CASES, Case, make_step, plain
from rich.console import Console
from rich.table import Table
from torch import Tensor

NAMES = "linear 128x1024->1024", "mlp 784-400-400-10 b128", "mlp 784-1200-1200-10 b128"


def operations(size: int) -> dict[str, Callable[[], Tensor]]:
    """What sampling a weight and its closed-form KL need, each once."""
    x, y, out = torch.randn(size), torch.rand(size) + 0.1, torch.empty(size)
    return {
        "normal": out.normal_,
        "softplus": lambda: F.softplus(x),
        "log": lambda: torch.log(y, out=out),
        "sigmoid": lambda: torch.sigmoid(x, out=out),
        "draw": lambda: torch.addcmul(x, y, y, out=out),
        "gradient of mu": lambda: torch.addcmul(x, y, y, out=out),
        "gradient of rho": lambda: torch.addcmul(x, y, y, out=out),
        "update of rho": lambda: out.add_(x, alpha=-1e-4),
    }


def seconds(function: Callable[[], object]) -> float:
    """CPU time of a call."""
    start = time.thread_time()
    function()
    return time.thread_time() - start


def measure(case: Case, rounds: int) -> list[tuple[str, float]]:
    """Name and ratio to torch.nn of each partial sum."""
    model, step = make_step(case, plain)
    weights = [p for p in model.parameters() if p.dim() > 1]
    total = sum(weight.numel() for weight in weights)
    largest = max(weight.numel() for weight in weights)
    parts = {"torch.nn": step, **operations(largest)}
    times: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(rounds):
        for name, function in parts.items():
            times[name].append(seconds(function))
    medians = {name: statistics.median(values) for name, values in times.items()}
    base, sum_so_far = medians.pop("torch.nn"), 1.0
    rows = [("torch.nn", sum_so_far)]
    for name, value in medians.items():
        sum_so_far += value / largest * total / base
        rows.append((f"+ {name} ({1e9 * value / largest:.2f} ns per weight)", sum_so_far))
    return rows


def main() -> None:
    """Print the partial sums of each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    args = parser.parse_args()
    torch.set_num_threads(1)
    table = Table("case", "sum of", "ratio", title="CPU time, 1 thread")
    for case in (case for case in CASES if case.name in NAMES):
        for name, ratio in measure(case, args.rounds):
            table.add_row(case.name, name, f"{ratio:.2f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
