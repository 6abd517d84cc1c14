"""A data directory packed into tar files, as webdataset reads them, and usable in its place."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from bbb.audio.datadir import DataDir
from bbb.audio.shards_member import Member, split_address
from bbb.audio.utterances import Utterances
from bbb.audio.waveform import load_utterance, recording_info
from bbb.errors import ConfigError, DataError
from bbb.files import atomic_path, write_text

_PLAN = "shards.json"
_INT16_SCALE = 32768.0
# Compressed files go in as they are: decoding them would make them larger.
_AS_THEY_ARE = {b"fLaC": "flac", b"OggS": "ogg"}


def write_shards(
    data: DataDir,
    output: str | os.PathLike[str],
    *,
    shard_mb: float = 256.0,
    seed: int = 0,
    part: int = 0,
    num_parts: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> DataDir | None:
    """Pack the utterances of a data directory, in random order, into tar files.

    ``00000.tar`` and so on hold two files for each utterance: ``KEY.flac``, where 16 bits hold its
    samples, else ``KEY.wav`` with 32-bit floats, and ``KEY.json`` with ``utterance``, ``speaker``,
    ``num_samples`` and ``sample_rate``. FLAC and Ogg files of one whole utterance go in as they
    are. ``KEY`` is the id, with "%2E" for a dot, which ends a key. When all are there the tables of
    a data directory are written beside them, whose ``wav.scp`` has the address of every utterance:
    the folder may be used, moved or copied like any other.

    Shards are written under temporary names. The same call goes on where a killed one was, and
    keeps those that are whole; several processes may do a part each.

    Args:
        data: What to pack; segments and sides of two-channel files are cut out.
        output: A folder that is empty, or holds shards of the same data.
        shard_mb: Largest size of a shard's samples as 16-bit numbers, in MB; FLAC halves it.
        seed: Of the order.
        part: Which shards this process makes: those whose number leaves it over ``num_parts``.
        num_parts: Processes that share the work.
        progress: Called with shards looked at and their number after each.

    Returns:
        The folder as a data directory; None while shards of other parts are missing.

    Raises:
        DataError: If an utterance cannot be read, or is silent; names it.
        ConfigError: If the folder holds something else, or an option is out of range.
    """  # noqa: DOC502 (raised by what it calls)
    if not (shard_mb > 0 and 0 <= part < num_parts):
        msg = (
            "write_shards needs shard_mb > 0 and a part from 0 to num_parts - 1, got "
            f"{shard_mb}, {part} and {num_parts}"
        )
        raise ConfigError(msg)
    folder = Path(output)
    plan = _Plan.make(data, shard_mb, seed)
    plan.claim(folder)
    wavs: dict[str, str] = {}
    for number, utterances in enumerate(plan.shards):
        found = _addresses(folder, number, utterances)
        if found is None and number % num_parts == part:
            _write_shard(data, folder, number, utterances)
            found = _addresses(folder, number, utterances)
        wavs |= found or {}
        if progress is not None:
            progress(number + 1, len(plan.shards))
    if len(wavs) < len(data):
        return None
    packed = DataDir(folder, wavs, data.utt2spk, durations=plan.durations, genders=data.genders)
    return packed.write()


@dataclass(frozen=True)
class _Plan:
    """Utterance ids of each shard, their seconds, and what tells these shards from others."""

    shards: list[list[str]]
    durations: dict[str, float]
    fingerprint: str

    @classmethod
    def make(cls, data: DataDir, shard_mb: float, seed: int) -> "_Plan":
        """Shuffle the utterances, and cut where a shard is full."""
        rate = recording_info(data, data.recording(data.utterances[0])).sample_rate
        table = Utterances(data, rate)
        order = np.random.default_rng(seed).permutation(len(table))
        digest = hashlib.sha256(json.dumps([rate, shard_mb, seed]).encode())
        shards: list[list[str]] = []
        durations: dict[str, float] = {}
        room = 0.0
        for index in order:
            name, samples = table.names[index], int(table.samples[index])
            digest.update(json.dumps([name, data.utt2spk[name], samples]).encode())
            if 2 * samples > room:
                shards.append([])
                room = shard_mb * 1e6
            shards[-1].append(name)
            durations[name] = samples / rate
            room -= 2 * samples
        return cls(shards, durations, digest.hexdigest())

    def claim(self, folder: Path) -> None:
        """Note in a folder what it is for, or find that noted there already.

        Raises:
            ConfigError: If the folder holds something else.
        """
        file = folder / _PLAN
        plan = {"format": 1, "shards": len(self.shards), "fingerprint": self.fingerprint}
        if not file.is_file():
            if folder.is_dir() and any(path.name[0] != "." for path in folder.iterdir()):
                msg = f"{folder} holds other files; choose an empty or a new folder for the shards"
                raise ConfigError(msg)
            write_text(file, json.dumps(plan) + "\n")
        elif json.loads(file.read_text(encoding="utf-8")) != plan:
            msg = (
                f"{folder} holds shards of other data, of another size or seed; choose another "
                "folder, or remove it"
            )
            raise ConfigError(msg)


def _name(number: int) -> str:
    """File name of a shard."""
    return f"{number:05d}.tar"


def _key(utterance: str) -> str:
    """What webdataset takes for the key of a sample: all of a name before its first dot."""
    return utterance.replace("%", "%25").replace(".", "%2E")


def _addresses(folder: Path, number: int, utterances: list[str]) -> dict[str, str] | None:
    """Utterance id to its place in a shard; None unless that is there, whole, and of these."""
    path = folder / _name(number)
    try:
        with tarfile.open(path, "r:") as tar:
            members = tar.getmembers()
    except (OSError, tarfile.TarError):
        return None
    wanted = [_key(utterance) for utterance in utterances]
    if [member.name.rpartition(".")[0] for member in members] != [k for k in wanted for _ in "12"]:
        return None
    places = (member.offset_data for member in members[::2])
    return {u: f"{path}:{place}" for u, place in zip(utterances, places, strict=True)}


def _write_shard(data: DataDir, folder: Path, number: int, utterances: list[str]) -> None:
    """Write one tar file; the same utterances always make the same bytes but for float wav."""
    for leftover in folder.glob(f".{Path(_name(number)).stem}.*.tar"):
        leftover.unlink()  # of a kill
    with atomic_path(folder / _name(number)) as temporary, tarfile.open(temporary, "w") as tar:
        for utterance in utterances:
            for suffix, content in _files(data, utterance):
                info = tarfile.TarInfo(f"{_key(utterance)}.{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


def _files(data: DataDir, utterance: str) -> Iterator[tuple[str, bytes]]:
    """Suffix and content of the two files of an utterance.

    Raises:
        DataError: If it cannot be read, or is silent.
    """
    recording = data.recording(utterance)
    rate = recording_info(data, recording).sample_rate
    samples = load_utterance(data, utterance, rate)
    if samples.min() == samples.max():
        msg = f"{data.path}: utterance '{utterance}' is silent: all samples are equal; drop it"
        raise DataError(msg)
    whole = not data.segments and data.channel(recording) is None
    yield (_original(data.wavs[recording]) if whole else None) or _encoded(samples, rate)
    speaker = data.utt2spk[utterance]
    about = {"utterance": utterance, "speaker": speaker}
    about |= {"gender": data.genders[speaker]} if speaker in data.genders else {}
    numbers = {"num_samples": len(samples), "sample_rate": rate}
    yield "json", json.dumps({**about, **numbers}, ensure_ascii=False).encode()


def _original(path: str) -> tuple[str, bytes] | None:
    """Suffix and content of a file that is compressed already."""
    address = split_address(path)
    with Path(path).open("rb") if address is None else Member(*address) as stream:
        magic = stream.read(4)
        suffix = _AS_THEY_ARE.get(magic)
        return None if suffix is None else (suffix, magic + stream.read())


def _encoded(samples: NDArray[np.float32], rate: int) -> tuple[str, bytes]:
    """Suffix and content of an audio file that gives back the very same samples."""
    scaled = samples * np.float32(_INT16_SCALE)
    exact = bool((scaled == np.rint(scaled)).all() and abs(scaled + 0.5).max() < _INT16_SCALE)
    kind = ("FLAC", "PCM_16") if exact else ("WAV", "FLOAT")
    stream = io.BytesIO()
    soundfile.write(
        stream, scaled.astype(np.int16) if exact else samples, rate, format=kind[0], subtype=kind[1]
    )
    return kind[0].lower(), stream.getvalue()
