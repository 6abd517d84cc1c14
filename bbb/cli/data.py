"""``bbb data validate|fix|shard|feats DIR``: check, repair, pack a Kaldi data directory."""

from collections import Counter

from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import NonNegativeInt, PositiveFloat

from bbb.audio.datadir import DataDir
from bbb.audio.fix import fix_data_dir
from bbb.audio.shards import write_shards
from bbb.audio.tables import Fault
from bbb.audio.validate import SHORTEST_SECONDS, validate_data_dir
from bbb.cli._bar import counter
from bbb.cli._feats import feats, feats_parser
from bbb.commandline import add_parts, parse


def build_parser() -> ArgumentParser:
    """The options of ``bbb data``."""
    parser = ArgumentParser(prog="bbb data", description=__doc__, exit_on_error=False)
    verbs = parser.add_subcommands(dest="verb")
    validate = _verb_parser("list every fault with its file and line; exit 1 if there are errors")
    _add_audio(validate)
    verbs.add_subcommand("validate", validate, help="list every fault")
    fix = _verb_parser("drop what cannot be used, sort, rebuild spk2utt and utt2dur")
    verbs.add_subcommand("fix", fix, help="repair what can be repaired, and say what was dropped")
    verbs.add_subcommand("shard", _shard_parser(), help="pack the audio into tar files")
    verbs.add_subcommand("feats", feats_parser(), help="write features for Kaldi")
    return parser


def main(argv: list[str]) -> int:
    """Run ``bbb data``.

    Args:
        argv: The words after ``bbb data``.

    Returns:
        0 when the directory can be used, 1 when errors are left.

    Raises:
        ConfigError: If an option is unknown, or of the wrong type.
    """  # noqa: DOC502 (raised by parse)
    options = parse(build_parser(), argv)
    actions = {"validate": _validate, "fix": _fix, "shard": _shard, "feats": feats}
    return actions[options.verb](options[options.verb])


def _shard_parser() -> ArgumentParser:
    """The options of ``bbb data shard``."""
    parser = _verb_parser(
        "pack the utterances, shuffled, into tar files for webdataset, with the tables of a data "
        "directory beside them: bbb train --data OUTPUT; the same command goes on after a kill"
    )
    _add_audio(parser)
    parser.add_argument("--output", type=str, required=True, help="new folder for the tar files")
    parser.add_argument(
        "--shard_mb",
        "--shard-mb",
        type=PositiveFloat,
        default=256.0,
        help="samples of a tar file, in MB as 16-bit numbers; FLAC halves them",
    )
    parser.add_argument("--seed", type=NonNegativeInt, default=0, help="of the order")
    add_parts(parser, "; give all but the first --audio false")
    return parser


def _add_audio(parser: ArgumentParser) -> None:
    """The option to look at the tables alone."""
    parser.add_argument(
        "--audio", type=bool, default=True, help="decode every audio file (true|false)"
    )


def _verb_parser(description: str) -> ArgumentParser:
    """The options that all verbs have."""
    parser = ArgumentParser(description=description, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    parser.add_argument("dir", type=str, help="the data directory")
    parser.add_argument(
        "--sample_rate",
        "--sample-rate",
        type=int | None,
        default=None,
        help="rate that the audio must have, in Hz (default: that of most files)",
    )
    parser.add_argument(
        "--min_seconds",
        "--min-seconds",
        type=float,
        default=SHORTEST_SECONDS,
        help="shortest utterance that can be used",
    )
    return parser


def _validate(options: Namespace) -> int:
    """List the faults."""
    return _report(options.dir, _faults(options))


def _faults(options: Namespace) -> list[Fault]:
    """The faults, of the audio too where that is wanted."""
    with counter("decoding", shown=options.audio) as progress:
        return validate_data_dir(
            options.dir,
            audio=options.audio,
            sample_rate=options.sample_rate,
            min_seconds=options.min_seconds,
            progress=progress,
        )


def _shard(options: Namespace) -> int:
    """Pack a directory without errors."""
    faults = _faults(options)
    if any(fault.level == "error" for fault in faults):
        return _report(options.dir, faults)
    with counter("packing") as progress:
        packed = write_shards(
            DataDir.read(options.dir),
            options.output,
            shard_mb=options.shard_mb,
            seed=options.seed,
            part=options.part,
            num_parts=options.num_parts,
            progress=progress,
        )
    if packed is None:
        print(f"{options.output}: part {options.part} is done, others are missing")
    else:
        print(f"wrote {len(packed)} utterances to {options.output}")
    return 0


def _fix(options: Namespace) -> int:
    """Repair, and tell what was dropped, rewritten and left."""
    with counter("decoding") as progress:
        report = fix_data_dir(
            options.dir,
            sample_rate=options.sample_rate,
            min_seconds=options.min_seconds,
            progress=progress,
        )
    for key, reason in report.dropped.items():
        print(f"dropped {key}: {reason}")
    if report.backup is None:
        print(f"{options.dir}: nothing to fix")
    else:
        print(f"rewrote {', '.join(report.rewritten)}; the former tables are in {report.backup}")
    print(f"{options.dir}: {len(report.data)} utterances, {len(report.data.spk2utt)} speakers kept")
    return _report(options.dir, report.remaining)


def _report(folder: str, faults: list[Fault]) -> int:
    """Print faults and their number; 1 when one of them is an error."""
    for fault in faults:
        print(f"{fault.file}:{fault.line}: {fault.level}: {fault.message}")
    levels = Counter(fault.level for fault in faults)
    print(f"{folder}: {levels['error']} errors, {levels['warning']} warnings")
    return int(levels["error"] > 0)
