"""Cost of EER and min-DCF beside sorting, of scores streamed through `DetCounts`, and of the verb.

    OMP_NUM_THREADS=1 python benchmarks/scoring_metrics.py
    OMP_NUM_THREADS=1 python benchmarks/scoring_metrics.py --stream 1_000_000_000

All contenders take turns within each round, so that a busy machine slows all alike; times are CPU
seconds, and a ratio is the median over rounds of a contender's time to that of sorting both classes
once with np.sort. Scores are Gaussian, 10 % and 50 % of them targets.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bbb.scoring import DetCounts, equal_error_rate, evaluate, min_dcf

BLOCK = 2**20
Scores = NDArray[np.floating[Any]]


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def argsort_reference(scores: Scores, labels: NDArray[np.bool_]) -> float:
    """The textbook way: one argsort and cumulative sums; it takes ties in any order."""
    ordered = labels[np.argsort(scores)]
    fnr = np.cumsum(ordered) / ordered.sum()
    fpr = 1.0 - np.cumsum(~ordered) / (~ordered).sum()
    return float((0.01 * fnr + 0.99 * fpr).min()) + float(fnr[np.argmax(fnr >= fpr)])


def counted(scores: Scores, labels: NDArray[np.bool_]) -> float:
    """EER and min-DCF by counting."""
    counts = DetCounts(scores[labels])
    counts.update(scores[~labels])
    return counts.equal_error_rate() + counts.min_dcf()


def sort_both(scores: Scores, labels: NDArray[np.bool_]) -> Callable[[], object]:
    """The unit of all ratios."""
    classes = scores[labels], scores[~labels]
    return lambda: [np.sort(part) for part in classes]


def in_memory(size: int, rounds: int, console: Console) -> None:
    """Print ratios for scores in an array."""
    table = Table("type", "targets", "contender", "CPU s", "ratio to np.sort", "extra memory")
    rng = np.random.default_rng(0)
    for dtype, share in [
        (np.float32, 0.1),
        (np.float32, 0.5),
        (np.float64, 0.1),
        (np.float64, 0.5),
    ]:
        labels = rng.random(size) < share
        scores = (rng.standard_normal(size, dtype=np.float32) + 3.2 * labels).astype(dtype)
        contenders: dict[str, Callable[[], object]] = {
            "np.sort of both classes": sort_both(scores, labels),
            "EER": lambda s=scores, k=labels: equal_error_rate(s, k),
            "min-DCF": lambda s=scores, k=labels: min_dcf(s, k),
            "evaluate (all figures)": lambda s=scores, k=labels: evaluate(s, k),
            "EER + min-DCF by DetCounts": lambda s=scores, k=labels: counted(s, k),
            "argsort + cumsum": lambda s=scores, k=labels: argsort_reference(s, k),
        }
        times = [[cpu_seconds(work) for work in contenders.values()] for _ in range(rounds)]
        for column, (name, work) in enumerate(contenders.items()):
            ratio = statistics.median(row[column] / row[0] for row in times)
            tracemalloc.start()
            work()
            extra = tracemalloc.get_traced_memory()[1] / scores.nbytes
            tracemalloc.stop()
            seconds = statistics.median(row[column] for row in times)
            cells = (dtype.__name__, f"{share:.0%}", name, f"{seconds:.3f}", f"{ratio:.2f}")
            table.add_row(*cells, f"{extra:.2f} x")
    console.print(f"{size:,} scores in memory, {rounds} rounds", table)


def blocks(size: int) -> Iterator[Scores]:
    """Nontarget scores, made as they are asked for."""
    rng = np.random.default_rng(1)
    for start in range(0, size, BLOCK):
        yield rng.standard_normal(min(BLOCK, size - start), dtype=np.float32)


def streamed(size: int, targets: int, console: Console) -> None:
    """Print time and memory of many nontarget scores that are never together."""
    rng = np.random.default_rng(0)
    counts = DetCounts(3.2 + rng.standard_normal(targets, dtype=np.float32), points=[0.01])
    seconds = sorting = 0.0
    for number, block in enumerate(blocks(size)):
        seconds += cpu_seconds(lambda block=block: counts.update(block))
        if number % 64 == 0:
            sorting += cpu_seconds(lambda block=block: np.sort(block)) / len(block)
    last = cpu_seconds(lambda: (counts.equal_error_rate(), counts.min_dcf()))
    sorting /= -(-size // (64 * BLOCK))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    console.print(
        f"{size:,} nontarget scores streamed, {targets:,} targets, float32: {seconds:.1f} CPU s, "
        f"{seconds / size * 1e9:.1f} ns per score (np.sort of a block: {sorting * 1e9:.1f}), "
        f"figures {last:.2f} s, peak memory of the process {peak:.2f} GiB, "
        f"EER {counts.equal_error_rate():.6%}, min-DCF {counts.min_dcf():.6f}"
    )


def verb(lines: int, console: Console) -> None:
    """Print the time of ``bbb evaluate`` from start to end."""
    rng = np.random.default_rng(0)
    labels = np.arange(lines) % 10 == 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scores"
        with path.open("w") as stream:
            for k, value in enumerate(rng.normal(2.0 * labels)):
                name = "target" if labels[k] else "nontarget"
                stream.write(f"m{k % 500} utterance-{k} {value:.6f} {name}\n")
        command = [sys.executable, "-m", "bbb.cli.main", "evaluate", str(path)]
        times = []
        for _ in range(5):
            before, start = os.times(), time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            after = os.times()
            cpu = sum(after[2:4]) - sum(before[2:4])
            times.append((time.perf_counter() - start, cpu))
    wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
    console.print(f"bbb evaluate, {lines:,} lines: {wall:.2f} s from start to end, {cpu:.2f} CPU s")


def main() -> None:
    """Run all three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=10_000_000, help="scores in memory; 0: none")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stream", type=int, default=100_000_000, help="nontargets; 0: none")
    parser.add_argument("--targets", type=int, default=1_000_000)
    parser.add_argument("--lines", type=int, default=100_000, help="of the score file; 0: none")
    args = parser.parse_args()
    console = Console()
    # First, for the peak of memory is that of the whole process.
    if args.stream:
        streamed(args.stream, args.targets, console)
    if args.lines:
        verb(args.lines, console)
    if args.size:
        in_memory(args.size, args.rounds, console)


if __name__ == "__main__":
    main()
