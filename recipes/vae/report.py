"""The table of all runs, beside published figures if there are any, and pictures.

Writes results.json, RESULTS.md, and curves, variance, snr, reconstructions and samples (.png).
Intervals are Student's t over the seeds; differences from the first estimator are paired by seed.
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
from recipes.common.tables import markdown_table, print_table
from recipes.vae.figures import draw_curves, draw_images
from recipes.vae.settings import Options

Runs = dict[str, list[dict[str, Any]]]
HEADER = ("estimator", "costs per step", "-ELBO", "less the first", "bound", "CPU s")


def read_runs(options: Options) -> Runs:
    """Read what each estimator reached with each seed.

    Raises:
        ConfigError: If a training had other settings.
        DataError: If a training is missing.
    """  # noqa: DOC502 (the first by check_same)
    runs: Runs = {}
    for spec in options.estimator:
        runs[spec] = []
        for seed in options.seeds:
            folder = options.exp_dir / spec / f"seed{seed}"
            # The pictures need the model, too.
            for name in ("run.json", "checkpoint.pt"):
                if not (folder / name).exists():
                    msg = f"no {folder / name}; train first (stage 1)"
                    raise DataError(msg)
            run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            script.check_same(run, options.fixed, folder)
            runs[spec].append(run)
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
                "negative_elbo": t_interval(elbos),
                "difference": t_interval(gain),
                "negative_bound": t_interval([run["negative_bound"] for run in each]),
                "cpu_seconds": float(np.mean([run["cpu_seconds"] for run in each])),
                "reference": reference.get(spec),
            }
        )
    return rows


def cells(row: dict[str, Any], first: dict[str, Any]) -> list[str]:
    """Return the texts of a row."""
    same = row is first
    texts = [
        *(row["estimator"], str(row["evals"]), interval_text(row["negative_elbo"])),
        "" if same else interval_text(row["difference"], "+.2f"),
        *(f"{row['negative_bound'][0]:.2f}", f"{row['cpu_seconds']:.1f}"),
    ]
    if first["reference"]:
        known = row["reference"] or {}
        less = known.get("negative_elbo", 0) - first["reference"]["negative_elbo"]
        texts += [f"{known['negative_elbo']:.2f}" if known else ""]
        texts += [f"{less:+.2f}" if known and not same else ""]
        texts += [f"{known['negative_bound']:.2f}" if known else ""]
    return texts


def header(rows: list[dict[str, Any]]) -> list[str]:
    """Return the names of the columns."""
    if not rows[0]["reference"]:
        return list(HEADER)
    return [*HEADER, "-ELBO, ref.", "less the first, ref.", "bound, ref."]


def markdown(rows: list[dict[str, Any]], options: Options) -> str:
    """Return the table as Markdown."""
    what = f"{Path(options.data).stem}, {options.latent} z of {options.latent_size}"
    title = (
        f"Test set, nats per image, lower is better. {what}, {options.steps} steps, "
        f"seeds {options.seeds}; bound: {options.bound_samples} samples."
    )
    table = markdown_table(header(rows), [cells(row, rows[0]) for row in rows])
    pictures = ("curves", "variance", "snr", "reconstructions", "samples")
    return "\n".join([title, "", *table, "", *(f"![{name}]({name}.png)" for name in pictures), ""])


def main(argv: Sequence[str]) -> None:
    """Read the runs, write and print the table, draw."""
    options = read_options(Options, argv, __doc__)
    runs = read_runs(options)
    reference = json.loads(options.reference.read_text()) if options.reference else {}
    rows = make_rows(runs, reference)
    write_text(options.exp_dir / "results.json", json.dumps(rows, indent=1) + "\n")
    write_text(options.exp_dir / "RESULTS.md", markdown(rows, options))
    draw_curves(runs, options.exp_dir)
    draw_images(options)
    print_table(header(rows), [cells(row, rows[0]) for row in rows], width=120)
    print(f"wrote results.json, RESULTS.md and pictures to {options.exp_dir}")


if __name__ == "__main__":
    script.run(main)
