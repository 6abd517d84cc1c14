"""Text tables of white-space separated fields: the definition in Python, the fast way by polars.

A file is read in blocks of whole lines. The two ways agree: polars takes the blocks of large files
that are of plain shape; one that it does not take literally (stray blanks, control characters, a
ragged line) is read line by line, which gives either the result or the error with its line.
"""

import importlib.util
import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bbb.errors import FormatError
from bbb.files import decoded, numbered_lines, text_blocks

BLOCK_BYTES = 2**24
# Below this size importing polars costs more than it saves.
FAST_BYTES = 2**23
PLAIN_FIELD = r"^[^\s\x{feff}]+$"


@dataclass(frozen=True, eq=False)
class Block:
    """Consecutive rows of a table.

    Attributes:
        path: The file.
        number: Number of the block's first line, from 1.
        text: The lines.
        columns: Fields by column, each a list of str or, for all blocks of a file, a polars Series.
    """

    path: Path
    number: int
    text: bytes
    columns: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.columns[0])

    def line(self, row: int) -> int:
        """Number of the line, from 1, that holds a row."""
        lines = enumerate(decoded(self.path, self.number, self.text).split("\n"), self.number)
        return next(itertools.islice((n for n, line in lines if line.strip()), row, None))

    def check(self, right: NDArray[np.bool_], column: int, expected: str, remedy: str) -> None:
        """Refuse the first field that is not right.

        Args:
            right: Whether each row's field is, shape (rows,).
            column: Index of the column.
            expected: What the field should be, for the message.
            remedy: What to do about it.

        Raises:
            FormatError: If a field is not right; it names the line.
        """
        if not right.all():
            row = int(np.flatnonzero(~right)[0])
            msg = (
                f"{self.path}:{self.line(row)}: expected {expected}, got "
                f"'{self.columns[column][row]}'; {remedy}"
            )
            raise FormatError(msg)

    def equals(self, column: int, field: str) -> NDArray[np.bool_]:
        """True where a column holds a field, shape (rows,)."""
        values = self.columns[column]
        if isinstance(values, list):
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
        """  # noqa: DOC502 (raised by check)
        values = self.columns[column]
        if not isinstance(values, list):
            numbers = values.cast(_polars().Float64, strict=False)
            if not numbers.is_null().any() and not numbers.is_nan().any():
                return np.asarray(numbers.to_numpy(), dtype=np.float64)
        result = np.fromiter(map(_number, values), np.float64, len(values))
        self.check(~np.isnan(result), column, "a number as the score", "score this trial again")
        return result


def _number(text: str) -> float:
    """Value of a decimal text, NaN where it is none."""
    try:
        # Python's float also takes 1_000, which no other reader of scores does.
        return float("nan") if "_" in text else float(text)
    except ValueError:
        return float("nan")


class IdColumn:
    """Distinct fields of a column in order of appearance, and the code of each row's field."""

    def __init__(self) -> None:
        self._table: dict[str, int] = {}
        self._codes: list[NDArray[np.integer[Any]]] = []
        self._order: list[NDArray[np.integer[Any]]] = []
        self._categories: Any = None
        self._latest: Any = None

    def add(self, values: Any) -> None:  # noqa: ANN401 (list or Series)
        """Take the next block's fields."""
        table = self._table
        if isinstance(values, list):
            codes = (table.setdefault(value, len(table)) for value in values)
            self._codes.append(np.fromiter(codes, np.int32, len(values)))
            return
        if self._categories is None:
            # Categories of its own: polars never forgets those of its global table.
            self._categories = _polars().Categorical(_polars().Categories.random())
        named = values.cast(self._categories)
        fresh = named.filter(named.to_physical() >= len(table)).unique(maintain_order=True)
        # Categories that no series has are forgotten.
        self._latest = named
        table.update(zip(fresh.cast(str), itertools.count(len(table)), strict=False))
        self._order.append(fresh.to_physical().to_numpy())
        self._codes.append(named.to_physical().to_numpy())

    def result(self) -> tuple[tuple[str, ...], NDArray[np.int32]]:
        """The distinct fields, and the index of each row's field among them, shape (rows,)."""
        codes = np.concatenate(self._codes)
        if self._order:
            # Within a block, polars may number its categories in any order.
            place = np.empty(len(self._table), np.int32)
            place[np.concatenate(self._order)] = np.arange(len(place), dtype=np.int32)
            codes = place[codes]
        return tuple(self._table), codes.astype(np.int32, copy=False)


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


