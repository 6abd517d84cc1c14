import base64
import dataclasses
import hashlib
import io
import re
import zipfile

import _script
import _voxceleb
import _voxceleb_download
import numpy as np
import pytest
import soundfile
import voxceleb1

from bbb.audio.datadir import DataDir
from bbb.audio.validate import validate_data_dir
from bbb.cli.main import main as bbb
from bbb.errors import ConfigError, DataError, FormatError
from bbb.scoring.trials import read_trials

DEV, TEST = ("id10001", "id10002", "id10003"), ("id10270", "id10271")
VIDEOS = ("1zcIwhmdeo4", "-_a-b_c-0_9")  # ids of videos may begin with a dash


def relative_names(speakers):
    return [f"{s}/{v}/{n:05d}.wav" for s in speakers for v in VIDEOS for n in (1, 2)]


def wav(seed, seconds=0.2):
    stream = io.BytesIO()
    noise = np.random.default_rng(seed).uniform(-0.1, 0.1, int(16_000 * seconds))
    soundfile.write(stream, noise, 16_000, format="WAV", subtype="PCM_16")
    return stream.getvalue()


def pairs(speakers):
    """Every pair in the corpus's form, ``1 id10270/x/00001.wav id10270/y/00002.wav``."""
    names = relative_names(speakers)
    every = [(a, b) for n, a in enumerate(names) for b in names[n + 1 :]]
    return [f"{int(a[:7] == b[:7])} {a} {b}" for a, b in every]


def lists():
    """Every file that the home page links to, in miniature."""
    meta = ["VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet"]
    for number, speaker in enumerate(DEV + TEST):
        split = "dev" if speaker in DEV else "test"
        meta.append(f"{speaker}\tA.J._Buckley\t{'mf'[number % 2]}\tIreland\t{split}")
    iden = [f"{1 + n % 3} {name}" for n, name in enumerate(relative_names(DEV + TEST))]
    files = {"vox1_meta.csv": meta, "iden_split.txt": iden}
    for name, speakers in (("veri_test", TEST), ("list_test_all", DEV + TEST)):
        files[f"{name}.txt"] = pairs(speakers)
        files[f"{name}2.txt"] = pairs(speakers)[:-1]
    files["list_test_hard.txt"] = pairs(DEV)
    files["list_test_hard2.txt"] = pairs(DEV)[2:]
    return {name: "\n".join(rows) + "\n" for name, rows in files.items()}


LAYOUTS = {
    "archives": ("vox1_dev_wav/wav", "vox1_test_wav/wav"),
    "folders": ("dev/wav", "test/wav"),
    "merged": ("wav", "wav"),
    "bare": ("", ""),
}


def make_tree(source, layout="archives"):
    for below, speakers in zip(LAYOUTS[layout], (DEV, TEST), strict=True):
        for number, name in enumerate(relative_names(speakers)):
            file = source / below / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(wav(number, 0.2 + 0.1 * (number % 2)))
    for name, text in lists().items():
        (source / name).write_text(text)
    return source


@pytest.fixture
def tree(tmp_path):
    return make_tree(tmp_path / "vox1")


def prepare(tree, **options):
    voxceleb1.prepare_voxceleb1(tree, tree.parent / "data", jobs=2, **options)
    return tree.parent / "data"


