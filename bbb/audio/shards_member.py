"""Audio inside tar files, under addresses ``FILE.tar:OFFSET``, as Kaldi writes them in wav.scp."""

import io
import os
import re
import tarfile
from pathlib import Path

from bbb.errors import DataError

_ADDRESS = re.compile(r"(.+\.tar):(\d+)")


def split_address(path: str | os.PathLike[str]) -> tuple[str, int] | None:
    """Tar file and first byte of an address.

    Args:
        path: What stands in ``wav.scp``.

    Returns:
        None for a file of its own.
    """
    match = _ADDRESS.fullmatch(os.fspath(path))
    return None if match is None else (match[1], int(match[2]))


def address_from(folder: Path, text: str) -> str:
    """The address that ``text`` is in a folder: a tar file without folder lies beside the table.

    Args:
        folder: Of the table.
        text: An address, or the path of a file of its own, which is left as it is.

    Returns:
        Relative to the working directory, as everything else in ``wav.scp``.
    """
    beside = split_address(text) is not None and "/" not in text
    return str(folder / text) if beside else text


def address_in(folder: Path, text: str) -> str:
    """The inverse of ``address_from``, so that a folder with its tar files can be moved."""
    address = split_address(text)
    return text if address is None or Path(text).parent != folder else Path(text).name


class Member(io.RawIOBase):
    """A file inside a tar file as a file of its own, without reading the rest.

    Args:
        tar: The tar file, not compressed.
        offset: First byte of the content, behind its header of 512 bytes.

    Raises:
        DataError: If there is no such tar file, no file begins there, or its end is missing.
    """

    def __init__(self, tar: str, offset: int) -> None:
        super().__init__()
        self._start, self._place = offset, 0
        try:
            self._stream = io.FileIO(tar)
        except OSError as error:
            msg = f"{tar}:{offset}: no such tar file ({error.strerror}); restore the shards"
            raise DataError(msg) from error
        try:
            self._stream.seek(max(0, offset - tarfile.BLOCKSIZE))
            header = self._stream.read(tarfile.BLOCKSIZE)
            self.size = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape").size
        except tarfile.HeaderError as error:
            self.close()
            msg = f"{tar}:{offset}: no file begins there ({error}); make the shards again"
            raise DataError(msg) from error
        missing = offset + self.size - os.fstat(self._stream.fileno()).st_size
        if missing > 0:
            self.close()
            msg = f"{tar}:{offset}: truncated, {missing} bytes are missing; restore the shards"
            raise DataError(msg)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte of the content."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill ``buffer`` from the present byte on; the number of bytes, 0 at the end."""
        wanted = max(0, min(len(buffer), self.size - self._place))
        self._stream.seek(self._start + self._place)
        number = self._stream.readinto(memoryview(buffer)[:wanted])
        self._place += number
        return number

    def close(self) -> None:
        """Close the tar file too."""
        self._stream.close()
        super().close()
