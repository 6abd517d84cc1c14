"""LibriSpeech and mini-LibriSpeech: English audiobooks, 2,484 readers, 16 kHz FLAC.

Panayotov, Chen, Povey and Khudanpur (2015), *Librispeech: an ASR corpus based on public domain
audio books*, ICASSP. OpenSLR SLR12 (1000 hours) and SLR31 (five hours of train-clean-100 and two of
dev-clean, for trying things out); both CC BY 4.0. A reader stands in one part of SLR12 only; the
chapters of a reader are different recordings, often of different days and microphones.

    python data_prep/librispeech.py download --output corpora --parts train-clean-5 dev-clean-2
    python data_prep/librispeech.py prepare --source corpora/LibriSpeech --output data/libri

==================  =======  ==========  ========  =====  ==========================
part                archive  utterances  speakers  hours  of it
==================  =======  ==========  ========  =====  ==========================
train-clean-5       0.33 GB       1,519                5  in train-clean-100
dev-clean-2         0.13 GB       1,089        26      2  in dev-clean
train-clean-100     6.4 GB       28,539       251  100.6
train-clean-360     23.0 GB     104,014       921  363.6
train-other-500     30.6 GB     148,688     1,166  496.7
dev-clean           0.34 GB       2,703        40    5.4
dev-other           0.31 GB       2,864        33    5.3
test-clean          0.35 GB       2,620        40    5.4
test-other          0.33 GB       2,939        33    5.1
==================  =======  ==========  ========  =====  ==========================

Speakers and hours are those of table 1 of the paper, utterances those of the corpus; of SLR31
nothing was published, its counts are those that users report. Unpacked, a part takes as much room
as its archive, which is kept.

**Download.** Each archive is checked against the MD5 that OpenSLR publishes beside it
(``resources/12/md5sum.txt``, ``resources/31/md5sum.txt``). Mirrors: ``--url
https://us.openslr.org/resources``, ``https://openslr.elda.org/resources``.

**Layout** that ``prepare`` reads: ``PART/READER/CHAPTER/READER-CHAPTER-NUMBER.flac`` with
``READER-CHAPTER.trans.txt`` beside them, and ``SPEAKERS.TXT`` and ``CHAPTERS.TXT`` above the parts.

**Result**: a data directory for every part, under its name; ``train`` of all train parts, ``test``
of all test parts and ``dev`` of all dev parts; without a test part, the dev parts make ``test``.
``dev`` and ``test`` get ``trials`` (every unordered pair of utterances of different chapters) and
``trials_same_gender``. Ids are the corpus's own: speaker ``84``, utterance ``84-121123-0000``.
"""

import argparse
import dataclasses
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import _corpus  # noqa: PLC2701 (beside this file)
import _download  # noqa: PLC2701 (beside this file)
import _lists  # noqa: PLC2701 (beside this file)
import _script  # noqa: PLC2701 (beside this file)
from _librispeech import (  # noqa: PLC2701 (beside this file)
    Tables,
    chapter_of,
    read_part,
    speaker_of,
)

from bbb.audio.datadir import DataDir
from bbb.errors import ConfigError, DataError

URL = "https://www.openslr.org/resources"
SAMPLE_RATE = 16_000
_TOP = "LibriSpeech"


@dataclasses.dataclass(frozen=True)
class Part:
    """What is published of a part.

    Attributes:
        resource: Number of the OpenSLR resource.
        md5: Of the archive.
        utterances: Their number; None where nothing was published.
        speakers: Their number; None where nothing was published.
        parent: The part of SLR12 that it was taken from; "" for a part of SLR12.
    """

    resource: int
    md5: str
    utterances: int | None = None
    speakers: int | None = None
    parent: str = ""


PARTS = {
    "train-clean-5": Part(31, "5df7d4e78065366204ca6845bb08f490", 1_519, parent="train-clean-100"),
    "dev-clean-2": Part(31, "6d7ab67ac6a1d2c993d050e16d61080d", 1_089, 26, parent="dev-clean"),
    "train-clean-100": Part(12, "2a93770f6d5c6c964bc36631d331a522", 28_539, 251),
    "train-clean-360": Part(12, "c0e676e450a7ff2f54aeade5171606fa", 104_014, 921),
    "train-other-500": Part(12, "d1a0fd59409feb2c614ce4d30c387708", 148_688, 1_166),
    "dev-clean": Part(12, "42e2234ba48799c1f50f24a7926300a1", 2_703, 40),
    "dev-other": Part(12, "c8d0bcc9cca99d4f8b62fcc847357931", 2_864, 33),
    "test-clean": Part(12, "32fa31d27d2e1cad72775fee3f4849a9", 2_620, 40),
    "test-other": Part(12, "fb5a50374b501bb3bac4815ee91d3135", 2_939, 33),
}
CHECKSUMS = {name: f"md5:{part.md5}" for name, part in PARTS.items()}


