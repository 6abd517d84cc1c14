import _script
import numpy as np
import pytest
import resample
import soundfile

from bbb.audio.datadir import DataDir, Segment, Side
from bbb.audio.validate import validate_data_dir
from bbb.audio.waveform import audio_info, load_utterance
from bbb.errors import ConfigError, DataError

RATE = 16_000


@pytest.fixture
def source(tmp_path):
    """A two-channel file of which both sides are used, and a file that is cut by segments."""
    folder = tmp_path / "wide"
    time = np.arange(RATE) / RATE
    # What lies above the new band must not fold into it.
    tones = [np.sin(2 * np.pi * hz * time) for hz in (440.0, 1000.0, 5000.0)]
    soundfile.write(tmp_path / "call.wav", 0.3 * np.stack(tones[:2], axis=1), RATE)
    soundfile.write(tmp_path / "long.wav", 0.3 * (tones[0] + tones[2]), RATE)
    sides = {"r1": Side("call", "A"), "r2": Side("call", "B"), "r3": Side("long", "A")}
    files = {"r1": "call", "r2": "call", "r3": "long"}
    DataDir(
        path=folder,
        wavs={name: str(tmp_path / f"{file}.wav") for name, file in files.items()},
        utt2spk={"s1-a": "s1", "s2-b": "s2", "s1-c": "s1", "s1-d": "s1"},
        segments={
            "s1-a": Segment("r1", 0.0, 1.0),
            "s2-b": Segment("r2", 0.0, 1.0),
            "s1-c": Segment("r3", 0.0, 0.5),
            "s1-d": Segment("r3", 0.5, 1.0),
        },
        sides=sides,
    ).write()
    (folder / "trials").write_text("s1-a s1-c target\n")
    return folder


@pytest.fixture
def output(tmp_path):
    return tmp_path / "narrow"


def test_same_speech_at_half_the_rate(source, output):
    data = resample.resample_data_dir(source, output, 8000, jobs=2)
    assert [f for f in validate_data_dir(output, sample_rate=8000) if f.level == "error"] == []
    wide = DataDir.read(source)
    assert data.utt2spk == wide.utt2spk
    assert data.segments == wide.segments
    assert data.sides == {}
    assert (output / "trials").read_text() == "s1-a s1-c target\n"
    inner = slice(200, -200)
    for name, hz in (("s1-a", 440.0), ("s2-b", 1000.0), ("s1-c", 440.0)):
        narrow = load_utterance(data, name, 8000)
        expected = 0.3 * np.sin(2 * np.pi * hz * np.arange(len(narrow)) / 8000)
        np.testing.assert_allclose(narrow[inner], expected[inner], atol=2e-3)


def test_an_interrupted_run_continues(source, output):
    resample.resample_data_dir(source, output, 8000)
    kept = output / "audio" / "s1" / "r1.flac"
    when = kept.stat().st_mtime_ns
    (output / "audio" / "s1" / "r3.flac").unlink()
    data = resample.resample_data_dir(source, output, 8000)
    assert kept.stat().st_mtime_ns == when
    assert audio_info(data.wavs["r3"]).sample_rate == 8000


def test_bad_input(source, output, tmp_path):
    with pytest.raises(ConfigError, match="another --output"):
        resample.resample_data_dir(source, source, 8000)
    cut = tmp_path / "call.wav"
    cut.write_bytes(cut.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"2 recordings that cannot be read: .*truncated"):
        resample.resample_data_dir(source, output, 8000)
    assert not (output / "wav.scp").exists()


def test_command_line(source, output, capsys):
    words = [str(source), "--output", str(output), "--sample-rate", "8000"]
    assert _script.run(resample.main, words) == 0
    assert "4 utterances at 8000 Hz" in capsys.readouterr().out
    assert _script.run(resample.main, [*words[:-1], "0"]) == 1
