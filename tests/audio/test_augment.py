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
from bbb.audio.sounds import SoundFolder
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


def test_speed_takes_what_soundfile_reads_by_default(voice):
    speech = voice(0.2)
    for same in (speech.astype(np.float64), speech[::-1].copy()[::-1]):
        np.testing.assert_array_equal(change_speed(same, 0.9), change_speed(speech, 0.9))


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


def sounds_in(folder, names, level=0.1):
    """A folder of 2 s of noise per name."""
    folder.mkdir()
    for seed, name in enumerate(names):
        soundfile.write(folder / name, level * white(2 * RATE, seed), RATE, subtype="FLOAT")
    return str(folder)


@pytest.mark.parametrize("options", [{}, {"rir_prob": 0.5}, {"noise_prob": 0.3, "rir_prob": 0.5}])
def test_new_kinds_left_out_change_nothing(voice, folders, options):
    """The batches of trainings from before there were music, babble and gaps."""
    config = AugmentConfig(noise_dir=folders[0], rir_dir=folders[1], **options)
    augmenter, speech = Augmenter(config, RATE), voice(0.5)
    for seed in range(20):
        rng, old = np.random.default_rng(seed), np.random.default_rng(seed)
        rooms, noisy = old.random(2) < (config.rir_prob, config.noise_prob)
        choice = old.integers(0, (max(1, len(augmenter.rirs)), max(1, len(augmenter.noises))))
        snr_db, expected = old.uniform(0.0, 20.0), speech
        if rooms:
            expected = reverberate(expected, augmenter.rirs[choice[0]])
        if noisy:
            expected = add_noise(expected, augmenter.noises[choice[1]], snr_db, old)
        np.testing.assert_array_equal(augmenter(speech, rng), expected)
        assert rng.random() == old.random()


def test_music_is_a_stretch_of_a_file_at_its_ratio(voice, tmp_path):
    folder = sounds_in(tmp_path / "music", ["a.wav"])
    config = AugmentConfig(music_dir=folder, music_prob=1.0, music_snr_db=(6.0, 9.0))
    augmenter, speech, music = Augmenter(config, RATE), voice(0.5), load_folder(folder, RATE)[0]
    starts = set()
    for seed in range(20):
        added = augmenter(speech, np.random.default_rng(seed)) - speech
        assert 5.9 < power_db(speech) - power_db(added) < 9.1
        start = int(np.argmax(np.correlate(music, added)))
        starts.add(start)
        stretch = music[start : start + len(added)]
        np.testing.assert_allclose(added / np.std(added), stretch / np.std(stretch), atol=1e-3)
    assert len(starts) > 15


def test_babble_is_several_speakers_each_at_its_ratio(voice, tmp_path):
    folder = sounds_in(tmp_path / "speech", [f"{k}.wav" for k in range(9)])
    options = {"babble_dir": folder, "babble_prob": 1.0, "babble_snr_db": (15.0, 15.0)}
    augmenter, speech = Augmenter(AugmentConfig(**options), RATE), voice(0.5)
    added = [augmenter(speech, np.random.default_rng(seed)) - speech for seed in range(200)]
    # Stretches of noise do not correlate, so that their powers add.
    numbers = np.array([10 ** ((15.0 - power_db(speech) + power_db(a)) / 10) for a in added])
    assert set(np.round(numbers).astype(int)) == {3, 4, 5, 6, 7}
    # Four standard errors of a uniform number of 3 to 7: a false alarm in 16,000 seeds.
    assert numbers.mean() == pytest.approx(5.0, abs=4 * np.sqrt(2 / 200))


