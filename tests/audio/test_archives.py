"""Kaldi's tables of features: what its tools would read of ours, and we of theirs."""

import warnings
from collections.abc import Callable
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
import torch

from bbb._ark import ark_writer
from bbb.audio.archives import FeatureArchive, write_features
from bbb.audio.datadir import DataDir
from bbb.audio.dataset import ChunkBatches, ChunkConfig
from bbb.audio.features import FeatureConfig, kaldi_features, normalize, utterance_features
from bbb.audio.waveform import load_utterance
from bbb.errors import ConfigError, DataError, FormatError

CONFIG = FeatureConfig(num_mels=12, num_ceps=8)
Corpus = Callable[..., DataDir]


@pytest.fixture
def made(make_corpus: Corpus) -> DataDir:
    """A data directory of 2 x 2 utterances, with features in it; half of each is silence."""
    data = make_corpus(speakers=2, utterances=2, seconds=1.2)
    for path in data.wavs.values():
        samples, rate = soundfile.read(path, dtype="float32")
        samples[: len(samples) // 2] *= 1e-4
        soundfile.write(path, samples, rate)
    write_features(data, data.path, CONFIG)
    return data


def compute_vad(energy: np.ndarray) -> list[float]:
    """Kaldi's compute-vad of the first column of its features, from its definition."""
    threshold = 5.5 + 0.5 * energy.mean(dtype=np.float64)
    result = []
    for t in range(len(energy)):
        around = energy[max(0, t - 2) : t + 3]
        result.append(float((around > threshold).sum() >= 0.12 * len(around)))
    return result


def test_kaldi_reads_what_its_tools_would_have_made(made: DataDir) -> None:
    feats = kaldiio.load_scp(str(made.path / "feats.scp"))
    vad = kaldiio.load_scp(str(made.path / "vad.scp"))
    assert list(feats) == list(vad) == made.utterances
    lines = (made.path / "utt2num_frames").read_text().splitlines()
    assert lines == [f"{utterance} 120" for utterance in made.utterances]
    for utterance in made.utterances:
        raw = kaldi_features(load_utterance(made, utterance, 16000), CONFIG)
        np.testing.assert_array_equal(feats[utterance], raw)
        assert feats[utterance].dtype == vad[utterance].dtype == np.float32
        assert vad[utterance].tolist() == compute_vad(feats[utterance][:, 0])
        assert 0.0 < vad[utterance].mean() < 1.0


def test_features_are_those_of_the_audio(made: DataDir) -> None:
    archive = FeatureArchive(made.path, CONFIG)
    for utterance in made.utterances:
        expected = utterance_features(load_utterance(made, utterance, 16000), CONFIG)
        torch.testing.assert_close(archive.features(utterance), expected, rtol=0, atol=0)
        assert archive.num_frames(utterance) == 120 > len(expected)
    assert archive.directory().utt2spk == made.utt2spk
    (made.path / "utt2spk").write_text("spk0-utt1 spk0\n")
    assert archive.directory().spk2utt == {"spk0": ["spk0-utt1"]}
    (made.path / "utt2spk").unlink()
    assert archive.directory().utterances == made.utterances
    (made.path / "utt2spk").write_text("spk0-utt1\n")
    with pytest.raises(FormatError, match=r"utt2spk:1: expected 'key value'"):
        archive.directory()


@pytest.mark.parametrize("cmn", ["none", "mean", "sliding"])
def test_a_stretch_is_normalised_on_its_own(made: DataDir, cmn: str) -> None:
    config = FeatureConfig(num_mels=12, num_ceps=8, cmn=cmn, cmn_window=0.2)
    archive = FeatureArchive(made.path, config)
    raw = torch.tensor(kaldiio.load_scp(str(made.path / "feats.scp"))["spk0-utt1"])
    keep = torch.tensor(kaldiio.load_scp(str(made.path / "vad.scp"))["spk0-utt1"]) > 0
    expected = normalize(raw[50:90], config)[keep[50:90]]
    torch.testing.assert_close(archive.features("spk0-utt1", 50, 90), expected)
    # A stretch without speech is kept as a whole.
    assert not keep[5:25].any()
    assert archive.features("spk0-utt1", 5, 25).shape == (20, 8)


def test_compressed_archives_of_kaldi(made: DataDir, tmp_path: Path) -> None:
    feats = dict(kaldiio.load_scp(str(made.path / "feats.scp")).items())
    scp = str(tmp_path / "feats.scp")
    kaldiio.save_ark(str(tmp_path / "raw.ark"), feats, scp=scp, compression_method=2)
    archive = FeatureArchive(
        tmp_path, FeatureConfig(num_mels=12, num_ceps=8, vad=False, cmn="none")
    )
    theirs = kaldiio.load_scp(scp)
    for utterance in feats:
        found = archive.features(utterance)
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found, theirs[utterance], rtol=1e-5, atol=1e-5)


