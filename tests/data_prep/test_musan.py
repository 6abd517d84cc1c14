import hashlib
import tarfile

import _script
import musan
import numpy as np
import pytest
import soundfile

from bbb.audio.augment import AugmentConfig, Augmenter
from bbb.audio.datadir import DataDir
from bbb.audio.validate import validate_data_dir
from bbb.errors import ConfigError, DataError

RATE = 16_000
# Genres come before the vocals in most lines, and after them in some; the artist may be two words.
ANNOTATIONS = {
    "fma": "music-fma-0000 Classical,Baroque N Somebody\nmusic-fma-0001 Pop Y Some One\n",
    "fma-western-art": "music-fma-wa-0000 N baroque Kevin_MacLeod\n",
}
FILES = {
    "music/fma": ["music-fma-0000", "music-fma-0001"],
    "music/fma-western-art": ["music-fma-wa-0000"],
    "music/jamendo": ["music-jamendo-0000"],  # in no ANNOTATIONS
    "noise/free-sound": ["noise-free-sound-0000", "noise-free-sound-0001"],
    "noise/sound-bible": ["noise-sound-bible-0000"],
    "speech/librivox": ["speech-librivox-0000"],
    "speech/us-gov": ["speech-us-gov-0000"],
}


def write_audio(file, seed, rate=RATE):
    soundfile.write(file, np.random.default_rng(seed).uniform(-0.5, 0.5, 1600 + seed), rate)


@pytest.fixture
def source(tmp_path):
    root = tmp_path / "musan"
    seed = 0
    for folder, names in FILES.items():
        (root / folder).mkdir(parents=True)
        (root / folder / "LICENSE").write_text("".join(f"{name} CC BY 3.0\n" for name in names))
        for name in names:
            write_audio(root / folder / f"{name}.wav", seed)
            seed += 1
    for folder, text in ANNOTATIONS.items():
        (root / "music" / folder / "ANNOTATIONS").write_text(text)
    (root / "speech/librivox/ANNOTATIONS").write_text("speech-librivox-0000 f english\n")
    (root / "README").write_text("MUSAN\n")
    return root


def prepare(source, **options):
    output = source.parent / "data"
    musan.prepare_musan(source, output, **options)
    return output


class TestPrepare:
    @pytest.mark.parametrize("kind", ["noise", "music", "speech"])
    def test_result_is_valid(self, source, kind):
        faults = validate_data_dir(prepare(source) / kind, sample_rate=RATE)
        assert [str(fault) for fault in faults] == []

    def test_every_kind(self, source):
        output = prepare(source)
        found = {kind: set(DataDir.read(output / kind).wavs) for kind in musan.FILES}
        assert found == {
            "noise": {"noise-free-sound-0000", "noise-free-sound-0001", "noise-sound-bible-0000"},
            "music": {"music-fma-0000", "music-fma-0001", "music-fma-wa-0000"},
            "speech": {"speech-librivox-0000", "speech-us-gov-0000"},
        }

    def test_without_vocals(self, source):
        data = DataDir.read(prepare(source, no_vocals=True) / "music")
        assert set(data.wavs) == {"music-fma-0000", "music-fma-wa-0000"}

    def test_a_later_run_leaves_nothing_of_the_earlier_one(self, source):
        prepare(source)
        audio = prepare(source, no_vocals=True, kinds=["music"]) / "music/audio"
        assert {file.stem for file in audio.iterdir()} == {"music-fma-0000", "music-fma-wa-0000"}

    def test_folder_above_and_one_kind(self, source):
        musan.prepare_musan(source.parent, source.parent / "data", kinds=["noise"])
        assert [folder.name for folder in (source.parent / "data").iterdir()] == ["noise"]

    def test_counts_and_memory(self, source, capsys):
        prepare(source)
        out = capsys.readouterr().out
        rows = [line.split() for line in out.splitlines()]
        assert ["music", "4", "660", "differs"] in rows
        assert ["speech", "2", "426", "differs"] in rows
        assert "data/noise: 0.0 hours, 0.0 GB of memory while training" in out
        assert "data/music: without 1 files (not annotated, or with vocals)" in out


class TestAugmentation:
    @pytest.mark.parametrize(
        ("folder", "files"), [("noise", FILES["noise/free-sound"]), ("", None)]
    )
    def test_takes_the_folder(self, source, folder, files):
        output = prepare(source) / folder
        config = AugmentConfig(noise_dir=str(output), noise_prob=1.0, min_snr_db=5, max_snr_db=5)
        augmenter = Augmenter(config, RATE)
        assert len(augmenter.noises) == (8 if files is None else 3)
        speech = np.sin(np.arange(8000) / 20).astype(np.float32)
        noisy = augmenter(speech, np.random.default_rng(0))
        power = np.mean(speech**2) / np.mean((noisy - speech) ** 2)
        assert 10 * np.log10(power) == pytest.approx(5.0, abs=1e-3)

    def test_reads_the_very_files(self, source):
        config = AugmentConfig(noise_dir=str(prepare(source) / "noise"), noise_prob=1.0)
        files = sorted((source / "noise").rglob("*.wav"), key=lambda file: file.name)
        for found, file in zip(Augmenter(config, RATE).noises, files, strict=True):
            np.testing.assert_array_equal(found, soundfile.read(file, dtype="float32")[0])


