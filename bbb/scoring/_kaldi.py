"""Vectors in Kaldi archives, binary or text, whole or not at all.

kaldiio is not used: it unpickles, imports or decodes what a flag in the file asks for, and returns
a shorter vector where the file was cut off.
"""

import mmap
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bbb._files import numbered_lines
from bbb.errors import FormatError

Floats = NDArray[np.floating[Any]]
# What a file has in memory; an empty one cannot be mapped.
Data = mmap.mmap | bytes
BINARY: dict[bytes, np.dtype[Any]] = {
    b"\0BFV \4": np.dtype("<f4"),
    b"\0BDV \4": np.dtype("<f8"),
}
HEAD = 10
# Text entries end in a line end, which stands before the next id.
ID = re.compile(rb"\s*(\S[^ ]{0,4095}) ")
REST = re.compile(rb"\s*\Z")


def ark_entry(key: str, vector: Floats) -> tuple[bytes, bytes]:
    """An id and a vector as an archive holds them.

    Args:
        key: The id.
        vector: Shape (dim,); anything but float64 is written as float32.

    Returns:
        The bytes before the place that an scp names, and those from there on.
    """
    flag = b"\0BDV \4" if vector.dtype == np.float64 else b"\0BFV \4"
    values = vector.astype(BINARY[flag], copy=False).tobytes()
    return f"{key} ".encode(), flag + struct.pack("<i", len(vector)) + values


def _vector(data: Data, start: int, where: str) -> tuple[Floats, int]:
    """A vector, as a view of the file where it is binary.

    Args:
        data: The archive.
        start: Where the vector starts.
        where: File, line and id, for messages.

    Returns:
        Its values, float32 or float64, shape (dim,), and where it ends.

    Raises:
        FormatError: If something else is there, or the vector is cut off.
    """
    head = data[start : start + HEAD]
    if head[:1] in {b" ", b"["}:
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        return _text_vector(data[start:end], where), end
    dtype = BINARY.get(head[:6])
    if dtype is None:
        msg = f"{where}: expected a Kaldi vector, got other data; is it an archive of vectors?"
        raise FormatError(msg)
    num = struct.unpack("<i", head[6:])[0] if len(head) == HEAD else -1
    end = start + HEAD + num * dtype.itemsize
    if num < 1 or end > len(data):
        msg = f"{where}: the vector is not complete; write the archive again"
        raise FormatError(msg)
    return np.frombuffer(data, dtype, num, start + HEAD), end


def _text_vector(line: bytes, where: str) -> Floats:
    """A vector written as ``[ 1.0 2.0 ]``.

    Args:
        line: The rest of the line after the id.
        where: File, line and id, for messages.

    Returns:
        Its values, float32, shape (dim,).

    Raises:
        FormatError: If it is not a vector.
    """
    fields = line.split()
    try:
        values = [] if b"_" in line else [float(field) for field in fields[1:-1]]
    except ValueError:
        values = []
    if not values or fields[0] != b"[" or fields[-1] != b"]":
        msg = f"{where}: expected '[ 1.0 2.0 ... ]' on one line; write the archive again"
        raise FormatError(msg)
    return np.array(values, dtype=np.float32)


def _mapped(file: Path) -> Data:
    """A file's bytes, without reading them yet."""
    with file.open("rb") as stream:
        if not file.stat().st_size:
            return b""
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)


def ark_vectors(file: Path) -> Iterator[tuple[str, Floats]]:
    """Ids and vectors of an archive.

    Args:
        file: The archive.

    Yields:
        Id and vector of each entry.

    Raises:
        FormatError: If an entry is broken; it gives the id, or the byte where none was found.
    """
    data, position = _mapped(file), 0
    while position < len(data):
        match = ID.match(data, position)
        if not match and REST.match(data, position):
            return
        try:
            key = match[1].decode() if match else ""
        except UnicodeDecodeError:
            key = ""
        if not match or not key:
            msg = f"{file}:0: expected '<id> <vector>', got no id at byte {position}; is it an ark?"
            raise FormatError(msg)
        vector, position = _vector(data, match.end(), f"{file}:0: '{key}'")
        yield key, vector


def scp_vectors(file: Path) -> Iterator[tuple[str, Floats]]:
    """Ids and vectors of an scp.

    Args:
        file: The scp, plain or gzip.

    Yields:
        Id and vector of each line.

    Raises:
        FormatError: If a line is wrong, or what it names is missing or broken; it names the line.
    """
    archives: dict[str, Data] = {}
    for number, line in numbered_lines(file):
        where = f"{file}:{number}"
        key, name, offset = _scp_entry(line, where)
        if name not in archives:
            paths = (Path(name), file.parent / name)
            found = next((path for path in paths if _is_file(path)), None)
            if found is None:
                msg = (
                    f"{where}: no such archive '{name}'; run from the folder that the paths start "
                    "from"
                )
                raise FormatError(msg)
            archives[name] = _mapped(found)
        yield key, _vector(archives[name], offset, f"{where}: '{key}'")[0]


def _is_file(path: Path) -> bool:
    """Whether there is such a file; names that no file can have are none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _scp_entry(line: str, where: str) -> tuple[str, str, int]:
    """Id, archive and offset in a line of an scp.

    Args:
        line: The line.
        where: File and line number, for messages.

    Returns:
        The three parts; the offset is 0 where the line has none.

    Raises:
        FormatError: If a part is missing, or the line names a pipe or a range.
    """
    key, *rest = line.split(maxsplit=1)
    target = rest[0] if rest else ""
    if not target or target.startswith("|") or target.endswith(("|", "]")):
        msg = f"{where}: expected '<id> <path>:<offset>', got '{line}'; no pipes or ranges"
        raise FormatError(msg)
    name, colon, offset = target.rpartition(":")
    # No file is longer than eighteen digits say.
    if colon and offset.isascii() and offset.isdecimal() and len(offset) <= 18:  # noqa: PLR2004
        return key, name, int(offset)
    return key, target, 0
