"""``bbb evaluate``: EER, min-DCF, act-DCF, Cllr and their intervals of a score file."""

import json
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser

from bbb.cli._parse import parse
from bbb.errors import DataError

if TYPE_CHECKING:
    from bbb.scoring.scores import Scores
    from bbb.scoring.trials import Trials

_HELP = """Print EER, min-DCF, act-DCF, Cllr and min-Cllr of a score file.

Examples:
  bbb evaluate exp/x/plda.scores
  bbb evaluate exp/x/plda.scores --trials data/eval/trials --p-target 0.01 0.001 \\
               --ci 1000 --utt2spk data/eval/utt2spk --det det.png --json result.json

act-DCF and Cllr take the scores as natural log-likelihood ratios, as PLDA writes them; for other
scores they say nothing. With --utt2spk the intervals resample speakers, otherwise trials, which is
too narrow when speakers or utterances appear in many trials.
"""


def make_parser() -> ArgumentParser:
    """The options of ``bbb evaluate``."""
    parser = ArgumentParser(prog="bbb evaluate", description=_HELP, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of the keys below")
    parser.add_argument("scores", type=str, help="lines 'enroll test score [target|nontarget]'")
    parser.add_argument("--trials", type=str | None, help="labels, when the scores have none")
    parser.add_argument(
        "--p-target", type=float, nargs="+", default=[0.01, 0.001], help="prior of a target trial"
    )
    parser.add_argument("--c-miss", type=float, default=1.0, help="cost of a miss")
    parser.add_argument("--c-fa", type=float, default=1.0, help="cost of a false alarm")
    parser.add_argument("--ci", type=int, default=0, help="resamples for 95 %% intervals; 0: none")
    parser.add_argument("--utt2spk", type=str | None, help="resample speakers, not trials")
    parser.add_argument("--seed", type=int, default=0, help="of the resamples")
    parser.add_argument("--det", type=str | None, help="DET curve to draw: .png, .pdf or .svg")
    parser.add_argument("--json", type=str | None, help="file to write with all figures")
    return parser


def main(argv: list[str]) -> None:
    """Run the verb.

    Args:
        argv: Words after ``bbb evaluate``.

    Raises:
        DataError: If there are no labels, or a trial has no score.
        BBBError: If an option or a file is wrong.
    """  # noqa: DOC502 (raised by what it calls)
    args = parse(make_parser(), argv)
    from bbb._files import write_text  # noqa: PLC0415 (--help needs none of these)
    from bbb._plot import check_picture  # noqa: PLC0415
    from bbb.cli._bar import bar  # noqa: PLC0415
    from bbb.scoring.evaluation import evaluate  # noqa: PLC0415
    from bbb.scoring.plot import plot_det  # noqa: PLC0415
    from bbb.scoring.scores import align_scores, read_scores  # noqa: PLC0415
    from bbb.scoring.speakers import read_utt2spk, trial_speakers  # noqa: PLC0415
    from bbb.scoring.trials import read_trials  # noqa: PLC0415

    if args.det:
        check_picture(args.det, "a DET plot")
    found = read_scores(args.scores)
    trials: Trials | Scores = read_trials(args.trials) if args.trials else found
    if trials.is_target is None:
        msg = f"{args.scores} has no labels; name the trial list with --trials"
        raise DataError(msg)
    scores = align_scores(found, trials, name=f"scores of {args.scores}")
    speakers = trial_speakers(trials, read_utt2spk(args.utt2spk)) if args.utt2spk else None
    with bar("resampling", args.ci) as progress:
        report = evaluate(
            scores,
            trials.is_target,
            args.p_target,
            c_miss=args.c_miss,
            c_fa=args.c_fa,
            num_resamples=args.ci,
            speakers=speakers,
            seed=args.seed,
            progress=progress,
        )
    _print(args.scores, report)
    if args.det:
        plot_det({args.scores: (scores, trials.is_target)}, args.det)
    if args.json:
        write_text(args.json, json.dumps(report, indent=2) + "\n")


def _print(name: str, report: dict[str, Any]) -> None:
    """A table with a row per figure, and its interval where there is one."""
    from rich.console import Console  # noqa: PLC0415 (--help needs none of these)
    from rich.table import Table  # noqa: PLC0415

    table = Table("figure")
    table.add_column("value", justify="right")
    if "bootstrap" in report:
        table.add_column(f"95 % interval by {report['bootstrap']['unit']}", justify="right")

    def add(text: str, value: float, interval: list[float] | None, form: str) -> None:
        """Add a row."""
        cells = [text, format(value, form)]
        if interval is not None:
            cells.append(" to ".join(format(end, form) for end in interval))
        table.add_row(*cells)

    add("EER", report["eer"], report.get("eer_ci"), ".2%")
    for key, text in (("min_dcf", "min-DCF"), ("act_dcf", "act-DCF")):
        for prior, value in report[key].items():
            add(f"{text} ({prior})", value, report.get(f"{key}_ci", {}).get(prior), ".4f")
    add("Cllr", report["cllr"], report.get("cllr_ci"), ".4f")
    add("min-Cllr", report["min_cllr"], report.get("min_cllr_ci"), ".4f")
    print(f"{name}: {report['num_target']} target, {report['num_nontarget']} nontarget trials")
    Console().print(table)
