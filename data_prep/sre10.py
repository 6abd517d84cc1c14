"""NIST SRE 2010: telephone and microphone speech of Mixer; conversations and interviews.

*2010 NIST Speaker Recognition Evaluation Test Set*, LDC2017S06: 8 kHz mu-law SPHERE files, most of
two channels. LDC corpora are for those who have signed an LDC user agreement and cannot be
downloaded here; order it at https://catalog.ldc.upenn.edu/LDC2017S06. Five minutes of a call take
4.8 MB.

    python data_prep/sre10.py prepare --source LDC2017S06 --output data/sre10

**Layout** that is read, in the folder itself or in its ``eval`` or ``data/eval``, for each test
TRAIN-TEST (``core-core`` and the larger ``coreext-coreext``, which most papers use):

* ``train/TRAIN.trn``: ``MODEL f|m PATH.sph:A|B``, several sides separated by commas.
* ``keys/TRAIN-TEST.trialkey.csv``: model, segment, side (``a`` or ``b``), ``target`` or
  ``nontarget``, whether it is scored (``Y`` or ``N``), and whether it belongs to each of the nine
  common conditions. Five is telephone speech of normal vocal effort on both sides. A header is
  skipped.
* ``keys/TRAIN.modelkey.csv``: model, speaker (``NOT_SCORED`` for some).
* ``data/``: the audio, anywhere below, as ``.sph``, or decoded as ``.wav`` or ``.flac``.

Files compressed by shorten (``sample_coding ulaw,embedded-shorten-v2.00``) are refused, or made
into flac with ``--decode FOLDER``.

**Result** in OUTPUT, where LABEL is ``core`` or ``coreext``:

* ``enroll`` and ``test``: data directories; ``reco2file_and_channel`` says which channel is meant.
  Speakers of ``enroll`` are those of the key; a side of ``test`` is a speaker of its own.
* ``model2utt_LABEL``: what each model is trained on, for ``bbb score --enroll-map``.
* ``trials_LABEL_c1`` ... ``trials_LABEL_c9``, all scored trials of a common condition, and the
  same with ``_f`` and ``_m`` for one gender.
"""

import argparse
import dataclasses
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import _script  # noqa: PLC2701 (beside this file)
import numpy as np
from _corpus import Faults, count_table  # noqa: PLC2701
from _lists import Trials, write_trials  # noqa: PLC2701
from _sphere import (  # noqa: PLC2701
    CallSide,
    Options,
    check_sides,
    index_audio,
    read_lengths,
    write_sides,
)
from _sre10 import CONDITIONS, Key, Model, Segment, read_key, read_models  # noqa: PLC2701

from bbb.errors import DataError
from bbb.files import write_text

