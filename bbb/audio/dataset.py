"""Training batches: speaker-balanced random chunks, the same for any number of workers."""

import logging
import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from bbb.audio.archives import ArchivedUtterances, FeatureArchive
from bbb.audio.augment import AugmentConfig, Augmenter, change_speed
from bbb.audio.balance import SpeakerBalance
from bbb.audio.cache import SharedArrays
from bbb.audio.chunks import ChunkConfig
from bbb.audio.datadir import DataDir
from bbb.audio.features import (
    FRAMES_PER_SECOND,
    FeatureConfig,
    naming,
    num_frames,
    utterance_features,
    voice_activity,
)
from bbb.audio.shards_reader import Lanes
from bbb.audio.specaugment import SpecAugmentConfig, mask_
from bbb.audio.utterances import Utterances
from bbb.errors import ConfigError, DataError

_LOG = logging.getLogger(__name__)
_INT16_SCALE = 32768.0
# What separates the random numbers of a batch's rows: 2^128 over the golden ratio, as in
# PCG64.jumped, since after a power of two the lower half of the state would be the same.
_ROW_STEP = 0x9E3779B97F4A7C15F39CC0605CEDC835
_NOT_KEPT = (
    "%s: %.1f GB of speech do not fit into the %.1f GB of memory that it may take; every chunk is "
    "read from its file"
)


