"""The tables of the recipe, from what codes.py wrote: results.json, RESULTS.md, results.png.

EERs are means over runs (extractors, each with codes of its own seed). The interval of a difference
resamples evaluation speakers, the same ones for both systems and all runs; the runs themselves are
averaged, not resampled.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from matplotlib import colormaps
from rich.progress import track

from bbb import scoring
from bbb.files import write_text
from bbb.plotting import axes_at
from recipes.common import script
from recipes.common.evaluation import RunsOptions
from recipes.common.options import read_options
from recipes.common.statistics import comparison, difference_texts
from recipes.common.tables import markdown_table, print_table

COMPARED = ("bits", "A", "B", "EER % A", "EER % B", "B - A", "95 % interval", "p")


@dataclass(frozen=True, kw_only=True)
class Options(RunsOptions):
    """Of the tables.

    Attributes:
        systems: YAML file of the systems, with the pairs to compare.
    """

    systems: Path


def main(argv: Sequence[str]) -> None:
    """Score the runs, compare the pairs of the configuration, write and print the tables."""
    options = read_options(Options, argv, __doc__)
    trials, speakers = options.load()
    runs = options.read_runs()
    cells = {key: [] for key in runs[0] if key != "ids"}
    for key in track(cells, "scoring", transient=True):
        cells[key] = [
            scoring.equal_error_rate(score(run, key, trials), trials.is_target) for run in runs
        ]
    config = yaml.safe_load(options.systems.read_text(encoding="utf-8"))

    def scores(key: str) -> np.ndarray:
        """Scores of all runs, shape (runs, trials)."""
        return np.stack([score(run, key, trials) for run in runs])

    pairs = compared_pairs(config, cells) if options.ci else []
    compared = []
    for a, b in track(pairs, "comparing", transient=True):
        result = scoring.paired_bootstrap(
            *(scores(a), scores(b), trials.is_target, "eer"),
            speakers=speakers,
            num_resamples=options.ci,
        )
        compared.append({"a": a, "b": b, **comparison(result)})
    rows = []
    for key, eers in cells.items():
        system, bits = key.rsplit(":", 1)
        size = runs[0][key].nbytes // len(runs[0][key])
        rows.append({"system": system, "bits": int(bits), "bytes": size})
        rows[-1] |= {"eer": float(np.mean(eers)), "eer_by_run": eers}
    write(options.output, f"{options.title}, mean of {len(runs)} runs", rows, compared, len(runs))


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


def write(
    folder: Path, title: str, rows: list[dict[str, Any]], compared: list[dict[str, Any]], runs: int
) -> None:
    """Write the files, and print the first table."""
    results = {"runs": runs, "rows": rows, "compared": compared}
    write_text(folder / "results.json", json.dumps(results, indent=2) + "\n")
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
    text = [f"# {title}", "", *markdown_table(header, body)]
    text += ["", *markdown_table(COMPARED, pairs)] if pairs else []
    write_text(folder / "RESULTS.md", "\n".join([*text, "", "![EER](results.png)", ""]))
    picture(rows, folder / "results.png", title)
    print_table(header, body, title=title)
    print(f"wrote results.json, RESULTS.md and results.png to {folder}")


def pair_cells(row: dict[str, Any]) -> list[str]:
    """The texts of a comparison."""
    (a, _), (b, bits) = (row[side].rsplit(":", 1) for side in "ab")
    eers = (f"{100 * row[f'eer_{side}']:.2f}" for side in "ab")
    return [bits, a, b, *eers, *difference_texts(row)]


def picture(rows: list[dict[str, Any]], path: Path, title: str) -> None:
    """EER against the length of the code, with the range of the runs; floats as lines."""
    with axes_at(path, "table.py", (7.0, 4.2)) as axes:
        axes.set_prop_cycle(color=colormaps["tab20"].colors)
        for name in dict.fromkeys(row["system"] for row in rows):
            own = [row for row in rows if row["system"] == name]
            eers = 100 * np.array([row["eer_by_run"] for row in own])
            if not own[0]["bits"]:
                axes.axhline(eers.mean(), linestyle="--", color="gray", linewidth=0.8)
                place = (0.01, eers.mean())
                axes.annotate(
                    name, place, xycoords=("axes fraction", "data"), va="bottom", fontsize=7
                )
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
        axes.set(yscale="log", xlabel="bits", ylabel="EER, %", title=title)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.legend(fontsize="x-small")


if __name__ == "__main__":
    script.run(main)
