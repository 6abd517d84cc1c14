"""Switchboard-2 phases 1 to 3 and Switchboard Cellular parts 1 and 2: telephone calls.

American English, five to six minutes a call, 8 kHz mu-law SPHERE of two channels, one speaker in
each. LDC corpora are for those who have signed an LDC user agreement and cannot be downloaded
here; order them at https://catalog.ldc.upenn.edu: LDC98S75, LDC99S79, LDC2002S06 (phases 1, 2, 3),
LDC2001S13, LDC2004S07 (cellular parts 1, 2). The 14,167 calls take some 70 GB.

    python data_prep/switchboard.py prepare --source LDC --output data

**Layout**: folders side by side, whose names start with the catalogue number, each with its tables
in ``docs`` or ``doc`` (there, or in a folder of it), comma separated:

* Phases: ``callinfo.tbl`` (call, date, PIN, channel ``A`` or ``B``, ...), a line for each side, and
  ``spkrinfo.tbl`` (PIN, sex, ...).
* Cellular: ``swb_callstats.tbl`` (call, PIN of A, PIN of B, sex of A, sex of B, ...).

A call is ``sw_12345.sph``, anywhere in the folder; the tables may leave out ``sw_`` and ``.sph``.
Calls that are listed but not there are left out, and the counts tell. Files compressed by shorten
are refused, or made into flac with ``--decode FOLDER``.

**Result**: ``OUTPUT/swbd``. Speaker ``sw-3196`` is the PIN, which is taken to be one person in all
collections, as in Kaldi's recipes; an utterance is named ``sw-3196-swbp2-11545-b``.
"""

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import _script  # noqa: PLC2701 (beside this file)
from _corpus import Faults, count_table  # noqa: PLC2701
from _ldc import TrainingOptions, comma_rows, find_releases, write_training_set  # noqa: PLC2701
from _sphere import CallSide, index_audio  # noqa: PLC2701


@dataclasses.dataclass(frozen=True, kw_only=True)
class Release:
    """One of the collections.

    Attributes:
        title: What it is.
        short: Part of utterance ids.
        tables: Names of its tables.
        calls: Number of calls, as LDC's documentation has it.
        speakers: Number of participants, likewise.
        bad: Calls that recipes leave out because their audio is broken.
    """

    title: str
    short: str
    tables: tuple[str, ...]
    calls: int
    speakers: int
    bad: frozenset[str] = frozenset()


_PHASE = ("callinfo.tbl", "spkrinfo.tbl")
_CELLULAR = ("swb_callstats.tbl",)
RELEASES = {
    "LDC98S75": Release(
        title="Switchboard-2 phase 1", short="swbp1", tables=_PHASE, calls=3_638, speakers=657
    ),
    "LDC99S79": Release(
        title="Switchboard-2 phase 2", short="swbp2", tables=_PHASE, calls=4_472, speakers=679
    ),
    "LDC2002S06": Release(
        title="Switchboard-2 phase 3", short="swbp3", tables=_PHASE, calls=2_728, speakers=640
    ),
    "LDC2001S13": Release(
        title="Switchboard Cellular part 1",
        short="swbc1",
        tables=_CELLULAR,
        calls=1_309,
        speakers=254,
        bad=frozenset({"40019", "40022", "45024"}),
    ),
    "LDC2004S07": Release(
        title="Switchboard Cellular part 2",
        short="swbc2",
        tables=_CELLULAR,
        calls=2_020,
        speakers=419,
        bad=frozenset({"40022", "45024"}),
    ),
}
# Call, channel, PIN, sex.
_Row = tuple[str, str, str, str]


def _find_table(folder: Path, name: str) -> Path | None:
    """A table in ``doc`` or ``docs`` of a folder or of one in it; case does not matter."""
    for place in (folder, *sorted(entry for entry in folder.iterdir() if entry.is_dir())):
        for docs in (place, place / "docs", place / "doc"):
            for file in sorted(docs.iterdir()) if docs.is_dir() else ():
                if file.name.lower() == name:
                    return file
    return None


