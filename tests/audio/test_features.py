import dataclasses
import math

import kaldi_native_fbank
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bbb.audio.features import (
    FeatureConfig,
    energy_vad,
    kaldi_features,
    log_energy,
    normalize,
    num_frames,
    sliding_cmn,
    utterance_features,
    voice_activity,
)
from bbb.audio.waveform import read_waveform
from bbb.errors import ConfigError, DataError, ShapeError

RATE = 16000
KINDS = [FeatureConfig(), FeatureConfig(kind="fbank"), FeatureConfig(kind="fbank", num_mels=80)]


def oracle(waveform: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """Features by Kaldi's own C++ code."""
    mfcc = config.kind == "mfcc"
    options = kaldi_native_fbank.MfccOptions() if mfcc else kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = config.sample_rate
    options.frame_opts.dither = 0.0
    options.frame_opts.snip_edges = False
    options.mel_opts.num_bins = config.num_mels
    options.mel_opts.low_freq = config.low_freq
    options.mel_opts.high_freq = config.high_freq
    options.energy_floor = 0.0
    if mfcc:
        options.num_ceps = config.num_ceps
        options.use_energy = True
    online = (kaldi_native_fbank.OnlineMfcc if mfcc else kaldi_native_fbank.OnlineFbank)(options)
    online.accept_waveform(config.sample_rate, (waveform * 32768).tolist())
    online.input_finished()
    return np.stack([online.get_frame(i) for i in range(online.num_frames_ready)])


def brute_cmn(features: torch.Tensor, window: int) -> torch.Tensor:
    """apply-cmvn-sliding --center=true, written from its definition."""
    frames = len(features)
    result = torch.empty_like(features)
    for t in range(frames):
        start, end = t - window // 2, t - window // 2 + window
        if start < 0:
            start, end = 0, end - start
        if end > frames:
            start, end = max(0, start - (end - frames)), frames
        result[t] = features[t] - features[start:end].double().mean(dim=0).float()
    return result


def brute_vad(energy, threshold, mean_scale, context, proportion):
    """compute-vad, written from its definition."""
    cut = threshold + mean_scale * float(energy.mean())
    decisions = []
    for t in range(len(energy)):
        near = energy[max(0, t - context) : t + context + 1]
        decisions.append(int((near > cut).sum()) >= proportion * len(near))
    return torch.tensor(decisions)


@pytest.mark.parametrize("config", KINDS, ids=lambda c: f"{c.kind}{c.num_mels}")
@pytest.mark.parametrize("samples", [400, 401, 479, 480, 8000, 16073])
def test_features_are_those_of_kaldi(config, samples):
    waveform = 0.1 * np.random.default_rng(samples).standard_normal(samples).astype(np.float32)
    ours, theirs = kaldi_features(waveform, config).numpy(), oracle(waveform, config)
    assert ours.shape == theirs.shape == (num_frames(samples, RATE), config.dim)
    np.testing.assert_allclose(ours, theirs, atol=5e-4, rtol=0)


@pytest.mark.parametrize("config", KINDS, ids=lambda c: f"{c.kind}{c.num_mels}")
def test_features_of_a_voice_are_those_of_kaldi(voice, config):
    waveform = voice(2.0)
    np.testing.assert_allclose(
        kaldi_features(waveform, config), oracle(waveform, config), atol=5e-4
    )


def test_features_at_8_khz_are_those_of_kaldi(voice):
    config = FeatureConfig(sample_rate=8000, num_mels=23, num_ceps=23, high_freq=3700.0)
    waveform = voice(1.0, rate=8000)
    np.testing.assert_allclose(
        kaldi_features(waveform, config), oracle(waveform, config), atol=5e-4
    )


@pytest.mark.parametrize("config", KINDS, ids=lambda c: f"{c.kind}{c.num_mels}")
def test_features_of_real_speech_are_those_of_kaldi(real_data, config):
    # Opus leaves almost nothing in some bands; there float32 rounding shows, and the oracle itself
    # is up to 3e-3 from the same features in float64. Hence a share of values, and a looser bound.
    for file in sorted((real_data / "speech").rglob("*.opus"))[::500]:
        waveform = read_waveform(file, sample_rate=RATE)
        error = np.abs(kaldi_features(waveform, config).numpy() - oracle(waveform, config))
        assert np.quantile(error, 0.99) < 5e-4
        assert error.max() < 1e-2


@pytest.mark.parametrize("samples", [400, 559, 560, 8000, 8079])
def test_log_energy_is_the_first_column_of_mfcc(samples):
    waveform = 0.1 * np.random.default_rng(0).standard_normal(samples).astype(np.float32) + 0.05
    config = FeatureConfig()
    torch.testing.assert_close(
        log_energy(waveform, config), kaldi_features(waveform, config)[:, 0], atol=1e-5, rtol=0
    )


def test_log_energy_is_in_units_of_16_bit_samples():
    # A full-scale square wave: 400 samples of 32768 squared.
    waveform = np.tile(np.float32([1, -1]), 4000)
    energy = log_energy(waveform, FeatureConfig())
    assert float(energy[10]) == pytest.approx(np.log(400 * 32768.0**2), abs=1e-3)


def test_log_energy_ignores_an_offset(voice):
    waveform = voice(0.5)
    config = FeatureConfig()
    torch.testing.assert_close(
        log_energy(waveform, config), log_energy(waveform + 0.1, config), atol=2e-2, rtol=0
    )


def test_features_accept_tensors_and_repeat_exactly(voice):
    waveform = voice(0.5)
    config = FeatureConfig()
    first = kaldi_features(torch.from_numpy(waveform), config)
    assert torch.equal(first, kaldi_features(waveform, config))
    assert first.dtype == torch.float32


@pytest.mark.parametrize("config", KINDS, ids=lambda c: f"{c.kind}{c.num_mels}")
def test_digital_silence_inside_an_utterance_stays_finite(voice, config):
    waveform = voice(1.0)
    waveform[3000:9000] = 0.0
    assert torch.isfinite(kaldi_features(waveform, config)).all()


@pytest.mark.parametrize(
    "function", [kaldi_features, log_energy, voice_activity, utterance_features]
)
def test_unusable_waveforms(function):
    config = FeatureConfig()
    with pytest.raises(ShapeError, match=r"shape \(samples,\), got \(1, 800\)"):
        function(np.ones((1, 800), dtype=np.float32), config)
    with pytest.raises(DataError, match=r"has 399 samples, a window needs 400 \(25 ms\)"):
        function(np.ones(399, dtype=np.float32), config)
    with pytest.raises(DataError, match=r"every sample of the waveform is 0.0: silence"):
        function(np.zeros(800, dtype=np.float32), config)
    with pytest.raises(DataError, match="NaN or infinite"):
        function(np.full(800, np.nan, dtype=np.float32), config)
    with pytest.raises(DataError, match=r"floats in \[-1, 1\), got torch.int16; divide .* 32768"):
        function(np.arange(800, dtype=np.int16), config)


@pytest.mark.parametrize("frames", [1, 2, 7, 8, 9, 15, 16, 17, 40])
@pytest.mark.parametrize("window", [1, 2, 7, 8, 300])
def test_sliding_cmn_is_that_of_its_definition(frames, window):
    features = torch.randn(frames, 3, generator=torch.Generator().manual_seed(frames)) * 5 + 20
    torch.testing.assert_close(
        sliding_cmn(features, window), brute_cmn(features, window), atol=1e-4, rtol=0
    )


def test_sliding_cmn_of_a_short_utterance_is_the_mean():
    features = torch.randn(299, 4, generator=torch.Generator().manual_seed(0)) + 7
    torch.testing.assert_close(
        sliding_cmn(features), features - features.mean(dim=0), atol=1e-5, rtol=0
    )


def test_sliding_cmn_is_exact_for_long_utterances():
    features = torch.full((200_000, 1), 1000.1)
    assert float(sliding_cmn(features).abs().max()) == 0.0


def test_sliding_cmn_lets_gradients_through():
    features = torch.randn(9, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: sliding_cmn(x, 4), (features,))


def test_sliding_cmn_needs_a_window():
    with pytest.raises(ConfigError, match="window needs at least 1 frame, got 0"):
        sliding_cmn(torch.zeros(5, 2), 0)


@pytest.mark.parametrize("context", [0, 1, 2, 50])
@pytest.mark.parametrize("proportion", [0.12, 0.6])
@pytest.mark.parametrize("frames", [1, 2, 30])
def test_vad_is_that_of_its_definition(context, proportion, frames):
    generator = torch.Generator().manual_seed(context)
    energy = 14 + 3 * torch.randn(frames, generator=generator)
    found = energy_vad(energy, context=context, proportion=proportion)
    expected = brute_vad(energy, 5.5, 0.5, context, proportion)
    if not expected.any():
        expected[:] = True
    assert torch.equal(found, expected)


def test_vad_keeps_everything_rather_than_nothing():
    assert energy_vad(torch.full((9,), 1.0)).all()


def test_vad_drops_the_pause(voice):
    waveform = voice(3.0)
    waveform[16000:32000] = 1e-5 * np.random.default_rng(0).standard_normal(16000)
    voiced = voice_activity(waveform, FeatureConfig())
    assert voiced[:98].all()
    assert not voiced[104:196].any()
    assert voiced[202:].all()


def test_vad_can_be_switched_off(voice):
    waveform = voice(1.0) * np.float32(1e-4)
    waveform[:8000] = 0.0
    assert voice_activity(waveform, FeatureConfig(vad=False)).all()


def test_utterance_features_follow_kaldis_order(voice):
    waveform = voice(6.0)
    waveform[40000:60000] *= np.float32(1e-3)
    config = FeatureConfig()
    raw = kaldi_features(waveform, config)
    voiced = brute_vad(raw[:, 0], 5.5, 0.5, 2, 0.12)
    assert 0 < int(voiced.sum()) < len(voiced)
    expected = brute_cmn(raw, 300)[voiced]
    torch.testing.assert_close(utterance_features(waveform, config), expected, atol=1e-4, rtol=0)


def test_utterance_features_take_a_decision_from_elsewhere(voice):
    waveform = voice(1.0)
    voiced = torch.zeros(100, dtype=torch.bool)
    voiced[20:30] = True
    config = FeatureConfig()
    everything = utterance_features(waveform, dataclasses.replace(config, vad=False))
    assert torch.equal(utterance_features(waveform, config, voiced=voiced), everything[20:30])


def test_normalisations():
    features = torch.randn(500, 3, generator=torch.Generator().manual_seed(1)) + 4
    assert torch.equal(normalize(features, FeatureConfig(cmn="none")), features)
    mean = normalize(features, FeatureConfig(cmn="mean"))
    torch.testing.assert_close(mean.mean(dim=0), torch.zeros(3), atol=1e-5, rtol=0)
    sliding = normalize(features, FeatureConfig(cmn="sliding", cmn_window=0.5))
    assert torch.equal(sliding, sliding_cmn(features, 50))


def test_vad_of_fbank_is_that_of_mfcc(voice):
    waveform = voice(2.0)
    waveform[8000:16000] *= np.float32(1e-3)
    found = [voice_activity(waveform, config) for config in KINDS]
    assert torch.equal(found[0], found[1])


def test_dim():
    assert FeatureConfig(num_ceps=20).dim == 20
    assert FeatureConfig(kind="fbank", num_mels=64).dim == 64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "plp"}, "kind is 'mfcc' or 'fbank', got 'plp'"),
        ({"cmn": "cmvn"}, "cmn is 'sliding', 'mean' or 'none', got 'cmvn'"),
        ({"sample_rate": 8000}, "needs 0 <= low_freq < high_freq <= sample_rate / 2"),
        ({"low_freq": -1.0}, "needs 0 <= low_freq"),
        ({"num_ceps": 31}, "needs 1 <= num_ceps <= num_mels, got num_ceps 31"),
        ({"num_mels": 0}, "needs 1 <= num_ceps <= num_mels"),
        ({"cmn_window": 0.001}, "cmn_window is in seconds, at least 0.01"),
        ({"cmn_window": math.inf}, "cmn_window is in seconds, .*, got inf; cmn 'mean' is that of"),
        ({"cmn_window": math.nan}, "cmn_window is in seconds, .*, got nan"),
        ({"vad_context": -1}, "needs vad_context >= 0"),
        ({"vad_proportion": 1.0}, "0 < vad_proportion < 1"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ConfigError, match=message):
        FeatureConfig(**options)