class ChunkBatches(Dataset[tuple[Tensor, Tensor]]):
    """A map-style dataset whose items are whole batches.

    Row ``k`` of batch ``i`` of an epoch depends on ``(seed, epoch, i, k)`` and nothing else: any
    number of workers, any restart, and processes that make some rows each give the same batches.
    Give it to ``DataLoader(batches, batch_size=None)``.

    An epoch goes through shuffled passes over the speakers, cut so that no batch holds a speaker
    twice while there are at least ``batch_size`` of them; so every speaker is seen alike often,
    whatever speech there is of it. A chunk is a stretch of ``utterance_features``; a stretch that
    has fewer frames than the chunk is repeated.

    Without noise and rooms the features of whole utterances are computed once and kept in memory
    (30 values: 43 MB per hour and speed). With them the waveforms are kept (16 bits: 115 MB per
    hour), and the features of a span around the chunk are computed each time, with the voice
    activity of the clean span, as Kaldi does. The first epoch decodes; ``prepare`` does that at
    once. Where all that does not fit into ``memory`` nothing is kept: each time the span of a chunk
    is read from its file, without noise too, and no more of it.

    Args:
        data: Training data.
        features: What a frame is.
        chunks: How utterances become batches.
        augment: Noise, rooms and speeds; None for none.
        spec_augment: Masks on the features; None for none.
        seed: Of everything random here.
        memory: Bytes that features or waveforms may take; forked workers share them.
        archive: Features to take instead of those of the audio; sound stays as it is then.

    Attributes:
        speakers: Speaker ids, in C-locale order.
        utterances: What is read, and from where.

    Raises:
        DataError: If there are fewer than 2 speakers, a file's header is bad, or an utterance is
            shorter than a window.
        ConfigError: If in "sequence" there are fewer utterances than rows in a batch, or features
            of an archive were to be augmented.
    """

    def __init__(
        self,
        data: DataDir,
        features: FeatureConfig,
        chunks: ChunkConfig,
        augment: AugmentConfig | None = None,
        *,
        spec_augment: SpecAugmentConfig | None = None,
        seed: int = 0,
        memory: float = math.inf,
        archive: FeatureArchive | None = None,
    ) -> None:
        self.path = data.path
        self.features = features
        self.chunks = chunks
        self.augment = augment or AugmentConfig()
        self.spec_augment = spec_augment
        self.seed = seed
        self.utterances = (
            Utterances(data, features.sample_rate)
            if archive is None
            else ArchivedUtterances(archive, data)
        )
        self.speakers = self.utterances.speakers
        self._check()
        self._augmenter = Augmenter(self.augment, features.sample_rate)
        self._balance = SpeakerBalance(
            self.utterances, chunks.batch_size, by_duration=chunks.pick == "duration", seed=seed
        )
        self._lanes = None
        if chunks.order == "sequence":
            self._lanes = Lanes(self.utterances, chunks.batch_size, seed=seed)
        self._waveforms, self._feature_cache = self._caches(memory)
        # Shared, so that persistent workers see a new epoch.
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]

    def _check(self) -> None:
        """Check that there is something to learn from.

        Raises:
            DataError: If there is not.
            ConfigError: If features were to be augmented.
        """
        if len(self.speakers) < 2:  # noqa: PLR2004 (a class against another)
            msg = (
                f"{self.path}: training needs at least 2 speakers, got {len(self.speakers)}; "
                "check utt2spk"
            )
            raise DataError(msg)
        if isinstance(self.utterances, ArchivedUtterances):
            if self.augment.changes_sound or self.augment.speeds != (1.0,):
                msg = f"{self.path}: features cannot get noise, rooms or speeds; leave augment out"
                raise ConfigError(msg)
            return
        fastest = max(self.augment.speeds)
        needed = math.ceil(self.features.window_samples * fastest)
        short = np.flatnonzero(self.utterances.samples < needed)
        if len(short):
            msg = (
                f"{self.path}: utterance '{self.utterances.names[short[0]]}' has "
                f"{self.utterances.samples[short[0]]} samples, a window needs {needed} (25 ms at "
                f"{fastest} times the speed); drop it, or run bbb data fix {self.path} "
                f"--min_seconds {needed / self.features.sample_rate}"
            )
            raise DataError(msg)

    @property
    def num_classes(self) -> int:
        """Speakers times speeds."""
        return len(self.speakers) * len(self.augment.speeds)

    def __len__(self) -> int:
        """Batches in an epoch."""
        if self.chunks.batches_per_epoch is not None:
            return self.chunks.batches_per_epoch
        if self._lanes is not None:
            return len(self.utterances) // self.chunks.batch_size
        frames = self.utterances.samples.sum() / self.features.sample_rate * FRAMES_PER_SECOND
        chunk = (self.chunks.min_frames + self.chunks.max_frames) / 2
        return max(1, round(float(frames) / chunk / self.chunks.batch_size))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches are given; call it before each pass.

        Args:
            epoch: From 0.
        """
        self._epoch.fill_(epoch)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Batch ``index`` of the epoch that ``set_epoch`` chose; see ``batch``."""
        return self.batch(int(self._epoch), index)

    def batch(self, epoch: int, index: int, rows: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """One batch, or some rows of it.

        Args:
            epoch: From 0.
            index: Its place in the epoch, from 0.
            rows: The rows to make, at least one.

        Returns:
            Features, float32, shape (batch, frames, dim), and classes, int64, shape (batch,).
            Class ``k`` is speaker ``k % len(speakers)`` at speed ``k // len(speakers)``.

        Raises:
            IndexError: If the epoch has no such batch.
            DataError: If an utterance cannot be used; names it.
        """  # noqa: DOC502 (raised by the shared checks)
        if not 0 <= index < len(self):
            msg = f"ChunkBatches has {len(self)} batches in an epoch, got index {index}"
            raise IndexError(msg)
        bits = np.random.PCG64([self.seed, epoch, index])
        rng, start = np.random.Generator(bits), bits.state
        frames = int(rng.integers(self.chunks.min_frames, self.chunks.max_frames + 1))
        speakers, utterances = self._batch_speakers(epoch, index)
        speeds = rng.integers(len(self.augment.speeds), size=len(speakers))
        chosen = range(len(speakers))[rows]
        batch = torch.empty(len(chosen), frames, self.features.dim)
        for row, chunk in zip(chosen, batch, strict=True):
            # Much cheaper than a new generator for each row.
            bits.state = start
            bits.advance((row + 1) * _ROW_STEP)
            if utterances is None:
                utterance = self._balance.utterance(int(speakers[row]), rng)
            else:
                utterance = utterances[row]
            chunk.copy_(self._chunk(utterance, int(speeds[row]), frames, rng))
            if self.spec_augment is not None:
                mask_(chunk, self.spec_augment, rng)
        classes = speakers + speeds * len(self.speakers)
        return batch, torch.from_numpy(classes[rows])

    def prepare(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Decode every utterance now, so that a broken one shows before training.

        Nothing is done where nothing is kept.

        Args:
            progress: Called with utterances done and their number after each.

        Raises:
            DataError: If an utterance cannot be used; names it.
        """  # noqa: DOC502 (raised by the shared checks)
        for utterance in range(len(self.utterances) if self.keeps else 0):
            if self._feature_cache is not None:
                for speed in range(len(self.augment.speeds)):
                    self._whole_features(self._feature_cache, utterance, speed)
            else:
                self._span(utterance)
            if progress is not None:
                progress(utterance + 1, len(self.utterances))

    @property
    def keeps(self) -> bool:
        """Whether speech is kept in memory."""
        return self._waveforms is not None or self._feature_cache is not None

    def _caches(
        self, memory: float
    ) -> tuple[SharedArrays[np.int16] | None, SharedArrays[np.float32] | None]:
        """Room for waveforms, or for the features of every speed, where it is enough."""
        sounds = self.augment.changes_sound
        samples, rate = self.utterances.samples, self.features.sample_rate
        # One more sample and frame than computed, for the rounding of the resampler.
        sizes = (
            samples
            if sounds
            else self.features.dim
            * np.array(
                [
                    1 + num_frames(int(number / speed) + 1, rate)
                    for speed in self.augment.speeds
                    for number in samples
                ]
            )
        )
        needed = int(sizes.sum()) * (2 if sounds else 4)
        if needed > memory:
            if memory > 0:
                _LOG.warning(_NOT_KEPT, self.path, needed / 1e9, memory / 1e9)
            return None, None
        if sounds:
            return SharedArrays(sizes, np.int16), None
        return None, SharedArrays(sizes, np.float32)

    def _batch_speakers(self, epoch: int, index: int) -> tuple[NDArray[np.int64], list[int] | None]:
        """Speakers of a batch, and their utterances where the order tells them."""
        if self._lanes is None:
            return self._balance.batch(epoch, index), None
        step = epoch * len(self) + index
        utterances = [self._lanes.utterance(k, step) for k in range(self.chunks.batch_size)]
        return self.utterances.speaker[utterances].astype(np.int64), utterances

    def _chunk(self, utterance: int, speed: int, frames: int, rng: np.random.Generator) -> Tensor:
        """One chunk of an utterance, shape (frames, dim)."""
        if self._feature_cache is not None:
            features = self._whole_features(self._feature_cache, utterance, speed)
        else:
            features = self._span_features(utterance, self.augment.speeds[speed], frames, rng)
        start = int(rng.integers(max(1, len(features) - frames + 1)))
        if len(features) >= frames:
            return features[start : start + frames]
        # Too short: repeat it, from a random frame on.
        start = int(rng.integers(len(features)))
        return features[(start + torch.arange(frames)) % len(features)]

    def _whole_features(self, kept: SharedArrays[np.float32], utterance: int, speed: int) -> Tensor:
        """Features of a whole utterance, from memory after the first time."""

        def make() -> NDArray[np.float32]:
            """Compute what is not in memory yet."""
            if isinstance(self.utterances, ArchivedUtterances):
                return self.utterances.features(utterance).numpy().reshape(-1)
            waveform = change_speed(self.utterances.read(utterance), self.augment.speeds[speed])
            made: NDArray[np.float32] = self._named(utterance, waveform).numpy().reshape(-1)
            return made

        flat = kept.get(speed * len(self.utterances) + utterance, make)
        return torch.from_numpy(flat).view(-1, self.features.dim)

    def _span_features(
        self, utterance: int, speed: float, frames: int, rng: np.random.Generator
    ) -> Tensor:
        """Features of a span of an utterance, with new speed, room and noise."""
        seconds = max(
            self.chunks.span_factor * frames / FRAMES_PER_SECOND, self.features.cmn_window
        )
        size = int(seconds * speed * self.features.sample_rate)
        start = int(rng.integers(max(1, int(self.utterances.samples[utterance]) - size + 1)))
        if isinstance(self.utterances, ArchivedUtterances):
            return self.utterances.features(utterance, start, size)
        span = self._span(utterance, start, size)
        # Long recordings have stretches of digital silence (8 in A-law): take the whole then.
        span = span if span.min() < span.max() else self._span(utterance)
        clean = change_speed(span.astype(np.float32) / np.float32(_INT16_SCALE), speed)
        return self._named(utterance, clean, rng)

    def _named(
        self, utterance: int, clean: NDArray[np.float32], rng: np.random.Generator | None = None
    ) -> Tensor:
        """Features of a waveform, augmented where ``rng`` is given; errors name the utterance."""
        with naming(self.path, self.utterances.names[utterance]):
            if rng is None or not self.augment.changes_sound:
                return utterance_features(clean, self.features)
            voiced = voice_activity(clean, self.features)
            return utterance_features(self._augmenter(clean, rng), self.features, voiced=voiced)

    def _span(self, utterance: int, start: int = 0, size: int | None = None) -> NDArray[np.int16]:
        """A stretch of an utterance, or all of it; from memory after the first time."""
        if self._waveforms is None:
            return _int16(self.utterances.read(utterance, start, size))
        whole = self._waveforms.get(utterance, lambda: _int16(self.utterances.read(utterance)))
        return whole[start:][:size]


def _int16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """Samples as they are kept."""
    scaled: NDArray[np.int16] = np.rint(samples * _INT16_SCALE).clip(-32768, 32767).astype(np.int16)
    return scaled
