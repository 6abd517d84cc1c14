import hashlib
import shutil
import tarfile

import _script
import librispeech as libri
import numpy as np
import pytest
import soundfile

from bbb.audio.datadir import DataDir
from bbb.audio.validate import validate_data_dir
from bbb.errors import ConfigError, DataError

RATE = 16_000
SPEAKERS = """\
; Some pipe(|) separated metadata about all LibriVox readers, whose work was used
; in the corpus.
;
;ID  |SEX| SUBSET           |MINUTES| NAME
14   | F | train-clean-360  | 25.03 | Kristin LeMoine
60   | M | train-clean-100  | 20.18 | |CBW|Simon
84   | F | dev-clean        | 8.02  | Christie Nowak
103  | F | train-clean-100  | 24.00 | Karen Savage
174  | M | dev-clean        | 8.05  | Peter Eastman
1089 | M | test-clean       | 8.03  | Peter Bobbe
121  | F | test-clean       | 8.13  | Nikolle Doolin
"""
CHAPTERS = """\
; Some pipe(|) separated metadata about all chapters in the corpus
;
;ID    |READER|MINUTES| SUBSET           | PROJ.|BOOK ID| CH. TITLE | PROJECT TITLE
7     | 14    | 9.98  | train-clean-360  | 48   | 207   | Title    | Ballads of a Cheechako
1240  | 103   | 11.98 | train-clean-100  | 12   | 45    | Matthew Is Surprised | Anne
121082 | 60   | 9.98  | train-clean-100  | 12   | 45    | One      | Two
121123 | 84   | 4.98  | dev-clean        | 12   | 45    | One      | Two
121550 | 84   | 4.98  | dev-clean        | 12   | 45    | One      | Two
"""
# Part, reader, chapter, number of utterances.
MINI = [
    ("train-clean-5", "60", "121082", 3),
    ("train-clean-5", "103", "1240", 2),
    ("dev-clean-2", "84", "121123", 2),
    ("dev-clean-2", "84", "121550", 2),
    ("dev-clean-2", "174", "50561", 2),
    ("dev-clean-2", "174", "84280", 1),
]