def _call(name: str) -> str:
    """The number in ``sw_12345.sph``."""
    return name.lower().partition(".")[0].removeprefix("sw_").removeprefix("sw")


def read_calls(tables: Sequence[Path], faults: Faults) -> list[_Row]:
    """Read who speaks in each channel.

    Args:
        tables: Those of ``Release.tables``.
        faults: Gets lines that cannot be used, and speakers without sex.

    Returns:
        Number of the call, channel, PIN and sex of each side.
    """
    rows: list[_Row] = []
    if len(tables) > 1:
        sex = {pin: word.lower()[:1] for pin, word in comma_rows(tables[1], 2, faults)}
        for call, _, pin, channel in comma_rows(tables[0], 4, faults):
            rows.append((_call(call), channel.upper(), pin, sex.get(pin, "")))
    else:
        for call, one, two, sex_one, sex_two in comma_rows(tables[0], 5, faults):
            rows.append((_call(call), "A", one, sex_one.lower()[:1]))
            rows.append((_call(call), "B", two, sex_two.lower()[:1]))
    wrong = [f"{call}:{channel}" for call, channel, *_ in rows if channel not in {"A", "B"}]
    faults.add(f"sides of {tables[0]} with a wrong channel", wrong, "expected A or B: restore it")
    unknown = dict.fromkeys(pin for _, _, pin, word in rows if word not in {"f", "m"})
    faults.add(f"speakers without sex, M or F, in {tables[-1]}", unknown, "restore the file")
    return [row for row in rows if row[1] in {"A", "B"} and row[3] in {"f", "m"}]


def _sides(release: Release, rows: Sequence[_Row], audio: Mapping[str, Path]) -> list[CallSide]:
    """Sides that have audio; prints what was found beside what was published."""
    files = {_call(name): file for name, file in audio.items()}
    found = [row for row in rows if row[0] in files and row[0] not in release.bad]
    count_table(
        [
            (f"{release.title}: calls", len({row[0] for row in found}), release.calls),
            (f"{release.title}: speakers", len({row[2] for row in found}), release.speakers),
        ]
    )
    return [
        CallSide(
            name=f"sw-{pin}-{release.short}-{call}-{channel.lower()}",
            speaker=f"sw-{pin}",
            gender=sex,
            file=files[call],
            channel=channel,
        )
        for call, channel, pin, sex in found
    ]


def prepare_switchboard(
    source: Path, output: Path, *, options: TrainingOptions | None = None
) -> None:
    """Make the data directory ``swbd`` of the releases that are there.

    Args:
        source: Folder of the releases' folders.
        output: Gets ``swbd``.
        options: What to use and what to leave out.

    Raises:
        DataError: If anything is missing, contradictory or unreadable; everything is told at
            once, and nothing is written.
    """  # noqa: DOC502 (raised by what it calls)
    options = options or TrainingOptions()
    faults = Faults(source)
    titles = {number: release.title for number, release in RELEASES.items()}
    sides: list[CallSide] = []
    for number, folder in find_releases(source, titles, options.releases, faults).items():
        release = RELEASES[number]
        tables = {name: _find_table(folder, name) for name in release.tables}
        missing = [name for name, path in tables.items() if path is None]
        faults.add(f"tables that are missing, of {number}", missing, f"restore them in {folder}")
        if missing:
            continue
        rows = read_calls([path for path in tables.values() if path], faults)
        sides += _sides(release, rows, index_audio([folder], faults, options))
    write_training_set(output / "swbd", sides, faults, options)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and do it.

    Args:
        argv: Arguments; those of the process when None.
    """
    parser = argparse.ArgumentParser(description="Switchboard-2 and Switchboard Cellular (LDC)")
    verbs = parser.add_subparsers(dest="verb", required=True)
    TrainingOptions.add_to(verbs.add_parser("prepare", help="make the data directory swbd"))
    args = vars(parser.parse_args(argv))
    del args["verb"]
    source, output = args.pop("source"), args.pop("output")
    prepare_switchboard(source, output, options=TrainingOptions(**args))


if __name__ == "__main__":
    sys.exit(_script.run(main))
