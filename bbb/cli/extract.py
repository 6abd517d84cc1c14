"""``bbb extract``: embeddings of the utterances of a data directory."""

from typing import Literal

from jsonargparse import ArgumentParser
from jsonargparse.typing import NonNegativeInt, PositiveInt

from bbb.cli._bar import bar
from bbb.cli._parse import parse
from bbb.errors import ConfigError

_HELP = """Turn utterances into embeddings.

Examples:
  bbb extract --model exp/x/best.ckpt --data data/eval --output exp/x/eval.npz
  bbb extract --model exp/b/best.ckpt --data data/eval --output exp/b/eval.ark --num-samples 10
"""


def make_parser() -> ArgumentParser:
    """The options."""
    parser = ArgumentParser(prog="bbb extract", description=_HELP, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of the keys below")
    parser.add_argument("--model", type=str, required=True, help="checkpoint of bbb train")
    parser.add_argument("--data", type=str, required=True, help="Kaldi data directory")
    parser.add_argument("--output", type=str, required=True, help=".npz, or .ark (writes .scp too)")
    parser.add_argument(
        "--num-samples", type=NonNegativeInt, default=0, help="weight draws; 0: the posterior mean"
    )
    parser.add_argument(
        "--covariance",
        type=Literal["none", "diagonal", "full"] | None,
        default=None,
        help="over draws, kept in a .npz (default: diagonal there, with at least 2 draws)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    parser.add_argument("--accelerator", type=Literal["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=PositiveInt | None, default=None, help="CPU threads")
    return parser


def main(argv: list[str]) -> None:
    """Run the verb.

    Args:
        argv: Words after ``bbb extract``.

    Raises:
        ConfigError: If covariances are wanted of fewer than 2 draws, or a GPU that is not there.
    """
    args = parse(make_parser(), argv)
    if args.covariance is None:
        kept = args.num_samples > 1 and args.output.endswith(".npz")
        args.covariance = "diagonal" if kept else "none"
    if args.covariance != "none" and args.num_samples < 2:  # noqa: PLR2004 (draws to differ)
        msg = (
            f"--covariance {args.covariance} needs --num-samples of at least 2, got "
            f"{args.num_samples}"
        )
        raise ConfigError(msg)
    import torch  # noqa: PLC0415 (slow, and --help needs none of it)

    from bbb.audio.datadir import DataDir  # noqa: PLC0415
    from bbb.scoring.embeddings import check_embeddings_path, write_embeddings  # noqa: PLC0415
    from bbb.speaker.checkpoint import load_network  # noqa: PLC0415
    from bbb.speaker.extract import extract_embeddings  # noqa: PLC0415

    check_embeddings_path(args.output, covariances=args.covariance != "none")
    if args.accelerator == "cuda" and not torch.cuda.is_available():
        msg = "--accelerator cuda: torch sees no such device; use cpu"
        raise ConfigError(msg)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    network, config = load_network(args.model)
    data = DataDir.read(args.data)
    with bar("extracting", len(data)) as advance:
        embeddings = extract_embeddings(
            network.to(args.accelerator),
            data,
            config.features,
            num_samples=args.num_samples,
            covariance=args.covariance,
            seed=args.seed,
            progress=lambda _done, _total: advance(1),
        )
    write_embeddings(args.output, embeddings)
    print(f"wrote {len(embeddings.ids)} embeddings to {args.output}")
