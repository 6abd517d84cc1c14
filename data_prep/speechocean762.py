"""speechocean762: 250 Mandarin speakers, children and adults, reading English on phones.

Zhang et al. (2021), *speechocean762: An open-source non-native English speech corpus for
pronunciation assessment*, Interspeech. OpenSLR SLR101, CC BY 4.0. Each speaker has 20 utterances
of one session on one phone, so the channel helps to tell speakers apart.

    python data_prep/speechocean762.py download --output corpora
    python data_prep/speechocean762.py prepare --source corpora/speechocean762 --output data/so762

**Download.** OpenSLR publishes no checksum of ``speechocean762.tar.gz``; Kaldi's recipe gives its
size as 520,810,923 bytes. The transfer is checked against the length that the server announces,
the archive against gzip's CRC while it is unpacked, and against ``--checksum sha256:...`` where
you give one. The SHA-256 that was found is printed, so that you can pin it.

**Layouts** that ``prepare`` reads, told apart by their files:

* The archive: ``{train,test}/{wav.scp,utt2spk,spk2gender}`` with audio at
  ``WAVE/SPEAKER0001/000010011.WAV``; 125 speakers on each side of the official split.
* ``metadata.csv`` beside the audio, with the columns ``path corpus speaker gender
  suggested_split`` (others are ignored), where ``suggested_split`` is ``train`` or ``eval`` and
  other corpora may stand beside speechocean762. Training takes every ``train`` row (of
  ``--corpora`` only, when given); the test set is the ``eval`` rows of speechocean762 alone.

**Result**: ``OUTPUT/train`` and ``OUTPUT/test``, and ``OUTPUT/dev`` with ``--dev-speakers N``: N
training speakers of at least ten utterances, held out for tuning, half of them women where
possible. ``test`` and ``dev`` get ``trials`` (every unordered pair of utterances once) and
``trials_same_gender``. Both layouts name a speaker ``so-0001`` and an utterance
``so-0001-000010011``.
"""

import argparse
import csv
import dataclasses
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import _download  # noqa: PLC2701 (beside this file)
import _lists  # noqa: PLC2701 (beside this file)
import _script  # noqa: PLC2701 (beside this file)
import numpy as np
from rich.progress import track

from bbb.audio.datadir import DataDir
from bbb.audio.tables import Table, read_table
from bbb.audio.waveform import audio_info
from bbb.errors import ConfigError, DataError, FormatError

URL = "https://www.openslr.org/resources/101/speechocean762.tar.gz"
SAMPLE_RATE = 16_000
_SIZE_IN_KALDI = 520_810_923
_CORPUS = "speechocean762"
_COLUMNS = ("path", "corpus", "speaker", "gender", "suggested_split")
_SPLITS = {"train": "train", "eval": "test"}
_MIN_DEV_UTTERANCES = 10
_NAMED = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Utterance:
    """One file of the corpus.

    Attributes:
        name: Utterance id, which starts with the speaker.
        speaker: Speaker id.
        gender: ``"f"`` or ``"m"``.
        file: The audio.
    """

    name: str
    speaker: str
    gender: str
    file: Path


def download_speechocean762(
    output: Path, *, url: str = URL, checksum: str | None = None, attempts: int = 5
) -> Path:
    """Fetch and unpack the archive; an interrupted download continues.

    Args:
        output: Folder that gets ``speechocean762.tar.gz`` and ``speechocean762/``.
        url: Address of the archive, or of a mirror's.
        checksum: ``sha256:...`` or ``md5:...`` of the archive; OpenSLR publishes none.
        attempts: How often to connect before giving up.

    Returns:
        The unpacked folder, the source for ``prepare``.
    """
    folder = output / _CORPUS
    if folder.is_dir():
        print(f"{folder}: is there already")
        return folder
    archive = _download.download(
        url, output / f"{_CORPUS}.tar.gz", checksum=checksum, attempts=attempts
    )
    print(f"{archive}: sha256:{_download.file_digest(archive)}")
    size = archive.stat().st_size
    if url == URL and size != _SIZE_IN_KALDI:
        print(f"note: {size} bytes, Kaldi's recipe has {_SIZE_IN_KALDI}: the archive has changed")
    return _download.extract_tar_gz(archive, output, top=_CORPUS)


def _table(file: Path) -> Table:
    table = read_table(file)
    if table.faults:
        raise FormatError(str(table.faults[0]))
    return table