class TestPrepare:
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_every_layout_gives_the_same(self, tmp_path, layout):
        data = prepare(make_tree(tmp_path / "vox1", layout))
        train, test, everyone = (DataDir.read(data / name) for name in ("train", "test", "all"))
        assert tuple(train.spk2utt) == DEV
        assert tuple(test.spk2utt) == TEST
        assert tuple(everyone.spk2utt) == DEV + TEST
        assert len(train) == len(DEV) * 4
        assert train.genders == {"id10001": "m", "id10002": "f", "id10003": "m"}
        assert train.durations["id10001-1zcIwhmdeo4-00001"] == 0.2
        assert train.durations["id10001--_a-b_c-0_9-00002"] == 0.3
        assert train.wavs["id10001-1zcIwhmdeo4-00001"].endswith("id10001/1zcIwhmdeo4/00001.wav")

    def test_result_is_valid(self, tree):
        data = prepare(tree, sets=("train", "test", "all", "iden"))
        names = ("train", "test", "all", "iden_train", "iden_dev", "iden_test")
        for name in names:
            faults = validate_data_dir(data / name, sample_rate=16_000)
            assert [str(f) for f in faults if "has one utterance" not in f.message] == []

    @pytest.mark.parametrize(
        ("kind", "source"),
        [
            ("test/trials_o", "veri_test2.txt"),
            ("test/trials_o_original", "veri_test.txt"),
            ("all/trials_e", "list_test_all2.txt"),
            ("all/trials_e_original", "list_test_all.txt"),
            ("all/trials_h", "list_test_hard2.txt"),
            ("all/trials_h_original", "list_test_hard.txt"),
        ],
    )
    def test_trials_are_those_of_the_list(self, tree, kind, source):
        data = prepare(tree)
        expected = []
        for line in lists()[source].splitlines():
            label, *sides = line.split()
            names = " ".join(side[:-4].replace("/", "-") for side in sides)
            expected.append(f"{names} {'target' if label == '1' else 'nontarget'}")
        assert (data / kind).read_text().splitlines() == expected

    def test_the_command_line_of_bbb_takes_the_trials(self, tree, capsys):
        data = prepare(tree)
        test = DataDir.read(data / "test")
        rng = np.random.default_rng(0)
        centre = dict(zip(TEST, rng.normal(size=(2, 8)), strict=True))
        rows = [centre[test.utt2spk[u]] + 0.1 * rng.normal(size=8) for u in test.utterances]
        file = tree.parent / "emb.ark"
        lines = [
            f"{u}  [ {' '.join(map(str, r))} ]" for u, r in zip(test.utterances, rows, strict=True)
        ]
        file.write_text("\n".join(lines) + "\n")
        scores = tree.parent / "scores"
        argv = ["score", "--backend", "cosine", "--trials", str(data / "test/trials_o")]
        argv += ["--enroll", str(file), "--test", str(file), "--output", str(scores)]
        assert bbb(argv) == 0
        assert bbb(["evaluate", str(scores), "--trials", str(data / "test/trials_o")]) == 0
        assert re.search(r"min-Cllr +│ 0\.0000", capsys.readouterr().out)

    def test_identification(self, tree):
        data = prepare(tree, sets=("iden",))
        found = [
            set(DataDir.read(data / f"iden_{name}").utt2spk) for name in ("train", "dev", "test")
        ]
        names = [name[:-4].replace("/", "-") for name in relative_names(DEV + TEST)]
        assert found == [set(names[start::3]) for start in range(3)]

    def test_counts_stand_beside_the_published_ones(self, tree, capsys):
        prepare(tree)
        text = [line.split() for line in capsys.readouterr().out.splitlines()]
        rows = {tuple(words[:-3]): words[-3:] for words in text if words[-1:] == ["differs"]}
        assert rows["train:", "speakers"] == ["3", "1,211", "differs"]
        assert rows["test:", "utterances"] == ["8", "4,874", "differs"]
        assert rows[("test/trials_o",)] == ["27", "37,611", "differs"]
        assert "models of VoxCeleb2 only" in " ".join(text[-1])

    def test_some_sets_need_only_their_part(self, tree):
        for name in lists().keys() - {"vox1_meta.csv", "veri_test.txt", "veri_test2.txt"}:
            (tree / name).unlink()
        (tree / "vox1_dev_wav").rename(tree.parent / "elsewhere")
        data = prepare(tree, sets=("test",))
        assert sorted(path.name for path in data.iterdir()) == ["test"]
        assert len(read_trials(data / "test/trials_o_original")) == 28

    def test_flac_and_another_folder_of_lists(self, tree):
        for file in [*tree.rglob("*.wav")]:
            soundfile.write(file.with_suffix(".flac"), *soundfile.read(file))
            file.unlink()
        (tree.parent / "meta").mkdir()
        for name in lists():
            (tree / name).rename(tree.parent / "meta" / name)
        data = prepare(tree, lists=tree.parent / "meta")
        assert len(DataDir.read(data / "all")) == 20


def fault(tree, pattern, error=DataError, **options):
    with pytest.raises(error, match=pattern) as caught:
        prepare(tree, **options)
    assert not (tree.parent / "data").exists()
    return str(caught.value)


