"""PLDA side by side with a plain loop of our own, one thread, CPU time.

Run ``python benchmarks/scoring_plda.py``; it prints one row per task. The plain reference is what
one writes from the formulas: EM speaker by speaker, a score per trial. It is ours, not a peer's.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import functools
import time
from collections.abc import Callable

import numpy as np

from bbb.scoring import PLDA, Embeddings, PLDABackend, Trials, score_uncertain_trials


def cpu(work: Callable[[], object], repeats: int) -> float:
    """Smallest CPU time of a few runs in seconds."""
    best = np.inf
    for _ in range(repeats):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return float(best)


def plain_em(x: np.ndarray, labels: np.ndarray, steps: int) -> None:
    """EM with a loop over speakers, inverting a matrix for each."""
    dim, speakers = x.shape[1], np.unique(labels)
    mean, between, within = x.mean(axis=0), np.eye(dim), np.eye(dim)
    for _ in range(steps):
        new_between, new_within = np.zeros((2, dim, dim))
        precision = np.linalg.inv(within)
        for speaker in speakers:
            own = x[labels == speaker] - mean
            posterior = np.linalg.inv(np.linalg.inv(between) + len(own) * precision)
            y = posterior @ precision @ own.sum(axis=0)
            new_between += posterior + np.outer(y, y)
            rest = own - y
            new_within += rest.T @ rest + len(own) * posterior
        between, within = new_between / len(speakers), new_within / len(x)


def training(dim: int, speakers: int, utts: int, repeats: int) -> None:
    """Training beside the product that none can do without, and a plain loop."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(speakers), utts)
    mix = rng.normal(size=(dim, dim)) / np.sqrt(dim)
    x = (rng.normal(size=(speakers, dim)) @ mix)[labels] + rng.normal(size=(len(labels), dim))
    few = labels < speakers // 20
    for method in ("em", "moments"):
        seconds = cpu(lambda method=method: PLDA(method).fit(x, labels), repeats)
        print(f"train {method:8s} {x.shape}, {speakers} speakers: {seconds:.3f} s")
    floor = cpu(lambda: x.T @ x, repeats)
    plain = 10 * 20 * cpu(lambda: plain_em(x[few], labels[few], 1), 1)
    print(f"  floor: one X'X {floor:.3f} s; plain loop, 10 steps (from 1 on 1/20): {plain:.1f} s")


def scoring(dim: int, models: int, tests: int, repeats: int) -> None:
    """All pairs beside one matrix product, and a list of trials."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(500), 4)
    x = 2.0 * rng.normal(size=(500, dim))[labels] + rng.normal(size=(2000, dim))
    plda = PLDA("moments").fit(x, labels)
    enroll, test = (rng.normal(size=(num, dim)).astype(np.float32) for num in (models, tests))
    matrix = gemm = np.inf
    for _ in range(repeats):
        matrix = min(matrix, cpu(lambda: plda.llr_matrix(enroll, test), 1))
        gemm = min(gemm, cpu(lambda: enroll @ test.T, 1))
    print(f"scores {models} x {tests}, float32: {matrix:.3f} s; floor, the product: {gemm:.3f} s")
    index = rng.integers(models, size=10**6), rng.integers(tests, size=10**6)
    print(f"list of 10^6 trials: {cpu(lambda: plda.llr(enroll, test, *index), repeats):.3f} s")


def uncertain(dim: int) -> None:
    """Covariances of ten draws: diagonal in the basis of PLDA beside exact."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(300), 8)
    x = 1.5 * rng.normal(size=(300, dim))[labels] + rng.normal(size=(2400, dim))
    backend = PLDABackend(lda_dim=min(150, dim)).fit(x, labels)
    draws = x[:400, None] + 0.7 * rng.normal(size=(400, 10, dim))
    centred = draws - draws.mean(axis=1, keepdims=True)
    covs = np.einsum("ndi,ndj->nij", centred, centred) / 9
    sides = Embeddings(tuple(map(str, range(400))), draws.mean(axis=1), covs)
    first, second = (index.astype(np.int32) for index in np.triu_indices(400, 1))
    order = rng.permutation(len(first))
    found = {}
    for name, full, many in (("diagonal", False, len(order)), ("full", True, 2000)):
        seconds = []
        for num in (200, many):
            trials = Trials(sides.ids, sides.ids, first[order[:num]], second[order[:num]], None)
            work = functools.partial(
                score_uncertain_trials, trials, sides, sides, backend=backend, full=full
            )
            seconds.append(cpu(work, 3))
        found[name] = work().scores[:2000]
        each = 1e3 * (seconds[1] - seconds[0]) / (many - 200)
        print(
            f"uncertain, {name}: {each:.4f} ms per trial, and {seconds[0]:.2f} s for 400 utterances"
        )
    both = np.corrcoef(found["diagonal"], found["full"])[0, 1]
    print(f"  correlation of diagonal with full: {both:.4f}")


def main() -> None:
    """Run all three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a twentieth of the size")
    quick = parser.parse_args().quick
    dim, part = (40, 20) if quick else (200, 1)
    training(dim, 2000 // part, 50, 3)
    scoring(dim, 1000, 10_000 // part, 5)
    uncertain(dim)


if __name__ == "__main__":
    main()
