"""MUSAN: 109 hours of music, speech and noise to mix into training speech, 16 kHz wav.

Snyder, Chen and Povey (2015), *MUSAN: A Music, Speech, and Noise Corpus*, arXiv:1510.08484. OpenSLR
SLR17, 11.1 GB. The collection is under CC BY 4.0; every file keeps the licence of its source
(public domain, CC BY and CC BY-SA of several versions), which stands in the ``LICENSE`` beside it
and asks, for most, that the author be named where the audio is passed on.

    python data_prep/musan.py download --output corpora
    python data_prep/musan.py prepare --source corpora/musan --output data/musan

======  =====  =====  =====================================
kind    files  hours  sources
======  =====  =====  =====================================
music     660   42.5  fma, fma-western-art, hd-classical, jamendo, rfm
speech    426   60.4  librivox, us-gov
noise     930      6  free-sound, sound-bible
======  =====  =====  =====================================

**Download.** The archive is checked against the MD5 that OpenSLR publishes. It is kept, and takes
as much room again when unpacked.

**Layout** that ``prepare`` reads: ``KIND/SOURCE/KIND-SOURCE-0000.wav``, and for music
``music/SOURCE/ANNOTATIONS`` with lines of file, genres, Y or N for vocals, and artist. As in
Kaldi's recipe, music without an annotation (15 files) is left out; ``--no-vocals`` also leaves out
music with vocals, which is speech to a detector.

**Result**: ``OUTPUT/noise``, ``OUTPUT/music`` and ``OUTPUT/speech``, each of them a Kaldi data
directory and a folder for augmentation: ``bbb train --config C --augment.noise_dir data/musan/noise
--augment.noise_prob 0.2``, and ``music_dir`` and ``babble_dir`` likewise. Training keeps the noise
in memory, and reads music and speech from disk. Kaldi's recipe adds noise at 0 to 15 dB, music at 5
to 15 dB, and three to seven speech files at once at 13 to 20 dB.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import _corpus  # noqa: PLC2701 (beside this file)
import _download  # noqa: PLC2701 (beside this file)
import _script  # noqa: PLC2701 (beside this file)
from _sounds import memory_note, write_sounds  # noqa: PLC2701 (beside this file)

from bbb.errors import ConfigError, DataError

URL = "https://www.openslr.org/resources/17/musan.tar.gz"
CHECKSUM = "md5:0c472d4fc0c5141eca47ad1ffeb2a7df"
SAMPLE_RATE = 16_000
FILES = {"noise": 930, "music": 660, "speech": 426}
_TOP = "musan"
_AGAIN = "unpack the archive again"
_NO_FIELDS = 3


def download_musan(
    output: Path, *, url: str = URL, checksum: str | None = CHECKSUM, attempts: int = 5
) -> Path:
    """Fetch and unpack the archive; an interrupted download continues.

    Args:
        output: Folder that gets ``musan.tar.gz`` and ``musan/``.
        url: Address of the archive, or of a mirror's.
        checksum: ``md5:...`` or ``sha256:...`` of the archive; None: unchecked.
        attempts: How often to connect before giving up.

    Returns:
        The unpacked folder, the source for ``prepare``.
    """
    return _download.fetch_unpacked(
        url, output / f"{_TOP}.tar.gz", top=_TOP, checksum=checksum, attempts=attempts
    )


def read_annotations(file: Path, faults: _corpus.Faults) -> dict[str, bool]:
    """Which music has vocals.

    Args:
        file: An ``ANNOTATIONS`` of music: file, genres, Y or N, artist.
        faults: Gets lines without Y or N.

    Returns:
        Name of the file without its suffix to whether there are vocals.
    """
    vocals, wrong = {}, []
    lines = file.read_text("utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        name, *fields = line.split() or [""]
        # Genres come before it as a rule, and after it in places.
        sign = next((field for field in fields[:_NO_FIELDS] if field in {"Y", "N"}), None)
        if sign is not None:
            vocals[name] = sign == "Y"
        elif name:
            wrong.append(f"{file}:{number}")
    faults.add("annotations without Y or N for vocals", wrong, _AGAIN)
    return vocals


def _read_kind(folder: Path, faults: _corpus.Faults, jobs: int) -> dict[str, Path]:
    """The audio files of a kind by name."""
    if not folder.is_dir():
        faults.add("folders that are missing", [folder], f"{_AGAIN}, or choose with --kinds")
        return {}
    found = _corpus.find_files(folder, (".wav",), jobs=jobs)
    files = {file.stem: file for file in found}
    alien = [file for file in found if not file.stem.startswith(f"{folder.name}-")]
    faults.add(f"files in {folder.name} of another kind", alien, "a folder was moved: move it back")
    twice = [file for file in found if files[file.stem] != file]
    faults.add("files whose name occurs twice", twice, "remove one of them")
    if not found:
        faults.add("folders without audio", [folder], _AGAIN)
    return files


def _annotated(
    files: Mapping[str, Path], folder: Path, faults: _corpus.Faults, *, no_vocals: bool
) -> dict[str, Path]:
    """The music that is annotated, and perhaps instrumental."""
    vocals: dict[str, bool] = {}
    for table in sorted({file.with_name("ANNOTATIONS") for file in files.values()}):
        if table.is_file():
            vocals |= read_annotations(table, faults)
    if files and not vocals:
        faults.add("folders of music without ANNOTATIONS", [folder], _AGAIN)
    lost = [f"{folder}/{name}" for name in sorted(vocals.keys() - files.keys())]
    faults.add("annotated files that are missing", lost, _AGAIN)
    return {
        name: file
        for name, file in files.items()
        if name in vocals and not (no_vocals and vocals[name])
    }


def prepare_musan(
    source: Path,
    output: Path,
    *,
    kinds: Sequence[str] = tuple(FILES),
    no_vocals: bool = False,
    jobs: int = _corpus.JOBS,
) -> None:
    """Make a folder of every kind for augmentation, each a Kaldi data directory.

    Args:
        source: ``musan``, or the folder that holds it.
        output: Folder that gets ``noise``, ``music`` and ``speech``.
        kinds: Which of them.
        no_vocals: Leave out music with vocals.
        jobs: Threads that read folders and headers.

    Raises:
        ConfigError: If there is no such kind.
        DataError: If the source is no MUSAN, or anything in it does not fit: all at once, before
            anything is written.
    """
    root = source / _TOP if (source / _TOP).is_dir() else source
    if unknown := sorted(set(kinds) - FILES.keys()):
        msg = f"--kinds {' '.join(unknown)}: unknown; MUSAN has {', '.join(FILES)}"
        raise ConfigError(msg)
    if not any((root / kind).is_dir() for kind in FILES):
        msg = f"{root}: none of the folders {', '.join(FILES)} is there; check --source"
        raise DataError(msg)
    faults = _corpus.Faults(root)
    found = {kind: _read_kind(root / kind, faults, jobs) for kind in kinds}
    used = dict(found)
    if "music" in found:
        used["music"] = _annotated(found["music"], root / "music", faults, no_vocals=no_vocals)
    files = {name: file for kind in used.values() for name, file in kind.items()}
    lengths = _corpus.durations(files, jobs, sample_rate=SAMPLE_RATE, faults=faults)
    faults.check()
    for kind, members in used.items():
        write_sounds(output / kind, members, lengths)
        seconds = sum(lengths[name] for name in members)
        if kind == "noise":
            print(memory_note(output / kind, seconds, SAMPLE_RATE))
        if left := len(found[kind]) - len(members):
            print(f"{output / kind}: without {left} files (not annotated, or with vocals)")
    _corpus.count_table((kind, len(found[kind]), FILES[kind]) for kind in found)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and do it.

    Args:
        argv: Arguments; those of the process when None.
    """
    parser = argparse.ArgumentParser(description="MUSAN (OpenSLR SLR17)")
    verbs = parser.add_subparsers(dest="verb", required=True)
    fetch = verbs.add_parser("download", help="fetch and unpack the archive (11 GB)")
    fetch.add_argument("--output", type=Path, required=True, help="folder for the archive")
    fetch.add_argument("--url", default=URL, help="address of a mirror (default: %(default)s)")
    prepare = verbs.add_parser("prepare", help="make folders for augmentation")
    prepare.add_argument("--source", type=Path, required=True, help="folder musan")
    prepare.add_argument("--output", type=Path, required=True, help="folder of noise, music, ...")
    prepare.add_argument("--kinds", nargs="+", default=[*FILES], help="(default: %(default)s)")
    prepare.add_argument("--no-vocals", action="store_true", help="leave out music with vocals")
    prepare.add_argument("--jobs", type=int, default=_corpus.JOBS, help="threads that read")
    arguments = vars(parser.parse_args(argv))
    if arguments.pop("verb") == "download":
        download_musan(**arguments)
    else:
        prepare_musan(**arguments)


if __name__ == "__main__":
    sys.exit(_script.run(main))
