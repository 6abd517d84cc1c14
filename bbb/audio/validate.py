"""Find everything that is wrong in a data directory, before hours are spent on it."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bbb.audio.datadir import DataDir, ParsedDir, parse_data_dir
from bbb.audio.tables import Fault, Table, read_table
from bbb.audio.waveform import MAX_OVERSHOOT, AudioInfo, read_waveform, recording_info
from bbb.errors import DataError, FormatError
from bbb.files import numbered_lines

Progress = Callable[[int, int], None]

# A window of features; nothing shorter can be used.
SHORTEST_SECONDS = 0.025
# Durations are often written with two decimals.
_DURATION_TOLERANCE = 0.05


def validate_data_dir(
    path: str | os.PathLike[str],
    *,
    audio: bool = True,
    sample_rate: int | None = None,
    min_seconds: float = SHORTEST_SECONDS,
    progress: Progress | None = None,
) -> list[Fault]:
    """List every fault of a data directory.

    Args:
        path: The folder.
        audio: Whether every audio file is decoded too; it takes about a second for ten minutes of
            compressed audio.
        sample_rate: The rate that the audio must have, in Hz; when None, that of most files.
        min_seconds: Shortest utterance that is no fault.
        progress: Called with recordings done and their number after each.

    Returns:
        The faults, by file and line; empty for a sound directory. Those of level "warning" keep
        nothing from being used.
    """
    return validate_parsed(
        parse_data_dir(Path(path)),
        audio=audio,
        sample_rate=sample_rate,
        min_seconds=min_seconds,
        progress=progress,
    )


def validate_parsed(
    parsed: ParsedDir,
    *,
    audio: bool,
    sample_rate: int | None,
    min_seconds: float,
    progress: Progress | None,
) -> list[Fault]:
    """``validate_data_dir`` of a directory whose tables have been read.

    Args:
        parsed: The tables.
        audio: As there.
        sample_rate: As there.
        min_seconds: As there.
        progress: As there.

    Returns:
        The faults, by file and line.
    """
    faults = list(parsed.faults)
    for table in parsed.tables.values():
        faults += table.style
    faults += _speaker_faults(parsed)
    faults += _spk2utt_faults(parsed)
    faults += _extra_faults(parsed)
    for trials in sorted(parsed.data.path.glob("trials*")):
        if trials.is_file() and trials.suffix != ".npz":
            faults += _trial_faults(trials, parsed.data)
    if audio:
        faults += _audio_faults(parsed, sample_rate, min_seconds, progress)
    names = [*parsed.tables, "spk2utt"]
    order = {parsed.data.path / name: rank for rank, name in enumerate(names)}
    return sorted(faults, key=lambda f: (order.get(f.file, len(names)), f.file, f.line))


def _speaker_faults(parsed: ParsedDir) -> Iterator[Fault]:
    """Warnings about speakers: order, and those with one utterance."""
    table = parsed.tables["utt2spk"]
    previous = ""
    for utterance in sorted(parsed.data.utt2spk):
        speaker = parsed.data.utt2spk[utterance]
        if speaker < previous:
            message = (
                f"sorted by utterance, speaker '{speaker}' comes after '{previous}'; Kaldi's tools "
                "need speaker ids as prefixes of utterance ids"
            )
            yield Fault(table.path, table.lines[utterance], message, level="warning")
            break
        previous = speaker
    for speaker, utterances in parsed.data.spk2utt.items():
        if len(utterances) == 1:
            message = f"speaker '{speaker}' has one utterance; it makes no target trial"
            yield Fault(table.path, table.lines[utterances[0]], message, level="warning")


def _spk2utt_faults(parsed: ParsedDir) -> list[Fault]:
    """Where ``spk2utt`` does not say the same as ``utt2spk``."""
    table = read_table(parsed.data.path / "spk2utt")
    faults = table.faults + table.style
    given = {speaker: text.split() for speaker, text in table.values.items()}
    for speaker in sorted({*given, *parsed.data.spk2utt}):
        want = {*parsed.data.spk2utt.get(speaker, [])}
        differ = sorted(want.symmetric_difference(given.get(speaker, [])))
        if differ and table.values:
            message = (
                f"speaker '{speaker}' has other utterances than in utt2spk, first '{differ[0]}'; "
                "bbb data fix rebuilds the file"
            )
            faults.append(Fault(table.path, table.lines.get(speaker, 0), message))
    return faults


def _extra_faults(parsed: ParsedDir) -> Iterator[Fault]:
    """Ids in optional tables that nothing else has, utterances without duration, idle audio."""
    data, tables = parsed.data, parsed.tables
    known = {
        "utt2dur": ("utt2spk", data.utt2spk.keys()),
        "spk2gender": ("utt2spk", data.spk2utt.keys()),
        "reco2file_and_channel": ("wav.scp", data.wavs.keys()),
    }
    for name, (where, ids) in known.items():
        table = tables[name]
        for key in table.values.keys() - ids:
            message = f"'{key}' is not in {where}; remove the line, or run bbb data fix"
            yield Fault(table.path, table.lines[key], message)
        # A file of one channel needs no line in reco2file_and_channel.
        complete = bool(table.values) and where == "utt2spk"
        for key in sorted(ids - table.values.keys()) if complete else []:
            yield Fault(table.path, 0, f"no line for '{key}'; add it, or run bbb data fix")
    used = {segment.recording for segment in data.segments.values()}
    for recording in data.wavs.keys() - used if data.segments else []:
        table = tables["wav.scp"]
        message = f"no segment uses recording '{recording}'"
        yield Fault(table.path, table.lines[recording], message, level="warning")


def _trial_faults(path: Path, data: DataDir) -> list[Fault]:
    """Ids in a trial list that the directory does not have, each once, at its first line."""
    unknown: dict[str, int] = {}
    counts: Counter[str] = Counter()
    models = data.spk2utt.keys() | data.utt2spk.keys()
    try:
        for number, line in numbered_lines(path):
            fields = line.split()
            if len(fields) < 2:  # noqa: PLR2004 (enroll and test)
                message = f"expected 'enroll test target|nontarget', got '{line}'; complete it"
                return [Fault(path, number, message)]
            # VoxCeleb puts the label first, Kaldi last; a speaker may be called 1.
            kaldi = len(fields) == 2 or fields[-1] in {"target", "nontarget"}  # noqa: PLR2004
            first = 1 if fields[0] in {"0", "1"} and not kaldi else 0
            enroll, test = fields[first : first + 2]
            for name in {enroll} - models | {test} - data.utt2spk.keys():
                unknown.setdefault(name, number)
                counts[name] += 1
    except FormatError as error:
        return [Fault(path, 0, str(error))]
    return [
        Fault(path, line, f"unknown utterance '{name}' ({counts[name]} trials); drop its trials")
        for name, line in unknown.items()
    ]


@dataclass(frozen=True)
class _Checked:
    """One recording after decoding: its header, and which utterances are silent."""

    info: AudioInfo
    silent: frozenset[str]


def _audio_faults(
    parsed: ParsedDir, sample_rate: int | None, min_seconds: float, progress: Progress | None
) -> list[Fault]:
    """Decode every recording, then check every utterance."""
    table, data = parsed.tables["wav.scp"], parsed.data
    users: dict[str, list[str]] = {recording: [] for recording in data.wavs}
    for utterance in data.segments or data.utt2spk:
        users.get(data.recording(utterance), []).append(utterance)
    faults, checked = [], {}
    for done, recording in enumerate(data.wavs, start=1):
        found = _decode(data, recording, users[recording])
        if isinstance(found, _Checked):
            checked[recording] = found
        else:
            faults.append(table.fault(recording, found))
        if progress is not None:
            progress(done, len(data.wavs))
    faults += _rate_faults(table, data, checked, sample_rate)
    for recording, found in checked.items():
        for utterance in users[recording]:
            faults += _utterance_faults(parsed, utterance, found, min_seconds)
    return faults


def _decode(data: DataDir, recording: str, utterances: list[str]) -> _Checked | str:
    """Decode one recording; the message of what is wrong with it otherwise."""
    try:
        info = recording_info(data, recording)
        channel = data.channel(recording)
        samples = read_waveform(data.wavs[recording], sample_rate=None, channel=channel)
    except DataError as error:
        return str(error)
    silent = set()
    for utterance in utterances:
        segment = data.segments.get(utterance)
        part = samples
        if segment is not None:
            first, last = (round(t * info.sample_rate) for t in (segment.start, segment.end))
            part = samples[first:last]
        if part.size and part.min() == part.max():
            silent.add(utterance)
    return _Checked(info, frozenset(silent))


def _rate_faults(
    table: Table, data: DataDir, checked: dict[str, _Checked], sample_rate: int | None
) -> list[Fault]:
    """Recordings whose sample rate is not the one given, or not that of most."""
    rates = Counter(found.info.sample_rate for found in checked.values())
    want = sample_rate or (rates.most_common(1)[0][0] if rates else 0)
    why = "asked for" if sample_rate else "of most recordings"
    return [
        table.fault(
            recording,
            f"{data.wavs[recording]}: {found.info.sample_rate} Hz, not the {want} Hz {why}; "
            f"resample it (ffmpeg -i IN -ar {want} OUT)",
        )
        for recording, found in checked.items()
        if found.info.sample_rate != want
    ]


def _utterance_faults(
    parsed: ParsedDir, utterance: str, found: _Checked, min_seconds: float
) -> Iterator[Fault]:
    """Bounds, length, silence and stated duration of one utterance."""
    data, length = parsed.data, found.info.duration
    segment = data.segments.get(utterance)
    table = parsed.tables["wav.scp" if segment is None else "segments"]
    if segment is not None:
        if segment.end > length + MAX_OVERSHOOT or segment.start >= length:
            yield table.fault(
                utterance,
                f"segment {segment.start} to {segment.end} s leaves the recording of "
                f"{length:.3f} s; correct the times",
            )
            return
        length = min(segment.end, length) - segment.start
    if length < max(min_seconds, SHORTEST_SECONDS):
        message = f"utterance '{utterance}' has {length:.3f} s, at least {min_seconds} s are needed"
        yield table.fault(utterance, f"{message}; drop it, or run bbb data fix")
    elif utterance in found.silent:
        message = f"utterance '{utterance}' is silent: all samples are equal; drop it"
        yield table.fault(utterance, message)
    stated = data.durations.get(utterance, length)
    if abs(stated - length) > _DURATION_TOLERANCE:
        where = parsed.tables["utt2dur"]
        message = f"'{utterance}' has {length:.3f} s, not {stated} s; bbb data fix remakes utt2dur"
        yield Fault(where.path, where.lines[utterance], message)
