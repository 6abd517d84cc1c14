"""The table at the end of a speaker recipe: results.json, RESULTS.md, det.png, and a print.

Rows are {cosine, PLDA} x systems, as in Table 2 of Li et al. 2020; intervals resample speakers.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from bbb import scoring

P_TARGETS = (0.01, 0.001)
BACKENDS = {"cosine": "cosine", "plda": "PLDA"}


def main() -> None:
    """Read the score files, evaluate each, write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exp-dir", type=Path, required=True)
    parser.add_argument("--trials", type=Path, required=True)
    parser.add_argument("--utt2spk", type=Path, required=True)
    parser.add_argument("--systems", nargs="+", required=True, help="NAME=FOLDER in --exp-dir")
    parser.add_argument("--ci", type=int, default=1000, help="bootstrap resamples; 0: no intervals")
    parser.add_argument("--title", default="")
    args = parser.parse_args()
    trials = scoring.read_trials(args.trials)
    speakers = scoring.trial_speakers(trials, scoring.read_utt2spk(args.utt2spk))
    systems = dict(word.split("=", 1) for word in args.systems)
    cells = [(backend, system) for backend in BACKENDS for system in systems]
    rows, curves = [], {}
    for backend, system in track(cells, "evaluating", transient=True):
        file = args.exp_dir / systems[system] / f"{backend}.scores"
        scores = scoring.align_scores(scoring.read_scores(file), trials, name=str(file))
        report = scoring.evaluate(
            scores, trials.is_target, P_TARGETS, num_resamples=args.ci, speakers=speakers
        )
        rows.append({"backend": backend, "system": system, **_row(report)})
        curves[f"{BACKENDS[backend]}, {system}"] = (scores, trials.is_target)
    args.exp_dir.mkdir(parents=True, exist_ok=True)
    scoring.plot_det(curves, args.exp_dir / "det.png", title=args.title)
    (args.exp_dir / "results.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    text = markdown(rows, args.title, report["num_target"], report["num_nontarget"])
    (args.exp_dir / "RESULTS.md").write_text(text, encoding="utf-8")
    _print(rows, args.title)
    print(f"wrote results.json, RESULTS.md and det.png to {args.exp_dir}")


def _row(report: dict[str, Any]) -> dict[str, Any]:
    """The columns of a row; without a bootstrap the intervals are null."""
    return {
        "eer": report["eer"],
        "eer_ci": report.get("eer_ci"),
        "min_dcf": report["min_dcf"],
        "min_dcf_ci": report.get("min_dcf_ci"),
    }


def _cells(row: dict[str, Any]) -> list[str]:
    """The texts of a row."""
    low, high = row["eer_ci"] or (None, None)
    interval = "" if low is None else f"{100 * low:.2f} to {100 * high:.2f}"
    costs = [f"{row['min_dcf'][f'{p:g}']:.4f}" for p in P_TARGETS]
    return [BACKENDS[row["backend"]], row["system"], f"{100 * row['eer']:.2f}", interval, *costs]


HEADER = ["back-end", "system", "EER %", "95 % interval", *(f"min-DCF {p:g}" for p in P_TARGETS)]


def markdown(rows: list[dict[str, Any]], title: str, targets: int, nontargets: int) -> str:
    """The table as Markdown."""
    lines = [f"# {title}", "", f"{targets} target and {nontargets} nontarget trials; intervals "]
    lines[-1] += "resample speakers. min-DCF at P_target 0.01 (VoxCeleb) and 0.001 (SRE10)."
    lines += ["", "| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
    return "\n".join([*lines, "", "![DET curves](det.png)", ""])


def _print(rows: list[dict[str, Any]], title: str) -> None:
    """The table in the terminal."""
    table = Table(*HEADER[:2], title=title, title_justify="left")
    for name in HEADER[2:]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*_cells(row), end_section=row is rows[len(rows) // 2 - 1])
    Console().print(table)


if __name__ == "__main__":
    main()
