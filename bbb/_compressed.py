"""Kaldi's compressed matrices: 8 or 16 bits per value, with a range per matrix or per column."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Singles = NDArray[np.float32]

CODES: dict[bytes, np.dtype[np.unsignedinteger]] = {
    b"CM": np.dtype("u1"),
    b"CM2": np.dtype("<u2"),
    b"CM3": np.dtype("u1"),
}
"""Formats, and what they hold for each value."""
# Codes at a column's least value, quartiles and greatest value.
_KNOTS = (0, 64, 192, 255)
_TOP16 = 65535


def decode(
    token: bytes,
    body: memoryview,
    shape: tuple[int, ...],
    limits: tuple[float, float],
    rows: slice = slice(None),
) -> Singles:
    """Values of a compressed matrix, in the arithmetic of Kaldi's ``compressed-matrix.cc``.

    ``CM`` (what ``copy-feats --compress=true`` makes of speech features) maps each column's codes
    through four points, which ``CM2`` and ``CM3`` do without.

    Args:
        token: A key of ``CODES``.
        body: What follows the header: for ``CM`` the points, shape (columns, 4), and the codes,
            column after column; else the codes, row after row.
        shape: Rows and columns.
        limits: The least value, and how far the greatest is above it.
        rows: Which rows to decode.

    Returns:
        Shape (rows, columns).
    """
    num, cols = shape
    if token != b"CM":
        top = np.iinfo(CODES[token]).max
        codes = np.frombuffer(body, CODES[token]).reshape(shape)[rows]
        # Kaldi divides in double and keeps a float.
        return np.float32(limits[0]) + codes * np.float32(limits[1] * (1.0 / top))
    points = np.frombuffer(body, "<u2", 4 * cols).reshape(cols, 4).T.astype(np.float32)
    step = np.float32(limits[1]) * np.float32(1.0 / _TOP16)
    codes = np.frombuffer(body, "u1", offset=8 * cols).reshape(cols, num)[:, rows]
    table = _tables(np.float32(limits[0]) + step * points)
    return np.ascontiguousarray(np.take_along_axis(table, codes.astype(np.intp), axis=1).T)


def _tables(points: Singles) -> Singles:
    """The value of each code in each column, from its four points, shape (columns, 256)."""
    table = np.empty((points.shape[1], 256), dtype=np.float32)
    # From the top, since a code on a knot belongs to the piece below it.
    pieces = list(zip(pairwise(_KNOTS), points[:-1], points[1:], strict=True))
    for (first, last), low, high in reversed(pieces):
        rise = (high - low)[:, None] * np.arange(last - first + 1, dtype=np.float32)
        wide = low[:, None] + rise.astype(np.float64) * (1.0 / (last - first))
        table[:, first : last + 1] = wide
    return table
