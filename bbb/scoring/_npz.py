"""Archives of named arrays: never pickled, never half written."""

import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bbb.errors import ConfigError, FormatError
from bbb.files import atomic_path

# What zipfile and NumPy may raise on files with wrong bytes.
BROKEN = (
    *(OSError, ValueError, EOFError, TypeError, AttributeError, RuntimeError, ArithmeticError),
    *(LookupError, MemoryError, struct.error, zlib.error, zipfile.BadZipFile),
)


def check_npz(path: str | os.PathLike[str]) -> None:
    """Refuse a name that does not end in ``.npz``, before any work is done.

    Args:
        path: The name.

    Raises:
        ConfigError: If the name ends otherwise.
    """
    if not str(path).endswith(".npz"):
        msg = f"the output needs a path ending in .npz, got '{path}'; rename it"
        raise ConfigError(msg)


def is_npz(path: str | os.PathLike[str]) -> bool:
    """Whether a file is an archive by its content; False where there is no such file."""
    file = Path(path)
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        return stream.read(4) == b"PK\x03\x04"


def save_arrays(path: str | os.PathLike[str], arrays: dict[str, NDArray[Any]]) -> None:
    """Write arrays as an ``.npz``, in one atomic step.

    Args:
        path: A name that ends in ``.npz``.
        arrays: The arrays by name.

    Raises:
        ConfigError: If the name ends otherwise.
    """  # noqa: DOC502 (raised by check_npz)
    check_npz(path)
    with atomic_path(path) as temporary:
        # The stub takes a positional flag before the names of the arrays.
        np.savez(temporary, **arrays)  # type: ignore[arg-type]


def load_arrays(
    path: str | os.PathLike[str],
    names: tuple[str, ...],
    *,
    optional: tuple[str, ...] = (),
    remedy: str = "write it again",
) -> dict[str, NDArray[Any]]:
    """Read an ``.npz`` without unpickling anything.

    Args:
        path: The file.
        names: Arrays that it must hold.
        optional: Arrays that it may hold.
        remedy: How to make the file, for messages.

    Returns:
        The arrays by name.

    Raises:
        FormatError: If the file is missing, broken, or lacks an array.
    """
    file = Path(path)
    if not file.is_file():
        msg = f"{file}:0: no such file; {remedy}, or check the path"
        raise FormatError(msg)
    try:
        # NumPy leaves the file open when it fails on a name, hence the stream.
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            found = set(archive.files)
            arrays = {name: archive[name] for name in (*names, *optional) if name in found}
    except BROKEN as error:
        msg = f"{file}:0: not a complete .npz of plain arrays ({error}); {remedy}"
        raise FormatError(msg) from error
    missing = [name for name in names if name not in arrays]
    if missing:
        msg = f"{file}:0: expected the array '{missing[0]}' in the archive; {remedy}"
        raise FormatError(msg)
    return arrays