NOISE = "noise/free-sound/noise-free-sound-0000.wav"
TWICE = "noise-free-sound-0001.wav"


def without_annotations(root):
    for folder in ANNOTATIONS:
        (root / "music" / folder / "ANNOTATIONS").unlink()


def bad_annotation(root):
    (root / "music/fma/ANNOTATIONS").write_text(ANNOTATIONS["fma"] + "music-fma-0002 Pop\n")


class TestBadInput:
    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda root: (root / "music/fma/music-fma-0001.wav").unlink(),
             r"1 annotated files that are missing: .*music/music-fma-0001; unpack the archive"),
            (without_annotations, "1 folders of music without ANNOTATIONS"),
            (bad_annotation, r"1 annotations without Y or N for vocals: .*fma/ANNOTATIONS:3; un"),
            (lambda root: (root / "speech").rename(root / "talk"),
             r"1 folders that are missing: .*musan/speech; unpack .* or choose with --kinds"),
            (lambda root: (root / "speech/us-gov").rename(root / "noise/us-gov"),
             r"1 files in noise of another kind: .*us-gov-0000.wav; a folder was moved"),
            (lambda root: (root / NOISE).rename(root / "noise/sound-bible" / TWICE),
             r"1 files whose name occurs twice: .*noise-free-sound-0001.wav"),
            (lambda root: [file.unlink() for file in root.glob("noise/*/*.wav")],
             r"1 folders without audio: .*musan/noise"),
            (lambda root: (root / NOISE).write_bytes((root / NOISE).read_bytes()[:500]),
             r"1 audio files that cannot be used: .*noise-free-sound-0000.wav"),
            (lambda root: write_audio(root / NOISE, 0, rate=8000),
             r"1 audio files that cannot be used: .*8000 Hz"),
        ],
    )  # fmt: skip
    def test_named_before_anything_is_written(self, source, damage, message):
        damage(source)
        with pytest.raises(DataError, match=message):
            prepare(source)
        assert not (source.parent / "data").exists()

    def test_all_at_once(self, source):
        without_annotations(source)
        (source / NOISE).write_bytes(b"")
        with pytest.raises(DataError, match="2 kinds of faults, nothing was written"):
            prepare(source)

    def test_unknown_kind(self, source):
        with pytest.raises(ConfigError, match="--kinds babble: unknown; MUSAN has noise, music"):
            prepare(source, kinds=["babble"])

    def test_another_folder(self, tmp_path):
        message = "none of the folders noise, music, speech is there; check --source"
        with pytest.raises(DataError, match=message):
            musan.prepare_musan(tmp_path, tmp_path / "data")

    def test_files_of_others_are_not_removed(self, source):
        mine = source.parent / "data/noise/audio/mine.wav"
        mine.parent.mkdir(parents=True)
        mine.write_bytes(b"mine")
        with pytest.raises(DataError, match=r"1 files were there before, first .*mine.wav; choose"):
            prepare(source)
        assert mine.read_bytes() == b"mine"


class TestDownload:
    @pytest.fixture
    def checksum(self, source, breaking_mirror):
        with tarfile.open(breaking_mirror.folder / "musan.tar.gz", "w:gz") as tar:
            tar.add(source, "musan")
        content = (breaking_mirror.folder / "musan.tar.gz").read_bytes()
        return "md5:" + hashlib.md5(content, usedforsecurity=False).hexdigest()

    def test_resumes_unpacks_and_can_be_prepared(self, breaking_mirror, checksum, tmp_path, capsys):
        url = f"{breaking_mirror.url}/musan.tar.gz"
        folder = musan.download_musan(tmp_path / "c", url=url, checksum=checksum)
        assert [start > 0 for _, start in breaking_mirror.asked] == [False, True]
        musan.prepare_musan(folder, tmp_path / "data")
        assert len(DataDir.read(tmp_path / "data/noise")) == 3
        musan.download_musan(tmp_path / "c", url="http://127.0.0.1:9/gone")
        assert "is there already" in capsys.readouterr().out

    def test_published_checksum_guards(self, breaking_mirror, checksum, tmp_path, capsys):  # noqa: ARG002
        url = f"{breaking_mirror.url}/musan.tar.gz"
        argv = ["download", "--output", str(tmp_path / "c"), "--url", url]
        assert _script.run(musan.main, argv) == 1
        assert f"expected {musan.CHECKSUM[4:]}" in capsys.readouterr().err


def test_command_line(source, tmp_path):
    argv = ["prepare", "--source", str(source), "--output", str(tmp_path / "d"), "--no-vocals"]
    assert _script.run(musan.main, argv) == 0
    assert len(DataDir.read(tmp_path / "d/music")) == 2
