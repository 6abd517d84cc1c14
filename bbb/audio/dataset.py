"""Training batches: speaker-balanced random chunks, the same for any number of workers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from bbb.audio.augment import AugmentConfig, Augmenter, change_speed
from bbb.audio.cache import SharedArrays
from bbb.audio.datadir import DataDir
from bbb.audio.features import (
    FRAMES_PER_SECOND,
    FeatureConfig,
    num_frames,
    utterance_features,
    voice_activity,
)
from bbb.audio.specaugment import SpecAugmentConfig, mask_
from bbb.audio.waveform import load_utterance, recording_info
from bbb.errors import ConfigError, DataError

_INT16_SCALE = 32768.0
# What separates the random numbers of a batch's rows: 2^128 over the golden ratio, as in
# PCG64.jumped, since after a power of two the lower half of the state would be the same.
_ROW_STEP = 0x9E3779B97F4A7C15F39CC0605CEDC835


@dataclass(frozen=True, kw_only=True)
class ChunkConfig:
    """How utterances become batches.

    Attributes:
        batch_size: Chunks in a batch.
        min_frames: Shortest chunk, in frames of 10 ms, after voice activity detection.
        max_frames: Longest; one length is drawn for each batch.
        batches_per_epoch: Batches in an epoch; None for as many as the speech fills once.
        pick: How an utterance of a speaker is chosen: in proportion to its "duration", or
            "uniform".
        span_factor: Audio that is read for a chunk, in multiples of its length, where features are
            not kept: the surplus makes up for pauses and is context for the normalisation.
    """

    batch_size: int = 64
    min_frames: int = 200
    max_frames: int = 400
    batches_per_epoch: int | None = None
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
        if self.span_factor < 1.0:
            msg = f"ChunkConfig: span_factor is at least 1, got {self.span_factor}"
            raise ConfigError(msg)


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
    once.

    Args:
        data: Training data.
        features: What a frame is.
        chunks: How utterances become batches.
        augment: Noise, rooms and speeds; None for none.
        spec_augment: Masks on the features; None for none.
        seed: Of everything random here.
        cache: Whether features or waveforms are kept in memory; forked workers share it.

    Raises:
        DataError: If there are fewer than 2 speakers, a file's header is bad, or an utterance is
            shorter than a window.
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
        cache: bool = True,
    ) -> None:
        self.data = data
        self.features = features
        self.chunks = chunks
        self.augment = augment or AugmentConfig()
        self.spec_augment = spec_augment
        self.seed = seed
        self.speakers = list(data.spk2utt)
        if len(self.speakers) < 2:  # noqa: PLR2004 (a class against another)
            msg = (
                f"{data.path}: training needs at least 2 speakers, got {len(self.speakers)}; "
                "check utt2spk"
            )
            raise DataError(msg)
        self._augmenter = Augmenter(self.augment, features.sample_rate)
        self._samples = _utterance_samples(data, features)
        self._index = {utterance: i for i, utterance in enumerate(data.utterances)}
        self._weights = [self._pick_weights(s) for s in self.speakers]
        self._waveforms, self._feature_cache = self._caches(cache)
        # Shared, so that persistent workers see a new epoch.
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]

    @property
    def num_classes(self) -> int:
        """Speakers times speeds."""
        return len(self.speakers) * len(self.augment.speeds)

    def __len__(self) -> int:
        """Batches in an epoch."""
        if self.chunks.batches_per_epoch is not None:
            return self.chunks.batches_per_epoch
        frames = self._samples.sum() / self.features.sample_rate * FRAMES_PER_SECOND
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
        speakers = self._batch_speakers(epoch, index)
        speeds = rng.integers(len(self.augment.speeds), size=len(speakers))
        chosen = range(len(speakers))[rows]
        batch = torch.empty(len(chosen), frames, self.features.dim)
        for row, chunk in zip(chosen, batch, strict=True):
            # Much cheaper than a new generator for each row.
            bits.state = start
            bits.advance((row + 1) * _ROW_STEP)
            chunk.copy_(self._chunk(int(speakers[row]), int(speeds[row]), frames, rng))
            if self.spec_augment is not None:
                mask_(chunk, self.spec_augment, rng)
        classes = speakers + speeds * len(self.speakers)
        return batch, torch.from_numpy(classes[rows])

    def prepare(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Decode every utterance now, so that a broken one shows before training.

        Args:
            progress: Called with utterances done and their number after each.

        Raises:
            DataError: If an utterance cannot be used; names it.
        """  # noqa: DOC502 (raised by the shared checks)
        for done, utterance in enumerate(self.data.utterances, start=1):
            if self._feature_cache is not None:
                for speed in range(len(self.augment.speeds)):
                    self._whole_features(utterance, speed)
            else:
                self._waveform(utterance)
            if progress is not None:
                progress(done, len(self.data))

    def _caches(
        self, cache: bool
    ) -> tuple[SharedArrays[np.int16] | None, SharedArrays[np.float32] | None]:
        """Room for waveforms, or for the features of every speed."""
        if not cache:
            return None, None
        if self.augment.changes_sound:
            return SharedArrays(self._samples.tolist(), np.int16), None
        sizes = [
            # One more sample and frame than computed, for the rounding of the resampler.
            self.features.dim
            * (1 + num_frames(int(samples / speed) + 1, self.features.sample_rate))
            for speed in self.augment.speeds
            for samples in self._samples
        ]
        return None, SharedArrays(sizes, np.float32)

    def _pick_weights(self, speaker: str) -> NDArray[np.float64]:
        """Probability of each utterance of a speaker."""
        utterances = self.data.spk2utt[speaker]
        if self.chunks.pick == "uniform":
            return np.full(len(utterances), 1 / len(utterances))
        samples = self._samples[[self._index[utterance] for utterance in utterances]]
        weights: NDArray[np.float64] = samples / samples.sum()
        return weights

    def _batch_speakers(self, epoch: int, index: int) -> NDArray[np.int64]:
        """Speakers of a batch, distinct while there are enough."""
        size, number = self.chunks.batch_size, len(self.speakers)
        per_pass = max(1, number // size)
        passes = -(-size // number)
        first = index // per_pass
        orders = [
            # The 1 keeps these seeds apart from those of the batches, [seed, epoch, index].
            np.random.default_rng([self.seed, epoch, first * passes + p, 1]).permutation(number)
            for p in range(passes)
        ]
        start = index % per_pass * size
        speakers: NDArray[np.int64] = np.concatenate(orders)[start : start + size]
        return speakers

    def _chunk(self, speaker: int, speed: int, frames: int, rng: np.random.Generator) -> Tensor:
        """One chunk of a speaker, shape (frames, dim)."""
        utterances = self.data.spk2utt[self.speakers[speaker]]
        utterance = utterances[int(rng.choice(len(utterances), p=self._weights[speaker]))]
        if self._feature_cache is not None:
            features = self._whole_features(utterance, speed)
        else:
            features = self._span_features(utterance, self.augment.speeds[speed], frames, rng)
        start = int(rng.integers(max(1, len(features) - frames + 1)))
        if len(features) >= frames:
            return features[start : start + frames]
        # Too short: repeat it, from a random frame on.
        start = int(rng.integers(len(features)))
        return features[(start + torch.arange(frames)) % len(features)]

    def _whole_features(self, utterance: str, speed: int) -> Tensor:
        """Features of a whole utterance, from memory after the first time."""

        def make() -> NDArray[np.float32]:
            """Compute what is not in memory yet."""
            waveform = load_utterance(self.data, utterance, self.features.sample_rate)
            waveform = change_speed(waveform, self.augment.speeds[speed])
            made: NDArray[np.float32] = self._named(utterance, waveform).numpy().reshape(-1)
            return made

        slot = speed * len(self.data) + self._index[utterance]
        flat = make() if self._feature_cache is None else self._feature_cache.get(slot, make)
        return torch.from_numpy(flat).view(-1, self.features.dim)

    def _span_features(
        self, utterance: str, speed: float, frames: int, rng: np.random.Generator
    ) -> Tensor:
        """Features of a span of an utterance, with new speed, room and noise."""
        waveform = self._waveform(utterance)
        seconds = max(
            self.chunks.span_factor * frames / FRAMES_PER_SECOND, self.features.cmn_window
        )
        size = int(seconds * speed * self.features.sample_rate)
        start = int(rng.integers(max(1, len(waveform) - size + 1)))
        span = waveform[start : start + size]
        # Long recordings have stretches of digital silence: take the whole then.
        span = span if span.any() else waveform
        clean = change_speed(span.astype(np.float32) / np.float32(_INT16_SCALE), speed)
        return self._named(utterance, clean, rng)

    def _named(
        self, utterance: str, clean: NDArray[np.float32], rng: np.random.Generator | None = None
    ) -> Tensor:
        """Features of a waveform, augmented where ``rng`` is given; errors name the utterance.

        Raises:
            DataError: If it has no features.
        """
        try:
            if rng is None or not self.augment.changes_sound:
                return utterance_features(clean, self.features)
            voiced = voice_activity(clean, self.features)
            return utterance_features(self._augmenter(clean, rng), self.features, voiced=voiced)
        except DataError as error:
            msg = f"{self.data.path}: utterance '{utterance}': {error}"
            raise DataError(msg) from error

    def _waveform(self, utterance: str) -> NDArray[np.int16]:
        """Samples of a whole utterance, from memory after the first time."""

        def make() -> NDArray[np.int16]:
            """Compute what is not in memory yet."""
            samples = load_utterance(self.data, utterance, self.features.sample_rate)
            scaled: NDArray[np.int16] = (
                np.rint(samples * _INT16_SCALE).clip(-32768, 32767).astype(np.int16)
            )
            return scaled

        return (
            make() if self._waveforms is None else self._waveforms.get(self._index[utterance], make)
        )


def _utterance_samples(data: DataDir, features: FeatureConfig) -> NDArray[np.int64]:
    """Samples of each utterance, from the headers of the audio files, which it checks.

    Raises:
        DataError: If a file's header is bad, or an utterance is shorter than a window.
    """
    frames = {
        recording: recording_info(data, recording, sample_rate=features.sample_rate).frames
        for recording in data.wavs
    }
    sizes = []
    for utterance in data.utterances:
        segment = data.segments.get(utterance)
        size = frames[data.recording(utterance)]
        if segment is not None:
            rate = features.sample_rate
            size = min(size, round(segment.end * rate)) - round(segment.start * rate)
        if size < features.window_samples:
            msg = (
                f"{data.path}: utterance '{utterance}' has {size} samples, a window needs "
                f"{features.window_samples} (25 ms); drop it, or run bbb data fix {data.path}"
            )
            raise DataError(msg)
        sizes.append(size)
    return np.array(sizes, dtype=np.int64)
