"""From a trial list and embeddings to scores: every key is checked before any work is done."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bbb._files import numbered_lines
from bbb.errors import ConfigError, DataError, FormatError
from bbb.scoring.cosine import cosine_scores, unit_rows
from bbb.scoring.embeddings import Embeddings
from bbb.scoring.scores import Scores
from bbb.scoring.trials import Trials

if TYPE_CHECKING:
    from bbb.scoring.backend import PLDABackend

Floats = NDArray[np.floating[Any]]


def read_enroll_map(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Read which utterances enrol each model.

    Args:
        path: Lines ``model utterance [utterance ...]`` (the form of spk2utt); the lines of one
            model add up.

    Returns:
        Utterance ids by model id.

    Raises:
        FormatError: If a line has fewer than two fields, an utterance enrols a model twice, or
            the file is empty; it names the line.
    """
    models: dict[str, list[str]] = {}
    for number, line in numbered_lines(path):
        model, *utterances = line.split()
        if not utterances:
            msg = (
                f"{path}:{number}: expected 'model utterance [utterance ...]', got 1 field; add "
                "the model's utterances"
            )
            raise FormatError(msg)
        enrolled = models.setdefault(model, [])
        for utterance in utterances:
            if utterance in enrolled:
                msg = (
                    f"{path}:{number}: expected each utterance of a model once, got '{utterance}' "
                    f"again for '{model}'; remove it"
                )
                raise FormatError(msg)
            enrolled.append(utterance)
    if not models:
        msg = f"{path}:0: expected at least one model, got an empty file; was it written fully?"
        raise FormatError(msg)
    return models


def score_trials(
    trials: Trials,
    enroll: Embeddings,
    test: Embeddings,
    *,
    backend: "PLDABackend | None" = None,
    enroll_map: Mapping[str, Sequence[str]] | None = None,
    mean: ArrayLike | None = None,
    multi_enroll: Literal["book", "mean"] = "book",
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
        multi_enroll: With several enrolment utterances PLDA scores their mean "by the book", as
            that many independent utterances, or as if the "mean" were one utterance. Cosine
            always takes the mean of the length-normalised embeddings.
        progress: Called with the number of trials done since the last call.

    Returns:
        Scores in the order of the trials, with their labels.

    Raises:
        ConfigError: If `multi_enroll` is neither "book" nor "mean".
        ShapeError: If dimensions differ.
        DataError: If a model or an embedding is missing; it gives the number and the first five.
    """  # noqa: DOC502 (raised by the shared checks)
    if multi_enroll not in {"book", "mean"}:
        msg = f"multi_enroll needs 'book' or 'mean', got '{multi_enroll}'; choose one"
        raise ConfigError(msg)
    groups, sizes = _enrolment(trials, enroll, enroll_map)
    test_rows = test.rows(trials.test_ids, name="test embeddings")
    used, groups = np.unique(groups, return_inverse=True)
    left, right = enroll.embeddings[used], test.embeddings[test_rows]
    if backend is None:
        if mean is not None:
            centre = np.asarray(mean)
            left, right = left - centre.astype(left.dtype), right - centre.astype(right.dtype)
        left = unit_rows(left, name="enrolment embeddings")
        models = _group_means(left, groups, sizes)
        scores = cosine_scores(models, right, trials.enroll, trials.test, progress=progress)
        return Scores.of(trials, scores)
    chain = backend if mean is None else backend.with_mean(mean)
    models = _group_means(chain.transform(left), groups, sizes)
    scores = chain.plda_.llr(
        models,
        chain.transform(right),
        trials.enroll,
        trials.test,
        num_enroll=sizes if multi_enroll == "book" else None,
        progress=progress,
    )
    return Scores.of(trials, scores)


def _enrolment(
    trials: Trials, enroll: Embeddings, enroll_map: Mapping[str, Sequence[str]] | None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of all enrolment utterances, model after model, and the number of each model.

    Args:
        trials: The trials.
        enroll: Embeddings of the enrolment utterances.
        enroll_map: Utterance ids by model id, or None.

    Returns:
        Rows of `enroll`, shape (enrolment utterances,), and their number per model, (models,).

    Raises:
        DataError: If a model is missing from the map, or an utterance from the embeddings.
    """
    if enroll_map is None:
        rows = enroll.rows(trials.enroll_ids, name="enrolment embeddings")
        return rows, np.ones(len(rows), dtype=np.intp)
    missing = [model for model in trials.enroll_ids if model not in enroll_map]
    if missing:
        first = ", ".join(f"'{model}'" for model in missing[:5])
        msg = (
            f"the enrolment map needs every model of the trials, got none for {len(missing)} of "
            f"{len(trials.enroll_ids)}: {first}; add them to the map"
        )
        raise DataError(msg)
    utterances = [utterance for model in trials.enroll_ids for utterance in enroll_map[model]]
    sizes = np.array([len(enroll_map[model]) for model in trials.enroll_ids], dtype=np.intp)
    return enroll.rows(utterances, name="enrolment embeddings"), sizes


def _group_means(rows: Floats, index: NDArray[np.intp], sizes: NDArray[np.intp]) -> Floats:
    """Mean of each run of ``sizes`` entries of ``rows[index]``, shape (models, dim)."""
    if (sizes == 1).all():
        return rows[index]
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    sums = np.add.reduceat(rows[index], starts, axis=0)
    return np.asarray(sums / sizes[:, None].astype(rows.dtype))
