"""What VoxCeleb1 and VoxCeleb2 share: their table of speakers, their tree, the data directories."""

import argparse
import csv
import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import _corpus  # noqa: PLC2701 (beside this file)

from bbb.audio.datadir import DataDir
from bbb.errors import FormatError

SAMPLE_RATE = 16_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Archive:
    """A zip file, perhaps cut into parts.

    Attributes:
        parts: Names on the server, in order, with their MD5.
        below: Folder of the corpus that gets the content; "" for the corpus itself.
        top: The folder in the zip file.
    """

    parts: Mapping[str, str]
    below: str
    top: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corpus:
    """One of the two.

    Attributes:
        meta: Name of the table of speakers.
        speaker: What speaker ids look like.
        example: A file, as the archives name it.
        lists: Names of all lists on the server with their MD5, "" where none is known.
        archives: "dev" and "test".
    """

    meta: str
    speaker: re.Pattern[str]
    example: str
    lists: Mapping[str, str]
    archives: Mapping[str, Archive]


@dataclasses.dataclass(frozen=True)
class Person:
    """A speaker.

    Attributes:
        gender: ``"f"`` or ``"m"``.
        split: ``"dev"`` or ``"test"``.
    """

    gender: str
    split: str


# -- the table of speakers ------------------------------------------------------------------


def read_meta(file: Path) -> dict[str, Person]:
    """Read ``vox1_meta.csv`` (tabs) or ``vox2_meta.csv`` (commas, and blanks around the values).

    Args:
        file: The table.

    Returns:
        Speaker id to gender and set.

    Raises:
        FormatError: If a column is missing, or a value is unknown.
    """
    with file.open(encoding="utf-8-sig", newline="") as stream:
        text = [line for line in stream if line.strip()]
    mark = "\t" if text and "\t" in text[0] else ","
    rows = [[value.strip() for value in row] for row in csv.reader(text, delimiter=mark)]
    names = [name.lower() for name in rows[0]] if rows else []
    # "VoxCeleb1 ID" or "VoxCeleb2 ID".
    place = {
        name.split()[-1] if name.startswith("voxceleb") else name: n for n, name in enumerate(names)
    }
    if not {"id", "gender", "set"} <= place.keys():
        msg = (
            f"{file}:1: expected the columns 'VoxCeleb1 ID' (or 2), 'Gender' and 'Set', got {names}"
        )
        raise FormatError(msg)
    people: dict[str, Person] = {}
    for number, row in enumerate(rows[1:], start=2):
        values = [
            row[place[name]] if place[name] < len(row) else "" for name in ("id", "gender", "set")
        ]
        if values[0] in people or values[1] not in {"f", "m"} or values[2] not in {"dev", "test"}:
            msg = (
                f"{file}:{number}: expected a new speaker, 'm' or 'f', and 'dev' or 'test', got "
                f"{values}; fetch the table again"
            )
            raise FormatError(msg)
        people[values[0]] = Person(values[1], values[2])
    return people


def read_people(
    corpus: Corpus, lists: Path, needed: Iterable[Path], faults: _corpus.Faults, script: str
) -> dict[str, Person]:
    """Read the table of speakers, and note which files beside it are missing.

    Args:
        corpus: Which one.
        lists: Folder of the table.
        needed: Other files that must be there.
        faults: Gets those that are not.
        script: The script that fetches them, for the message.

    Returns:
        Speaker id to gender and set.

    Raises:
        DataError: If the table itself is missing, for nothing can be checked without it.
        FormatError: If it cannot be read.
    """  # noqa: DOC502 (raised by the reader and the collector)
    meta = lists / corpus.meta
    faults.add(
        "lists that are missing",
        [file for file in (meta, *needed) if not file.is_file()],
        f"fetch them (python data_prep/{script} download --only lists --output {lists}), or say "
        "where they are with --lists",
    )
    if not meta.is_file():
        faults.check()
    return read_meta(meta)


# -- the tree of audio ----------------------------------------------------------------------