def _read_archive(source: Path) -> dict[str, list[Utterance]]:
    """Read the layout of the archive.

    Raises:
        FormatError: If an utterance is not in every table.
    """
    splits = {}
    for split in ("train", "test"):
        folder = source / split
        files, speakers = _table(folder / "wav.scp"), _table(folder / "utt2spk")
        genders = _table(folder / "spk2gender").values
        rows = []
        for name, file in files.values.items():
            speaker = speakers.values.get(name)
            if speaker is None or speaker not in genders:
                where = f"{files.path}:{files.lines[name]}"
                missing = "utt2spk" if speaker is None else f"spk2gender (speaker {speaker})"
                msg = (
                    f"{where}: utterance {name} has no entry in {missing}; unpack the archive anew"
                )
                raise FormatError(msg)
            rows.append(
                Utterance(
                    name=f"so-{speaker}-{name}",
                    speaker=f"so-{speaker}",
                    gender=genders[speaker],
                    file=source / file,
                )
            )
        splits[split] = rows
    return splits


def _read_metadata(source: Path, corpora: Sequence[str] | None) -> dict[str, list[Utterance]]:
    """Read the layout with ``metadata.csv``.

    Raises:
        ConfigError: If a corpus is not in the table.
        FormatError: If a column is missing or an utterance occurs twice.
    """
    table = source / "metadata.csv"
    splits: dict[str, list[Utterance]] = {"train": [], "test": []}
    seen, found = set(), set()
    with table.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        missing = [name for name in _COLUMNS if name not in (reader.fieldnames or [])]
        if missing:
            msg = f"{table}:1: no column {', '.join(missing)}; needed are {', '.join(_COLUMNS)}"
            raise FormatError(msg)
        for row in reader:
            utterance = _metadata_utterance(row, source, f"{table}:{reader.line_num}")
            if utterance.name in seen:
                msg = f"{table}:{reader.line_num}: utterance {utterance.name} occurs a second time"
                raise FormatError(msg)
            seen.add(utterance.name)
            found.add(row["corpus"])
            split = _SPLITS[row["suggested_split"]]
            wanted = corpora is None or row["corpus"] in corpora
            if row["corpus"] == _CORPUS if split == "test" else wanted:
                splits[split].append(utterance)
    if unknown := sorted(set(corpora or ()) - found):
        msg = (
            f"--corpora {', '.join(unknown)}: not in {table}, which has {', '.join(sorted(found))}"
        )
        raise ConfigError(msg)
    return splits


def _metadata_utterance(row: dict[str, str], source: Path, where: str) -> Utterance:
    """One row of ``metadata.csv``, checked.

    Raises:
        FormatError: If a value is missing or unknown.
    """
    empty = [name for name in _COLUMNS if not row[name]]
    if empty:
        msg = f"{where}: {', '.join(empty)} is empty; every row needs {', '.join(_COLUMNS)}"
        raise FormatError(msg)
    if row["suggested_split"] not in _SPLITS or row["gender"] not in {"f", "m"}:
        msg = (
            f"{where}: expected suggested_split 'train' or 'eval' and gender 'f' or 'm', got "
            f"{row['suggested_split']!r} and {row['gender']!r}"
        )
        raise FormatError(msg)
    file = Path(row["path"])
    return Utterance(
        name=f"{row['speaker']}-{file.stem}",
        speaker=row["speaker"],
        gender=row["gender"],
        file=source / file,
    )


def _check_splits(splits: dict[str, list[Utterance]]) -> None:
    """Refuse empty splits, common speakers and missing files.

    Raises:
        DataError: If one of these is found.
    """
    for split, rows in splits.items():
        if not rows:
            msg = f"the {split} split has no utterance; check --source and --corpora"
            raise DataError(msg)
    common = sorted(_speakers(splits["train"]) & _speakers(splits["test"]))
    if common:
        msg = (
            f"{len(common)} speakers are in train and in test, first {', '.join(common[:_NAMED])}; "
            "an evaluation needs speakers that were not trained on: correct the split"
        )
        raise DataError(msg)
    files = [row.file for rows in splits.values() for row in rows]
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        msg = (
            f"{len(missing)} of {len(files)} audio files are missing, first "
            f"{', '.join(missing[:_NAMED])}; check --source, or unpack the corpus again"
        )
        raise DataError(msg)


def _speakers(rows: Iterable[Utterance]) -> set[str]:
    return {row.speaker for row in rows}