def add_chapter(root, part, reader, chapter, count, *, rate=RATE):
    folder = root / part / reader / chapter
    folder.mkdir(parents=True)
    names = [f"{reader}-{chapter}-{number:04d}" for number in range(count)]
    for seed, name in enumerate(names):
        noise = np.random.default_rng(seed).uniform(-0.1, 0.1, RATE // 2)
        soundfile.write(folder / f"{name}.flac", noise, rate)
    text = "".join(f"{name} GO DO YOU HEAR\n" for name in names)
    (folder / f"{reader}-{chapter}.trans.txt").write_text(text)


def write_tables(root):
    root.mkdir(parents=True, exist_ok=True)
    for name, text in (("SPEAKERS", SPEAKERS), ("CHAPTERS", CHAPTERS), ("README", "Hello\n")):
        (root / f"{name}.TXT").write_text(text)


@pytest.fixture
def source(tmp_path):
    """Both parts of mini-LibriSpeech with two readers each; a dot file as desktops leave it."""
    root = tmp_path / "LibriSpeech"
    write_tables(root)
    for chapter in MINI:
        add_chapter(root, *chapter)
    (root / "dev-clean-2/84/._84.flac").write_bytes(b"note")
    return root


def prepare(source, **options):
    output = source.parent / "data"
    libri.prepare_librispeech(source, output, **options)
    return output


def lines(file):
    return file.read_text().splitlines()


class TestPrepare:
    def test_directories(self, source):
        output = prepare(source)
        assert {folder.name for folder in output.iterdir()} == {
            "train-clean-5",
            "dev-clean-2",
            "train",
            "test",
        }
        train, test = (DataDir.read(output / name) for name in ("train", "test"))
        assert train.spk2utt == {
            "103": ["103-1240-0000", "103-1240-0001"],
            "60": ["60-121082-0000", "60-121082-0001", "60-121082-0002"],
        }
        assert train.genders == {"103": "f", "60": "m"}
        assert train.durations["60-121082-0002"] == 0.5
        assert test.utt2spk == DataDir.read(output / "dev-clean-2").utt2spk
        assert not (output / "train/trials").exists()

    @pytest.mark.parametrize("name", ["train", "test", "train-clean-5", "dev-clean-2"])
    def test_result_is_valid(self, source, name):
        faults = validate_data_dir(prepare(source) / name, sample_rate=RATE)
        assert [str(fault) for fault in faults] == []

    def test_trials_are_all_pairs_of_different_chapters(self, source):
        output = prepare(source)
        names = DataDir.read(output / "test").utterances
        wanted = [
            f"{a} {b} {'target' if a.split('-')[0] == b.split('-')[0] else 'nontarget'}"
            for i, a in enumerate(names)
            for b in names[i + 1 :]
            if a.rsplit("-", 1)[0] != b.rsplit("-", 1)[0]
        ]
        assert lines(output / "test/trials") == wanted
        same = [line for line in wanted if line.endswith(" target")]
        assert lines(output / "test/trials_same_gender") == same  # one woman, one man

    def test_nontargets_are_drawn(self, source):
        first = lines(prepare(source, max_nontargets=3) / "test/trials")
        assert sum(line.endswith("nontarget") for line in first) == 3
        assert lines(prepare(source, max_nontargets=3) / "test/trials") == first
        assert lines(prepare(source, max_nontargets=3, seed=1) / "test/trials") != first

    def test_dev_and_test(self, source):
        for chapter in (("121", "121726"), ("121", "123852"), ("1089", "134686")):
            add_chapter(source, "test-clean", *chapter, 2)
        output = prepare(source)
        assert set(DataDir.read(output / "test").spk2utt) == {"121", "1089"}
        assert set(DataDir.read(output / "dev").spk2utt) == {"84", "174"}
        assert len(lines(output / "dev/trials")) > 0

    def test_folder_above_and_one_part(self, source):
        output = source.parent / "data"
        libri.prepare_librispeech(source.parent, output, parts=["train-clean-5"])
        assert {folder.name for folder in output.iterdir()} == {"train-clean-5", "train"}

    def test_counts_beside_the_published_ones(self, source, capsys):
        add_chapter(source, "train-clean-100", "103", "1241", 1)
        prepare(source, parts=["train-clean-100"])
        rows = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert ["train-clean-100:", "utterances", "1", "28,539", "differs"] in rows
        assert ["train-clean-100:", "speakers", "1", "251", "differs"] in rows
        assert ["train-clean-100:", "chapters", "1", "2", "differs"] in rows

    def test_relative_source(self, source, monkeypatch):
        monkeypatch.chdir(source)
        (source / "dev-clean-2/stray.flac").write_bytes(b"")
        with pytest.raises(DataError, match=r"dev-clean-2/stray.flac; a folder was moved"):
            libri.prepare_librispeech(libri.Path(), source.parent / "data")


def move(root, old, new):
    (root / new).parent.mkdir(parents=True, exist_ok=True)
    (root / old).rename(root / new)


def empty_part(root):
    for reader in ("60", "103"):
        shutil.rmtree(root / "train-clean-5" / reader)


def other_sex(root):
    (root / "SPEAKERS.TXT").write_text(SPEAKERS.replace("60   | M", "60   | X"))


def other_rate(root):
    shutil.rmtree(root / "train-clean-5/60/121082")
    add_chapter(root, "train-clean-5", "60", "121082", 2, rate=8000)


UTTERANCE = "dev-clean-2/84/121123/84-121123-0001.flac"


class TestBadInput:
    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda root: (root / UTTERANCE).unlink(),
             "1 utterances of the transcripts that have no audio: dev-clean-2: 84-121123-0001; un"),
            (lambda root: shutil.copy(root / UTTERANCE, root / UTTERANCE.replace("0001", "0007")),
             "1 audio files that their transcript does not list: dev-clean-2: 84-121123-0007; rem"),
            (lambda root: move(root, "dev-clean-2/84/121123", "dev-clean-2/174/121123"),
             "2 files that are not READER/CHAPTER/READER-CHAPTER-NUMBER.flac: dev-clean-2/174/12"),
            (lambda root: move(root, UTTERANCE, UTTERANCE.replace("-0001", "4-0001")),
             r"1 files that are not .*: dev-clean-2/84/121123/84-1211234-0001.flac; a folder was"),
            (lambda root: move(root, "dev-clean-2/84", "train-clean-5/84"),
             r"1 speakers that belong to another part: train-clean-5/84 \(of dev-clean\); move"),
            (lambda root: add_chapter(root, "train-clean-5", "777", "1", 1),
             "1 speakers that are not in SPEAKERS.TXT: train-clean-5/777; unpack"),
            (empty_part, "1 parts without audio: train-clean-5; unpack the archive again, or"),
            (lambda root: (root / UTTERANCE).write_bytes(b"<html>not found</html>"),
             r"1 audio files that cannot be used: .*84-121123-0001.flac"),
            (other_rate, r"2 audio files that cannot be used: .*8000 Hz"),
            (lambda root: add_chapter(root, "dev-clean", "84", "121123", 1),
             "1 utterances that stand in two parts: 84-121123-0000; choose with --parts"),
            (other_sex, r"1 speakers of SPEAKERS.TXT whose sex is not F or M: 60 \('X'\)"),
        ],
    )  # fmt: skip
    def test_named_before_anything_is_written(self, source, damage, message):
        damage(source)
        with pytest.raises(DataError, match=message):
            prepare(source)
        assert not (source.parent / "data").exists()

    def test_all_at_once(self, source):
        (source / UTTERANCE).unlink()
        move(source, "dev-clean-2/174", "train-clean-5/174")
        add_chapter(source, "dev-clean-2", "103", "9", 1)
        with pytest.raises(DataError, match="4 kinds of faults, nothing was written") as caught:
            prepare(source)
        for part in ("no audio", "train-clean-5/174", "dev-clean-2/103", "in train and in test"):
            assert part in str(caught.value)

    @pytest.mark.parametrize("table", ["SPEAKERS.TXT", "CHAPTERS.TXT"])
    def test_missing_table(self, source, table):
        (source / table).unlink()
        with pytest.raises(DataError, match=rf"{table}: no such file; it stands in every archive"):
            prepare(source)

    def test_broken_table(self, source):
        (source / "SPEAKERS.TXT").write_text(SPEAKERS + "17 | M\n")
        with pytest.raises(DataError, match=r"SPEAKERS.TXT:12: expected 5 columns .*, got 2"):
            prepare(source)

    def test_chapter_without_transcript_is_taken(self, source):
        (source / "dev-clean-2/84/121123/84-121123.trans.txt").unlink()
        assert len(DataDir.read(prepare(source) / "test")) == 7

    def test_part_that_is_not_there(self, source):
        message = "no folder test-clean; there are train-clean-5, dev-clean-2, or download"
        with pytest.raises(DataError, match=message):
            prepare(source, parts=["test-clean", "train-clean-5"])

    def test_unknown_part(self, source):
        with pytest.raises(ConfigError, match="--parts dev-clear: unknown; LibriSpeech has train"):
            prepare(source, parts=["dev-clear"])

    def test_another_folder(self, tmp_path):
        with pytest.raises(DataError, match=r"no folder train-clean-5, .*; check --source"):
            libri.prepare_librispeech(tmp_path, tmp_path / "data")

    def test_one_chapter_per_reader_makes_no_trials_and_writes_nothing(self, source):
        for chapter in ("84/121550", "174/84280"):
            shutil.rmtree(source / "dev-clean-2" / chapter)
        with pytest.raises(DataError, match="give 0 target"):
            prepare(source)
        assert not (source.parent / "data").exists()


