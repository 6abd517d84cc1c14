"""Cost of adaptive s-norm and of cosine over a trial list: CPU time, beside plain versions.

    OMP_NUM_THREADS=1 python benchmarks/scoring_norm.py

Contenders take turns within each round; a ratio is the median over rounds of their CPU times in the
same round. Floors are what no version can avoid: one matrix product of the utterances with the
cohort, one gather of both embeddings of each trial. Memory is the most that NumPy held at once.
"""

import argparse
import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from bbb.scoring import cohort_statistics, cosine_scores
from bbb.scoring.cosine import unit_rows

Floats = NDArray[np.floating[Any]]
Contenders = dict[str, Callable[[], object]]


def normalisation(utterances: int, cohort: int, dim: int, top_n: int) -> Contenders:
    """Statistics of the highest cohort scores of each utterance."""
    rng = np.random.default_rng(0)
    rows = unit_rows(rng.standard_normal((utterances, dim), dtype=np.float32))
    others = unit_rows(rng.standard_normal((cohort, dim), dtype=np.float32))

    def plain() -> tuple[Floats, Floats]:
        scores = rows @ others.T
        scores.sort(axis=1)
        top = scores[:, -top_n:]
        return top.mean(axis=1), top.std(axis=1)

    def floor() -> None:
        block = np.empty((1024, cohort), dtype=np.float32)
        for start in range(0, utterances, 1024):
            part = rows[start : start + 1024]
            np.matmul(part, others.T, out=block[: len(part)])

    ours = cohort_statistics(rows, others, top_n=top_n)
    for found, expected in zip(ours, plain(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3)
    return {
        "bbb": lambda: cohort_statistics(rows, others, top_n=top_n),
        "full product, full sort": plain,
        "floor: the product": floor,
    }


def trial_list(trials: int, utterances: int, dim: int) -> Contenders:
    """Cosine of random pairs."""
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((utterances, dim), dtype=np.float32)
    enroll, test = rng.integers(utterances, size=(2, trials), dtype=np.int32)

    def plain() -> Floats:
        left, right = rows[enroll], rows[test]
        lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
        return np.asarray((left * right).sum(axis=1) / lengths)

    def floor() -> None:
        block = np.empty((512, dim), dtype=np.float32)
        for start in range(0, trials - 511, 512):
            for side in (enroll, test):
                np.take(rows, side[start : start + 512], axis=0, out=block, mode="clip")

    np.testing.assert_allclose(cosine_scores(rows, rows, enroll, test), plain(), atol=1e-5)
    return {
        "bbb": lambda: cosine_scores(rows, rows, enroll, test),
        "gather all, multiply": plain,
        "floor: the gather": floor,
    }


def measure(contenders: Contenders, rounds: int) -> dict[str, tuple[list[float], float]]:
    """CPU seconds in each round, and the peak of memory in bytes."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    peaks = {}
    for name, run in contenders.items():
        tracemalloc.start()
        run()
        peaks[name] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return {name: (seconds[name], peaks[name]) for name in contenders}


def main() -> None:
    """Time every contender, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=10**6, help="of the list")
    parser.add_argument("--utterances", type=int, default=10_000, help="to normalise")
    parser.add_argument("--cohort", type=int, default=6000)
    parser.add_argument("--top-n", type=int, default=300)
    parser.add_argument("--dim", type=int, default=256)
    args = parser.parse_args()
    cases = {
        f"AS-norm, {args.utterances} utterances, cohort {args.cohort}": normalisation(
            args.utterances, args.cohort, args.dim, args.top_n
        ),
        f"cosine, list of {args.trials} trials": trial_list(args.trials, 137_924, args.dim),
    }
    for title, contenders in cases.items():
        table = Table("", "CPU s", "ratio to bbb", "MB", title=title)
        with threadpool_limits(limits=1):
            results = measure(contenders, args.rounds)
        base = results["bbb"][0]
        for name, (seconds, peak) in results.items():
            ratio = statistics.median(s / b for s, b in zip(seconds, base, strict=True))
            table.add_row(name, f"{min(seconds):.3f}", f"{ratio:.2f}", f"{peak / 1e6:.0f}")
        Console().print(table)


if __name__ == "__main__":
    main()
