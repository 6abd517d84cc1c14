"""``bbb evaluate``: EER, min-DCF, act-DCF, Cllr and their intervals of a score file."""

import json
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from bbb.commandline import parse
from bbb.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_HELP = """Print EER, min-DCF, act-DCF, Cllr and min-Cllr of a score file.

Examples:
  bbb evaluate exp/x/plda.scores
  bbb evaluate exp/x/plda.scores --trials data/eval/trials --p-target 0.01 0.01:10:1 \\
               --ci 1000 --utt2spk data/eval/utt2spk --det det.png --json result.json
  bbb evaluate exp/x/plda.scores --preset sre16 --histogram scores.png
  bbb evaluate exp/x/plda.scores --conditions data/eval/spk2gender --utt2spk data/eval/utt2spk
  bbb evaluate exp/x/plda.scores --trials key.tsv --by phone_num_match
  bbb evaluate exp/x/plda.scores --compare exp/y/plda.scores --utt2spk data/eval/utt2spk
  bbb evaluate huge.scores.gz --stream

act-DCF and Cllr take the scores as natural log-likelihood ratios, as PLDA writes them; for other
scores they say nothing. With --utt2spk the intervals resample speakers, otherwise trials, which is
too narrow when speakers or utterances appear in many trials. In a comparison the difference is
that of the second system less the first, both on the same resamples.
"""
_STREAM_LACKS = ("trials", "ci", "utt2spk", "conditions", "by", "compare", "det", "histogram")


def make_parser() -> ArgumentParser:
    """The options of ``bbb evaluate``."""
    parser = ArgumentParser(prog="bbb evaluate", description=_HELP, exit_on_error=False)
    add = parser.add_argument
    add("--config", action="config", help="YAML file with any of the keys below")
    add("scores", type=str, help="lines 'enroll test score [target|nontarget]'")
    add("--trials", type=str | None, help="labels, when the scores have none")
    add(
        "--p-target",
        type=float | str,
        nargs="+",
        default=[0.01, 0.001],
        help="operating points: prior of a target trial, or p_target:c_miss:c_fa",
    )
    add("--c-miss", type=float, default=1.0, help="cost of a miss, where only a prior is given")
    add("--c-fa", type=float, default=1.0, help="cost of a false alarm, likewise")
    add("--preset", type=str, default="", help="voxceleb, sre08, sre10, sre16 or sre18: its points")
    add("--ci", type=int, default=0, help="resamples for 95 %% intervals; 0: none")
    add("--utt2spk", type=str | None, help="resample speakers, not trials")
    add("--seed", type=int, default=0, help="of the resamples")
    add("--compare", type=str | None, help="scores of another system on the same trials")
    add(
        "--conditions",
        type=str | None,
        help="a row of figures for each: lines 'enroll test condition', or 'id condition' as in "
        "spk2gender, or a NIST key",
    )
    add("--by", type=str, default="", help="column of the NIST key (--conditions, or --trials)")
    add("--det", type=str | None, help="DET curves to draw: .png, .pdf or .svg")
    add("--histogram", type=str | None, help="histograms of both classes to draw, likewise")
    add(
        "--stream",
        action="store_true",
        help="labelled scores larger than memory: read twice, exact; figures only",
    )
    add("--json", type=str | None, help="file to write with all figures")
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
    from bbb.cli._report import print_comparison, print_conditions, print_report  # noqa: PLC0415
    from bbb.files import write_text  # noqa: PLC0415 (--help needs none of these)
    from bbb.plotting import check_picture  # noqa: PLC0415

    for path, who in ((args.det, "a DET plot"), (args.histogram, "a histogram")):
        if path:
            check_picture(path, who)
    points = {key: getattr(args, key) for key in ("p_target", "c_miss", "c_fa", "preset")}
    report = _streamed(args, points) if args.stream else _whole(args, points)
    print_report(args.scores, report)
    if "conditions" in report:
        print_conditions(report)
    if "comparison" in report:
        print_comparison(args.scores, report["comparison"])
    if args.json:
        write_text(args.json, json.dumps(report, indent=2) + "\n")


def _streamed(args: Namespace, points: dict[str, Any]) -> dict[str, Any]:
    """The report of a file that need not fit into memory.

    Args:
        args: The options.
        points: The operating points, as `evaluate` takes them.

    Returns:
        The report.

    Raises:
        ConfigError: If an option needs all scores at once.
    """
    from bbb.scoring.evaluation import evaluate_blocks  # noqa: PLC0415 (--help needs none of these)
    from bbb.scoring.scores import iter_scores  # noqa: PLC0415

    lacks = [f"--{name}" for name in _STREAM_LACKS if getattr(args, name)]
    if lacks:
        msg = f"--stream counts labelled scores once and forgets them, got {' '.join(lacks)}; "
        raise ConfigError(msg + "leave one or the other out")
    return evaluate_blocks(lambda: iter_scores(args.scores), **points)


def _whole(args: Namespace, points: dict[str, Any]) -> dict[str, Any]:
    """The report of scores that fit into memory, and its pictures."""
    from bbb.cli._bar import bar  # noqa: PLC0415 (--help needs none of these)
    from bbb.cli._labelled import read_labelled  # noqa: PLC0415
    from bbb.scoring.conditions import read_conditions  # noqa: PLC0415
    from bbb.scoring.evaluation import compare, evaluate, evaluate_by  # noqa: PLC0415
    from bbb.scoring.speakers import read_utt2spk, trial_speakers  # noqa: PLC0415

    files = [args.scores, *([args.compare] if args.compare else [])]
    trials, scores, is_target = read_labelled(files, args.trials, "--trials")
    utt2spk = read_utt2spk(args.utt2spk) if args.utt2spk else None
    options: dict[str, Any] = {
        **points,
        "speakers": trial_speakers(trials, utt2spk) if utt2spk else None,
        "seed": args.seed,
    }
    conditions = None
    if args.conditions or args.by:
        source = args.conditions or args.trials or args.scores
        conditions = read_conditions(source, trials, column=args.by, utt2spk=utt2spk)
    with bar("resampling", args.ci) as progress:
        report = evaluate(
            scores[:, 0], is_target, num_resamples=args.ci, progress=progress, **options
        )
    if conditions is not None:
        report["conditions"] = evaluate_by(scores[:, 0], is_target, conditions, **points)
    if args.compare:
        number = args.ci or 1000
        with bar("comparing", number) as progress:
            found = compare(
                scores[:, 0],
                scores[:, 1],
                is_target,
                num_resamples=number,
                progress=progress,
                **options,
            )
        report["comparison"] = {"scores": args.compare, **found}
    _draw(args, dict(zip(files, scores.T, strict=True)), is_target)
    return report


def _draw(
    args: Namespace, systems: dict[str, "NDArray[np.float64]"], is_target: "NDArray[np.bool_]"
) -> None:
    """The pictures that are asked for."""
    from bbb.scoring.plot import plot_det, plot_scores  # noqa: PLC0415 (--help needs none of these)
    from bbb.scoring.points import OperatingPoint, preset_points  # noqa: PLC0415

    points = [OperatingPoint.of(value, args.c_miss, args.c_fa) for value in args.p_target]
    if args.preset:
        points = list(preset_points(args.preset))
    if args.det:
        curves = {name: (scores, is_target) for name, scores in systems.items()}
        plot_det(curves, args.det, points=points)
    if args.histogram:
        plot_scores(systems[args.scores], is_target, args.histogram, points=points)
