"""``bbb score``: score a trial list with cosine or PLDA."""

import os
from typing import TYPE_CHECKING, Any, Literal

from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import PositiveInt

from bbb.cli._cluster import SCHEDULER_HELP, mapper_at
from bbb.commandline import parse
from bbb.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bbb.scoring.backend import PLDABackend
    from bbb.scoring.embeddings import Embeddings
    from bbb.scoring.mapping import Mapper
    from bbb.scoring.normalisation import ScoreNorm
    from bbb.scoring.scores import Scores
    from bbb.scoring.trials import Trials

_HELP = """Score a trial list; every id is checked before scoring starts.

Examples:
  bbb score --backend cosine --trials data/eval/trials --enroll exp/x/eval.scp \\
            --test exp/x/eval.scp --mean-from exp/x/train.scp --output exp/x/cosine.scores
  bbb score --backend plda --plda exp/x/plda.npz --trials data/eval/trials \\
            --enroll exp/x/eval.scp --test exp/x/eval.scp --output exp/x/plda.scores
  bbb score --backend cosine --trials data/eval/trials --enroll exp/x/eval.scp \\
            --test exp/x/eval.scp --cohort exp/x/train.scp --cohort-utt2spk data/train/utt2spk \\
            --norm as --top-n 300 --output exp/x/cosine_as.scores

Trials are 'enroll test target|nontarget', '1|0 enroll test' or a NIST key with a header; or, many
times faster to read, what bbb.scoring's read_trials(TRIALS).save('trials.npz') wrote. Lists may be
compressed by gzip, and the scores are where their name ends in .gz. Scores are 'enroll test score
label'; those of PLDA are natural log-likelihood ratios until they are normalised, after which
'bbb calibrate' makes them so again. A cohort holds speakers who are in no trial; an utterance of a
trial that is in it all the same is left out for that side.

--all-pairs scores every enrolment utterance with every test utterance (each pair once where both
are the same file) and keeps counts, from which the figures are exact. --scheduler hands the blocks
to a Dask cluster ('dask scheduler', then 'dask worker tcp://HOST:8786' on each host).
  bbb score --backend cosine --enroll exp/x/eval.npz --test exp/x/eval.npz \\
            --all-pairs data/eval/utt2spk --scheduler tcp://HOST:8786 --output figures.json

Uncertain embeddings (of 'bbb extract --num-samples') are used in one of two ways. --uncertainty
takes the covariances in an .npz, so that what is in doubt counts less. --draws N averages
likelihood ratios (or cosines) over N draws of the weights: {draw} in the names of embeddings stands
for 1 to N ('bbb extract --num-samples 1 --seed 1', and so on).
  bbb score --backend plda --plda exp/b/plda.npz --trials data/eval/trials \\
            --enroll exp/b/eval.npz --test exp/b/eval.npz --uncertainty diagonal --output SCORES
  bbb score --backend plda --plda exp/b/plda.npz --trials data/eval/trials --draws 10 \\
            --enroll exp/b/eval_{draw}.scp --test exp/b/eval_{draw}.scp --output SCORES
"""


