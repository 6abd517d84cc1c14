"""Work that falls into blocks, done here or wherever a mapper sends them."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bbb.scoring.cosine import pair_dots

Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.integer[Any]]
Mapper: TypeAlias = Callable[
    [Callable[..., Any], Sequence[object], Iterable[tuple[object, ...]]], Iterator[Any]
]
"""Gives ``function(*shared, *item)`` for each item, in order."""

TRIALS = 2**18  # of one block; their indices travel with it


def local_map(
    function: Callable[..., Any], shared: Sequence[object], items: Iterable[tuple[object, ...]]
) -> Iterator[Any]:
    """Call a function in this process; see `bbb.scoring.cluster.ClusterMap` for many."""
    for item in items:
        yield function(*shared, *item)


def thread_map(
    function: Callable[..., Any], shared: Sequence[object], items: Iterable[tuple[object, ...]]
) -> Iterator[Any]:
    """Call a function in a thread per core, each with one thread of BLAS, a few items ahead."""
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 (only this way needs it)

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    source = iter(items)
    with threadpool_limits(limits=1), ThreadPoolExecutor(cores) as pool:
        waiting = deque(
            pool.submit(function, *shared, *item) for item in islice(source, 2 * (cores or 1))
        )
        while waiting:
            value = waiting.popleft().result()
            waiting.extend(pool.submit(function, *shared, *item) for item in islice(source, 1))
            yield value


def map_dots(
    mapper: Mapper,
    left: Floats,
    right: Floats,
    left_index: Indices,
    right_index: Indices,
    *,
    trials: int = TRIALS,
    progress: Callable[[int], None] | None = None,
) -> Floats:
    """`pair_dots`, block by block wherever a mapper computes them.

    Args:
        mapper: Where the blocks are computed.
        left: Shape (enrolments, dim).
        right: Shape (tests, dim).
        left_index: Row of `left` of each trial, shape (trials,).
        right_index: Row of `right` of each trial, shape (trials,).
        trials: Trials of one block.
        progress: Called with the number of trials done since the last call.

    Returns:
        One number per trial, of the sides' floating type, shape (trials,).
    """
    result = np.empty(len(left_index), dtype=np.result_type(left, right))
    parts = [slice(at, at + trials) for at in range(0, len(result), trials)]
    blocks = ((left_index[part], right_index[part]) for part in parts)
    for part, scores in zip(parts, mapper(pair_dots, (left, right), blocks), strict=True):
        result[part] = scores
        if progress is not None:
            progress(len(scores))
    return result
