"""The table at the end of a speaker recipe: results.json, RESULTS.md, det.png, and a print.

Rows are {cosine, PLDA} x systems, as in Table 2 of Li et al. 2020; intervals resample speakers.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import track

from bbb import scoring
from bbb._files import write_text  # noqa: PLC2701 (same repository)
from recipes.common import script
from recipes.common.evaluation import TableOptions
from recipes.common.options import read_options
from recipes.common.tables import markdown_table, print_table

P_TARGETS = (0.01, 0.001)
BACKENDS = {"cosine": "cosine", "plda": "PLDA"}
HEADER = ["back-end", "system", "EER %", "95 % interval", *(f"min-DCF {p:g}" for p in P_TARGETS)]


@dataclass(frozen=True, kw_only=True)
class Options(TableOptions):
    """Of the table.

    Attributes:
        exp_dir: Folder of the systems, and of the results.
        systems: NAME=FOLDER, with folders in exp_dir.
        title: Of the table.
    """

    exp_dir: Path
    systems: list[str]
    title: str = ""


def main(argv: Sequence[str]) -> None:
    """Read the score files, evaluate each, write and print the table."""
    options = read_options(Options, argv, __doc__)
    trials, speakers = options.load()
    systems = dict(word.split("=", 1) for word in options.systems)
    pairs = [(backend, system) for backend in BACKENDS for system in systems]
    rows, curves = [], {}
    for backend, system in track(pairs, "evaluating", transient=True):
        file = options.exp_dir / systems[system] / f"{backend}.scores"
        scores = scoring.align_scores(scoring.read_scores(file), trials, name=str(file))
        report = scoring.evaluate(
            scores, trials.is_target, P_TARGETS, num_resamples=options.ci, speakers=speakers
        )
        # Without a bootstrap the intervals are null.
        found = {key: report.get(key) for key in ("eer", "eer_ci", "min_dcf", "min_dcf_ci")}
        rows.append({"backend": backend, "system": system, **found})
        curves[f"{BACKENDS[backend]}, {system}"] = (scores, trials.is_target)
    scoring.plot_det(curves, options.exp_dir / "det.png", title=options.title)
    write_text(options.exp_dir / "results.json", json.dumps(rows, indent=2) + "\n")
    cells = [_cells(row) for row in rows]
    counts = f"{report['num_target']} target and {report['num_nontarget']} nontarget trials"
    lines = [f"# {options.title}", "", f"{counts}; intervals resample speakers. min-DCF at "]
    lines[-1] += "P_target 0.01 (VoxCeleb) and 0.001 (SRE10)."
    lines += ["", *markdown_table(HEADER, cells), "", "![DET curves](det.png)", ""]
    write_text(options.exp_dir / "RESULTS.md", "\n".join(lines))
    print_table(HEADER, cells, title=options.title, section=len(systems))
    print(f"wrote results.json, RESULTS.md and det.png to {options.exp_dir}")


def _cells(row: dict[str, Any]) -> list[str]:
    """The texts of a row."""
    interval = "{:.2f} to {:.2f}".format(*(100 * x for x in row["eer_ci"])) if row["eer_ci"] else ""
    costs = [f"{row['min_dcf'][f'{p:g}']:.4f}" for p in P_TARGETS]
    return [BACKENDS[row["backend"]], row["system"], f"{100 * row['eer']:.2f}", interval, *costs]


if __name__ == "__main__":
    script.run(main)
