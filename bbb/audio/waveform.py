"""Audio files as arrays: only what is asked for, and only what is sound."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from bbb.audio.containers import missing_bytes
from bbb.audio.datadir import DataDir
from bbb.errors import DataError

# Times in segments are rounded to hundredths; two frames beyond the end are forgiven.
MAX_OVERSHOOT = 0.02


@dataclass(frozen=True)
class AudioInfo:
    """What the header of an audio file says.

    Attributes:
        sample_rate: In Hz.
        channels: Number of channels.
        frames: Samples per channel.
    """

    sample_rate: int
    channels: int
    frames: int

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate


def audio_info(path: str | os.PathLike[str], *, sample_rate: int | None = None) -> AudioInfo:
    """Read the header of an audio file and check what can be checked without decoding.

    Args:
        path: The file: wav, flac, ogg (Vorbis, Opus), mp3.
        sample_rate: The rate that it must have, in Hz; any when None.

    Returns:
        Rate, channels and length.

    Raises:
        DataError: If the file is missing, empty, cut short, no audio, of another rate, or has more
            than one channel; the message names the file and the remedy.
    """  # noqa: DOC502 (raised by the shared checks)
    with _opened(path, sample_rate) as sound:
        return AudioInfo(sound.samplerate, sound.channels, sound.frames)


def read_waveform(
    path: str | os.PathLike[str],
    *,
    sample_rate: int | None,
    start: float = 0.0,
    end: float | None = None,
) -> NDArray[np.float32]:
    """Read one channel of audio, or a stretch of it, without reading the rest.

    Args:
        path: The file: wav, flac, ogg (Vorbis, Opus), mp3.
        sample_rate: The rate that the file must have, in Hz; any when None. Nothing is resampled.
        start: First second of the stretch.
        end: Last second; the end of the file when None. Up to ``MAX_OVERSHOOT`` beyond it is
            forgiven.

    Returns:
        Samples in [-1, 1), shape (samples,).

    Raises:
        DataError: If the file is missing, empty, cut short, no audio, of another rate, has more
            than one channel, holds NaN or infinite samples, or if the stretch lies outside of it.
    """
    with _opened(path, sample_rate) as sound:
        first, last = _span(path, sound.frames, sound.samplerate, start, end)
        try:
            if first:
                sound.seek(first)
            samples: NDArray[np.float32] = sound.read(last - first, dtype="float32")
        except soundfile.SoundFileError as error:
            msg = f"{path}: cannot be decoded ({error}); restore the file, or drop its utterances"
            raise DataError(msg) from error
    if len(samples) < last - first:
        msg = (
            f"{path}: truncated: {last - first} samples wanted, {len(samples)} there; restore the "
            "file, or drop its utterances"
        )
        raise DataError(msg)
    if not np.isfinite(samples).all():
        bad = int(np.flatnonzero(~np.isfinite(samples))[0]) + first
        msg = f"{path}: sample {bad} is not finite; decode the file again, or drop its utterances"
        raise DataError(msg)
    return samples


def load_utterance(data: DataDir, utterance: str, sample_rate: int) -> NDArray[np.float32]:
    """Read the waveform of one utterance, cut by ``segments`` where there are any.

    Args:
        data: The data directory.
        utterance: An id of it.
        sample_rate: The rate that the audio must have, in Hz.

    Returns:
        Samples in [-1, 1), shape (samples,).

    Raises:
        DataError: If the directory has no such utterance, or ``read_waveform`` cannot read it.
    """
    if utterance not in data.utt2spk:
        msg = f"{data.path}: no utterance '{utterance}' in utt2spk; check the id"
        raise DataError(msg)
    segment = data.segments.get(utterance)
    path = data.wavs[data.recording(utterance)]
    if segment is None:
        return read_waveform(path, sample_rate=sample_rate)
    return read_waveform(path, sample_rate=sample_rate, start=segment.start, end=segment.end)


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str], sample_rate: int | None) -> Iterator[soundfile.SoundFile]:
    """Open an audio file whose header is sound.

    Raises:
        DataError: If it cannot be opened, or its header is wrong.
    """
    file = Path(path)
    if not file.is_file():
        msg = f"{path}: no such audio file; paths are relative to the folder where bbb is started"
        raise DataError(msg)
    if file.stat().st_size == 0:
        msg = f"{path}: the file is empty; restore it, or drop its utterances"
        raise DataError(msg)
    missing = missing_bytes(file)
    if missing:
        msg = f"{path}: truncated, {missing} bytes are missing; restore it, or drop its utterances"
        raise DataError(msg)
    try:
        sound = soundfile.SoundFile(file)
    except soundfile.SoundFileError as error:
        msg = f"{path}: not readable as audio ({error}); restore it, or drop its utterances"
        raise DataError(msg) from error
    with sound:
        _check_header(path, sound, sample_rate)
        yield sound


def _check_header(
    path: str | os.PathLike[str], sound: soundfile.SoundFile, sample_rate: int | None
) -> None:
    """Raise unless the file has samples, one channel and the right rate.

    Raises:
        DataError: Otherwise.
    """
    if sound.frames == 0:
        msg = f"{path}: no samples; restore the file, or drop its utterances"
        raise DataError(msg)
    if sample_rate is not None and sound.samplerate != sample_rate:
        msg = (
            f"{path}: expected {sample_rate} Hz, got {sound.samplerate} Hz; resample it "
            f"(ffmpeg -i IN -ar {sample_rate} OUT) or set sample_rate to {sound.samplerate}"
        )
        raise DataError(msg)
    if sound.channels != 1:
        msg = (
            f"{path}: expected one channel, got {sound.channels}; keep one of them "
            "(ffmpeg -i IN -ac 1 OUT mixes them)"
        )
        raise DataError(msg)


def _span(
    path: str | os.PathLike[str], frames: int, rate: int, start: float, end: float | None
) -> tuple[int, int]:
    """First and one-past-last sample of a stretch in seconds.

    Raises:
        DataError: If it does not lie in the file.
    """
    first = round(start * rate)
    last = frames if end is None else round(end * rate)
    if not 0 <= first < last or first >= frames or last > frames + MAX_OVERSHOOT * rate:
        msg = (
            f"{path}: the stretch {start} to {end} s does not lie in the recording of "
            f"{frames / rate:.3f} s; correct the times in segments"
        )
        raise DataError(msg)
    return first, min(last, frames)