@settings(max_examples=40, deadline=None)
@given(samples=st.integers(400, 4000), seed=st.integers(0, 2**32 - 1), gain=st.floats(1e-4, 1.0))
def test_any_waveform_of_a_window_has_finite_features(samples, seed, gain):
    waveform = np.random.default_rng(seed).uniform(-gain, gain, samples).astype(np.float32)
    for config in KINDS[:2]:
        features = utterance_features(waveform, config)
        assert 1 <= len(features) <= num_frames(samples, RATE)
        assert features.shape[1] == config.dim
        assert torch.isfinite(features).all()


def test_gain_moves_only_the_energy(voice):
    # 0.5 is a power of two, so that no sample is rounded; log(0.5 ** 2) is added to log energies.
    quiet, loud = voice(1.0) * np.float32(0.5), voice(1.0)
    difference = kaldi_features(quiet, KINDS[1]) - kaldi_features(loud, KINDS[1])
    torch.testing.assert_close(
        difference, torch.full_like(difference, 2 * np.log(0.5)), atol=1e-3, rtol=0
    )
    cepstra = kaldi_features(quiet, KINDS[0]) - kaldi_features(loud, KINDS[0])
    assert float(cepstra[:, 1:].abs().max()) < 1e-2
    torch.testing.assert_close(
        utterance_features(quiet, KINDS[1]), utterance_features(loud, KINDS[1]), atol=2e-3, rtol=0
    )


