"""The tables of the recipe, from what codes.py wrote: results.json, RESULTS.md, results.png.

EERs are means over runs (extractors, each with codes of its own seed). The interval of a difference
resamples evaluation speakers, the same ones for both systems and all runs; the runs themselves are
averaged, not resampled.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from matplotlib import colormaps
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bbb import scoring

COMPARED = ("bits", "A", "B", "EER % A", "EER % B", "B - A", "95 % interval", "p")


def main() -> None:
    """Score the runs, compare the pairs of the configuration, write and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="of codes.py")
    parser.add_argument("--config", type=Path, required=True, help="the one of codes.py")
    parser.add_argument("--trials", type=Path, required=True)
    parser.add_argument("--utt2spk", type=Path, required=True)
    parser.add_argument("--ci", type=int, default=1000, help="bootstrap resamples; 0: no intervals")
    parser.add_argument("--title", default="")
    parser.add_argument("--output", type=Path, required=True, help="folder")
    args = parser.parse_args()
    trials = scoring.read_trials(args.trials)
    speakers = scoring.trial_speakers(trials, scoring.read_utt2spk(args.utt2spk))
    runs = [dict(np.load(path)) for path in args.runs]
    cells = {key: [] for key in runs[0] if key != "ids"}
    for key in track(cells, "scoring", transient=True):
        cells[key] = [
            scoring.equal_error_rate(score(run, key, trials), trials.is_target) for run in runs
        ]
    config = yaml.safe_load(args.config.read_text(encoding="utf-8"))

    def scores(key: str) -> np.ndarray:
        """Scores of all runs, shape (runs, trials)."""
        return np.stack([score(run, key, trials) for run in runs])

    pairs = compared_pairs(config, cells) if args.ci else []
    compared = [
        comparison(pair, scores, trials.is_target, speakers, args.ci)
        for pair in track(pairs, "comparing", transient=True)
    ]
    rows = []
    for key, eers in cells.items():
        system, bits = key.rsplit(":", 1)
        size = runs[0][key].nbytes // len(runs[0][key])
        rows.append({"system": system, "bits": int(bits), "bytes": size})
        rows[-1] |= {"eer": float(np.mean(eers)), "eer_by_run": eers}
    write(args.output, args.title, rows, compared, len(runs))


def score(run: dict[str, np.ndarray], key: str, trials: scoring.Trials) -> np.ndarray:
    """Scores of the trials: Hamming for codes, cosine for floats, shape (trials,)."""
    table = {name: row for row, name in enumerate(run["ids"].tolist())}
    sides = ((trials.enroll_ids, trials.enroll), (trials.test_ids, trials.test))
    index = [np.array([table[name] for name in ids])[codes] for ids, codes in sides]
    rows = run[key]
    function = scoring.hamming_scores if rows.dtype == np.uint8 else scoring.cosine_scores
    return function(rows, rows, *index)


def compared_pairs(config: dict[str, Any], cells: dict[str, list[float]]) -> list[tuple[str, str]]:
    """The pairs that the configuration names, at every length where both are."""
    found = []
    for a, b in config["compare"]:
        for bits in config["bits"]:
            keys = tuple(name if ":" in name else f"{name}:{bits}" for name in (a, b))
            if all(key in cells for key in keys) and keys not in found:
                found.append(keys)
    return found


def comparison(
    pair: tuple[str, str],
    scores: Callable[[str], np.ndarray],
    labels: np.ndarray,
    speakers: tuple,
    resamples: int,
) -> dict[str, Any]:
    """EERs of two systems, and the interval of their difference."""
    result = scoring.paired_bootstrap(
        *map(scores, pair), labels, "eer", speakers=speakers, num_resamples=resamples
    )
    row = {"a": pair[0], "b": pair[1], "eer_a": result.a, "eer_b": result.b}
    row |= {"difference": result.difference, "ci": [result.low, result.high]}
    return row | {"p_value": result.p_value}


def write(
    folder: Path, title: str, rows: list[dict[str, Any]], compared: list[dict[str, Any]], runs: int
) -> None:
    """Write the files, and print the first table."""
    folder.mkdir(parents=True, exist_ok=True)
    results = {"runs": runs, "rows": rows, "compared": compared}
    (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    lengths = sorted({row["bits"] for row in rows if row["bits"]})
    header = ["EER %", "floats", *(f"{bits} bits" for bits in lengths)]
    by_system: dict[str, dict[int, str]] = {}
    size = {row["bits"]: row["bytes"] for row in rows}
    for row in rows:
        cells = by_system.setdefault(row["system"], {})
        cells[row["bits"]] = f"{100 * row['eer']:.2f}"
    body = [[name, *(c.get(bits, "") for bits in (0, *lengths))] for name, c in by_system.items()]
    floats = {r["bytes"] for r in rows if not r["bits"]}
    last = " or ".join(str(value) for value in sorted(floats, reverse=True))
    body.append(["bytes of an utterance", last, *(str(size[bits]) for bits in lengths)])
    pairs = [pair_cells(row) for row in compared]
    text = [f"# {title}, mean of {runs} runs", "", *markdown(header, body)]
    text += ["", *markdown(list(COMPARED), pairs)] if pairs else []
    text += ["", "![EER](results.png)", ""]
    (folder / "RESULTS.md").write_text("\n".join(text), encoding="utf-8")
    picture(rows, folder / "results.png", title)
    table = Table(*header, title=f"{title}, mean of {runs} runs", title_justify="left")
    for cells in body:
        table.add_row(*cells)
    Console().print(table)
    print(f"wrote results.json, RESULTS.md and results.png to {folder}")


def pair_cells(row: dict[str, Any]) -> list[str]:
    """The texts of a comparison."""
    (a, _), (b, bits) = (row[side].rsplit(":", 1) for side in "ab")
    low, high = row["ci"]
    return [
        *(bits, a, b, f"{100 * row['eer_a']:.2f}", f"{100 * row['eer_b']:.2f}"),
        f"{100 * row['difference']:+.2f}",
        f"{100 * low:+.2f} to {100 * high:+.2f}",
        f"{row['p_value']:.3f}",
    ]


def markdown(header: list[str], rows: list[list[str]]) -> list[str]:
    """A table in Markdown."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows)]


def picture(rows: list[dict[str, Any]], path: Path, title: str) -> None:
    """EER against the length of the code, with the range of the runs; floats as lines."""
    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.set_prop_cycle(color=colormaps["tab20"].colors)
    for name in dict.fromkeys(row["system"] for row in rows):
        own = [row for row in rows if row["system"] == name]
        eers = 100 * np.array([row["eer_by_run"] for row in own])
        if not own[0]["bits"]:
            axes.axhline(eers.mean(), linestyle="--", color="gray", linewidth=0.8)
            place = (0.01, eers.mean())
            axes.annotate(name, place, xycoords=("axes fraction", "data"), va="bottom", fontsize=7)
            continue
        bits = [row["bits"] for row in own]
        style = {"marker": "o", "markersize": 3, "linestyle": ":" if "," in name else "-"}
        (line,) = axes.plot(bits, eers.mean(axis=1), label=name, **style)
        axes.fill_between(
            bits, eers.min(axis=1), eers.max(axis=1), alpha=0.1, color=line.get_color()
        )
    lengths = sorted({row["bits"] for row in rows if row["bits"]})
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, lengths)
    axes.set_yscale("log")
    axes.set_xlabel("bits")
    axes.set_ylabel("EER, %")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.set_title(title)
    axes.legend(fontsize="x-small")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