def choose_dev_speakers(rows: Sequence[Utterance], count: int, seed: int) -> set[str]:
    """Draw the speakers to hold out of training.

    Args:
        rows: Training utterances.
        count: Number of speakers; half of them of each gender where there are enough.
        seed: Of the draw.

    Returns:
        Speaker ids.

    Raises:
        DataError: If fewer speakers have ten utterances, or none would be left for training.
    """
    sizes = Counter(row.speaker for row in rows)
    by_gender: dict[str, list[str]] = defaultdict(list)
    for speaker, gender in sorted({(row.speaker, row.gender) for row in rows}):
        if sizes[speaker] >= _MIN_DEV_UTTERANCES:
            by_gender[gender].append(speaker)
    enough = sum(map(len, by_gender.values()))
    if count > enough or count >= len(sizes):
        msg = (
            f"--dev-speakers {count}: only {enough} of {len(sizes)} training speakers have "
            f"{_MIN_DEV_UTTERANCES} utterances, and some must be left to train on; ask for fewer"
        )
        raise DataError(msg)
    rng = np.random.default_rng(seed)
    women, men = (list(rng.permutation(by_gender[gender])) for gender in ("f", "m"))
    share = min(len(women), max(count // 2, count - len(men)))
    return {str(speaker) for speaker in women[:share] + men[: count - share]}


def _write(folder: Path, rows: Sequence[Utterance], *, with_trials: bool) -> None:
    durations = {
        row.name: round(audio_info(row.file, sample_rate=SAMPLE_RATE).duration, 4)
        for row in track(rows, f"{folder.name}: audio headers")
    }
    data = DataDir(
        path=folder,
        wavs={row.name: str(row.file.resolve()) for row in rows},
        utt2spk={row.name: row.speaker for row in rows},
        durations=durations,
        genders={row.speaker: row.gender for row in rows},
    )
    data.write()
    if with_trials:
        _lists.write_trial_lists(
            folder, _lists.all_pairs(data.utt2spk), {row.name: row.gender for row in rows}
        )
    print(f"{folder}: {len(rows)} utterances of {len(data.genders)} speakers")


def prepare_speechocean762(
    source: Path,
    output: Path,
    *,
    corpora: Sequence[str] | None = None,
    dev_speakers: int = 0,
    seed: int = 0,
) -> None:
    """Make the Kaldi data directories.

    Args:
        source: The unpacked archive, or a folder with ``metadata.csv``.
        output: Folder that gets ``train``, ``test`` and perhaps ``dev``.
        corpora: Corpora of ``metadata.csv`` to train on; all by default.
        dev_speakers: Number of training speakers to hold out as ``dev``.
        seed: Of the choice of these speakers.

    Raises:
        ConfigError: If ``corpora`` is given with the archive's layout, or is unknown.
        DataError: If the source has neither layout, files are missing, or the splits overlap.
        FormatError: If a table is wrong; names file and line.
    """  # noqa: DOC502 (raised by the readers)
    splits = _reader(source, corpora)()
    _check_splits(splits)
    if not dev_speakers and (output / "dev").exists():
        # Those speakers are in the new train: tuning on them would look better than it is.
        msg = f"{output / 'dev'} is left from a run with --dev-speakers; remove it first"
        raise DataError(msg)
    if dev_speakers:
        held_out = choose_dev_speakers(splits["train"], dev_speakers, seed)
        splits["dev"] = [row for row in splits["train"] if row.speaker in held_out]
        splits["train"] = [row for row in splits["train"] if row.speaker not in held_out]
    for split, rows in splits.items():
        _write(output / split, rows, with_trials=split != "train")


def _reader(
    source: Path, corpora: Sequence[str] | None
) -> Callable[[], dict[str, list[Utterance]]]:
    """The function that reads the layout found in ``source``.

    Raises:
        ConfigError: If corpora are to be chosen where there is only one.
        DataError: If no layout is found.
    """
    if (source / "metadata.csv").is_file():
        return lambda: _read_metadata(source, corpora)
    for folder in (source, source / _CORPUS):
        if (folder / "train" / "wav.scp").is_file():
            if corpora is not None:
                msg = (
                    "--corpora chooses corpora of a metadata.csv; the archive has one: leave it out"
                )
                raise ConfigError(msg)
            return lambda: _read_archive(folder)
    msg = f"{source}: neither metadata.csv nor train/wav.scp is there; check --source"
    raise DataError(msg)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and do it.

    Args:
        argv: Arguments; those of the process when None.
    """
    parser = argparse.ArgumentParser(description="speechocean762 (OpenSLR SLR101)")
    verbs = parser.add_subparsers(dest="verb", required=True)
    fetch = verbs.add_parser("download", help="fetch and unpack the archive (520 MB)")
    fetch.add_argument("--output", type=Path, required=True, help="folder for the archive")
    fetch.add_argument("--url", default=URL, help="address of a mirror (default: %(default)s)")
    fetch.add_argument("--checksum", help="sha256:... or md5:... of the archive")
    prepare = verbs.add_parser("prepare", help="make Kaldi data directories")
    prepare.add_argument("--source", type=Path, required=True, help="folder of the corpus")
    prepare.add_argument("--output", type=Path, required=True, help="folder of train, test, dev")
    prepare.add_argument("--corpora", nargs="+", help="corpora of metadata.csv to train on")
    prepare.add_argument(
        "--dev-speakers", type=int, default=0, help="training speakers to hold out as dev"
    )
    prepare.add_argument("--seed", type=int, default=0, help="of the choice of dev speakers")
    arguments = vars(parser.parse_args(argv))
    if arguments.pop("verb") == "download":
        download_speechocean762(**arguments)
    else:
        prepare_speechocean762(**arguments)


if __name__ == "__main__":
    sys.exit(_script.run(main))
