"""``bbb fuse``: fuse score files of several systems on the same trials."""

from typing import TYPE_CHECKING, Literal

from jsonargparse import ArgumentParser, Namespace

from bbb.commandline import parse
from bbb.errors import ConfigError

if TYPE_CHECKING:
    from bbb.scoring.fusion import Fusion

_HELP = """Fuse the scores of several systems, matched by trial.

Examples:
  bbb fuse exp/a/plda.scores exp/b/plda.scores --output exp/fusion/plda.scores
  bbb fuse exp/a/eval.scores exp/b/eval.scores --output exp/fusion/eval.scores \\
           --method logistic --dev-trials data/dev/trials \\
           --dev-scores exp/a/dev.scores exp/b/dev.scores --dev-utt2spk data/dev/utt2spk

'mean' is the mean of the scores, each system standardised to mean 0 and standard deviation 1 over
the list. 'logistic' is the weighted sum that is the best log-likelihood ratio of the development
trials, at the prior --p-target. With --dev-utt2spk the figures, and the scores of --dev-output, are
cross-validated: each trial is fused by weights that come from trials of other speakers.
"""


def make_parser() -> ArgumentParser:
    """The options of ``bbb fuse``."""
    parser = ArgumentParser(prog="bbb fuse", description=_HELP, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of the keys below")
    parser.add_argument("scores", type=str, nargs="+", help="score files of at least two systems")
    parser.add_argument("--method", type=Literal["mean", "logistic"], default="mean")
    parser.add_argument(
        "--dev-scores",
        type=str,
        nargs="+",
        default=[],
        help="scores of the same systems, in the same order, to learn from",
    )
    parser.add_argument(
        "--dev-trials", type=str | None, help="their labels, when the scores have none"
    )
    parser.add_argument("--p-target", type=float, default=0.01, help="prior of a target trial")
    parser.add_argument("--dev-utt2spk", type=str | None, help="cross-validate over speakers")
    parser.add_argument("--folds", type=int, default=5, help="of the cross-validation")
    parser.add_argument(
        "--dev-output", type=str | None, help="file for the cross-validated development scores"
    )
    parser.add_argument("--output", type=str, required=True, help="score file to write")
    return parser


def main(argv: list[str]) -> None:
    """Run the verb.

    Args:
        argv: Words after ``bbb fuse``.

    Raises:
        BBBError: If an option or a file is wrong, or the trials of the systems differ.
    """  # noqa: DOC502 (raised by what it calls)
    args = parse(make_parser(), argv)
    _check(args)
    import dataclasses  # noqa: PLC0415 (--help needs none of these)

    from bbb.cli._bar import bar  # noqa: PLC0415
    from bbb.scoring.fusion import Fusion, stack_scores  # noqa: PLC0415
    from bbb.scoring.scores import read_scores, write_scores  # noqa: PLC0415

    with bar("reading", len(args.scores)) as progress:
        systems = []
        for path in args.scores:
            systems.append(read_scores(path))
            progress(1)
    matrix, matched = stack_scores(systems, args.scores)
    fusion = Fusion("mean").fit(matrix) if args.method == "mean" else _learn(args)
    fused = dataclasses.replace(matched, scores=fusion.transform(matrix))
    with bar("writing", len(fused)) as progress:
        write_scores(args.output, fused, progress=progress)
    print(f"wrote {len(fused)} fused scores of {len(systems)} systems to {args.output}")


def _learn(args: Namespace) -> "Fusion":
    """Weights from the development trials, and their figures."""
    from bbb.cli._labelled import figures, read_labelled, shown_warnings  # noqa: PLC0415
    from bbb.scoring.crossval import cross_validate  # noqa: PLC0415
    from bbb.scoring.fusion import Fusion  # noqa: PLC0415
    from bbb.scoring.scores import Scores, write_scores  # noqa: PLC0415
    from bbb.scoring.speakers import read_utt2spk, trial_speakers  # noqa: PLC0415

    trials, scores, labels = read_labelled(args.dev_scores, args.dev_trials, "--dev-trials")
    fusion = Fusion("logistic", args.p_target)
    with shown_warnings("fuse"):
        fusion.fit(scores, labels)
        for path, weight, std in zip(args.scores, fusion.coef_, scores.std(axis=0), strict=True):
            print(f"{path}: weight {weight:.6g}, {weight * std:.4g} per standard deviation")
        print(f"offset {fusion.intercept_:.6g}")
        if not args.dev_utt2spk:
            llrs = fusion.transform(scores)
            print(f"on the trials learnt from: {figures(llrs, labels, args.p_target)}")
            return fusion
        speakers = trial_speakers(trials, read_utt2spk(args.dev_utt2spk))
        llrs = cross_validate(fusion, scores, labels, *speakers, num_folds=args.folds)
    print(f"cross-validated: {figures(llrs, labels, args.p_target)}")
    if args.dev_output:
        ids = (trials.enroll_ids, trials.test_ids, trials.enroll, trials.test)
        write_scores(args.dev_output, Scores(*ids, llrs, labels))
    return fusion


def _check(args: Namespace) -> None:
    if args.method == "mean":
        given = [key for key in ("dev_scores", "dev_trials", "dev_utt2spk") if args[key]]
        if given:
            msg = f"--{given[0].replace('_', '-')} needs --method logistic; 'mean' learns nothing"
            raise ConfigError(msg)
    elif len(args.dev_scores) != len(args.scores):
        msg = (
            f"--method logistic needs --dev-scores of the {len(args.scores)} systems, got "
            f"{len(args.dev_scores)}; name one file per system, in the same order"
        )
        raise ConfigError(msg)
    if args.dev_output and not args.dev_utt2spk:
        msg = "--dev-output needs --dev-utt2spk FILE, to cross-validate over speakers; name it"
        raise ConfigError(msg)
