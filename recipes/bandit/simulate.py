"""Mushrooms that grow nowhere, in the format of UCI's: to try the recipe without them.

    python -m recipes.bandit.simulate --output FILE [--count 1000] [--seed 0]

Their smell tells nearly all, as it does of the real ones; the other 21 letters tell nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bbb.files import write_text
from recipes.bandit.environment import ATTRIBUTES
from recipes.common import script
from recipes.common.options import read_options

SMELL, LETTERS = 5, 6


@dataclass(frozen=True, kw_only=True)
class Options:
    """Of the simulation.

    Attributes:
        output: The file to write.
        count: Number of mushrooms.
        seed: Of the drawing.
    """

    output: Path
    count: int = 1000
    seed: int = 0


def main(argv: Sequence[str]) -> None:
    """Draw and write the mushrooms."""
    options = read_options(Options, argv, __doc__)
    rng = np.random.default_rng(options.seed)
    values = rng.integers(LETTERS, size=(options.count, ATTRIBUTES))
    # One mushroom in fifty smells like the others.
    edible = (values[:, SMELL - 1] < LETTERS // 2) ^ (rng.random(options.count) < 0.02)  # noqa: PLR2004
    letters = np.array(list("abcdef"))[values]
    lines = [
        "ep"[not good] + "," + ",".join(row) for good, row in zip(edible, letters, strict=True)
    ]
    write_text(options.output, "\n".join(lines) + "\n")
    print(f"wrote {options.output}")


if __name__ == "__main__":
    script.run(main)