@pytest.fixture
def archives(source, breaking_mirror):
    """One archive per part with the tables in each, as OpenSLR has them; and their checksums."""
    checksums = {}
    (breaking_mirror.folder / "31").mkdir()
    for part in ("train-clean-5", "dev-clean-2"):
        file = breaking_mirror.folder / "31" / f"{part}.tar.gz"
        with tarfile.open(file, "w:gz") as tar:
            for member in (part, "SPEAKERS.TXT", "CHAPTERS.TXT", "README.TXT"):
                tar.add(source / member, f"LibriSpeech/{member}")
        digest = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
        checksums[part] = f"md5:{digest}"
    return checksums


class TestDownload:
    def test_resumes_unpacks_and_can_be_prepared(self, breaking_mirror, archives, tmp_path):
        parts = ["dev-clean-2", "train-clean-5"]
        root = libri.download_librispeech(
            tmp_path / "c", parts, url=breaking_mirror.url, checksums=archives
        )
        names = [name for name, _ in breaking_mirror.asked]
        assert names == [f"{part}.tar.gz" for part in parts for _ in range(2)]
        assert [start > 0 for _, start in breaking_mirror.asked] == [False, True] * 2
        assert {file.name for file in root.iterdir()} == {
            *parts, "SPEAKERS.TXT", "CHAPTERS.TXT", "README.TXT",
        }  # fmt: skip
        assert {file.name for file in (tmp_path / "c").iterdir()} == {
            "LibriSpeech", "dev-clean-2.tar.gz", "train-clean-5.tar.gz",
        }  # fmt: skip
        libri.prepare_librispeech(root, tmp_path / "data")
        assert len(DataDir.read(tmp_path / "data/train")) == 5

    def test_second_run_asks_nobody(self, source, capsys):
        libri.download_librispeech(source.parent, ["dev-clean-2"], url="http://127.0.0.1:9")
        assert "dev-clean-2: is there already" in capsys.readouterr().out

    def test_published_checksum_guards(self, breaking_mirror, archives, tmp_path):  # noqa: ARG002
        argv = ["download", "--output", str(tmp_path / "c"), "--parts", "dev-clean-2"]
        assert _script.run(libri.main, [*argv, "--url", breaking_mirror.url]) == 1
        assert not (tmp_path / "c/LibriSpeech").exists()

    def test_wrong_archive(self, breaking_mirror, archives, tmp_path):  # noqa: ARG002
        folder = breaking_mirror.folder / "31"
        (folder / "train-clean-5.tar.gz").replace(folder / "dev-clean-2.tar.gz")
        with pytest.raises(DataError, match="no folder LibriSpeech/dev-clean-2 in it"):
            libri.download_librispeech(
                tmp_path / "c", ["dev-clean-2"], url=breaking_mirror.url, checksums=None
            )
        assert [file.name for file in (tmp_path / "c").iterdir()] == ["dev-clean-2.tar.gz"]

    def test_unknown_part(self, tmp_path):
        with pytest.raises(ConfigError, match="--parts dev: unknown"):
            libri.download_librispeech(tmp_path, ["dev"])


class TestCommandLine:
    def test_prepare(self, source, tmp_path):
        argv = ["prepare", "--source", str(source), "--output", str(tmp_path / "d"), "--jobs", "2"]
        assert _script.run(libri.main, argv) == 0
        assert len(DataDir.read(tmp_path / "d/train")) == 5

    def test_error_is_a_message(self, tmp_path, capsys):
        argv = ["prepare", "--source", str(tmp_path), "--output", str(tmp_path / "d")]
        assert _script.run(libri.main, argv) == 1
        assert capsys.readouterr().err.startswith(f"error: {tmp_path}: no folder")
