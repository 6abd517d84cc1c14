"""Trials of uncertain embeddings: by their covariances, or by averaging over draws of weights."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bbb.errors import ConfigError, DataError
from bbb.scoring._rows import centre_rows
from bbb.scoring._uncertain import UncertainSides
from bbb.scoring.cosine import check_dims
from bbb.scoring.embeddings import Embeddings
from bbb.scoring.score import by_the_book, enrolment_rows
from bbb.scoring.scores import Scores
from bbb.scoring.trials import Trials

if TYPE_CHECKING:
    from bbb.scoring.backend import PLDABackend

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]
TRIAL_KEYS = ("enroll_ids", "test_ids", "enroll", "test")


def covariances_of(embeddings: Embeddings, *, name: str) -> Floats:
    """The covariances of a set.

    Args:
        embeddings: The set.
        name: What to call it in the message.

    Returns:
        Shape (utterances, dim) or (utterances, dim, dim).

    Raises:
        DataError: If it has none.
    """
    if embeddings.covariances is None:
        msg = (
            f"uncertainty needs {name} with covariances, got none; write an .npz with 'bbb extract "
            "--num-samples 10' of a Bayesian extractor, or leave uncertainty out"
        )
        raise DataError(msg)
    return embeddings.covariances


def score_uncertain_trials(
    trials: Trials,
    enroll: Embeddings,
    test: Embeddings,
    *,
    backend: "PLDABackend | None" = None,
    enroll_map: Mapping[str, Sequence[str]] | None = None,
    mean: ArrayLike | None = None,
    multi_enroll: Literal["book", "mean"] = "book",
    full: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Scores:
    """`score_trials` for embeddings with covariances, which count.

    Args:
        trials: As in `score_trials`.
        enroll: Embeddings of the enrolment utterances, with covariances.
        test: Embeddings of the test utterances, with covariances.
        backend: A fitted back-end; None scores by the cosine of the expected embeddings.
        enroll_map: As in `score_trials`.
        mean: As in `score_trials`.
        multi_enroll: As in `score_trials`.
        full: Whether PLDA takes whole covariances in its basis, the exact ratio at about 0.3 ms per
            trial of 150 dimensions, or their diagonals, a hundred times faster but with less of the
            gain. Matrices from fewer draws than dimensions are better given as variances.
        progress: Called with the number of trials done since the last call.

    Returns:
        Scores in the order of the trials, with their labels.

    Raises:
        ShapeError: If dimensions differ.
        DataError: If a model, an embedding or the covariances are missing.
        ConfigError: If `multi_enroll` is neither "book" nor "mean".
    """  # noqa: DOC502 (raised by the shared checks)
    book = by_the_book(multi_enroll)
    used, groups, sizes = enrolment_rows(trials, enroll, enroll_map)
    tests = test.rows(trials.test_ids, name="test embeddings")
    check_dims(enroll.embeddings.shape, test.embeddings.shape)
    # Cosine has no centring of its own.
    centre = np.zeros(enroll.dim) if mean is None or backend is not None else np.asarray(mean)
    sides = UncertainSides(
        centre_rows(enroll.embeddings[used], centre),
        covariances_of(enroll, name="enrolment embeddings")[used],
        centre_rows(test.embeddings[tests], centre),
        covariances_of(test, name="test embeddings")[tests],
        groups,
        sizes,
    )
    if backend is None:
        return Scores.of(trials, sides.cosine(trials.enroll, trials.test, progress=progress))
    scores = sides.llr(
        backend if mean is None else backend.with_mean(mean),
        trials.enroll,
        trials.test,
        full=full,
        book=book,
        progress=progress,
    )
    return Scores.of(trials, scores)


def score_draws(draws: Iterable[Scores], *, llr: bool) -> Scores:
    """Average the scores of one trial list under several draws of the extractor's weights.

    Both sides of a trial share each draw, so the likelihood ratio given all weights is the mean of
    the ratios given each: the log of the mean of the exponentials of log-likelihood ratios.

    Args:
        draws: Scores under each draw, with the trials in one order; taken one at a time.
        llr: Whether the scores are natural log-likelihood ratios; others are averaged themselves.

    Returns:
        The average, with the labels of the first.

    Raises:
        ConfigError: If there is no draw.
        DataError: If the trials differ.
    """
    first: Scores | None = None
    total: Doubles = np.empty(0)
    count = 0
    for count, draw in enumerate(draws, start=1):
        fresh = draw.scores.astype(np.float64)
        if first is None:
            first, total = draw, fresh
            continue
        same = all(np.array_equal(getattr(first, key), getattr(draw, key)) for key in TRIAL_KEYS)
        if not same:
            msg = f"draws need one trial list, got another order or other trials in draw {count}"
            raise DataError(msg)
        total = np.logaddexp(total, fresh) if llr else total + fresh
    if first is None:
        msg = "draws need at least one set of scores, got none; give the embeddings of each draw"
        raise ConfigError(msg)
    if count == 1:
        return first
    return replace(first, scores=total - np.log(count) if llr else total / count)
