"""Arrays kept in memory that forked data-loading workers share and fill together."""

import contextlib
import math
import mmap
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from bbb.errors import DataError

Scalar = TypeVar("Scalar", np.int16, np.float32)

_CGROUPS = Path("/sys/fs/cgroup")


def memory_limit() -> float:
    """Bytes of memory of this machine, or of the container or the cluster's job that this is in.

    Returns:
        Infinity where the system tells nothing.
    """
    limits = [math.inf]
    with contextlib.suppress(OSError, ValueError, AttributeError):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    group = _CGROUPS
    with contextlib.suppress(OSError):
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
        group = _CGROUPS.joinpath(*(line[4:] for line in lines if line.startswith("0::/")))
    files = [folder / "memory.max" for folder in (group, *group.parents)]
    for file in (*files, _CGROUPS / "memory/memory.limit_in_bytes"):
        # "max", or no such file: no limit there.
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(file.read_text(encoding="utf-8")))
    return min(limits)


class SharedArrays(Generic[Scalar]):
    """One-dimensional arrays of known largest size, each made on first use.

    The memory is an anonymous shared mapping: forked workers write into the same pages, so that
    each array is made once for all of them. Two workers that make the same array at the same time
    write the same bytes. A pickled copy (spawned workers) starts empty.

    Args:
        sizes: Largest number of elements of each array.
        dtype: Type of the elements.

    Raises:
        DataError: If there is not that much memory.
    """

    def __init__(self, sizes: Sequence[int] | NDArray[np.int64], dtype: type[Scalar]) -> None:
        self._sizes = np.asarray(sizes, dtype=np.int64)
        self._dtype: type[Scalar] = dtype
        self._offsets = np.concatenate([[0], np.cumsum(self._sizes, dtype=np.int64)])
        itemsize = np.dtype(dtype).itemsize
        total = int(self._offsets[-1]) * itemsize
        try:
            self._values: NDArray[Scalar] = np.frombuffer(
                mmap.mmap(-1, max(itemsize, total)), dtype
            )
        except (OSError, ValueError, OverflowError) as error:
            msg = f"no memory for {total / 1e9:.1f} GB of cached data ({error}); set cache_gb to 0"
            raise DataError(msg) from error
        # Length + 1 once an array is there; 0, the content of fresh memory, until then.
        self._filled = np.frombuffer(mmap.mmap(-1, 8 * max(1, len(self._sizes))), np.int64)

    def get(self, index: int, make: Callable[[], NDArray[Scalar]]) -> NDArray[Scalar]:
        """The array at ``index``, made when it is not there yet.

        Args:
            index: Which array.
            make: Computes it.

        Returns:
            The array; do not write to it.
        """
        start = int(self._offsets[index])
        if self._filled[index]:
            return self._values[start : start + int(self._filled[index]) - 1]
        made = make()
        # A header may promise less than the decoder gives (mp3): such an array is made each time.
        if len(made) <= self._sizes[index]:
            self._values[start : start + len(made)] = made
            self._filled[index] = len(made) + 1
        return made

    def __getstate__(self) -> dict[str, Any]:
        """Sizes only: a mapping cannot be pickled."""
        return {"sizes": self._sizes, "dtype": self._dtype}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Start empty."""
        self.__init__(state["sizes"], state["dtype"])  # type: ignore[misc]