def test_silence_in_kaldis_eyes_is_kept(make_corpus: Corpus) -> None:
    data = make_corpus(speakers=1, utterances=1)
    samples, rate = soundfile.read(data.wavs["spk0-utt0"], dtype="float32")
    soundfile.write(data.wavs["spk0-utt0"], samples * 1e-3, rate, subtype="FLOAT")
    write_features(data, data.path, CONFIG)
    assert not any(compute_vad(kaldiio.load_scp(str(data.path / "feats.scp"))["spk0-utt0"][:, 0]))
    assert kaldiio.load_scp(str(data.path / "vad.scp"))["spk0-utt0"].all()
    assert len(FeatureArchive(data.path, CONFIG).features("spk0-utt0")) == 100


def test_another_folder_gets_the_tables(made: DataDir, tmp_path: Path) -> None:
    done = []
    write_features(made, tmp_path / "new", CONFIG, progress=lambda i, n: done.append((i, n)))
    assert done == [(i, 4) for i in range(1, 5)]
    assert DataDir.read(tmp_path / "new").utt2spk == made.utt2spk
    line = (tmp_path / "new" / "feats.scp").read_text().splitlines()[0]
    assert line == f"spk0-utt0 {tmp_path / 'new' / 'feats.ark'}:10"


def test_parts_are_the_whole(made: DataDir, tmp_path: Path) -> None:
    for part in (2, 0):
        assert not write_features(made, tmp_path, CONFIG, part=part, num_parts=3)
    # A part of other settings is none of these.
    other = FeatureConfig(num_mels=12, num_ceps=9)
    assert not write_features(made, tmp_path, other, part=1, num_parts=3)
    assert not (tmp_path / "feats.scp").exists()
    done = []
    progress = lambda i, n: done.append((i, n))  # noqa: E731
    assert write_features(made, tmp_path, CONFIG, part=1, num_parts=3, progress=progress)
    assert done == [(1, 1)]
    for kind in ("feats", "vad"):
        whole = kaldiio.load_scp(str(made.path / f"{kind}.scp"))
        parts = kaldiio.load_scp(str(tmp_path / f"{kind}.scp"))
        assert list(parts) == list(whole)
        for utterance in whole:
            np.testing.assert_array_equal(parts[utterance], whole[utterance])
    for name in ("utt2num_frames", "utt2spk"):
        assert (tmp_path / name).read_bytes() == (made.path / name).read_bytes()


@pytest.mark.parametrize(("part", "num_parts"), [(-1, 2), (2, 2), (0, 5), (0, 0)])
def test_no_such_part(made: DataDir, part: int, num_parts: int) -> None:
    with pytest.raises(ConfigError, match="needs 0 <= part < num_parts <= 4, the utterances"):
        write_features(made, made.path, CONFIG, part=part, num_parts=num_parts)


def test_without_vad(made: DataDir, tmp_path: Path) -> None:
    config = FeatureConfig(num_mels=12, num_ceps=8, vad=False)
    write_features(made, tmp_path, config)
    assert kaldiio.load_scp(str(tmp_path / "vad.scp"))["spk0-utt0"].all()
    # A model that keeps all frames keeps them whatever vad.scp says.
    assert len(FeatureArchive(made.path, config).features("spk0-utt0")) == 120
    (made.path / "vad.scp").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FeatureArchive(made.path, config)
    with pytest.warns(UserWarning, match=r"vad.scp: no such file; all frames are kept"):
        archive = FeatureArchive(made.path, CONFIG)
    assert len(archive.features("spk0-utt0")) == 120


