"""CPU time and memory of Hamming scores against cosine scores of float32, as ratios.

Both score the same matrix of all pairs, and the same list of trials, with one thread.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from bbb import scoring
from bbb.scoring.cosine import unit_rows


def main() -> None:
    """Print a row per length."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4000, help="codes of each side")
    parser.add_argument("--trials", type=int, default=1_000_000)
    parser.add_argument("--dims", type=int, nargs="+", default=[64, 256, 512])
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    index = rng.integers(args.rows, size=(2, args.trials))
    print("| bits, or floats | matrix, s Hamming / cosine | list, s Hamming / cosine | bytes |")
    print("|---|---|---|---|")
    for dim in args.dims:
        floats = rng.normal(size=(args.rows, dim)).astype(np.float32)
        codes = np.packbits(floats > 0, axis=1)
        cells = []
        for ours, theirs in (
            (lambda c=codes: scoring.hamming_matrix(c, c), lambda f=floats: cosine_matrix(f)),
            (
                lambda c=codes: scoring.hamming_scores(c, c, *index),
                lambda f=floats: scoring.cosine_scores(f, f, *index),
            ),
        ):
            a, b = medians((ours, theirs), args.repeats)
            cells.append(f"{a:.3f} / {b:.3f} = {a / b:.2f}")
        sizes = f"{codes.nbytes // args.rows} / {floats.nbytes // args.rows}"
        print(f"| {dim} | {' | '.join(cells)} | {sizes} |")


def cosine_matrix(floats: np.ndarray) -> np.ndarray:
    """All pairs by a matrix product, the fastest way to score floats."""
    unit = unit_rows(floats)
    # A copy, or BLAS computes half of a symmetric product.
    return unit @ unit.copy().T


def medians(functions: tuple[Callable[[], object], ...], repeats: int) -> list[float]:
    """Median CPU seconds of each function, called in turns."""
    seconds: list[list[float]] = [[] for _ in functions]
    with threadpool_limits(limits=1):
        for _ in range(repeats):
            for function, own in zip(functions, seconds, strict=True):
                start = time.process_time()
                function()
                own.append(time.process_time() - start)
    return [float(np.median(own)) for own in seconds]


if __name__ == "__main__":
    main()
