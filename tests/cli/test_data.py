import subprocess
import sys

import numpy as np
import pytest
import soundfile

from bbb.audio.datadir import DataDir
from bbb.cli.main import main

RATE = 16000


@pytest.fixture
def corpus(tmp_path):
    """Two speakers with two utterances each."""
    rng = np.random.default_rng(0)
    wavs = {}
    for name in ("a-1", "a-2", "b-1", "b-2"):
        wavs[name] = str(tmp_path / f"{name}.wav")
        soundfile.write(wavs[name], 0.1 * rng.standard_normal(RATE), RATE)
    return DataDir(tmp_path / "data", wavs, {name: name[0] for name in wavs}).write()


def test_validate_a_sound_directory(corpus, capsys):
    assert main(["data", "validate", str(corpus.path)]) == 0
    assert capsys.readouterr().out == f"{corpus.path}: 0 errors, 0 warnings\n"


def test_validate_prints_every_fault_on_one_line(corpus, tmp_path, capsys):
    (tmp_path / "a-1.wav").unlink()
    (tmp_path / "b-2.wav").write_bytes(b"")
    (corpus.path / "spk2utt").unlink()
    assert main(["data", "validate", str(corpus.path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    wav_scp = corpus.path / "wav.scp"
    assert lines[0].startswith(f"{wav_scp}:1: error: {tmp_path}/a-1.wav: no such audio file")
    assert lines[1].startswith(f"{wav_scp}:4: error: {tmp_path}/b-2.wav: the file is empty")
    assert lines[2].startswith(f"{corpus.path}/spk2utt:0: error: no such file")
    assert lines[3:] == [f"{corpus.path}: 3 errors, 0 warnings"]


def test_warnings_are_no_failure(corpus, capsys):
    corpus.subset(["a-1", "b-1", "b-2"]).write()
    assert main(["data", "validate", str(corpus.path)]) == 0
    out = capsys.readouterr().out
    assert "utt2spk:1: warning: speaker 'a' has one utterance" in out
    assert "0 errors, 1 warnings" in out


def test_validate_without_audio(corpus, tmp_path):
    (tmp_path / "a-1.wav").unlink()
    assert main(["data", "validate", str(corpus.path), "--audio", "false"]) == 0


@pytest.mark.parametrize("spelling", ["--sample-rate", "--sample_rate"])
def test_validate_with_a_rate(corpus, capsys, spelling):
    assert main(["data", "validate", str(corpus.path), spelling, "8000"]) == 1
    assert "16000 Hz, not the 8000 Hz asked for" in capsys.readouterr().out


def test_options_from_a_file(corpus, tmp_path, capsys):
    (tmp_path / "options.yaml").write_text("sample_rate: 8000\naudio: true\n")
    words = ["data", "validate", "--config", str(tmp_path / "options.yaml"), str(corpus.path)]
    assert main(words) == 1
    assert "4 errors" in capsys.readouterr().out


def test_fix_says_what_it_did(corpus, tmp_path, capsys):
    (tmp_path / "a-1.wav").unlink()
    assert main(["data", "fix", str(corpus.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"dropped a-1: {corpus.path}/wav.scp:1: ")
    assert lines[1] == (
        "rewrote wav.scp, utt2spk, spk2utt, utt2dur; the former tables are in "
        f"{corpus.path}/.backup"
    )
    assert lines[2] == f"{corpus.path}: 3 utterances, 2 speakers kept"
    assert "has one utterance" in lines[3]
    assert lines[4] == f"{corpus.path}: 0 errors, 1 warnings"
    assert DataDir.read(corpus.path).utterances == ["a-2", "b-1", "b-2"]


def test_fix_of_a_sound_directory(corpus, capsys):
    assert main(["data", "fix", str(corpus.path)]) == 0
    capsys.readouterr()
    assert main(["data", "fix", str(corpus.path)]) == 0
    assert f"{corpus.path}: nothing to fix" in capsys.readouterr().out


def test_fix_with_short_utterances(corpus, capsys):
    assert main(["data", "fix", str(corpus.path), "--min-seconds", "2"]) == 1
    assert "bbb data: " in (err := capsys.readouterr().err)
    assert "no utterance would be left" in err


def test_shard_packs_a_sound_directory(corpus, tmp_path, capsys):
    words = ["data", "shard", str(corpus.path), "--output", str(tmp_path / "out")]
    words += ["--shard-mb", "0.07", "--num-parts", "2", "--audio", "false", "--part"]
    assert main([*words, "1"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/out: part 1 is done, others are missing\n"
    assert main([*words, "0"]) == 0
    assert capsys.readouterr().out == f"wrote 4 utterances to {tmp_path}/out\n"
    packed = DataDir.read(tmp_path / "out")
    assert packed.utt2spk == corpus.utt2spk
    assert sorted(path.name for path in packed.path.glob("*.tar")) == ["00000.tar", "00001.tar"]
    assert main(["data", "validate", str(packed.path)]) == 0


def test_shard_refuses_faults_and_other_folders(corpus, tmp_path, capsys):
    words = ["data", "shard", str(corpus.path), "--output"]
    assert main([*words, str(corpus.path)]) == 1
    assert "holds other files; choose an empty or a new folder" in capsys.readouterr().err
    (tmp_path / "b-1.wav").write_bytes(b"")
    assert main([*words, str(tmp_path / "out")]) == 1
    assert "b-1.wav: the file is empty" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_a_missing_folder(tmp_path, capsys):
    assert main(["data", "validate", str(tmp_path / "nowhere")]) == 1
    assert "wav.scp:0: error: no such file" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "validate,fix,shard,feats"),
        (["mend", "x"], "invalid choice: 'mend'"),
        (["validate"], "validate.dir"),
        (["validate", "x", "--typo", "1"], "unknown key '--typo'"),
        # An abbreviation, which may become ambiguous.
        (["validate", "x", "--aud", "false"], "unknown key '--aud'"),
        (["feats", "x", "--num-mel", "40"], "unknown key '--num-mel'"),
        (["shard", "x", "--output", "y", "--shard-mb", "-1"], "shard_mb"),
        (["shard", "x", "--output", "y", "--seed", "-1"], "seed"),
    ],
)
def test_wrong_command_lines(words, message, capsys):
    assert main(["data", *words]) == 1
    assert message in capsys.readouterr().err


def test_torch_is_not_loaded():
    code = "import sys, bbb.cli.data; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_validate_and_fix_real_speech(real_data, tmp_path, capsys):
    files = sorted((real_data / "speech" / "so762").rglob("*.opus"))[:40]
    wavs = {f"{file.parent.name}-{file.stem}": str(file) for file in files}
    data = DataDir(tmp_path / "data", wavs, {u: u.split("-")[0] for u in wavs}).write()
    assert main(["data", "fix", str(data.path), "--sample-rate", "16000"]) == 0
    assert main(["data", "validate", str(data.path), "--sample-rate", "16000"]) == 0
    assert "0 errors" in capsys.readouterr().out