def download_librispeech(
    output: Path,
    parts: Sequence[str],
    *,
    url: str = URL,
    checksums: Mapping[str, str] | None = CHECKSUMS,
    attempts: int = 5,
) -> Path:
    """Fetch and unpack parts; an interrupted download continues.

    Args:
        output: Folder that gets ``PART.tar.gz`` and ``LibriSpeech/PART``.
        parts: Names of parts.
        url: The folder of OpenSLR's resources, or of a mirror's.
        checksums: ``md5:...`` or ``sha256:...`` of each archive; None: unchecked.
        attempts: How often to connect before giving up.

    Returns:
        The folder ``LibriSpeech``, the source for ``prepare``.

    Raises:
        ConfigError: If there is no such part.
        DataError: If a transfer keeps breaking or an archive is not the published one.
    """  # noqa: DOC502 (names are checked aside)
    _check_names(parts)
    root = output / _TOP
    for part in parts:
        if (root / part).is_dir():
            print(f"{root / part}: is there already")
            continue
        archive = _download.download(
            f"{url.rstrip('/')}/{PARTS[part].resource}/{part}.tar.gz",
            output / f"{part}.tar.gz",
            checksum=checksums[part] if checksums is not None else None,
            attempts=attempts,
        )
        # Every archive has the same top folder, so each is unpacked on its own and then moved.
        holder = output / f".{part}"
        unpacked = _download.extract_tar_gz(archive, holder, top=_TOP)
        if not (unpacked / part).is_dir():
            shutil.rmtree(holder)
            msg = f"{archive}: no folder {_TOP}/{part} in it; is it the right archive?"
            raise DataError(msg)
        root.mkdir(exist_ok=True)
        for table in unpacked.glob("*.TXT"):
            table.replace(root / table.name)
        (unpacked / part).replace(root / part)
        shutil.rmtree(holder)
    return root


def _check_names(parts: Iterable[str]) -> None:
    if unknown := sorted(set(parts) - PARTS.keys()):
        msg = f"--parts {' '.join(unknown)}: unknown; LibriSpeech has {', '.join(PARTS)}"
        raise ConfigError(msg)


def _groups(parts: Iterable[str]) -> dict[str, list[str]]:
    """The parts that ``train``, ``dev`` and ``test`` are made of."""
    groups: dict[str, list[str]] = {"train": [], "dev": [], "test": []}
    for part in parts:
        groups[part.partition("-")[0]].append(part)
    if not groups["test"]:
        groups["test"], groups["dev"] = groups["dev"], []
    return {name: members for name, members in groups.items() if members}


def _check_overlaps(
    corpus: Mapping[str, Mapping[str, Path]],
    groups: Mapping[str, Sequence[str]],
    faults: _corpus.Faults,
) -> None:
    times = Counter(name for files in corpus.values() for name in files)
    twice = sorted(name for name, count in times.items() if count > 1)
    remedy = "choose with --parts: SLR31 is contained in SLR12"
    faults.add("utterances that stand in two parts", twice, remedy)
    sides = {
        group: {speaker_of(name) for part in parts for name in corpus[part]}
        for group, parts in groups.items()
    }
    for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
        common = sorted(sides.get(one, set()) & sides.get(other, set()))
        remedy = "an evaluation needs speakers of its own: choose other --parts"
        faults.add(f"speakers that are in {one} and in {other}", common, remedy)


