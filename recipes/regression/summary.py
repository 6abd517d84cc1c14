"""The tables of the sets, and of the curves that are there: results.json, RESULTS.md, and a print.

Intervals over splits are corrected for their common training examples; those of differences are
paired by split. Intervals over seeds are Student's t.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bbb.errors import DataError
from bbb.files import write_text
from recipes.common import script
from recipes.common.options import read_options
from recipes.common.statistics import interval_text, t_interval
from recipes.common.tables import markdown_table, print_markdown
from recipes.regression.curves import Results
from recipes.regression.options import SetOptions

METHODS = {
    "plain": "plain net, fitted noise",
    "ensemble": "ensemble of plain nets",
    "bbb_gaussian": "BBB, Gaussian prior",
    "bbb_mixture": "BBB, scale mixture prior",
    "ridge": "Bayesian ridge",
    "gp": "Gaussian process",
}
CURVES = {"bbb": "BBB", "plain": "plain nets over seeds", "gp": "Gaussian process"}
Rows = list[dict[str, Any]]


def read(file: Path) -> dict[str, Any]:
    """Return what a part wrote.

    Raises:
        DataError: If it is not there.
    """
    if not file.exists():
        msg = f"no {file}; run the earlier stages first"
        raise DataError(msg)
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def set_rows(folder: Path) -> Rows:
    """Return the rows of one set, each with its differences from the plain net."""
    found = {method: read(folder / f"{method}.json") for method in METHODS}
    rows = []
    for method, result in found.items():
        row: dict[str, Any] = {"set": folder.name, "method": method, "splits": len(result["ll"])}
        for key in ("ll", "rmse"):
            gain = np.subtract(result[key], found["plain"][key])
            row[key] = t_interval(result[key], result["overlap"])
            row[f"{key}_difference"] = t_interval(gain.tolist(), result["overlap"])
        rows.append(row)
    return rows


def set_table(rows: Rows) -> list[str]:
    """Return the table of the sets."""
    header = ["set", "method", "log likelihood", "less the plain net's", "RMSE", "less the plain's"]
    cells = []
    for row in rows:
        form = ".2f" if row["rmse"][0] >= 1 else ".4f"
        forms = {"ll": ".3f", "ll_difference": "+.3f", "rmse": form, "rmse_difference": f"+{form}"}
        texts = {key: interval_text(row[key], shape) for key, shape in forms.items()}
        if row["method"] == "plain":
            texts["ll_difference"] = texts["rmse_difference"] = ""
        cells.append([row["set"], METHODS[row["method"]], *texts.values()])
    return markdown_table(header, cells)


def curve_table(results: Results) -> list[str]:
    """Return the table of a task with one input."""
    columns = list(results["bbb"])
    cells = [
        [CURVES[method], *(interval_text(row[column], ".3g") for column in columns)]
        for method, row in results.items()
    ]
    return markdown_table(["method", *columns], cells)


def main(argv: Sequence[str]) -> None:
    """Read the results that are there, write and print the tables."""
    options = read_options(SetOptions, argv, __doc__)
    files = {task: options.exp_dir / f"{task}.json" for task in ("curve", "gap")}
    curves = {task: read(file) for task, file in files.items() if file.exists()}
    sets = {name: set_rows(options.exp_dir / name) for name in options.sets}
    lines = []
    for task, found in curves.items():
        seeds = len(found["options"]["seeds"])
        lines += [f"## {task}", "", f"Mean over {seeds} seeds and its 95 % interval.", ""]
        lines += [*curve_table(found["results"]), "", f"![{task}]({task}.png)", ""]
    rows = [row for each in sets.values() for row in each]
    splits = " or ".join(str(number) for number in sorted({row["splits"] for row in rows}))
    what = f"Test part, {splits} random splits; mean and 95 % interval. Log likelihood: "
    what += "nats per example, higher is better; RMSE: unit of the targets, lower is better."
    lines += ["## Small sets", "", what, "", *set_table(rows), ""]
    results = {task: found["results"] for task, found in curves.items()} | {"sets": rows}
    write_text(options.exp_dir / "results.json", json.dumps(results, indent=1) + "\n")
    text = "\n".join(lines)
    write_text(options.exp_dir / "RESULTS.md", text)
    print_markdown(text)
    print(f"wrote results.json and RESULTS.md to {options.exp_dir}")


if __name__ == "__main__":
    script.run(main)
