"""Cost of Bayesian layers in a training step of the x-vector: a ratio to the plain network.

    python benchmarks/training.py --threads 2

Systems take turns within each round, so that a busy machine slows all alike; the ratio is the
median over rounds of a system's step to the plain one's in the same round. A step is forward, KL,
backward and an AdamW update.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from rich.table import Table

import bbb
from bbb.speaker import Softmax, XVector

SPEAKERS = 1000


def systems() -> Iterator[tuple[str, torch.nn.Module]]:
    """Name and network of each system, all with the same first weights."""
    torch.manual_seed(0)
    plain = XVector()
    mixture = bbb.priors.ScaleMixture(0.5, 1.0, 0.0025)
    yield "plain", plain
    yield "frame1, Normal", bbb.bayesianize(plain, layers=["frame1"])
    yield (
        "frame1, Pretrained, tied sigma",
        bbb.bayesianize(
            plain, layers=["frame1"], prior=bbb.priors.Pretrained(0.05), tie_sigma=True
        ),
    )
    yield "all TDNN layers, Normal", bbb.bayesianize(plain, layers=["frame*"])
    yield "all TDNN layers, ScaleMixture", bbb.bayesianize(plain, ["frame*"], prior=mixture)


def make_step(network: torch.nn.Module, batch: int, frames: int) -> Callable[[], float]:
    """A function that trains one step and returns the CPU's wall time in seconds."""
    torch.manual_seed(1)
    head = Softmax(512, SPEAKERS)
    features, labels = torch.randn(batch, frames, 30), torch.randint(SPEAKERS, (batch,))
    optimizer = torch.optim.AdamW([*network.parameters(), *head.parameters()], lr=1e-4)
    criterion = bbb.ELBO(network, num_train=100_000)

    def step() -> float:
        start = time.perf_counter()
        with criterion.record() as draws:
            logits = head(network.head_input(network(features)))
        loss = criterion(F.cross_entropy(logits, labels), draws=draws).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return time.perf_counter() - start

    return step


def main() -> None:
    """Time every system, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64, help="chunks")
    parser.add_argument("--frames", type=int, default=200, help="frames of a chunk")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    steps = {name: make_step(net, args.batch, args.frames) for name, net in systems()}
    for step in steps.values():
        step()
    rounds = [
        {name: step() for name, step in steps.items()}
        for _ in track(range(args.rounds), "timing", transient=True)
    ]
    title = (
        f"x-vector (512/1500), {args.batch} chunks of {args.frames} frames, {args.threads} threads "
        f"of {os.cpu_count()} CPUs, torch {torch.__version__}, {args.rounds} rounds"
    )
    table = Table("system", "ms per step", "ratio", "quartiles", title=title)
    rows = []
    for name in steps:
        ratios = [times[name] / times["plain"] for times in rounds]
        low, middle, high = statistics.quantiles(ratios, n=4)
        seconds = statistics.median(times[name] for times in rounds)
        rows.append({"system": name, "seconds": seconds, "ratio": middle, "quartiles": [low, high]})
        table.add_row(name, f"{1000 * seconds:.0f}", f"{middle:.3f}", f"{low:.3f} to {high:.3f}")
    Console().print(table)
    if args.json:
        args.json.write_text(json.dumps({"title": title, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
