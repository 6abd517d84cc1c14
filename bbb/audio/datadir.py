"""Kaldi data directories: ``wav.scp``, ``utt2spk``, ``spk2utt``, optional tables, in memory."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

from bbb.audio.shards_member import address_from, address_in
from bbb.audio.tables import Fault, Table, read_table
from bbb.errors import DataError, FormatError
from bbb.files import write_text

Value = TypeVar("Value")

TABLES = ("wav.scp", "utt2spk", "segments", "utt2dur", "spk2gender", "reco2file_and_channel")
"""The tables of a data directory, those that every one has first; beside them is ``spk2utt``."""
_CHANNELS = {"A": 0, "B": 1, "1": 0, "2": 1}


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording.

    Attributes:
        recording: Its id in ``wav.scp``.
        start: First second.
        end: Last second, greater than ``start``.
    """

    recording: str
    start: float
    end: float


@dataclass(frozen=True)
class Side:
    """One channel of an audio file, as telephone conversations have one for each speaker.

    Attributes:
        file: Id of the file, which Kaldi's scoring tools use; any word.
        channel: "A" (or "1") for the first channel, "B" (or "2") for the second.
    """

    file: str
    channel: str

    @property
    def index(self) -> int:
        """Number of the channel, from 0."""
        return _CHANNELS[self.channel]


