import numpy as np
import pytest
import soundfile

from bbb.audio.augment import (
    AugmentConfig,
    Augmenter,
    add_noise,
    change_speed,
    load_folder,
    reverberate,
)
from bbb.errors import ConfigError, DataError

RATE = 16000


def power_db(samples: np.ndarray) -> float:
    return 10 * np.log10(np.mean(np.square(samples, dtype=np.float64)))


def white(samples: int, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


def pitch_hz(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * RATE / len(samples)


@pytest.fixture
def folders(tmp_path):
    """Two noises (one in a sub-folder, one at another rate) and a room."""
    noise, rir = tmp_path / "noise", tmp_path / "rir"
    (noise / "deep").mkdir(parents=True)
    rir.mkdir()
    soundfile.write(noise / "a.wav", white(5 * RATE), RATE)
    soundfile.write(noise / "deep" / "b.flac", white(8000, seed=1), 8000)
    (noise / "readme.txt").write_text("no audio")
    decay = np.exp(-np.arange(4000) / 600) * white(4000, seed=2)
    decay[100] = 0.9
    soundfile.write(rir / "room.wav", decay, RATE)
    return str(noise), str(rir)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 7.5, 20.0])
@pytest.mark.parametrize("length", [3, 1000, 48000, 100_000])
def test_noise_has_the_ratio_asked_for(voice, snr_db, length):
    speech = voice(3.0)
    noisy = add_noise(speech, white(length), snr_db, np.random.default_rng(0))
    assert noisy.shape == speech.shape
    assert noisy.dtype == np.float32
    assert power_db(speech) - power_db(noisy - speech) == pytest.approx(snr_db, abs=0.1)


def test_noise_starts_anywhere(voice):
    speech, noise = voice(0.5), white(RATE)
    rng = np.random.default_rng(0)
    first, second = (add_noise(speech, noise, 0.0, rng) for _ in range(2))
    assert not np.array_equal(first, second)


def test_short_noise_is_repeated(voice):
    speech, noise = voice(1.0), white(1000)
    added = add_noise(speech, noise, 0.0, np.random.default_rng(3)) - speech
    np.testing.assert_allclose(added[:1000], added[1000:2000], atol=1e-6)


def test_silence_has_no_ratio(voice):
    rng = np.random.default_rng(0)
    speech, silence = voice(0.5), np.zeros(8000, dtype=np.float32)
    np.testing.assert_array_equal(add_noise(speech, silence, 0.0, rng), speech)
    np.testing.assert_array_equal(add_noise(silence, speech, 0.0, rng), silence)


def test_speech_is_left_as_it_was(voice):
    speech = voice(0.5)
    before = speech.copy()
    add_noise(speech, white(100), 0.0, np.random.default_rng(0))
    reverberate(speech, white(100))
    np.testing.assert_array_equal(speech, before)


@pytest.mark.parametrize("place", [0, 5, 399])
@pytest.mark.parametrize("gain", [1.0, 0.2])
def test_a_room_without_echo_changes_nothing(voice, place, gain):
    rir = np.zeros(400, dtype=np.float32)
    rir[place] = gain
    speech = voice(1.0)
    np.testing.assert_allclose(reverberate(speech, rir), speech, atol=1e-6)


def test_a_room_is_a_convolution_at_the_same_power(voice):
    speech, rir = voice(1.0), white(3000) * np.exp(-np.arange(3000, dtype=np.float32) / 500)
    rir[200] = 1.0
    expected = np.convolve(speech, rir)[200 : 200 + len(speech)]
    expected *= np.sqrt(np.mean(speech**2) / np.mean(expected**2))
    wet = reverberate(speech, rir)
    assert wet.dtype == np.float32
    np.testing.assert_allclose(wet, expected, atol=1e-5)
    assert power_db(wet) == pytest.approx(power_db(speech), abs=0.01)


def test_a_room_keeps_silence_silent():
    silence = np.zeros(500, dtype=np.float32)
    np.testing.assert_array_equal(reverberate(silence, white(50)), silence)


@pytest.mark.parametrize("speed", [0.9, 1.1, 0.95, 1.25])
def test_speed_changes_length_and_pitch(speed):
    time = np.arange(2 * RATE) / RATE
    tone = np.sin(2 * np.pi * 500 * time).astype(np.float32)
    changed = change_speed(tone, speed)
    assert changed.dtype == np.float32
    assert len(changed) == pytest.approx(len(tone) / speed, abs=1)
    assert pitch_hz(changed) == pytest.approx(500 * speed, rel=2e-3)
    assert power_db(changed[1000:-1000]) == pytest.approx(power_db(tone), abs=0.1)


