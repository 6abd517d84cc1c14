"""The table of all runs, beside published figures if there are any, and pictures.

Writes results.json, RESULTS.md, and curves, variance, snr, reconstructions and samples (.png).
Intervals are Student's t over the seeds; differences from the first estimator are paired by seed.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from figures import draw_curves, draw_images
from rich.console import Console
from rich.table import Table
from scipy.special import stdtrit
from settings import Options, read_options

from bbb._files import write_text  # noqa: PLC2701 (same repository)
from bbb.errors import BBBError, DataError

Runs = dict[str, list[dict[str, Any]]]
HEADER = (
    *("estimator", "costs per step", "-ELBO", "95 % interval", "less the first", "95 % interval"),
    *("bound", "CPU s"),
)


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean of one value per seed, and the ends of its 95 % t interval; NaN of one seed."""
    mean = float(np.mean(values))
    if len(values) < 2:  # noqa: PLR2004
        return mean, float("nan"), float("nan")
    half = stdtrit(len(values) - 1, 0.975) * np.std(values, ddof=1) / np.sqrt(len(values))
    return mean, mean - half, mean + half


def read_runs(options: Options) -> Runs:
    """Read what each estimator reached with each seed.

    Raises:
        DataError: If a training is missing.
    """
    runs: Runs = {}
    for spec in options.estimator:
        files = [options.exp_dir / spec / f"seed{seed}" / "run.json" for seed in options.seeds]
        missing = [str(file) for file in files if not file.exists()]
        if missing:
            msg = f"no {missing[0]}; train first (stage 1)"
            raise DataError(msg)
        runs[spec] = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return runs


def make_rows(runs: Runs, reference: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each estimator."""
    first = next(iter(runs.values()))
    rows = []
    for spec, each in runs.items():
        elbos = [run["negative_elbo"] for run in each]
        gain = [a["negative_elbo"] - b["negative_elbo"] for a, b in zip(each, first, strict=True)]
        rows.append(
            {
                "estimator": spec,
                "evals": each[0]["evals"],
                "seeds": [run["seed"] for run in each],
                "negative_elbo": interval(elbos),
                "difference": interval(gain),
                "negative_bound": interval([run["negative_bound"] for run in each]),
                "cpu_seconds": float(np.mean([run["cpu_seconds"] for run in each])),
                "reference": reference.get(spec),
            }
        )
    return rows


def cells(row: dict[str, Any], first: dict[str, Any]) -> list[str]:
    """Return the texts of a row."""
    (elbo, *ends), (gain, *gain_ends) = row["negative_elbo"], row["difference"]
    same = row is first
    texts = [
        *(row["estimator"], str(row["evals"]), f"{elbo:.2f}", between(ends)),
        *(("", "") if same else (f"{gain:+.2f}", between(gain_ends, "+.2f"))),
        *(f"{row['negative_bound'][0]:.2f}", f"{row['cpu_seconds']:.1f}"),
    ]
    if first["reference"]:
        known = row["reference"] or {}
        less = known.get("negative_elbo", 0) - first["reference"]["negative_elbo"]
        texts += [f"{known['negative_elbo']:.2f}" if known else ""]
        texts += [f"{less:+.2f}" if known and not same else ""]
        texts += [f"{known['negative_bound']:.2f}" if known else ""]
    return texts


def between(ends: Sequence[float], form: str = ".2f") -> str:
    """Return the text of an interval; none of one seed."""
    return "" if np.isnan(ends[0]) else f"{ends[0]:{form}} to {ends[1]:{form}}"


def header(rows: list[dict[str, Any]]) -> list[str]:
    """Return the names of the columns."""
    if not rows[0]["reference"]:
        return list(HEADER)
    return [*HEADER, "-ELBO, ref.", "less the first, ref.", "bound, ref."]


def markdown(rows: list[dict[str, Any]], options: Options) -> str:
    """Return the table as Markdown."""
    settings = options.settings
    what = f"{Path(settings.data).stem}, {settings.latent} z of {settings.latent_size}"
    title = (
        f"Test set, nats per image, lower is better. {what}, {settings.steps} steps, "
        f"seeds {options.seeds}; bound: {settings.bound_samples} samples."
    )
    lines = [
        title,
        "",
        "| " + " | ".join(header(rows)) + " |",
        "|" + "---|" * len(header(rows)),
    ]
    lines += ["| " + " | ".join(cells(row, rows[0])) + " |" for row in rows]
    pictures = ("curves", "variance", "snr", "reconstructions", "samples")
    return "\n".join([*lines, "", *(f"![{name}]({name}.png)" for name in pictures), ""])


def main(argv: Sequence[str]) -> None:
    """Read the runs, write and print the table, draw."""
    options = read_options(argv, __doc__)
    runs = read_runs(options)
    reference = json.loads(options.reference.read_text()) if options.reference else {}
    rows = make_rows(runs, reference)
    # JSON has no NaN: an interval of one seed is null.
    finite = json.loads(json.dumps(rows), parse_constant=lambda _: None)
    write_text(options.exp_dir / "results.json", json.dumps(finite, indent=1) + "\n")
    write_text(options.exp_dir / "RESULTS.md", markdown(rows, options))
    draw_curves(runs, options.exp_dir)
    draw_images(options)
    table = Table(*header(rows))
    for row in rows:
        table.add_row(*cells(row, rows[0]))
    Console(width=max(120, Console().width)).print(table)
    print(f"wrote results.json, RESULTS.md and pictures to {options.exp_dir}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (BBBError, OSError) as error:
        sys.exit(f"error: {error}")
