"""What corpora share: files found fast, their lengths, all faults at once, a table of counts."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from rich.progress import track

from bbb.audio.datadir import DataDir
from bbb.audio.waveform import audio_info
from bbb.errors import ConfigError, DataError

Item = TypeVar("Item")
Result = TypeVar("Result")

# Threads wait for the disk (often a network's), not for the processor.
JOBS = 16
_NAMED = 5
_CHUNK = 32


class Faults:
    """Everything that is wrong with a corpus, to be said at once.

    Args:
        where: What is being looked at, first in the message.
    """

    def __init__(self, where: str | os.PathLike[str]) -> None:
        self._where = where
        self._lines: list[str] = []

    def __bool__(self) -> bool:
        """Whether there is a fault."""
        return bool(self._lines)

    def add(self, what: str, names: Iterable[object], remedy: str) -> None:
        """Note one kind of fault; without names there is none.

        Args:
            what: What the named things are, in the plural: "audio files that are missing".
            names: The things; the message has their number and the first five, in this order.
            remedy: What to do about it.
        """
        named = [str(name) for name in names]
        if named:
            more = ", ..." if len(named) > _NAMED else ""
            self._lines.append(f"{len(named)} {what}: {', '.join(named[:_NAMED])}{more}; {remedy}")

    def check(self) -> None:
        """Raise when a fault has been noted.

        Raises:
            DataError: One line for each kind, with the count and the first names.
        """
        if not self._lines:
            return
        lines = self._lines
        head = f"{len(lines)} kinds of faults, nothing was written" if len(lines) > 1 else ""
        msg = f"{self._where}: " + "\n  ".join([head, *lines] if head else lines)
        raise DataError(msg)


def parallel(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    note: str,
    *,
    jobs: int = JOBS,
    chunk: int = _CHUNK,
) -> list[Result]:
    """Call a function that waits (for disks, for other programs) on every item, with a bar.

    Args:
        function: Called from several threads.
        items: Its arguments.
        note: Beside the progress bar.
        jobs: Number of threads.
        chunk: Items that one thread takes at once; a million futures would take gigabytes.

    Returns:
        The results in the order of the items.

    Raises:
        ConfigError: If there is no thread.
    """
    if jobs < 1:
        msg = f"--jobs must be at least 1, got {jobs}"
        raise ConfigError(msg)

    def some(start: int) -> list[Result]:
        return [function(item) for item in items[start : start + chunk]]

    with ThreadPoolExecutor(jobs) as pool:
        starts = range(0, len(items), chunk)
        parts = list(track(pool.map(some, starts), note, total=len(starts)))
    return [result for part in parts for result in part]


def find_files(root: Path, suffixes: Sequence[str], *, jobs: int = JOBS) -> list[Path]:
    """Every file below a folder, listing each folder once, and opening none.

    Links are followed; one that leads nowhere is listed. Names that start with a dot (desktop
    notes) are left out.

    Args:
        root: The folder.
        suffixes: Ends of the names, in lower case: (".wav", ".flac"); case does not matter.
        jobs: Number of folders of the first level to look into at once.

    Returns:
        The files, sorted.
    """
    ends = tuple(suffixes)
    files, folders = _listing(root, ends)

    def below(folder: Path) -> list[Path]:
        found, stack = [], [folder]
        while stack:
            here, deeper = _listing(stack.pop(), ends)
            found += here
            stack += deeper
        return found

    for found in parallel(below, folders, f"{root.name}: folders", jobs=jobs, chunk=1):
        files += found
    return sorted(files)


def _listing(folder: Path, ends: tuple[str, ...]) -> tuple[list[Path], list[Path]]:
    """Files with one of these ends, and folders, in a folder."""
    files, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.name.lower().endswith(ends):
                files.append(Path(entry.path))
            elif entry.is_dir():
                folders.append(Path(entry.path))
    return files, folders


def durations(
    files: Mapping[str, Path],
    jobs: int = JOBS,
    *,
    sample_rate: int | None = None,
    channels: Mapping[str, int] | None = None,
    faults: Faults | None = None,
) -> dict[str, float]:
    """Lengths of audio files, from their headers; nothing is decoded.

    Args:
        files: Utterance or recording id to file.
        jobs: Number of threads.
        sample_rate: The rate that they must have, in Hz; any when None.
        channels: Id to the channel that is wanted, from 0; by default files must have just one.
        faults: Gets the files that cannot be used; without it they raise.

    Returns:
        Id to seconds, rounded to 0.1 ms, in the order of ``files``; without those that cannot be
        used (missing, empty, cut short, not audio, several channels, another rate).

    Raises:
        DataError: If there are such files and no ``faults`` to take them.
    """  # noqa: DOC502 (raised by the collector)

    def length(name: str) -> float | str:
        channel = None if channels is None else channels[name]
        try:
            info = audio_info(files[name], sample_rate=sample_rate, channel=channel)
            return round(info.duration, 4)
        except DataError as error:
            return str(error)

    found = dict(zip(files, parallel(length, [*files], "headers", jobs=jobs), strict=True))
    bad = Faults(f"{len(files)} audio files") if faults is None else faults
    wrong = [value for value in found.values() if isinstance(value, str)]
    bad.add("audio files that cannot be used", wrong, "restore or remove them")
    if faults is None:
        bad.check()
    return {name: value for name, value in found.items() if not isinstance(value, str)}


def excluded_speakers(
    mine: Set[str], folders: Iterable[Path], faults: Faults, *, drop: bool
) -> set[str]:
    """Speakers that data directories of evaluations have too.

    Args:
        mine: Those to be trained on.
        folders: The data directories.
        faults: Gets the speakers that are in both, unless they are dropped.
        drop: Whether they will be left out.

    Returns:
        The speakers that are in both.
    """
    common: set[str] = set()
    for folder in folders:
        theirs = mine & {*DataDir.read(folder).utt2spk.values()}
        common |= theirs
        if drop:
            print(f"note: {len(theirs)} speakers of {folder} are left out")
        else:
            faults.add(
                f"speakers both here and in {folder}",
                sorted(theirs),
                "an evaluation needs speakers that were not trained on: add --drop-excluded",
            )
    return common


def count_table(rows: Iterable[tuple[str, int | float, int | float | None]]) -> None:
    """Print what was found beside what was published; differences are marked.

    Args:
        rows: Name, number found, and the published number, or None where there is none.
    """
    table = [("", "found", "published", "")]
    for what, found, published in rows:
        mark = "" if published is None or found == published else "differs"
        known = "-" if published is None else _number(published)
        table.append((what, _number(found), known, mark))
    widths = [max(len(row[column]) for row in table) for column in range(3)]
    for name, left, right, mark in table:
        line = f"{name:<{widths[0]}}  {left:>{widths[1]}}  {right:>{widths[2]}}  {mark}"
        print(line.rstrip())


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"
