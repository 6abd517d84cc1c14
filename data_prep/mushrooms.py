"""UCI's mushrooms: 8,124 mushrooms of 22 attributes, edible or poisonous, as one text file.

*Mushroom*, UCI Machine Learning Repository, 1981, https://doi.org/10.24432/C5959T, CC BY 4.0.

    python data_prep/mushrooms.py download --output corpora

**Download.** One file (0.4 MB), checked against its SHA-256.

**Result**: ``OUTPUT/agaricus-lepiota.data``, a line for each mushroom: "e" or "p", then 22 letters,
with commas; "?" is an unknown value.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import _download  # noqa: PLC2701 (beside this file)
import _script  # noqa: PLC2701 (beside this file)

FILE = "agaricus-lepiota.data"
URL = f"https://archive.ics.uci.edu/ml/machine-learning-databases/mushroom/{FILE}"
CHECKSUM = "sha256:e65d082030501a3ebcbcd7c9f7c71aa9d28fdfff463bf4cf4716a3fe13ac360e"


def download_mushrooms(output: Path, url: str = URL, checksum: str | None = CHECKSUM) -> Path:
    """Fetch the file into ``output``.

    Args:
        output: Folder of the result.
        url: The file on the server.
        checksum: ``md5:...`` or ``sha256:...``; None: unchecked.

    Returns:
        The file; where it is there already, only its checksum is verified.

    Raises:
        DataError: If the transfer fails, or the file is not what it should be.
    """  # noqa: DOC502 (by download)
    return _download.download(url, output / FILE, checksum=checksum)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and do it.

    Args:
        argv: Arguments; those of the process when None.
    """
    parser = argparse.ArgumentParser(description="UCI's mushrooms")
    verbs = parser.add_subparsers(dest="verb", required=True)
    fetch = verbs.add_parser("download", help="fetch the file")
    fetch.add_argument("--output", type=Path, required=True, help="folder of the file")
    fetch.add_argument("--url", default=URL, help="address of a copy (default: %(default)s)")
    arguments = parser.parse_args(argv)
    print(f"wrote {download_mushrooms(arguments.output, arguments.url)}")


if __name__ == "__main__":
    sys.exit(_script.run(main))
