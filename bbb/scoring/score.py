"""From a trial list and embeddings to scores: every key is checked before any work is done."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bbb.errors import ConfigError, DataError
from bbb.scoring._rows import centre_rows, group_means
from bbb.scoring.all_pairs import count_all_pairs
from bbb.scoring.cohort import CohortStatistics
from bbb.scoring.cosine import check_dims, unit_rows
from bbb.scoring.det_counts import DetCounts
from bbb.scoring.embeddings import Embeddings
from bbb.scoring.mapping import Mapper, local_map, map_dots
from bbb.scoring.normalisation import ScoreNorm, normalise_scores
from bbb.scoring.points import OperatingPoint
from bbb.scoring.scores import Scores
from bbb.scoring.speakers import speakers_of
from bbb.scoring.trials import Trials

if TYPE_CHECKING:
    from bbb.scoring.backend import PLDABackend

Floats = NDArray[np.floating[Any]]
Prepare: TypeAlias = Callable[[Floats, str], Floats]
Statistics: TypeAlias = Callable[
    [Floats, NDArray[np.intp] | None, Mapping[str, Sequence[str]]], CohortStatistics
]
Sides: TypeAlias = Callable[[Floats, Floats, NDArray[np.intp] | None], tuple[Floats, Floats]]


def score_trials(
    trials: Trials,
    enroll: Embeddings,
    test: Embeddings,
    *,
    backend: "PLDABackend | None" = None,
    enroll_map: Mapping[str, Sequence[str]] | None = None,
    mean: ArrayLike | None = None,
    multi_enroll: Literal["book", "mean"] = "book",
    norm: ScoreNorm | None = None,
    mapper: Mapper = local_map,
    progress: Callable[[int], None] | None = None,
) -> Scores:
    """Score every trial of a list.

    Args:
        trials: The trials; the enrolment ids are utterances, or models of `enroll_map`.
        enroll: Embeddings of the enrolment utterances.
        test: Embeddings of the test utterances.
        backend: A fitted back-end, whose scores are log-likelihood ratios; None scores by cosine.
        enroll_map: Utterance ids by model id; None where each enrolment id is an utterance.
        mean: Mean to subtract first, shape (dim,); None takes the back-end's, or none for cosine.
        multi_enroll: PLDA scores the mean of several enrolment utterances as that many ("book"), or
            as one ("mean"). Cosine always takes the mean of the length-normalised embeddings.
        norm: Cohort to normalise the scores with, prepared as the test side is; each entry counts
            as one utterance. None leaves the scores as they are.
        mapper: Where the blocks of trials are scored.
        progress: Called with the number of trials done since the last call; then, with `norm`, with
            the number of models and test utterances.

    Returns:
        Scores in the order of the trials, with their labels.

    Raises:
        ConfigError: If `multi_enroll` is neither "book" nor "mean".
        ShapeError: If dimensions differ.
        DataError: If a model or an embedding is missing; it gives the number and the first five.
            If the cohort is too small, or its scores do not vary.
    """  # noqa: DOC502 (raised by the shared checks)
    prepare, sides = _cosine(mean) if backend is None else _plda(backend, mean)
    used, groups, sizes = enrolment_rows(trials, enroll, enroll_map)
    test_rows = test.rows(trials.test_ids, name="test embeddings")
    models = group_means(prepare(enroll.embeddings[used], "enrolment embeddings"), groups, sizes)
    tests = prepare(test.embeddings[test_rows], "test embeddings")
    counts = sizes if by_the_book(multi_enroll) else None
    pair = *sides(models, tests, counts), trials.enroll, trials.test
    scores = map_dots(mapper, *pair, progress=progress)
    if norm is None:
        return Scores.of(trials, scores)
    statistics = _statistics(norm, prepare, sides, progress)
    models_of = {model: (enroll_map or {}).get(model, (model,)) for model in trials.enroll_ids}
    tests_of = {key: (key,) for key in trials.test_ids}
    if enroll is test and enroll_map is None and norm.method in {"s", "as"}:
        both = _shared_statistics((models_of, models), (tests_of, tests), statistics)
    else:
        both = (
            None if norm.method == "t" else statistics(models, counts, models_of),
            None if norm.method == "z" else statistics(tests, None, tests_of),
        )
    return Scores.of(trials, normalise_scores(scores, trials.enroll, trials.test, *both))


def _statistics(
    norm: ScoreNorm, prepare: Prepare, sides: Sides, progress: Callable[[int], None] | None
) -> Statistics:
    """How to get the cohort's statistics of one side."""
    cohort = norm.average(prepare(norm.cohort.embeddings, "cohort embeddings"))

    def statistics(
        rows: Floats, counts: NDArray[np.intp] | None, utterances: Mapping[str, Sequence[str]]
    ) -> CohortStatistics:
        """Score the rows, and leave their own utterances out."""
        return norm.statistics(*sides(rows, cohort, counts), utterances, progress=progress)

    return statistics


