"""Lists of trials: which enrolled speaker is compared with which utterance, and the answer."""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bbb.errors import FormatError
from bbb.scoring._npz import is_npz, load_arrays, save_arrays
from bbb.scoring._pairs import Pairs, pair_keys, repeated
from bbb.scoring._table import Block, IdColumn, first_fields, line_of_row, read_blocks

LABELS = ("target", "nontarget")
KALDI = "'enroll test target|nontarget'"
VOXCELEB = "'1|0 enroll test'"
NIST_SEGMENTS = ("segmentid", "segment")
_IDS = ("enroll_ids", "test_ids")
_CODES = {"enroll": np.int32, "test": np.int32, "is_target": np.bool_}


@dataclass(frozen=True, eq=False)
class Trials(Pairs):
    """A trial list as integer codes into tables of ids.

    Attributes:
        enroll_ids: Distinct ids of the enrolment side (utterances or models), as they appear.
        test_ids: Distinct ids of the test side.
        enroll: Index into `enroll_ids` of each trial, shape (trials,).
        test: Index into `test_ids` of each trial, shape (trials,).
        is_target: True where both sides are the same speaker, shape (trials,).
    """

    is_target: NDArray[np.bool_]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the list in binary, in one atomic step; `read_trials` reads it many times faster.

        Args:
            path: A name that ends in ``.npz``.

        Raises:
            ConfigError: If the name ends otherwise.
        """  # noqa: DOC502 (raised by save_arrays)
        arrays: dict[str, NDArray[Any]] = {
            name: np.asarray(getattr(self, name), dtype=kind) for name, kind in _CODES.items()
        }
        for name in _IDS:
            # Lines of UTF-8: an array of str would take four bytes per letter of the longest id.
            text = "\n".join(getattr(self, name)).encode()
            arrays[name] = np.frombuffer(text, np.uint8)
        save_arrays(path, arrays)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> "Trials":
        """Read what `save` wrote.

        Args:
            path: The file.

        Returns:
            The trials.

        Raises:
            FormatError: If the file is missing, broken, or holds something else.
        """
        remedy = "save the trial list again"
        arrays = load_arrays(path, (*_IDS, *_CODES), remedy=remedy)
        enroll, test, is_target = (arrays[name] for name in _CODES)
        if is_target.dtype != np.bool_ or not enroll.shape == test.shape == is_target.shape == (
            is_target.size,
        ):
            msg = f"{path}:0: expected arrays of one length, (trials,), got others; {remedy}"
            raise FormatError(msg)
        sides = []
        for name, codes in zip(_IDS, (enroll, test), strict=True):
            try:
                ids = tuple(arrays[name].tobytes().decode().split("\n"))
            except UnicodeDecodeError:
                ids = ()
            if (
                codes.dtype != np.int32
                or not codes.size
                or not 0 <= codes.min() <= codes.max() < len(ids)
            ):
                msg = (
                    f"{path}:0: expected indices of '{name}' for every trial, got others; {remedy}"
                )
                raise FormatError(msg)
            sides.append(ids)
        return Trials(sides[0], sides[1], enroll, test, is_target)


@dataclass(frozen=True)
class _Layout:
    """Which field of a line holds what.

    Attributes:
        expected: What a line holds, for messages.
        width: Number of fields.
        sides: Fields of the enrolment and of the test side.
        label: Field of the label.
        names: The labels of target and nontarget trials.
        number: Line that showed the format.
        header: Whether that line is a header.
        channel: Field of the channel, or None.
    """

    expected: str
    width: int
    sides: tuple[int, int]
    label: int
    names: tuple[str, str]
    number: int
    header: bool = False
    channel: int | None = None


def read_trials(path: str | os.PathLike[str]) -> Trials:
    """Read a trial list in any of three formats, told apart by content.

    * Kaldi: ``enroll test target|nontarget``;
    * VoxCeleb: ``1|0 enroll test``;
    * NIST: tab separated, with a header that names ``modelid``, ``segmentid`` (or ``segment``) and
      ``targettype``; a ``side`` column may say only ``a``;
    * or the binary form that `Trials.save` writes.

    Args:
        path: The file; UTF-8, plain or gzip, blanks or tabs, any line ends, blank lines are
            skipped.

    Returns:
        The trials in the order of the file; a repeated trial is kept.

    Raises:
        FormatError: If a line follows none of the formats, the format is ambiguous, or a trial has
            both labels; it names the file and the line.
    """
    if is_npz(path):
        return Trials.load(path)
    layout = _layout(path)
    sides, labels = (IdColumn(), IdColumn()), []
    after = layout.number if layout.header else 0
    hint = "a field may be empty" if layout.header else "is the label column missing?"
    for block in read_blocks(path, layout.expected, layout.width, after=after, hint=hint):
        labels.append(read_labels(block, layout.label, layout.names))
        if layout.channel is not None:
            right = block.equals(layout.channel, "a")
            block.check(right, layout.channel, "side 'a' in every line", "split the channels")
        for side, column in zip(sides, layout.sides, strict=True):
            side.add(block.columns[column])
    if not labels:
        msg = f"{path}:{after}: expected trials below the header, got none; is the file complete?"
        raise FormatError(msg)
    (enroll_ids, enroll), (test_ids, test) = (side.result() for side in sides)
    trials = Trials(enroll_ids, test_ids, enroll, test, np.concatenate(labels))
    _check(path, trials, layout, after)
    return trials


def _layout(path: str | os.PathLike[str]) -> _Layout:
    """What the first line says of the format.

    Args:
        path: The file.

    Returns:
        The format.

    Raises:
        FormatError: If it is none of the three.
    """
    number, fields = first_fields(path)
    header = [field.lower() for field in fields]
    segments = [header.index(name) for name in NIST_SEGMENTS if name in header]
    if "modelid" in header and segments:
        if "targettype" not in header:
            msg = (
                f"{path}:{number}: expected a column 'targettype' in the NIST header, got "
                f"'{' '.join(header)}'; use the key, not the list without answers"
            )
            raise FormatError(msg)
        return _Layout(
            f"the {len(header)} fields of the header",
            len(header),
            (header.index("modelid"), segments[0]),
            header.index("targettype"),
            LABELS,
            number,
            header=True,
            channel=header.index("side") if "side" in header else None,
        )
    if len(fields) == 3 and fields[2] in LABELS:  # noqa: PLR2004
        return _Layout(KALDI, 3, (0, 1), 2, LABELS, number)
    if len(fields) == 3 and fields[0] in {"0", "1"}:  # noqa: PLR2004
        return _Layout(VOXCELEB, 3, (1, 2), 0, ("1", "0"), number)
    msg = (
        f"{path}:{number}: expected {KALDI}, {VOXCELEB} or a NIST header, got {len(fields)} "
        "fields; is the label column missing?"
    )
    raise FormatError(msg)


def _check(path: str | os.PathLike[str], trials: Trials, layout: _Layout, after: int) -> None:
    """Refuse a list of two possible formats, and a trial with both labels.

    Args:
        path: The file.
        trials: What it says.
        layout: Its format.
        after: Line of its header, or 0.

    Raises:
        FormatError: If there is either.
    """
    if layout.expected == KALDI and set(trials.enroll_ids) <= {"0", "1"}:
        msg = (
            f"{path}:{layout.number}: expected {KALDI} or {VOXCELEB}, got lines that are both; "
            "rename the enrolment ids 0 and 1"
        )
        raise FormatError(msg)
    first, again = repeated(pair_keys(trials.enroll, trials.test))
    wrong = np.flatnonzero(trials.is_target[first] != trials.is_target[again])
    if len(wrong):
        rows = int(first[wrong[0]]), int(again[wrong[0]])
        lines = [line_of_row(path, row, after=after) for row in rows]
        msg = (
            f"{path}:{lines[1]}: expected one label per trial, got both for "
            f"'{trials.pair(rows[1])}' (first in line {lines[0]}); remove the wrong line"
        )
        raise FormatError(msg)


def read_labels(block: Block, column: int, names: tuple[str, str]) -> NDArray[np.bool_]:
    """True for the first label.

    Args:
        block: Rows of the table.
        column: Index of the column of labels.
        names: The two labels, that of target trials first.

    Returns:
        Shape (rows,).

    Raises:
        FormatError: If a field is neither label; it names the line.
    """  # noqa: DOC502 (raised by check)
    is_target = block.equals(column, names[0])
    known = is_target | block.equals(column, names[1])
    expected = f"the label {names[0]} or {names[1]} in field {column + 1}"
    block.check(known, column, expected, "correct the label, and keep one format per file")
    return is_target
