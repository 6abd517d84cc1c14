"""The bootstrap's work: some metrics of some systems on the same resamples of their trials."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bbb.errors import ConfigError, DataError
from bbb.scoring._resample import Cells, TrialTable, speaker_cells, trial_cells
from bbb.scoring._sorted import SortedScores, check_labels, check_scores
from bbb.scoring._steps import Floats
from bbb.scoring.metric import Metric

Speakers = tuple[ArrayLike, ArrayLike]

# An interval from fewer would be far too narrow, and look like certainty.
MIN_SPEAKERS = 5


def resampled(
    systems: Sequence[ArrayLike],
    is_target: ArrayLike,
    metrics: Sequence[Metric],
    *,
    speakers: Speakers | None,
    num_resamples: int,
    seed: int,
    progress: Callable[[int], None] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Metrics of systems on all trials, and on resamples that are the same for all systems.

    Args:
        systems: Scores of each system, shape (trials,) or (runs, trials); runs are averaged.
        is_target: True for target trials, shape (trials,).
        metrics: What to compute.
        speakers: Speakers of both sides, or None for trials.
        num_resamples: Number of resamples, positive.
        seed: Their seed, at least 0.
        progress: Called with the number of resamples done since the last call.

    Returns:
        Figures on all trials, shape (systems, metrics), and on the resamples, shape (systems,
        metrics, resamples).

    Raises:
        ConfigError: If there is no resample, or the seed is negative.
        ShapeError: If the arrays differ in length.
        DataError: If a score is NaN, a class has no trial, or there are too few speakers.
    """  # noqa: DOC502 (raised by the shared checks)
    if num_resamples < 1:
        msg = f"num_resamples needs a positive number, got {num_resamples}; 1000 is usual"
        raise ConfigError(msg)
    if seed < 0:
        msg = f"seed needs a number from 0, got {seed}; any such number will do"
        raise ConfigError(msg)
    runs = [[check_scores(run) for run in np.atleast_2d(system)] for system in systems]
    labels = check_labels(is_target, len(runs[0][0]))
    figures = []
    for system in runs:
        classes = [SortedScores.split(run, labels) for run in system]
        figures.append([np.mean([metric.of(run) for run in classes]) for metric in metrics])
    cells = _cells(labels, speakers)
    tables = [[TrialTable.build(run, labels, cells) for run in system] for system in runs]
    draws = np.empty((len(runs), len(metrics), num_resamples))
    done = 0
    for weights in _weights(cells, num_resamples, [t for system in tables for t in system], seed):
        block = slice(done, done + weights[0].shape[1])
        for row, system_tables in zip(draws, tables, strict=True):
            samples = [table.resample(*weights) for table in system_tables]
            for values, metric in zip(row, metrics, strict=True):
                values[block] = np.mean([metric.of_resamples(run) for run in samples], axis=0)
        done = block.stop
        if progress is not None:
            progress(block.stop - block.start)
    return np.array(figures), draws


def _cells(labels: NDArray[np.bool_], speakers: Speakers | None) -> Cells:
    """What is resampled.

    Args:
        labels: True for target trials, shape (trials,).
        speakers: Speakers of both sides, or None for trials.

    Returns:
        The cells.

    Raises:
        DataError: If there are fewer than `MIN_SPEAKERS` speakers.
    """
    if speakers is None:
        return trial_cells(labels)
    cells = speaker_cells(labels, np.asarray(speakers[0]), np.asarray(speakers[1]))
    if cells.num_units < MIN_SPEAKERS:
        msg = (
            f"the speaker bootstrap needs at least {MIN_SPEAKERS} speakers, got "
            f"{cells.num_units}; add speakers, or resample trials"
        )
        raise DataError(msg)
    return cells


def _weights(
    cells: Cells, num_resamples: int, tables: Sequence[TrialTable], seed: int
) -> Iterator[tuple[Floats, Floats]]:
    """Blocks of cell weights, as many resamples at a time as about 2^22 numbers allow."""
    rng = np.random.default_rng(seed)
    width = max(cells.size, *(table.num_bins for table in tables))
    block = max(1, min(64, 2**22 // width))
    for start in range(0, num_resamples, block):
        yield _usable(cells, rng, min(block, num_resamples - start))


def _usable(cells: Cells, rng: np.random.Generator, size: int) -> tuple[Floats, Floats]:
    """Weights under which both classes have a trial; a draw of few speakers can lose one.

    Each class needs only the speakers of one of its trials, so this ends.
    """
    target, nontarget = cells.draw(rng, size)
    while True:
        lost = np.flatnonzero(~(target.any(axis=0) & nontarget.any(axis=0)))
        if not len(lost):
            return target, nontarget
        target[:, lost], nontarget[:, lost] = cells.draw(rng, len(lost))
