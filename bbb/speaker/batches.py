"""Training batches counted by step, so that any step can be gone back to."""

from collections.abc import Iterator

from torch import Tensor
from torch.utils.data import Dataset, Sampler

from bbb.audio.dataset import ChunkBatches


class StepBatches(Dataset[tuple[Tensor, Tensor]]):
    """All batches of a training: batch ``i`` is that of step ``i``, over as many epochs as needed.

    Args:
        chunks: Batches of an epoch.
        steps: Steps of the training.
    """

    def __init__(self, chunks: ChunkBatches, steps: int) -> None:
        self.chunks = chunks
        self.steps = steps

    @property
    def num_classes(self) -> int:
        """Classes of the head."""
        return self.chunks.num_classes

    @property
    def num_train(self) -> int:
        """Chunks in an epoch: what the KL is divided by."""
        return len(self.chunks) * self.chunks.chunks.batch_size

    def __len__(self) -> int:
        """Steps of the training."""
        return self.steps

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """Features (batch, frames, dim) and classes (batch,) of a step."""
        epoch, index = divmod(step, len(self.chunks))
        return self.chunks.batch(epoch, index)


class StepSampler(Sampler[int]):
    """Steps from ``start`` on; its length is that of the whole training.

    Lightning counts the batches of a resumed epoch from the first one, so the length must not
    shrink when the start moves.

    Args:
        start: First step.
        total: Steps of the training.
    """

    def __init__(self, start: int, total: int) -> None:
        self.start = start
        self.total = total

    def __iter__(self) -> Iterator[int]:
        """Steps that are left."""
        return iter(range(self.start, self.total))

    def __len__(self) -> int:
        """Steps of the whole training."""
        return self.total
