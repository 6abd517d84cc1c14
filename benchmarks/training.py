"""Cost of Bayesian layers in a training step of the x-vector: a ratio to the plain network.

    python benchmarks/training.py --threads 2
    python benchmarks/training.py --device cuda --batch 512

Systems take turns within each round, so that a busy machine slows all alike; the ratio is the
median over rounds of a system's step to the plain one's of that precision in the same round. A step
is forward, KL, backward and an AdamW update; its time is CPU time, on a GPU wall time.
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
from torch import Tensor

import bbb
from bbb.speaker import Softmax, XVector

SPEAKERS = 1000
PRECISIONS = ("32-true", "bf16-mixed")

Step = Callable[[Tensor, Tensor], Tensor]


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


def make_step(network: torch.nn.Module, device: str, precision: str) -> Step:
    """A function that trains one step on features and labels of the CPU, and returns the loss."""
    torch.manual_seed(1)
    network, head = network.to(device), Softmax(512, SPEAKERS).to(device)
    optimizer = torch.optim.AdamW([*network.parameters(), *head.parameters()], lr=1e-4)
    criterion = bbb.ELBO(network, num_train=100_000)
    mixed = torch.autocast(device, torch.bfloat16, enabled=precision == "bf16-mixed")

    def step(features: Tensor, labels: Tensor) -> Tensor:
        features, labels = features.to(device), labels.to(device)
        with mixed, criterion.record() as draws:
            logits = head(network.head_input(network(features)))
            loss = criterion(F.cross_entropy(logits, labels), draws=draws).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def timed(step: Callable[[], object], device: str) -> float:
    """Seconds of a step: the process's CPU time, or on a GPU wall time until all is done."""
    if device == "cpu":
        start = time.process_time()
        step()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def machine(device: str, threads: int) -> str:
    """What ran, for the title of a table."""
    name = torch.cuda.get_device_name() if device == "cuda" else f"of {os.cpu_count()} CPUs"
    return f"{threads} threads, {name}, torch {torch.__version__}"


def quartiles(ratios: list[float]) -> tuple[float, str]:
    """The median, and the quartiles as text."""
    low, middle, high = statistics.quantiles(ratios, n=4)
    return middle, f"{low:.3f} to {high:.3f}"


def main() -> None:
    """Time every system, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--batch", type=int, default=64, help="chunks")
    parser.add_argument("--frames", type=int, default=200, help="frames of a chunk")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(2)
    batch = torch.randn(args.batch, args.frames, 30), torch.randint(SPEAKERS, (args.batch,))
    steps = {
        (name, precision): make_step(network, args.device, precision)
        for precision in args.precision
        for name, network in systems()
    }
    for step in steps.values():
        step(*batch)
    rounds = [
        {key: timed(lambda step=step: step(*batch), args.device) for key, step in steps.items()}
        for _ in track(range(args.rounds), "timing", transient=True)
    ]
    title = (
        f"x-vector (512/1500), {args.batch} chunks of {args.frames} frames, "
        f"{machine(args.device, args.threads)}, {args.rounds} rounds"
    )
    table = Table("system", "precision", "ms per step", "ratio", "quartiles", title=title)
    rows = []
    for name, precision in steps:
        ratio, spread = quartiles([t[name, precision] / t["plain", precision] for t in rounds])
        seconds = statistics.median(times[name, precision] for times in rounds)
        row = {"system": name, "precision": precision, "seconds": seconds, "ratio": ratio}
        rows.append({**row, "quartiles": spread})
        table.add_row(name, precision, f"{1000 * seconds:.0f}", f"{ratio:.3f}", spread)
    Console().print(table)
    if args.json:
        args.json.write_text(json.dumps({"title": title, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