def test_a_chunk_of_one_frame_repeats_it(tmp_path: Path) -> None:
    # Kaldi's --snip-edges makes one frame of 25 ms.
    with ark_writer(tmp_path / "feats.ark") as put:
        put("a", np.full((1, 8), 3.0))
        put("b", np.zeros((4, 8)))
    (tmp_path / "utt2spk").write_text("a a\nb b\n")
    config = FeatureConfig(num_mels=12, num_ceps=8, cmn="none", vad=False)
    archive = FeatureArchive(tmp_path, config)
    chunks = ChunkConfig(batch_size=2, min_frames=20, max_frames=20)
    features, speakers = ChunkBatches(archive.directory(), config, chunks, archive=archive)[0]
    assert (features == torch.where(speakers == 0, 3.0, 0.0)[:, None, None]).all()


# -- what is refused ------------------------------------------------------------------------


def test_a_bad_utterance_is_named_and_nothing_is_written(make_corpus: Corpus) -> None:
    data = make_corpus(speakers=1, utterances=2)
    soundfile.write(data.wavs["spk0-utt1"], np.zeros(16000), 16000)
    with pytest.raises(DataError, match=r"utterance 'spk0-utt1': every sample .* silence"):
        write_features(data, data.path / "new", CONFIG)
    assert list((data.path / "new").iterdir()) == []


def test_another_size(made: DataDir) -> None:
    archive = FeatureArchive(made.path, FeatureConfig())
    with pytest.raises(DataError, match=r"'spk0-utt0' has 8 values per frame, the model takes 30"):
        archive.check(made.utterances)


@pytest.mark.parametrize("table", ["feats", "vad"])
def test_missing_utterances(made: DataDir, table: str) -> None:
    scp = made.path / f"{table}.scp"
    scp.write_text("".join(scp.read_text().splitlines(keepends=True)[1:3]))
    archive = FeatureArchive(made.path, CONFIG)
    archive.check(made.utterances[1:3])
    with pytest.raises(DataError, match=rf"{table}.scp: 2 of 4 .* first spk0-utt0, spk1-utt1;"):
        archive.check(made.utterances)
    with pytest.raises(DataError, match=rf"{table}.scp: .*'spk0-utt0'"):
        archive.features("spk0-utt0")


def test_voice_activity_of_other_frames(made: DataDir) -> None:
    vad = dict(kaldiio.load_scp(str(made.path / "vad.scp")).items())
    vad["spk0-utt1"] = vad["spk0-utt1"][1:]
    kaldiio.save_ark(str(made.path / "vad.ark"), vad, scp=str(made.path / "vad.scp"))
    with pytest.raises(DataError, match=r"vad.scp: expected 120 values for 'spk0-utt1'"):
        FeatureArchive(made.path, CONFIG).features("spk0-utt1")


def test_values_that_are_not_finite(made: DataDir) -> None:
    feats = {"spk0-utt0": np.full((120, 8), np.nan, np.float32)}
    kaldiio.save_ark(str(made.path / "feats.ark"), feats, scp=str(made.path / "feats.scp"))
    with pytest.raises(DataError, match=r"feats.scp: 'spk0-utt0' is not finite"):
        FeatureArchive(made.path, CONFIG).features("spk0-utt0")


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"feats.scp:0: no such file"):
        FeatureArchive(tmp_path, CONFIG)


def test_a_cut_archive(made: DataDir) -> None:
    ark = made.path / "feats.ark"
    ark.write_bytes(ark.read_bytes()[:-100])
    archive = FeatureArchive(made.path, CONFIG)
    archive.features("spk0-utt0")
    with pytest.raises(FormatError, match=r"feats.scp:4: 'spk1-utt1': .*feats.ark, byte \d+\)"):
        archive.features("spk1-utt1")
