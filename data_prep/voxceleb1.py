"""VoxCeleb1: 153,516 utterances of 1,251 celebrities, cut from videos of interviews.

Nagrani, Chung, Zisserman (2017), *VoxCeleb: a large-scale speaker identification dataset*,
Interspeech; trial lists E and H: Chung, Nagrani, Zisserman (2018), *VoxCeleb2: Deep Speaker
Recognition*, Interspeech. Annotations CC BY 4.0; the copyright of the audio remains with the owners
of the videos, so it is given out on request: https://mm.kaist.ac.kr/datasets/voxceleb/ sends links
with a key by e-mail. 352 h of 16 kHz WAV; zip files 32.6 GB (dev, in four parts) and 1.1 GB (test),
unpacked 39 GB.

    python data_prep/voxceleb1.py download --output corpora/voxceleb1 --key-file key
    python data_prep/voxceleb1.py prepare --source corpora/voxceleb1 --output data/voxceleb1

**Download.** Lists come from Oxford, or else from KAIST. The audio needs ``--key-file`` (a file
with the key of the e-mail's links), or ``--user`` and ``--password-file`` (Oxford's login of
earlier years), or the ``--base-url`` of a mirror. Parts are checked against the MD5 sums that
clovaai/voxceleb_trainer lists; a broken transfer continues; the parts are unpacked without a
joined copy (75 GB of disk in all; the zip files can go afterwards). Parts that a browser put into
``--output`` are checked and unpacked too. ``--only lists test`` is enough to evaluate on O.

**Layouts** that ``prepare`` reads: every file ``SPEAKER/VIDEO/NUMBER.wav`` (or ``.flac``) below
``--source``, whether the two archives keep their own folders (``vox1_dev_wav/wav``, ``dev/wav``)
or were unpacked into one ``wav``; ``vox1_meta.csv`` says who belongs to which set. It and the
lists lie in ``--source``, or in ``--lists``.

**Result** (``--sets``; utterances are named ``id10001-1zcIwhmdeo4-00001``):

* ``train``: the 1,211 development speakers.
* ``test``: the other 40, with ``trials_o`` (``veri_test2.txt``, VoxCeleb1-O cleaned) and
  ``trials_o_original`` (``veri_test.txt``, with its label errors: for old papers).
* ``all``: all 1,251, with ``trials_e``, ``trials_h`` (``list_test_all2.txt``,
  ``list_test_hard2.txt``) and their ``_original``. **It contains train**: use E and H only with
  models that were trained on other speakers, which in the literature are VoxCeleb2's.
* ``iden_train``, ``iden_dev``, ``iden_test`` (``--sets iden``): the identification task of
  ``iden_split.txt``, all speakers in each.

**Checked**, all faults in one message before anything is written: lists that are missing;
folders that are no speaker; speakers unknown, missing, moved or in both sets; utterances there
twice; trials without audio or with a label that contradicts the speakers; from each file's header
(nothing is decoded; ``bbb data validate`` does that) that it is 16 kHz mono, neither empty nor cut
short. Afterwards the counts stand beside the published ones: those of the corpus from its home
page, those of the trial lists as PaddleSpeech's examples/voxceleb counts them.
"""

import argparse
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import _corpus  # noqa: PLC2701 (beside this file)
import _lists  # noqa: PLC2701 (beside this file)
import _script  # noqa: PLC2701 (beside this file)
import _voxceleb  # noqa: PLC2701 (beside this file)
import _voxceleb_download  # noqa: PLC2701 (beside this file)
import numpy as np

from bbb.errors import FormatError
from bbb.files import numbered_lines
from bbb.scoring.trials import read_trials

