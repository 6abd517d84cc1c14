import _script
import numpy as np
import pytest
import sre10
from _sphere import Options

from bbb.audio.datadir import DataDir
from bbb.audio.validate import validate_data_dir
from bbb.audio.waveform import load_utterance
from bbb.cli.evaluate import main as evaluate
from bbb.cli.score import main as score
from bbb.errors import DataError
from bbb.scoring.embeddings import Embeddings, write_embeddings

RATE = 8000
# Model, gender, side it is trained on, speaker.
MODELS = [
    ("10001", "f", "taaa", "A", "s1"),
    ("10002", "f", "taab", "B", "s2"),
    ("10003", "m", "taac", "A", "s3"),
    ("10004", "m", "taad", "A", "NOT_SCORED"),
]
# Model, segment, side, answer, scored, common conditions.
TRIALS = [
    ("10001", "xaaa", "a", "target", "Y", "YNNNYNNNN"),
    ("10002", "xaaa", "a", "nontarget", "Y", "NNNNYNNNN"),
    ("10002", "xaab", "b", "target", "Y", "NNNNYNNNN"),
    ("10003", "xaac", "b", "target", "Y", "NNNNYNNNN"),
    ("10003", "xaaa", "b", "nontarget", "Y", "NNNNYNNNN"),
    ("10003", "xaad", "a", "nontarget", "Y", "NYNNNNNNN"),
    ("10004", "xaac", "b", "nontarget", "N", "NNNNYNNNN"),
]
HEADER = "model,segment,side,targettype,is_scored," + ",".join(f"c{n}" for n in range(1, 10))


