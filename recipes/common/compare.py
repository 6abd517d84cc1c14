"""Is one system better than another? Several seeds, and a bootstrap over speakers that is paired.

For each back-end and pair of systems: the EER of both, averaged over the seeds, their difference,
relative and absolute, its 95 % interval and p-value. A resample draws evaluation speakers and takes
the same ones for both systems and all seeds; the seeds themselves are averaged, not resampled.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from bbb import scoring
from bbb.errors import ConfigError
from bbb.files import write_text
from recipes.common import script
from recipes.common.evaluation import TableOptions
from recipes.common.options import read_options
from recipes.common.statistics import comparison, difference_texts
from recipes.common.tables import markdown_table, print_table

BACKENDS = ("cosine", "plda")
HEADER = (
    *("back-end", "system A", "system B", "EER % A", "EER % B"),
    *("B - A, absolute", "95 % interval", "relative", "p"),
)


@dataclass(frozen=True, kw_only=True)
class Options(TableOptions):
    """Of the comparison.

    Attributes:
        exp_dirs: Folders of systems, one per seed.
        pairs: A:B, folders of systems.
        ci: Bootstrap resamples.
        output: The .json to write; the table, .md, beside it.
    """

    exp_dirs: list[Path]
    pairs: list[str]
    ci: int = 2000
    output: Path


def main(argv: Sequence[str]) -> None:
    """Compare every named pair, print and write the table.

    Raises:
        ConfigError: If a pair is none.
    """
    options = read_options(Options, argv, __doc__)
    for pair in options.pairs:
        if pair.count(":") != 1:
            msg = f"pairs are A:B, got '{pair}'"
            raise ConfigError(msg)
    trials, speakers = options.load()

    @functools.cache
    def runs(system: str, backend: str) -> np.ndarray:
        """Scores of a system, shape (seeds, trials)."""
        files = [folder / system / f"{backend}.scores" for folder in options.exp_dirs]
        found = [scoring.align_scores(scoring.read_scores(f), trials, name=str(f)) for f in files]
        return np.stack(found)

    rows = []
    pairs = [(backend, *pair.split(":")) for backend in BACKENDS for pair in options.pairs]
    for backend, a, b in track(pairs, "comparing", transient=True):
        result = scoring.paired_bootstrap(
            *(runs(name, backend) for name in (a, b)),
            trials.is_target,
            "eer",
            speakers=speakers,
            num_resamples=options.ci,
        )
        rows.append({"backend": backend, "a": a, "b": b, **comparison(result)})
        for side, name in (("a", a), ("b", b)):
            each = [scoring.equal_error_rate(s, trials.is_target) for s in runs(name, backend)]
            rows[-1][f"eer_{side}_by_seed"] = each
    write_text(options.output, json.dumps(rows, indent=2) + "\n")
    cells = [_cells(row) for row in rows]
    table = markdown_table(HEADER, cells)
    write_text(options.output.with_suffix(".md"), "\n".join(table) + "\n")
    count = len(options.exp_dirs)
    title = f"{count} seeds, {options.ci} resamples of the evaluation speakers"
    print_table(HEADER, cells, title=title)


def _cells(row: dict[str, Any]) -> list[str]:
    """The texts of a row."""
    difference, interval, p_value = difference_texts(row)
    return [
        *(row["backend"], row["a"], row["b"]),
        *(f"{100 * row['eer_a']:.2f}", f"{100 * row['eer_b']:.2f}", difference, interval),
        f"{100 * row['difference'] / row['eer_a']:+.1f} %" if row["eer_a"] else "",
        p_value,
    ]


if __name__ == "__main__":
    script.run(main)
