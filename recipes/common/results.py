"""The tables at the end of a speaker recipe: results.json, RESULTS.md, DET curves, and a print.

One table for each list of trials; its rows are {cosine, PLDA} x systems, as in Table 2 of Li et al.
2020. Intervals resample speakers.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import track

from bbb import scoring
from bbb.files import write_text
from recipes.common import script
from recipes.common.options import read_options
from recipes.common.tables import markdown_table, print_table

P_TARGETS = (0.01, 0.001)
BACKENDS = {"cosine": "cosine", "plda": "PLDA"}
HEADER = ["back-end", "system", "EER %", "95 % interval", *(f"min-DCF {p:g}" for p in P_TARGETS)]
PUBLISHED = ["published EER %", "published min-DCF"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Of the tables.

    Attributes:
        exp_dir: Folder of the systems.
        evaluation: Folder of their scores, in theirs, and of the results, in exp_dir.
        systems: NAME=FOLDER, with folders in exp_dir.
        trials: Lists of trials.
        utt2spk: Speakers of their utterances, which the intervals resample.
        enroll_map: Utterances of each model, where the trials name models.
        published: JSON file: list, back-end, system, to the EER in percent and the min-DCF.
        ci: Bootstrap resamples; 0: no intervals.
        title: Of the tables.
    """

    exp_dir: Path
    evaluation: str = "."
    systems: list[str]
    trials: list[Path]
    utt2spk: list[Path]
    enroll_map: Path | None = None
    published: Path | None = None
    ci: int = 1000
    title: str = ""

    def speakers(self, lists: Sequence[scoring.Trials]) -> dict[str, str]:
        """Speakers of utterances and of models; a target trial tells that of its test side."""
        found: dict[str, str] = {}
        for file in self.utt2spk:
            found |= scoring.read_utt2spk(file)
        if self.enroll_map is not None:
            models = scoring.read_enroll_map(self.enroll_map)
            found |= {model: found[names[0]] for model, names in models.items()}
            for trials in lists:
                for row in trials.is_target.nonzero()[0]:
                    enroll, test = trials.enroll_ids[trials.enroll[row]], trials.test[row]
                    found[trials.test_ids[test]] = found[enroll]
        return found


def main(argv: Sequence[str]) -> None:
    """Read the score files, evaluate each on each list, write and print the tables."""
    options = read_options(Options, argv, __doc__)
    folder = options.exp_dir / options.evaluation
    systems = dict(word.split("=", 1) for word in options.systems)
    lists = {file.name: scoring.read_trials(file) for file in options.trials}
    speakers = options.speakers([*lists.values()])
    published = json.loads(options.published.read_text()) if options.published else {}
    files = {
        (backend, system): options.exp_dir / name / options.evaluation / f"{backend}.scores"
        for backend in BACKENDS
        for system, name in systems.items()
    }
    scores = {key: scoring.read_scores(file) for key, file in files.items()}
    rows, lines = [], [f"# {options.title}"]
    for name, trials in lists.items():
        part, aligned = [], {}
        sides = scoring.trial_speakers(trials, speakers)
        for (backend, system), file in track(files.items(), f"evaluating {name}", transient=True):
            values = scoring.align_scores(scores[backend, system], trials, name=str(file))
            report = scoring.evaluate(
                values, trials.is_target, P_TARGETS, num_resamples=options.ci, speakers=sides
            )
            # Without a bootstrap the intervals are null.
            found = {key: report.get(key) for key in ("eer", "eer_ci", "min_dcf", "min_dcf_ci")}
            part.append({"trials": name, "backend": backend, "system": system, **found})
            aligned[f"{BACKENDS[backend]}, {system}"] = (values, trials.is_target)
        picture = "det.png" if len(lists) == 1 else f"det_{name}.png"
        scoring.plot_det(aligned, folder / picture, title=f"{options.title} {name}")
        targets = int(trials.is_target.sum())
        counts = f"{name}: {targets} target and {len(trials) - targets} nontarget trials"
        header, cells = _table(part, published.get(name, {}))
        lines += ["", counts + ".", "", *markdown_table(header, cells), "", f"![DET]({picture})"]
        title = f"{options.title}, {counts}"
        print_table(header, cells, title=title, section=len(systems), width=8 + 14 * len(header))
        rows += part
    notes = "Intervals resample speakers. min-DCF at P_target 0.01 (VoxCeleb) and 0.001 (SRE10)."
    write_text(folder / "results.json", json.dumps(rows, indent=2) + "\n")
    write_text(folder / "RESULTS.md", "\n".join([*lines, "", notes, ""]))
    print(f"wrote results.json, RESULTS.md and DET curves to {folder}")


def _table(
    rows: Sequence[dict[str, Any]], published: dict[str, Any]
) -> tuple[list[str], list[list[str]]]:
    """Header and texts of a list's table, with published figures beside ours where there are."""
    cells = [_cells(row) for row in rows]
    if not published:
        return HEADER, cells
    for row, texts in zip(rows, cells, strict=True):
        eer, dcf = published.get(row["backend"], {}).get(row["system"], (None, None))
        texts += ["" if eer is None else f"{eer:.2f}", "" if dcf is None else f"{dcf:.4f}"]
    return HEADER + PUBLISHED, cells


def _cells(row: dict[str, Any]) -> list[str]:
    """The texts of a row."""
    interval = "{:.2f} to {:.2f}".format(*(100 * x for x in row["eer_ci"])) if row["eer_ci"] else ""
    costs = [f"{row['min_dcf'][f'{p:g}']:.4f}" for p in P_TARGETS]
    return [BACKENDS[row["backend"]], row["system"], f"{100 * row['eer']:.2f}", interval, *costs]


if __name__ == "__main__":
    script.run(main)
