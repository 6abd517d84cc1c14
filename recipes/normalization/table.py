"""The tables of the recipe, from what systems.py wrote: results.json, RESULTS.md, results.png.

Figures are means over runs (extractors times seeds of the normalisers). The interval of a
difference to the raw embeddings resamples evaluation speakers, the same ones for both systems and
all runs; the runs themselves are averaged, not resampled.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from bbb import scoring
from bbb.files import write_text
from bbb.plotting import axes_at
from recipes.common import script
from recipes.common.evaluation import RunsOptions
from recipes.common.options import read_options
from recipes.common.statistics import difference_texts
from recipes.common.tables import markdown_table, print_table

BACKENDS = {
    "cosine": "cosine",
    "lda_cosine": "LDA, cosine",
    "plda": "PLDA",
    "lda_plda": "LDA, PLDA",
}
METRICS = ("eer", "min_dcf")
HEADER = (
    *("back-end", "system", "EER %", "of runs", "less raw", "95 % interval", "p"),
    *("min-DCF 0.01", "less raw", "95 % interval", "p"),
)
# A terminal is narrower than a page.
SHORT = (0, 1, 2, 4, 5, 6, 7)
MOMENTS = ("skewness", "kurtosis", "skewness of speakers", "kurtosis of speakers")


def main(argv: Sequence[str]) -> None:
    """Read the runs, compare every system with the raw embeddings, write and print the tables."""
    options = read_options(RunsOptions, argv, __doc__)
    trials, speakers = options.load()
    runs = options.read_runs()
    systems = list(dict.fromkeys(key.split(":")[0] for key in runs[0]))
    pairs = [(backend, system) for backend in BACKENDS for system in systems]
    rows = []
    for backend, system in track(pairs, "evaluating", transient=True):
        found = np.stack([run[f"{system}:{backend}"] for run in runs])
        raw = np.stack([run[f"raw:{backend}"] for run in runs])
        ci = 0 if system == "raw" else options.ci
        figures = _figures(found, raw, trials.is_target, speakers, ci)
        rows.append({"backend": backend, "system": system, **figures})
    moments = {s: np.mean([run[f"{s}:moments"] for run in runs], axis=0).tolist() for s in systems}
    results = {"runs": len(runs), "rows": rows, "moments": moments}
    write_text(options.output / "results.json", json.dumps(results, indent=2) + "\n")
    text = _markdown(rows, moments, f"{options.title}, mean of {len(runs)} runs")
    write_text(options.output / "RESULTS.md", text)
    _picture(rows, systems, options.output / "results.png", options.title)
    short = [[_cells(row)[i] for i in SHORT] for row in rows]
    header = [HEADER[i] for i in SHORT]
    print_table(header, short, title=options.title, section=len(systems))
    print(f"wrote results.json, RESULTS.md and results.png to {options.output}")


def _figures(
    found: np.ndarray, raw: np.ndarray, labels: np.ndarray, speakers: tuple, ci: int
) -> dict[str, Any]:
    """EER and min-DCF of each run, and the comparison with the raw embeddings, or None."""
    figures: dict[str, Any] = {
        "eer_by_run": [scoring.equal_error_rate(scores, labels) for scores in found],
        "min_dcf_by_run": [scoring.min_dcf(scores, labels, 0.01) for scores in found],
    }
    # Runs of the same extractor have the same raw scores: once is enough.
    raw = np.unique(raw, axis=0) if ci else raw
    compared = [None, None]
    if ci:
        compared = scoring.paired_bootstraps(
            raw, found, labels, METRICS, speakers=speakers, num_resamples=ci
        )
    for metric, result in zip(METRICS, compared, strict=True):
        figures[metric] = float(np.mean(figures[f"{metric}_by_run"]))
        figures[f"{metric}_difference"] = result and {
            "value": result.difference, "ci": [result.low, result.high], "p_value": result.p_value
        }  # fmt: skip
    return figures


def _difference(result: dict[str, Any] | None, unit: float, digits: int) -> list[str]:
    """The texts of a comparison."""
    return difference_texts(result, "value", unit, digits) if result else ["", "", ""]


def _cells(row: dict[str, Any]) -> list[str]:
    """The texts of a row."""
    runs = [100 * value for value in row["eer_by_run"]]
    return [
        *(BACKENDS[row["backend"]], row["system"], f"{100 * row['eer']:.2f}"),
        f"{min(runs):.2f} to {max(runs):.2f}",
        *_difference(row["eer_difference"], 100, 2),
        f"{row['min_dcf']:.4f}",
        *_difference(row["min_dcf_difference"], 1, 4),
    ]


def _markdown(rows: list[dict[str, Any]], moments: dict[str, list[float]], title: str) -> str:
    """Both tables."""
    shape = [[name, *(f"{value:.2f}" for value in values)] for name, values in moments.items()]
    lines = [f"# {title}", "", *markdown_table(HEADER, [_cells(row) for row in rows]), ""]
    lines += [
        "Mean absolute skewness and excess kurtosis of a dimension (0 for a Gaussian) of the "
    ]
    lines[-1] += "evaluation embeddings, and of the means of their speakers:"
    lines += ["", *markdown_table(("system", *MOMENTS), shape), "", "![EER](results.png)", ""]
    return "\n".join(lines)


def _picture(rows: list[dict[str, Any]], systems: list[str], path: Path, title: str) -> None:
    """EER by back-end and system, with the range of the runs."""
    width, size = 0.8 / len(systems), (8.0, max(3.6, 0.2 * len(systems)))
    with axes_at(path, "table.py", size) as axes:
        for number, system in enumerate(systems):
            runs = 100 * np.array([row["eer_by_run"] for row in rows if row["system"] == system])
            mean = runs.mean(axis=1)
            places = np.arange(len(BACKENDS)) + (number - (len(systems) - 1) / 2) * width
            error = np.stack((mean - runs.min(axis=1), runs.max(axis=1) - mean))
            axes.bar(places, mean, width, yerr=error, label=system)
        axes.set_xticks(np.arange(len(BACKENDS)), list(BACKENDS.values()))
        axes.set(ylabel="EER, %", title=title)
        axes.figure.legend(loc="outside right upper", fontsize="small")


if __name__ == "__main__":
    script.run(main)
