"""How utterances become batches of chunks."""

import math
from dataclasses import dataclass
from typing import Literal

from bbb.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ChunkConfig:
    """How utterances become batches.

    Attributes:
        batch_size: Chunks in a batch.
        min_frames: Shortest chunk, in frames of 10 ms, after voice activity detection.
        max_frames: Longest; one length is drawn for each batch.
        batches_per_epoch: Batches in an epoch; None for as many as the speech fills once, or, in
            "sequence", as read every utterance once.
        order: "speakers": all speakers alike often, none of them twice in a batch. "sequence":
            every utterance once in a pass, each row of the batch reading a stretch of the corpus
            from end to end (``Lanes``), for shards on disks that are bad at random access.
        pick: How an utterance of a speaker is chosen: in proportion to its "duration", or
            "uniform".
        span_factor: Audio that is taken for a chunk, in multiples of its length, where features
            are not kept: the surplus makes up for pauses and is context for the normalisation.
    """

    batch_size: int = 64
    min_frames: int = 200
    max_frames: int = 400
    batches_per_epoch: int | None = None
    order: Literal["speakers", "sequence"] = "speakers"
    pick: Literal["duration", "uniform"] = "duration"
    span_factor: float = 1.5

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            ConfigError: If an option is outside of its range.
        """
        if not 1 <= self.min_frames <= self.max_frames:
            msg = (
                f"ChunkConfig: needs 1 <= min_frames <= max_frames, got {self.min_frames} and "
                f"{self.max_frames}"
            )
            raise ConfigError(msg)
        if self.batch_size < 1 or (self.batches_per_epoch or 1) < 1:
            msg = (
                "ChunkConfig: batch_size and batches_per_epoch are at least 1, got "
                f"{self.batch_size} and {self.batches_per_epoch}"
            )
            raise ConfigError(msg)
        if self.pick not in {"duration", "uniform"}:
            msg = f"ChunkConfig: pick is 'duration' or 'uniform', got '{self.pick}'"
            raise ConfigError(msg)
        if self.order not in {"speakers", "sequence"}:
            msg = f"ChunkConfig: order is 'speakers' or 'sequence', got '{self.order}'"
            raise ConfigError(msg)
        if not 1.0 <= self.span_factor < math.inf:
            msg = f"ChunkConfig: span_factor is at least 1, and finite, got {self.span_factor}"
            raise ConfigError(msg)
