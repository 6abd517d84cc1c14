"""Text tables of white-space separated fields: the definition in Python, the fast way by polars.

The two agree: polars is used for large files of plain shape, and whatever it does not take
literally (stray blanks, control characters, a ragged line) is read again line by line, which
gives either the result or the error with the line's number.
"""

import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bbb._files import numbered_lines
from bbb.errors import FormatError

# Below this size importing polars costs more than it saves.
FAST_BYTES = 2**23
PLAIN_FIELD = r"^[^\s\x00-\x20\x7f\x{feff}]+$"


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of text, each a list of str or a polars Series.

    Attributes:
        path: The file.
        columns: One sequence of fields per column, all of the same length.
        header: Number of non-blank lines before the first row.
    """

    path: Path
    columns: tuple[Any, ...]
    header: int = 0

    def __len__(self) -> int:
        return len(self.columns[0])

    def line(self, row: int) -> int:
        """Number of the line, from 1, that holds a row; reads the file again."""
        lines = itertools.islice(numbered_lines(self.path), row + self.header, None)
        return next(lines)[0]

    def distinct(self, column: int) -> set[str]:
        """The distinct fields of a column."""
        values = self.columns[column]
        return set(values if isinstance(values, list | tuple) else values.unique().to_list())

    def codes(self, column: int) -> tuple[tuple[str, ...], NDArray[np.int32]]:
        """Distinct fields in order of appearance, and the index of each row's field among them."""
        return encode(self.columns[column])

    def equals(self, column: int, field: str) -> NDArray[np.bool_]:
        """True where a column holds a field, shape (rows,)."""
        values = self.columns[column]
        if isinstance(values, list | tuple):
            return np.fromiter((value == field for value in values), np.bool_, len(values))
        return np.asarray((values == field).to_numpy(), dtype=np.bool_)

    def floats(self, column: int) -> NDArray[np.float64]:
        """Column as numbers; the value of every decimal text is rounded correctly.

        Args:
            column: Index of the column.

        Returns:
            The numbers, shape (rows,); infinities are allowed.

        Raises:
            FormatError: If a field is not a number, or NaN; it names the line.
        """
        values = self.columns[column]
        if not isinstance(values, list | tuple):
            numbers = values.cast(_polars().Float64, strict=False)
            if not numbers.is_null().any() and not numbers.is_nan().any():
                return np.asarray(numbers.to_numpy(), dtype=np.float64)
            values = values.to_list()
        result = np.empty(len(values))
        for row, text in enumerate(values):
            try:
                # Python's float also takes 1_000, which no other reader of scores does.
                number = float("nan") if "_" in text else float(text)
            except ValueError:
                number = float("nan")
            if number != number:  # noqa: PLR0124 (the cheap test for NaN in a hot loop)
                msg = (
                    f"{self.path}:{self.line(row)}: expected a number as the score, got '{text}'; "
                    "score this trial again"
                )
                raise FormatError(msg)
            result[row] = number
        return result


def encode(values: Any) -> tuple[tuple[str, ...], NDArray[np.int32]]:  # noqa: ANN401 (list or Series)
    """Distinct values in order of appearance, and the index of each value among them."""
    if not isinstance(values, list | tuple):
        distinct = values.unique(maintain_order=True)
        codes = values.cast(_polars().Enum(distinct)).to_physical().to_numpy()
        return tuple(distinct.to_list()), np.asarray(codes, dtype=np.int32)
    table: dict[str, int] = {}
    codes = np.fromiter(
        (table.setdefault(value, len(table)) for value in values), np.int32, len(values)
    )
    return tuple(table), codes


def first_fields(path: str | os.PathLike[str]) -> tuple[int, list[str]]:
    """Number and fields of the first line that is not blank.

    Args:
        path: The file.

    Returns:
        The line's number, from 1, and its fields.

    Raises:
        FormatError: If the file is missing, or has no such line.
    """
    for number, line in numbered_lines(path):
        return number, line.split()
    msg = f"{path}:0: expected at least one line, got an empty file; was it written to the end?"
    raise FormatError(msg)


def read_table(
    path: str | os.PathLike[str], expected: str, width: int, *, header: int = 0, hint: str = ""
) -> Table:
    """Read a table in which every line has the same number of fields.

    Args:
        path: The file; UTF-8, any blanks or tabs between fields, any line ends.
        expected: What a line should hold, for messages.
        width: Number of fields.
        header: Non-blank lines to leave out at the start.
        hint: Remedy for a line with another number of fields.

    Returns:
        The columns.

    Raises:
        FormatError: If a line has another number of fields; it names the line.
    """
    file = Path(path)
    if file.stat().st_size >= FAST_BYTES:
        columns = _fast_columns(file, width, header)
        if columns is not None:
            return Table(file, columns, header)
    lists: tuple[list[str], ...] = tuple([] for _ in range(width))
    for number, line in itertools.islice(numbered_lines(file), header, None):
        fields = line.split()
        if len(fields) != width:
            msg = f"{file}:{number}: expected {expected}, got {len(fields)} fields; {hint}"
            raise FormatError(msg)
        for column, field in zip(lists, fields, strict=True):
            column.append(field)
    return Table(file, lists, header)


def _polars() -> Any:  # noqa: ANN401 (a module)
    import polars as pl  # noqa: PLC0415 (slow to import, and only large files need it)

    return pl


def _fast_columns(path: Path, width: int, header: int) -> tuple[Any, ...] | None:
    """Columns of a plain file, or None when it has to be read line by line."""
    polars = _polars()
    with path.open("rb") as stream:
        head = stream.readline()
    try:
        frame = polars.read_csv(
            path,
            has_header=False,
            separator="\t" if b"\t" in head else " ",
            quote_char=None,
            infer_schema_length=0,
            skip_rows=header,
        )
    except polars.exceptions.PolarsError:
        return None
    if frame.width != width or not len(frame):
        return None
    plain = frame.select(polars.all().str.contains(PLAIN_FIELD).fill_null(value=False).all())
    return tuple(frame.get_columns()) if all(plain.row(0)) else None


def keys(first: NDArray[np.integer[Any]], second: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """One integer per pair of codes, shape (rows,)."""
    return first.astype(np.int64) << 32 | second.astype(np.int64)


def repeated(key: NDArray[np.int64]) -> Iterable[tuple[int, int]]:
    """Pairs of rows with the same key, each row with the first one, in order of the later row."""
    ordered = np.sort(key)
    if not (ordered[1:] == ordered[:-1]).any():
        return []
    order = np.argsort(key, kind="stable")
    new = np.concatenate(([True], np.diff(key[order]) != 0))
    first = order[np.flatnonzero(new)[np.cumsum(new) - 1]]
    again = np.sort(order[~new])
    row_first = np.empty(len(key), dtype=np.intp)
    row_first[order] = first
    return [(int(row_first[row]), int(row)) for row in again]
