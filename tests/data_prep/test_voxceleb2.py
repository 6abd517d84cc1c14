import dataclasses
import hashlib
import io
import shutil
import subprocess
import sys
import zipfile

import _script
import numpy as np
import pytest
import soundfile
import voxceleb2

from bbb.audio.datadir import DataDir
from bbb.audio.validate import validate_data_dir
from bbb.errors import ConfigError, DataError, FormatError

DEV, TEST = ("id00012", "id00015"), ("id00017", "id00061")
# As published: commas, and blanks around every value.
META = "VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set \n" + "".join(
    f"{speaker} ,n{speaker[2:]} ,{'mf'[n % 2]} ,{'dev' if speaker in DEV else 'test'} \n"
    for n, speaker in enumerate(DEV + TEST)
)
FFMPEG = """#!{python}
import struct, sys, wave
source, target = sys.argv[sys.argv.index("-i") + 1], sys.argv[-1]
content = open(source).read()
with open({log!r}, "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
out = wave.open(target, "wb")
out.setparams((1, 2, 16000, 0, "NONE", ""))
if content == "m4a":
    out.writeframes(struct.pack("<8000h", *[(n * 37) % 2000 - 1000 for n in range(8000)]))
out.close()
if content == "broken":
    sys.stderr.write("moov atom not found\\nError opening input\\n")
    sys.exit(183)
"""


def names(speakers, suffix):
    return [
        f"{s}/{v}/{n:05d}.{suffix}" for s in speakers for v in ("21Uxsk56VDQ", "-x") for n in (1, 2)
    ]


@pytest.fixture
def tree(tmp_path):
    """The unpacked archives; the m4a files hold the word "m4a"."""
    for split, speakers in (("dev", DEV), ("test", TEST)):
        for name in names(speakers, "m4a"):
            file = tmp_path / "vox2" / split / "aac" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("m4a")
    (tmp_path / "vox2/vox2_meta.csv").write_text(META)
    return tmp_path / "vox2"


@pytest.fixture
def ffmpeg(tmp_path):
    """A program that decodes these, and notes how it was called."""
    file = tmp_path / "bin/ffmpeg"
    file.parent.mkdir()
    file.write_text(FFMPEG.format(python=sys.executable, log=str(tmp_path / "calls")))
    file.chmod(0o755)
    return str(file)


def calls(tree):
    file = tree.parent / "calls"
    return file.read_text().splitlines() if file.exists() else []


def convert(tree, ffmpeg, **options):
    output = tree.parent / "wav"
    return output, voxceleb2.convert_voxceleb2(tree, output, ffmpeg=ffmpeg, jobs=2, **options)


