"""Reading in the order of storage, shuffled: what disks that are far away, or slow, are good at."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from bbb.audio.datadir import DataDir
from bbb.audio.utterances import Utterances
from bbb.errors import ConfigError

_WINDOW = 256


class Lanes:
    """Several readers that go through a corpus at once, each through a stretch of its own.

    In every epoch the shards are put in another random order and the result is cut into as many
    stretches of equal length (within 1) as there are lanes. A lane reads its stretch from one end
    to the other, shuffled within windows; then it enters the next epoch. So in an epoch each
    utterance is read once, by one lane, and where a lane is follows from its step alone.

    Args:
        utterances: Where everything is.
        lanes: Number of readers.
        seed: Of the orders.
        window: Utterances of a lane that are shuffled with each other.

    Raises:
        ConfigError: If there are fewer utterances than lanes.
    """

    def __init__(
        self, utterances: Utterances, lanes: int, *, seed: int = 0, window: int = _WINDOW
    ) -> None:
        if not 1 <= lanes <= len(utterances) or window < 1:
            msg = (
                f"reading in sequence needs at least one utterance for each of {lanes} readers "
                f"and a window of at least 1, got {len(utterances)} and {window}; lower "
                "batch_size, or the number of processes"
            )
            raise ConfigError(msg)
        self._stored, self._sizes = utterances.stored, utterances.shards
        self._starts = np.arange(lanes + 1) * len(utterances) // lanes
        self._seed, self._window = seed, window
        self._orders: dict[int, NDArray[np.int64]] = {}

    def length(self, lane: int) -> int:
        """Utterances of a lane in an epoch."""
        return int(self._starts[lane + 1] - self._starts[lane])

    def utterance(self, lane: int, step: int) -> int:
        """What a lane reads at a step, counted from the first of the first epoch.

        Args:
            lane: From 0.
            step: From 0.

        Returns:
            Number of the utterance.
        """
        epoch, place = divmod(step, self.length(lane))
        if epoch not in self._orders:
            # Lanes differ by 1 in length, so that at any step they are in two epochs at most.
            self._orders = dict([*self._orders.items()][-1:]) | {epoch: self._order(epoch)}
        return int(self._orders[epoch][self._starts[lane] + place])

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """All utterances, as the lanes read them one after another, shape (utterances,)."""
        # The 2 keeps these seeds apart from those of batches and of the order of speakers.
        rng = np.random.default_rng([self._seed, epoch, 0, 2])
        shards = rng.permutation(len(self._sizes))
        sizes = self._sizes[shards]
        # Each shard's utterances move from where they are stored to their place in this order.
        shift = (np.cumsum(self._sizes) - self._sizes)[shards] - (np.cumsum(sizes) - sizes)
        places = np.arange(len(self._stored))
        order: NDArray[np.int64] = self._stored[places + np.repeat(shift, sizes)]
        lane = np.searchsorted(self._starts, places, side="right") - 1
        window = (places - self._starts[lane]) // self._window
        return order[np.lexsort((rng.random(len(order)), window, lane))]


class ShardReader(Dataset[tuple[str, str, NDArray[np.float32]]]):
    """The utterances of one process in an epoch, read shard after shard and shuffled in a window.

    A map-style dataset in whose order nothing has to be shuffled any more: ``DataLoader`` shares
    it among any number of workers, and a sampler that starts later goes on in mid-epoch::

        reader = ShardReader(DataDir.read("shards"), 16000, rank=0, world_size=2)
        DataLoader(reader, batch_size=None, sampler=range(done, len(reader)), num_workers=4)

    The processes read shards of their own, except for those in which one ends and the next begins.
    Any data directory will do; what lies in one audio file counts as a shard.

    Args:
        data: What to read.
        sample_rate: The rate that the audio must have, in Hz.
        rank: Of this process, from 0.
        world_size: Processes that share an epoch.
        seed: Of the order.
        window: Utterances that are shuffled with each other, as by a shuffle buffer of that size.

    Raises:
        DataError: If a header is bad.
        ConfigError: If there is no such rank, or there are fewer utterances than processes.
    """

    def __init__(
        self,
        data: DataDir,
        sample_rate: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
        window: int = _WINDOW,
    ) -> None:
        if not 0 <= rank < world_size:
            msg = f"ShardReader: rank is from 0 to world_size - 1 = {world_size - 1}, got {rank}"
            raise ConfigError(msg)
        self.utterances = Utterances(data, sample_rate)
        self.rank = rank
        self.epoch = 0
        self._lanes = Lanes(self.utterances, world_size, seed=seed, window=window)

    def __len__(self) -> int:
        """Utterances of this process in an epoch; processes differ by at most 1."""
        return self._lanes.length(self.rank)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, for workers that start later."""
        self.epoch = epoch

    def __getitem__(self, index: int) -> tuple[str, str, Any]:
        """Id, speaker and samples, float32 of shape (samples,), of an utterance of the epoch.

        Raises:
            IndexError: If the epoch has no such utterance.
            DataError: If it cannot be read.
        """  # noqa: DOC502 (raised by what it calls)
        if not 0 <= index < len(self):
            msg = f"ShardReader has {len(self)} utterances in an epoch, got index {index}"
            raise IndexError(msg)
        table = self.utterances
        found = self._lanes.utterance(self.rank, self.epoch * len(self) + index)
        return table.names[found], table.speakers[int(table.speaker[found])], table.read(found)
