"""Repair a data directory: drop what cannot be used, rebuild what follows from the rest."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from bbb.audio.datadir import TABLES, DataDir, ParsedDir, parse_data_dir
from bbb.audio.tables import Fault
from bbb.audio.validate import SHORTEST_SECONDS, validate_data_dir, validate_parsed
from bbb.audio.waveform import recording_info
from bbb.errors import DataError

_WRITTEN = (*TABLES[:2], "spk2utt", *TABLES[2:])
_ROUNDING = 1e-4


@dataclass(frozen=True)
class FixReport:
    """What ``fix_data_dir`` did.

    Attributes:
        data: The directory as it is now.
        dropped: Utterance or recording id to the reason why it was dropped.
        rewritten: Names of the tables that changed.
        remaining: What is still wrong and not for a program to decide: trials that name dropped
            utterances, warnings.
        backup: Folder with the tables as they were; None when nothing changed.
    """

    data: DataDir
    dropped: dict[str, str]
    rewritten: list[str]
    remaining: list[Fault]
    backup: Path | None


def fix_data_dir(
    path: str | os.PathLike[str],
    *,
    sample_rate: int | None = None,
    min_seconds: float = SHORTEST_SECONDS,
    progress: Callable[[int, int], None] | None = None,
) -> FixReport:
    """Repair a data directory in place, keeping its tables as they were in ``.backup``.

    Dropped are utterances without speaker or usable audio, and lines that cannot be read; of a
    duplicate key the first line is kept. The tables are sorted, ``spk2utt`` and what is wrong in
    ``utt2dur`` are made anew. Audio and trial lists are never touched.

    Args:
        path: The folder.
        sample_rate: The rate that the audio must have, in Hz; when None, that of most files.
        min_seconds: Shortest utterance that is kept.
        progress: Called with recordings done and their number after each.

    Returns:
        What was dropped and rewritten, and what remains.

    Raises:
        DataError: If no utterance would be left; nothing is changed then.
    """
    folder = Path(path)
    parsed = parse_data_dir(folder)
    faults = validate_parsed(
        parsed, audio=True, sample_rate=sample_rate, min_seconds=min_seconds, progress=progress
    )
    data, dropped = _usable(parsed, faults)
    if not data.utt2spk:
        first = f", first: {faults[0]}" if faults else ""
        msg = f"{folder}: no utterance would be left ({len(faults)} faults{first}); correct these"
        raise DataError(msg)
    before = _contents(folder)
    backup = _back_up(folder, before)
    data.write()
    after = _contents(folder)
    rewritten = [name for name in _WRITTEN if before.get(name) != after.get(name)]
    if not rewritten:
        shutil.rmtree(backup)
    remaining = validate_data_dir(folder, audio=False)
    return FixReport(data, dropped, rewritten, remaining, backup if rewritten else None)


def _usable(parsed: ParsedDir, faults: list[Fault]) -> tuple[DataDir, dict[str, str]]:
    """The part of a directory that can be used, and why the rest cannot."""
    data, tables = parsed.data, parsed.tables
    fatal = {tables[name].path for name in ("wav.scp", "utt2spk", "segments", TABLES[-1])}
    reasons: dict[str, str] = {}
    for fault in faults:
        if fault.file in fatal and fault.key:
            reasons.setdefault(fault.key, str(fault))
    # Whether utterances are segments is told by the file, even when no line of it can be used.
    segmented = bool(tables["segments"].lines)
    recordings = {u: s.recording for u, s in data.segments.items()} if segmented else {}
    keep = {
        utterance: recording
        for utterance in data.utt2spk
        if (recording := recordings.get(utterance) if segmented else utterance) in data.wavs
        and not {utterance, recording} & reasons.keys()
    }
    kept = {*keep, *keep.values()}
    dropped = {key: reason for key, reason in reasons.items() if key not in kept}
    for utterance in sorted(data.utt2spk.keys() - kept - dropped.keys()):
        dropped[utterance] = reasons.get(recordings.get(utterance, ""), "its audio is not usable")
    for recording in sorted(data.wavs.keys() - kept - dropped.keys()):
        dropped[recording] = "no utterance uses it"
    usable = replace(data, wavs={k: v for k, v in data.wavs.items() if k in kept})
    usable = replace(usable, segments=data.segments if segmented else {}).subset(keep)
    return replace(usable, durations=_durations(usable)), dropped


def _durations(data: DataDir) -> dict[str, float]:
    """Seconds of each utterance, from segments or from the headers of its audio."""
    lengths = {recording: recording_info(data, recording).duration for recording in data.wavs}
    exact = {
        utterance: min(s.end, lengths[s.recording]) - s.start
        if (s := data.segments.get(utterance))
        else lengths[utterance]
        for utterance in data.utt2spk
    }
    # Seven decimals tell the sample, which shards are read by; what has four is left as it is.
    return {
        utterance: stated
        if abs((stated := data.durations.get(utterance, 0.0)) - seconds) < _ROUNDING
        else round(seconds, 7)
        for utterance, seconds in exact.items()
    }


def _contents(folder: Path) -> dict[str, bytes]:
    """The tables of a folder as they are on the disk."""
    return {name: (folder / name).read_bytes() for name in _WRITTEN if (folder / name).is_file()}


def _back_up(folder: Path, contents: dict[str, bytes]) -> Path:
    """Copy the tables to ``.backup``, or ``.backup.2`` ... beside earlier ones."""
    backup, number = folder / ".backup", 1
    while backup.exists():
        number += 1
        backup = folder / f".backup.{number}"
    backup.mkdir()
    for name, content in contents.items():
        (backup / name).write_bytes(content)
    return backup
