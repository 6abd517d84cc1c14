import dataclasses

import numpy as np
import pytest

from bbb.audio.recording import (
    NOISES,
    TRAIN_CHANNELS,
    UNSEEN_CHANNELS,
    channel_gain,
    compand,
    draw_recording,
    impulse_response,
    record,
)
from bbb.errors import ConfigError

RATE = 16_000
BABBLE = np.random.default_rng(0).standard_normal((2, 3000))


@pytest.fixture
def clean():
    """A wide, flat channel in a dry and quiet room."""
    drawn = draw_recording(np.random.default_rng(0), channels=("studio",))
    return dataclasses.replace(
        drawn,
        low_hz=1.0,
        high_hz=1e5,
        ripple_db=(0.0,) * 7,
        rt60=0.0,
        direct_to_reverb_db=100.0,
        snr_db=100.0,
        noise="coloured",
    )


@pytest.fixture
def speech():
    return np.random.default_rng(1).standard_normal(RATE)


def put(speech, recording, seed=0, rate=RATE):
    return record(speech, recording, rate, np.random.default_rng(seed), BABBLE)


def test_seen_and_unseen_channels_are_disjoint():
    assert not set(TRAIN_CHANNELS) & set(UNSEEN_CHANNELS)


def test_unknown_channel():
    with pytest.raises(ConfigError, match=r"expects channels of .*'studio'.*got \['x'\]"):
        draw_recording(np.random.default_rng(0), channels=("x",))
    with pytest.raises(ConfigError, match=r"got \[\]"):
        draw_recording(np.random.default_rng(0), channels=())


def test_clean_recording_changes_nothing(clean, speech):
    got = put(speech, clean)
    assert np.corrcoef(got, speech)[0, 1] > 0.9999


@pytest.mark.parametrize("noise", NOISES)
def test_noise_has_the_asked_ratio(clean, speech, noise):
    noisy = put(speech, dataclasses.replace(clean, noise=noise, snr_db=10.0, hum_hz=50.0))
    quiet = put(speech, dataclasses.replace(clean, noise=noise, snr_db=200.0))
    ratio = 10 * np.log10(np.mean(quiet**2) / np.mean((noisy - quiet) ** 2))
    # 1.5 dB of scatter between utterances; the seed is fixed.
    assert ratio == pytest.approx(10.0, abs=4.0)


def test_hum_lies_at_the_mains_frequency(clean):
    silence = np.random.default_rng(2).standard_normal(2 * RATE) * 1e-3
    got = put(silence, dataclasses.replace(clean, noise="hum", snr_db=-40.0, hum_hz=60.0))
    assert np.argmax(np.abs(np.fft.rfft(got))) / 2 == pytest.approx(60.0, abs=1.0)


def test_babble_shorter_than_the_utterance_is_repeated(clean, speech):
    got = put(speech, dataclasses.replace(clean, noise="babble", snr_db=0.0))
    assert got.shape == speech.shape
    assert np.isfinite(got).all()


def test_utterances_of_a_session_share_the_room_and_not_the_noise(clean):
    click = np.zeros(RATE)
    click[0] = 1.0
    room = dataclasses.replace(clean, rt60=0.3, direct_to_reverb_db=0.0, snr_db=60.0)
    first, second = put(click, room, seed=1), put(click, room, seed=2)
    other = put(click, dataclasses.replace(room, room_seed=room.room_seed + 1), seed=1)
    assert np.corrcoef(first, second)[0, 1] > 0.99
    assert not np.array_equal(first, second)
    assert np.corrcoef(first, other)[0, 1] < 0.9


@pytest.mark.parametrize("rt60", [0.2, 0.6])
def test_reverberation_decays_by_60_db_in_rt60(rt60):
    room = impulse_response(rt60, 0.0, RATE, np.random.default_rng(0))
    energy = np.cumsum(room[::-1] ** 2)[::-1]
    decay = 10 * np.log10(energy / energy[1])
    # Schroeder's curve: 20 dB are lost in a third of the reverberation time.
    seconds = np.flatnonzero(decay < -20)[0] / RATE
    assert seconds == pytest.approx(rt60 / 3, rel=0.35)


def test_direct_to_reverberant_ratio():
    room = impulse_response(0.4, 7.0, RATE, np.random.default_rng(0))
    assert room[0] == 1.0
    assert -10 * np.log10(np.sum(room[1:] ** 2)) == pytest.approx(7.0)


def test_channel_passes_its_band(clean):
    phone = dataclasses.replace(clean, low_hz=300.0, high_hz=3400.0)
    gains = channel_gain(phone, np.array([0.0, 30.0, 300.0, 1000.0, 3400.0, 6800.0]))
    decibels = 20 * np.log10(gains + 1e-30)
    assert decibels[[2, 4]] == pytest.approx([-3.0, -3.0], abs=0.1)
    assert decibels[3] == pytest.approx(0.0, abs=0.1)
    assert decibels[[0, 1]].max() < -75
    assert decibels[5] == pytest.approx(-48, abs=0.5)


@pytest.mark.parametrize(("bits", "ratio"), [(8, 33.0), (6, 21.0), (4, 9.0)])
def test_companding_loses_six_decibels_per_bit(bits, ratio):
    signal = np.sin(np.arange(8000) * 0.1)
    error = compand(signal, bits) - signal
    got = 10 * np.log10(np.mean(signal**2) / np.mean(error**2))
    assert got == pytest.approx(ratio, abs=6.0)


def test_companding_in_blocks_follows_the_level():
    fade = np.sin(np.arange(8000) * 0.1) * np.geomspace(1.0, 1e-4, 8000)
    whole, blocks = compand(fade, 5), compand(fade, 5, block=160)
    quiet = slice(7000, 8000)
    assert np.mean((blocks - fade)[quiet] ** 2) < 0.1 * np.mean((whole - fade)[quiet] ** 2)
    assert blocks.shape == fade.shape


@pytest.mark.parametrize("rate", [8000, 16_000])
@pytest.mark.parametrize("channel", ["telephone", "codec"])
def test_narrow_channels_end_below_4_khz_and_keep_time(rate, channel):
    recording = draw_recording(np.random.default_rng(3), channels=(channel,))
    dry = np.random.default_rng(4).standard_normal(rate + 77)
    dry = np.convolve(dry, np.ones(8) / 8, "same")
    quiet = dataclasses.replace(
        recording, snr_db=60.0, direct_to_reverb_db=60.0, ripple_db=(0.0,) * 7
    )
    got = put(dry, quiet, rate=rate)
    assert got.shape == dry.shape
    hz = np.fft.rfftfreq(len(got), 1 / rate)
    power = np.abs(np.fft.rfft(got)) ** 2
    assert power[hz > 4050].sum() <= 1e-4 * power.sum()
    lags = np.correlate(got[200:1200], dry, "valid" if len(dry) == 1000 else "full")
    best = int(np.argmax(np.abs(np.correlate(dry, got[200:1200], "valid"))))
    assert best == 200
    assert lags.size
