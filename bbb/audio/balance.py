"""Which speakers are in a batch, and which of their utterances: all speakers alike often."""

import numpy as np
from numpy.typing import NDArray

from bbb.audio.utterances import Utterances


class SpeakerBalance:
    """Shuffled passes over the speakers, cut so that no batch holds one twice if it need not.

    Args:
        utterances: Those of all speakers.
        batch_size: Rows of a batch.
        by_duration: Whether a speaker's utterances are drawn in proportion to their lengths.
        seed: Of the passes.
    """

    def __init__(
        self, utterances: Utterances, batch_size: int, *, by_duration: bool, seed: int
    ) -> None:
        self._batch_size, self._seed = batch_size, seed
        self._number = len(utterances.speakers)
        self._order = np.argsort(utterances.speaker, kind="stable")
        counts = np.bincount(utterances.speaker, minlength=self._number)
        self._ends = np.cumsum(counts)
        self._starts = self._ends - counts
        lengths = utterances.samples[self._order]
        self._rises = np.empty(len(lengths))
        for start, end in zip(self._starts, self._ends, strict=True):
            part = lengths[start:end] if by_duration else np.ones(end - start, np.int64)
            # As in Generator.choice, down to the rounding.
            rise = (part / part.sum()).cumsum()
            self._rises[start:end] = rise / rise[-1]

    def batch(self, epoch: int, index: int) -> NDArray[np.int64]:
        """Speakers of a batch, distinct while there are enough.

        Args:
            epoch: From 0.
            index: Place of the batch in the epoch, from 0.

        Returns:
            Their numbers, shape (batch,).
        """
        size, number = self._batch_size, self._number
        per_pass = max(1, number // size)
        passes = -(-size // number)
        first = index // per_pass
        orders = [
            # The 1 keeps these seeds apart from those of the batches, [seed, epoch, index].
            np.random.default_rng([self._seed, epoch, first * passes + p, 1]).permutation(number)
            for p in range(passes)
        ]
        start = index % per_pass * size
        speakers: NDArray[np.int64] = np.concatenate(orders)[start : start + size]
        return speakers

    def utterance(self, speaker: int, rng: np.random.Generator) -> int:
        """Draw one of a speaker's utterances; its number."""
        start, end = int(self._starts[speaker]), int(self._ends[speaker])
        drawn = int(self._rises[start:end].searchsorted(rng.random(), side="right"))
        return int(self._order[start + drawn])
