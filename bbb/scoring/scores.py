"""Score files: ``enroll test score [target|nontarget]``, matched with trials by key."""

import functools
import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from bbb.errors import DataError, FormatError, ShapeError
from bbb.files import atomic_path, open_output
from bbb.scoring._pairs import Pairs, check_ids, pair_keys, repeated
from bbb.scoring._table import BLOCK_BYTES, Block, IdColumn, first_fields, line_of_row, read_blocks
from bbb.scoring.trials import LABELS, Trials, read_labels

SCORES = "'enroll test score [target|nontarget]'"
LINES_AT_ONCE = 2**16
# Below this number importing polars costs more than it saves.
FAST_LINES = 2**18


@dataclass(frozen=True, eq=False)
class Scores(Pairs):
    """Scored trials as integer codes into tables of ids.

    Attributes:
        enroll_ids: Distinct ids of the enrolment side.
        test_ids: Distinct ids of the test side.
        enroll: Index into `enroll_ids` of each trial, shape (trials,).
        test: Index into `test_ids` of each trial, shape (trials,).
        scores: Score of each trial, float32 or float64, shape (trials,).
        is_target: True for target trials, shape (trials,); None where labels are unknown.
    """

    scores: NDArray[np.floating[Any]]
    is_target: NDArray[np.bool_] | None = None

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
            throughout; plain or gzip.

    Returns:
        The scores as float64, in the order of the file; an equal repetition is kept.

    Raises:
        FormatError: If a line has another form, a score is not a number or NaN, or a trial is
            there twice with different scores or labels; it names the file and the line.
    """
    sides, values, labels = (IdColumn(), IdColumn()), [], []
    for block in _blocks(path, BLOCK_BYTES):
        values.append(block.floats(2))
        if len(block.columns) > 3:  # noqa: PLR2004
            labels.append(read_labels(block, 3, LABELS))
        for side, column in zip(sides, block.columns, strict=False):
            side.add(column)
    (enroll_ids, enroll), (test_ids, test) = (side.result() for side in sides)
    is_target = np.concatenate(labels) if labels else None
    result = Scores(enroll_ids, test_ids, enroll, test, np.concatenate(values), is_target)
    first, again = repeated(pair_keys(enroll, test))
    wrong = result.scores[first] != result.scores[again]
    if is_target is not None:
        wrong |= is_target[first] != is_target[again]
    if wrong.any():
        old, new = int(first[wrong][0]), int(again[wrong][0])
        msg = (
            f"{path}:{line_of_row(path, new)}: expected one score and label per trial, got "
            f"{result.scores[new]:.9g} after {result.scores[old]:.9g} in line "
            f"{line_of_row(path, old)} for '{result.pair(new)}'; remove one of them"
        )
        raise FormatError(msg)
    return result


def iter_scores(
    path: str | os.PathLike[str], *, block: int = BLOCK_BYTES
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """Read a score file with labels some lines at a time, in constant memory.

    Repeated trials are not looked for: that would take the memory of the whole file.

    Args:
        path: Lines ``enroll test score target|nontarget``; plain or gzip.
        block: Bytes of text to read at once.

    Yields:
        Scores and whether they are those of target trials, each of shape (lines,).

    Raises:
        FormatError: If a line has another form, or a score is not a number or NaN; it names the
            file and the line.
    """
    for part in _blocks(path, block):
        if len(part.columns) < 4:  # noqa: PLR2004
            msg = (
                f"{path}:{part.line(0)}: expected 'enroll test score target|nontarget', got 3 "
                "fields; write the scores with labels, or read the file whole with its trials"
            )
            raise FormatError(msg)
        yield part.floats(2), read_labels(part, 3, LABELS)


def _blocks(path: str | os.PathLike[str], size: int) -> Iterator[Block]:
    """Rows of three or four fields, some at a time.

    Args:
        path: The file.
        size: Bytes of text to read at once.

    Yields:
        The rows.

    Raises:
        FormatError: If a line has another number of fields; it names the line.
    """
    number, fields = first_fields(path)
    if len(fields) not in {3, 4}:
        msg = (
            f"{path}:{number}: expected {SCORES}, got {len(fields)} fields; are the ids free of "
            "blanks?"
        )
        raise FormatError(msg)
    hint = "every line needs the same fields"
    yield from read_blocks(path, SCORES, len(fields), hint=hint, size=size)


def write_scores(
    path: str | os.PathLike[str],
    scores: Scores,
    *,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write a score file in one atomic step, with labels where they are known.

    A number is written as the shortest decimal that stands for it in its own type.

    Args:
        path: The file to write; compressed where the name ends in ``.gz``.
        scores: The scores.
        progress: Called with the number of lines written since the last call.

    Raises:
        DataError: If a score is NaN, or an id is empty or has a blank; it names the trial or id.
    """
    bad = np.flatnonzero(np.isnan(scores.scores))
    if len(bad):
        msg = (
            f"write_scores needs numbers, got {len(bad)} NaN, the first for "
            f"'{scores.pair(bad[0])}'; check the embeddings"
        )
        raise DataError(msg)
    check_ids((*scores.enroll_ids, *scores.test_ids), "write_scores")
    fast = len(scores) >= FAST_LINES and importlib.util.find_spec("polars") is not None
    write = _polars_writer(scores) if fast else functools.partial(_write_plain, scores)
    with atomic_path(path) as temporary, open_output(temporary) as stream:
        for start in range(0, len(scores), LINES_AT_ONCE):
            part = slice(start, min(start + LINES_AT_ONCE, len(scores)))
            write(stream, part)
            if progress is not None:
                progress(part.stop - start)


def _write_plain(scores: Scores, stream: BinaryIO, part: slice) -> None:
    """Write some lines of a score file."""
    columns = [
        [scores.enroll_ids[code] for code in scores.enroll[part].tolist()],
        [scores.test_ids[code] for code in scores.test[part].tolist()],
        scores.scores[part].astype(str).tolist(),
    ]
    if scores.is_target is not None:
        columns.append([LABELS[not yes] for yes in scores.is_target[part].tolist()])
    stream.write("".join(f"{' '.join(row)}\n" for row in zip(*columns, strict=True)).encode())


def _polars_writer(scores: Scores) -> Callable[[BinaryIO, slice], None]:
    """The same for many lines, whose numbers may be spelled another way (1e-5 for 1e-05)."""
    import polars as pl  # noqa: PLC0415 (slow to import, and only large files need it)

    enroll, test, labels = (
        pl.Series(values, dtype=pl.String)
        for values in (scores.enroll_ids, scores.test_ids, LABELS)
    )

    def write(stream: BinaryIO, part: slice) -> None:
        """Write some lines."""
        columns = [
            enroll.gather(scores.enroll[part]).alias("enroll"),
            test.gather(scores.test[part]).alias("test"),
            pl.Series("score", scores.scores[part]),
        ]
        if scores.is_target is not None:
            columns.append(labels.gather((~scores.is_target[part]).astype(np.uint32)))
        table = pl.DataFrame(columns)
        table.write_csv(stream, include_header=False, separator=" ", quote_style="never")

    return write


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
    have = pair_keys(scores.enroll, scores.test)
    order = np.argsort(have, kind="stable")
    want = pair_keys(enroll, test)
    row = np.minimum(np.searchsorted(have, want, sorter=order), len(have) - 1)
    found = order[row]
    missing = np.flatnonzero((have[found] != want) | (enroll < 0) | (test < 0))
    if len(missing):
        first = ", ".join(f"'{trials.pair(k)}'" for k in missing[:5])
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
