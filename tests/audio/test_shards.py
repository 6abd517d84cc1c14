"""Tar shards: lossless, whole, resumable, and a data directory like any other."""

import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from webdataset import WebDataset

from bbb.audio import waveform
from bbb.audio.datadir import DataDir, Segment, Side
from bbb.audio.dataset import ChunkBatches, ChunkConfig
from bbb.audio.features import FeatureConfig
from bbb.audio.fix import fix_data_dir
from bbb.audio.shards import write_shards
from bbb.audio.shards_member import Member, split_address
from bbb.audio.utterances import Utterances
from bbb.audio.validate import validate_data_dir
from bbb.audio.waveform import load_utterance, read_waveform
from bbb.errors import ConfigError, DataError

RATE = 16000
# Two of the utterances of a second.
SHARD_MB = 2 * 2 * RATE / 1e6


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def same_audio(one: DataDir, two: DataDir) -> bool:
    pairs = ((load_utterance(d, u, RATE) for d in (one, two)) for u in one.utterances)
    return one.utterances == two.utterances and all(np.array_equal(*pair) for pair in pairs)


@pytest.fixture
def mixed(tmp_path, voice):
    """An utterance of every kind: 16 and 24 bits, floats, FLAC, Opus; ids with dots."""
    kinds = {
        "a.1": ("wav", "PCM_16"),
        "a.2": ("wav", "PCM_24"),
        "a%2E2": ("wav", "FLOAT"),
        "b/1": ("flac", "PCM_24"),
        "b/2": ("ogg", "OPUS"),
        "b/3": ("wav", "ULAW"),
    }
    wavs = {}
    for number, (utterance, (suffix, subtype)) in enumerate(kinds.items()):
        wavs[utterance] = str(tmp_path / f"{number}.{suffix}")
        soundfile.write(wavs[utterance], voice(1.0, seed=number), RATE, subtype=subtype)
    genders = {"a": "f", "b": "m"}
    return DataDir(tmp_path / "data", wavs, {u: u[0] for u in wavs}, genders=genders).write()


def test_shards_are_a_data_directory_with_the_same_audio(mixed, tmp_path):
    packed = write_shards(mixed, tmp_path / "out", shard_mb=SHARD_MB)
    assert DataDir.read(tmp_path / "out") == packed
    assert (packed.utt2spk, packed.genders) == (mixed.utt2spk, mixed.genders)
    assert packed.durations == dict.fromkeys(mixed.utt2spk, 1.0)
    assert same_audio(mixed, packed)
    assert validate_data_dir(tmp_path / "out") == []
    assert len(list((tmp_path / "out").glob("*.tar"))) == 3


def test_compressed_files_go_in_as_they_are_and_16_bits_as_flac(mixed, tmp_path):
    packed = write_shards(mixed, tmp_path / "out")
    with tarfile.open(tmp_path / "out" / "00000.tar") as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar}
    keys = {"a%2E1": "flac", "a%2E2": "wav", "a%252E2": "wav", "b/1": "flac", "b/2": "ogg"}
    keys |= {"b/3": "flac"}
    assert set(files) == {f"{key}.{kind}" for key, kind in keys.items()} | {
        f"{key}.json" for key in keys
    }
    for utterance in ("b/1", "b/2"):
        original = next(c for name, c in files.items() if name.startswith(utterance + "."))
        assert Path(mixed.wavs[utterance]).read_bytes() == original
    assert json.loads(files["a%2E2.json"]) == {
        "utterance": "a.2",
        "speaker": "a",
        "gender": "f",
        "num_samples": RATE,
        "sample_rate": RATE,
    }
    again = write_shards(packed, tmp_path / "again", seed=1)
    assert same_audio(packed, again)


def test_segments_and_sides_are_cut_out(tmp_path, voice):
    sound = np.stack([voice(3.0, 100), voice(3.0, 200)], axis=1)
    soundfile.write(tmp_path / "call.wav", sound, RATE)
    segments = {f"{s}-{k}": Segment(f"call-{s}", k, k + 0.5) for s in "AB" for k in range(3)}
    data = DataDir(
        tmp_path / "data",
        {f"call-{s}": str(tmp_path / "call.wav") for s in "AB"},
        {u: u[0] for u in segments},
        segments,
        sides={f"call-{s}": Side("call", s) for s in "AB"},
    )
    packed = write_shards(data, tmp_path / "out")
    assert not packed.segments
    assert same_audio(data, packed)


# It leaves closing its files to the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_webdataset_reads_them(mixed, tmp_path):
    packed = write_shards(mixed, tmp_path / "out", shard_mb=SHARD_MB)
    shards = [str(path) for path in sorted((tmp_path / "out").glob("*.tar"))]
    seen = {}
    for sample in WebDataset(shards, shardshuffle=False):
        about = json.loads(sample["json"])
        [content] = [sample[kind] for kind in ("flac", "wav", "ogg") if kind in sample]
        assert packed.utt2spk[about["utterance"]] == about["speaker"]
        seen[about["utterance"]] = soundfile.read(io.BytesIO(content), dtype="float32")[0]
    assert sorted(seen) == packed.utterances
    for utterance, samples in seen.items():
        assert np.array_equal(samples, load_utterance(mixed, utterance, RATE))


