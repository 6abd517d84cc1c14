"""Pairs of ids as integers: what trial lists and score files have in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bbb.errors import DataError


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of ids as integer codes into tables of ids.

    Attributes:
        enroll_ids: Distinct ids of the enrolment side.
        test_ids: Distinct ids of the test side.
        enroll: Index into `enroll_ids` of each trial, shape (trials,).
        test: Index into `test_ids` of each trial, shape (trials,).
    """

    enroll_ids: tuple[str, ...]
    test_ids: tuple[str, ...]
    enroll: NDArray[np.int32]
    test: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.enroll)

    def pair(self, trial: int) -> str:
        """The two ids of a trial, for messages."""
        return f"{self.enroll_ids[self.enroll[trial]]} {self.test_ids[self.test[trial]]}"


def check_ids(ids: Sequence[str], name: str) -> None:
    """Refuse ids that cannot be a field of a table.

    Args:
        ids: The ids.
        name: What needs them, for the message.

    Raises:
        DataError: If an id is empty or holds white space; it names the id.
    """
    wrong = next((key for key in ids if key.split() != [key]), None)
    if wrong is not None:
        msg = f"{name} needs ids without blanks, got '{wrong}'; rename it"
        raise DataError(msg)


def pair_keys(
    first: NDArray[np.integer[Any]], second: NDArray[np.integer[Any]]
) -> NDArray[np.int64]:
    """One integer per pair of codes, shape (rows,)."""
    return first.astype(np.int64) << 32 | second.astype(np.int64)


def repeated(key: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows whose key an earlier row has: the first such row, and the row, in order of the latter.

    Args:
        key: One integer per row, shape (rows,).

    Returns:
        Indices of the first rows and of the later rows, each of shape (repetitions,).
    """
    ordered = np.sort(key)
    if not (ordered[1:] == ordered[:-1]).any():
        return np.empty(0, np.intp), np.empty(0, np.intp)
    order = np.argsort(key, kind="stable")
    new = np.concatenate(([True], np.diff(key[order]) != 0))
    row_first = np.empty(len(key), np.intp)
    row_first[order] = order[np.flatnonzero(new)[np.cumsum(new) - 1]]
    again = np.sort(order[~new])
    return row_first[again], again