def line_of_row(path: str | os.PathLike[str], row: int, *, after: int = 0) -> int:
    """Number of the line that holds a row of the whole file; reads the file again.

    Args:
        path: The file.
        row: The row, from 0.
        after: Number of the line of the header, 0 without one.

    Returns:
        The number, from 1.
    """
    numbers = (number for number, _ in numbered_lines(path) if number > after)
    return next(itertools.islice(numbers, row, None))


def read_blocks(
    path: str | os.PathLike[str],
    expected: str,
    width: int,
    *,
    after: int = 0,
    hint: str = "",
    size: int = BLOCK_BYTES,
) -> Iterator[Block]:
    """Read a table in which every line has the same number of fields, in constant memory.

    Args:
        path: The file; UTF-8, plain or gzip, any blanks or tabs between fields, any line ends.
        expected: What a line should hold, for messages.
        width: Number of fields.
        after: Number of the line of the header, 0 without one.
        hint: Remedy for a line with another number of fields.
        size: Bytes of text to read at once.

    Yields:
        The rows, some at a time; no block is empty.

    Raises:
        FormatError: If a line has another number of fields; it names the line.
    """  # noqa: DOC502 (raised by _columns)
    blocks = _read_blocks(path, f"expected {expected}, got {{}} fields; {hint}", width, after, size)
    with ThreadPoolExecutor(1) as thread:
        block = thread.submit(next, blocks, None)
        while found := block.result():
            block = thread.submit(next, blocks, None)
            yield found


def _read_blocks(
    path: str | os.PathLike[str], message: str, width: int, after: int, size: int
) -> Iterator[Block]:
    """What `read_blocks` yields, which reads one block ahead."""
    fast: bool | None = None
    for first, lines in text_blocks(path, size):
        number, text = first, lines
        if fast is None:
            fast = len(text) >= FAST_BYTES and importlib.util.find_spec("polars") is not None
        if after >= number:
            drop = after + 1 - number
            text, number = b"".join(text.split(b"\n", drop)[drop:]), after + 1
        columns = _fast_columns(text, width) if fast else None
        if columns is None:
            columns = _columns(path, number, text, width, message=message)
            if fast:
                columns = tuple(_polars().Series(column, dtype=str) for column in columns)
        if len(columns[0]):
            yield Block(Path(path), number, text, columns)


def _polars() -> Any:  # noqa: ANN401 (a module)
    import polars as pl  # noqa: PLC0415 (slow to import, and only large files need it)

    return pl


def _columns(
    path: str | os.PathLike[str], first: int, text: bytes, width: int, *, message: str
) -> tuple[list[str], ...]:
    """Columns of any lines: the definition of the format.

    Args:
        path: The file.
        first: Number of the first line.
        text: The lines.
        width: Number of fields.
        message: What to say of a line with another number of fields.

    Returns:
        The fields by column.

    Raises:
        FormatError: If there is such a line.
    """
    rows: list[str] = []
    for number, line in enumerate(decoded(path, first, text).split("\n"), start=first):
        fields = line.split()
        if fields and len(fields) != width:
            msg = f"{path}:{number}: {message.format(len(fields))}"
            raise FormatError(msg)
        rows += fields
    return tuple(rows[column::width] for column in range(width))


def _fast_columns(lines: bytes, width: int) -> tuple[Any, ...] | None:
    """Columns of plain lines, or None where they have to be read one by one."""
    polars = _polars()
    text = lines.replace(b"\r\n", b"\n") if b"\r" in lines else lines
    head = text[: text.find(b"\n") + 1]
    try:
        frame = polars.read_csv(
            text,
            has_header=False,
            separator="\t" if b"\t" in head else " ",
            quote_char=None,
            infer_schema_length=0,
        )
    except polars.exceptions.PolarsError:
        return None
    if frame.width != width or any(frame.null_count().row(0)):
        return None
    # With one blank after each field, no field can hold another one, or a control character.
    blanks = np.count_nonzero(np.frombuffer(text, np.uint8) <= ord(" "))
    if blanks + (not text.endswith(b"\n")) != width * len(frame):
        return None
    if not text.isascii():
        plain = frame.select(polars.all().str.contains(PLAIN_FIELD).all())
        if not all(plain.row(0)):
            return None
    return tuple(frame.get_columns())