def prepare_librispeech(
    source: Path,
    output: Path,
    *,
    parts: Sequence[str] | None = None,
    max_nontargets: int | None = None,
    seed: int = 0,
    jobs: int = _corpus.JOBS,
) -> None:
    """Make the Kaldi data directories.

    Args:
        source: ``LibriSpeech``, or the folder that holds it.
        output: Folder that gets one directory per part, ``train``, ``test``, perhaps ``dev``.
        parts: Parts to use; all that are there by default.
        max_nontargets: Keep at most so many nontarget trials of ``dev`` and of ``test``.
        seed: Of that draw.
        jobs: Threads that read folders and headers.

    Raises:
        ConfigError: If there is no such part.
        DataError: If a table is missing, or anything in the corpus does not fit: all at once,
            before anything is written.
    """  # noqa: DOC502 (raised by the readers)
    root = source / _TOP if (source / _TOP).is_dir() else source
    found = [part for part in PARTS if (root / part).is_dir()]
    _check_names(parts or ())
    absent = [part for part in parts or () if part not in found]
    faults = _corpus.Faults(root)
    if absent or not found:
        hint = f"there are {', '.join(found)}" if found else "check --source"
        msg = f"{root}: no folder {', '.join(absent or PARTS)}; {hint}, or download what is missing"
        raise DataError(msg)
    chosen = [part for part in PARTS if part in (parts or found)]
    tables, groups = Tables.read(root, faults), _groups(chosen)
    corpus = {
        part: read_part(root / part, tables, faults, parent=PARTS[part].parent, jobs=jobs)
        for part in chosen
    }
    _check_overlaps(corpus, groups, faults)
    files = {name: file for part in corpus.values() for name, file in part.items()}
    lengths = _corpus.durations(files, jobs, sample_rate=SAMPLE_RATE, faults=faults)
    faults.check()
    members = {
        name: {k: v for part in parts for k, v in corpus[part].items()}
        for name, parts in groups.items()
    }
    trials = {
        name: _lists.all_pairs(
            {utterance: speaker_of(utterance) for utterance in utterances},
            utt2session={utterance: chapter_of(utterance) for utterance in utterances},
            max_nontargets=max_nontargets,
            seed=seed,
        )
        for name, utterances in members.items()
        if name != "train"
    }
    for name, part in (corpus | members).items():
        data = _data_dir(output / name, part, tables.genders, lengths).write()
        if name in trials:
            genders = {utterance: data.genders[speaker_of(utterance)] for utterance in part}
            _lists.write_trial_lists(data.path, trials[name], genders)
    _print_counts(corpus, tables, lengths)


def _data_dir(
    folder: Path, files: Mapping[str, Path], genders: Mapping[str, str], lengths: dict[str, float]
) -> DataDir:
    return DataDir(
        path=folder,
        wavs={name: str(file.resolve()) for name, file in files.items()},
        utt2spk={name: speaker_of(name) for name in files},
        durations={name: lengths[name] for name in files},
        genders={speaker_of(name): genders[speaker_of(name)] for name in files},
    )


def _print_counts(
    corpus: Mapping[str, Mapping[str, Path]],
    tables: Tables,
    lengths: Mapping[str, float],
) -> None:
    rows: list[tuple[str, int | float, int | float | None]] = []
    for part, files in corpus.items():
        published = PARTS[part]
        rows += [
            (f"{part}: utterances", len(files), published.utterances),
            (f"{part}: speakers", len({*map(speaker_of, files)}), published.speakers),
            (f"{part}: chapters", len({*map(chapter_of, files)}), tables.chapters.get(part)),
            (f"{part}: hours", sum(lengths[name] for name in files) / 3600, None),
        ]
    _corpus.count_table(rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and do it.

    Args:
        argv: Arguments; those of the process when None.
    """
    parser = argparse.ArgumentParser(description="LibriSpeech (OpenSLR SLR12 and SLR31)")
    verbs = parser.add_subparsers(dest="verb", required=True)
    fetch = verbs.add_parser("download", help="fetch and unpack parts (0.1 to 31 GB each)")
    fetch.add_argument("--output", type=Path, required=True, help="folder for the archives")
    fetch.add_argument("--parts", nargs="+", required=True, help=", ".join(PARTS))
    fetch.add_argument("--url", default=URL, help="resources of a mirror (default: %(default)s)")
    prepare = verbs.add_parser("prepare", help="make Kaldi data directories")
    prepare.add_argument("--source", type=Path, required=True, help="folder LibriSpeech")
    prepare.add_argument("--output", type=Path, required=True, help="folder of train, test, ...")
    prepare.add_argument("--parts", nargs="+", help="parts to use (default: all that are there)")
    prepare.add_argument(
        "--max-nontargets", type=int, help="keep at most so many nontarget trials (default: all)"
    )
    prepare.add_argument("--seed", type=int, default=0, help="of the draw of nontargets")
    prepare.add_argument("--jobs", type=int, default=_corpus.JOBS, help="threads that read")
    arguments = vars(parser.parse_args(argv))
    if arguments.pop("verb") == "download":
        download_librispeech(**arguments)
    else:
        prepare_librispeech(**arguments)


if __name__ == "__main__":
    sys.exit(_script.run(main))
