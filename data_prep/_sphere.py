"""Telephone corpora: SPHERE files in which each channel is one side of a call."""

import argparse
import dataclasses
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import soundfile
from _corpus import (  # noqa: PLC2701 (beside this file)
    JOBS,
    Faults,
    durations,
    find_files,
    parallel,
)

from bbb.audio.containers import is_shorten
from bbb.audio.datadir import DataDir, Side
from bbb.errors import ConfigError
from bbb.files import atomic_path

SAMPLE_RATE = 8000
_SUFFIXES = (".sph", ".wav", ".flac")
_NAMED = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class CallSide:
    """What one speaker said in one recording.

    Attributes:
        name: Utterance id, which starts with the speaker.
        speaker: Speaker id.
        gender: ``"f"`` or ``"m"``.
        file: The audio, of one or two channels.
        channel: ``"A"`` or ``"B"``.
    """

    name: str
    speaker: str
    gender: str
    file: Path
    channel: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What every LDC script is told on the command line.

    Attributes:
        jobs: Threads that read headers and decode.
        decode: Folder for flac files made of those that are compressed by shorten; None to
            refuse them.
    """

    jobs: int = JOBS
    decode: Path | None = None

    @staticmethod
    def add_to(parser: argparse.ArgumentParser) -> None:
        """Add ``--source``, ``--output``, ``--decode`` and ``--jobs``."""
        parser.add_argument("--source", type=Path, required=True, help="folder of the LDC release")
        parser.add_argument("--output", type=Path, required=True, help="folder of the result")
        parser.add_argument(
            "--decode", type=Path, help="folder for flac files made of shorten-compressed ones"
        )
        parser.add_argument("--jobs", type=int, default=JOBS, help="threads (%(default)s)")


def index_audio(folders: Iterable[Path], faults: Faults, options: Options) -> dict[str, Path]:
    """Every audio file below some folders, by its name without suffix.

    Args:
        folders: Where to look; links are followed.
        faults: Gets names that two different files have. Copies (of equal size) are no fault.
        options: Number of threads.

    Returns:
        Name to file; of copies, the first.
    """
    index: dict[str, Path] = {}
    doubles = []
    for folder in folders:
        for file in find_files(folder, _SUFFIXES, jobs=options.jobs):
            first = index.setdefault(file.stem, file)
            if first is not file and first.stat().st_size != file.stat().st_size:
                doubles.append(f"{first} and {file}")
    faults.add("names that two different files have", doubles, "remove the wrong one of each")
    return index


def check_sides(sides: Sequence[CallSide], faults: Faults) -> list[CallSide]:
    """Note contradictions, and drop repetitions.

    Args:
        sides: As the lists of a corpus have them, perhaps repeatedly.
        faults: Gets channels that two speakers are said to speak in.

    Returns:
        Every sound side once, sorted by name, each speaker with the gender of their first side.
    """
    speakers: dict[tuple[Path, str], set[str]] = defaultdict(set)
    genders: dict[str, str] = {}
    both = []
    for side in sides:
        speakers[side.file, side.channel].add(side.speaker)
        if genders.setdefault(side.speaker, side.gender) != side.gender:
            both.append(side.speaker)
    if both:
        print(f"note: {len(set(both))} speakers have two genders, the first counts: {_few(both)}")
    faults.add(
        "channels of two speakers",
        (
            f"{file}:{channel} ({' and '.join(sorted(names))})"
            for (file, channel), names in speakers.items()
            if len(names) > 1
        ),
        "correct the list of speakers",
    )
    once = {
        side.name: dataclasses.replace(side, gender=genders[side.speaker])
        for side in sides
        if len(speakers[side.file, side.channel]) == 1
    }
    return [once[name] for name in sorted(once)]


def read_lengths(
    sides: Sequence[CallSide], faults: Faults, options: Options
) -> tuple[list[CallSide], dict[str, float]]:
    """Check the header of every file; decode what libsndfile cannot.

    Args:
        sides: What is to be written.
        faults: Gets files that are missing, cut short, compressed, of another rate, unreadable,
            or without the channel.
        options: Threads, and where decoded files go.

    Returns:
        The sides, with decoded files in place of the compressed ones, and name to seconds.
    """
    files = sorted({side.file for side in sides})
    packed = parallel(lambda file: file.is_file() and is_shorten(file), files, "codings",
                      jobs=options.jobs)  # fmt: skip
    compressed = [file for file, is_packed in zip(files, packed, strict=True) if is_packed]
    decoded: dict[Path, Path] = {}
    if options.decode is None:
        remedy = "add --decode FOLDER to make flac files of them (with desphere, from PyPI)"
        faults.add("files that are compressed by shorten", compressed, remedy)
    else:
        decoded = decode_shorten(compressed, options.decode, faults, jobs=options.jobs)
    lost = {*compressed} - decoded.keys()
    sides = [
        dataclasses.replace(side, file=decoded.get(side.file, side.file))
        for side in sides
        if side.file not in lost
    ]
    seconds = durations(
        {side.name: side.file for side in sides},
        options.jobs,
        sample_rate=SAMPLE_RATE,
        channels={side.name: Side("", side.channel).index for side in sides},
        faults=faults,
    )
    return list(sides), seconds


def decode_shorten(
    files: Sequence[Path], folder: Path, faults: Faults, *, jobs: int = JOBS
) -> dict[Path, Path]:
    """Make a flac file of each shorten-compressed SPHERE file, with all its channels.

    Args:
        files: The compressed files.
        folder: Gets flac files, below it as the compressed ones are below the root; those that
            are there from an earlier run are kept.
        faults: Gets the files that cannot be decoded.
        jobs: Number of threads.

    Returns:
        Compressed file to decoded file.

    Raises:
        ConfigError: If the decoder is not installed.
    """
    if not files:
        return {}
    try:
        import desphere  # noqa: PLC0415 (an optional tool)
    except ImportError:
        msg = (
            f"{len(files)} files are compressed by shorten, which needs a decoder: "
            "python -m pip install 'desphere[fast]'"
        )
        raise ConfigError(msg) from None
    if not desphere.native_available():
        print("note: desphere without [fast] takes some 15 s for a call of five minutes")

    def decode(file: Path) -> Path | str:
        target = folder.joinpath(*file.resolve().parts[1:]).with_suffix(".flac")
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                wav = io.BytesIO(desphere.transcode_bytes(file.read_bytes()))
                samples, rate = soundfile.read(wav, dtype="int16")
            except (desphere.DesphereError, soundfile.SoundFileError, OSError) as error:
                return f"{file} ({error})"
            with atomic_path(target) as temporary:
                soundfile.write(temporary, samples, rate, format="FLAC")
        return target

    done = dict(zip(files, parallel(decode, files, "decoding", jobs=jobs, chunk=1), strict=True))
    bad = [found for found in done.values() if isinstance(found, str)]
    faults.add("files that cannot be decoded", bad, "restore or remove them")
    return {file: found for file, found in done.items() if isinstance(found, Path)}


def write_sides(folder: Path, sides: Sequence[CallSide], seconds: Mapping[str, float]) -> DataDir:
    """Write a data directory whose utterances are channels of files.

    Args:
        folder: Of the result.
        sides: What it holds.
        seconds: Name of a side to its length.

    Returns:
        What was written.
    """
    data = DataDir(
        path=folder,
        wavs={side.name: str(side.file.resolve()) for side in sides},
        utt2spk={side.name: side.speaker for side in sides},
        durations={side.name: seconds[side.name] for side in sides},
        genders={side.speaker: side.gender for side in sides},
        sides={side.name: Side(side.file.stem.replace(" ", "_"), side.channel) for side in sides},
    )
    hours = sum(data.durations.values()) / 3600
    print(f"{folder}: {len(data)} utterances of {len(data.spk2utt)} speakers, {hours:.1f} hours")
    return data.write()


def _few(names: Iterable[str]) -> str:
    unique = sorted(set(names))
    return ", ".join(unique[:_NAMED]) + (", ..." if len(unique) > _NAMED else "")
