"""RIRS_NOISES: room impulse responses, simulated and real, and noises, 16 kHz wav.

Ko, Peddinti, Povey, Seltzer and Khudanpur (2017), *A study on data augmentation of reverberant
speech for robust speech recognition*, ICASSP. OpenSLR SLR28, 1,311,166,223 bytes, Apache 2.0.

    python data_prep/rirs_noises.py download --output corpora
    python data_prep/rirs_noises.py prepare --source corpora/RIRS_NOISES --output data/rirs

===========  ======  ==============================================================================
set           files  what
===========  ======  ==============================================================================
smallroom    20,000  200 simulated rooms of 1 to 10 m, 100 responses of each
mediumroom   20,000  200 simulated rooms of 10 to 30 m
largeroom    20,000  200 simulated rooms of 30 to 50 m
real            325  from the RWCP, REVERB 2014 and Aachen (AIR) collections; 1 to 30 channels
isotropic        92  background noises recorded in the rooms of ``real``
pointsource     843  noises, those of free-sound in MUSAN: do not take both
===========  ======  ==============================================================================

**Download.** The archive is checked against the MD5 that OpenSLR publishes.

**Layout** that ``prepare`` reads: ``simulated_rirs/{small,medium,large}room/rir_list``,
``real_rirs_isotropic_noises/{rir_list,noise_list}`` and ``pointsource_noises/noise_list``, with
lines of options and a path that starts at ``RIRS_NOISES``: ``--rir-id ID --room-id ROOM PATH``,
``--noise-id ID --noise-type isotropic --room-linkage ROOM PATH``, ``--noise-id ID --noise-type
point-source --bg-fg-type foreground PATH``.

**Result**: ``OUTPUT/rir/SET`` and ``OUTPUT/noise/SET``, each of them a Kaldi data directory,
together the folders for augmentation: ``bbb train --config C --augment.rir_dir data/rirs/rir
--augment.rir_prob 0.5``. By default these are the two sets of Kaldi's x-vector recipes, small and
medium rooms. Training keeps them in memory, see the figure that is printed: ``--count 2000`` draws
so many of each set. Of several channels the first is taken.
"""

import argparse
import dataclasses
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import _corpus  # noqa: PLC2701 (beside this file)
import _download  # noqa: PLC2701 (beside this file)
import _script  # noqa: PLC2701 (beside this file)
import numpy as np
import soundfile
from _sounds import memory_note, write_sounds  # noqa: PLC2701 (beside this file)

from bbb.errors import ConfigError, DataError

URL = "https://www.openslr.org/resources/28/rirs_noises.zip"
CHECKSUM = "md5:e6f48e257286e05de56413b4779d8ffb"
SAMPLE_RATE = 16_000
_TOP = "RIRS_NOISES"
_AGAIN = "unpack the archive again"


@dataclasses.dataclass(frozen=True)
class SoundSet:
    """One of the corpus's lists.

    Attributes:
        table: The list, below ``RIRS_NOISES``.
        files: How many it has as published.
        kind: "rir" or "noise".
    """

    table: str
    files: int
    kind: str = "rir"


SETS = {
    "smallroom": SoundSet("simulated_rirs/smallroom/rir_list", 20_000),
    "mediumroom": SoundSet("simulated_rirs/mediumroom/rir_list", 20_000),
    "largeroom": SoundSet("simulated_rirs/largeroom/rir_list", 20_000),
    "real": SoundSet("real_rirs_isotropic_noises/rir_list", 325),
    "isotropic": SoundSet("real_rirs_isotropic_noises/noise_list", 92, "noise"),
    "pointsource": SoundSet("pointsource_noises/noise_list", 843, "noise"),
}
DEFAULT = ("smallroom", "mediumroom")


def download_rirs_noises(
    output: Path, *, url: str = URL, checksum: str | None = CHECKSUM, attempts: int = 5
) -> Path:
    """Fetch and unpack the archive; an interrupted download continues.

    Args:
        output: Folder that gets ``rirs_noises.zip`` and ``RIRS_NOISES/``.
        url: Address of the archive, or of a mirror's.
        checksum: ``md5:...`` or ``sha256:...`` of the archive; None: unchecked.
        attempts: How often to connect before giving up.

    Returns:
        The unpacked folder, the source for ``prepare``.
    """
    return _download.fetch_unpacked(
        url, output / "rirs_noises.zip", top=_TOP, checksum=checksum, attempts=attempts
    )


def read_list(file: Path, kind: str, faults: _corpus.Faults) -> dict[str, Path]:
    """Read a ``rir_list`` or ``noise_list``.

    Args:
        file: The list.
        kind: "rir" or "noise".
        faults: Gets lines that do not have the form, and files that are listed twice.

    Returns:
        Name of the audio file without its suffix to its path below ``RIRS_NOISES``, sorted.
    """
    second = "--room-id" if kind == "rir" else "--noise-type"
    rows: dict[str, Path] = {}
    wrong, twice = [], []
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        *words, last = line.split()
        path = Path(last)
        named = {f"--{kind}-id", second} <= set(words[::2])
        if not named or len(words) % 2 or path.parts[0] != _TOP:
            wrong.append(f"{file}:{number}")
        elif path.stem in rows:
            twice.append(f"{file}:{number} ({path.stem})")
        else:
            rows[path.stem] = path.relative_to(_TOP)
    faults.add(f"lines that are not '--{kind}-id ID {second} ... {_TOP}/FILE'", wrong, _AGAIN)
    faults.add("lines that name a file for the second time", twice, "remove them")
    if not rows and not wrong:
        faults.add("lists that are empty", [file], _AGAIN)
    return dict(sorted(rows.items()))


