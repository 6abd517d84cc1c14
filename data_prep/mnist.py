"""MNIST: 70,000 handwritten digits, 28 x 28 grey values, as one .npz.

LeCun, Cortes and Burges, *The MNIST database of handwritten digits*, CC BY-SA 3.0.

    python data_prep/mnist.py download --output corpora
    python data_prep/mnist.py prepare --source DIR --output corpora/fashion_mnist.npz

**Download.** The four original files (11.6 MB) from the mirror that torchvision uses, each checked
against its MD5.

**Result**: ``OUTPUT/mnist.npz`` with ``x_train`` (60000, 28, 28) and ``x_test`` (10000, 28, 28),
uint8 from 0 (paper) to 255 (ink), and the digits ``y_train`` and ``y_test``, uint8.

**Prepare** makes the same of four such files that are there already. Those of Fashion-MNIST (Xiao,
Rasul and Vollgraf 2017; MIT) have the same names, and Debian's package dataset-fashion-mnist puts
them into ``/usr/share/datasets/fashion-mnist``.
"""

import argparse
import gzip
import struct
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import _download  # noqa: PLC2701 (beside this file)
import _script  # noqa: PLC2701 (beside this file)
import numpy as np
from numpy.typing import NDArray

from bbb.errors import DataError
from bbb.files import atomic_path

URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FILES = {
    "x_train": "train-images-idx3-ubyte.gz",
    "y_train": "train-labels-idx1-ubyte.gz",
    "x_test": "t10k-images-idx3-ubyte.gz",
    "y_test": "t10k-labels-idx1-ubyte.gz",
}
CHECKSUMS = {
    "x_train": "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "y_train": "md5:d53e105ee54ea40749a09fcbcd1e9432",
    "x_test": "md5:9fb629c4189551a2d022fa330f9573f3",
    "y_test": "md5:ec29112dd5afa0611ce80d1b7f02629c",
}
_UINT8_MAGIC = 0x0800


def download_mnist(
    output: Path, url: str = URL, checksums: Mapping[str, str] | None = CHECKSUMS
) -> Path:
    """Fetch the four files into ``output`` and make ``mnist.npz`` of them.

    Args:
        output: Folder of the result.
        url: Folder of the files on the server.
        checksums: ``md5:...`` or ``sha256:...`` of each file; None: unchecked.

    Returns:
        The ``.npz``; where it is there already, nothing is done.

    Raises:
        DataError: If a transfer fails, or a file is not what it should be.
    """  # noqa: DOC502 (by download and read_idx)
    final = output / "mnist.npz"
    if final.exists():
        print(f"{final} is there already")
        return final
    for name, file in FILES.items():
        checksum = checksums[name] if checksums else None
        _download.download(url.rstrip("/") + "/" + file, output / file, checksum=checksum)
    return prepare_mnist(output, final)


def prepare_mnist(source: Path, output: Path) -> Path:
    """Make an ``.npz`` of the four files.

    Args:
        source: Folder of the files, with the names of `FILES`.
        output: The ``.npz``.

    Returns:
        ``output``.

    Raises:
        DataError: If a file is not what it should be.
    """  # noqa: DOC502 (by read_idx)
    arrays = {name: read_idx(source / file) for name, file in FILES.items()}
    # NumPy would add a suffix to a name that lacks it.
    with atomic_path(output) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    print(f"wrote {output}")
    return output


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read a gzipped IDX file of bytes.

    Args:
        path: The file: 2 zero bytes, the type (8: uint8), the number of axes, their lengths as
            big-endian 32-bit numbers, then the values.

    Returns:
        The array.

    Raises:
        DataError: If it is something else, or too short.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        msg = f"{path}: cannot be unpacked ({error}); remove it and download it again"
        raise DataError(msg) from error
    magic, axes = int.from_bytes(content[:4], "big") & ~0xFF, int.from_bytes(content[3:4], "big")
    header = content[4 : 4 + 4 * axes]
    shape = [size for (size,) in struct.iter_unpack(">I", header[: len(header) // 4 * 4])]
    values = np.frombuffer(content, np.uint8, offset=min(len(content), 4 + 4 * axes))
    if magic != _UINT8_MAGIC or len(shape) != axes or values.size != np.prod(shape):
        msg = (
            f"{path}: expected an IDX file of uint8, got {len(content)} bytes that start with "
            f"{content[:4].hex()}; remove it and download it again"
        )
        raise DataError(msg)
    return values.reshape(shape)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and do it.

    Args:
        argv: Arguments; those of the process when None.
    """
    parser = argparse.ArgumentParser(description="MNIST")
    verbs = parser.add_subparsers(dest="verb", required=True)
    fetch = verbs.add_parser("download", help="fetch the four files and make mnist.npz")
    fetch.add_argument("--output", type=Path, required=True, help="folder of mnist.npz")
    fetch.add_argument("--url", default=URL, help="folder of a mirror (default: %(default)s)")
    pack = verbs.add_parser("prepare", help="make an .npz of four files that are there")
    pack.add_argument("--source", type=Path, required=True, help="folder of the files")
    pack.add_argument("--output", type=Path, required=True, help="the .npz")
    arguments = parser.parse_args(argv)
    if arguments.verb == "download":
        download_mnist(arguments.output, arguments.url)
    else:
        prepare_mnist(arguments.source, arguments.output)


if __name__ == "__main__":
    sys.exit(_script.run(main))