def edit(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


class TestBadInput:
    def test_no_table_of_speakers(self, tree):
        (tree / "vox1_meta.csv").unlink()
        (tree / "veri_test.txt").unlink()
        said = fault(
            tree, r"2 lists that are missing: .*vox1_meta.csv, .*veri_test.txt; fetch them"
        )
        assert "python data_prep/voxceleb1.py download --only lists --output" in said

    def test_missing_speaker(self, tree):
        (tree / "vox1_dev_wav/wav/id10002").rename(tree.parent / "id10002")
        fault(tree, "1 speakers of vox1_meta.csv without audio: id10002; unpack", sets=("train",))

    def test_empty_source(self, tree):
        (tree / "wav").mkdir()
        options = {"lists": tree, "sets": ("train",)}
        with pytest.raises(DataError, match=r"3 speakers of vox1_meta.csv without audio: id10001"):
            voxceleb1.prepare_voxceleb1(tree / "wav", tree / "data", **options)

    def test_moved_speaker(self, tree):
        (tree / "vox1_dev_wav/wav/id10002").rename(tree / "vox1_test_wav/wav/id10002")
        said = r"whose folder was moved: id10002 \(lies in test, belongs to dev\); move it back"
        fault(tree, said)

    def test_speaker_in_train_and_in_test(self, tree):
        wrong = tree / "vox1_test_wav/wav/id10002/-_a-b_c-0_9"
        wrong.parent.mkdir()
        (tree / "vox1_dev_wav/wav/id10002/-_a-b_c-0_9").rename(wrong)
        fault(tree, "1 speakers that are both in dev and in test: id10002;")

    def test_utterance_twice(self, tree):
        name = "id10002/1zcIwhmdeo4/00001.wav"
        (tree / "wav" / name).parent.mkdir(parents=True)
        (tree / "wav" / name).write_bytes(wav(0))
        fault(tree, f"1 utterances that are there twice: .*{name} and .*{name}; remove")

    def test_unknown_speaker_and_foreign_audio(self, tree):
        for name in ("id10999/x/00001.wav", "id00012/y/00001.wav", "noise.wav"):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes(wav(0))
        said = fault(tree, "2 kinds of faults")
        assert "1 speakers that are not in vox1_meta.csv: id10999;" in said
        assert "2 audio files whose folder is no speaker (expected wav/id10001" in said

    def test_trials_without_audio(self, tree):
        (tree / "vox1_test_wav/wav/id10271/1zcIwhmdeo4/00002.wav").unlink()
        said = fault(tree, "4 kinds of faults, nothing was written")
        for name in ("veri_test.txt", "veri_test2.txt", "list_test_all.txt", "list_test_all2.txt"):
            assert f"1 utterances of {name} without audio: id10271-1zcIwhmdeo4-00002;" in said

    def test_label_that_contradicts_the_speakers(self, tree):
        edit(tree / "veri_test.txt", "0 id10270", "1 id10270")
        edit(tree / "list_test_hard.txt", "1 id10001", "0 id10001")
        said = fault(
            tree, "trials of veri_test.txt whose label contradicts their speakers: id10270"
        )
        assert "1 trials of list_test_hard.txt whose label contradicts" in said

    def test_broken_list(self, tree):
        edit(tree / "veri_test.txt", "0 id10270", "? id10270")
        fault(tree, r"veri_test.txt:\d+: ", FormatError)

    @pytest.mark.parametrize("text", ["4 id10001/x/00001.wav\n", "1 hello\n"])
    def test_broken_split(self, tree, text):
        (tree / "iden_split.txt").write_text(text)
        fault(tree, r"iden_split.txt:1: expected '1\|2\|3 id1", FormatError, sets=("iden",))

    def test_split_with_faults(self, tree):
        first = relative_names(DEV)[0]
        (tree / "iden_split.txt").write_text(f"1 {first}\n2 {first}\n3 id10001/gone/00001.wav\n")
        said = fault(tree, "2 kinds of faults", sets=("iden",))
        assert "1 utterances that iden_split.txt has twice: id10001-1zcIwhmdeo4-00001;" in said
        assert "1 utterances of iden_split.txt without audio: id10001-gone-00001;" in said

    def test_unusable_audio(self, tree):
        files = [*sorted((tree / "vox1_dev_wav").rglob("*.wav"))][:3]
        files[0].write_bytes(b"")
        files[1].write_bytes(files[1].read_bytes()[:-100])
        soundfile.write(files[2], np.zeros(800), 8000)
        said = fault(tree, "3 audio files that cannot be used: ", sets=("train",))
        assert all(word in said for word in ("the file is empty", "truncated", "8000 Hz"))

    def test_everything_at_once(self, tree):
        (tree / "list_test_hard2.txt").unlink()
        (tree / "vox1_dev_wav/wav/id10002").rename(tree / "vox1_test_wav/wav/id10002")
        (tree / "vox1_dev_wav/wav/id10001/1zcIwhmdeo4/00001.wav").write_bytes(b"RIFF")
        fault(tree, "3 kinds of faults, nothing was written")

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("Gender", "Sex", r"csv:1: expected the columns 'VoxCeleb1 ID' \(or 2\), 'Gender'"),
            ("\tf\t", "\tx\t", r"csv:3: .* got \['id10002', 'x', 'dev'\]"),
            ("\ttest", "\teval", "csv:5: expected .* 'dev' or 'test'"),
            ("id10002", "id10001", "csv:3: expected a new speaker"),
        ],
    )
    def test_broken_table_of_speakers(self, tree, old, new, message):
        edit(tree / "vox1_meta.csv", old, new)
        fault(tree, message, FormatError)


