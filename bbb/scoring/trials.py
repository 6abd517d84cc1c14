"""Lists of trials: which enrolled speaker is compared with which utterance, and the answer."""

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bbb.errors import FormatError
from bbb.scoring._table import Table, first_fields, keys, read_table, repeated

LABELS = ("target", "nontarget")
KALDI = "'enroll test target|nontarget'"
VOXCELEB = "'1|0 enroll test'"
NIST_SEGMENTS = ("segmentid", "segment")


@dataclass(frozen=True, eq=False)
class Trials:
    """A trial list as integer codes into tables of ids.

    Attributes:
        enroll_ids: Distinct ids of the enrolment side (utterances or models), as they appear.
        test_ids: Distinct ids of the test side.
        enroll: Index into `enroll_ids` of each trial, shape (trials,).
        test: Index into `test_ids` of each trial, shape (trials,).
        is_target: True where both sides are the same speaker, shape (trials,).
    """

    enroll_ids: tuple[str, ...]
    test_ids: tuple[str, ...]
    enroll: NDArray[np.int32]
    test: NDArray[np.int32]
    is_target: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.enroll)

    def pair(self, trial: int) -> str:
        """The two ids of a trial, for messages."""
        return f"{self.enroll_ids[self.enroll[trial]]} {self.test_ids[self.test[trial]]}"


def read_trials(path: str | os.PathLike[str]) -> Trials:
    """Read a trial list in any of three formats, told apart by content.

    * Kaldi: ``enroll test target|nontarget``;
    * VoxCeleb: ``1|0 enroll test``;
    * NIST: tab separated, with a header that names ``modelid``, ``segmentid`` (or ``segment``) and
      ``targettype``; a ``side`` column may say only ``a``.

    Args:
        path: The file; UTF-8, blanks or tabs, any line ends, blank lines are skipped.

    Returns:
        The trials in the order of the file; a repeated trial is kept.

    Raises:
        FormatError: If a line follows none of the formats, the format is ambiguous, or a trial has
            both labels; it names the file and the line.
    """
    number, fields = first_fields(path)
    lowered = [field.lower() for field in fields]
    if "modelid" in lowered and any(name in lowered for name in NIST_SEGMENTS):
        table, sides, label, label_names = _read_nist(path, lowered)
    elif len(fields) == 3 and fields[2] in LABELS:  # noqa: PLR2004
        table = read_table(path, KALDI, 3, hint="is the label column missing?")
        sides, label, label_names = (0, 1), 2, LABELS
        if table.distinct(0) <= {"0", "1"}:
            msg = (
                f"{path}:{number}: expected {KALDI} or {VOXCELEB}, got lines that are both; "
                "rename the enrolment ids 0 and 1"
            )
            raise FormatError(msg)
    elif len(fields) == 3 and fields[0] in {"0", "1"}:  # noqa: PLR2004
        table = read_table(path, VOXCELEB, 3, hint="is the label column missing?")
        sides, label, label_names = (1, 2), 0, ("1", "0")
    else:
        msg = (
            f"{path}:{number}: expected {KALDI}, {VOXCELEB} or a NIST header, got "
            f"{len(fields)} fields; is the label column missing?"
        )
        raise FormatError(msg)
    is_target = read_labels(table, label, label_names)
    enroll_ids, enroll = table.codes(sides[0])
    test_ids, test = table.codes(sides[1])
    for first, again in repeated(keys(enroll, test)):
        if is_target[first] != is_target[again]:
            msg = (
                f"{path}:{table.line(again)}: expected one label per trial, got both for "
                f"'{enroll_ids[enroll[again]]} {test_ids[test[again]]}' (first in line "
                f"{table.line(first)}); remove the wrong line"
            )
            raise FormatError(msg)
    return Trials(enroll_ids, test_ids, enroll, test, is_target)


def read_labels(table: Table, column: int, names: tuple[str, str]) -> NDArray[np.bool_]:
    """True for the first label.

    Args:
        table: The table.
        column: Index of the column of labels.
        names: The two labels, that of target trials first.

    Returns:
        Shape (trials,).

    Raises:
        FormatError: If a field is neither label; it names the line.
    """
    is_target = table.equals(column, names[0])
    wrong = ~(is_target | table.equals(column, names[1]))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        msg = (
            f"{table.path}:{table.line(row)}: expected the label {names[0]} or {names[1]} in "
            f"field {column + 1}, got '{table.columns[column][row]}'; correct the label"
        )
        raise FormatError(msg)
    return is_target


def _read_nist(
    path: str | os.PathLike[str], header: list[str]
) -> tuple[Table, tuple[int, int], int, tuple[str, str]]:
    """A table with a header.

    Args:
        path: The file.
        header: Names of the columns, in lower case.

    Returns:
        The table, its columns for both sides, that for the label, and the names of the labels.

    Raises:
        FormatError: If a column or all trials are missing, or there is a second channel.
    """
    expected = f"the {len(header)} fields of the header"
    if "targettype" not in header:
        msg = (
            f"{path}:1: expected a column 'targettype' in the NIST header, got "
            f"'{' '.join(header)}'; use the key, not the list without answers"
        )
        raise FormatError(msg)
    table = read_table(path, expected, len(header), header=1, hint="a field may be empty")
    if not len(table):
        msg = f"{path}:1: expected trials below the NIST header, got none; is the file complete?"
        raise FormatError(msg)
    if "side" in header and table.distinct(header.index("side")) != {"a"}:
        msg = (
            f"{path}:1: expected side 'a' in every line, got sides "
            f"{sorted(table.distinct(header.index('side')))}; split the channels and name them"
        )
        raise FormatError(msg)
    segment = next(header.index(name) for name in NIST_SEGMENTS if name in header)
    return table, (header.index("modelid"), segment), header.index("targettype"), LABELS
