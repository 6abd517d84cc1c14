"""Files that are never half written, and lines that know their number."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bbb.errors import FormatError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write to a temporary name beside ``path``, and rename it when the block succeeds.

    A kill, a full disk or an exception leaves the previous file as it was.

    Args:
        path: The final name; its folder is made when missing.

    Yields:
        A path in the same folder, with the same suffix, for the block to write.
    """
    final = Path(path)
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
    """Write ``text`` as UTF-8 in one atomic step."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def numbered_lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, str]]:
    """Yield ``(number, line)`` of a UTF-8 text file, without line ends, BOM or blank lines.

    Args:
        path: The file to read; Windows line ends and a byte-order mark are accepted.

    Yields:
        The line's number, from 1, and its text with the white space at both ends removed.

    Raises:
        FormatError: If the file is missing, or a line is not UTF-8.
    """
    file = Path(path)
    if not file.is_file():
        msg = f"{file}:0: no such file; check the path"
        raise FormatError(msg)
    with file.open("rb") as stream:
        for number, raw in enumerate(stream, start=1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                msg = f"{file}:{number}: not UTF-8 ({error.reason}); convert the file to UTF-8"
                raise FormatError(msg) from error
            if line:
                yield number, line
