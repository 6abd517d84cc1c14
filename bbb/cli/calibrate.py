"""``bbb calibrate``: turn scores into log-likelihood ratios, learnt on labelled trials."""

from typing import TYPE_CHECKING, Literal

from jsonargparse import ArgumentParser, Namespace

from bbb.commandline import parse
from bbb.errors import ConfigError

if TYPE_CHECKING:
    from bbb.scoring.calibration import Calibration

_HELP = """Turn scores into natural log-likelihood ratios.

Examples:
  bbb calibrate --train-scores exp/x/dev.scores --train-trials data/dev/trials \\
                --scores exp/x/eval.scores --output exp/x/eval.llr
  bbb calibrate --train-scores exp/x/dev.scores --train-trials data/dev/trials \\
                --quality exp/x/log_duration --p-target 0.05 --save exp/x/calibration.npz
  bbb calibrate --load exp/x/calibration.npz --quality exp/x/log_duration \\
                --scores exp/x/eval.scores --output exp/x/eval.llr

'logistic' is an affine map, best at the prior --p-target; 'pav' is the best non-decreasing map. The
lines of --quality are 'utterance value ...' (log duration, norm of the embedding, number of
enrolment utterances ...) for every id of both lists; the lower and the higher value of the two
sides of a trial enter the map.
"""


def make_parser() -> ArgumentParser:
    """The options of ``bbb calibrate``."""
    parser = ArgumentParser(prog="bbb calibrate", description=_HELP, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of the keys below")
    parser.add_argument("--train-scores", type=str | None, help="scores to learn from")
    parser.add_argument(
        "--train-trials", type=str | None, help="their labels, when the scores have none"
    )
    parser.add_argument("--method", type=Literal["logistic", "pav"], default="logistic")
    parser.add_argument(
        "--p-target", type=float, default=0.01, help="prior of a target trial, for logistic"
    )
    parser.add_argument("--quality", type=str | None, help="lines 'utterance value ...'")
    parser.add_argument("--save", type=str | None, help="file for the learnt map, .npz")
    parser.add_argument("--load", type=str | None, help="use a learnt map instead of --train-*")
    parser.add_argument("--scores", type=str | None, help="scores to calibrate")
    parser.add_argument("--output", type=str | None, help="score file to write")
    return parser


def main(argv: list[str]) -> None:
    """Run the verb.

    Args:
        argv: Words after ``bbb calibrate``.

    Raises:
        BBBError: If an option, a file or an id is wrong.
    """  # noqa: DOC502 (raised by what it calls)
    args = parse(make_parser(), argv)
    _check(args)
    import dataclasses  # noqa: PLC0415 (--help needs none of these)

    from bbb.cli._bar import bar  # noqa: PLC0415
    from bbb.cli._labelled import figures, read_labelled, shown_warnings  # noqa: PLC0415
    from bbb.scoring import calibration  # noqa: PLC0415
    from bbb.scoring.scores import read_scores, write_scores  # noqa: PLC0415

    quality = calibration.read_quality(args.quality) if args.quality else None
    found = read_scores(args.scores) if args.scores else None
    # Ids are checked before anything is learnt.
    extra = calibration.quality_columns(quality, found) if quality and found else None
    if args.load:
        model = calibration.Calibration.load(args.load)
    else:
        trials, scores, labels = read_labelled(
            [args.train_scores], args.train_trials, "--train-trials"
        )
        columns = calibration.quality_columns(quality, trials) if quality else None
        model = calibration.Calibration(args.method, args.p_target)
        with shown_warnings("calibrate"):
            model.fit(scores[:, 0], labels, columns)
        print(_describe(model))
        llrs = model.transform(scores[:, 0], columns)
        print(f"on the trials learnt from: {figures(llrs, labels, args.p_target)}")
    if args.save:
        model.save(args.save)
        print(f"wrote {args.save}")
    if found is not None:
        result = dataclasses.replace(found, scores=model.transform(found.scores, extra))
        with bar("writing", len(result)) as progress:
            write_scores(args.output, result, progress=progress)
        print(f"wrote {len(result)} log-likelihood ratios to {args.output}")


def _describe(model: "Calibration") -> str:
    """The learnt map, in one line."""
    if model.method == "pav":
        low, high = model.llrs_[[0, -1]]
        return f"non-decreasing map with {len(model.llrs_)} points, from {low:.4g} to {high:.4g}"
    terms = [f"{model.coef_[0]:.6g} score", *(f"{c:+.4g} q" for c in model.coef_[1:])]
    return f"log-likelihood ratio = {' '.join(terms)} {model.intercept_:+.6g}"


def _check(args: Namespace) -> None:
    if bool(args.load) == bool(args.train_scores):
        msg = "calibrate needs either --train-scores FILE or --load FILE; name one of the two"
        raise ConfigError(msg)
    if bool(args.scores) != bool(args.output) or not (args.output or args.save):
        msg = "calibrate needs --scores FILE with --output FILE, or --save FILE; name what to write"
        raise ConfigError(msg)
    if args.save:
        from bbb.scoring._npz import check_npz  # noqa: PLC0415 (--help needs none of these)

        check_npz(args.save)