CATALOGUE = "LDC2017S06"
TESTS = ("core-core", "coreext-coreext")
# Targets and nontargets of common condition five, as papers on SRE10 have them.
_PUBLISHED = {("core", 5): (708, 29_665), ("coreext", 5): (7_169, 408_950)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Test:
    """One test of the evaluation.

    Attributes:
        label: ``"core"``, ``"coreext"`` or, where both sides differ, ``"8conv-core"``.
        models: Model id to what it is trained on.
        key: The trials.
    """

    label: str
    models: dict[str, Model]
    key: Key


def read_test(base: Path, name: str, conditions: Iterable[int], faults: Faults) -> Test | None:
    """Read the lists of a test.

    Args:
        base: Folder of ``train``, ``keys`` and ``data``.
        name: TRAIN-TEST.
        conditions: Common conditions to keep.
        faults: Gets what is wrong.

    Returns:
        The test; None when a list is missing.
    """
    train, _, test = name.partition("-")
    files = [
        base / "train" / f"{train}.trn",
        base / "keys" / f"{train}.modelkey.csv",
        base / "keys" / f"{name}.trialkey.csv",
    ]
    missing = [file for file in files if not file.is_file()]
    faults.add(f"lists that are missing, of {CATALOGUE}", missing, "copy them, or leave the test")
    if missing:
        return None
    models = read_models(files[0], files[1], faults)
    key = read_key(files[2], faults).only(conditions)
    used = [key.models[index] for index in np.unique(key.enroll).tolist()]
    unknown = [model for model in used if model not in models]
    faults.add(f"models of trials that {files[0].name} lacks", unknown, "restore that file")
    label = train if train == test else name
    return Test(label=label, models={m: models[m] for m in used if m in models}, key=key)


def _enroll_name(model: Model, side: Segment) -> str:
    return f"{model.speaker}-sre10-{side[0]}-{side[1].lower()}"


def _enroll_sides(
    tests: Iterable[Test], audio: Mapping[str, Path], faults: Faults
) -> list[CallSide]:
    rows, missing = [], {}
    for test in tests:
        for model in test.models.values():
            for segment, channel in model.sides:
                if segment not in audio:
                    missing[segment] = None
                    continue
                rows.append(
                    CallSide(
                        name=_enroll_name(model, (segment, channel)),
                        speaker=model.speaker,
                        gender=model.gender,
                        file=audio[segment],
                        channel=channel,
                    )
                )
    faults.add("recordings of models without audio", missing, "check --source, or restore them")
    return check_sides(rows, faults)


def _test_name(side: Segment) -> str:
    return "_".join(side)


def _test_sides(tests: Iterable[Test], audio: Mapping[str, Path], faults: Faults) -> list[CallSide]:
    genders: dict[Segment, str] = {}
    targets: dict[Segment, set[str]] = defaultdict(set)
    for test in tests:
        key = test.key
        models = [test.models.get(name) for name in key.models]
        for side, first in zip(*np.unique(key.test, return_index=True), strict=True):
            if (model := models[key.enroll[first]]) is not None:
                genders[key.sides[side]] = model.gender
        for side, index in zip(key.test[key.is_target], key.enroll[key.is_target], strict=True):
            if (model := models[index]) is not None:
                targets[key.sides[side]].add(model.speaker)
    two = [_test_name(side) for side, speakers in targets.items() if len(speakers) > 1]
    faults.add("test sides that are targets of two speakers", two, "restore the keys")
    missing = dict.fromkeys(segment for segment, _ in genders if segment not in audio)
    faults.add("segments of trials without audio", missing, "check --source, or restore them")
    return [
        CallSide(
            name=_test_name(side),
            speaker=_test_name(side),
            gender=gender,
            file=audio[side[0]],
            channel=side[1],
        )
        for side, gender in sorted(genders.items())
        if side[0] in audio
    ]


def _write_lists(output: Path, test: Test, conditions: Iterable[int]) -> None:
    """Write the trial lists and the map of a test, and print what they hold."""
    lines = (
        " ".join([name, *sorted({_enroll_name(model, side) for side in model.sides})])
        for name, model in sorted(test.models.items())
    )
    write_text(output / f"model2utt_{test.label}", "".join(f"{line}\n" for line in lines))
    names = [*test.key.models, *map(_test_name, test.key.sides)]
    is_female = np.array(
        [m in test.models and test.models[m].gender == "f" for m in test.key.models], dtype=np.bool_
    )
    counts: list[tuple[str, int, int | None]] = []
    for number in conditions:
        key = test.key.only([number])
        places = key.test.astype(np.int64) + len(key.models)
        trials = Trials(names, key.enroll.astype(np.int64), places, key.is_target)
        path = output / f"trials_{test.label}_c{number}"
        published = _PUBLISHED.get((test.label, number), (None, None))
        targets = int(key.is_target.sum())
        counts += [
            (f"{path.name} target", targets, published[0]),
            (f"{path.name} nontarget", len(trials) - targets, published[1]),
        ]
        if not len(trials):
            continue
        write_trials(path, trials)
        women = is_female[key.enroll]
        for letter, keep in (("f", women), ("m", ~women)):
            if 0 < keep.sum() < len(keep):
                write_trials(path.with_name(f"{path.name}_{letter}"), trials.where(keep))
    count_table(counts)


def _base(source: Path) -> Path:
    """The folder of ``train`` and ``keys``.

    Raises:
        DataError: If there is none.
    """
    for folder in (source, source / "eval", source / "data" / "eval"):
        if (folder / "keys").is_dir() and (folder / "train").is_dir():
            return folder
    msg = (
        f"{source}: no folders train and keys, also not in its eval or data/eval; --source is the "
        f"folder of {CATALOGUE}"
    )
    raise DataError(msg)


def prepare_sre10(
    source: Path,
    output: Path,
    *,
    tests: Sequence[str] | None = None,
    conditions: Sequence[int] = CONDITIONS,
    options: Options | None = None,
) -> None:
    """Make data directories, maps of models and trial lists.

    Args:
        source: Folder of LDC2017S06.
        output: Folder of the result.
        tests: Such as ``["core-core"]``; by default those of ``TESTS`` whose key is there.
        conditions: Common conditions, 1 to 9, to make lists of; only what they need is checked.
        options: Threads, and where decoded files go.

    Raises:
        DataError: If anything is missing, double, contradictory or unreadable; everything is
            told at once, and nothing is written.
    """
    options = options or Options()
    base = _base(source)
    faults = Faults(source)
    if tests is None:
        tests = [t for t in TESTS if (base / "keys" / f"{t}.trialkey.csv").is_file()] or TESTS
    found = [test for name in tests if (test := read_test(base, name, conditions, faults))]
    audio = index_audio([base / "data"], faults, options) if (base / "data").is_dir() else {}
    enroll = _enroll_sides(found, audio, faults)
    test = _test_sides(found, audio, faults)
    enroll, enroll_seconds = read_lengths(enroll, faults, options)
    test, test_seconds = read_lengths(test, faults, options)
    faults.check()
    if not enroll or not test:
        msg = f"{base}: no trial in common conditions {', '.join(map(str, conditions))}"
        raise DataError(msg)
    write_sides(output / "enroll", enroll, enroll_seconds)
    write_sides(output / "test", test, test_seconds)
    for one in found:
        _write_lists(output, one, conditions)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and do it.

    Args:
        argv: Arguments; those of the process when None.
    """
    parser = argparse.ArgumentParser(description=f"NIST SRE 2010 ({CATALOGUE})")
    verbs = parser.add_subparsers(dest="verb", required=True)
    prepare = verbs.add_parser("prepare", help="make data directories and trial lists")
    Options.add_to(prepare)
    prepare.add_argument("--tests", nargs="+", help="such as core-core (all whose key is there)")
    prepare.add_argument(
        "--conditions",
        type=int,
        nargs="+",
        choices=CONDITIONS,
        default=CONDITIONS,
        help="common conditions (all); 5 is telephone speech",
    )
    args = parser.parse_args(argv)
    prepare_sre10(
        args.source,
        args.output,
        tests=args.tests,
        conditions=args.conditions,
        options=Options(jobs=args.jobs, decode=args.decode),
    )


if __name__ == "__main__":
    sys.exit(_script.run(main))
