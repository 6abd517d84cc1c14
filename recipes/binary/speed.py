"""CPU time and memory of Hamming scores against cosine scores of float32, as ratios.

Both score the same matrix of all pairs, and the same list of trials, with one thread.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from threadpoolctl import threadpool_limits

from bbb import scoring
from bbb.scoring.cosine import unit_rows
from recipes.common import script
from recipes.common.options import read_options
from recipes.common.tables import markdown_table

HEADER = ("bits, or floats", "matrix, s Hamming / cosine", "list, s Hamming / cosine", "bytes")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Of the measurement.

    Attributes:
        rows: Codes of each side.
        trials: Length of the list.
        dims: Bits, and dimensions of the floats.
        repeats: Of which the median is taken.
    """

    rows: int = 4000
    trials: int = 1_000_000
    dims: list[int] = field(default_factory=lambda: [64, 256, 512])
    repeats: int = 7


def main(argv: Sequence[str]) -> None:
    """Print a row per length."""
    options = read_options(Options, argv, __doc__)
    rng = np.random.default_rng(0)
    index = rng.integers(options.rows, size=(2, options.trials))
    table = []
    for dim in options.dims:
        floats = rng.normal(size=(options.rows, dim)).astype(np.float32)
        codes = np.packbits(floats > 0, axis=1)
        cells = []
        for ours, theirs in (
            (lambda c=codes: scoring.hamming_matrix(c, c), lambda f=floats: cosine_matrix(f)),
            (
                lambda c=codes: scoring.hamming_scores(c, c, *index),
                lambda f=floats: scoring.cosine_scores(f, f, *index),
            ),
        ):
            a, b = medians((ours, theirs), options.repeats)
            cells.append(f"{a:.3f} / {b:.3f} = {a / b:.2f}")
        sizes = f"{codes.nbytes // options.rows} / {floats.nbytes // options.rows}"
        table.append([str(dim), *cells, sizes])
    print(*markdown_table(HEADER, table), sep="\n")


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
    script.run(main)
