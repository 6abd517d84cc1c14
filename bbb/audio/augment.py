"""Augmentation of waveforms: noise, reverberation, speed. Every draw is from a given generator."""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
import scipy.fft
import torch
from numpy.typing import NDArray
from torchaudio.transforms import Resample

from bbb.audio.sounds import SoundFolder, load_folder
from bbb.errors import ConfigError

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How training speech is varied.

    The defaults of music and babble are those of Kaldi's recipes (Snyder et al. 2018), whose noise
    is at 0 to 15 dB with ``noise_gap`` 1, and each of whose copies has one of the four
    (``exclusive``).

    Attributes:
        noise_dir: Folder with noise recordings, searched with its sub-folders; kept in memory as
            float32 (a minute at 16 kHz takes 4 MB). None for no noise.
        rir_dir: Folder with room impulse responses, likewise. None for no reverberation.
        music_dir: Folder with music, of which stretches are read from disk. None for no music.
        babble_dir: Folder with speech, likewise: MUSAN's, or the training speech itself.
        noise_prob: Share of the chunks that get noise.
        rir_prob: Share of the chunks that get a room.
        music_prob: Share of the chunks that get music.
        babble_prob: Share of the chunks that get several people who talk at once.
        exclusive: Whether a chunk gets at most one of these; they are independent otherwise.
        min_snr_db: Lowest ratio of speech to noise, in dB.
        max_snr_db: Highest.
        noise_gap: Seconds between noises that come one after another, each with its own ratio;
            None for one noise all along.
        music_snr_db: Lowest and highest ratio of speech to music, in dB.
        babble_snr_db: Lowest and highest ratio of speech to each of the others, in dB.
        babble_speakers: Lowest and highest number of the others.
        speeds: Factors of which each chunk gets one, all alike often; 0.9 is slower and lower. Each
            but 1.0 turns a speaker into another one, with a class of its own.
    """

    noise_dir: str | None = None
    rir_dir: str | None = None
    music_dir: str | None = None
    babble_dir: str | None = None
    noise_prob: float = 0.0
    rir_prob: float = 0.0
    music_prob: float = 0.0
    babble_prob: float = 0.0
    exclusive: bool = False
    min_snr_db: float = 0.0
    max_snr_db: float = 20.0
    noise_gap: float | None = None
    music_snr_db: Range = (5.0, 15.0)
    babble_snr_db: Range = (13.0, 20.0)
    babble_speakers: tuple[int, int] = (3, 7)
    speeds: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            ConfigError: If an option is outside of its range, or a folder is not named.
        """
        for name, share in zip(("rir", "noise", "music", "babble"), self.shares, strict=True):
            if not 0.0 <= share <= 1.0:
                msg = f"AugmentConfig: {name}_prob is a probability in [0, 1], got {share}"
                raise ConfigError(msg)
            if share > 0 and getattr(self, f"{name}_dir") is None:
                msg = f"AugmentConfig: {name}_prob is {share} but {name}_dir is not set; set it"
                raise ConfigError(msg)
        if self.exclusive and sum(self.shares) > 1.0 + 1e-9:
            msg = (
                "AugmentConfig: with exclusive the four shares sum to at most 1, got "
                f"{self.shares}; lower them"
            )
            raise ConfigError(msg)
        self._check_ranges()
        if not self.speeds or len(set(self.speeds)) < len(self.speeds):
            msg = f"AugmentConfig: speeds are one or more different factors, got {self.speeds}"
            raise ConfigError(msg)
        if not all(0.5 <= speed <= 2.0 for speed in self.speeds):  # noqa: PLR2004 (an octave)
            msg = f"AugmentConfig: speeds lie between 0.5 and 2, got {self.speeds}"
            raise ConfigError(msg)

    def _check_ranges(self) -> None:
        """Check what has a lowest and a highest value.

        Raises:
            ConfigError: If they are in the wrong order, too low or not finite.
        """
        if not -math.inf < self.min_snr_db <= self.max_snr_db < math.inf:
            msg = (
                f"AugmentConfig: needs finite min_snr_db <= max_snr_db, got {self.min_snr_db} and "
                f"{self.max_snr_db}; swap or correct them"
            )
            raise ConfigError(msg)
        for name in ("music_snr_db", "babble_snr_db", "babble_speakers"):
            low, high = getattr(self, name)
            finite = -math.inf < low <= high < math.inf
            if not finite or (name == "babble_speakers" and low < 1):
                msg = f"AugmentConfig: {name} are the lowest and the highest, got {low} and {high}"
                raise ConfigError(msg)
        if self.noise_gap is not None and not 0 <= self.noise_gap < math.inf:
            msg = (
                f"AugmentConfig: noise_gap is in seconds, at least 0, got {self.noise_gap}; null "
                "is one noise all along"
            )
            raise ConfigError(msg)

    @property
    def shares(self) -> tuple[float, float, float, float]:
        """Shares of the chunks that get a room, noise, music and babble."""
        return self.rir_prob, self.noise_prob, self.music_prob, self.babble_prob

    @property
    def changes_sound(self) -> bool:
        """Whether any chunk gets one of these."""
        return any(share > 0 for share in self.shares)


