"""Several data directories as one, as training sets of many corpora need.

    python data_prep/combine.py data/sre data/swbd --output data/train --exclude data/sre10/enroll

Audio is not copied. A speaker id that occurs in two directories is taken to be one person; an
utterance id that does is an error, and so are speakers of the ``--exclude`` directories, unless
``--drop-excluded`` leaves them out.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import _script  # noqa: PLC2701 (beside this file)
from _corpus import Faults, excluded_speakers  # noqa: PLC2701

from bbb.audio.datadir import DataDir, Segment
from bbb.errors import DataError


def combine_data_dirs(
    folders: Sequence[Path],
    output: Path,
    *,
    exclude: Sequence[Path] = (),
    drop_excluded: bool = False,
) -> DataDir:
    """Write the union of data directories.

    Tables that only some of them have (``utt2dur``, ``spk2gender``) are not written. When only
    some have ``segments``, the utterances of the others become segments from start to end.

    Args:
        folders: The data directories.
        output: Folder of the result.
        exclude: Data directories whose speakers must not be in it.
        drop_excluded: Leave these speakers out instead of refusing.

    Returns:
        What was written.

    Raises:
        DataError: If an id means two things, excluded speakers are there, or nothing is left;
            everything is told at once, and nothing is written.
    """
    faults = Faults(output)
    parts = [DataDir.read(folder) for folder in folders]
    for table, what in (("utt2spk", "utterances"), ("wavs", "recordings"), ("genders", "speakers")):
        faults.add(f"{what} that differ between the directories", _clashes(parts, table),
                   "rename them, or leave a directory out")  # fmt: skip
    if any(part.segments for part in parts):
        lost = [p.path for p in parts if not p.segments and p.durations.keys() != p.utt2spk.keys()]
        faults.add(
            "directories without utt2dur, to be cut like the others", lost, "run bbb data fix"
        )
        faults.check()
        parts = [part if part.segments else _segmented(part) for part in parts]
    whole = _union(output, parts)
    mine = {*whole.utt2spk.values()}
    drop = excluded_speakers(mine, exclude, faults, drop=drop_excluded)
    faults.check()
    whole = whole.subset(utt for utt, speaker in whole.utt2spk.items() if speaker not in drop)
    if not len(whole):
        msg = f"{output}: no utterance is left; check --exclude"
        raise DataError(msg)
    print(f"{output}: {len(whole)} utterances of {len(whole.spk2utt)} speakers")
    return whole.write()


def _clashes(parts: Sequence[DataDir], table: str) -> list[str]:
    """Ids that another directory has too, if only with another value for all but utterances."""
    seen: dict[str, str] = {}
    found = {}
    for part in parts:
        values = getattr(part, table)
        for name in values.keys() & seen.keys():
            if table == "utt2spk" or seen[name] != values[name]:
                found[name] = None
        seen.update(values)
    return sorted(found)


def _segmented(data: DataDir) -> DataDir:
    segments = {name: Segment(name, 0.0, data.durations[name]) for name in data.utt2spk}
    return DataDir(data.path, data.wavs, data.utt2spk, segments, data.durations, data.genders,
                   data.sides)  # fmt: skip


def _union(output: Path, parts: Sequence[DataDir]) -> DataDir:
    tables = {}
    for name in ("wavs", "utt2spk", "segments", "durations", "genders", "sides"):
        values = [getattr(part, name) for part in parts]
        if name in {"durations", "genders"} and not all(values):
            continue
        tables[name] = {key: value for table in values for key, value in table.items()}
    return DataDir(output, **tables)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and do it.

    Args:
        argv: Arguments; those of the process when None.
    """
    parser = argparse.ArgumentParser(description="several data directories as one")
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="data directories")
    parser.add_argument("--output", type=Path, required=True, help="data directory to write")
    parser.add_argument(
        "--exclude", type=Path, nargs="+", default=(), metavar="DIR",
        help="data directories whose speakers must not be in it",
    )  # fmt: skip
    parser.add_argument("--drop-excluded", action="store_true", help="leave these speakers out")
    combine_data_dirs(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(_script.run(main))