CORPUS = _voxceleb.Corpus(
    meta="vox1_meta.csv",
    speaker=re.compile(r"id1\d{4}"),
    example="wav/id10001/1zcIwhmdeo4/00001.wav",
    lists={
        "vox1_meta.csv": "",
        "iden_split.txt": "09710b779bc221585f5837ef0341a1d2",
        "veri_test.txt": "29fc7cc1c5d59f0816dc15d6e8be60f7",
        "veri_test2.txt": "b73110731c9223c1461fe49cb48dddfc",
        "list_test_all.txt": "b9ecf7aa49d4b656aa927a8092844e4a",
        "list_test_all2.txt": "a53e059deb562ffcfc092bf5d90d9f3a",
        "list_test_hard.txt": "21c341b6b2168eea2634df0fb4b8fff1",
        "list_test_hard2.txt": "857790e09d579a68eb2e339a090343c8",
    },
    archives={
        "dev": _voxceleb.Archive(
            parts={
                "vox1_dev_wav_partaa": "e395d020928bc15670b570a21695ed96",
                "vox1_dev_wav_partab": "bbfaaccefab65d82b21903e81a8a8020",
                "vox1_dev_wav_partac": "017d579a2a96a077f40042ec33e51512",
                "vox1_dev_wav_partad": "7bb1e9f70fddc7a678fa998ea8b3ba19",
            },
            below="vox1_dev_wav",
            top="wav",
        ),
        "test": _voxceleb.Archive(
            parts={"vox1_test_wav.zip": "185fdc63c3c739954633d50379a3d102"},
            below="vox1_test_wav",
            top="wav",
        ),
    },
)
# Set: the splits whose speakers it needs.
SETS = {
    "train": {"dev"},
    "test": {"test"},
    "all": {"dev", "test"},
    "iden": {"dev", "test"},
}
# Set, and name there: the list, and how many trials it has.
TRIALS = {
    ("test", "trials_o"): ("veri_test2.txt", 37_611),
    ("test", "trials_o_original"): ("veri_test.txt", 37_720),
    ("all", "trials_e"): ("list_test_all2.txt", 579_818),
    ("all", "trials_e_original"): ("list_test_all.txt", 581_480),
    ("all", "trials_h"): ("list_test_hard2.txt", 550_894),
    ("all", "trials_h_original"): ("list_test_hard.txt", 552_536),
}
_SPLIT = "iden_split.txt"
_IDEN = {"1": "iden_train", "2": "iden_dev", "3": "iden_test"}
_PUBLISHED = {
    "train": (1211, 148_642),
    "test": (40, 4874),
    "all": (1251, 153_516),
    "iden_train": (1251, 138_361),
    "iden_dev": (1251, 6904),
    "iden_test": (1251, 8251),
}


def _utterance(file: str) -> str:
    """Utterance id of a file as the lists name it."""
    return file.rpartition(".")[0].replace("/", "-")


def read_list(file: Path, known: Collection[str], faults: _corpus.Faults) -> _lists.Trials:
    """Read a list of trials in the corpus's form, ``1 id10270/5r0dWxy17C8/00001.wav ...``.

    Args:
        file: The list.
        known: Utterances that have audio.
        faults: Gets those that have none, and labels that contradict the speakers.

    Returns:
        The trials, in the order of the list.

    Raises:
        FormatError: If a line has another form.
    """  # noqa: DOC502 (raised by the reader)
    listed = read_trials(file)
    sides = [[_utterance(name) for name in ids] for ids in (listed.enroll_ids, listed.test_ids)]
    names = sorted({*sides[0], *sides[1]})
    place = {name: number for number, name in enumerate(names)}
    enroll, test = (
        np.array([place[name] for name in ids])[codes]
        for ids, codes in zip(sides, (listed.enroll, listed.test), strict=True)
    )
    trials = _lists.Trials(names, enroll, test, listed.is_target)
    faults.add(
        f"utterances of {file.name} without audio",
        [name for name in names if name not in known],
        "unpack the archives anew, or fetch the list again",
    )
    wrong = trials.both({name: name.partition("-")[0] for name in names}) != trials.is_target
    faults.add(
        f"trials of {file.name} whose label contradicts their speakers",
        [f"{names[trials.enroll[n]]} {names[trials.test[n]]}" for n in np.flatnonzero(wrong)],
        "fetch the list again",
    )
    return trials


