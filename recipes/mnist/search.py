"""The table of a search, by validation error: SEARCH.md and search.json in --exp-dir.

A training is a row; the columns are the settings in which trainings differ.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bbb.errors import DataError
from bbb.files import write_text
from recipes.common import script
from recipes.common.tables import markdown_table
from recipes.mnist.runs import Run, read_runs


def make_rows(runs: list[Run]) -> list[dict[str, Any]]:
    """Return a row for each training, the lowest validation error first.

    Raises:
        DataError: If one had no validation images.
    """
    rows = []
    for run in runs:
        if "valid" not in run["last"]:
            msg = f"a search needs validation images, {run['folder']} had none; raise num_valid"
            raise DataError(msg)
        valid = run["last"]["valid"]
        rows.append({"settings": run["settings"], "valid": valid, "command": run["command"]})
    return sorted(rows, key=lambda row: row["valid"].get("draws", row["valid"]["mean"])["error"])


def markdown(rows: list[dict[str, Any]], most: int) -> str:
    """Return the first rows as Markdown."""
    first = rows[0]["settings"]
    keys = [k for k in first if any(row["settings"][k] != first[k] for row in rows)]
    measures = [(w, m) for w in rows[0]["valid"] for m in ("error", "nll")]
    header = [*keys, *(f"{m} {'% ' if m == 'error' else ''}({w})" for w, m in measures)]
    body = []
    for row in rows[:most]:
        figures = (100 * row["valid"][w][m] if m == "error" else row["valid"][w][m]
                   for w, m in measures)  # fmt: skip
        cells = [f"{row['settings'][key]}" for key in keys]
        body.append([*cells, *(f"{figure:.4g}" for figure in figures)])
    lines = [
        f"Best {len(body)} of {len(rows)} trainings of {first['epochs']} epochs, by the error on",
        f"{first['num_valid']} validation images. The first one's command:",
        "",
        f"    {rows[0]['command']}",
        "",
        *markdown_table(header, body),
    ]
    return "\n".join([*lines, ""])


def main(argv: Sequence[str]) -> None:
    """Read the trainings, write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exp-dir", type=Path, required=True, help="folder of the search")
    parser.add_argument("--most", type=int, default=20, help="rows (default: %(default)s)")
    args = parser.parse_args(argv)
    rows = make_rows([run for each in read_runs(args.exp_dir).values() for run in each])
    write_text(args.exp_dir / "search.json", json.dumps(rows, indent=1) + "\n")
    write_text(args.exp_dir / "SEARCH.md", markdown(rows, args.most))
    print(markdown(rows, args.most))


if __name__ == "__main__":
    script.run(main)
