"""``bbb data validate|fix DIR``: find and repair the faults of a Kaldi data directory."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jsonargparse import ArgumentParser, Namespace
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bbb.audio.fix import fix_data_dir
from bbb.audio.tables import Fault
from bbb.audio.validate import SHORTEST_SECONDS, validate_data_dir


def build_parser() -> ArgumentParser:
    """The options of ``bbb data``."""
    parser = ArgumentParser(prog="bbb data", description=__doc__)
    verbs = parser.add_subcommands(dest="verb")
    validate = _verb_parser("list every fault with its file and line; exit 1 if there are errors")
    validate.add_argument(
        "--audio", type=bool, default=True, help="decode every audio file (true|false)"
    )
    verbs.add_subcommand("validate", validate, help="list every fault")
    fix = _verb_parser("drop what cannot be used, sort, rebuild spk2utt and utt2dur")
    verbs.add_subcommand("fix", fix, help="repair what can be repaired, and say what was dropped")
    return parser


def main(argv: list[str]) -> int:
    """Run ``bbb data``.

    Args:
        argv: The words after ``bbb data``.

    Returns:
        0 when the directory can be used, 1 when errors are left.
    """
    options = build_parser().parse_args(argv)
    if options.verb == "validate":
        return _validate(options.validate)
    return _fix(options.fix)


def _verb_parser(description: str) -> ArgumentParser:
    """The options that both verbs have."""
    parser = ArgumentParser(description=description)
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
    with _progress("decoding", show=options.audio) as progress:
        faults = validate_data_dir(
            options.dir,
            audio=options.audio,
            sample_rate=options.sample_rate,
            min_seconds=options.min_seconds,
            progress=progress,
        )
    return _report(options.dir, faults)


def _fix(options: Namespace) -> int:
    """Repair, and tell what was dropped, rewritten and left."""
    with _progress("decoding", show=True) as progress:
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


@contextmanager
def _progress(what: str, *, show: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr, gone when done."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not show) as bar:
        task = bar.add_task(what)
        yield lambda done, total: bar.update(task, completed=done, total=total)