def _draw(files: Mapping[str, Path], count: int | None, seed: int) -> dict[str, Path]:
    names = [*files]
    if count is not None and count < len(names):
        drawn = np.random.default_rng(seed).choice(len(names), count, replace=False)
        names = [names[index] for index in sorted(drawn)]
    return {name: files[name] for name in names}


def _headers(
    files: Mapping[str, Path], faults: _corpus.Faults, jobs: int
) -> dict[str, tuple[float, int]]:
    """Seconds and channels; files that cannot be used go to ``faults``."""

    def header(file: Path) -> tuple[float, int] | str:
        try:
            info = soundfile.info(file)
        except soundfile.SoundFileError as error:
            return f"{file}: {'no such file' if not file.is_file() else f'no audio ({error})'}"
        if info.samplerate != SAMPLE_RATE or not info.frames:
            return f"{file}: {info.frames} samples at {info.samplerate} Hz, not {SAMPLE_RATE} Hz"
        return round(info.frames / info.samplerate, 4), info.channels

    heads = _corpus.parallel(header, [*files.values()], "headers", jobs=jobs)
    wrong = [head for head in heads if isinstance(head, str)]
    faults.add("audio files that cannot be used", wrong, "restore them, or unpack again")
    found = zip(files, heads, strict=True)
    return {name: head for name, head in found if not isinstance(head, str)}


def prepare_rirs_noises(
    source: Path,
    output: Path,
    *,
    sets: Sequence[str] = DEFAULT,
    count: int | None = None,
    seed: int = 0,
    jobs: int = _corpus.JOBS,
) -> None:
    """Make folders of room responses and of noise for augmentation.

    Args:
        source: ``RIRS_NOISES``, or the folder that holds it.
        output: Folder that gets ``rir/SET`` and ``noise/SET``.
        sets: Which of them.
        count: Draw at most so many of each set; all by default.
        seed: Of that draw.
        jobs: Threads that read headers.

    Raises:
        ConfigError: If there is no such set, or the count is not positive.
        DataError: If the source is no RIRS_NOISES, or anything in it does not fit: all at once,
            before anything is written.
    """
    if unknown := sorted(set(sets) - SETS.keys()):
        msg = f"--sets {' '.join(unknown)}: unknown; RIRS_NOISES has {', '.join(SETS)}"
        raise ConfigError(msg)
    if count is not None and count < 1:
        msg = f"--count must be at least 1, got {count}; leave it out to take all"
        raise ConfigError(msg)
    root = source / _TOP if (source / _TOP).is_dir() else source
    tables = {name: root / one.table for name, one in SETS.items()}
    if not any(table.is_file() for table in tables.values()):
        msg = f"{root}: none of its lists is there, such as {tables[DEFAULT[0]]}; check --source"
        raise DataError(msg)
    faults = _corpus.Faults(root)
    missing = [tables[name] for name in sets if not tables[name].is_file()]
    faults.add("lists that are missing", missing, f"{_AGAIN}, or choose with --sets")
    listed = {
        name: read_list(tables[name], SETS[name].kind, faults)
        for name in sets
        if tables[name] not in missing
    }
    files = {
        name: {key: root / path for key, path in _draw(paths, count, seed).items()}
        for name, paths in listed.items()
    }
    heads = {name: _headers(members, faults, jobs) for name, members in files.items()}
    folders = {output / one.kind / name: name for name, one in SETS.items()}
    left = [folder for folder, name in folders.items() if folder.is_dir() and name not in sets]
    # Training would take them too: it searches the folder above.
    faults.add("folders that are left from a run with other --sets", left, "remove them")
    faults.check()
    seconds: dict[str, float] = defaultdict(float)
    for name, members in files.items():
        lengths = {key: length for key, (length, _) in heads[name].items()}
        several = frozenset(key for key, (_, channels) in heads[name].items() if channels > 1)
        write_sounds(output / SETS[name].kind / name, members, lengths, several=several)
        seconds[SETS[name].kind] += sum(lengths.values())
    for kind, total in seconds.items():
        print(memory_note(output / kind, total, SAMPLE_RATE))
    _corpus.count_table((name, len(paths), SETS[name].files) for name, paths in listed.items())


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and do it.

    Args:
        argv: Arguments; those of the process when None.
    """
    parser = argparse.ArgumentParser(description="RIRS_NOISES (OpenSLR SLR28)")
    verbs = parser.add_subparsers(dest="verb", required=True)
    fetch = verbs.add_parser("download", help="fetch and unpack the archive (1.3 GB)")
    fetch.add_argument("--output", type=Path, required=True, help="folder for the archive")
    fetch.add_argument("--url", default=URL, help="address of a mirror (default: %(default)s)")
    prepare = verbs.add_parser("prepare", help="make folders for augmentation")
    prepare.add_argument("--source", type=Path, required=True, help="folder RIRS_NOISES")
    prepare.add_argument("--output", type=Path, required=True, help="folder of rir and noise")
    prepare.add_argument(
        "--sets", nargs="+", default=[*DEFAULT], help=f"of {', '.join(SETS)} (default: %(default)s)"
    )
    prepare.add_argument("--count", type=int, help="draw so many of each set (default: all)")
    prepare.add_argument("--seed", type=int, default=0, help="of that draw")
    prepare.add_argument("--jobs", type=int, default=_corpus.JOBS, help="threads that read")
    arguments = vars(parser.parse_args(argv))
    if arguments.pop("verb") == "download":
        download_rirs_noises(**arguments)
    else:
        prepare_rirs_noises(**arguments)


if __name__ == "__main__":
    sys.exit(_script.run(main))
