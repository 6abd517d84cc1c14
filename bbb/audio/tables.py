"""The text tables of a Kaldi data directory: a key, white space, a value on every line."""

import codecs
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in a data directory.

    Attributes:
        file: The table, or the audio file's table, where the fault stands.
        line: Its line, from 1; 0 when the fault is the file as a whole.
        message: What is wrong and what to do.
        level: "error" when the data cannot be used as they are, "warning" when they can.
        key: The utterance, recording or speaker that cannot be used; "" where none is lost.
    """

    file: Path
    line: int
    message: str
    level: Literal["error", "warning"] = "error"
    key: str = ""

    def __str__(self) -> str:
        """``file:line: message``, as compilers print it."""
        return f"{self.file}:{self.line}: {self.message}"


@dataclass(frozen=True)
class Table:
    """What a table holds, and what is wrong with it.

    Attributes:
        path: The file.
        values: Key to the rest of its line; of a duplicate key, the first line.
        lines: Key to line number, from 1; also of keys without a value.
        faults: Lines that cannot be used: no value, duplicate key, not UTF-8.
        style: Lines that can be used but that Kaldi's tools reject: order, CRLF, tabs,
            a byte-order mark.
        noted: Messages among these that are given once.
    """

    path: Path
    values: dict[str, str] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    style: list[Fault] = field(default_factory=list)
    noted: set[str] = field(default_factory=set)

    def fault(self, key: str, message: str) -> Fault:
        """An error at the line of ``key``."""
        return Fault(self.path, self.lines.get(key, 0), message, key=key)


def read_table(path: Path, *, required: bool = True) -> Table:
    """Read a table, collecting every fault instead of stopping at the first.

    Args:
        path: The file.
        required: Whether a missing or empty file is a fault.

    Returns:
        The usable lines and the faults. Keys are in file order; order is that of Kaldi's C locale
        (``LC_ALL=C sort``), which for UTF-8 is Python's order of strings.
    """
    table = Table(path)
    if not path.is_file():
        if required:
            table.faults.append(Fault(path, 0, "no such file; every data directory needs it"))
        return table
    previous = ""
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, start=1):
            key = _add_line(table, number, raw)
            if key and previous and key < previous:
                message = f"'{key}' comes after '{previous}'; sort the file with LC_ALL=C sort"
                table.style.append(Fault(path, number, message))
            previous = key or previous
    if required and not table.values and not table.faults:
        table.faults.append(Fault(path, 0, "the file is empty; it needs one line per entry"))
    return table


def _add_line(table: Table, number: int, raw: bytes) -> str:
    """Put one line into ``table``; returns its key, or "" for a line that has none."""
    try:
        text = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\n")
    except UnicodeDecodeError as error:
        message = f"not UTF-8 ({error.reason}); convert the file to UTF-8"
        table.faults.append(Fault(table.path, number, message))
        return ""
    if number == 1 and raw.startswith(codecs.BOM_UTF8):
        message = "byte-order mark, for Kaldi a part of the id; bbb data fix takes it away"
        table.style.append(Fault(table.path, number, message))
    _check_style(table, number, text)
    key, *rest = re.split(r"[ \t]+", text.strip(" \t\r"), maxsplit=1)
    if not rest:
        message = f"expected 'key value', got '{key}'; complete or remove the line"
        table.faults.append(Fault(table.path, number, message, key=key))
        if key:
            table.lines.setdefault(key, number)
    elif key in table.values:
        first = table.lines[key]
        message = f"duplicate key '{key}', first on line {first}; keep one of them"
        table.faults.append(Fault(table.path, number, message))
    else:
        table.values[key] = rest[0]
        table.lines[key] = number
    return key


def _check_style(table: Table, number: int, text: str) -> None:
    """Note CRLF line ends and tabs, once per file."""
    crlf = "Windows line ends (CRLF), from here on; convert with dos2unix or bbb data fix"
    tab = "tab between fields, from here on; Kaldi writes one space, bbb data fix does too"
    if text.endswith("\r") and crlf not in table.noted:
        table.style.append(Fault(table.path, number, crlf))
        table.noted.add(crlf)
    if "\t" in text and tab not in table.noted:
        table.style.append(Fault(table.path, number, tab, level="warning"))
        table.noted.add(tab)
