"""Where verbs compute blocks: on the cores of this machine, or on a Dask cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bbb.scoring.mapping import Mapper

SCHEDULER_HELP = "address of a Dask scheduler, whose workers compute the blocks"


@contextmanager
def mapper_at(address: str | None) -> Iterator["Mapper"]:
    """Connect to a cluster where an address is given.

    Args:
        address: What the user gave for --scheduler.

    Yields:
        What maps a function over blocks.
    """
    if address is None:
        from bbb.scoring.mapping import thread_map  # noqa: PLC0415 (--help needs none of these)

        yield thread_map
        return
    from bbb.scoring.cluster import ClusterMap, connect  # noqa: PLC0415

    with connect(address) as client:
        yield ClusterMap(client)
