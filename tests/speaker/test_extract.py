"""Embeddings: at the mean, over draws, of long and short utterances, and of bad ones."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

import bbb
from bbb.audio.datadir import DataDir
from bbb.audio.features import FeatureConfig, utterance_features
from bbb.audio.waveform import load_utterance
from bbb.errors import ConfigError, DataError
from bbb.speaker.checkpoint import load_network
from bbb.speaker.config import TrainConfig
from bbb.speaker.extract import extract_embeddings
from bbb.speaker.xvector import XVector


@pytest.fixture
def plain(baseline: Path) -> XVector:
    return load_network(baseline / "best.ckpt")[0]


@pytest.fixture
def net(bayesian: Path) -> XVector:
    return load_network(bayesian / "best.ckpt")[0]


@pytest.fixture
def features(make_config: Callable[..., TrainConfig]) -> FeatureConfig:
    return make_config().features


def frames_of(data: DataDir, utterance: str, config: FeatureConfig) -> Tensor:
    return utterance_features(load_utterance(data, utterance, config.sample_rate), config)


def test_ids_are_sorted_and_rows_are_theirs(
    plain: XVector, corpus: DataDir, features: FeatureConfig
) -> None:
    result = extract_embeddings(plain, corpus, features)
    assert list(result.ids) == sorted(corpus.utt2spk)
    assert result.embeddings.dtype == np.float32
    assert result.embeddings.shape == (13, 6)
    assert result.covariances is None
    for row, utterance in enumerate(result.ids):
        with torch.no_grad():
            expected = plain(frames_of(corpus, utterance, features).unsqueeze(0))[0]
        np.testing.assert_allclose(result.embeddings[row], expected, rtol=1e-5, atol=1e-6)


def test_the_mean_of_a_bayesian_network_is_its_deterministic_twins(
    net: XVector, corpus: DataDir, features: FeatureConfig
) -> None:
    twin = bbb.to_deterministic(net)
    assert isinstance(twin, XVector)
    mean = extract_embeddings(net.train(), corpus, features)
    assert np.array_equal(mean.embeddings, extract_embeddings(twin, corpus, features).embeddings)


def test_draws_are_named_by_the_seed(
    net: XVector, corpus: DataDir, features: FeatureConfig
) -> None:
    first = extract_embeddings(net, corpus, features, num_samples=3, seed=5)
    torch.manual_seed(77)  # the global generator has no say
    again = extract_embeddings(net, corpus, features, num_samples=3, seed=5)
    other = extract_embeddings(net, corpus, features, num_samples=3, seed=50)
    assert np.array_equal(first.embeddings, again.embeddings)
    assert first.covariances is not None
    assert again.covariances is not None
    assert np.array_equal(first.covariances, again.covariances)
    assert not np.allclose(first.embeddings, other.embeddings)


def one_by_one(net: XVector, data: DataDir, config: FeatureConfig, draws: int) -> np.ndarray:
    """Embeddings of every draw, shape (draws, utterances, dim), in float64."""
    rows = []
    for draw in range(draws):
        generator = torch.Generator().manual_seed(5 + draw)
        drawn = bbb.sample_deterministic(net, generator=generator).eval()
        with torch.no_grad():
            each = [
                drawn(frames_of(data, utterance, config).unsqueeze(0))[0]
                for utterance in data.utterances
            ]
        rows.append(torch.stack(each).double().numpy())
    return np.stack(rows)


def test_moments_over_draws_by_hand(net: XVector, corpus: DataDir, features: FeatureConfig) -> None:
    draws = one_by_one(net, corpus, features, 4)
    full = extract_embeddings(net, corpus, features, num_samples=4, seed=5, covariance="full")
    np.testing.assert_allclose(full.embeddings, draws.mean(axis=0), rtol=1e-4, atol=1e-5)
    assert full.covariances is not None
    for row in range(13):
        expected = np.cov(draws[:, row].T)
        np.testing.assert_allclose(full.covariances[row], expected, rtol=1e-3, atol=1e-5)
    diagonal = extract_embeddings(net, corpus, features, num_samples=4, seed=5)
    assert diagonal.covariances is not None
    np.testing.assert_allclose(
        diagonal.covariances, draws.var(axis=0, ddof=1), rtol=1e-3, atol=1e-5
    )
    assert (diagonal.covariances > 1e-6).all()


@pytest.mark.parametrize(("num_samples", "covariance"), [(1, "full"), (0, "full"), (3, "none")])
def test_no_covariance_of_one_draw_or_unasked(
    net: XVector, corpus: DataDir, features: FeatureConfig, num_samples: int, covariance: str
) -> None:
    result = extract_embeddings(
        net,
        corpus,
        features,
        num_samples=num_samples,
        covariance=covariance,  # type: ignore[arg-type]
    )
    assert result.covariances is None


def test_a_long_utterance_is_cut_into_equal_parts(
    plain: XVector, corpus: DataDir, features: FeatureConfig
) -> None:
    data = corpus.subset(["spk1-utt0"])
    frames = frames_of(data, "spk1-utt0", features)
    assert 62 < len(frames) < 90
    result = extract_embeddings(plain, data, features, max_frames=31)
    size = len(frames) // 3
    with torch.no_grad():
        parts = [plain(frames[i * size : (i + 1) * size].unsqueeze(0))[0] for i in range(3)]
    expected = torch.stack(parts).mean(0)
    np.testing.assert_allclose(result.embeddings[0], expected, rtol=1e-4, atol=1e-6)
    whole = extract_embeddings(plain, data, features, max_frames=len(frames))
    assert not np.allclose(result.embeddings, whole.embeddings, rtol=1e-3)


def write_utterance(tmp_path: Path, samples: np.ndarray) -> DataDir:
    soundfile.write(tmp_path / "x.wav", samples, 8000, subtype="FLOAT")
    return DataDir(tmp_path / "data", {"x": str(tmp_path / "x.wav")}, {"x": "a"}).write()


def test_a_short_utterance_is_repeated(
    tmp_path: Path, plain: XVector, features: FeatureConfig
) -> None:
    noise = np.random.default_rng(0).standard_normal(800).astype(np.float32)
    data = write_utterance(tmp_path, 0.1 * noise)
    frames = frames_of(data, "x", features)
    assert len(frames) == 10
    with torch.no_grad():
        expected = plain(torch.cat([frames, frames[:5]]).unsqueeze(0))[0]
    result = extract_embeddings(plain, data, features)
    np.testing.assert_allclose(result.embeddings[0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("good", [True, False])
def test_the_mode_of_every_module_is_restored(
    tmp_path: Path, net: XVector, corpus: DataDir, features: FeatureConfig, *, good: bool
) -> None:
    net.train()
    net.frame1.norm.eval()  # a frozen norm
    before = {name: module.training for name, module in net.named_modules()}
    state = {name: value.clone() for name, value in net.state_dict().items()}
    if good:
        extract_embeddings(net, corpus, features, num_samples=2)
    else:
        with pytest.raises(DataError):
            extract_embeddings(net, write_utterance(tmp_path, np.zeros(800)), features)
    assert {name: module.training for name, module in net.named_modules()} == before
    # Running statistics of batch norm did not move either.
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_progress_is_reported(plain: XVector, corpus: DataDir, features: FeatureConfig) -> None:
    seen: list[tuple[int, int]] = []
    extract_embeddings(plain, corpus, features, progress=lambda *counts: seen.append(counts))
    assert seen == [(i, 13) for i in range(1, 14)]


# -- bad input ------------------------------------------------------------------------------


def test_draws_of_a_plain_network_are_an_error(
    plain: XVector, corpus: DataDir, features: FeatureConfig
) -> None:
    with pytest.raises(ConfigError, match=r"num_samples is 5, but .*; use num_samples=0"):
        extract_embeddings(plain, corpus, features, num_samples=5)


@pytest.mark.parametrize(("num_samples", "max_frames"), [(-1, 100), (0, 29), (0, 0)])
def test_numbers_out_of_range_are_an_error(
    net: XVector, corpus: DataDir, features: FeatureConfig, num_samples: int, max_frames: int
) -> None:
    with pytest.raises(ConfigError, match=r"num_samples >= 0 and max_frames >= 30, got"):
        extract_embeddings(net, corpus, features, num_samples=num_samples, max_frames=max_frames)


def test_every_length_can_be_cut(plain: XVector, tmp_path: Path, features: FeatureConfig) -> None:
    noise = np.random.default_rng(0).standard_normal(31 * 80).astype(np.float32)
    data = write_utterance(tmp_path, 0.1 * noise)
    assert len(frames_of(data, "x", features)) == 31
    result = extract_embeddings(plain, data, features, max_frames=30)  # parts of 15 frames
    assert np.isfinite(result.embeddings).all()


def test_an_embedding_that_is_no_number_names_the_utterance(
    plain: XVector, corpus: DataDir, features: FeatureConfig
) -> None:
    nn.init.constant_(plain.segment6.affine.bias, torch.inf)
    with pytest.raises(DataError, match=r"utterance 'spk0-utt0' has an embedding .*not finite"):
        extract_embeddings(plain, corpus, features)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(800), "utterance 'x': .*silence; drop the utterance"),
        (np.ones(100), "utterance 'x': the waveform has 100 samples"),
        (np.full(800, np.nan), "x.wav: sample 0 is not finite"),
    ],
    ids=["silence", "short", "nan"],
)
def test_a_bad_utterance_is_named(
    tmp_path: Path, plain: XVector, features: FeatureConfig, samples: np.ndarray, message: str
) -> None:
    data = write_utterance(tmp_path, samples)
    with pytest.raises(DataError, match=message):
        extract_embeddings(plain, data, features)
