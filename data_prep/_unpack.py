"""Archives that are unpacked completely or not at all."""

import bisect
import contextlib
import gzip
import io
import itertools
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from rich.progress import track

from bbb.errors import DataError

_CHUNK = 1 << 18


def extract_tar_gz(archive: Path, output: Path, *, top: str) -> Path:
    """Unpack the folder ``top`` of an archive into ``output / top``, completely or not at all.

    Members that would leave the folder, links out of it and devices are refused (Python's
    ``data`` filter). The archive is read to its very end, which verifies the CRC of gzip.

    Args:
        archive: A ``.tar.gz`` file.
        output: The folder in which ``top`` will appear.
        top: Name of the archive's only folder.

    Returns:
        ``output / top``; when that exists already, nothing is done.

    Raises:
        DataError: If the archive is damaged, unsafe, or has no such folder.
    """  # noqa: DOC502 (raised by the context)
    if (output / top).is_dir():
        return output / top
    with _unpacking(archive, output, top) as holder, gzip.open(archive, "rb") as stream:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            members = (member for member in tar if not _is_note(member.name))
            tar.extractall(holder, members=members, filter="data")
        while stream.read(_CHUNK):
            pass
    return output / top


def extract_zip(archive: Path | Sequence[Path], output: Path, *, top: str) -> Path:
    """Unpack the folder ``top`` of a zip file into ``output / top``, completely or not at all.

    The parts of a split archive are read as one file, without the disk space of a joined copy.
    The CRC of every member is verified; names that would leave the folder are taken to lie in it.

    Args:
        archive: A ``.zip`` file, or the parts that it was cut into, in their order.
        output: The folder in which ``top`` will appear.
        top: Name of the archive's only folder.

    Returns:
        ``output / top``; when that exists already, nothing is done.

    Raises:
        DataError: If the archive is damaged, or has no such folder.
    """  # noqa: DOC502 (raised by the context)
    if (output / top).is_dir():
        return output / top
    parts = [archive] if isinstance(archive, Path) else list(archive)
    with (
        _unpacking(parts[0], output, top) as holder,
        _Joined(parts) as stream,
        zipfile.ZipFile(cast("BinaryIO", io.BufferedReader(stream, _CHUNK))) as whole,
    ):
        members = [info for info in whole.infolist() if not _is_note(info.filename)]
        for member in track(members, f"unpacking {parts[0].name}"):
            whole.extract(member, holder)
    return output / top


@contextlib.contextmanager
def _unpacking(archive: Path, output: Path, top: str) -> Iterator[Path]:
    """A folder to unpack into, whose folder ``top`` moves to ``output`` when the block succeeds.

    Raises:
        DataError: If the block finds the archive damaged, or there is no such folder afterwards.
    """
    output.mkdir(parents=True, exist_ok=True)
    holder = Path(tempfile.mkdtemp(prefix=f".{top}.", dir=output))
    try:
        yield holder
        if not (holder / top).is_dir():
            msg = f"{archive}: no folder {top!r} in it; is it the right archive?"
            raise DataError(msg)
        (holder / top).replace(output / top)
    except (EOFError, gzip.BadGzipFile, tarfile.TarError, zipfile.BadZipFile, zlib.error,
            NotImplementedError) as error:  # fmt: skip
        msg = f"{archive}: cannot be unpacked ({error}); remove it and download it again"
        raise DataError(msg) from error
    finally:
        shutil.rmtree(holder)


def _is_note(name: str) -> bool:
    """Whether a member is one of the notes that macOS leaves in archives."""
    *folders, last = name.rstrip("/").split("/")
    return last == ".DS_Store" or last.startswith("._") or "__MACOSX" in {*folders, last}


class _Joined(io.RawIOBase):
    """Files one after the other as one file that can be read and sought."""

    def __init__(self, parts: Sequence[Path]) -> None:
        super().__init__()
        self._streams = [part.open("rb", buffering=0) for part in parts]
        sizes = [part.stat().st_size for part in parts]
        self._starts = [0, *itertools.accumulate(sizes)]
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._starts[-1]}
        self._position = start[whence] + offset
        if self._position < 0:
            # The directory at the end of a zip file says how long all before it is.
            msg = "something is missing before its end"
            raise EOFError(msg)
        return self._position

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override] # any writable buffer
        if self._position >= self._starts[-1]:
            return 0
        part = bisect.bisect_right(self._starts, self._position) - 1
        self._streams[part].seek(self._position - self._starts[part])
        count = self._streams[part].readinto(buffer) or 0
        self._position += count
        return count

    def close(self) -> None:
        for stream in self._streams:
            stream.close()
        super().close()