def test_they_can_be_moved(make_corpus, tmp_path, monkeypatch):
    data = make_corpus()
    write_shards(data, tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "moved")
    moved = DataDir.read(tmp_path / "moved")
    assert same_audio(data, moved)
    monkeypatch.chdir(tmp_path)
    assert same_audio(data, DataDir.read("moved"))
    # Written elsewhere the addresses are whole ones, written back they are not.
    assert same_audio(data, DataDir.read(moved.write(tmp_path / "tables").path))
    before = (tmp_path / "moved" / "wav.scp").read_bytes()
    moved.write()
    assert (tmp_path / "moved" / "wav.scp").read_bytes() == before


def test_order_is_shuffled_by_the_seed(make_corpus, tmp_path):
    data = make_corpus(4, 6, seconds=0.1)
    first = contents(write_shards(data, tmp_path / "one", seed=5).path)
    assert contents(write_shards(data, tmp_path / "two", seed=5).path) == first
    assert contents(write_shards(data, tmp_path / "three").path)["wav.scp"] != first["wav.scp"]
    with tarfile.open(tmp_path / "one" / "00000.tar") as tar:
        names = [name[:-5] for name in tar.getnames() if name.endswith(".flac")]
    assert sorted(names) == data.utterances != names


# -- going on -------------------------------------------------------------------------------------


