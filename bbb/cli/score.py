"""``bbb score``: score a trial list with cosine or PLDA."""

from typing import Literal

from jsonargparse import ArgumentParser, Namespace

from bbb.cli._parse import parse
from bbb.errors import ConfigError

_HELP = """Score a trial list; every id is checked before scoring starts.

Examples:
  bbb score --backend cosine --trials data/eval/trials --enroll exp/x/eval.scp \\
            --test exp/x/eval.scp --mean-from exp/x/train.scp --output exp/x/cosine.scores
  bbb score --backend plda --plda exp/x/plda.npz --trials data/eval/trials \\
            --enroll exp/x/eval.scp --test exp/x/eval.scp --output exp/x/plda.scores

Trials are 'enroll test target|nontarget', '1|0 enroll test' or a NIST key with a header. Scores
are 'enroll test score label'; those of PLDA are natural log-likelihood ratios.
"""


def make_parser() -> ArgumentParser:
    """The options of ``bbb score``."""
    parser = ArgumentParser(prog="bbb score", description=_HELP, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of the keys below")
    parser.add_argument("--backend", type=Literal["cosine", "plda"], required=True)
    parser.add_argument("--trials", type=str, required=True, help="trial list")
    parser.add_argument("--enroll", type=str, required=True, help="embeddings: .scp, .ark or .npz")
    parser.add_argument("--test", type=str, required=True, help="embeddings: .scp, .ark or .npz")
    parser.add_argument(
        "--enroll-map", type=str | None, help="lines 'model utterance ...', as in spk2utt"
    )
    parser.add_argument(
        "--multi-enroll",
        type=Literal["book", "mean"],
        default="book",
        help="PLDA with several enrolment utterances: by the book, or their mean as one",
    )
    parser.add_argument(
        "--mean-from", type=str | None, help="embeddings whose mean is subtracted first"
    )
    parser.add_argument("--plda", type=str | None, help="back-end that 'bbb plda' wrote")
    parser.add_argument("--output", type=str, required=True, help="score file to write")
    return parser


def main(argv: list[str]) -> None:
    """Run the verb.

    Args:
        argv: Words after ``bbb score``.

    Raises:
        BBBError: If an option, a file or an id is wrong.
    """  # noqa: DOC502 (raised by what it calls)
    args = parse(make_parser(), argv)
    _check(args)
    from bbb.cli._bar import bar  # noqa: PLC0415 (--help needs none of these)
    from bbb.scoring.embeddings import read_embeddings  # noqa: PLC0415
    from bbb.scoring.score import read_enroll_map, score_trials  # noqa: PLC0415
    from bbb.scoring.scores import write_scores  # noqa: PLC0415
    from bbb.scoring.trials import read_trials  # noqa: PLC0415

    trials = read_trials(args.trials)
    enroll_map = read_enroll_map(args.enroll_map) if args.enroll_map else None
    backend = None
    if args.plda:
        from bbb.scoring.backend import PLDABackend  # noqa: PLC0415 (imports scikit-learn)

        backend = PLDABackend.load(args.plda)
    enroll = read_embeddings(args.enroll)
    test = enroll if args.test == args.enroll else read_embeddings(args.test)
    mean = read_embeddings(args.mean_from).embeddings.mean(axis=0) if args.mean_from else None
    with bar("scoring", len(trials)) as progress:
        scores = score_trials(
            trials,
            enroll,
            test,
            backend=backend,
            enroll_map=enroll_map,
            mean=mean,
            multi_enroll=args.multi_enroll,
            progress=progress,
        )
    with bar("writing", len(trials)) as progress:
        write_scores(args.output, scores, progress=progress)
    print(f"wrote {len(scores)} scores to {args.output}")


def _check(args: Namespace) -> None:
    if args.backend == "plda" and not args.plda:
        msg = "--backend plda needs --plda FILE; train one with 'bbb plda'"
        raise ConfigError(msg)
    if args.backend == "cosine" and args.plda:
        msg = "--plda needs --backend plda, got --backend cosine; drop one of the two"
        raise ConfigError(msg)
