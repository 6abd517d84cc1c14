"""Vectors in Kaldi archives, binary or text, whole or not at all.

kaldiio is not used for reading: it unpickles, imports or decodes what a flag in the file asks for,
and returns a shorter vector where the file was cut off.
"""

import contextlib
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from bbb._files import numbered_lines
from bbb.errors import FormatError

Floats = NDArray[np.floating[Any]]
BINARY: dict[bytes, np.dtype[Any]] = {
    b"\0BFV \4": np.dtype("<f4"),
    b"\0BDV \4": np.dtype("<f8"),
}


def _vector(stream: BinaryIO, where: str) -> Floats:
    """The vector at the stream's position.

    Args:
        stream: A file at the start of the vector.
        where: File, line and id, for messages.

    Returns:
        Its values, float32 or float64, shape (dim,).

    Raises:
        FormatError: If something else is there, or the vector is cut off.
    """
    flag = stream.read(1)
    if flag in {b" ", b"["}:
        return _text_vector(flag + stream.readline(), where)
    flag += stream.read(5)
    if flag not in BINARY:
        msg = f"{where}: expected a Kaldi vector, got other data; is it an archive of vectors?"
        raise FormatError(msg)
    size = stream.read(4)
    num = struct.unpack("<i", size)[0] if len(size) == 4 else -1  # noqa: PLR2004
    values = stream.read(num * BINARY[flag].itemsize) if num > 0 else b""
    if num < 1 or len(values) != num * BINARY[flag].itemsize:
        msg = f"{where}: the vector is not complete; write the archive again"
        raise FormatError(msg)
    return np.asarray(np.frombuffer(values, dtype=BINARY[flag]))


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
        values = [float(field) for field in fields[1:-1]]
    except ValueError:
        values = []
    if not values or fields[0] != b"[" or fields[-1] != b"]":
        msg = f"{where}: expected '[ 1.0 2.0 ... ]' on one line; write the archive again"
        raise FormatError(msg)
    return np.array(values, dtype=np.float32)


def ark_vectors(file: Path) -> Iterator[tuple[str, Floats]]:
    """Id and vector of each entry of an archive; a broken one is a FormatError with its id."""
    with file.open("rb") as stream:
        while True:
            key = _token(stream, file)
            if key is None:
                return
            yield key, _vector(stream, f"{file}:0: '{key}'")


def _token(stream: BinaryIO, file: Path) -> str | None:
    """The id before the next vector.

    Args:
        stream: A file at the start of an entry.
        file: Its name, for messages.

    Returns:
        The id, or None at the end of the file.

    Raises:
        FormatError: If there is no id that ends in a blank.
    """
    longest = 4096
    read: list[bytes] = []
    while len(read) < longest:
        byte = stream.read(1)
        if byte == b" " and read:
            try:
                return b"".join(read).decode()
            except UnicodeDecodeError:
                break
        if not byte and not read:
            return None
        if not byte:
            break
        if read or not byte.isspace():
            read.append(byte)
    msg = f"{file}:0: expected '<id> <vector>', got no id at byte {stream.tell()}; is it an ark?"
    raise FormatError(msg)


def scp_vectors(file: Path) -> Iterator[tuple[str, Floats]]:
    """Id and vector of each line of an scp; a broken one is a FormatError with its line."""
    with contextlib.ExitStack() as stack:
        streams: dict[str, BinaryIO] = {}
        for number, line in numbered_lines(file):
            where = f"{file}:{number}"
            key, name, offset = _scp_entry(line, where)
            if name not in streams:
                streams[name] = _open(stack.enter_context, name, file, where)
            streams[name].seek(offset)
            yield key, _vector(streams[name], f"{where}: '{key}'")


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
    return (key, name, int(offset)) if colon and offset.isdecimal() else (key, target, 0)


def _open(enter: Callable[[BinaryIO], BinaryIO], name: str, scp: Path, where: str) -> BinaryIO:
    for path in (Path(name), scp.parent / name):
        if path.is_file():
            return enter(path.open("rb"))
    msg = f"{where}: no such archive '{name}'; run from the folder that the paths start from"
    raise FormatError(msg)
