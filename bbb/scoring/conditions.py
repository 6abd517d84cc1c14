"""Conditions of trials (gender, channel, number of segments ...), for a report of each."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bbb.errors import ConfigError, DataError, FormatError
from bbb.scoring._pairs import pair_keys, repeated
from bbb.scoring._table import IdColumn, first_fields, line_of_row, read_blocks
from bbb.scoring.scores import Scores, align_scores
from bbb.scoring.speakers import read_utt2spk
from bbb.scoring.trials import NIST_SEGMENTS, Trials

FORMS = "'enroll test condition', 'id condition' or a NIST header"


def read_conditions(
    path: str | os.PathLike[str],
    trials: Trials | Scores,
    *,
    column: str = "",
    utt2spk: Mapping[str, str] | None = None,
) -> NDArray[np.str_]:
    """The condition of each trial, from a file in any of three forms, told apart by content.

    * ``enroll test condition``: one line per trial, in any order;
    * ``id condition``, as Kaldi's ``spk2gender``: a trial is of the condition that its two sides
      share, or of ``a-b`` where the enrolment side is of a and the test side of b; ids are those
      of the trials, or their speakers;
    * a NIST key, tab separated with a header, whose ``column`` is the condition.

    Args:
        path: The file; UTF-8, plain or gzip.
        trials: The trials.
        column: Name of the NIST key's column.
        utt2spk: Speaker by utterance, for ids that are speakers.

    Returns:
        Names, shape (trials,).

    Raises:
        FormatError: If the file is of no such form, or a trial has two conditions; it names the
            line.
        ConfigError: If the column is not in the header.
        DataError: If a trial has no condition; it gives the number and the first five.
    """  # noqa: DOC502 (some raised by what it calls)
    number, fields = first_fields(path)
    header = [field.lower() for field in fields]
    segments = [header.index(name) for name in NIST_SEGMENTS if name in header]
    if "modelid" in header and segments:
        if column.lower() not in header:
            msg = f"the column of conditions needs one of {', '.join(fields)}, got '{column}'"
            raise ConfigError(msg)
        places = header.index("modelid"), segments[0], header.index(column.lower())
        return _by_trial(path, trials, places, len(header), after=number)
    if column:
        msg = f"{path}:{number}: expected a NIST header with '{column}', got none; drop the column"
        raise FormatError(msg)
    if len(fields) == 3:  # noqa: PLR2004
        return _by_trial(path, trials, (0, 1, 2), 3)
    if len(fields) != 2:  # noqa: PLR2004
        msg = f"{path}:{number}: expected {FORMS}, got {len(fields)} fields; correct the line"
        raise FormatError(msg)
    return _by_side(read_utt2spk(path), trials, utt2spk or {})


def _by_trial(
    path: str | os.PathLike[str],
    trials: Trials | Scores,
    places: tuple[int, int, int],
    width: int,
    after: int = 0,
) -> NDArray[np.str_]:
    """Conditions from a table with a row per trial.

    Args:
        path: The file.
        trials: The trials.
        places: Columns of the enrolment side, the test side and the condition.
        width: Number of columns.
        after: Number of the header's line, or 0.

    Returns:
        Names, shape (trials,).

    Raises:
        FormatError: If there is no row, or a trial has two conditions.
    """
    columns = IdColumn(), IdColumn(), IdColumn()
    rows = 0
    for block in read_blocks(path, FORMS, width, after=after, hint="correct the line"):
        rows += len(block)
        for column, place in zip(columns, places, strict=True):
            column.add(block.columns[place])
    if not rows:
        msg = f"{path}:{after}: expected trials below the header, got none; is the file complete?"
        raise FormatError(msg)
    (enroll_ids, enroll), (test_ids, test), (names, codes) = (each.result() for each in columns)
    first, again = repeated(pair_keys(enroll, test))
    wrong = np.flatnonzero(codes[first] != codes[again])
    if len(wrong):
        row = int(again[wrong[0]])
        msg = (
            f"{path}:{line_of_row(path, row, after=after)}: expected one condition per trial, got "
            f"'{names[codes[row]]}' after '{names[codes[first[wrong[0]]]]}' for "
            f"'{enroll_ids[enroll[row]]} {test_ids[test[row]]}'; remove the wrong line"
        )
        raise FormatError(msg)
    # Small integers are exact in floating point, and the matching of scores serves as it is.
    found = Scores(enroll_ids, test_ids, enroll, test, codes.astype(np.float64))
    aligned = align_scores(found, trials, name=f"conditions of {path}")
    return np.asarray(names)[aligned.astype(np.intp)]


def _by_side(
    condition: Mapping[str, str], trials: Trials | Scores, utt2spk: Mapping[str, str]
) -> NDArray[np.str_]:
    """Conditions from those of the two sides.

    Args:
        condition: Condition by id or speaker.
        trials: The trials.
        utt2spk: Speaker by utterance.

    Returns:
        Names, shape (trials,).

    Raises:
        DataError: If an id has no condition; it gives the number and the first five.
    """
    ids = trials.enroll_ids, trials.test_ids
    found: list[list[Any]] = [
        [condition.get(key, condition.get(utt2spk.get(key, ""))) for key in side] for side in ids
    ]
    pairs = list(zip(ids[0] + ids[1], found[0] + found[1], strict=True))
    missing = sorted({key for key, name in pairs if name is None})
    if missing:
        first = ", ".join(f"'{key}'" for key in missing[:5])
        msg = (
            f"conditions need one for every id of the trials, got none for {len(missing)}: "
            f"{first}; add them, or give utt2spk if the file names speakers"
        )
        raise DataError(msg)
    names, codes = np.unique(found[0] + found[1], return_inverse=True)
    enroll = codes[: len(ids[0])][trials.enroll]
    test = codes[len(ids[0]) :][trials.test]
    table = np.array([[a if a == b else f"{a}-{b}" for b in names] for a in names])
    return np.asarray(table[enroll, test])