@dataclass(frozen=True)
class DataDir:
    """A Kaldi data directory.

    Attributes:
        path: The folder that it was read from, or that ``write`` fills.
        wavs: Recording id to audio file; absolute, or relative to the working directory, as in
            Kaldi; or ``FILE.tar:OFFSET``, where a tar file without folder lies beside the tables.
        utt2spk: Utterance id to speaker id.
        segments: Utterance id to its stretch; empty when each utterance is a whole recording.
        durations: Utterance id to seconds (``utt2dur``); may be empty.
        genders: Speaker id to "m" or "f" (``spk2gender``); may be empty.
        sides: Recording id to the channel of its file (``reco2file_and_channel``); empty when
            every file has one channel.
    """

    path: Path
    wavs: dict[str, str]
    utt2spk: dict[str, str]
    segments: dict[str, Segment] = field(default_factory=dict)
    durations: dict[str, float] = field(default_factory=dict)
    genders: dict[str, str] = field(default_factory=dict)
    sides: dict[str, Side] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of utterances."""
        return len(self.utt2spk)

    @cached_property
    def utterances(self) -> list[str]:
        """Utterance ids in C-locale order."""
        return sorted(self.utt2spk)

    @cached_property
    def spk2utt(self) -> dict[str, list[str]]:
        """Speaker id to its utterance ids, both in C-locale order."""
        groups: dict[str, list[str]] = {speaker: [] for speaker in sorted({*self.utt2spk.values()})}
        for utterance in self.utterances:
            groups[self.utt2spk[utterance]].append(utterance)
        return groups

    def recording(self, utterance: str) -> str:
        """Id of the recording that ``utterance`` is cut from."""
        return self.segments[utterance].recording if self.segments else utterance

    def channel(self, recording: str) -> int | None:
        """Channel of ``recording`` in its file, from 0; None when the file has one channel."""
        return self.sides[recording].index if recording in self.sides else None

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "DataDir":
        """Read a data directory.

        The order of lines and ``spk2utt``, which follows from ``utt2spk``, do not matter here;
        ``bbb data validate`` checks them, and the audio.

        Args:
            path: The folder.

        Returns:
            Its content; no audio is opened.

        Raises:
            FormatError: If a table is missing, a line cannot be used, or an utterance has no
                audio; names the first place and how many more there are.
        """
        parsed = parse_data_dir(Path(path))
        if parsed.faults:
            more = len(parsed.faults) - 1
            hint = f" ({more} more; bbb data validate {path} lists all)" if more else ""
            msg = f"{parsed.faults[0]}{hint}"
            raise FormatError(msg)
        return parsed.data

    def write(self, path: str | os.PathLike[str] | None = None) -> "DataDir":
        """Write the tables, sorted, each in one atomic step; ``spk2utt`` is made from ``utt2spk``.

        Tables that are empty are not written, and are removed from the folder when an earlier
        write left them there. Other files (``trials``) are left alone.

        Args:
            path: The folder, made when missing; ``self.path`` when None.

        Returns:
            This data directory, with ``path`` as its folder.
        """
        folder = Path(self.path if path is None else path)
        folder.mkdir(parents=True, exist_ok=True)
        segments = {u: f"{s.recording} {s.start!r} {s.end!r}" for u, s in self.segments.items()}
        wavs = {recording: address_in(folder, wav) for recording, wav in self.wavs.items()}
        _write_table(folder / "wav.scp", wavs, keep_empty=True)
        _write_table(folder / "utt2spk", self.utt2spk, keep_empty=True)
        spk2utt = {speaker: " ".join(utts) for speaker, utts in self.spk2utt.items()}
        _write_table(folder / "spk2utt", spk2utt, keep_empty=True)
        _write_table(folder / "segments", segments)
        _write_table(folder / "utt2dur", {u: repr(d) for u, d in self.durations.items()})
        _write_table(folder / "spk2gender", self.genders)
        sides = {recording: f"{s.file} {s.channel}" for recording, s in self.sides.items()}
        _write_table(folder / "reco2file_and_channel", sides)
        return replace(self, path=folder)

    def share(self, part: int, num_parts: int) -> "DataDir":
        """The utterances of one of several processes: a stretch of the whole, in its order.

        Args:
            part: Which, from 0.
            num_parts: How many processes share the directory.

        Returns:
            As ``subset``.
        """
        first, last = (len(self) * i // num_parts for i in (part, part + 1))
        return self.subset(self.utterances[first:last])

    def subset(self, utterances: Iterable[str]) -> "DataDir":
        """The same directory with only some utterances, and only the recordings they need.

        Args:
            utterances: Ids to keep, in any order.

        Returns:
            A new data directory with the same ``path``; nothing is written.

        Raises:
            DataError: If an id is not in the directory; names the first five.
        """
        keep = set(utterances)
        unknown = sorted(keep - self.utt2spk.keys())
        if unknown:
            msg = (
                f"{self.path}: {len(unknown)} utterances to keep are not in utt2spk, first "
                f"{', '.join(unknown[:5])}; take ids from this directory"
            )
            raise DataError(msg)
        recordings = {self.recording(utterance) for utterance in keep}
        speakers = {self.utt2spk[utterance] for utterance in keep}
        return replace(
            self,
            wavs=_only(self.wavs, recordings),
            utt2spk=_only(self.utt2spk, keep),
            segments=_only(self.segments, keep),
            durations=_only(self.durations, keep),
            genders=_only(self.genders, speakers),
            sides=_only(self.sides, recordings),
        )


@dataclass(frozen=True)
class ParsedDir:
    """A data directory as far as its lines can be used, with the faults of the rest.

    Attributes:
        data: The usable entries; may be inconsistent where ``faults`` says so.
        tables: Table name to its lines.
        faults: What keeps the directory from being used.
    """

    data: DataDir
    tables: dict[str, Table]
    faults: list[Fault]


def parse_data_dir(path: Path) -> ParsedDir:
    """Read every table of a data directory, collecting all faults of the text.

    Args:
        path: The folder.

    Returns:
        The usable entries and the faults, in the order of tables and lines.
    """
    tables = {name: read_table(path / name, required=name in TABLES[:2]) for name in TABLES}
    faults = [fault for table in tables.values() for fault in table.faults]
    data = DataDir(
        path=path,
        wavs=_convert(tables["wav.scp"], partial(_audio_path, path), faults),
        utt2spk=_convert(tables["utt2spk"], _one_word, faults),
        segments=_convert(tables["segments"], _segment, faults),
        durations=_convert(tables["utt2dur"], _duration, faults),
        genders=_convert(tables["spk2gender"], _gender, faults),
        sides=_convert(tables["reco2file_and_channel"], _side, faults),
    )
    faults += _link_faults(data, tables)
    return ParsedDir(data, tables, faults)


def _convert(
    table: Table, convert: Callable[[str], Value], faults: list[Fault]
) -> dict[str, Value]:
    """The values of a table as Python objects; lines that cannot be converted become faults."""

    def attempt(key: str, text: str) -> Value | None:
        """Convert one value, or note its fault."""
        try:
            return convert(text)
        except ValueError as error:
            faults.append(table.fault(key, str(error)))
            return None

    values = {key: attempt(key, text) for key, text in table.values.items()}
    return {key: value for key, value in values.items() if value is not None}


def _link_faults(data: DataDir, tables: dict[str, Table]) -> list[Fault]:
    """Entries that name something which another table does not have."""
    # By lines, not values: a line that is there but cannot be used has its own fault already.
    faults = []
    for utterance in data.utt2spk:
        where = tables["utt2spk"]
        if tables["segments"].lines:
            if utterance not in tables["segments"].lines:
                message = f"utterance '{utterance}' is not in segments; add it there or drop it"
                faults.append(where.fault(utterance, message))
        elif utterance not in tables["wav.scp"].lines:
            message = f"utterance '{utterance}' is not in wav.scp; add its audio or drop it"
            faults.append(where.fault(utterance, message))
    for utterance, segment in data.segments.items():
        where = tables["segments"]
        if segment.recording not in tables["wav.scp"].lines:
            message = f"recording '{segment.recording}' is not in wav.scp; add its audio"
            faults.append(where.fault(utterance, message))
    name = "segments" if tables["segments"].lines else "wav.scp"
    for utterance in tables[name].lines:
        if utterance not in tables["utt2spk"].lines:
            message = f"utterance '{utterance}' has no speaker; add it to utt2spk"
            faults.append(tables[name].fault(utterance, message))
    return faults


def _audio_path(folder: Path, text: str) -> str:
    if text.endswith("|") or text.startswith("|"):
        msg = (
            f"'{text}' is a command; bbb runs no commands from data files: decode the audio to "
            "files once, and name them here"
        )
        raise ValueError(msg)
    return address_from(folder, text)


def _one_word(text: str) -> str:
    if len(text.split()) != 1:
        msg = f"expected 'utterance speaker', got {len(text.split()) + 1} fields; ids hold no space"
        raise ValueError(msg)
    return text


def _segment(text: str) -> Segment:
    fields = text.split()
    try:
        recording, start, end = fields[0], float(fields[1]), float(fields[2])
    except (IndexError, ValueError):
        msg = f"expected 'utterance recording start end' in seconds, got '... {text}'"
        raise ValueError(msg) from None
    if len(fields) > 3:  # noqa: PLR2004 (recording, start, end)
        msg = f"expected 4 fields, got {len(fields) + 1}; name channels in reco2file_and_channel"
        raise ValueError(msg)
    if not 0.0 <= start < end < float("inf"):
        msg = f"needs 0 <= start < end, got start {start} and end {end}; correct the times"
        raise ValueError(msg)
    return Segment(recording, start, end)


def _duration(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = float("nan")
    if not 0.0 < seconds < float("inf"):
        msg = f"expected a positive duration in seconds, got '{text}'; remove utt2dur to remake it"
        raise ValueError(msg)
    return seconds


def _gender(text: str) -> str:
    if text not in {"m", "f"}:
        msg = f"expected 'm' or 'f', got '{text}'; correct or remove the line"
        raise ValueError(msg)
    return text


def _side(text: str) -> Side:
    fields = text.split()
    if len(fields) != 2 or fields[1] not in _CHANNELS:  # noqa: PLR2004 (file, channel)
        msg = f"expected 'recording file A|B', got '... {text}'; correct the line"
        raise ValueError(msg)
    return Side(*fields)


def _only(mapping: dict[str, Value], keys: set[str]) -> dict[str, Value]:
    return {key: value for key, value in mapping.items() if key in keys}


def _write_table(path: Path, values: dict[str, str], *, keep_empty: bool = False) -> None:
    if values or keep_empty:
        write_text(path, "".join(f"{key} {values[key]}\n" for key in sorted(values)))
    else:
        path.unlink(missing_ok=True)
