"""``bbb plda``: train centring, LDA, length normalisation and PLDA on embeddings."""

from typing import TYPE_CHECKING, Literal

from jsonargparse import ArgumentParser, Namespace

from bbb.cli._cluster import SCHEDULER_HELP, mapper_at
from bbb.commandline import parse
from bbb.errors import ConfigError

if TYPE_CHECKING:
    from bbb.scoring.backend import PLDABackend

_HELP = """Train a PLDA back-end (centring, LDA, length normalisation, two-covariance PLDA), or take
a trained one; adapt it to embeddings without labels.

Examples:
  bbb plda --embeddings exp/x/train.scp --utt2spk data/train/utt2spk --lda-dim 150 \\
           --output exp/x/plda.npz
  bbb plda --plda exp/x/plda.npz --adapt-from exp/x/unlabelled.scp --adapt-method coral+ \\
           --output exp/x/plda_adapted.npz
  bbb plda --plda exp/kaldi/plda --transform exp/kaldi/transform.mat --mean exp/kaldi/mean.vec \\
           --output exp/x/plda.npz
"""


def make_parser() -> ArgumentParser:
    """The options of ``bbb plda``."""
    parser = ArgumentParser(prog="bbb plda", description=_HELP, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of the keys below")
    parser.add_argument("--embeddings", type=str | None, help="to train on: .scp, .ark or .npz")
    parser.add_argument("--utt2spk", type=str | None, help="lines 'utterance speaker'")
    parser.add_argument(
        "--plda", type=str | None, help="trained back-end instead: our .npz, or a PLDA of Kaldi"
    )
    parser.add_argument("--transform", type=str | None, help="Kaldi's LDA, transform.mat")
    parser.add_argument("--mean", type=str | None, help="Kaldi's global mean, mean.vec")
    parser.add_argument("--lda-dim", type=int, default=150, help="dimensions kept; 0: no LDA")
    parser.add_argument(
        "--shrinkage",
        type=float | Literal["auto"],
        default="auto",
        help="of LDA's within-speaker covariance, 0 to 1; auto: Ledoit-Wolf",
    )
    parser.add_argument("--method", type=Literal["em", "moments"], default="em", help="of PLDA")
    parser.add_argument("--num-iters", type=int, default=10, help="steps of EM")
    parser.add_argument(
        "--min-utts", type=int, default=2, help="leave out speakers with fewer utterances"
    )
    parser.add_argument(
        "--adapt-from", type=str | None, help="embeddings of the new domain, without labels"
    )
    parser.add_argument(
        "--adapt-method",
        type=Literal["kaldi", "coral", "coral+"],
        default="coral+",
        help="kaldi: share out excess variance; coral: recolour; coral+: recolour, only adding",
    )
    parser.add_argument("--scheduler", type=str | None, help=SCHEDULER_HELP)
    parser.add_argument("--output", type=str, required=True, help="back-end to write, .npz")
    return parser


def main(argv: list[str]) -> None:
    """Run the verb.

    Args:
        argv: Words after ``bbb plda``.

    Raises:
        BBBError: If an option, a file or an id is wrong.
    """  # noqa: DOC502 (raised by what it calls)
    args = parse(make_parser(), argv)
    _check(args)
    from bbb.cli._labelled import shown_warnings  # noqa: PLC0415 (--help needs none of these)
    from bbb.scoring._npz import check_npz  # noqa: PLC0415
    from bbb.scoring.embeddings import read_embeddings  # noqa: PLC0415

    check_npz(args.output)
    with shown_warnings("plda"):
        backend, words = _read(args) if args.plda else _train(args)
        if args.adapt_from:
            unlabelled = read_embeddings(args.adapt_from).embeddings
            backend = backend.adapt(unlabelled, args.adapt_method)
            words += f", adapted to {len(unlabelled)} utterances by {args.adapt_method}"
    backend.save(args.output)
    print(f"wrote {args.output}: dimension {' to '.join(map(str, backend.lda_.shape))}, {words}")


def _check(args: Namespace) -> None:
    given = [name for name in ("embeddings", "utt2spk") if args[name]]
    if (args.plda and given) or (not args.plda and len(given) != 2):  # noqa: PLR2004 (both)
        msg = (
            "bbb plda needs --embeddings and --utt2spk to train, or else --plda with a trained "
            f"back-end, got {' and '.join(f'--{key}' for key in given) or 'neither'}"
            f"{' with --plda' if args.plda else ''}"
        )
        raise ConfigError(msg)
    kaldi = args.plda and not args.plda.endswith(".npz")
    if args.plda and args.scheduler:
        msg = "--scheduler is for training; drop it, or --plda"
        raise ConfigError(msg)
    if (args.transform or args.mean) and not kaldi:
        msg = "--transform and --mean need --plda with a PLDA of Kaldi; an .npz holds all three"
        raise ConfigError(msg)


def _read(args: Namespace) -> "tuple[PLDABackend, str]":
    """The back-end in a file, and where it is from."""
    from bbb.scoring.backend import PLDABackend  # noqa: PLC0415 (--help needs none of these)

    if args.plda.endswith(".npz"):
        return PLDABackend.load(args.plda), f"from {args.plda}"
    backend = PLDABackend.from_kaldi(args.plda, transform=args.transform, mean=args.mean)
    return backend, f"from {args.plda}"


def _train(args: Namespace) -> "tuple[PLDABackend, str]":
    """A back-end trained on embeddings, and on how many."""
    from bbb.scoring.backend import PLDABackend  # noqa: PLC0415 (--help needs none of these)
    from bbb.scoring.embeddings import read_embeddings  # noqa: PLC0415
    from bbb.scoring.speakers import read_utt2spk, speakers_of  # noqa: PLC0415

    utt2spk = read_utt2spk(args.utt2spk)
    embeddings = read_embeddings(args.embeddings)
    backend = PLDABackend(
        lda_dim=args.lda_dim,
        shrinkage=args.shrinkage,
        method=args.method,
        num_iters=args.num_iters,
        min_utts=args.min_utts,
    )
    with mapper_at(args.scheduler) as mapper:
        speakers = speakers_of(embeddings.ids, utt2spk)
        backend.fit(embeddings.embeddings, speakers, mapper=mapper)
    return (
        backend,
        f"trained on {backend.num_utts_} utterances of {backend.num_speakers_} speakers",
    )
