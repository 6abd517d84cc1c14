"""Files that are never half written, and lines that know their number."""

import codecs
import contextlib
import gzip
import os
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from bbb.errors import FormatError

LONGEST_LINE = 2**24


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write to a temporary name beside ``path``, and rename it when the block succeeds.

    A kill, a full disk or an exception leaves the previous file as it was. A device or a pipe, such
    as ``/dev/null``, is written to as it is: to rename over it would remove it for everyone.

    Args:
        path: The final name; its folder is made when missing.

    Yields:
        A path in the same folder, with the same suffix, for the block to write.
    """
    final = Path(path)
    if final.exists() and not (final.is_file() or final.is_dir()):
        yield final
        return
    final.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{final.stem}.", suffix=final.suffix, dir=final.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files; results are for everyone whom the umask lets read them.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(final)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8 in one atomic step.

    Args:
        path: The file; its folder is made when missing.
        text: What it is to hold.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def text_blocks(path: str | os.PathLike[str], size: int = 2**20) -> Iterator[tuple[int, bytes]]:
    """Yield a text file as runs of whole lines, without its byte-order mark; constant memory.

    Args:
        path: The file; gzip is known by its content.
        size: Bytes to read at once, after decompression; more than the three of the mark.

    Yields:
        The number of the first line, from 1, and the text; only the last may lack its line end.

    Raises:
        FormatError: If the file is missing, its compression is broken, or a line is as long as no
            line of text is.
    """
    file = Path(path)
    if not file.is_file():
        msg = f"{file}:0: no such file; check the path"
        raise FormatError(msg)
    number, rest = 1, b""
    with _open_binary(file) as stream:
        data = _read(stream, size, file, number).removeprefix(codecs.BOM_UTF8)
        while data:
            cut = data.rfind(b"\n") + 1
            if cut:
                text, rest = b"".join((rest, memoryview(data)[:cut])), data[cut:]
                yield number, text
                number += text.count(b"\n")
            else:
                rest += data
            if len(rest) > LONGEST_LINE:
                msg = (
                    f"{file}:{number}: expected lines of text, got {len(rest)} bytes without a "
                    "line end; is it a text file?"
                )
                raise FormatError(msg)
            data = _read(stream, size, file, number)
    if rest:
        yield number, rest


def _read(stream: BinaryIO, size: int, file: Path, number: int) -> bytes:
    """The next bytes of a file.

    Args:
        stream: The file.
        size: Number of bytes.
        file: Its name, for messages.
        number: Line that has been reached, for messages.

    Returns:
        The bytes; none at the end.

    Raises:
        FormatError: If its compression is broken.
    """
    try:
        return stream.read(size)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        msg = f"{file}:{number}: broken gzip ({error}); copy or compress the file again"
        raise FormatError(msg) from error


def _open_binary(file: Path) -> BinaryIO:
    """Open a file for reading, decompressed if its content says gzip."""
    stream = file.open("rb")
    if stream.peek(2)[:2] == b"\x1f\x8b":
        stream.close()
        return cast("BinaryIO", gzip.open(file, "rb"))
    return stream


@contextlib.contextmanager
def open_output(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing bytes, compressed where its name ends in ``.gz``.

    Args:
        path: The file.

    Yields:
        A stream; the same bytes always make the same file.
    """
    with path.open("wb") as plain:
        if path.suffix != ".gz":
            yield plain
            return
        with gzip.GzipFile("", "wb", compresslevel=1, fileobj=plain, mtime=0) as stream:
            yield cast("BinaryIO", stream)


def numbered_lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, str]]:
    """Yield ``(number, line)`` of a UTF-8 text file, without line ends, BOM or blank lines.

    Args:
        path: The file to read, plain or gzip; Windows line ends and a byte-order mark are accepted.

    Yields:
        The line's number, from 1, and its text with the white space at both ends removed.

    Raises:
        FormatError: If the file is missing or broken, or a line is not UTF-8.
    """  # noqa: DOC502 (raised by text_blocks and decoded)
    for first, block in text_blocks(path):
        for number, line in enumerate(decoded(path, first, block).split("\n"), start=first):
            if text := line.strip():
                yield number, text


def decoded(path: str | os.PathLike[str], first: int, text: bytes) -> str:
    """Lines of a file as text.

    Args:
        path: The file.
        first: Number of the first line.
        text: The lines.

    Returns:
        The text.

    Raises:
        FormatError: If a line is not UTF-8; it names the line.
    """
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        number = first + text.count(b"\n", 0, error.start)
        msg = f"{path}:{number}: not UTF-8 ({error.reason}); convert the file to UTF-8"
        raise FormatError(msg) from error