class Augmenter:
    """Puts speech into rooms, noise, music and babble.

    Args:
        config: What to do how often; ``speeds`` are not its business, see ``change_speed``.
        sample_rate: Of the speech, in Hz; all else is resampled to it.

    Raises:
        DataError: If a folder has no audio, or a file cannot be read.
    """

    def __init__(self, config: AugmentConfig, sample_rate: int) -> None:
        self.config = config
        self.sample_rate = sample_rate
        self.noises: list[NDArray[np.float32]] = []
        self.rirs: list[NDArray[np.float32]] = []
        self._music = self._babble = None
        if config.noise_dir is not None and config.noise_prob > 0:
            self.noises = load_folder(config.noise_dir, sample_rate)
        if config.rir_dir is not None and config.rir_prob > 0:
            self.rirs = load_folder(config.rir_dir, sample_rate)
        if config.music_dir is not None and config.music_prob > 0:
            self._music = SoundFolder(config.music_dir, sample_rate)
        if config.babble_dir is not None and config.babble_prob > 0:
            self._babble = SoundFolder(config.babble_dir, sample_rate)

    def __call__(
        self, waveform: NDArray[np.float32], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Reverberate, then add noise, music and babble, each with its probability.

        Args:
            waveform: Shape (samples,).
            rng: The only source of randomness.

        Returns:
            Same shape; ``waveform`` itself is never changed.

        Raises:
            DataError: If a file of music or babble cannot be read.
        """  # noqa: DOC502 (raised by SoundFolder)
        config = self.config
        use_rir, use_noise, use_music, use_babble = self._choose(rng)
        # The same number of draws whatever happens keeps neighbouring options comparable.
        rir, noise = rng.integers(0, (max(1, len(self.rirs)), max(1, len(self.noises))))
        snr_db = rng.uniform(config.min_snr_db, config.max_snr_db)
        if use_rir:
            waveform = reverberate(waveform, self.rirs[rir])
        clean = waveform
        if use_noise and config.noise_gap is None:
            waveform = add_noise(clean, self.noises[noise], snr_db, rng)
        elif use_noise:
            waveform = clean + self._noises(clean, rng)
        if use_music and self._music is not None:
            music = self._music.stretch(len(clean), rng)
            gain = _gain(music, clean, rng.uniform(*config.music_snr_db))
            waveform = waveform + gain * music
        if use_babble and self._babble is not None:
            low, high = config.babble_speakers
            for _ in range(int(rng.integers(low, high + 1))):
                other = self._babble.stretch(len(clean), rng)
                gain = _gain(other, clean, rng.uniform(*config.babble_snr_db))
                waveform = waveform + gain * other
        return waveform

    def _choose(self, rng: np.random.Generator) -> list[bool]:
        """Whether there is a room, noise, music, babble."""
        shares = np.array(self.config.shares)
        if self.config.exclusive:
            ends = np.cumsum(shares)
            place = rng.random()
            return list((ends - shares <= place) & (place < ends))
        # Music and babble came later: without them batches are those of before.
        number = 4 if shares[2:].any() else 2
        return [*(rng.random(number) < shares[:number]), False, False][:4]

    def _noises(
        self, waveform: NDArray[np.float32], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Noises one after another with gaps between, as long as a waveform."""
        config, total = self.config, np.zeros_like(waveform)
        gap = round((config.noise_gap or 0.0) * self.sample_rate)
        start = None
        while start is None or start < len(waveform):
            noise = self.noises[int(rng.integers(len(self.noises)))]
            gain = _gain(noise, waveform, rng.uniform(config.min_snr_db, config.max_snr_db))
            if start is None:  # anywhere in the first noise or the gap behind it
                start = -int(rng.integers(len(noise) + gap))
            stretch = noise[max(0, -start) : len(waveform) - start]
            total[max(0, start) : max(0, start) + len(stretch)] += gain * stretch
            start += len(noise) + gap
        return total


def add_noise(
    waveform: NDArray[np.float32],
    noise: NDArray[np.float32],
    snr_db: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Add a random stretch of noise, repeated when it is too short.

    Args:
        waveform: Shape (samples,).
        noise: Shape (any,).
        snr_db: Power of the waveform over power of the noise added, over its whole length, in dB.
        rng: Chooses the stretch.

    Returns:
        Same shape as ``waveform``; unchanged where the waveform or the stretch is silent, since no
        factor gives them that ratio.
    """
    spare = len(noise) - len(waveform)
    start = int(rng.integers(spare + 1 if spare >= 0 else len(noise)))
    if spare >= 0:
        stretch = noise[start : start + len(waveform)]
    else:
        stretch = np.resize(np.roll(noise, -start), len(waveform))
    return waveform + _gain(stretch, waveform, snr_db) * stretch


def reverberate(waveform: NDArray[np.float32], rir: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convolve with a room impulse response, without delay and at the same power.

    The response's largest sample, the direct path, falls on time 0, so that speech stays where it
    was and voice activity of the clean signal holds.

    Args:
        waveform: Shape (samples,).
        rir: Shape (any,), not silent.

    Returns:
        Same shape as ``waveform``.
    """
    peak = int(np.argmax(np.abs(rir)))
    size = scipy.fft.next_fast_len(len(waveform) + len(rir) - 1, real=True)
    spectrum = scipy.fft.rfft(waveform, size)
    spectrum *= scipy.fft.rfft(rir, size)
    wet = scipy.fft.irfft(spectrum, size)[peak : peak + len(waveform)]
    before, after = _power(waveform), _power(wet)
    if after == 0.0:
        return waveform
    result: NDArray[np.float32] = wet * np.float32(np.sqrt(before / after))
    return result


def change_speed(waveform: NDArray[np.float32], speed: float) -> NDArray[np.float32]:
    """Play faster or slower, which moves pitch and formants too.

    Args:
        waveform: Shape (samples,).
        speed: 0.9 makes it 1 / 0.9 times as long and lower. Taken to the nearest fraction with a
            denominator up to 100.

    Returns:
        float32, shape (samples / speed,).
    """
    if speed == 1.0:
        return waveform
    ratio = Fraction(speed).limit_denominator(100)
    with torch.no_grad():
        samples = torch.from_numpy(np.ascontiguousarray(waveform, np.float32))
        faster = _resampler(ratio.numerator, ratio.denominator)(samples)
    result: NDArray[np.float32] = faster.numpy()
    return result


@lru_cache(maxsize=32)
def _resampler(orig: int, new: int) -> Resample:
    """A resampler whose filter is computed once."""
    return Resample(orig, new)


def _gain(noise: NDArray[np.float32], signal: NDArray[np.float32], snr_db: float) -> np.float32:
    """What gives noise a ratio of powers to a signal; 0 where one of them has no power."""
    signal_power, noise_power = _power(signal), _power(noise)
    if signal_power == 0.0 or noise_power == 0.0:
        return np.float32(0.0)
    return np.float32(np.sqrt(signal_power / noise_power / 10 ** (snr_db / 10)))


def _power(samples: NDArray[np.float32]) -> float:
    """Mean square."""
    return float(np.vdot(samples, samples)) / len(samples)