# -- download -------------------------------------------------------------------------------


@pytest.fixture
def mirror(breaking_mirror, monkeypatch):
    """A server of the miniature archives, the first cut into four parts."""
    archives = {}
    for split, speakers in (("dev", DEV), ("test", TEST)):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
            for number, name in enumerate(relative_names(speakers)):
                packed.writestr(f"wav/{name}", wav(number))
        body, archive = stream.getvalue(), voxceleb1.CORPUS.archives[split]
        size = -(-len(body) // len(archive.parts))
        parts = {}
        for number, name in enumerate(archive.parts):
            content = body[number * size : (number + 1) * size]
            parts[name] = hashlib.md5(content, usedforsecurity=False).hexdigest()
            (breaking_mirror.folder / name).write_bytes(content)
        archives[split] = dataclasses.replace(archive, parts=parts)
    for name, text in lists().items():
        (breaking_mirror.folder / name).write_text(text)
    monkeypatch.setattr(
        voxceleb1, "CORPUS", dataclasses.replace(voxceleb1.CORPUS, archives=archives)
    )
    monkeypatch.setattr("_download.time.sleep", lambda _: None)
    return breaking_mirror


def fetch(mirror, output, *options):
    argv = ["download", "--output", str(output), "--lists-url", mirror.url, *map(str, options)]
    voxceleb1.main(argv)


class TestDownload:
    def test_a_mirror_that_breaks_off(self, mirror, tmp_path, capsys):
        output = tmp_path / "vox1"
        fetch(mirror, output, "--base-url", mirror.url)
        assert {name for name, start in mirror.asked if start} == {
            name for name, start in mirror.asked if not start
        }
        assert len(mirror.asked) == 2 * (8 + 4 + 1)
        assert "veri_test.txt: md5 is" in capsys.readouterr().out.replace("\n", " ")
        voxceleb1.prepare_voxceleb1(output, tmp_path / "data")
        assert len(DataDir.read(tmp_path / "data/all")) == 20

    def test_second_run_asks_nobody(self, mirror, tmp_path):
        output = tmp_path / "vox1"
        fetch(mirror, output, "--base-url", mirror.url)
        for part in output.glob("vox1_*_wav?*"):
            if part.is_file():
                part.unlink()
        mirror.asked.clear()
        fetch(mirror, output)
        assert mirror.asked == []

    def test_key(self, mirror, tmp_path):
        mirror.secret = "0a1b"  # noqa: S105 (of this test)
        (tmp_path / "key").write_text("0a1b\n")
        base = mirror.url + "/download?key={key}&file={file}"
        options = ("--only", "test", "--base-url", base, "--key-file", tmp_path / "key")
        fetch(mirror, tmp_path / "vox1", *options)
        assert len([*(tmp_path / "vox1/vox1_test_wav/wav").rglob("*.wav")]) == 8
        (tmp_path / "key").write_text("expired")
        with pytest.raises(DataError, match="wants a login or a key") as caught:
            fetch(mirror, tmp_path / "other", *options)
        assert "expired'" not in str(caught.value)

    def test_login(self, mirror, tmp_path):
        mirror.secret = "Basic " + base64.b64encode(b"me:pass word").decode()
        (tmp_path / "password").write_text("pass word\n")
        options = ("--only", "test", "--base-url", mirror.url, "--user", "me")
        fetch(mirror, tmp_path / "vox1", *options, "--password-file", tmp_path / "password")
        assert (tmp_path / "vox1/vox1_test_wav/wav").is_dir()
        with pytest.raises(
            ConfigError, match="--password-file expects a file that holds the secret"
        ):
            fetch(mirror, tmp_path / "other", *options)

    def test_without_a_way_to_the_audio(self, mirror, tmp_path):
        with pytest.raises(ConfigError, match="the audio needs a key: ask for one at https://mm"):
            fetch(mirror, tmp_path / "vox1")
        assert (tmp_path / "vox1/vox1_meta.csv").is_file()

    def test_parts_that_a_browser_fetched(self, mirror, tmp_path):
        output = tmp_path / "vox1"
        output.mkdir()
        (output / "vox1_test_wav.zip").write_bytes(
            (mirror.folder / "vox1_test_wav.zip").read_bytes()
        )
        fetch(mirror, output, "--only", "test")
        assert (output / "vox1_test_wav/wav/id10270").is_dir()
        assert mirror.asked == []

    def test_damaged_part_is_not_unpacked(self, mirror, tmp_path):
        (mirror.folder / "vox1_dev_wav_partac").write_bytes(b"<html>")
        with pytest.raises(DataError, match=r"partac.part: md5 is .*, expected .*; it was removed"):
            fetch(mirror, tmp_path / "vox1", "--base-url", mirror.url)
        assert not (tmp_path / "vox1/vox1_dev_wav").exists()

    def test_lists_come_from_the_server_that_has_them(self, mirror, tmp_path, monkeypatch):
        at = ("http://127.0.0.1:9/{file}", mirror.url + "/{file}")
        monkeypatch.setattr(_voxceleb_download, "LISTS_AT", at)
        access = _voxceleb_download.Access()
        options = {"only": ("lists",), "access": access, "attempts": 2}
        _voxceleb_download.download(voxceleb1.CORPUS, tmp_path, **options)
        assert (tmp_path / "iden_split.txt").read_text() == lists()["iden_split.txt"]
        (mirror.folder / "iden_split.txt").unlink()
        with pytest.raises(DataError, match=r"iden_split.txt: HTTP Error 404"):
            _voxceleb_download.download(voxceleb1.CORPUS, tmp_path / "x", **options)

    @pytest.mark.parametrize(
        ("options", "url"),
        [
            ({"user": "me"}, "https://thor.robots.ox.ac.uk/voxceleb/vox1a/a.zip"),
            ({"base_url": "http://m/x/"}, "http://m/x/a.zip"),
        ],
    )
    def test_addresses(self, options, url):
        assert _voxceleb_download.Access(**options).url("a.zip") == url


class TestCommandLine:
    def test_prepare(self, tree, capsys):
        argv = ["prepare", "--source", str(tree), "--output", str(tree.parent / "data")]
        assert _script.run(voxceleb1.main, [*argv, "--sets", "train", "--jobs", "3"]) == 0
        assert len(DataDir.read(tree.parent / "data/train")) == 12
        assert "train: speakers" in capsys.readouterr().out

    def test_error_is_a_message(self, tmp_path, capsys):
        argv = ["prepare", "--source", str(tmp_path), "--output", str(tmp_path / "data")]
        assert _script.run(voxceleb1.main, argv) == 1
        assert capsys.readouterr().err.startswith(f"error: {tmp_path}: 7 lists that are missing")


def test_published_numbers_agree():
    speakers, utterances = (
        [voxceleb1._PUBLISHED[name][column] for name in ("train", "test", "all")]
        for column in (0, 1)
    )
    assert speakers[0] + speakers[1] == speakers[2]
    assert utterances[0] + utterances[1] == utterances[2]
    iden = [voxceleb1._PUBLISHED[f"iden_{name}"][1] for name in ("train", "dev", "test")]
    assert sum(iden) == utterances[2]
    assert _voxceleb.SAMPLE_RATE == 16_000
