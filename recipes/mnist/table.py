"""The table of all trainings, beside the paper's: RESULTS.md and results.json in --exp-dir."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bbb.files import write_text
from recipes.common import script
from recipes.common.statistics import interval_text, t_interval
from recipes.common.tables import markdown_table, print_table
from recipes.mnist.runs import Run, read_runs

PAPER = json.loads(Path(__file__).with_name("paper.json").read_text(encoding="utf-8"))
HEADER = (
    *(
        "training",
        "system",
        "units",
        "seeds",
        "weights",
        "test error %",
        "less sgd",
        "NLL",
        "ECE %",
    ),
    *("paper: error %", "CPU min"),
)
MEASURES = ("error", "nll", "ece")


def make_rows(runs: dict[str, list[Run]]) -> list[dict[str, Any]]:
    """Return rows of trainings that looked at the test set, one for means and one for draws."""
    rows = []
    for name, each in runs.items():
        settings = each[0]["settings"]
        for weights in ("mean", "draws"):
            if not all(weights in run.get("test", {}) for run in each):
                continue
            found = {m: t_interval([run["test"][weights][m] for run in each]) for m in MEASURES}
            rows.append(
                {
                    "training": name,
                    "system": settings["system"],
                    "units": settings["units"],
                    "seeds": [run["settings"]["seed"] for run in each],
                    "weights": weights if settings["system"] in {"gaussian", "mixture"} else "",
                    **found,
                    "less_sgd": less_sgd(each, weights, runs),
                    "paper": PAPER["error"][settings["system"]].get(str(settings["units"])),
                    "cpu_minutes": sum(run["cpu_seconds"] for run in each) / len(each) / 60,
                    "commands": [run["command"] for run in each],
                }
            )
    return rows


def less_sgd(
    each: list[Run], weights: str, runs: dict[str, list[Run]]
) -> list[float | None] | None:
    """Return the error less the plain net's, paired by seed, as mean and interval.

    The plain net is the first one of as many units and training images, by the same optimiser, that
    has all of these seeds; None without one.
    """
    mine = {run["settings"]["seed"]: run["test"][weights]["error"] for run in each}
    alike = ("units", "optimizer", "data", "num_valid")
    for plain in runs.values():
        same = all(plain[0]["settings"][key] == each[0]["settings"][key] for key in alike)
        if not same or plain is each or plain[0]["settings"]["system"] != "sgd":
            continue
        errors = {r["settings"]["seed"]: r["test"]["mean"]["error"] for r in plain if "test" in r}
        if mine.keys() <= errors.keys():
            return t_interval([error - errors[seed] for seed, error in mine.items()])
    return None


def cells(row: dict[str, Any]) -> list[str]:
    """Return the texts of a row."""
    return [
        *(row["training"], row["system"], str(row["units"]), str(len(row["seeds"]))),
        *(row["weights"], interval_text(row["error"], unit=100)),
        interval_text(row["less_sgd"], "+.2f", 100) if row["less_sgd"] else "",
        interval_text(row["nll"], ".4f"),
        interval_text(row["ece"], unit=100),
        f"{row['paper']:.2f}" if row["paper"] else "",
        f"{row['cpu_minutes']:.1f}",
    ]


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return table and commands as Markdown."""
    commands = {row["training"]: row["commands"][0] for row in rows}
    lines = [
        "Test set, looked at once, by the net of the last epoch. Means over seeds with 95 % t",
        "intervals; ECE of 15 bins; CPU minutes of training, mean of the seeds.",
        f"Paper: {PAPER['source']}.",
        "",
        *markdown_table(HEADER, [cells(row) for row in rows]),
        "",
        *(f"    {command}  # {name}" for name, command in commands.items()),
        "",
    ]
    return "\n".join(lines)


def main(argv: Sequence[str]) -> None:
    """Read the trainings, write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exp-dir", type=Path, required=True, help="folder of the trainings")
    parser.add_argument("--names", nargs="+", help="which trainings (default: all)")
    args = parser.parse_args(argv)
    rows = make_rows(read_runs(args.exp_dir, args.names))
    write_text(args.exp_dir / "results.json", json.dumps(rows, indent=1) + "\n")
    write_text(args.exp_dir / "RESULTS.md", markdown(rows))
    print_table(HEADER, [cells(row) for row in rows], width=180)
    print(f"wrote results.json and RESULTS.md to {args.exp_dir}")


if __name__ == "__main__":
    script.run(main)
