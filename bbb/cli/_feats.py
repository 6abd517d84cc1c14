"""``bbb data feats DIR``: features of a data directory as Kaldi's tools keep them."""

import dataclasses
import typing

from jsonargparse import ArgumentParser, Namespace

from bbb.audio.feature_config import FeatureConfig
from bbb.cli._bar import bar
from bbb.commandline import add_parts, parse

_HELP = (
    "write raw features and voice activity as Kaldi's tools keep them (feats.scp, vad.scp and "
    "utt2num_frames); of many parts the last to be done puts them together"
)
# What is written is raw: the mean is subtracted by whoever reads it.
_KEYS = [field for field in dataclasses.fields(FeatureConfig) if not field.name.startswith("cmn")]


def feats_parser() -> ArgumentParser:
    """The options; the keys of ``FeatureConfig`` are flags."""
    parser = ArgumentParser(description=_HELP, exit_on_error=False)
    parser.add_argument("dir", type=str, help="the data directory")
    parser.add_argument(
        "--output", type=str | None, default=None, help="folder to write (default: DIR itself)"
    )
    parser.add_argument(
        "--config",
        type=str | None,
        default=None,
        help="YAML file of bbb train, whose features these are but for the flags below",
    )
    add_parts(parser)
    kinds = typing.get_type_hints(FeatureConfig)
    for field in _KEYS:
        names = dict.fromkeys((f"--{field.name}", f"--{field.name.replace('_', '-')}"))
        kind, text = kinds[field.name] | None, f"(default: {field.default})"
        parser.add_argument(*names, type=kind, default=None, help=text)
    return parser


def feats(options: Namespace) -> int:
    """Write the features.

    Args:
        options: From ``feats_parser``.

    Returns:
        0.
    """
    from bbb.audio.archives import write_features  # noqa: PLC0415 (slow, and --help needs it not)
    from bbb.audio.datadir import DataDir  # noqa: PLC0415

    given = {k.name: options[k.name] for k in _KEYS if options[k.name] is not None}
    config = dataclasses.replace(_configured(options.config), **given)
    data = DataDir.read(options.dir)
    folder = options.output or options.dir
    with bar("computing", -(-len(data) // options.num_parts)) as advance:
        complete = write_features(
            data,
            folder,
            config,
            part=options.part,
            num_parts=options.num_parts,
            progress=lambda _done, _total: advance(1),
        )
    if complete:
        print(f"wrote features of {len(data)} utterances, {config.dim} values each, to {folder}")
    else:
        print(f"{folder}: part {options.part} is done, others are missing")
    return 0


def _configured(file: str | None) -> FeatureConfig:
    """The features of a training's YAML file; those by default without one."""
    if file is None:
        return FeatureConfig()
    from bbb.cli.train import make_parser  # noqa: PLC0415 (slow)

    parser = make_parser()
    # A training needs these two keys, which its file may leave to its flags.
    words = ["--config", file, "--data", "-", "--output", "-"]
    config: FeatureConfig = parser.instantiate(parse(parser, words)).features
    return config
