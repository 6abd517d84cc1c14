"""Score normalisation with a cohort: z-, t-, s- and adaptive s-norm.

The statistics of an id depend on that id and the cohort only, never on the other trials.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bbb.errors import ConfigError
from bbb.scoring.cohort import CohortStatistics, check_cohort, cohort_statistics
from bbb.scoring.cosine import check_trials, pair_dots, unit_rows
from bbb.scoring.embeddings import Embeddings
from bbb.scoring.speakers import speakers_of

Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.integer[Any]]
METHODS = ("z", "t", "s", "as")
TRIALS = 2**16


@dataclass(frozen=True, eq=False)
class ScoreNorm:
    """What to normalise the scores of a trial list with.

    Attributes:
        cohort: Embeddings of speakers who are in no trial.
        method: "z": by the scores of the enrolment side with the cohort; "t": by those of the test
            side; "s": the mean of both results; "as": the same, with each side's `top_n` highest
            cohort scores only.
        top_n: Cohort scores that "as" keeps, at least 2.
        utt2spk: Speaker by cohort utterance. With it the cohort is the mean embedding of each
            speaker, without it each utterance stands for itself.

    Raises:
        ConfigError: If the method is unknown, or `top_n` below 2.
        DataError: If a cohort utterance has no speaker, or the cohort is too small.

    References:
        Auckenthaler et al. 2000, "Score normalization for text-independent speaker verification
        systems" (z, t); Matejka et al. 2017, "Analysis of score normalization in multilingual
        speaker recognition" (s, and as under the name "adaptive S-norm 1").
    """

    cohort: Embeddings
    method: Literal["z", "t", "s", "as"] = "as"
    top_n: int = 300
    utt2spk: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS or self.top_n < 2:  # noqa: PLR2004
            msg = (
                f"ScoreNorm needs a method among {', '.join(METHODS)} and top_n >= 2, got "
                f"'{self.method}' and {self.top_n}; correct the arguments"
            )
            raise ConfigError(msg)
        check_cohort(len(np.unique(self.columns)), self._kept)

    @property
    def _kept(self) -> int | None:
        return self.top_n if self.method == "as" else None

    @property
    def columns(self) -> NDArray[np.intp]:
        """Index of each cohort utterance, or of its speaker, shape (cohort utterances,)."""
        if self.utt2spk is None:
            return np.arange(len(self.cohort))
        _, codes = np.unique(speakers_of(self.cohort.ids, self.utt2spk), return_inverse=True)
        return codes

    def average(self, rows: Floats) -> Floats:
        """Mean of the transformed cohort embeddings per column, shape (columns, dim)."""
        if self.utt2spk is None:
            return rows
        columns = self.columns
        sums = np.zeros((columns.max() + 1, rows.shape[1]))
        np.add.at(sums, columns, rows)
        return np.asarray(sums / np.bincount(columns)[:, None], dtype=rows.dtype)

    def statistics(
        self,
        rows: Floats,
        cohort: Floats,
        utterances: Mapping[str, Iterable[str]],
        *,
        progress: Callable[[int], None] | None = None,
    ) -> CohortStatistics:
        """`cohort_statistics` by this method.

        Args:
            rows: One row per id, shape (ids, dim).
            cohort: One row per column of `columns`, shape (columns, dim).
            utterances: The utterances behind each id, in order. Where one of these is in the
                cohort, its column is left out for this id.
            progress: Called with the number of ids done since the last call.

        Returns:
            One value of each per id.

        Raises:
            DataError: If too little of the cohort is left for an id, or its scores do not vary.
        """  # noqa: DOC502 (raised by cohort_statistics)
        column = dict(zip(self.cohort.ids, self.columns.tolist(), strict=True))
        own = [{column[key] for key in keys if key in column} for keys in utterances.values()]
        ids = list(utterances)
        return cohort_statistics(rows, cohort, own, top_n=self._kept, ids=ids, progress=progress)


def normalise_scores(
    scores: Floats,
    enroll_index: Indices,
    test_index: Indices,
    enroll: CohortStatistics | None,
    test: CohortStatistics | None,
) -> Floats:
    """Subtract the mean and divide by the standard deviation of a side; average over the sides.

    Args:
        scores: Score of each trial, shape (trials,).
        enroll_index: Index of each trial's enrolment, shape (trials,).
        test_index: Index of each trial's test utterance, shape (trials,).
        enroll: Statistics of the enrolments; None leaves this side out (t-norm).
        test: Statistics of the test utterances; None leaves this side out (z-norm).

    Returns:
        Scores of the same floating type, shape (trials,).

    Raises:
        ConfigError: If both sides are left out.
    """
    pairs = ((enroll, enroll_index), (test, test_index))
    sides = [(side, index) for side, index in pairs if side is not None]
    if not sides:
        msg = "normalise_scores needs the statistics of at least one side, got none; give one"
        raise ConfigError(msg)
    result = np.empty_like(scores)
    for start in range(0, len(scores), TRIALS):
        part = slice(start, start + TRIALS)
        each = [(scores[part] - s.mean[index[part]]) / s.std[index[part]] for s, index in sides]
        result[part] = np.mean(each, axis=0)
    return result


def as_norm(
    enroll: ArrayLike,
    test: ArrayLike,
    cohort: ArrayLike,
    enroll_index: Indices,
    test_index: Indices,
    *,
    top_n: int = 300,
) -> Floats:
    """Cosine scores after adaptive s-norm.

    Args:
        enroll: Embeddings of the enrolment side, shape (enrolments, dim).
        test: Embeddings of the test side, shape (tests, dim).
        cohort: Embeddings of other speakers, shape (cohort, dim).
        enroll_index: Row of `enroll` of each trial, shape (trials,).
        test_index: Row of `test` of each trial, shape (trials,).
        top_n: Highest cohort scores to keep per row.

    Returns:
        Normalised scores, float32 for float32 embeddings, shape (trials,).

    Raises:
        ShapeError: If the shapes do not fit each other.
        ConfigError: If `top_n` is not positive.
        DataError: If an embedding is all zero, the cohort smaller than `top_n`, or its scores do
            not vary.

    References:
        Matejka et al. 2017, "Analysis of score normalization in multilingual speaker recognition".
    """  # noqa: DOC502 (raised by the shared checks)
    left, right, rows = unit_rows(enroll), unit_rows(test), unit_rows(cohort, name="cohort")
    check_trials(left.shape, right.shape, enroll_index, test_index)
    sides = [cohort_statistics(side, rows, top_n=top_n) for side in (left, right)]
    scores = pair_dots(left, right, enroll_index, test_index)
    return normalise_scores(scores, enroll_index, test_index, *sides)
