"""Files of Kaldi that hold one object: a vector, a matrix or a PLDA, binary or text."""

import os
import re
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from bbb._ark import binary_entry, binary_place, binary_values
from bbb.errors import FormatError
from bbb.files import atomic_path

Doubles = NDArray[np.float64]


class _Reader:
    """Takes tokens and arrays one after the other from a file."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.file = Path(path)
        if not self.file.is_file():
            self.fail("a file", "none; check the path")
        self.data = self.file.read_bytes()
        self.binary = self.data.startswith(b"\0B")
        self.at = 2 if self.binary else 0

    def fail(self, needed: str, got: str) -> NoReturn:
        """Say what is there instead.

        Args:
            needed: What should be.
            got: What is.

        Raises:
            FormatError: Always.
        """
        msg = f"{self.file}:0: expected {needed} as Kaldi writes it, got {got}"
        raise FormatError(msg)

    def token(self, word: str) -> None:
        """Pass over a word, or raise FormatError."""
        match = re.compile(rb"\s*(\S+)\s?").match(self.data, self.at)
        if match is None or match[1] != word.encode():
            self.fail(f"'{word}' at byte {self.at}", "something else; is it another file?")
        self.at = match.end()

    def array(self, ndim: int) -> Doubles:
        """The vector (1) or matrix (2) that follows; FormatError if there is none, or NaN in it."""
        what = "a vector" if ndim == 1 else "a matrix"
        values = self._binary_array(ndim, what) if self.binary else self._text_array(ndim, what)
        if not values.size or not np.isfinite(values).all():
            self.fail(f"{what} of finite values", "others; train the model again")
        return values

    def _binary_array(self, ndim: int, what: str) -> Doubles:
        place = binary_place(self.data, self.at)
        if place is None or len(place.shape) != ndim or place.token.startswith(b"C"):
            self.fail(f"{what} at byte {self.at}", "other data; is it another file?")
        self.at = place.end
        if len(self.data) < self.at:
            self.fail(f"{what} of shape {place.shape}", "the end of the file; copy it again")
        if min(place.shape) < 1:
            return np.empty((0,) * ndim)
        return binary_values(self.data, place).astype(np.float64)

    def _text_array(self, ndim: int, what: str) -> Doubles:
        match = re.compile(rb"\s*\[([^\[\]<>]*)\]").match(self.data, self.at)
        if match is None:
            self.fail(f"{what} in '[ ]' at byte {self.at}", "something else; is it cut off?")
        self.at = match.end()
        rows = [row.split() for row in re.split(rb"[\n;]", match[1]) if row.strip()]
        if len({len(row) for row in rows}) != 1 or (ndim == 1 and len(rows) != 1):
            self.fail(what, f"{len(rows)} lines of unequal or too many values")
        try:
            values = np.array(rows, dtype=np.float64)
        except ValueError:
            self.fail(what, "something that is not a number")
        return values[0] if ndim == 1 else values


def read_array(path: str | os.PathLike[str], ndim: int) -> Doubles:
    """Read a file such as ``mean.vec`` (a vector) or ``transform.mat`` (a matrix).

    Args:
        path: Binary or text.
        ndim: 1 for a vector, 2 for a matrix.

    Returns:
        Finite values.

    Raises:
        FormatError: If the file is missing, cut off, or holds something else.
    """  # noqa: DOC502 (raised by the reader)
    return _Reader(path).array(ndim)


def read_plda(path: str | os.PathLike[str]) -> tuple[Doubles, Doubles, Doubles]:
    """Read what ``ivector-compute-plda`` writes.

    Args:
        path: Binary or text.

    Returns:
        Mean (dim,); transform (dim, dim), whose rows make the within covariance the identity and
        the between covariance diagonal; that diagonal, psi (dim,).

    Raises:
        FormatError: If the file is missing, cut off, or holds something else.
    """  # noqa: DOC502 (raised by the reader)
    reader = _Reader(path)
    reader.token("<Plda>")
    mean, transform, psi = reader.array(1), reader.array(2), reader.array(1)
    reader.token("</Plda>")
    if transform.shape != (len(psi), len(mean)) or psi.min() < 0.0:
        shapes = f"{mean.shape}, {transform.shape}, {psi.shape} and psi from {psi.min():g}"
        reader.fail("mean (dim,), transform (dim, dim) and psi (dim,) >= 0", shapes)
    return mean, transform, psi


def write_objects(
    path: str | os.PathLike[str], *objects: str | NDArray[Any], text: bool = False
) -> None:
    """Write words and arrays one after the other, in one atomic step.

    Args:
        path: The file.
        *objects: Words such as ``<Plda>``, vectors and matrices.
        text: Whether to write text, which is for people.
    """
    parts = [b"" if text else b"\0B"]
    for item in objects:
        if isinstance(item, str):
            parts.append(f"{item} ".encode())
        elif text:
            rows = "\n  ".join(" ".join(map(repr, row)) for row in np.atleast_2d(item).tolist())
            parts.append(f" [{' ' if item.ndim == 1 else chr(10) + '  '}{rows} ]\n".encode())
        else:
            parts.append(binary_entry(item.astype(np.float64)))
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"".join(parts))