def test_noises_come_one_after_another(voice, tmp_path):
    folder = tmp_path / "noise"
    folder.mkdir()
    soundfile.write(folder / "a.wav", white(RATE // 4), RATE, subtype="FLOAT")
    options = {"noise_dir": str(folder), "noise_prob": 1.0, "min_snr_db": 5.0, "max_snr_db": 5.0}
    config = AugmentConfig(**options, noise_gap=0.5)
    augmenter, speech = Augmenter(config, RATE), voice(3.0)
    phases = set()
    for seed in range(10):
        added = augmenter(speech, np.random.default_rng(seed)) - speech
        quiet = np.abs(added) < 1e-5
        # A quarter of a second of noise, half a second of nothing, over and over.
        period = 3 * RATE // 4
        np.testing.assert_allclose(added[period:], added[:-period], atol=1e-6)
        assert quiet.mean() == pytest.approx(2 / 3, abs=0.02)
        phases.add(int(np.flatnonzero(~quiet)[0]))
        loud = added[~quiet]
        assert power_db(speech) - power_db(loud) == pytest.approx(5.0, abs=0.2)
    assert len(phases) > 5


@pytest.mark.parametrize("exclusive", [False, True])
def test_shares_of_the_four_kinds(voice, folders, tmp_path, exclusive, monkeypatch):
    speech = sounds_in(tmp_path / "speech", ["a.wav"])
    shares = (0.1, 0.2, 0.15, 0.25)
    config = AugmentConfig(
        rir_dir=folders[1],
        noise_dir=folders[0],
        music_dir=speech,
        babble_dir=speech,
        **dict(zip(("rir_prob", "noise_prob", "music_prob", "babble_prob"), shares, strict=True)),
        exclusive=exclusive,
    )
    augmenter, rng = Augmenter(config, RATE), np.random.default_rng(0)
    chosen = np.array([augmenter._choose(rng) for _ in range(4000)])
    # Four standard errors, of nine numbers: a false alarm in 1,700 seeds.
    for share, expected in zip(chosen.mean(axis=0), shares, strict=True):
        assert share == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 4000))
    together = chosen.sum(axis=1)
    assert (together.max() == 1) if exclusive else (together.max() > 1)
    # And what is chosen is what happens.
    called = []
    monkeypatch.setattr(Augmenter, "_choose", lambda *_: [False, False, True, False])
    monkeypatch.setattr(augmenter._music, "stretch", lambda n, _: called.append(n) or white(n))
    assert not np.array_equal(augmenter(voice(0.1), rng), voice(0.1))
    assert called == [RATE // 10]


def test_a_folder_of_sounds_is_read_when_it_is_needed(tmp_path):
    folder = sounds_in(tmp_path / "music", ["a.wav", "b.flac"][:1])
    soundfile.write(tmp_path / "music" / "c.wav", white(800, seed=5), 8000, subtype="FLOAT")
    sounds, rng = SoundFolder(folder, RATE), np.random.default_rng(0)
    stretches = [sounds.stretch(8000, rng) for _ in range(20)]
    assert all(s.shape == (8000,) and s.dtype == np.float32 for s in stretches)
    # The second file has 0.1 s at another rate, and is repeated.
    short = [s for s in stretches if np.array_equal(s[:1600], s[1600:3200])]
    assert 3 < len(short) < 17
    np.testing.assert_array_equal(short[0][:1600], load_folder(folder, RATE)[1])
    (tmp_path / "music" / "a.wav").write_text("no audio")
    with pytest.raises(DataError, match=r"a.wav: not readable as audio"):
        [sounds.stretch(8000, rng) for _ in range(20)]
    with pytest.raises(DataError, match=r"no audio files"):
        SoundFolder(str(tmp_path / "nowhere"), RATE)


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
        ({"min_snr_db": 10.0, "max_snr_db": 5.0}, "needs finite min_snr_db <= max_snr_db"),
        ({"music_prob": 0.5}, "music_prob is 0.5 but music_dir is not set"),
        ({"babble_dir": "x", "babble_prob": -0.5}, r"babble_prob is a probability in \[0, 1\]"),
        ({"music_snr_db": (9.0, 5.0)}, "music_snr_db are the lowest and the highest, got 9.0"),
        ({"babble_speakers": (0, 3)}, "babble_speakers are the lowest and the highest, got 0"),
        ({"noise_gap": -1.0}, "noise_gap is in seconds, at least 0, got -1.0"),
        ({"noise_gap": np.inf}, "noise_gap is in seconds, at least 0, got inf; null is one noise"),
        ({"min_snr_db": np.nan}, "needs finite min_snr_db <= max_snr_db, got nan and 20.0"),
        ({"max_snr_db": np.inf}, "needs finite min_snr_db <= max_snr_db, got 0.0 and inf"),
        ({"music_snr_db": (5.0, np.inf)}, "music_snr_db are the lowest and the highest"),
        (
            {
                **dict.fromkeys(("music_dir", "babble_dir"), "x"),
                **dict.fromkeys(("music_prob", "babble_prob"), 0.6),
                "exclusive": True,
            },
            r"sum to at most 1, got \(0.0, 0.0, 0.6, 0.6\)",
        ),
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
