import numpy as np
import pytest
import soundfile

from bbb.audio.datadir import DataDir, Segment
from bbb.audio.waveform import audio_info, load_utterance, read_waveform
from bbb.errors import DataError

RATE = 16000
FORMATS = [("wav", "PCM_16"), ("flac", "PCM_16"), ("ogg", "VORBIS"), ("ogg", "OPUS"), ("mp3", None)]


@pytest.fixture
def tone(tmp_path):
    """A function that writes two seconds of a tone in some format."""

    def write(suffix="wav", subtype="PCM_16", rate=RATE, channels=1, seconds=2.0):
        time = np.arange(int(seconds * rate)) / rate
        samples = (0.5 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
        path = tmp_path / f"{subtype}-{rate}-{channels}.{suffix}"
        soundfile.write(path, np.tile(samples[:, None], channels), rate, subtype=subtype)
        return path, samples

    return write


@pytest.mark.parametrize(("suffix", "subtype"), FORMATS)
def test_reads_every_format(tone, suffix, subtype):
    path, samples = tone(suffix, subtype)
    found = read_waveform(path, sample_rate=RATE)
    assert found.dtype == np.float32
    assert found.shape == samples.shape
    # Lossy codecs start and end badly, and may shift the phase.
    middle = slice(4000, -4000)
    assert np.sqrt(np.mean(found[middle] ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


@pytest.mark.parametrize(("suffix", "subtype"), [("wav", "PCM_16"), ("flac", "PCM_16")])
def test_a_stretch_is_that_part_of_the_whole(tone, suffix, subtype):
    path, _ = tone(suffix, subtype)
    whole = read_waveform(path, sample_rate=RATE)
    part = read_waveform(path, sample_rate=RATE, start=0.5, end=1.25)
    np.testing.assert_array_equal(part, whole[8000:20000])
    rest = read_waveform(path, sample_rate=RATE, start=1.5)
    np.testing.assert_array_equal(rest, whole[24000:])


def test_any_rate_where_none_is_asked_for(tone):
    path, samples = tone(rate=8000)
    assert len(read_waveform(path, sample_rate=None)) == len(samples)


def test_an_end_a_little_beyond_the_file_is_forgiven(tone):
    path, samples = tone()
    assert len(read_waveform(path, sample_rate=RATE, end=2.01)) == len(samples)


@pytest.mark.parametrize(
    ("start", "end"), [(0.0, 2.5), (2.5, 3.0), (1.0, 1.0), (1.5, 1.0), (-1.0, 1.0)]
)
def test_a_stretch_outside_of_the_file(tone, start, end):
    path, _ = tone()
    with pytest.raises(
        DataError, match=r"does not lie in the recording of 2.000 s; correct the times"
    ):
        read_waveform(path, sample_rate=RATE, start=start, end=end)


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"gone.wav: no such audio file; paths are relative"):
        read_waveform(tmp_path / "gone.wav", sample_rate=RATE)


def test_empty_file(tmp_path):
    (tmp_path / "empty.wav").touch()
    with pytest.raises(DataError, match=r"empty.wav: the file is empty; restore it"):
        read_waveform(tmp_path / "empty.wav", sample_rate=RATE)


def test_header_without_samples(tmp_path):
    soundfile.write(tmp_path / "none.wav", np.zeros(0), RATE)
    with pytest.raises(DataError, match=r"none.wav: no samples"):
        read_waveform(tmp_path / "none.wav", sample_rate=RATE)


def test_no_audio(tmp_path):
    (tmp_path / "text.wav").write_text("this is no audio, whatever its name says")
    with pytest.raises(DataError, match=r"text.wav: not readable as audio"):
        read_waveform(tmp_path / "text.wav", sample_rate=RATE)


@pytest.mark.parametrize("cut", [1, 500])
def test_the_header_of_a_cut_flac_is_not_believed(tone, cut):
    path, samples = tone("flac")
    assert audio_info(path).frames == len(samples)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(DataError, match=rf"{path.name}: truncated; restore it"):
        audio_info(path)


@pytest.mark.parametrize(("suffix", "subtype"), FORMATS)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_truncated_file(tone, suffix, subtype, share):
    path, _ = tone(suffix, subtype, seconds=10.0)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=rf"{path.name}: .*(truncated|cannot be decoded)"):
        read_waveform(path, sample_rate=RATE)


def test_wrong_rate(tone):
    path, _ = tone(rate=8000)
    with pytest.raises(DataError, match=r"expected 16000 Hz, got 8000 Hz; resample it .*ffmpeg"):
        read_waveform(path, sample_rate=RATE)


def test_stereo(tone):
    path, _ = tone(channels=2)
    with pytest.raises(DataError, match=r"expected one channel, got 2; keep one of them"):
        read_waveform(path, sample_rate=RATE)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_finite(tmp_path, bad):
    samples = np.zeros(1000, dtype=np.float32)
    samples[700] = bad
    soundfile.write(tmp_path / "nan.wav", samples, RATE, subtype="FLOAT")
    with pytest.raises(
        DataError, match=r"nan.wav: sample 700 is not finite; decode the file again"
    ):
        read_waveform(tmp_path / "nan.wav", sample_rate=RATE, start=0.01)


def test_info_is_that_of_the_header(tone):
    path, samples = tone("flac")
    info = audio_info(path)
    assert (info.sample_rate, info.channels, info.frames) == (RATE, 1, len(samples))
    assert info.duration == 2.0


def test_info_checks_the_rate(tone):
    path, _ = tone()
    with pytest.raises(DataError, match="expected 8000 Hz, got 16000 Hz"):
        audio_info(path, sample_rate=8000)


def test_load_utterance(tone, tmp_path):
    path, _ = tone()
    whole = DataDir(tmp_path, {"u": str(path)}, {"u": "s"})
    assert len(load_utterance(whole, "u", RATE)) == 2 * RATE
    segments = {"v": Segment("u", 0.5, 1.0)}
    cut = DataDir(tmp_path, {"u": str(path)}, {"v": "s"}, segments)
    np.testing.assert_array_equal(
        load_utterance(cut, "v", RATE), load_utterance(whole, "u", RATE)[8000:16000]
    )


def test_load_unknown_utterance(tmp_path):
    with pytest.raises(DataError, match=r"no utterance 'x' in utt2spk; check the id"):
        load_utterance(DataDir(tmp_path, {}, {}), "x", RATE)


def test_relative_paths_start_at_the_working_directory(tone, tmp_path, monkeypatch):
    path, _ = tone()
    data = DataDir(tmp_path / "data", {"u": path.name}, {"u": "s"})
    monkeypatch.chdir(tmp_path)
    assert len(load_utterance(data, "u", RATE)) == 2 * RATE


def test_real_recordings_are_whole(real_data):
    files = sorted((real_data / "speech").rglob("*.opus"))[::200]
    assert files
    for file in files:
        samples = read_waveform(file, sample_rate=RATE)
        assert len(samples) == audio_info(file).frames
        assert 0.001 < np.abs(samples).max() <= 1.5