def test_speed_one_is_the_same(voice):
    speech = voice(0.2)
    assert change_speed(speech, 1.0) is speech


def test_folder_is_read_with_its_subfolders_and_resampled(folders):
    first, second = load_folder(folders[0], RATE)
    assert len(first) == 5 * RATE
    assert len(second) == RATE
    assert first.dtype == second.dtype == np.float32


def test_of_several_channels_the_first_is_taken(tmp_path):
    left, right = white(1000), white(1000, seed=5)
    soundfile.write(tmp_path / "x.wav", np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    np.testing.assert_array_equal(load_folder(str(tmp_path), RATE)[0], left)


def test_folder_without_audio(tmp_path):
    with pytest.raises(DataError, match=r"no audio files .* in it; check the path"):
        load_folder(str(tmp_path), RATE)
    with pytest.raises(DataError, match=r"nowhere: no audio files"):
        load_folder(str(tmp_path / "nowhere"), RATE)


def test_folder_with_a_broken_file(tmp_path):
    (tmp_path / "bad.wav").write_text("no audio")
    with pytest.raises(DataError, match=r"bad.wav: not readable as audio .* restore or remove it"):
        load_folder(str(tmp_path), RATE)


def test_folder_with_a_silent_file(tmp_path):
    soundfile.write(tmp_path / "zero.wav", np.zeros(100), RATE)
    with pytest.raises(
        DataError, match=r"zero.wav: empty, silent or not finite; restore or remove"
    ):
        load_folder(str(tmp_path), RATE)


def test_the_generator_decides_everything(voice, folders):
    config = AugmentConfig(noise_dir=folders[0], rir_dir=folders[1], noise_prob=0.5, rir_prob=0.5)
    augmenter, speech = Augmenter(config, RATE), voice(0.5)
    one = [augmenter(speech, np.random.default_rng(seed)) for seed in range(8)]
    two = [augmenter(speech, np.random.default_rng(seed)) for seed in range(8)]
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first, second)
    assert len({sample.tobytes() for sample in one}) > 4


def test_shares_and_ratios_are_those_of_the_config(voice, folders):
    config = AugmentConfig(noise_dir=folders[0], noise_prob=0.3, min_snr_db=5.0, max_snr_db=15.0)
    augmenter, speech = Augmenter(config, RATE), voice(0.1)
    rng = np.random.default_rng(0)
    added = [augmenter(speech, rng) - speech for _ in range(1000)]
    ratios = [power_db(speech) - power_db(noise) for noise in added if noise.any()]
    # Four standard errors of a binomial share, and of a uniform mean: false alarms 1 in 8000.
    assert len(ratios) / 1000 == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / 1000))
    assert np.mean(ratios) == pytest.approx(10.0, abs=4 * 10 / np.sqrt(12 * 300))
    assert min(ratios) > 4.9
    assert max(ratios) < 15.1


def test_rooms_come_before_noise(voice, folders):
    config = AugmentConfig(rir_dir=folders[1], rir_prob=1.0)
    augmenter, speech = Augmenter(config, RATE), voice(0.5)
    wet = augmenter(speech, np.random.default_rng(0))
    np.testing.assert_array_equal(wet, reverberate(speech, augmenter.rirs[0]))
    assert augmenter.noises == []


def test_nothing_asked_for_nothing_done(voice):
    speech = voice(0.1)
    config = AugmentConfig(speeds=(0.9, 1.0))
    assert not config.changes_sound
    assert Augmenter(config, RATE)(speech, np.random.default_rng(0)) is speech


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise_prob": 1.5}, r"noise_prob is a probability in \[0, 1\], got 1.5"),
        ({"rir_prob": -0.1}, r"rir_prob is a probability"),
        ({"noise_prob": 0.5}, "noise_prob is 0.5 but noise_dir is not set; set it"),
        ({"rir_prob": 0.5}, "rir_prob is 0.5 but rir_dir is not set"),
        ({"min_snr_db": 10.0, "max_snr_db": 5.0}, "needs min_snr_db <= max_snr_db"),
        ({"speeds": ()}, "speeds are one or more different factors"),
        ({"speeds": (1.0, 1.0)}, "speeds are one or more different factors"),
        ({"speeds": (0.1,)}, "speeds lie between 0.5 and 2"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ConfigError, match=message):
        AugmentConfig(**options)


def test_real_noise_and_rooms(voice, real_data):
    config = AugmentConfig(
        noise_dir=str(real_data / "noise"),
        rir_dir=str(real_data / "rir"),
        noise_prob=1.0,
        rir_prob=1.0,
    )
    augmenter, speech = Augmenter(config, RATE), voice(1.0)
    assert len(augmenter.noises) > 50
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert np.isfinite(augmenter(speech, rng)).all()
