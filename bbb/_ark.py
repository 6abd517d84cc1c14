"""Vectors and matrices in Kaldi archives, binary, compressed or text, whole or not at all.

kaldiio is not used: it unpickles, imports or decodes what a flag in the file asks for, and returns
a shorter vector where the file was cut off.
"""

import contextlib
import math
import mmap
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bbb._compressed import CODES, decode
from bbb.errors import FormatError
from bbb.files import atomic_path, write_text

Floats = NDArray[np.floating[Any]]
# What a file has in memory; an empty one cannot be mapped.
Data = mmap.mmap | bytes
# Sizes (four bytes each, behind one that says so) and elements.
_PLAIN: dict[bytes, tuple[struct.Struct, np.dtype[Any]]] = {
    kind + shape: (struct.Struct(sizes), np.dtype(dtype))
    for kind, dtype in ((b"F", "<f4"), (b"D", "<f8"))
    for shape, sizes in ((b"V", "<xi"), (b"M", "<xixi"))
}
# Least value, range, rows, columns.
_COMPRESSED = struct.Struct("<ffii")
_NAMES = {1: "vector", 2: "matrix"}
# Text entries end in a line end, which stands before the next id.
_ID = re.compile(rb"\s*(\S[^ ]{0,4095}) ")
_REST = re.compile(rb"\s*\Z")
_TEXT = re.compile(rb"\s*\[([^\[\]]*)\][ \t\r]*(?:\n|\Z)")


class Place(NamedTuple):
    """Where an array stands in a file.

    Attributes:
        token: Kaldi's name of its format, such as ``FM``.
        shape: Its sizes; not to be trusted before ``end`` is known to lie in the file.
        start: First byte after the sizes.
        end: First byte after the array; behind the end of the file where it is cut off.
    """

    token: bytes
    shape: tuple[int, ...]
    start: int
    end: int


