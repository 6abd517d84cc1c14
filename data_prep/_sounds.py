"""Folders of noise and of room responses as ``bbb train`` takes them, and as Kaldi does."""

from collections.abc import Mapping
from pathlib import Path

import soundfile

from bbb.audio.datadir import DataDir
from bbb.audio.tables import read_table
from bbb.errors import DataError

_BYTES = 4


def write_sounds(
    folder: Path,
    files: Mapping[str, Path],
    durations: Mapping[str, float],
    *,
    several: frozenset[str] = frozenset(),
) -> None:
    """Make a folder for ``noise_dir`` or ``rir_dir`` that is a Kaldi data directory as well.

    ``folder/audio`` gets a link to every file; of files with several channels it gets the first
    channel, which is the one that augmentation takes. Links of an earlier run are removed. The
    folder's name stands for the speaker, of whom nothing is known.

    Args:
        folder: The folder to make.
        files: Id to audio file.
        durations: Id to seconds.
        several: Ids of files with several channels.

    Raises:
        DataError: If there is a file in ``folder/audio`` that this function has not made.
    """
    audio = folder.absolute() / "audio"
    audio.mkdir(parents=True, exist_ok=True)
    known = {*read_table(folder / "wav.scp", required=False).values.values()}
    old = list(audio.iterdir())
    if alien := sorted(
        str(file) for file in old if not file.is_symlink() and str(file) not in known
    ):
        msg = f"{len(alien)} files were there before, first {alien[0]}; choose another --output"
        raise DataError(msg)
    for file in old:
        file.unlink()
    made = {}
    for name, file in files.items():
        made[name] = audio / f"{name}{file.suffix.lower()}"
        if name in several:
            samples, rate = soundfile.read(file, dtype="int16", always_2d=True)
            soundfile.write(made[name], samples[:, 0], rate)
        else:
            made[name].symlink_to(file.resolve())
    # The tables come last: a folder that has them is complete.
    DataDir(
        path=folder,
        wavs={name: str(file) for name, file in made.items()},
        utt2spk=dict.fromkeys(files, folder.name),
        durations={name: durations[name] for name in files},
    ).write()


def memory_note(folder: Path, seconds: float, rate: int) -> str:
    """How much there is, and what it costs to train with it.

    Args:
        folder: What ``noise_dir`` or ``rir_dir`` would name.
        seconds: Of audio in it.
        rate: Sample rate that it is kept at, in Hz.

    Returns:
        A line to print.
    """
    gigabytes = seconds * rate * _BYTES / 1e9
    return f"{folder}: {seconds / 3600:.1f} hours, {gigabytes:.1f} GB of memory while training"