def read_split(
    file: Path, files: Mapping[str, Path], faults: _corpus.Faults
) -> dict[str, dict[str, Path]]:
    """Read the identification split, ``1 id10003/tCq2LcKO6xY/00002.wav`` (1 train, 2 dev, 3 test).

    Args:
        file: The list.
        files: Utterance id to audio.
        faults: Gets utterances without audio, and those listed twice.

    Returns:
        Name of the set to its utterances and their files.

    Raises:
        FormatError: If a line has another form.
    """
    split: dict[str, dict[str, Path]] = {name: {} for name in _IDEN.values()}
    seen, twice, absent = set(), [], []
    for number, line in numbered_lines(file):
        part, _, name = line.partition(" ")
        if part not in _IDEN or not CORPUS.speaker.fullmatch(name.partition("/")[0]):
            msg = f"{file}:{number}: expected '1|2|3 {CORPUS.example[4:]}', got '{line}'"
            raise FormatError(msg)
        utterance = _utterance(name)
        if utterance in seen:
            twice.append(utterance)
        seen.add(utterance)
        if utterance in files:
            split[_IDEN[part]][utterance] = files[utterance]
        else:
            absent.append(utterance)
    faults.add(f"utterances that {file.name} has twice", twice, "fetch the list again")
    remedy = "unpack the archives anew, or fetch the list again"
    faults.add(f"utterances of {file.name} without audio", absent, remedy)
    return split


def prepare_voxceleb1(
    source: Path,
    output: Path,
    *,
    lists: Path | None = None,
    sets: Collection[str] = ("train", "test", "all"),
    jobs: int = _corpus.JOBS,
) -> None:
    """Make the Kaldi data directories.

    Args:
        source: The unpacked archives.
        output: Folder that gets the sets.
        lists: Folder of ``vox1_meta.csv`` and the lists; ``source`` when None.
        sets: Which of "train", "test", "all", "iden".
        jobs: Number of threads that read headers.

    Raises:
        DataError: With everything that is wrong, before anything is written.
        FormatError: If a list has another form; names file and line.
    """  # noqa: DOC502 (raised by the parts)
    faults = _corpus.Faults(source)
    lists = lists or source
    trials_of = {key: lists / file for key, (file, _) in TRIALS.items() if key[0] in sets}
    wanted = [*trials_of.values(), *([lists / _SPLIT] if "iden" in sets else [])]
    people = _voxceleb.read_people(CORPUS, lists, wanted, faults, "voxceleb1.py")
    splits = set().union(*(SETS[name] for name in sets))
    files = _voxceleb.find_utterances(CORPUS, source.resolve(), people, splits, faults)
    trials = {
        key: read_list(file, files, faults) for key, file in trials_of.items() if file.is_file()
    }
    members = {
        name: _voxceleb.of_splits(files, people, SETS[name]) for name in sets if name != "iden"
    }
    if "iden" in sets and (lists / _SPLIT).is_file():
        members |= read_split(lists / _SPLIT, files, faults)
    seconds = _corpus.durations(files, jobs, sample_rate=_voxceleb.SAMPLE_RATE, faults=faults)
    faults.check()
    rows = []
    for name, chosen in members.items():
        data = _voxceleb.write_set(output / name, chosen, seconds, people)
        rows += _voxceleb.count_rows(data, _PUBLISHED[name])
    for (name, kind), pairs in trials.items():
        _lists.write_trials(output / name / kind, pairs)
        rows.append((f"{name}/{kind}", len(pairs), TRIALS[name, kind][1]))
    _corpus.count_table(rows)
    if "all" in sets:
        print(
            f"note: {output / 'all'} contains the training speakers: for models of VoxCeleb2 only"
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and do it.

    Args:
        argv: Arguments; those of the process when None.
    """
    parser = argparse.ArgumentParser(description="VoxCeleb1")
    verbs = parser.add_subparsers(dest="verb", required=True)
    _voxceleb_download.add_options(verbs.add_parser("download", help="fetch and unpack (75 GB)"))
    prepare = verbs.add_parser("prepare", help="make Kaldi data directories")
    _voxceleb.add_options(prepare, SETS, ("train", "test", "all"))
    arguments = parser.parse_args(argv)
    options = vars(arguments)
    if options.pop("verb") == "download":
        _voxceleb_download.run(CORPUS, arguments)
    else:
        prepare_voxceleb1(**options)


if __name__ == "__main__":
    sys.exit(_script.run(main))
