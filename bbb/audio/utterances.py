"""The utterances of a data directory as arrays: the same few pages for any number of workers."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from bbb.audio.datadir import DataDir
from bbb.audio.shards_member import split_address
from bbb.audio.waveform import read_waveform, recording_info, stretch
from bbb.errors import DataError


class Words:
    """Strings in one block of bytes.

    Forked workers count the references of Python objects inside the objects, and so copy the pages
    of every string that they look at; of these they copy nothing.

    Args:
        words: The strings.
    """

    def __init__(self, words: Iterable[str]) -> None:
        encoded = [word.encode() for word in words]
        self._bytes = b"".join(encoded)
        self._ends = np.cumsum([len(word) for word in encoded], dtype=np.int64)

    def __getitem__(self, index: int) -> str:
        """The string at a place, from 0."""
        start = int(self._ends[index - 1]) if index else 0
        return self._bytes[start : int(self._ends[index])].decode()


class Utterances:
    """Where the samples of every utterance lie.

    Opening reads the header of every audio file. Utterances in tar files whose ``utt2dur`` is there
    are taken by its word, and one header for each tar file is read.

    Args:
        data: A data directory, of which nothing is kept.
        sample_rate: The rate that the audio must have, in Hz.

    Attributes:
        names: Ids, in C-locale order.
        speakers: Speaker ids, in C-locale order.
        speaker: Number of each utterance's speaker, shape (utterances,).
        samples: Length of each, shape (utterances,).
        stored: The utterances in the order in which they lie in their files, which are sorted by
            name, shape (utterances,).
        shards: How many of these each file holds, shape (files,).

    Raises:
        DataError: If a header is bad, or a segment leaves its recording.
    """

    def __init__(self, data: DataDir, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self._name(data)
        recordings = [data.recording(utterance) for utterance in data.utterances]
        places = [split_address(data.wavs[r]) or (data.wavs[r], -1) for r in recordings]
        files = sorted({file for file, _ in places})
        index = {file: number for number, file in enumerate(files)}
        self._files = Words(files)
        self._file = np.array([index[file] for file, _ in places], np.int32)
        self._offset = np.array([offset for _, offset in places], np.int64)
        sides = [data.channel(recording) for recording in recordings]
        self._side = np.array([-1 if side is None else side for side in sides], np.int8)
        bounds = np.array(_bounds(data, recordings, self._offset, sample_rate), np.int64)
        self._first, last = bounds.reshape(-1, 2).T.copy()
        self.samples: NDArray[np.int64] = last - self._first
        self.stored = np.lexsort((self._first, self._offset, self._file))
        self.shards = np.bincount(self._file, minlength=len(files))

    def _name(self, data: DataDir) -> None:
        """Set the ids of utterances and speakers, and which belong together."""
        self.names = Words(data.utterances)
        self.speakers = list(data.spk2utt)
        numbers = {speaker: number for number, speaker in enumerate(self.speakers)}
        self.speaker = np.array([numbers[data.utt2spk[u]] for u in data.utterances], np.int32)

    def __len__(self) -> int:
        """Number of utterances."""
        return len(self.samples)

    def read(self, index: int, start: int = 0, size: int | None = None) -> NDArray[np.float32]:
        """Samples of an utterance; the rest of it is not decoded.

        Args:
            index: Which, from 0.
            start: First sample.
            size: Number of samples, fewer where it is shorter; None for all.

        Returns:
            Samples in [-1, 1), shape (samples,).

        Raises:
            DataError: As for ``read_waveform``.
        """  # noqa: DOC502 (raised by what it calls)
        file, offset, side = self._files[int(self._file[index])], self._offset[index], self._side
        end = int(self.samples[index])
        end = end if size is None else min(end, start + size)
        first = int(self._first[index])
        return read_waveform(
            file if offset < 0 else f"{file}:{offset}",
            sample_rate=self.sample_rate,
            start=(first + start) / self.sample_rate,
            end=(first + end) / self.sample_rate,
            channel=int(side[index]) if side[index] >= 0 else None,
        )


def _bounds(
    data: DataDir, recordings: list[str], offsets: NDArray[np.int64], rate: int
) -> list[tuple[int, int]]:
    """First and one-past-last sample of every utterance in its recording.

    Raises:
        DataError: If there is none.
    """
    frames: dict[str, int] = {}
    known: set[str] = set()
    bounds = []
    for utterance, recording, offset in zip(data.utterances, recordings, offsets, strict=True):
        segment, path = data.segments.get(utterance), data.wavs[recording]
        shard = path.rpartition(":")[0] if offset >= 0 else ""
        if shard in known and segment is None and utterance in data.durations:
            bounds.append((0, round(data.durations[utterance] * rate)))
            continue
        known.add(shard or path)
        if recording not in frames:
            frames[recording] = recording_info(data, recording, sample_rate=rate).frames
        start, end = (0.0, None) if segment is None else (segment.start, segment.end)
        try:
            bounds.append(stretch(path, frames[recording], rate, start, end))
        except DataError as error:
            msg = f"{data.path}: utterance '{utterance}': {error}"
            raise DataError(msg) from error
    return bounds
