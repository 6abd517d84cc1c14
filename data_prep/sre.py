"""NIST SRE 2004, 2005, 2006 and 2008: what systems for SRE 2010 are trained on.

Telephone calls of the Mixer collections, 8 kHz mu-law SPHERE. LDC corpora are for those who have
signed an LDC user agreement and cannot be downloaded here; order them at
https://catalog.ldc.upenn.edu. Five minutes of a call take 4.8 MB.

    python data_prep/sre.py prepare --source LDC --output data --exclude data/sre10/enroll

**Layout**: folders side by side, whose names start with the catalogue number (below), and

* ``speaker_list`` (or ``--speakers FILE``) for 2004 to 2006: speaker, gender, ``sre2004``,
  recording, ``A`` or ``B``; it is ``speaker_list.tgz`` of https://www.openslr.org/15.
* ``LDC2011S08/data/keys/NIST_SRE08_KEYS.v0.1`` for 2008: ``model-keys/NIST_SRE08_short2.model.key``
  (model, gender, ``RECORDING:a|b``, speaker) and
  ``trial-keys/NIST_SRE08_short2-short3.trial.key`` (model, recording, ``a`` or ``b``, ``target``
  or ``nontarget``), which tells the speaker of test recordings in target trials.

Recordings are found by name anywhere in the folders. Sides that are listed, but in no release at
hand, are counted. Files compressed by shorten are refused, or made into flac with
``--decode FOLDER``.

**Result**: ``OUTPUT/sre``. A speaker id is the one of the lists, a Mixer number, which a person
keeps through the years; thus ``--exclude`` finds those of SRE 2010. An utterance is named
``SPEAKER-sre04-RECORDING-a``.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import _script  # noqa: PLC2701 (beside this file)
from _corpus import Faults, count_table  # noqa: PLC2701
from _ldc import TrainingOptions, comma_rows, find_releases, write_training_set  # noqa: PLC2701
from _sphere import CallSide, index_audio  # noqa: PLC2701

from bbb.files import numbered_lines

RELEASES = {
    "LDC2006S44": "SRE 2004",
    "LDC2011S01": "SRE 2005 training data",
    "LDC2011S04": "SRE 2005 test data",
    "LDC2011S09": "SRE 2006 training set",
    "LDC2011S10": "SRE 2006 test set part 1",
    "LDC2012S01": "SRE 2006 test set part 2",
    "LDC2011S05": "SRE 2008 training set part 1",
    "LDC2011S08": "SRE 2008 test set",
}
_KEYS = Path("data", "keys", "NIST_SRE08_KEYS.v0.1")
_MODELS = _KEYS / "model-keys" / "NIST_SRE08_short2.model.key"
_TRIALS = _KEYS / "trial-keys" / "NIST_SRE08_short2-short3.trial.key"
# Year, recording, channel, speaker, gender.
_Row = tuple[str, str, str, str, str]


def read_speaker_list(path: Path, years: Iterable[str], faults: Faults) -> list[_Row]:
    """Read who speaks on each side of the calls of 2004 to 2006.

    Args:
        path: ``speaker_list``.
        years: Such as ``["2004"]``.
        faults: Gets the file when it is missing, and lines that cannot be used.

    Returns:
        Year, recording, channel, speaker, gender of each side.
    """
    if not path.is_file():
        remedy = "unpack https://www.openslr.org/resources/15/speaker_list.tgz there"
        faults.add("lists that are missing, of OpenSLR SLR15", [path], remedy)
        return []
    wanted, rows, broken = {f"sre{year}" for year in years}, [], []
    for number, line in numbered_lines(path):
        speaker, gender, year, recording, channel = (*line.split(), *[""] * 5)[:5]
        if gender not in {"f", "m"} or channel not in {"A", "B"}:
            broken.append(f"{path.name}:{number}")
        elif year in wanted:
            rows.append((year[3:], recording, channel, speaker, gender))
    faults.add("broken lines", broken, "expected 'speaker f|m sre2004 recording A|B': restore")
    return rows


def read_2008_keys(folder: Path | None, faults: Faults) -> list[_Row]:
    """Read who speaks on each side of the calls of 2008.

    Args:
        folder: Of LDC2011S08; None when it is not there.
        faults: Gets keys that are missing, and lines that cannot be used.

    Returns:
        Year, recording, channel, speaker, gender of each side.
    """
    missing = [file for file in (_MODELS, _TRIALS) if not (folder and (folder / file).is_file())]
    faults.add("keys that are missing, of LDC2011S08", missing, "restore them; 2008 needs both")
    if folder is None or missing:
        return []
    models: dict[str, tuple[str, str]] = {}
    rows: list[_Row] = []
    for model, gender, wave, speaker in comma_rows(folder / _MODELS, 4, faults, named=True):
        recording, _, channel = wave.partition(":")
        models[model] = (speaker, gender)
        rows.append(("2008", recording, channel.upper(), speaker, gender))
    for model, recording, channel, answer in comma_rows(folder / _TRIALS, 4, faults, named=True):
        if answer == "target" and model in models:
            rows.append(("2008", recording, channel.upper(), *models[model]))
    wrong = [row for row in rows if row[2] not in {"A", "B"} or row[4] not in {"f", "m"}]
    names = [f"{recording}:{channel}" for _, recording, channel, *_ in wrong]
    faults.add("sides with a wrong channel or gender in the keys of 2008", names, "restore them")
    lost = {*wrong}
    return [row for row in rows if row not in lost]


def _sides(rows: Iterable[_Row], audio: Mapping[str, Path]) -> list[CallSide]:
    """Sides that have audio."""
    return [
        CallSide(
            name=f"{speaker}-sre{year[2:]}-{recording}-{channel.lower()}",
            speaker=speaker,
            gender=gender,
            file=audio[recording],
            channel=channel,
        )
        for year, recording, channel, speaker, gender in rows
        if recording in audio
    ]


def prepare_sre(
    source: Path,
    output: Path,
    *,
    speakers: Path | None = None,
    options: TrainingOptions | None = None,
) -> None:
    """Make the data directory ``sre`` of the releases that are there.

    Args:
        source: Folder of the releases' folders.
        output: Gets ``sre``.
        speakers: ``speaker_list`` of OpenSLR; that of ``source`` by default.
        options: What to use and what to leave out.

    Raises:
        DataError: If anything is missing, contradictory or unreadable; everything is told at
            once, and nothing is written.
    """  # noqa: DOC502 (raised by what it calls)
    options = options or TrainingOptions()
    faults = Faults(source)
    folders = find_releases(source, RELEASES, options.releases, faults)
    years = {RELEASES[number].split()[1] for number in folders}
    rows: list[_Row] = []
    if years - {"2008"}:
        rows += read_speaker_list(speakers or source / "speaker_list", years, faults)
    if "2008" in years:
        rows += read_2008_keys(folders.get("LDC2011S08"), faults)
    sides: list[CallSide] = []
    counts = []
    for year in sorted(years):
        here = [folder for n, folder in folders.items() if RELEASES[n].split()[1] == year]
        listed = sorted({row for row in rows if row[0] == year})
        found = _sides(listed, index_audio(here, faults, options))
        counts.append((f"SRE {year}: sides, of those listed", len(found), len(listed)))
        sides += found
    count_table(counts)
    write_training_set(output / "sre", sides, faults, options)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and do it.

    Args:
        argv: Arguments; those of the process when None.
    """
    parser = argparse.ArgumentParser(description="NIST SRE 2004, 2005, 2006 and 2008")
    verbs = parser.add_subparsers(dest="verb", required=True)
    prepare = verbs.add_parser("prepare", help="make the data directory sre")
    TrainingOptions.add_to(prepare)
    prepare.add_argument("--speakers", type=Path, help="speaker_list of OpenSLR SLR15")
    args = vars(parser.parse_args(argv))
    del args["verb"]
    paths = {name: args.pop(name) for name in ("source", "output", "speakers")}
    prepare_sre(**paths, options=TrainingOptions(**args))


if __name__ == "__main__":
    sys.exit(_script.run(main))