def _shared_statistics(
    models: tuple[Iterable[str], Floats], tests: tuple[Iterable[str], Floats], of: Statistics
) -> tuple[CohortStatistics | None, CohortStatistics | None]:
    """Statistics of both sides, each utterance once: it has the same scores on either side."""
    rows = {key: row for side in (models, tests) for key, row in zip(*side, strict=True)}
    every = of(np.stack(list(rows.values())), None, {key: (key,) for key in rows})
    place = {key: number for number, key in enumerate(rows)}
    one, other = (every.take(np.array([place[key] for key in side[0]])) for side in (models, tests))
    return one, other


def by_the_book(multi_enroll: str) -> bool:
    """Return whether several utterances count as that many.

    Raises:
        ConfigError: If `multi_enroll` is neither "book" nor "mean".
    """
    if multi_enroll not in {"book", "mean"}:
        msg = f"multi_enroll needs 'book' or 'mean', got '{multi_enroll}'; choose one"
        raise ConfigError(msg)
    return multi_enroll == "book"


def score_all_pairs(
    enroll: Embeddings,
    test: Embeddings,
    utt2spk: Mapping[str, str],
    *,
    backend: "PLDABackend | None" = None,
    mean: ArrayLike | None = None,
    points: Sequence[float | str | OperatingPoint] = (),
    mapper: Mapper = local_map,
    progress: Callable[[int], None] | None = None,
) -> DetCounts:
    """Score each enrolment utterance with each test utterance, and keep the counts only.

    Args:
        enroll: Embeddings of the enrolment utterances.
        test: Those of the test utterances; the same object counts each pair of utterances once.
        utt2spk: Speaker by utterance.
        backend: A fitted back-end; None scores by cosine.
        mean: Mean to subtract first, as for `score_trials`.
        points: Operating points at which `DetCounts.act_dcf` will be asked for.
        mapper: Where the blocks are scored.
        progress: Called with the number of enrolment utterances done; each is done twice.

    Returns:
        The counts.

    Raises:
        ShapeError: If dimensions differ.
        DataError: If an utterance has no speaker, or there is no target pair.
    """  # noqa: DOC502 (raised by the shared checks)
    prepare, sides = _cosine(mean) if backend is None else _plda(backend, mean)
    one = prepare(enroll.embeddings, "enrolment embeddings")
    other = one if enroll is test else prepare(test.embeddings, "test embeddings")
    return count_all_pairs(
        *sides(one, other, None),
        speakers_of(enroll.ids, utt2spk),
        speakers_of(test.ids, utt2spk),
        each_once=enroll is test,
        points=points,
        mapper=mapper,
        progress=progress,
    )


def _cosine(mean: ArrayLike | None) -> tuple[Prepare, Sides]:
    """How to prepare utterances for cosine, and two sides for dot products."""
    centre = None if mean is None else np.atleast_1d(np.asarray(mean, dtype=np.float64))

    def prepare(rows: Floats, name: str) -> Floats:
        """Centre, and scale to unit length."""
        if centre is None:
            return unit_rows(rows, name=name)
        check_dims(rows.shape, (1, len(centre)), f"{name} and mean")
        return unit_rows(centre_rows(rows, centre), name=name)

    def sides(left: Floats, right: Floats, _counts: object) -> tuple[Floats, Floats]:
        """Scale means to unit length, too."""
        check_dims(left.shape, right.shape)
        return unit_rows(left), unit_rows(right)

    return prepare, sides


def _plda(backend: "PLDABackend", mean: ArrayLike | None) -> tuple[Prepare, Sides]:
    """The same for PLDA."""
    chain = backend if mean is None else backend.with_mean(mean)
    return lambda rows, _name: chain.transform(rows), chain.plda_.sides


def enrolment_rows(
    trials: Trials, enroll: Embeddings, enroll_map: Mapping[str, Sequence[str]] | None
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Which embeddings enrol the models of a list, each prepared once however often it serves.

    Args:
        trials: The trials.
        enroll: Embeddings of the enrolment utterances.
        enroll_map: Utterance ids by model id, or None.

    Returns:
        Distinct rows of `enroll`, shape (rows,); which of these are the utterances of all models,
        model after model, shape (enrolment utterances,); their number per model, (models,).

    Raises:
        DataError: If a model is missing from the map, or has no utterance there, or an utterance is
            missing from the embeddings.
    """
    if enroll_map is None:
        rows = enroll.rows(trials.enroll_ids, name="enrolment embeddings")
        return *np.unique(rows, return_inverse=True), np.ones(len(rows), dtype=np.intp)
    missing = [model for model in trials.enroll_ids if len(enroll_map.get(model, ())) == 0]
    if missing:
        first = ", ".join(f"'{model}'" for model in missing[:5])
        msg = (
            f"the enrolment map needs every model of the trials, got none for {len(missing)} of "
            f"{len(trials.enroll_ids)}: {first}; add them to the map"
        )
        raise DataError(msg)
    utterances = [utterance for model in trials.enroll_ids for utterance in enroll_map[model]]
    sizes = np.array([len(enroll_map[model]) for model in trials.enroll_ids], dtype=np.intp)
    rows = enroll.rows(utterances, name="enrolment embeddings")
    return *np.unique(rows, return_inverse=True), sizes
