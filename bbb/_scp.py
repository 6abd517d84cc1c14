"""Arrays that a Kaldi scp names, read by id, whole or in part."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bbb._ark import Archive, Floats, Place
from bbb.errors import FormatError
from bbb.files import numbered_lines

_RANGE = re.compile(r"(.+)\[(?::|([0-9]{1,9}):([0-9]{1,9}))\]")
# How far Kaldi lets a range reach behind the end: segments are rounded to hundredths of a second.
_TOLERANCE = 3


class Scp:
    """A table of ids and places in archives: ``<id> <path>:<offset>``, or with ``[first:last]``.

    What a line costs in memory is its id and five numbers. Archives are mapped when first needed.

    Args:
        file: The scp, plain or gzip. Its paths are relative to the working directory, or else to
            the folder of the scp.
        ndim: 1 for vectors, 2 for matrices.

    Raises:
        FormatError: If a line is wrong, or names an id again; it names the line.
    """

    def __init__(self, file: Path, ndim: int) -> None:
        self.file = file
        self.ndim = ndim
        self._rows: dict[str, int] = {}
        names: dict[str, int] = {}
        entries: list[tuple[int, ...]] = []
        for number, line in numbered_lines(file):
            key, name, *numbers = _parts(line, f"{file}:{number}")
            if self._rows.setdefault(key, len(entries)) != len(entries):
                msg = f"{file}:{number}: '{key}' is there already; keep one of its lines"
                raise FormatError(msg)
            entries.append((number, names.setdefault(name, len(names)), *numbers))
        self._names = list(names)
        self._entries = np.array(entries, dtype=np.int64).reshape(-1, 5)
        self._archives: dict[int, Archive] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without what is mapped, which cannot be pickled."""
        return {**self.__dict__, "_archives": {}}

    def __len__(self) -> int:
        """Number of ids."""
        return len(self._rows)

    def __iter__(self) -> Iterator[str]:
        """Ids, in the order of the file."""
        return iter(self._rows)

    def __contains__(self, key: object) -> bool:
        """Whether an id is there."""
        return key in self._rows

    def shape(self, key: str) -> tuple[int, ...]:
        """Sizes of an array, of whose values none is read.

        Args:
            key: An id.

        Returns:
            (values,) or (rows, columns).

        Raises:
            FormatError: If the array is missing, broken or cut off.
        """  # noqa: DOC502 (raised by _find)
        _, found, rows = self._find(key)
        return (rows.stop - rows.start, *found.shape[1:])

    def read(self, key: str, start: int = 0, stop: int | None = None) -> Floats:
        """An array, or some rows of it.

        Args:
            key: An id.
            start: First row (of a vector: value), from 0.
            stop: One past the last; the end when None.

        Returns:
            float32 or float64, shape (values,) or (rows, columns); do not write to it. Of
            uncompressed archives no other rows are read.

        Raises:
            FormatError: If the array is missing, broken or cut off.
        """  # noqa: DOC502 (raised by _find)
        archive, found, rows = self._find(key)
        chosen = range(rows.start, rows.stop)[start:stop]
        return archive.values(found, slice(chosen.start, chosen.stop))

    def _find(self, key: str) -> tuple[Archive, Place | Floats, slice]:
        """Archive, place and range of an array.

        Raises:
            FormatError: If it is not there.
        """
        number, name, offset, first, stop = self._entries[self._rows[key]].tolist()
        where = f"{self.file}:{number}"
        if name not in self._archives:
            self._archives[name] = self._open(self._names[name], where)
        archive = self._archives[name]
        found, _ = archive.find(offset, f"{where}: '{key}'")
        rows = found.shape[0]
        if stop > rows + _TOLERANCE or first >= min(rows, stop if stop else rows):
            msg = f"{where}: '{key}': no rows {first} to {stop - 1} among {rows}; correct the range"
            raise FormatError(msg)
        return archive, found, slice(first, min(rows, stop) if stop else rows)

    def _open(self, name: str, where: str) -> Archive:
        """Map an archive.

        Raises:
            FormatError: If there is none.
        """
        for path in (Path(name), self.file.parent / name):
            if _is_file(path):
                return Archive(path, self.ndim)
        msg = f"{where}: no such archive '{name}'; run from the folder that the paths start from"
        raise FormatError(msg)


def _is_file(path: Path) -> bool:
    """Whether there is such a file; names that no file can have are none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _parts(line: str, where: str) -> tuple[str, str, int, int, int]:
    """Id, archive, offset, first row and one past the last (0: to the end) in a line.

    Args:
        line: The line.
        where: File and line number, for messages.

    Returns:
        The five parts; the offset is 0 where the line has none.

    Raises:
        FormatError: If a part is missing, or the line names a pipe or a range of columns.
    """
    key, *rest = line.split(maxsplit=1)
    target = rest[0] if rest else ""
    match = _RANGE.fullmatch(target) if target.endswith("]") else None
    target, first, last = match.groups(default="") if match else (target, "", "")
    if not target or target.startswith("|") or target.endswith(("|", "]")):
        msg = (
            f"{where}: expected '<id> <path>:<offset>' or with '[first:last]' rows, got '{line}'; "
            "no pipes, no columns"
        )
        raise FormatError(msg)
    rows = (int(first), int(last) + 1) if first else (0, 0)
    name, colon, offset = target.rpartition(":")
    # No file is longer than eighteen digits say.
    if colon and offset.isascii() and offset.isdecimal() and len(offset) <= 18:  # noqa: PLR2004
        return key, name, int(offset), *rows
    return key, target, 0, *rows
