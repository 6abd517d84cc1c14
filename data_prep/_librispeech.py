"""The folder LibriSpeech as it came from its archives: what is there, and what does not fit."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import _corpus  # noqa: PLC2701 (beside this file)

from bbb.errors import DataError

_AGAIN = "unpack the archive again"
_WORDS = ".trans.txt"
_COLUMNS = 5
_DEPTH = 3


def speaker_of(utterance: str) -> str:
    """``84`` of ``84-121123-0000``."""
    return utterance.partition("-")[0]


def chapter_of(utterance: str) -> str:
    """``84-121123`` of ``84-121123-0000``."""
    return utterance.rpartition("-")[0]


def read_bars(file: Path) -> list[list[str]]:
    """The rows of ``SPEAKERS.TXT`` or ``CHAPTERS.TXT``.

    Args:
        file: The table: columns between ``|``, comments after ``;``.

    Returns:
        The first four fields of each row and the rest of its line (names hold ``|`` too).

    Raises:
        DataError: If the file is missing, or a row has too few columns; names the first.
    """
    if not file.is_file():
        msg = f"{file}: no such file; it stands in every archive beside the parts: {_AGAIN}"
        raise DataError(msg)
    rows = []
    for number, line in enumerate(file.read_text("utf-8", errors="replace").splitlines(), 1):
        if not line.strip() or line.startswith(";"):
            continue
        fields = [field.strip() for field in line.split("|", _COLUMNS - 1)]
        if len(fields) < _COLUMNS:
            msg = f"{file}:{number}: expected 5 columns between '|', got {len(fields)}; {_AGAIN}"
            raise DataError(msg)
        rows.append(fields)
    return rows


@dataclasses.dataclass(frozen=True)
class Tables:
    """What the corpus says about itself.

    Attributes:
        genders: Reader to "f" or "m".
        subsets: Reader to the name of the part.
        chapters: Part to the number of its chapters.
    """

    genders: dict[str, str]
    subsets: dict[str, str]
    chapters: Counter[str]

    @classmethod
    def read(cls, root: Path, faults: _corpus.Faults) -> "Tables":
        """Read ``SPEAKERS.TXT`` and ``CHAPTERS.TXT``.

        Args:
            root: The folder that holds them.
            faults: Gets speakers without a sex.

        Returns:
            Both tables.
        """
        speakers = read_bars(root / "SPEAKERS.TXT")
        wrong = [f"{row[0]} ({row[1]!r})" for row in speakers if row[1] not in {"F", "M"}]
        faults.add("speakers of SPEAKERS.TXT whose sex is not F or M", wrong, _AGAIN)
        return cls(
            genders={row[0]: row[1].lower() for row in speakers},
            subsets={row[0]: row[2] for row in speakers},
            chapters=Counter(row[3] for row in read_bars(root / "CHAPTERS.TXT")),
        )


def read_part(
    folder: Path, tables: Tables, faults: _corpus.Faults, *, parent: str = "", jobs: int
) -> dict[str, Path]:
    """Find the utterances of a part.

    Args:
        folder: The part: ``READER/CHAPTER/READER-CHAPTER-NUMBER.flac``.
        tables: What the corpus says about readers and chapters.
        faults: Gets what does not fit: wrong names, readers of other parts or of none, transcripts
            without audio and audio without transcripts.
        parent: The part that this one was taken from, to which its readers belong.
        jobs: Threads that read folders.

    Returns:
        Utterance id to file, sorted.
    """
    part, root = folder.name, folder.parent
    files, odd, transcripts = {}, [], []
    for file in _corpus.find_files(folder, (".flac", _WORDS), jobs=jobs):
        names = file.relative_to(folder).parts
        if file.name.endswith(_WORDS):
            transcripts.append(file)
        elif len(names) == _DEPTH and file.stem.startswith(f"{names[0]}-{names[1]}-"):
            files[file.stem] = file
        else:
            odd.append(file.relative_to(root))
    if not files:
        faults.add("parts without audio", [part], f"{_AGAIN}, or leave it out of --parts")
    faults.add(
        "files that are not READER/CHAPTER/READER-CHAPTER-NUMBER.flac",
        odd,
        f"a folder was moved or renamed: {_AGAIN}",
    )
    readers = sorted({speaker_of(name) for name in files})
    unknown = [f"{part}/{reader}" for reader in readers if reader not in tables.genders]
    faults.add("speakers that are not in SPEAKERS.TXT", unknown, _AGAIN)
    home = {part, parent}
    moved = [
        f"{part}/{reader} (of {tables.subsets[reader]})"
        for reader in readers
        if reader in tables.subsets and tables.subsets[reader] not in home
    ]
    faults.add("speakers that belong to another part", moved, "move their folders back")
    _check_transcripts(part, transcripts, files, faults)
    return files


def _check_transcripts(
    part: str, transcripts: Sequence[Path], files: Mapping[str, Path], faults: _corpus.Faults
) -> None:
    """Every line of a transcript has its audio, and every audio file its line."""
    said: set[str] = set()
    for transcript in transcripts:
        lines = transcript.read_text("utf-8", errors="replace").splitlines()
        said.update(line.split(maxsplit=1)[0] for line in lines if line.strip())
    lost = [f"{part}: {name}" for name in sorted(said - files.keys())]
    faults.add("utterances of the transcripts that have no audio", lost, _AGAIN)
    # A chapter without any transcript is a copy that was slimmed down on purpose.
    chapters = {file.name.removesuffix(_WORDS) for file in transcripts}
    extra = [
        f"{part}: {name}" for name in sorted(files.keys() - said) if chapter_of(name) in chapters
    ]
    faults.add("audio files that their transcript does not list", extra, "remove them")
