"""Training batches counted by step, so that any step can be gone back to."""

from collections.abc import Iterator

from torch import Tensor
from torch.utils.data import Dataset, Sampler

from bbb.audio.dataset import ChunkBatches


class StepBatches(Dataset[tuple[Tensor, Tensor]]):
    """All batches of a training, over as many epochs as needed, each in equal parts.

    Item ``i`` is part ``i % accumulate`` of the batch of step ``i // accumulate``. Of several
    processes, each makes its own share of the rows of every part; together they make the batches
    of one process.

    Args:
        chunks: Batches of an epoch.
        steps: Steps of the training.
        accumulate: Parts of a batch.
        rank: Of this process, from 0.
        world_size: Processes; its product with ``accumulate`` divides the batch size.
    """

    def __init__(
        self,
        chunks: ChunkBatches,
        steps: int,
        *,
        accumulate: int = 1,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.chunks = chunks
        self.steps = steps
        self.accumulate = accumulate
        self.rank = rank
        self.world_size = world_size

    def of_rank(self, rank: int, world_size: int) -> "StepBatches":
        """The share of one of several processes; the data are not copied.

        Args:
            rank: Of the process, from 0.
            world_size: Processes.

        Returns:
            Batches of the same steps.
        """
        return StepBatches(
            self.chunks,
            self.steps,
            accumulate=self.accumulate,
            rank=rank,
            world_size=world_size,
        )

    @property
    def num_classes(self) -> int:
        """Classes of the head."""
        return self.chunks.num_classes

    @property
    def num_train(self) -> int:
        """Chunks in an epoch, of all processes: what the KL is divided by."""
        return len(self.chunks) * self.chunks.chunks.batch_size

    def __len__(self) -> int:
        """Parts of the training."""
        return self.steps * self.accumulate

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor]:
        """Features (batch, frames, dim) and classes (batch,) of this process's rows of a part."""
        step, part = divmod(item, self.accumulate)
        epoch, index = divmod(step, len(self.chunks))
        rows = self.chunks.chunks.batch_size // (self.accumulate * self.world_size)
        first = (part * self.world_size + self.rank) * rows
        return self.chunks.batch(epoch, index, slice(first, first + rows))


class StepSampler(Sampler[int]):
    """Items from ``start`` on; its length is that of the whole training.

    Lightning counts the batches of a resumed epoch from the first one, so the length must not
    shrink when the start moves.

    Args:
        start: First item.
        total: Items of the training.
    """

    def __init__(self, start: int, total: int) -> None:
        self.start = start
        self.total = total

    def __iter__(self) -> Iterator[int]:
        """Items that are left."""
        return iter(range(self.start, self.total))

    def __len__(self) -> int:
        """Items of the whole training."""
        return self.total