def test_a_killed_run_goes_on(make_corpus, tmp_path):
    data, folder = make_corpus(), tmp_path / "out"
    whole = contents(write_shards(data, tmp_path / "whole", shard_mb=SHARD_MB).path)

    def killed(done, _total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(data, folder, shard_mb=SHARD_MB, progress=killed)
    assert set(contents(folder)) == {"00000.tar", "00001.tar", "shards.json"}
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    # What a kill leaves, and a shard that lost its end.
    (folder / ".00002.abc.tar").write_bytes(b"half")
    (folder / "00001.tar").write_bytes(whole["00001.tar"][:40000])
    calls = []
    write_shards(data, folder, shard_mb=SHARD_MB, progress=lambda *call: calls.append(call))
    assert contents(folder) == whole
    assert (folder / "00000.tar").stat().st_mtime_ns == times[folder / "00000.tar"]
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_parts_together_are_the_whole(make_corpus, tmp_path):
    data = make_corpus()
    whole = contents(write_shards(data, tmp_path / "whole", shard_mb=SHARD_MB).path)
    options = {"shard_mb": SHARD_MB, "num_parts": 2}
    assert write_shards(data, tmp_path / "out", part=1, **options) is None
    assert set(contents(tmp_path / "out")) == {"00001.tar", "shards.json"}
    assert write_shards(data, tmp_path / "out", part=0, **options) is not None
    assert contents(tmp_path / "out") == whole


def test_a_folder_of_other_things_is_refused(make_corpus, tmp_path):
    data = make_corpus()
    with pytest.raises(ConfigError, match=r"data holds other files; choose an empty or a new"):
        write_shards(data, data.path)
    write_shards(data, tmp_path / "out")
    for other, options in ((data, {"seed": 1}), (data.subset(data.utterances[1:]), {})):
        with pytest.raises(ConfigError, match=r"out holds shards of other data, of another size"):
            write_shards(other, tmp_path / "out", **options)


def test_options_out_of_range(make_corpus, tmp_path):
    for options in ({"shard_mb": 0.0}, {"part": 2, "num_parts": 2}):
        with pytest.raises(ConfigError, match=r"shard_mb > 0 and a part from 0 to num_parts - 1"):
            write_shards(make_corpus(), tmp_path / "out", **options)


def test_silence_and_broken_files_are_named(make_corpus, tmp_path):
    data = make_corpus()
    wave = tmp_path / "wav" / "spk1-utt0.wav"
    soundfile.write(wave, np.zeros(RATE), RATE)
    with pytest.raises(DataError, match=r"utterance 'spk1-utt0' is silent: all samples are equal"):
        write_shards(data, tmp_path / "out")
    wave.unlink()
    with pytest.raises(DataError, match=r"spk1-utt0.wav: no such audio file"):
        write_shards(data, tmp_path / "out")


# -- reading --------------------------------------------------------------------------------------


def test_a_stretch_of_a_long_file_is_read_without_the_rest(make_corpus, tmp_path, monkeypatch):
    data = make_corpus(2, 1, seconds=20.0)
    monkeypatch.setattr(waveform, "_AT_ONCE", 2**16)
    packed = write_shards(data, tmp_path / "out")
    read, utterance = [], packed.utterances[0]
    readinto = Member.readinto
    monkeypatch.setattr(
        Member, "readinto", lambda self, b: read.append(readinto(self, b)) or read[-1]
    )
    part = read_waveform(packed.wavs[utterance], sample_rate=RATE, start=10.0, end=10.5)
    assert np.array_equal(part, load_utterance(data, utterance, RATE)[160000:168000])
    with Member(*split_address(packed.wavs[utterance])) as member:
        assert sum(read) < member.size / 3


def test_a_member_is_a_file(tmp_path):
    content = bytes(range(256)) * 8
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        info = tarfile.TarInfo("name" * 60)  # too long for one header
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
        tar.addfile(info, io.BytesIO(content))
    with tarfile.open(tmp_path / "x.tar") as tar:
        places = [member.offset_data for member in tar]
    for place in places:
        with Member(str(tmp_path / "x.tar"), place) as member:
            assert (member.readable(), member.seekable()) == (True, True)
            assert member.read() == content
            assert member.read(5) == b""
            assert member.seek(-6, io.SEEK_END) == len(content) - 6
            assert member.read(4) == content[-6:-2]
            assert member.seek(1, io.SEEK_CUR) == member.tell() == len(content) - 1
            assert member.read() == content[-1:]
        assert member.closed


def test_wrong_addresses_are_named(make_corpus, tmp_path):
    packed = write_shards(make_corpus(), tmp_path / "out")
    address = packed.wavs["spk0-utt0"]
    tar, offset = address.rsplit(":", 1)
    with pytest.raises(DataError, match=r"00000.tar:\d+: no file begins there .* make the shards"):
        read_waveform(f"{tar}:{int(offset) + 512}", sample_rate=RATE)
    places = {int(address.rsplit(":", 1)[1]): u for u, address in packed.wavs.items()}
    place, last = max(places.items())
    Path(tar).write_bytes(Path(tar).read_bytes()[: place + 1000])
    with pytest.raises(DataError, match=r"00000.tar:\d+: truncated, \d+ bytes are missing"):
        load_utterance(packed, last, RATE)
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(DataError, match=r"00000.tar:\d+: no such tar file .* restore the shards"):
        read_waveform(address, sample_rate=RATE)


def test_a_file_with_a_colon_is_a_file(tmp_path, voice):
    soundfile.write(tmp_path / "x.tar:8.wav", voice(0.1), RATE)
    assert len(read_waveform(tmp_path / "x.tar:8.wav", sample_rate=RATE)) == 1600


@pytest.mark.parametrize("memory", [0.0, 1e9])
def test_training_batches_are_those_of_the_files(make_corpus, tmp_path, memory):
    data = make_corpus()
    packed = write_shards(data, tmp_path / "out")
    chunks = ChunkConfig(batch_size=2, min_frames=20, max_frames=40)
    features = FeatureConfig(num_mels=12, num_ceps=8)
    one, two = (ChunkBatches(d, features, chunks, memory=memory) for d in (data, packed))
    for index in range(len(one)):
        first, second = one.batch(0, index), two.batch(0, index)
        assert np.array_equal(first[0], second[0])
        assert np.array_equal(first[1], second[1])


def test_opening_reads_one_header_of_a_shard(make_corpus, tmp_path, monkeypatch):
    packed = write_shards(make_corpus(), tmp_path / "out", shard_mb=SHARD_MB)
    opened = []
    init = Member.__init__
    monkeypatch.setattr(
        Member, "__init__", lambda self, *args: opened.append(args) or init(self, *args)
    )
    features = FeatureConfig(num_mels=12, num_ceps=8)
    batches = ChunkBatches(packed, features, ChunkConfig(batch_size=2, min_frames=20))
    assert len(opened) == 3
    assert batches.utterances.samples.tolist() == [RATE] * 6
    with pytest.raises(DataError, match="expected 8000 Hz, got 16000 Hz"):
        ChunkBatches(packed, FeatureConfig(sample_rate=8000, high_freq=3800.0), ChunkConfig())


def test_a_repair_keeps_their_lengths_to_the_sample(tmp_path, voice):
    wavs = {f"s-{i}": str(tmp_path / f"{i}.wav") for i in range(1, 4)}
    for i, path in enumerate(wavs.values(), start=1):
        soundfile.write(path, voice(0.5)[:-i], 16000)
    packed = write_shards(DataDir(tmp_path, wavs, dict.fromkeys(wavs, "s")), tmp_path / "shards")
    assert packed is not None
    assert fix_data_dir(packed.path).rewritten == []
    (packed.path / "utt2dur").unlink()
    repaired = fix_data_dir(packed.path).data
    assert Utterances(repaired, 16000).samples.tolist() == [7999, 7998, 7997]


def test_real_speech(real_data, tmp_path):
    files = sorted((real_data / "speech" / "so762").rglob("*.opus"))[:40]
    wavs = {f"{file.parent.name}-{file.stem}": str(file) for file in files}
    data = DataDir(tmp_path / "data", wavs, {u: u.split("-")[0] for u in wavs})
    assert same_audio(data, write_shards(data, tmp_path / "out", shard_mb=1.0))