def binary_place(data: Data, start: int) -> Place | None:
    """What stands at a byte behind the mark of a binary object; None where it is no array."""
    token, blank, _ = data[start : start + 4].partition(b" ")
    if not blank or not (token in _PLAIN or token in CODES):
        return None
    sizes = _PLAIN[token][0] if token in _PLAIN else _COMPRESSED
    first = start + len(token) + 1 + sizes.size
    if first > len(data):
        return Place(token, (-1, -1)[: sizes.size // 5], first, first)
    head = data[first - sizes.size : first]
    if token in _PLAIN:
        if head[::5].strip(b"\4"):
            return None
        shape, itemsize, extra = sizes.unpack(head), _PLAIN[token][1].itemsize, 0
    else:
        shape, itemsize = sizes.unpack(head)[2:], CODES[token].itemsize
        extra = 8 * shape[1] if token == b"CM" else 0
    size = extra + math.prod(shape) * itemsize if min(shape) > 0 else 0
    return Place(token, shape, first, first + size)


def binary_values(data: Data, place: Place, rows: slice = slice(None)) -> Floats:
    """The values of an array that is complete, as a view of the file where they stand there.

    Args:
        data: The file.
        place: From ``binary_place``.
        rows: Which of its rows (of a vector: values); no other is read.

    Returns:
        float32 or float64, shape (rows, ...).
    """
    if place.token in CODES:
        low, span = struct.unpack("<ff", data[place.start - 16 : place.start - 8])
        body = memoryview(data)[place.start : place.end]
        return decode(place.token, body, place.shape, (low, span), rows)
    values = np.frombuffer(data, _PLAIN[place.token][1], math.prod(place.shape), place.start)
    return values.reshape(place.shape)[rows]


def binary_entry(array: NDArray[Any]) -> bytes:
    """A vector or matrix as Kaldi writes it, without the mark; not float64: as float32."""
    token = (b"D" if array.dtype == np.float64 else b"F") + (b"V" if array.ndim == 1 else b"M")
    sizes = b"".join(struct.pack("<bi", 4, size) for size in array.shape)
    return token + b" " + sizes + np.ascontiguousarray(array, _PLAIN[token][1]).tobytes()


class Archive:
    """A file of arrays; nothing of it is read before it is needed.

    Args:
        file: Its path.
        ndim: 1 for vectors, 2 for matrices.
    """

    def __init__(self, file: Path, ndim: int) -> None:
        self.file = file
        self.ndim = ndim
        with file.open("rb") as stream:
            empty = not file.stat().st_size
            self.data: Data = (
                b"" if empty else mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            )

    def find(self, start: int, where: str) -> tuple[Place | Floats, int]:
        """What stands at a byte.

        Args:
            start: Its first byte, after the id and a blank.
            where: File, line and id, for messages.

        Returns:
            The place of a complete array of at least one element, or, where it is text, its values,
            float32; and its end.

        Raises:
            FormatError: If something else is there, or the array is cut off.
        """
        head = self.data[start : start + 2]
        if head[:1] in {b" ", b"["}:
            return self._text(start, where)
        place = binary_place(self.data, start + 2) if head == b"\0B" else None
        fits = place is not None and len(place.shape) == self.ndim
        if place is None or not fits or min(place.shape) < 1 or place.end > len(self.data):
            name, at = _NAMES[self.ndim], f"{self.file}, byte {start}"
            expected = f"expected a Kaldi {name}, got other data ({at}); is it the right file?"
            cut = f"the {name} is not complete ({at}); write the archive again"
            msg = f"{where}: {cut if fits else expected}"
            raise FormatError(msg)
        return place, place.end

    def _text(self, start: int, where: str) -> tuple[Floats, int]:
        """Values written as ``[ 1.0 2.0 ]``, and where they end.

        Raises:
            FormatError: If they are not.
        """
        match = _TEXT.match(self.data, start)
        lines = match[1].split(b"\n") if match and b"_" not in match[1] else []
        rows = [line.split() for line in lines if line.strip()]
        try:
            values = np.array(rows, dtype=np.float64).astype(np.float32)
        except ValueError:
            values = np.empty(0, np.float32)
        if match is None or not values.size or (self.ndim == 1 and len(rows) != 1):
            form = "'[ 1.0 2.0 ... ]' on one line" if self.ndim == 1 else "'[', equal rows, ']'"
            msg = (
                f"{where}: expected {form}, got other text ({self.file}, byte {start}); write the "
                "archive again"
            )
            raise FormatError(msg)
        return (values[0] if self.ndim == 1 else values), match.end()

    def __iter__(self) -> Iterator[tuple[str, Floats]]:
        """Ids and arrays, in their order.

        Yields:
            Id and array of each entry.

        Raises:
            FormatError: If an entry is broken; it gives the id, or the byte where none was found.
        """
        position = 0
        while position < len(self.data):
            match = _ID.match(self.data, position)
            if not match and _REST.match(self.data, position):
                return
            try:
                key = match[1].decode() if match else ""
            except UnicodeDecodeError:
                key = ""
            if not match or not key:
                msg = (
                    f"{self.file}:0: expected '<id> <{_NAMES[self.ndim]}>', got no id at byte "
                    f"{position}; is it an ark?"
                )
                raise FormatError(msg)
            found, position = self.find(match.end(), f"{self.file}:0: '{key}'")
            yield key, self.values(found)

    def values(self, found: Place | Floats, rows: slice = slice(None)) -> Floats:
        """What ``find`` found, or some rows of it (of a vector: values), not to be written to."""
        return binary_values(self.data, found, rows) if isinstance(found, Place) else found[rows]


@contextlib.contextmanager
def ark_writer(path: Path) -> Iterator[Callable[[str, NDArray[Any]], None]]:
    """Write a binary archive and the ``.scp`` beside it; each appears whole or not at all.

    Args:
        path: The archive, ``.ark``.

    Yields:
        A function that adds an id and its array, which it writes as float64 or else as float32.
    """
    lines, position = [], 0
    with atomic_path(path) as temporary, temporary.open("wb") as stream:

        def put(key: str, array: NDArray[Any]) -> None:
            """Add an entry."""
            nonlocal position
            position += stream.write(f"{key} ".encode())
            lines.append(f"{key} {path}:{position}\n")
            position += stream.write(b"\0B" + binary_entry(array))

        yield put
    write_text(path.with_suffix(".scp"), "".join(lines))