class TestConvert:
    def test_same_tree(self, tree, ffmpeg):
        output, count = convert(tree, ffmpeg)
        assert count == len(calls(tree)) == 16
        found = sorted(str(f.relative_to(output)) for f in output.rglob("*") if f.is_file())
        wanted = [f"dev/aac/{name}" for name in names(DEV, "wav")]
        wanted += [f"test/aac/{name}" for name in names(TEST, "wav")]
        assert found == sorted([*wanted, "vox2_meta.csv"])
        assert all("-xerror" in call and " -ac 1 -ar 16000 " in call for call in calls(tree))

    def test_continues(self, tree, ffmpeg):
        output, _ = convert(tree, ffmpeg)
        gone = output / "dev/aac" / names(DEV, "wav")[3]
        gone.unlink()
        assert convert(tree, ffmpeg)[1] == 1
        assert gone.is_file()
        assert len(calls(tree)) == 17

    def test_broken_files_are_all_named_and_the_rest_is_done(self, tree, ffmpeg, capsys):
        files = sorted((tree / "dev").rglob("*.m4a"))
        files[0].write_text("broken")
        files[5].write_text("silent")  # the program succeeds and writes no sample
        with pytest.raises(
            DataError, match=r"2 m4a files that cannot be decoded \(the others"
        ) as caught:
            convert(tree, ffmpeg)
        assert f"{files[0]} (moov atom not found)" in str(caught.value)
        assert "no samples" in str(caught.value)
        assert "14 decoded now, 0 before" in capsys.readouterr().out
        left = [file for file in (tree.parent / "wav").rglob("*.wav") if file.is_file()]
        assert len(left) == 14  # no temporary file either
        for file in files:
            file.write_text("m4a")
        assert convert(tree, ffmpeg)[1] == 2

    def test_flac(self, tree, ffmpeg):
        output, _ = convert(tree, ffmpeg, audio_format="flac")
        assert len([*output.rglob("*.flac")]) == 16
        assert "-c:a flac" in calls(tree)[0]

    def test_missing_program(self, tree):
        with pytest.raises(
            ConfigError, match=r"need a decoder, .*'no-such' is not found; install it"
        ):
            convert(tree, "no-such")

    def test_nothing_to_do(self, tmp_path, ffmpeg):
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match=r"no .m4a file below it; check --source \(dev/aac/id"):
            convert(tmp_path / "empty", ffmpeg)

    @pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg")
    def test_the_real_program(self, tree):
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, 44_100 * 2)
        soundfile.write(tree / "x.wav", noise, 44_100)
        files = sorted(tree.rglob("*.m4a"))
        make = ["ffmpeg", "-v", "error", "-nostdin", "-i", str(tree / "x.wav"), "-c:a", "aac"]
        subprocess.run([*make, "-movflags", "+faststart", str(tree / "x.m4a")], check=True)
        whole = (tree / "x.m4a").read_bytes()
        (tree / "x.m4a").unlink()
        for file in files:
            file.write_bytes(whole)
        files[0].write_bytes(whole[: len(whole) // 2])
        files[1].write_bytes(whole[: len(whole) // 3] + bytes(range(256)) * 8 + whole[-9000:])
        with pytest.raises(DataError, match="2 m4a files that cannot be decoded"):
            convert(tree, "ffmpeg")
        done = [soundfile.info(file) for file in (tree.parent / "wav").rglob("*.wav")]
        assert {(info.samplerate, info.channels) for info in done} == {(16_000, 1)}
        assert all(abs(info.duration - 2.0) < 0.1 for info in done)
        assert len(done) == 14


class TestPrepare:
    @pytest.mark.parametrize("merged", [False, True])
    def test_sets(self, tree, ffmpeg, merged, capsys):
        output, _ = convert(tree, ffmpeg)
        if merged:
            for split in ("dev", "test"):
                shutil.copytree(output / split / "aac", output / "wav", dirs_exist_ok=True)
                shutil.rmtree(output / split)
        voxceleb2.prepare_voxceleb2(output, tree.parent / "data", jobs=2)
        train, test = (DataDir.read(tree.parent / "data" / name) for name in ("train", "test"))
        assert (tuple(train.spk2utt), tuple(test.spk2utt)) == (DEV, TEST)
        assert train.genders == {"id00012": "m", "id00015": "f"}
        assert train.durations["id00012-21Uxsk56VDQ-00001"] == 0.5
        assert "id00012--x-00002" in train.utt2spk
        assert "1,092,009" in capsys.readouterr().out
        for split in ("train", "test"):
            faults = validate_data_dir(tree.parent / "data" / split, sample_rate=16_000)
            assert [str(fault) for fault in faults] == []

    def test_m4a_must_be_converted(self, tree):
        with pytest.raises(
            DataError, match=r"m4a files, .* data_prep/voxceleb2.py convert --source"
        ):
            voxceleb2.prepare_voxceleb2(tree, tree.parent / "data")

    def test_everything_wrong_at_once(self, tree, ffmpeg):
        output, _ = convert(tree, ffmpeg)
        (output / "dev/aac/id00012").rename(output / "test/aac/id00012")
        shutil.rmtree(output / "dev/aac/id00015")
        (output / "test/aac" / names(TEST, "wav")[0]).write_bytes(b"RIFF")
        with pytest.raises(DataError, match="3 kinds of faults, nothing was written") as caught:
            voxceleb2.prepare_voxceleb2(output, tree.parent / "data")
        said = str(caught.value)
        assert "folder was moved: id00012 (lies in test, belongs to dev)" in said
        assert "1 speakers of vox2_meta.csv without audio: id00015;" in said
        assert "1 audio files that cannot be used: " in said
        assert not (tree.parent / "data").exists()

    def test_one_set(self, tree, ffmpeg):
        output, _ = convert(tree, ffmpeg)
        shutil.rmtree(output / "dev")
        voxceleb2.prepare_voxceleb2(output, tree.parent / "data", sets=("test",), lists=tree)
        assert [path.name for path in (tree.parent / "data").iterdir()] == ["test"]

    def test_broken_table(self, tree, ffmpeg):
        output, _ = convert(tree, ffmpeg)
        (output / "vox2_meta.csv").write_text(META.replace(" ,f ,", " ,? ,"))
        with pytest.raises(FormatError, match=r"vox2_meta.csv:3: .*\['id00015', '\?', 'dev'\]"):
            voxceleb2.prepare_voxceleb2(output, tree.parent / "data")


def test_download(tree, breaking_mirror, monkeypatch, tmp_path):
    """The zip files have the folders that the published ones have, ``dev/aac`` and ``aac``."""
    archives = {}
    for split, top in (("dev", "dev/aac"), ("test", "aac")):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as packed:
            for file in sorted((tree / split).rglob("*.m4a")):
                packed.write(file, f"{top}/{file.relative_to(tree / split / 'aac')}")
        archive = voxceleb2.CORPUS.archives[split]
        size = -(-len(stream.getvalue()) // len(archive.parts))
        parts = {}
        for number, name in enumerate(archive.parts):
            part = stream.getvalue()[number * size : (number + 1) * size]
            parts[name] = hashlib.md5(part, usedforsecurity=False).hexdigest()
            (breaking_mirror.folder / name).write_bytes(part)
        archives[split] = dataclasses.replace(archive, parts=parts)
    (breaking_mirror.folder / "vox2_meta.csv").write_text(META)
    monkeypatch.setattr(
        voxceleb2, "CORPUS", dataclasses.replace(voxceleb2.CORPUS, archives=archives)
    )
    monkeypatch.setattr("_download.time.sleep", lambda _: None)
    argv = ["download", "--output", str(tmp_path / "again"), "--lists-url", breaking_mirror.url]
    voxceleb2.main([*argv, "--base-url", breaking_mirror.url])
    found = {str(f.relative_to(tmp_path / "again")) for f in (tmp_path / "again").rglob("*.m4a")}
    assert found == {str(f.relative_to(tree)) for f in tree.rglob("*.m4a")}
    assert len(breaking_mirror.asked) == 2 * (1 + 8 + 1)


def test_command_line(tree, ffmpeg, capsys):
    wav, data = str(tree.parent / "wav"), tree.parent / "data"
    argv = ["convert", "--source", str(tree), "--output", wav, "--ffmpeg", ffmpeg, "--jobs", "2"]
    assert _script.run(voxceleb2.main, argv) == 0
    argv = ["prepare", "--source", wav, "--output", str(data), "--sets", "train"]
    assert _script.run(voxceleb2.main, argv) == 0
    assert [path.name for path in data.iterdir()] == ["train"]
    argv = ["convert", "--source", str(tree), "--output", wav, "--ffmpeg", "no-such"]
    assert _script.run(voxceleb2.main, argv) == 1
    assert "conda install" in capsys.readouterr().err
