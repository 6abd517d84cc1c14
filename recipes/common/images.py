"""Sets of images in .npz files, as data_prep/mnist.py makes them."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bbb.errors import ConfigError, DataError


def read_npz(data: str, names: Sequence[str]) -> dict[str, NDArray[np.uint8]]:
    """Read some arrays of a file.

    Args:
        data: Name of an ``.npz`` file.
        names: Of the arrays.

    Returns:
        The arrays, by name.

    Raises:
        ConfigError: If there is no such file.
        DataError: If it is another kind of file, or an array is missing.
    """
    path = Path(data)
    if not path.is_file():
        msg = (
            f"data expects 'digits' or an .npz file such as MNIST's, got '{data}'; "
            "'python data_prep/mnist.py download --output DIR' makes DIR/mnist.npz"
        )
        raise ConfigError(msg)
    try:
        # NumPy takes other files too: a lone array, which is no context manager.
        zipfile.ZipFile(path).close()
        with np.load(path) as found:
            return {name: found[name] for name in names}
    except (KeyError, OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        needed = ", ".join(names)
        msg = f"{path}: expected an .npz with {needed} ({error}); is it the right file?"
        raise DataError(msg) from error
