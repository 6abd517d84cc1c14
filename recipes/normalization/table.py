"""The tables of the recipe, from what systems.py wrote: results.json, RESULTS.md, results.png.

Figures are means over runs (extractors times seeds of the normalisers). The interval of a
difference to the raw embeddings resamples evaluation speakers, the same ones for both systems and
all runs; the runs themselves are averaged, not resampled.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bbb import scoring

BACKENDS = {
    "cosine": "cosine",
    "lda_cosine": "LDA, cosine",
    "plda": "PLDA",
    "lda_plda": "LDA, PLDA",
}
METRICS = ("eer", "min_dcf")
HEADER = (
    "back-end",
    "system",
    "EER %",
    "of runs",
    "less raw",
    "95 % interval",
    "p",
    "min-DCF 0.01",
)
HEADER += ("less raw", "95 % interval", "p")
SHORT = (0, 1, 2, 4, 5, 6, 7)
MOMENTS = ("skewness", "kurtosis", "skewness of speakers", "kurtosis of speakers")


def main() -> None:
    """Read the runs, compare every system with the raw embeddings, write and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="of systems.py")
    parser.add_argument("--trials", type=Path, required=True)
    parser.add_argument("--utt2spk", type=Path, required=True)
    parser.add_argument("--ci", type=int, default=1000, help="bootstrap resamples; 0: no intervals")
    parser.add_argument("--title", default="")
    parser.add_argument("--output", type=Path, required=True, help="folder")
    args = parser.parse_args()
    trials = scoring.read_trials(args.trials)
    speakers = scoring.trial_speakers(trials, scoring.read_utt2spk(args.utt2spk))
    runs = [dict(np.load(path)) for path in args.runs]
    systems = list(dict.fromkeys(key.split(":")[0] for key in runs[0]))
    cells = [(backend, system) for backend in BACKENDS for system in systems]
    rows = []
    for backend, system in track(cells, "evaluating", transient=True):
        found = np.stack([run[f"{system}:{backend}"] for run in runs])
        raw = np.stack([run[f"raw:{backend}"] for run in runs])
        rows.append({"backend": backend, "system": system})
        rows[-1] |= _figures(
            found, raw, trials.is_target, speakers, 0 if system == "raw" else args.ci
        )
    moments = {s: np.mean([run[f"{s}:moments"] for run in runs], axis=0).tolist() for s in systems}
    args.output.mkdir(parents=True, exist_ok=True)
    results = {"runs": len(runs), "rows": rows, "moments": moments}
    (args.output / "results.json").write_text(
        json.dumps(results, indent=2) + "\n", encoding="utf-8"
    )
    text = _markdown(rows, moments, f"{args.title}, mean of {len(runs)} runs")
    (args.output / "RESULTS.md").write_text(text, encoding="utf-8")
    _picture(rows, systems, args.output / "results.png", args.title)
    # A terminal is narrower than a page.
    table = Table(*(HEADER[i] for i in SHORT), title=args.title, title_justify="left")
    for row in rows:
        cells = _cells(row)
        table.add_row(*(cells[i] for i in SHORT), end_section=row["system"] == systems[-1])
    Console().print(table)
    print(f"wrote results.json, RESULTS.md and results.png to {args.output}")


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
    if result is None:
        return ["", "", ""]
    low, high = (f"{unit * value:+.{digits}f}" for value in result["ci"])
    return [f"{unit * result['value']:+.{digits}f}", f"{low} to {high}", f"{result['p_value']:.3f}"]


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


def _lines(header: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    """A table in Markdown."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows)]


def _markdown(rows: list[dict[str, Any]], moments: dict[str, list[float]], title: str) -> str:
    """Both tables."""
    shape = [[name, *(f"{value:.2f}" for value in values)] for name, values in moments.items()]
    lines = [f"# {title}", "", *_lines(HEADER, [_cells(row) for row in rows]), ""]
    lines += [
        "Mean absolute skewness and excess kurtosis of a dimension (0 for a Gaussian) of the "
    ]
    lines[-1] += "evaluation embeddings, and of the means of their speakers:"
    lines += ["", *_lines(("system", *MOMENTS), shape), "", "![EER](results.png)", ""]
    return "\n".join(lines)


def _picture(rows: list[dict[str, Any]], systems: list[str], path: Path, title: str) -> None:
    """EER by back-end and system, with the range of the runs."""
    figure = Figure(figsize=(8.0, max(3.6, 0.2 * len(systems))), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(systems)
    for number, system in enumerate(systems):
        runs = 100 * np.array([row["eer_by_run"] for row in rows if row["system"] == system])
        mean = runs.mean(axis=1)
        places = np.arange(len(BACKENDS)) + (number - (len(systems) - 1) / 2) * width
        error = np.stack((mean - runs.min(axis=1), runs.max(axis=1) - mean))
        axes.bar(places, mean, width, yerr=error, label=system)
    axes.set_xticks(np.arange(len(BACKENDS)), list(BACKENDS.values()))
    axes.set_ylabel("EER, %")
    axes.set_title(title)
    figure.legend(loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
