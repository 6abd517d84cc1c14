"""Folders of noise, music, speech and rooms that training speech is mixed with."""

from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torchaudio.functional import resample

from bbb.errors import DataError

_SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".oga", ".mp3"}


def load_folder(folder: str, sample_rate: int) -> list[NDArray[np.float32]]:
    """Read every audio file under a folder.

    Args:
        folder: Searched with its sub-folders, in sorted order.
        sample_rate: What the recordings are resampled to, in Hz. Of several channels the first is
            taken: a mean of channels would blur a room's direct path.

    Returns:
        One waveform per file, shape (samples,).

    Raises:
        DataError: If there is no audio, or a file cannot be read or holds only zeros.
    """
    waveforms = []
    for file in _files(folder):
        waveform = _read(file, sample_rate)
        if not waveform.any():
            msg = f"{file}: empty, silent or not finite; restore or remove it"
            raise DataError(msg)
        waveforms.append(waveform)
    return waveforms


class SoundFolder:
    """Audio files under a folder, of which stretches are read when they are needed.

    Args:
        folder: Searched with its sub-folders; any size, since nothing is kept in memory.
        sample_rate: What stretches are resampled to, in Hz; of several channels the first is taken.

    Raises:
        DataError: If there is no audio.
    """

    def __init__(self, folder: str, sample_rate: int) -> None:
        self.files = [str(file) for file in _files(folder)]
        self.sample_rate = sample_rate

    def stretch(self, samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """A random stretch of a random file, repeated where the file is too short.

        Args:
            samples: Its length.
            rng: Chooses file and place.

        Returns:
            Shape (samples,); it may be silent.

        Raises:
            DataError: If the file cannot be read.
        """  # noqa: DOC502 (raised by _read)
        file, place = self.files[int(rng.integers(len(self.files)))], rng.random()
        found = _read(file, self.sample_rate, samples, place)
        return found if len(found) >= samples else np.resize(found, samples)


def _files(folder: str) -> list[Path]:
    """Audio files under a folder, sorted.

    Raises:
        DataError: If there are none.
    """
    files = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in _SUFFIXES)
    if not files:
        msg = f"{folder}: no audio files ({', '.join(sorted(_SUFFIXES))}) in it; check the path"
        raise DataError(msg)
    return files


def _read(
    file: Path | str, sample_rate: int, samples: int | None = None, place: float = 0.0
) -> NDArray[np.float32]:
    """One file's first channel at ``sample_rate``, or so many samples of it at a share of the rest.

    Raises:
        DataError: If it is not sound audio.
    """
    try:
        with soundfile.SoundFile(file) as sound:
            rate, size = sound.samplerate, sound.frames
            if samples is not None:
                size = min(size, -(-samples * rate // sample_rate))
                sound.seek(int(place * (sound.frames - size + 1)))
            read = sound.read(size, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        msg = f"{file}: not readable as audio ({error}); restore or remove it"
        raise DataError(msg) from error
    first: NDArray[np.float32] = np.ascontiguousarray(read[:, 0])
    if not len(first) or not np.isfinite(first).all():
        msg = f"{file}: empty, silent or not finite; restore or remove it"
        raise DataError(msg)
    if rate != sample_rate:
        first = resample(torch.from_numpy(first), rate, sample_rate).numpy()
    return first[:samples]