def find_utterances(
    corpus: Corpus,
    root: Path,
    people: Mapping[str, Person],
    splits: Collection[str],
    faults: _corpus.Faults,
) -> dict[str, Path]:
    """The audio below a folder, however the archives were unpacked there.

    A file lies in ``SPEAKER/VIDEO/NUMBER.wav`` (or ``.flac``). A folder above whose name has
    "dev" or "test" in it (``dev/wav``, ``vox1_test_wav/wav``) must agree with the table of
    speakers; one merged ``wav`` is divided by it.

    Args:
        corpus: Which one.
        root: The folder, resolved.
        people: The table of speakers.
        splits: "dev", "test" or both: whose speakers are wanted.
        faults: Gets what is wrong.

    Returns:
        Utterance id (``SPEAKER-VIDEO-NUMBER``) to file, sorted.
    """
    found: dict[str, Path] = {}
    places: dict[str, set[str]] = {}
    odd, twice = [], []
    skip = len(str(root)) + 1
    for file in _corpus.find_files(root, (".wav", ".flac")):
        *above, speaker, video, name = ["", "", *str(file)[skip:].split("/")]
        if not corpus.speaker.fullmatch(speaker):
            odd.append(file)
            continue
        places.setdefault(speaker, set()).update(_named_splits(above))
        if speaker not in people or people[speaker].split not in splits:
            continue
        utterance = f"{speaker}-{video}-{name.rpartition('.')[0]}"
        if utterance in found:
            twice.append(f"{found[utterance]} and {file}")
        found[utterance] = file
    faults.add(
        f"audio files whose folder is no speaker (expected {corpus.example})",
        odd,
        "give the folder of this corpus alone as --source",
    )
    faults.add("utterances that are there twice", twice, "remove one of them")
    _check_places(corpus, people, splits, places, faults)
    return dict(sorted(found.items()))


def _named_splits(folders: Iterable[str]) -> set[str]:
    """Which of "dev" and "test" is a word in the names of folders."""
    return {word for name in folders for word in re.split(r"[^a-z]+", name.lower())} & {
        "dev",
        "test",
    }


def _check_places(
    corpus: Corpus,
    people: Mapping[str, Person],
    splits: Collection[str],
    places: Mapping[str, set[str]],
    faults: _corpus.Faults,
) -> None:
    """Note speakers that are unknown, missing, on both sides, or on the wrong one."""
    faults.add(
        f"speakers that are not in {corpus.meta}",
        sorted(places.keys() - people.keys()),
        f"fetch {corpus.meta} again, or correct the folder's name",
    )
    both = [speaker for speaker, where in sorted(places.items()) if len(where) > 1]
    faults.add(
        "speakers that are both in dev and in test", both, "leave each where the archives have it"
    )
    moved = [
        f"{speaker} (lies in {next(iter(where))}, belongs to {people[speaker].split})"
        for speaker, where in sorted(places.items())
        if speaker in people and len(where) == 1 and where != {people[speaker].split}
    ]
    faults.add("speakers whose folder was moved", moved, "move it back")
    absent = [name for name in people if people[name].split in splits and name not in places]
    faults.add(
        f"speakers of {corpus.meta} without audio",
        absent,
        f"unpack the archives anew (expected {corpus.example}), or choose --sets",
    )


def of_splits(
    files: Mapping[str, Path], people: Mapping[str, Person], splits: Collection[str]
) -> dict[str, Path]:
    """Those of the utterances whose speakers belong to some splits."""
    return {
        utterance: file
        for utterance, file in files.items()
        if people[utterance.partition("-")[0]].split in splits
    }


def write_set(
    folder: Path,
    files: Mapping[str, Path],
    seconds: Mapping[str, float],
    people: Mapping[str, Person],
) -> DataDir:
    """Write the data directory of some utterances.

    Args:
        folder: The directory.
        files: Utterance id to file.
        seconds: Utterance id to duration; others may be in it.
        people: The table of speakers; others may be in it.

    Returns:
        What was written.
    """
    utt2spk = {utterance: utterance.partition("-")[0] for utterance in files}
    return DataDir(
        path=folder,
        wavs={utterance: str(file) for utterance, file in files.items()},
        utt2spk=utt2spk,
        durations={utterance: seconds[utterance] for utterance in files},
        genders={speaker: people[speaker].gender for speaker in sorted({*utt2spk.values()})},
    ).write()


def count_rows(
    data: DataDir, published: tuple[int, int]
) -> list[tuple[str, int | float, int | float | None]]:
    """Rows of the table of counts for a data directory: speakers, utterances, hours."""
    hours = sum(data.durations.values()) / 3600.0
    name = data.path.name
    return [
        (f"{name}: speakers", len(data.spk2utt), published[0]),
        (f"{name}: utterances", len(data), published[1]),
        (f"{name}: hours", hours, None),
    ]


def add_options(
    parser: argparse.ArgumentParser, sets: Collection[str], default: Sequence[str]
) -> None:
    """The options of ``prepare`` on a command line."""
    add = parser.add_argument
    add("--source", type=Path, required=True, help="folder of the unpacked archives")
    add("--output", type=Path, required=True, help="folder of the data directories")
    add("--lists", type=Path, help="folder of the lists (default: that of --source)")
    add("--jobs", type=int, default=_corpus.JOBS, help="threads (default: %(default)s)")
    usual = " ".join(default)
    add("--sets", nargs="+", choices=sets, default=default, help=f"what to make (default: {usual})")
