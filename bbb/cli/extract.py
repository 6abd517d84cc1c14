"""``bbb extract``: embeddings of the utterances of a data directory."""

from typing import TYPE_CHECKING, Literal

from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import NonNegativeInt, PositiveInt

from bbb.cli._bar import bar
from bbb.commandline import parse
from bbb.errors import ConfigError
from bbb.speaker.ranks import launched_rank

if TYPE_CHECKING:
    from bbb.audio.archives import FeatureArchive
    from bbb.audio.datadir import DataDir
    from bbb.audio.features import FeatureConfig
    from bbb.speaker.xvector import XVector

_HELP = """Turn utterances into embeddings.

Examples:
  bbb extract --model exp/x/best.ckpt --data data/eval --output exp/x/eval.npz
  bbb extract --model exp/b/best.ckpt --data data/eval --output exp/b/eval.ark --num-samples 10
  bbb extract --model exp/x/best.ckpt --data data/eval --features feats --output exp/x/eval.npz

By many processes: the same command for each with --num-parts N --part I (I from 0; under torchrun
or srun neither is needed), and once with --num-parts N --merge when all are done.
"""


def make_parser() -> ArgumentParser:
    """The options."""
    parser = ArgumentParser(prog="bbb extract", description=_HELP, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of the keys below")
    parser.add_argument("--model", type=str, required=True, help="checkpoint of bbb train")
    parser.add_argument("--data", type=str, required=True, help="Kaldi data directory")
    parser.add_argument(
        "--features",
        type=Literal["audio", "feats"],
        default="audio",
        help="computed of the audio, or those in feats.scp (by vad.scp), which Kaldi made",
    )
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
    parser.add_argument(
        "--seed", type=int, default=0, help="of the first draw; further ones have the next seeds"
    )
    parser.add_argument("--accelerator", type=Literal["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=PositiveInt | None, default=None, help="CPU threads")
    parser.add_argument(
        "--num-parts", type=PositiveInt | None, default=None, help="processes that share the work"
    )
    parser.add_argument(
        "--part", type=NonNegativeInt | None, default=None, help="which of them this is, from 0"
    )
    parser.add_argument("--merge", action="store_true", help="put the parts together")
    return parser


def _share(args: Namespace) -> tuple[int, int]:
    """Which part of how many this process makes, by its flags or by who started it.

    Raises:
        ConfigError: If the flags do not say it.
    """
    rank, started = launched_rank() or (0, 1)
    number = started if args.num_parts is None else args.num_parts
    part = rank if args.part is None and number == started else args.part
    if args.merge:
        if args.part is not None or args.num_parts is None:
            msg = "--merge needs --num-parts, the number of parts that were made, and no --part"
            raise ConfigError(msg)
        return 0, number
    if part is None or part >= number:
        msg = (
            f"--num-parts {number} needs a --part from 0 to {number - 1}, got {part}; or --merge, "
            "when all are there"
        )
        raise ConfigError(msg)
    return part, number


def main(argv: list[str]) -> None:
    """Run the verb.

    Args:
        argv: Words after ``bbb extract``.

    Raises:
        ConfigError: If covariances are wanted of fewer than 2 draws, a GPU that is not there, or a
            part of no number of parts.
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
    part, number = _share(args)
    from bbb.scoring.embeddings import check_embeddings_path  # noqa: PLC0415 (slow; not for --help)
    from bbb.speaker.checkpoint import load_network  # noqa: PLC0415
    from bbb.speaker.parts import Parts  # noqa: PLC0415

    check_embeddings_path(args.output, covariances=args.covariance != "none")
    network, config = load_network(args.model)
    data, source = _source(args, config.features)
    output = args.output
    if number > 1 or args.merge:
        settings = (args.num_samples, args.covariance, args.seed, args.features)
        parts = Parts(output, data, number, model=args.model, settings=settings)
        if args.merge:
            print(f"wrote {len(parts.merge())} embeddings to {output}")
            return
        data, output = data.share(part, number), str(parts.path(part))
    _extract(args, network, source, data, output)


def _source(
    args: Namespace, features: "FeatureConfig"
) -> "tuple[DataDir, FeatureConfig | FeatureArchive]":
    """The utterances, and where their features come from."""
    from bbb.audio.archives import FeatureArchive  # noqa: PLC0415 (slow)
    from bbb.audio.datadir import DataDir  # noqa: PLC0415

    if args.features == "audio":
        return DataDir.read(args.data), features
    archive = FeatureArchive(args.data, features)
    data = archive.directory()
    archive.check(data.utterances)
    return data, archive


def _extract(
    args: Namespace,
    network: "XVector",
    features: "FeatureConfig | FeatureArchive",
    data: "DataDir",
    output: str,
) -> None:
    """Embed the utterances of a directory and write them.

    Raises:
        ConfigError: If there is no such device.
    """
    import torch  # noqa: PLC0415 (slow)

    from bbb.scoring.embeddings import write_embeddings  # noqa: PLC0415
    from bbb.speaker.extract import extract_embeddings  # noqa: PLC0415

    if args.accelerator == "cuda" and not torch.cuda.is_available():
        msg = "--accelerator cuda: torch sees no such device; use cpu"
        raise ConfigError(msg)
    device = args.accelerator
    if device == "cuda":
        rank, _ = launched_rank() or (0, 1)
        device = f"cuda:{rank % torch.cuda.device_count()}"
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    with bar("extracting", len(data)) as advance:
        embeddings = extract_embeddings(
            network.to(device),
            data,
            features,
            num_samples=args.num_samples,
            covariance=args.covariance,
            seed=args.seed,
            progress=lambda _done, _total: advance(1),
        )
    write_embeddings(output, embeddings)
    print(f"wrote {len(embeddings.ids)} embeddings to {output}")