def make_parser() -> ArgumentParser:
    """The options of ``bbb score``."""
    parser = ArgumentParser(prog="bbb score", description=_HELP, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of the keys below")
    parser.add_argument("--backend", type=Literal["cosine", "plda"], required=True)
    parser.add_argument("--trials", type=str | None, help="trial list")
    parser.add_argument(
        "--all-pairs",
        type=str | None,
        help="utt2spk: score all pairs instead of a list, write their figures as JSON",
    )
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
    parser.add_argument(
        "--uncertainty",
        type=Literal["none", "diagonal", "full"],
        default="none",
        help="use of covariances by PLDA: full is exact, at about 0.3 ms per trial; "
        "diagonal, in its basis, is fast with less of the gain (cosine: as they are in the file)",
    )
    parser.add_argument(
        "--draws", type=PositiveInt | None, help="average over embeddings of this many draws"
    )
    parser.add_argument("--cohort", type=str | None, help="embeddings to normalise the scores with")
    parser.add_argument(
        "--cohort-utt2spk", type=str | None, help="take the mean of each cohort speaker"
    )
    parser.add_argument(
        "--norm",
        type=Literal["z", "t", "s", "as"] | None,
        help="by the cohort scores of the enrolment side, of the test side, of both, or of both "
        "with the --top-n highest ones only (as, the default with --cohort)",
    )
    parser.add_argument("--top-n", type=int | None, help="cohort scores that as keeps (300)")
    parser.add_argument("--scheduler", type=str | None, help=SCHEDULER_HELP)
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
    from bbb.scoring.scores import write_scores  # noqa: PLC0415
    from bbb.scoring.speakers import read_enroll_map  # noqa: PLC0415
    from bbb.scoring.trials import read_trials  # noqa: PLC0415
    from bbb.scoring.uncertainty import score_draws  # noqa: PLC0415

    if args.all_pairs:
        _all_pairs(args)
        return
    trials = read_trials(args.trials)
    enroll_map = read_enroll_map(args.enroll_map) if args.enroll_map else None
    backend = _read_backend(args)
    draws = [_at(args, draw) for draw in range(1, args.draws + 1)] if args.draws else [args]
    ids = len(trials.enroll_ids) + len(trials.test_ids) if args.cohort else 0
    total = (len(trials) + ids) * len(draws)
    with mapper_at(args.scheduler) as mapper, bar("scoring", total) as progress:
        options = {
            "backend": backend,
            "enroll_map": enroll_map,
            "multi_enroll": args.multi_enroll,
            "progress": progress,
        }
        each = (_score(draw, trials, mapper, options) for draw in draws)
        scores = score_draws(each, llr=backend is not None and not args.cohort)
    with bar("writing", len(trials)) as progress:
        write_scores(args.output, scores, progress=progress)
    print(f"wrote {len(scores)} scores to {args.output}")


def _at(args: Namespace, draw: int) -> Namespace:
    """The options with the names of one draw's embeddings."""
    numbered = args.clone()
    for key in ("enroll", "test", "mean_from", "cohort"):
        if args[key]:
            numbered[key] = args[key].replace("{draw}", str(draw))
    return numbered


def _score(
    args: Namespace, trials: "Trials", mapper: "Mapper", options: dict[str, Any]
) -> "Scores":
    """Read the embeddings, and score them."""
    from bbb.scoring.score import score_trials  # noqa: PLC0415 (--help needs none of these)
    from bbb.scoring.uncertainty import score_uncertain_trials  # noqa: PLC0415

    *sides, mean = _read_sides(args)
    if args.uncertainty == "none":
        norm = _read_norm(args)
        return score_trials(trials, *sides, mean=mean, norm=norm, mapper=mapper, **options)
    full = args.uncertainty == "full"
    return score_uncertain_trials(trials, *sides, mean=mean, full=full, **options)


def _read_sides(
    args: Namespace,
) -> "tuple[Embeddings, Embeddings, NDArray[np.floating[Any]] | None]":
    """Embeddings of both sides, one object where they are one file, and the mean to subtract."""
    from bbb.scoring.embeddings import read_embeddings  # noqa: PLC0415 (--help needs none of these)

    enroll = read_embeddings(args.enroll)
    same = os.path.realpath(args.test) == os.path.realpath(args.enroll)
    test = enroll if same else read_embeddings(args.test)
    mean = read_embeddings(args.mean_from).embeddings.mean(axis=0) if args.mean_from else None
    return enroll, test, mean


def _read_norm(args: Namespace) -> "ScoreNorm | None":
    """The cohort, where there is one."""
    from bbb.scoring.embeddings import read_embeddings  # noqa: PLC0415 (--help needs none of these)
    from bbb.scoring.normalisation import ScoreNorm  # noqa: PLC0415
    from bbb.scoring.speakers import read_utt2spk  # noqa: PLC0415

    if not args.cohort:
        return None
    utt2spk = read_utt2spk(args.cohort_utt2spk) if args.cohort_utt2spk else None
    top_n = 300 if args.top_n is None else args.top_n
    return ScoreNorm(read_embeddings(args.cohort), args.norm or "as", top_n, utt2spk)


def _all_pairs(args: Namespace) -> None:
    """Score all pairs, print and write the figures."""
    import json  # noqa: PLC0415 (--help needs none of these)

    from bbb.cli._bar import bar  # noqa: PLC0415
    from bbb.cli._report import print_report  # noqa: PLC0415
    from bbb.files import write_text  # noqa: PLC0415
    from bbb.scoring.evaluation import evaluate_counts  # noqa: PLC0415
    from bbb.scoring.score import score_all_pairs  # noqa: PLC0415
    from bbb.scoring.speakers import read_utt2spk  # noqa: PLC0415

    points = 0.01, 0.001
    enroll, test, mean = _read_sides(args)
    total = 2 * len(enroll.ids)
    with mapper_at(args.scheduler) as mapper, bar("scoring", total) as progress:
        counts = score_all_pairs(
            enroll,
            test,
            read_utt2spk(args.all_pairs),
            backend=_read_backend(args),
            mean=mean,
            points=points,
            mapper=mapper,
            progress=progress,
        )
    report = evaluate_counts(counts, points)
    print_report("all pairs", report)
    write_text(args.output, json.dumps(report, indent=2) + "\n")


def _read_backend(args: Namespace) -> "PLDABackend | None":
    if not args.plda:
        return None
    from bbb.scoring.backend import PLDABackend  # noqa: PLC0415 (imports scikit-learn)

    return PLDABackend.load(args.plda)


def _check(args: Namespace) -> None:
    if bool(args.trials) == bool(args.all_pairs):
        msg = "bbb score needs either --trials LIST or --all-pairs UTT2SPK; give one of the two"
        raise ConfigError(msg)
    lists = ("enroll_map", "draws", "cohort")
    if args.all_pairs and (any(args[key] for key in lists) or args.uncertainty != "none"):
        msg = (
            "--all-pairs goes with embeddings as they are, got --enroll-map, --draws, --cohort or "
            "--uncertainty; leave it out"
        )
        raise ConfigError(msg)
    if args.scheduler and args.uncertainty != "none":
        msg = "--scheduler needs --uncertainty none; drop one of the two"
        raise ConfigError(msg)
    if args.backend == "plda" and not args.plda:
        msg = "--backend plda needs --plda FILE; train one with 'bbb plda'"
        raise ConfigError(msg)
    if args.backend == "cosine" and args.plda:
        msg = "--plda needs --backend plda, got --backend cosine; drop one of the two"
        raise ConfigError(msg)
    needless = [key for key in ("norm", "top_n", "cohort_utt2spk") if args[key] is not None]
    if needless and not args.cohort:
        msg = f"--{needless[0].replace('_', '-')} needs --cohort FILE; name the cohort's embeddings"
        raise ConfigError(msg)
    if args.top_n is not None and args.norm not in {None, "as"}:
        msg = f"--top-n needs --norm as, got --norm {args.norm}; drop one of the two"
        raise ConfigError(msg)
    if args.draws and not all("{draw}" in name for name in (args.enroll, args.test)):
        msg = (
            f"--draws needs {{draw}} in --enroll and in --test, got '{args.enroll}' and "
            f"'{args.test}'; it stands for 1 to {args.draws}"
        )
        raise ConfigError(msg)
    if args.cohort and args.uncertainty != "none":
        msg = (
            "--cohort needs --uncertainty none: the cohort's scores have none; drop one of the two"
        )
        raise ConfigError(msg)
