import csv
import hashlib
import tarfile

import _script
import numpy as np
import pytest
import soundfile
import speechocean762 as so762

from bbb.audio.datadir import DataDir
from bbb.audio.validate import validate_data_dir
from bbb.errors import ConfigError, DataError, FormatError

RATE = 16_000


def write_audio(file, seed=0):
    file.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).uniform(-0.1, 0.1, RATE // 2)
    soundfile.write(file, noise, RATE, format="WAV")


@pytest.fixture
def archive(tmp_path):
    """The layout of OpenSLR's archive: 2 + 2 speakers of two utterances, tabs and all."""
    source = tmp_path / "speechocean762"
    for split, speakers in (("train", ("0001", "0005")), ("test", ("0003", "0024"))):
        tables = {"wav.scp": "", "utt2spk": "", "spk2gender": "", "spk2age": "", "text": ""}
        for gender, speaker in zip("mf", speakers, strict=True):
            tables["spk2gender"] += f"{speaker}\t{gender}\n"
            tables["spk2age"] += f"{speaker}\t6\n"
            for number in ("0011", "0035"):
                name = f"0{speaker}{number}"
                file = f"WAVE/SPEAKER{speaker}/{name}.WAV"
                write_audio(source / file)
                tables["wav.scp"] += f"{name}\t{file}\n"
                tables["utt2spk"] += f"{name} {speaker}\n"
                tables["text"] += f"{name} WE CALL IT BEAR\n"
        (source / split).mkdir()
        for name, text in tables.items():
            (source / split / name).write_text(text)
    return source


COLUMNS = ["path", "corpus", "speaker", "gender", "age", "suggested_split", "duration_s"]


def metadata_rows():
    """Training: 8 speakers with 10 utterances, 2 with one; evaluation: two corpora."""
    rows = []
    for number in range(8):
        name, gender = f"so-{number:04d}", "mf"[number % 2]
        for take in range(10):
            path = f"so762/{number:04d}/{number:05d}{take:04d}.wav"
            rows.append([path, "speechocean762", name, gender, "6", "train", "0.5"])
    for number in (90, 91):
        path = f"librispeech/{number}/{number}-7-0000.wav"
        rows.append([path, "librispeech", f"ls-{number}", "f", "", "train", "0.5"])
    for number in (20, 21):
        for take in range(3):
            path = f"so762/{number:04d}/{number:05d}{take:04d}.wav"
            rows.append([path, "speechocean762", f"so-{number:04d}", "f", "9", "eval", "0.5"])
    rows.append(["librispeech/99/99-7-0000.wav", "librispeech", "ls-99", "m", "", "eval", "0.5"])
    return rows


def write_metadata(folder, rows, columns=COLUMNS):
    with (folder / "metadata.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([columns, *rows])


@pytest.fixture
def metadata(tmp_path):
    source = tmp_path / "speech"
    for row in metadata_rows():
        write_audio(source / row[0])
    write_metadata(source, metadata_rows())
    return source


def lines(file):
    return file.read_text().splitlines()


class TestArchiveLayout:
    def test_both_splits(self, archive, tmp_path):
        so762.prepare_speechocean762(archive, tmp_path / "data")
        train, test = (DataDir.read(tmp_path / "data" / name) for name in ("train", "test"))
        assert train.spk2utt["so-0001"] == ["so-0001-000010011", "so-0001-000010035"]
        assert set(test.spk2utt) == {"so-0003", "so-0024"}
        assert test.genders == {"so-0003": "m", "so-0024": "f"}
        assert test.durations["so-0003-000030011"] == 0.5
        assert not (tmp_path / "data/dev").exists()
        assert not (tmp_path / "data/train/trials").exists()

    def test_trials(self, archive, tmp_path):
        so762.prepare_speechocean762(archive, tmp_path / "data")
        assert len(lines(tmp_path / "data/test/trials")) == 6
        assert lines(tmp_path / "data/test/trials_same_gender") == [
            "so-0003-000030011 so-0003-000030035 target",
            "so-0024-000240011 so-0024-000240035 target",
        ]

    def test_result_is_valid(self, archive, tmp_path):
        so762.prepare_speechocean762(archive, tmp_path / "data")
        for split in ("train", "test"):
            faults = validate_data_dir(tmp_path / "data" / split, sample_rate=RATE)
            assert [str(fault) for fault in faults] == []

    def test_folder_above_is_accepted(self, archive, tmp_path):
        so762.prepare_speechocean762(archive.parent, tmp_path / "data")
        assert len(DataDir.read(tmp_path / "data/test")) == 4

    @pytest.mark.parametrize("table", ["utt2spk", "spk2gender"])
    def test_entry_missing_in_a_table(self, archive, tmp_path, table):
        file = archive / "train" / table
        file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
        with pytest.raises(FormatError, match=rf"wav.scp:\d: utterance .* has no entry in {table}"):
            so762.prepare_speechocean762(archive, tmp_path / "data")

    def test_missing_table(self, archive, tmp_path):
        (archive / "test/utt2spk").unlink()
        with pytest.raises(FormatError, match="test/utt2spk:0: no such file"):
            so762.prepare_speechocean762(archive, tmp_path / "data")

    def test_corpora_need_metadata(self, archive, tmp_path):
        with pytest.raises(ConfigError, match="the archive has one: leave it out"):
            so762.prepare_speechocean762(archive, tmp_path / "data", corpora=["x"])

    def test_wrong_sample_rate(self, archive, tmp_path):
        file = archive / "WAVE/SPEAKER0001/000010011.WAV"
        soundfile.write(file, np.zeros(8000), 8000, format="WAV")
        with pytest.raises(DataError, match=r"000010011\.WAV"):
            so762.prepare_speechocean762(archive, tmp_path / "data")


class TestMetadataLayout:
    def test_splits(self, metadata, tmp_path):
        so762.prepare_speechocean762(metadata, tmp_path / "data")
        train, test = (DataDir.read(tmp_path / "data" / name) for name in ("train", "test"))
        assert (len(train), len(train.spk2utt)) == (82, 10)
        assert set(test.spk2utt) == {"so-0020", "so-0021"}
        assert "ls-90-90-7-0000" in train.utt2spk
        assert len(lines(tmp_path / "data/test/trials")) == 6 * 5 // 2

    def test_one_corpus(self, metadata, tmp_path):
        so762.prepare_speechocean762(metadata, tmp_path / "data", corpora=["speechocean762"])
        train = DataDir.read(tmp_path / "data/train")
        assert (len(train), len(train.spk2utt)) == (80, 8)
        assert len(DataDir.read(tmp_path / "data/test")) == 6

    def test_unknown_corpus(self, metadata, tmp_path):
        message = r"timit: not in .*csv, which has librispeech, speechocean762"
        with pytest.raises(ConfigError, match=message):
            so762.prepare_speechocean762(metadata, tmp_path / "data", corpora=["timit"])

    def test_missing_columns(self, metadata, tmp_path):
        rows = [row[:3] for row in metadata_rows()]
        write_metadata(metadata, rows, COLUMNS[:3])
        with pytest.raises(FormatError, match=r"csv:1: no column gender, suggested_split; needed"):
            so762.prepare_speechocean762(metadata, tmp_path / "data")

    @pytest.mark.parametrize(
        ("column", "value", "message"),
        [
            (5, "dev", "csv:4: expected suggested_split 'train' or 'eval'.*got 'dev' and 'm'"),
            (3, "x", "csv:4: expected .* gender 'f' or 'm', got 'train' and 'x'"),
            (2, "", "csv:4: speaker is empty"),
        ],
    )
    def test_bad_value(self, metadata, tmp_path, column, value, message):
        rows = metadata_rows()
        rows[2][column] = value
        write_metadata(metadata, rows)
        with pytest.raises(FormatError, match=message):
            so762.prepare_speechocean762(metadata, tmp_path / "data")

    def test_short_row(self, metadata, tmp_path):
        rows = metadata_rows()
        rows[2] = rows[2][:3]
        write_metadata(metadata, rows)
        with pytest.raises(FormatError, match="csv:4: gender, suggested_split is empty"):
            so762.prepare_speechocean762(metadata, tmp_path / "data")

    def test_row_twice(self, metadata, tmp_path):
        write_metadata(metadata, [*metadata_rows(), metadata_rows()[0]])
        with pytest.raises(FormatError, match="so-0000-000000000 occurs a second time"):
            so762.prepare_speechocean762(metadata, tmp_path / "data")

    def test_missing_files_are_counted(self, metadata, tmp_path):
        for take in range(7):
            (metadata / f"so762/0003/00003000{take}.wav").unlink()
        with pytest.raises(DataError, match="7 of 88 audio files are missing, first") as caught:
            so762.prepare_speechocean762(metadata, tmp_path / "data")
        assert str(caught.value).count(".wav") == 5
        assert not (tmp_path / "data").exists()

    def test_speaker_on_both_sides(self, metadata, tmp_path):
        rows = metadata_rows()
        rows[-2][2] = "so-0000"
        write_metadata(metadata, rows)
        with pytest.raises(DataError, match="1 speakers are in train and in test, first so-0000"):
            so762.prepare_speechocean762(metadata, tmp_path / "data")

    def test_nothing_to_test_on(self, metadata, tmp_path):
        write_metadata(metadata, [row for row in metadata_rows() if row[5] == "train"])
        with pytest.raises(DataError, match="the test split has no utterance"):
            so762.prepare_speechocean762(metadata, tmp_path / "data")

    def test_neither_layout(self, tmp_path):
        with pytest.raises(DataError, match=r"neither metadata.csv nor train/wav.scp"):
            so762.prepare_speechocean762(tmp_path, tmp_path / "data")


class TestDevelopmentSet:
    def test_is_taken_out_of_training(self, metadata, tmp_path):
        so762.prepare_speechocean762(metadata, tmp_path / "data", dev_speakers=4)
        train, dev = (DataDir.read(tmp_path / "data" / name) for name in ("train", "dev"))
        assert len(dev.spk2utt) == 4
        assert not set(dev.spk2utt) & set(train.spk2utt)
        assert sorted(dev.genders.values()) == ["f", "f", "m", "m"]
        assert all(len(utterances) == 10 for utterances in dev.spk2utt.values())
        assert len(train) + len(dev) == 82
        assert len(lines(tmp_path / "data/dev/trials")) == 40 * 39 // 2

    def test_follows_the_seed(self):
        rows = [
            so762.Utterance(name=f"{n}-{t}", speaker=f"{n:02d}", gender="fm"[n % 2], file=None)
            for n in range(40)
            for t in range(10)
        ]
        first = so762.choose_dev_speakers(rows, 10, seed=0)
        assert first == so762.choose_dev_speakers(rows[::-1], 10, seed=0)
        assert first != so762.choose_dev_speakers(rows, 10, seed=1)

    def test_takes_more_of_one_gender_where_the_other_has_too_few(self):
        rows = [
            so762.Utterance(name=f"{n}-{t}", speaker=f"{n}", gender="m" if n else "f", file=None)
            for n in range(8)
            for t in range(10)
        ]
        assert len(so762.choose_dev_speakers(rows, 6, seed=0)) == 6

    @pytest.mark.parametrize("count", [9, 10, 11])
    def test_too_many(self, metadata, tmp_path, count):
        with pytest.raises(DataError, match=f"--dev-speakers {count}: only 8 of 10 training"):
            so762.prepare_speechocean762(metadata, tmp_path / "data", dev_speakers=count)

    def test_stale_one_is_refused(self, metadata, tmp_path):
        so762.prepare_speechocean762(metadata, tmp_path / "data", dev_speakers=2)
        with pytest.raises(DataError, match="left from a run with --dev-speakers"):
            so762.prepare_speechocean762(metadata, tmp_path / "data")


@pytest.fixture
def mirror(archive, breaking_mirror):
    """The packed miniature archive on a server that hangs up once, in the middle."""
    packed = breaking_mirror.folder / "so.tar.gz"
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(archive, "speechocean762")
    body = packed.read_bytes()
    digest = "sha256:" + hashlib.sha256(body).hexdigest()
    return f"{breaking_mirror.url}/so.tar.gz", digest, breaking_mirror.asked, len(body)


class TestDownload:
    def test_resumes_unpacks_and_can_be_prepared(self, mirror, tmp_path, capsys):
        url, digest, asked, size = mirror
        folder = so762.download_speechocean762(tmp_path / "c", url=url, checksum=digest)
        assert asked == [("so.tar.gz", 0), ("so.tar.gz", size // 2)]
        assert digest in capsys.readouterr().out
        so762.prepare_speechocean762(folder, tmp_path / "data")
        assert len(DataDir.read(tmp_path / "data/test")) == 4

    def test_second_run_asks_nobody(self, mirror, tmp_path, capsys):
        so762.download_speechocean762(tmp_path / "c", url=mirror[0])
        so762.download_speechocean762(tmp_path / "c", url="http://127.0.0.1:9/gone")
        assert "is there already" in capsys.readouterr().out

    def test_wrong_checksum_unpacks_nothing(self, mirror, tmp_path):
        with pytest.raises(DataError, match="expected 0000"):
            so762.download_speechocean762(
                tmp_path / "c", url=mirror[0], checksum="sha256:" + "0" * 64
            )
        assert not (tmp_path / "c/speechocean762").exists()


class TestCommandLine:
    def test_prepare(self, metadata, tmp_path):
        output = tmp_path / "data"
        argv = ["prepare", "--source", str(metadata), "--output", str(output)]
        argv += ["--dev-speakers", "2", "--corpora", "speechocean762"]
        assert _script.run(so762.main, argv) == 0
        assert len(DataDir.read(output / "train")) == 60

    def test_download(self, mirror, tmp_path):
        argv = ["download", "--output", str(tmp_path / "c"), "--url", mirror[0]]
        assert _script.run(so762.main, argv) == 0
        assert (tmp_path / "c/speechocean762/train/wav.scp").is_file()

    def test_error_is_a_message(self, tmp_path, capsys):
        argv = ["prepare", "--source", str(tmp_path), "--output", str(tmp_path / "data")]
        assert _script.run(so762.main, argv) == 1
        assert capsys.readouterr().err.startswith(f"error: {tmp_path}: neither metadata.csv")


def test_real_recordings(real_data, tmp_path):
    source = real_data / "speech"
    if not source.is_dir():
        pytest.skip("no speech in BBB_DATA")
    so762.prepare_speechocean762(source, tmp_path, dev_speakers=30)
    train, dev, test = (DataDir.read(tmp_path / name) for name in ("train", "dev", "test"))
    assert (len(train.spk2utt), len(dev.spk2utt), len(test.spk2utt)) == (411, 30, 60)
    assert len(test) == 1200
    with (tmp_path / "test/trials").open() as stream:
        assert sum(1 for _ in stream) == 719_400
