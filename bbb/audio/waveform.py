"""Audio files as arrays: only what is asked for, and only what is sound."""

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from bbb.audio.containers import is_shorten, missing_bytes
from bbb.audio.datadir import DataDir
from bbb.audio.shards_member import Member, split_address
from bbb.errors import DataError

# Times in segments are rounded to hundredths; two frames beyond the end are forgiven.
MAX_OVERSHOOT = 0.02
# Bytes of a file in a tar file that are read in one go; half a minute to a minute as FLAC.
_AT_ONCE = 2**20
_SHORTEN = (
    "its samples are compressed by shorten, for which libsndfile has no decoder: make a flac or "
    "wav file of it (python -m pip install 'desphere[fast]', then sph2wav; or sph2pipe -f wav)"
)


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


def audio_info(
    path: str | os.PathLike[str], *, sample_rate: int | None = None, channel: int | None = None
) -> AudioInfo:
    """Read the header of an audio file and check what can be checked without decoding.

    Args:
        path: The file: wav, flac, ogg (Vorbis, Opus), mp3, NIST SPHERE; or ``FILE.tar:OFFSET``.
        sample_rate: The rate that it must have, in Hz; any when None.
        channel: The channel that is wanted, from 0; when None, the file must have just one.

    Returns:
        Rate, channels and length.

    Raises:
        DataError: If the file is missing, empty, cut short, no audio, of another rate, or has
            other channels; the message names the file and the remedy.
    """  # noqa: DOC502 (raised by the shared checks)
    with _opened(path, sample_rate, channel) as sound:
        if sound.format == "FLAC":
            _check_end(path, sound)
        return AudioInfo(sound.samplerate, sound.channels, sound.frames)


def recording_info(data: DataDir, recording: str, *, sample_rate: int | None = None) -> AudioInfo:
    """``audio_info`` of a recording of a data directory, with the channel that it names.

    Args:
        data: The data directory.
        recording: An id of its ``wav.scp``.
        sample_rate: As for ``audio_info``.

    Returns:
        Rate, channels and length.

    Raises:
        DataError: As for ``audio_info``.
    """  # noqa: DOC502 (raised by what it calls)
    channel = data.channel(recording)
    return audio_info(data.wavs[recording], sample_rate=sample_rate, channel=channel)


def read_waveform(
    path: str | os.PathLike[str],
    *,
    sample_rate: int | None,
    start: float = 0.0,
    end: float | None = None,
    channel: int | None = None,
) -> NDArray[np.float32]:
    """Read one channel of audio, or a stretch of it, without reading the rest.

    Args:
        path: The file: wav, flac, ogg (Vorbis, Opus), mp3, NIST SPHERE; or ``FILE.tar:OFFSET``.
        sample_rate: The rate that the file must have, in Hz; any when None. Nothing is resampled.
        start: First second of the stretch.
        end: Last second; the end of the file when None. Up to ``MAX_OVERSHOOT`` beyond it is
            forgiven.
        channel: The channel that is wanted, from 0; when None, the file must have just one.

    Returns:
        Samples in [-1, 1), shape (samples,).

    Raises:
        DataError: If the file is missing, empty, cut short, no audio, of another rate, has
            other channels, holds NaN or infinite samples, or if the stretch lies outside of it.
    """
    with _opened(path, sample_rate, channel) as sound:
        first, last = stretch(path, sound.frames, sound.samplerate, start, end)
        try:
            if first:
                sound.seek(first)
            matrix = sound.read(last - first, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            msg = f"{path}: cannot be decoded ({error}); restore the file, or drop its utterances"
            raise DataError(msg) from error
    samples: NDArray[np.float32] = np.ascontiguousarray(matrix[:, channel or 0])
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
    recording = data.recording(utterance)
    start, end = (0.0, None) if segment is None else (segment.start, segment.end)
    return read_waveform(
        data.wavs[recording],
        sample_rate=sample_rate,
        start=start,
        end=end,
        channel=data.channel(recording),
    )


def stretch(
    path: str | os.PathLike[str], frames: int, rate: int, start: float, end: float | None
) -> tuple[int, int]:
    """First and one-past-last sample of a stretch in seconds.

    Args:
        path: The file, for the message.
        frames: Samples of it.
        rate: Its rate, in Hz.
        start: First second.
        end: Last second; the end of the file when None.

    Returns:
        Samples, from 0; up to ``MAX_OVERSHOOT`` beyond the end is cut off.

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


@contextlib.contextmanager
def _opened(
    path: str | os.PathLike[str], sample_rate: int | None, channel: int | None
) -> Iterator[soundfile.SoundFile]:
    """Open an audio file whose header is sound.

    Raises:
        DataError: If it cannot be opened, or its header is wrong.
    """
    address = split_address(path)
    with contextlib.ExitStack() as stack:
        if address is None:
            source: Path | io.IOBase = _whole_file(Path(path))
        else:
            source = member = stack.enter_context(Member(*address))
            if member.size <= _AT_ONCE:
                # A decoder seeks and reads a hundred times, at a microsecond or more in Python.
                source = io.BytesIO(member.read())
        try:
            sound = stack.enter_context(soundfile.SoundFile(source))
        except soundfile.SoundFileError as error:
            shorten = isinstance(source, Path) and is_shorten(source)
            remedy = _SHORTEN if shorten else "restore it, or drop its utterances"
            msg = f"{path}: not readable as audio ({error}); {remedy}"
            raise DataError(msg) from error
        _check_header(path, sound, sample_rate, channel)
        yield sound


def _whole_file(path: Path) -> Path:
    """A file that is there, from its first byte to its last.

    Raises:
        DataError: Otherwise.
    """
    if not path.is_file():
        msg = f"{path}: no such audio file; paths are relative to the folder where bbb is started"
        raise DataError(msg)
    if path.stat().st_size == 0:
        msg = f"{path}: the file is empty; restore it, or drop its utterances"
        raise DataError(msg)
    missing = missing_bytes(path)
    if missing:
        msg = f"{path}: truncated, {missing} bytes are missing; restore it, or drop its utterances"
        raise DataError(msg)
    return path


def _check_header(
    path: str | os.PathLike[str],
    sound: soundfile.SoundFile,
    sample_rate: int | None,
    channel: int | None,
) -> None:
    """Raise unless the file has samples, the wanted channel and the right rate.

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
    if channel is None and sound.channels != 1:
        msg = (
            f"{path}: expected one channel, got {sound.channels}; keep one of them "
            "(ffmpeg -i IN -ac 1 OUT mixes them), or name it in reco2file_and_channel"
        )
        raise DataError(msg)
    if channel is not None and not 0 <= channel < sound.channels:
        msg = (
            f"{path}: channel {chr(ord('A') + channel)} is wanted, the file has {sound.channels}; "
            "correct reco2file_and_channel, or drop its utterances"
        )
        raise DataError(msg)


def _check_end(path: str | os.PathLike[str], sound: soundfile.SoundFile) -> None:
    """Raise unless the last sample that the header promises can be reached.

    Raises:
        DataError: Otherwise.
    """
    try:
        sound.seek(sound.frames - 1)
    except soundfile.SoundFileError as error:
        msg = f"{path}: truncated; restore it, or drop its utterances"
        raise DataError(msg) from error
