"""Training sets made of several LDC releases that lie side by side in a folder."""

import argparse
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from _corpus import Faults, excluded_speakers  # noqa: PLC2701 (beside this file)
from _sphere import (  # noqa: PLC2701
    CallSide,
    Options,
    check_sides,
    read_lengths,
    write_sides,
)

from bbb.audio.datadir import DataDir
from bbb.errors import DataError
from bbb.files import numbered_lines


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingOptions(Options):
    """What the scripts of training sets are told beside ``Options``.

    Attributes:
        releases: Catalogue numbers to use; None for those that are there.
        exclude: Data directories of evaluations, whose speakers must not be trained on.
        drop_excluded: Leave their speakers out instead of refusing.
        drop_bad: Leave out sides whose audio cannot be used, or that two speakers are said to
            speak, instead of refusing.
    """

    releases: Sequence[str] | None = None
    exclude: Sequence[Path] = ()
    drop_excluded: bool = False
    drop_bad: bool = False

    @staticmethod
    def add_to(parser: argparse.ArgumentParser) -> None:
        """Add the options of both classes."""
        Options.add_to(parser)
        parser.add_argument(
            "--releases", nargs="+", metavar="LDC", help="catalogue numbers (all that are there)"
        )
        parser.add_argument(
            "--exclude", type=Path, nargs="+", default=(), metavar="DIR",
            help="data directories whose speakers must not be trained on",
        )  # fmt: skip
        parser.add_argument("--drop-excluded", action="store_true", help="leave these speakers out")
        parser.add_argument(
            "--drop-bad", action="store_true", help="leave out sides that cannot be used"
        )


def comma_rows(
    path: Path, columns: int, faults: Faults, *, named: bool = False
) -> Iterator[list[str]]:
    """Rows of a comma-separated table.

    Args:
        path: The table.
        columns: How many to return; a line may have more.
        faults: Gets the lines that have fewer.
        named: Whether the first line may name the columns; it is left out if it does not begin with
            a number.

    Yields:
        Fields of a row, without the blanks around them.
    """
    broken = []
    for number, line in numbered_lines(path):
        fields = [field.strip() for field in line.split(",")[:columns]]
        if named and number == 1 and not fields[0].isdigit():
            continue
        if len(fields) == columns:
            yield fields
        else:
            broken.append(f"{path.name}:{number}")
    faults.add("broken lines", broken, f"expected {columns} columns: restore the file")


def find_releases(
    source: Path, known: Mapping[str, str], wanted: Sequence[str] | None, faults: Faults
) -> dict[str, Path]:
    """The folders of LDC releases.

    Args:
        source: Folder of folders whose names start with a catalogue number, or one of these.
        known: Catalogue number to title.
        wanted: Catalogue numbers that must be there; None for those that are.
        faults: Gets those that are wanted and not there, or not known.

    Returns:
        Catalogue number to folder, in the order of ``known``.

    Raises:
        DataError: If the source is no folder, or none of the releases is there.
    """
    if not source.is_dir():
        msg = f"{source}: no such folder; check --source"
        raise DataError(msg)
    folders = [source, *sorted(entry for entry in source.iterdir() if entry.is_dir())]
    found = {}
    for number in known:
        for folder in folders:
            if folder.name.upper().startswith(number):
                found.setdefault(number, folder)
    if wanted is None and not found:
        msg = f"{source}: no folder of it is named like {', '.join(known)}; check --source"
        raise DataError(msg)
    lost = [f"{n} ({known.get(n, 'unknown')})" for n in wanted or () if n not in found]
    faults.add("releases that are missing", lost, f"put them into folders of {source}, named so")
    for number in known.keys() - found.keys() if wanted is None else ():
        print(f"note: {number} ({known[number]}) is not there")
    return {n: folder for n, folder in found.items() if wanted is None or n in wanted}


def write_training_set(
    folder: Path, sides: Iterable[CallSide], faults: Faults, options: TrainingOptions
) -> DataDir:
    """Check everything, then write the data directory.

    Args:
        folder: Of the result.
        sides: What the lists of the releases say, where there is audio; perhaps repeatedly.
        faults: What has been found already; gets the rest.
        options: What to leave out.

    Returns:
        What was written.

    Raises:
        DataError: If there is a fault, or no side is left.
    """
    bad = Faults(folder) if options.drop_bad else faults
    rows = check_sides(list(sides), bad)
    drop = excluded_speakers(
        {row.speaker for row in rows}, options.exclude, faults, drop=options.drop_excluded
    )
    rows = [row for row in rows if row.speaker not in drop]
    rows, seconds = read_lengths(rows, bad, options)
    faults.check()
    try:
        bad.check()
    except DataError as error:
        print(f"note: left out, {error}")
    rows = [row for row in rows if row.name in seconds]
    if not rows:
        msg = f"{folder}: no side of a call is left; check --source and --releases"
        raise DataError(msg)
    return write_sides(folder, rows, seconds)
