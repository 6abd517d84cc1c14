"""Two-channel recordings, one speaker a channel: ``reco2file_and_channel`` and NIST SPHERE."""

import numpy as np
import pytest
import soundfile

from bbb.audio.containers import is_shorten, missing_bytes, sphere_header
from bbb.audio.datadir import DataDir, Segment, Side
from bbb.audio.dataset import ChunkBatches, ChunkConfig
from bbb.audio.features import FeatureConfig, utterance_features
from bbb.audio.fix import fix_data_dir
from bbb.audio.validate import validate_data_dir
from bbb.audio.waveform import audio_info, load_utterance, read_waveform, recording_info
from bbb.errors import DataError, FormatError

RATE = 8000
PITCHES = {"A": 440.0, "B": 1000.0}


def pitch(samples):
    """The strongest frequency, in Hz."""
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return np.argmax(power) * RATE / len(samples)


@pytest.fixture
def call(tmp_path):
    """A mu-law SPHERE file of two seconds, with another tone in each channel."""
    time = np.arange(2 * RATE) / RATE
    tones = [0.3 * np.sin(2 * np.pi * hz * time) for hz in PITCHES.values()]
    path = tmp_path / "call.sph"
    soundfile.write(path, np.stack(tones, axis=1), RATE, format="NIST", subtype="ULAW")
    return path


@pytest.fixture
def data(call, tmp_path):
    """Each side of the call is a recording of its own."""
    wavs = {f"{side}-call": str(call) for side in PITCHES}
    sides = {f"{side}-call": Side("call", side) for side in PITCHES}
    utt2spk = {recording: recording[0] for recording in wavs}
    return DataDir(tmp_path / "data", wavs, utt2spk, sides=sides).write()


def errors(path, **options):
    return [f for f in validate_data_dir(path, **options) if f.level == "error"]


def test_the_named_channel_comes_out(data):
    again = DataDir.read(data.path)
    assert again.sides == data.sides
    for side, hz in PITCHES.items():
        assert abs(pitch(load_utterance(again, f"{side}-call", RATE)) - hz) < 1


@pytest.mark.parametrize("names", ["AB", "12"])
def test_letters_and_numbers_name_the_same_channels(data, names):
    lines = "".join(f"{s}-call call {name}\n" for s, name in zip("AB", names, strict=True))
    (data.path / "reco2file_and_channel").write_text(lines)
    assert [DataDir.read(data.path).channel(f"{side}-call") for side in "AB"] == [0, 1]


def test_segments_of_a_side(data):
    segments = {f"{side}-cut": Segment(f"{side}-call", 0.5, 1.5) for side in PITCHES}
    cut = DataDir(data.path, data.wavs, {u: u[0] for u in segments}, segments, sides=data.sides)
    cut.write()
    samples = load_utterance(DataDir.read(data.path), "B-cut", RATE)
    assert len(samples) == RATE
    assert abs(pitch(samples) - PITCHES["B"]) < 1
    assert errors(data.path) == []


def test_training_chunks_are_of_their_side(data, call):
    features = FeatureConfig(
        sample_rate=RATE, num_mels=12, num_ceps=8, high_freq=3700.0, vad=False, cmn="none"
    )
    chunks = ChunkConfig(batch_size=2, min_frames=30, max_frames=30, batches_per_epoch=2)
    channels = soundfile.read(call, dtype="float32")[0].T
    whole = [utterance_features(channel.copy(), features) for channel in channels]
    batches = ChunkBatches(data, features, chunks)
    for index in range(len(batches)):
        for chunk, label in zip(*batches[index], strict=True):
            windows = whole[int(label)].unfold(0, len(chunk), 1).transpose(1, 2)
            assert (windows == chunk).flatten(1).all(1).any()


def test_a_sound_directory_has_no_error(data):
    assert errors(data.path, sample_rate=RATE) == []


def test_subset_keeps_the_sides_of_its_recordings(data):
    assert data.subset(["B-call"]).sides == {"B-call": Side("call", "B")}


def test_two_channels_and_none_named(data, call):
    (data.path / "reco2file_and_channel").unlink()
    assert len([f for f in errors(data.path) if "name it in reco2file_and_channel" in str(f)]) == 2
    with pytest.raises(DataError, match="expected one channel, got 2"):
        audio_info(call)


def test_second_channel_of_a_file_with_one(data, call):
    soundfile.write(call, soundfile.read(call)[0][:, 0], RATE, format="NIST", subtype="ULAW")
    with pytest.raises(DataError, match=r"call.sph: channel B is wanted, the file has 1; correct"):
        recording_info(data, "B-call")
    (fault,) = errors(data.path)
    assert (fault.file.name, fault.key) == ("wav.scp", "B-call")
    report = fix_data_dir(data.path)
    assert report.data.sides == {"A-call": Side("call", "A")}
    assert errors(data.path) == []


@pytest.mark.parametrize("channel", [-1, 2])
def test_there_are_two_channels(call, channel):
    with pytest.raises(DataError, match=r"is wanted, the file has 2"):
        read_waveform(call, sample_rate=RATE, channel=channel)


@pytest.mark.parametrize("line", ["A-call call C", "A-call call", "A-call call A 1"])
def test_a_broken_line(data, line):
    (data.path / "reco2file_and_channel").write_text(line + "\n")
    with pytest.raises(FormatError, match=r"channel:1: expected 'recording file A\|B', got"):
        DataDir.read(data.path)


def test_a_side_of_nothing(data):
    with (data.path / "reco2file_and_channel").open("a") as stream:
        stream.write("C-call call A\n")
    (fault,) = errors(data.path)
    assert "'C-call' is not in wav.scp; remove the line" in fault.message
    fix_data_dir(data.path)
    assert errors(data.path) == []


class TestSphere:
    def test_header(self, call):
        header = sphere_header(call)
        assert (header["sample_count"], header["channel_count"]) == (str(2 * RATE), "2")
        assert header["header_bytes"] == "1024"
        assert not is_shorten(call)
        assert missing_bytes(call) == 0

    @pytest.mark.parametrize("text", [b"", b"NIST_1A\n", b"NIST_1A\n  x\n", b"RIFF\n  1024\n"])
    def test_no_header(self, tmp_path, text):
        (tmp_path / "x.sph").write_bytes(text)
        assert sphere_header(tmp_path / "x.sph") == {}

    @pytest.mark.parametrize("cut", [1, 1001])
    def test_cut_samples(self, data, call, cut):
        call.write_bytes(call.read_bytes()[:-cut])
        assert missing_bytes(call) == cut
        with pytest.raises(DataError, match=rf"call.sph: truncated, {cut} bytes are missing"):
            load_utterance(data, "A-call", RATE)

    def test_cut_header(self, data, call):
        call.write_bytes(call.read_bytes()[:60])
        with pytest.raises(DataError, match=r"call.sph: (not readable as audio|truncated)"):
            load_utterance(data, "A-call", RATE)

    def test_shorten_names_the_decoder(self, data, call):
        text = call.read_bytes().replace(b"-s4 ulaw\n", b"-s26 ulaw,embedded-shorten-v2.00\n")
        call.write_bytes(text[:1024] + b"ajkg\x02" + bytes(200))
        assert is_shorten(call)
        assert missing_bytes(call) == 0
        with pytest.raises(DataError, match=r"compressed by shorten.*pip install 'desphere"):
            load_utterance(data, "A-call", RATE)