def test_a_shift_by_a_frame_shifts_the_features(voice):
    waveform = voice(1.0)
    whole, later = (kaldi_features(w, KINDS[1]) for w in (waveform, waveform[160:]))
    # The first two frames of the shifted copy see a mirrored edge.
    torch.testing.assert_close(later[2:], whole[3:], atol=1e-3, rtol=0)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(0.0, 25.0), min_size=1, max_size=60),
    st.integers(0, 5),
    st.floats(0.01, 0.99),
)
def test_vad_always_keeps_something(values, context, proportion):
    energy = torch.tensor(values)
    voiced = energy_vad(energy, context=context, proportion=proportion)
    assert voiced.shape == energy.shape
    assert voiced.dtype == torch.bool
    assert voiced.any()


def test_a_higher_threshold_keeps_no_more():
    energy = 12 + 4 * torch.randn(500, generator=torch.Generator().manual_seed(3))
    kept = [int(energy_vad(energy, threshold=t).sum()) for t in (2.0, 5.5, 8.0, 10.0)]
    assert kept == sorted(kept, reverse=True)
    assert len(set(kept)) == 4


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 400), st.integers(1, 350), st.integers(0, 1000))
def test_sliding_cmn_removes_any_offset(frames, window, seed):
    features = torch.randn(frames, 2, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(
        sliding_cmn(features + 50, window), sliding_cmn(features, window), atol=1e-4, rtol=0
    )


def test_a_window_of_one_frame_leaves_nothing():
    features = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    assert not sliding_cmn(features, 1).any()
