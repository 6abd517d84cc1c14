"""Scoring on a Dask cluster: blocks are mapped, counts and statistics are summed.

The figures are those of a single run: each trial's score depends on its two sides alone, and counts
add. A worker that dies takes no result with it: what it had is computed again.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from bbb.errors import ConfigError

if TYPE_CHECKING:
    from distributed import Client

TASKS_AHEAD = 4  # of each worker
ATTEMPTS = 3


def connect(address: str) -> "Client":
    """Connect to a Dask scheduler.

    Args:
        address: As the scheduler prints it, such as ``tcp://host:8786``.

    Returns:
        The client; close it, or use it as a context.

    Raises:
        ModuleNotFoundError: If Dask is not installed.
        ConfigError: If nobody answers there, or no worker is connected.
    """
    try:
        from distributed import Client  # noqa: PLC0415 (an extra)
    except ModuleNotFoundError as error:
        msg = f"a cluster needs {error.name}; pip install 'bayes-by-backprop[cluster]'"
        raise ModuleNotFoundError(msg, name=error.name) from error
    try:
        client = Client(address, timeout="10s")  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        msg = f"--scheduler needs the address of a Dask scheduler, got '{address}': {error}"
        raise ConfigError(msg) from error
    if not client.scheduler_info(n_workers=-1)["workers"]:
        client.close()  # type: ignore[no-untyped-call]
        msg = f"the Dask scheduler at '{address}' has no workers; start 'dask worker {address}'"
        raise ConfigError(msg)
    return client


class ClusterMap:
    """Maps a function over items on the workers of a cluster.

    Args:
        client: A connected client.

    Example:
        ``count_all_pairs(..., mapper=ClusterMap(connect("tcp://host:8786")))``
    """

    def __init__(self, client: "Client") -> None:
        self.client = client

    def __call__(
        self,
        function: Callable[..., Any],
        shared: Sequence[object],
        items: Iterable[tuple[object, ...]],
    ) -> Iterator[Any]:
        """Yield ``function(*shared, *item)`` for each item, in order.

        Args:
            function: What to call; workers import it.
            shared: First arguments, sent to each worker once.
            items: The other arguments, sent a few tasks ahead.

        Yields:
            Results, in the order of the items.

        Raises:
            RuntimeError: If workers died again and again.
        """
        handles = self._share(shared)
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        source, waiting = iter(items), deque[tuple[tuple[object, ...], Any]]()

        def submit(*more: tuple[object, ...]) -> None:
            """Send items to the workers."""
            for item in more:
                future = self.client.submit(function, *handles, *item, pure=False)
                waiting.append((item, future))

        submit(*islice(source, TASKS_AHEAD * max(1, len(workers))))
        deaths = 0
        while waiting:
            try:
                value = waiting[0][1].result()
            except _deaths() as error:
                deaths += 1
                if deaths == ATTEMPTS:
                    msg = f"workers died {ATTEMPTS} times in a row; is their memory large enough?"
                    raise RuntimeError(msg) from error
                handles = self._share(shared)
                lost = [item for item, _ in waiting]
                waiting.clear()
                submit(*lost)
                continue
            deaths = 0
            waiting.popleft()
            submit(*islice(source, 1))
            yield value

    def _share(self, shared: Sequence[object]) -> list[Any]:
        # Each worker holds a copy, so that one that dies takes nothing with it.
        return list(self.client.scatter(list(shared), broadcast=True, hash=False))  # type: ignore[no-untyped-call]


def _deaths() -> tuple[type[Exception], ...]:
    """What a result raises when workers died with it."""
    from distributed import KilledWorker  # noqa: PLC0415 (an extra)
    from distributed.client import FutureCancelledError  # noqa: PLC0415

    return KilledWorker, FutureCancelledError
