"""``bbb plda``: train centring, LDA, length normalisation and PLDA on embeddings."""

import sys
import warnings
from typing import Literal

from jsonargparse import ArgumentParser

from bbb.cli._parse import parse

_HELP = """Train a PLDA back-end: centring, LDA, length normalisation, two-covariance PLDA.

Example:
  bbb plda --embeddings exp/x/train.scp --utt2spk data/train/utt2spk --lda-dim 150 \\
           --output exp/x/plda.npz
"""


def make_parser() -> ArgumentParser:
    """The options of ``bbb plda``."""
    parser = ArgumentParser(prog="bbb plda", description=_HELP, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of the keys below")
    parser.add_argument("--embeddings", type=str, required=True, help=".scp, .ark or .npz")
    parser.add_argument("--utt2spk", type=str, required=True, help="lines 'utterance speaker'")
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
    from bbb.scoring._npz import check_npz  # noqa: PLC0415
    from bbb.scoring.backend import PLDABackend  # noqa: PLC0415 (--help needs none of these)
    from bbb.scoring.embeddings import read_embeddings  # noqa: PLC0415
    from bbb.scoring.speakers import read_utt2spk, speakers_of  # noqa: PLC0415

    check_npz(args.output)
    utt2spk = read_utt2spk(args.utt2spk)
    embeddings = read_embeddings(args.embeddings)
    speakers = speakers_of(embeddings.ids, utt2spk)
    backend = PLDABackend(
        lda_dim=args.lda_dim,
        shrinkage=args.shrinkage,
        method=args.method,
        num_iters=args.num_iters,
        min_utts=args.min_utts,
    )
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", UserWarning)
        backend.fit(embeddings.embeddings, speakers)
    for note in notes:
        print(f"bbb plda: warning: {note.message}", file=sys.stderr)
    backend.save(args.output)
    print(
        f"wrote {args.output}: dimension {embeddings.dim} to {backend.lda_.shape[1]}, trained on "
        f"{backend.num_utts_} utterances of {backend.num_speakers_} speakers"
    )