def write_lists(base, name="core", trials=TRIALS, models=MODELS):
    for folder in ("train", "keys"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    rows = [f"{model} {sex} train/tel/{seg}.sph:{side}" for model, sex, seg, side, _ in models]
    (base / f"train/{name}.trn").write_text("\n".join(rows) + "\n")
    rows = ["model,speaker", *(f"{model},{speaker}" for model, *_, speaker in models)]
    (base / f"keys/{name}.modelkey.csv").write_text("\n".join(rows) + "\n")
    rows = [HEADER, *(",".join([*row, *flags]) for *row, flags in trials)]
    (base / f"keys/{name}-{name}.trialkey.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture
def source(tmp_path, write_call):
    """The layout of LDC2017S06: lists in ``eval``, calls of two channels."""
    base = tmp_path / "LDC2017S06/data/eval"
    write_lists(base)
    for _, _, segment, _, _ in MODELS[:3]:
        write_call(base / f"data/train/tel/{segment}.sph")
    for segment in ("xaaa", "xaab", "xaac", "xaad"):
        write_call(base / f"data/test/tel/{segment}.sph")
    return base


@pytest.fixture
def output(tmp_path):
    return tmp_path / "data"


def lines(file):
    return file.read_text().splitlines()


def pitch(samples):
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return np.argmax(power) * RATE / len(samples)


def refused(source, output, *patterns, **options):
    """Every pattern is in one error, and nothing was written."""
    with pytest.raises(DataError) as error:
        sre10.prepare_sre10(source, output, **options)
    for pattern in patterns:
        assert pattern in str(error.value)
    assert not output.exists()


class TestResult:
    @pytest.fixture(autouse=True)
    def prepared(self, source, output):
        sre10.prepare_sre10(source, output)

    def test_speakers_of_enrolment_are_those_of_the_key(self, output):
        enroll = DataDir.read(output / "enroll")
        assert enroll.spk2utt == {
            "s1": ["s1-sre10-taaa-a"],
            "s2": ["s2-sre10-taab-b"],
            "s3": ["s3-sre10-taac-a"],
        }
        assert enroll.genders == {"s1": "f", "s2": "f", "s3": "m"}
        assert enroll.durations["s1-sre10-taaa-a"] == 0.5

    def test_the_right_channel_comes_out(self, output):
        enroll, test = (DataDir.read(output / name) for name in ("enroll", "test"))
        for data, utterance, hz in (
            (enroll, "s1-sre10-taaa-a", 440),
            (enroll, "s2-sre10-taab-b", 1000),
            (test, "xaaa_A", 440),
            (test, "xaaa_B", 1000),
        ):
            assert abs(pitch(load_utterance(data, utterance, RATE)) - hz) < 2

    def test_trials_of_each_common_condition(self, output):
        assert lines(output / "trials_core_c1") == ["10001 xaaa_A target"]
        assert lines(output / "trials_core_c2") == ["10003 xaad_A nontarget"]
        assert lines(output / "trials_core_c5") == [
            "10001 xaaa_A target",
            "10002 xaaa_A nontarget",
            "10002 xaab_B target",
            "10003 xaac_B target",
            "10003 xaaa_B nontarget",
        ]
        assert len(lines(output / "trials_core_c5_f")) == 3
        assert len(lines(output / "trials_core_c5_m")) == 2
        assert not (output / "trials_core_c1_f").exists()
        assert not (output / "trials_core_c3").exists()

    def test_directories_are_sound(self, output):
        for name in ("enroll", "test"):
            faults = validate_data_dir(output / name, sample_rate=RATE)
            assert [str(fault) for fault in faults if fault.level == "error"] == []

    def test_score_and_evaluate_take_the_lists(self, output, tmp_path, capsys):
        rng = np.random.default_rng(0)
        for name in ("enroll", "test"):
            ids = DataDir.read(output / name).utterances
            vectors = rng.standard_normal((len(ids), 4))
            write_embeddings(tmp_path / f"{name}.npz", Embeddings(ids, vectors))
        score(
            ["--backend=cosine", f"--trials={output}/trials_core_c5"]
            + [f"--{name}={tmp_path}/{name}.npz" for name in ("enroll", "test")]
            + [f"--enroll-map={output}/model2utt_core", f"--output={tmp_path}/scores"]
        )
        assert len(lines(tmp_path / "scores")) == 5
        evaluate([f"{tmp_path}/scores", "--preset=sre10"])
        assert "EER" in capsys.readouterr().out


def test_published_counts_are_printed_beside_those_found(source, output, capsys):
    sre10.prepare_sre10(source, output, conditions=[5])
    table = capsys.readouterr().out
    assert "trials_core_c5 target" in table
    assert " 3        708  differs" in table
    assert not (output / "trials_core_c1").exists()


def test_only_what_the_conditions_need_is_looked_for(source, output):
    (source / "data/test/tel/xaad.sph").unlink()
    sre10.prepare_sre10(source, output, conditions=[5])
    assert "xaad_A" not in DataDir.read(output / "test").utt2spk


def test_two_tests_share_their_recordings(source, output):
    write_lists(source, "coreext", TRIALS[:3], MODELS[:2])
    sre10.prepare_sre10(source, output)
    assert len(DataDir.read(output / "enroll")) == 3
    assert lines(output / "model2utt_coreext") == ["10001 s1-sre10-taaa-a", "10002 s2-sre10-taab-b"]
    assert len(lines(output / "trials_coreext_c5")) == 3


def test_models_of_several_sides(source, output, write_call):
    text = (source / "train/core.trn").read_text()
    more = text.replace("taaa.sph:A", "taaa.sph:A,train/tel/taae.sph:B")
    (source / "train/core.trn").write_text(more)
    write_call(source / "data/train/tel/taae.sph")
    sre10.prepare_sre10(source, output)
    assert lines(output / "model2utt_core")[0] == "10001 s1-sre10-taaa-a s1-sre10-taae-b"


def test_decoded_audio_is_found_too(source, output):
    import soundfile  # noqa: PLC0415

    file = source / "data/test/tel/xaaa.sph"
    soundfile.write(file.with_suffix(".flac"), *soundfile.read(file))
    file.unlink()
    sre10.prepare_sre10(source, output)
    assert DataDir.read(output / "test").wavs["xaaa_B"].endswith("xaaa.flac")


class TestBadInput:
    def test_everything_at_once(self, source, output, write_call):
        (source / "data/test/tel/xaab.sph").unlink()
        (source / "data/train/tel/taac.sph").unlink()
        file = source / "data/test/tel/xaac.sph"
        file.write_bytes(file.read_bytes()[:-100])
        write_call(source / "data/test/tel/xaaa.sph", pitches=(440.0,))
        write_call(source / "data/train/tel/taaa.sph", rate=16_000)
        refused(
            source,
            output,
            "1 segments of trials without audio: xaab",
            "1 recordings of models without audio: taac",
            "xaac.sph: truncated, 100 bytes are missing",
            "xaaa.sph: channel B is wanted, the file has 1",
            "taaa.sph: expected 8000 Hz, got 16000 Hz",
            "nothing was written",
        )

    def test_no_lists(self, tmp_path, output):
        refused(tmp_path, output, "no folders train and keys", "--source is the folder of LDC2017")

    @pytest.mark.parametrize(
        "name", ["train/core.trn", "keys/core.modelkey.csv", "keys/core-core.trialkey.csv"]
    )
    def test_a_missing_list(self, source, output, name):
        (source / name).unlink()
        missing = [source / name]
        refused(source, output, f"lists that are missing, of LDC2017S06: {missing[0]}",
                tests=["core-core"])  # fmt: skip

    def test_no_key_at_all(self, source, output):
        (source / "keys/core-core.trialkey.csv").unlink()
        refused(source, output, "keys/core-core.trialkey.csv", "keys/coreext-coreext.trialkey.csv")

    @pytest.mark.parametrize(
        ("old", "new"),
        [("xaaa,a,target", "xaaa,c,target"), ("xaaa,a,target", "xaaa,a,maybe"),
         ("target,Y,Y,N", "target,?,Y,N"), ("target,Y,Y,N", "target,Y,N")],
    )  # fmt: skip
    def test_a_broken_line_of_the_key(self, source, output, old, new):
        path = source / "keys/core-core.trialkey.csv"
        path.write_text(path.read_text().replace(old, new, 1))
        refused(source, output, "1 broken lines: core-core.trialkey.csv:2; expected 14 columns")

    def test_a_broken_line_of_the_training_list(self, source, output):
        path = source / "train/core.trn"
        path.write_text(path.read_text().replace("taaa.sph:A", "taaa.sph"))
        refused(
            source, output, "1 broken lines: core.trn:1", "models of trials that core.trn lacks"
        )

    def test_trials_and_models_that_occur_twice(self, source, output):
        write_lists(source, trials=[*TRIALS, TRIALS[0]], models=[*MODELS, MODELS[1]])
        refused(
            source,
            output,
            "1 trials that occur twice in core-core.trialkey.csv: 10001 xaaa:A",
            "1 models that occur twice in core.trn: 10002",
        )

    def test_a_target_of_two_speakers(self, source, output):
        trial = ("10002", "xaaa", "a", "target", "Y", "NNNNYNNNN")
        write_lists(source, trials=[TRIALS[0], trial])
        refused(source, output, "1 test sides that are targets of two speakers: xaaa_A")

    def test_a_channel_of_two_speakers(self, source, output):
        model = ("10002", "f", "taaa", "A", "s2")
        write_lists(source, models=[MODELS[0], model, MODELS[2]])
        refused(source, output, "1 channels of two speakers", "taaa.sph:A (s1 and s2)")

    def test_two_files_of_one_name(self, source, output, write_call):
        write_call(source / "data/copy/xaaa.sph")
        sre10.prepare_sre10(source, output.with_name("other"))
        write_call(source / "data/copy/xaaa.sph", pitches=(440.0,))
        refused(source, output, "1 names that two different files have")

    def test_no_trial_in_the_condition(self, source, output):
        refused(source, output, "no trial in common conditions 9", conditions=[9])

    def test_shorten(self, source, output, tmp_path):
        file = source / "data/test/tel/xaaa.sph"
        text = file.read_bytes().replace(b"-s4 ulaw\n", b"-s26 ulaw,embedded-shorten-v2.00\n")
        file.write_bytes(text[:1024] + b"ajkg\x02" + bytes(100))
        refused(source, output, "1 files that are compressed by shorten", "add --decode FOLDER")
        pytest.importorskip("desphere")
        options = Options(decode=tmp_path / "decoded")
        refused(source, output, "1 files that cannot be decoded", options=options)


def test_command_line(source, output):
    arguments = ["prepare", "--source", str(source), "--output", str(output)]
    assert _script.run(sre10.main, [*arguments, "--conditions", "5", "--jobs", "2"]) == 0
    assert (output / "trials_core_c5").is_file()
    assert _script.run(sre10.main, [*arguments, "--tests", "10sec-10sec"]) == 1
