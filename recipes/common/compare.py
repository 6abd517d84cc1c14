"""Is one system better than another? Several seeds, and a bootstrap over speakers that is paired.

For each back-end and pair of systems: the EER of both, averaged over the seeds, their difference,
relative and absolute, its 95 % interval and p-value. A resample draws evaluation speakers and takes
the same ones for both systems and all seeds; the seeds themselves are averaged, not resampled.
"""

import argparse
import functools
import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bbb import scoring

BACKENDS = ("cosine", "plda")
HEADER = (
    *("back-end", "system A", "system B", "EER % A", "EER % B"),
    *("B - A, absolute", "95 % interval", "relative", "p"),
)


def main() -> None:
    """Compare every named pair, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exp-dirs", type=Path, nargs="+", required=True, help="one per seed")
    parser.add_argument("--trials", type=Path, required=True)
    parser.add_argument("--utt2spk", type=Path, required=True)
    parser.add_argument("--pairs", nargs="+", required=True, help="A:B, folders of systems")
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--output", type=Path, required=True, help="comparison.json; .md beside it")
    args = parser.parse_args()
    trials = scoring.read_trials(args.trials)
    speakers = scoring.trial_speakers(trials, scoring.read_utt2spk(args.utt2spk))

    @functools.cache
    def runs(system: str, backend: str) -> np.ndarray:
        """Scores of a system, shape (seeds, trials)."""
        files = [folder / system / f"{backend}.scores" for folder in args.exp_dirs]
        found = [scoring.align_scores(scoring.read_scores(f), trials, name=str(f)) for f in files]
        return np.stack(found)

    rows = []
    cells = [(backend, *pair.split(":")) for backend in BACKENDS for pair in args.pairs]
    for backend, a, b in track(cells, "comparing", transient=True):
        result = scoring.paired_bootstrap(
            runs(a, backend),
            runs(b, backend),
            trials.is_target,
            "eer",
            speakers=speakers,
            num_resamples=args.resamples,
        )
        each = [
            [scoring.equal_error_rate(s, trials.is_target) for s in runs(name, backend)]
            for name in (a, b)
        ]
        rows.append({"backend": backend, "a": a, "b": b, "eer_a": result.a, "eer_b": result.b})
        rows[-1] |= {"difference": result.difference, "ci": [result.low, result.high]}
        rows[-1] |= {"p_value": result.p_value, "eer_a_by_seed": each[0], "eer_b_by_seed": each[1]}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    lines = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
    args.output.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    title = f"{len(args.exp_dirs)} seeds, {args.resamples} resamples of the evaluation speakers"
    table = Table(*HEADER, title=title, title_justify="left")
    for row in rows:
        table.add_row(*_cells(row))
    Console().print(table)


def _cells(row: dict) -> list[str]:
    """The texts of a row."""
    low, high = row["ci"]
    return [
        row["backend"],
        row["a"],
        row["b"],
        f"{100 * row['eer_a']:.2f}",
        f"{100 * row['eer_b']:.2f}",
        f"{100 * row['difference']:+.2f}",
        f"{100 * low:+.2f} to {100 * high:+.2f}",
        f"{100 * row['difference'] / row['eer_a']:+.1f} %",
        f"{row['p_value']:.3f}",
    ]


if __name__ == "__main__":
    main()
