"""Score files: ``enroll test score [target|nontarget]``, matched with trials by key."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bbb._files import atomic_path
from bbb.errors import DataError, FormatError, ShapeError
from bbb.scoring._table import first_fields, keys, read_table, repeated
from bbb.scoring.trials import LABELS, Trials, read_labels

SCORES = "'enroll test score [target|nontarget]'"
LINES_AT_ONCE = 65536


@dataclass(frozen=True, eq=False)
class Scores:
    """Scored trials as integer codes into tables of ids.

    Attributes:
        enroll_ids: Distinct ids of the enrolment side.
        test_ids: Distinct ids of the test side.
        enroll: Index into `enroll_ids` of each trial, shape (trials,).
        test: Index into `test_ids` of each trial, shape (trials,).
        scores: Score of each trial, float32 or float64, shape (trials,).
        is_target: True for target trials, shape (trials,); None where labels are unknown.
    """

    enroll_ids: tuple[str, ...]
    test_ids: tuple[str, ...]
    enroll: NDArray[np.int32]
    test: NDArray[np.int32]
    scores: NDArray[np.floating[Any]]
    is_target: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    @staticmethod
    def of(trials: Trials, scores: NDArray[np.floating[Any]]) -> "Scores":
        """Scores for a trial list, in its order.

        Args:
            trials: The trials.
            scores: One score per trial, shape (trials,).

        Returns:
            Scores that carry the ids and labels of the trials.

        Raises:
            ShapeError: If the lengths differ.
        """
        if scores.shape != (len(trials),):
            msg = (
                f"Scores.of needs one score per trial, shape ({len(trials)},), got "
                f"{scores.shape}; score every trial once"
            )
            raise ShapeError(msg)
        return Scores(
            trials.enroll_ids, trials.test_ids, trials.enroll, trials.test, scores, trials.is_target
        )


def read_scores(path: str | os.PathLike[str]) -> Scores:
    """Read a score file.

    Args:
        path: Lines ``enroll test score`` or ``enroll test score target|nontarget``, one form
            throughout.

    Returns:
        The scores as float64, in the order of the file.

    Raises:
        FormatError: If a line has another form, a score is not a number or NaN, or a trial is
            there twice with different scores or labels; it names the file and the line.
    """
    number, fields = first_fields(path)
    if len(fields) not in {3, 4}:
        msg = (
            f"{path}:{number}: expected {SCORES}, got {len(fields)} fields; are the ids free of "
            "blanks?"
        )
        raise FormatError(msg)
    table = read_table(path, SCORES, len(fields), hint="every line needs the same fields")
    scores = table.floats(2)
    is_target = read_labels(table, 3, LABELS) if len(fields) > 3 else None  # noqa: PLR2004
    enroll_ids, enroll = table.codes(0)
    test_ids, test = table.codes(1)
    for first, again in repeated(keys(enroll, test)):
        same_label = is_target is None or is_target[first] == is_target[again]
        if scores[first] != scores[again] or not same_label:
            msg = (
                f"{path}:{table.line(again)}: expected one score and label per trial, got "
                f"{scores[again]:.9g} after {scores[first]:.9g} in line {table.line(first)} for "
                f"'{enroll_ids[enroll[again]]} {test_ids[test[again]]}'; remove one of them"
            )
            raise FormatError(msg)
    return Scores(enroll_ids, test_ids, enroll, test, scores, is_target)


def write_scores(
    path: str | os.PathLike[str],
    scores: Scores,
    *,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write a score file in one atomic step, with labels where they are known.

    Numbers have as many digits as bring back the same float32 (9) or float64 (17).

    Args:
        path: The file to write.
        scores: The scores.
        progress: Called with the number of lines written since the last call.

    Raises:
        DataError: If a score is NaN.
    """
    bad = np.flatnonzero(np.isnan(scores.scores))
    if len(bad):
        pair = f"{scores.enroll_ids[scores.enroll[bad[0]]]} {scores.test_ids[scores.test[bad[0]]]}"
        msg = (
            f"write_scores needs numbers, got {len(bad)} NaN, the first for '{pair}'; check the "
            "embeddings"
        )
        raise DataError(msg)
    digits = 9 if scores.scores.dtype == np.float32 else 17
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as stream,
    ):
        for start in range(0, len(scores), LINES_AT_ONCE):
            part = slice(start, start + LINES_AT_ONCE)
            ends = [""] * len(scores.scores[part])
            if scores.is_target is not None:
                ends = [" target" if yes else " nontarget" for yes in scores.is_target[part]]
            stream.writelines(
                f"{scores.enroll_ids[enroll]} {scores.test_ids[test]} {score:.{digits}g}{end}\n"
                for enroll, test, score, end in zip(
                    scores.enroll[part].tolist(),
                    scores.test[part].tolist(),
                    scores.scores[part].tolist(),
                    ends,
                    strict=True,
                )
            )
            if progress is not None:
                progress(len(ends))


def align_scores(
    scores: Scores, trials: Trials | Scores, *, name: str = "scores"
) -> NDArray[np.floating[Any]]:
    """Scores in the order of a trial list, matched by the pair of ids, never by line.

    Args:
        scores: Scores of at least these trials; others are left out.
        trials: The trials, or the scores of another system, whose order counts.
        name: What to call the scores in the message.

    Returns:
        One score per trial, shape (trials,).

    Raises:
        DataError: If a trial has no score; it gives the number and the first five.
    """
    known = scores.enroll_ids == trials.enroll_ids and scores.test_ids == trials.test_ids
    enroll, test = trials.enroll, trials.test
    if not known:
        enroll = _translate(trials.enroll_ids, scores.enroll_ids)[enroll]
        test = _translate(trials.test_ids, scores.test_ids)[test]
    if np.array_equal(enroll, scores.enroll) and np.array_equal(test, scores.test):
        return scores.scores
    have = keys(scores.enroll, scores.test)
    order = np.argsort(have, kind="stable")
    want = keys(enroll, test)
    row = np.minimum(np.searchsorted(have, want, sorter=order), len(have) - 1)
    found = order[row]
    missing = np.flatnonzero((have[found] != want) | (enroll < 0) | (test < 0))
    if len(missing):
        first = ", ".join(
            f"'{trials.enroll_ids[trials.enroll[k]]} {trials.test_ids[trials.test[k]]}'"
            for k in missing[:5]
        )
        msg = (
            f"{name} need every trial of the list, got none for {len(missing)} of {len(trials)}: "
            f"{first}; score the same list"
        )
        raise DataError(msg)
    return scores.scores[found]


def _translate(source: tuple[str, ...], into: tuple[str, ...]) -> NDArray[np.int32]:
    """Index of each source id in the other table, -1 where it is absent."""
    table = {name: code for code, name in enumerate(into)}
    return np.fromiter((table.get(name, -1) for name in source), np.int32, len(source))
