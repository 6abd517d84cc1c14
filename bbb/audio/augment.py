"""Augmentation of waveforms: noise, reverberation, speed. Every draw is from a given generator."""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np
import scipy.fft
import soundfile
import torch
from numpy.typing import NDArray
from torchaudio.functional import resample
from torchaudio.transforms import Resample

from bbb.errors import ConfigError, DataError

_SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".oga", ".mp3"}


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How training speech is varied.

    Attributes:
        noise_dir: Folder with noise recordings, searched with its sub-folders; kept in memory as
            float32 (a minute at 16 kHz takes 4 MB). None for no noise.
        rir_dir: Folder with room impulse responses, likewise. None for no reverberation.
        noise_prob: Share of the chunks that get noise.
        rir_prob: Share of the chunks that get a room.
        min_snr_db: Lowest signal-to-noise ratio, in dB.
        max_snr_db: Highest.
        speeds: Factors of which each chunk gets one, all alike often; 0.9 is slower and lower. Each
            but 1.0 turns a speaker into another one, with a class of its own.
    """

    noise_dir: str | None = None
    rir_dir: str | None = None
    noise_prob: float = 0.0
    rir_prob: float = 0.0
    min_snr_db: float = 0.0
    max_snr_db: float = 20.0
    speeds: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            ConfigError: If an option is outside of its range, or a folder is not named.
        """
        for name in ("noise", "rir"):
            share = getattr(self, f"{name}_prob")
            if not 0.0 <= share <= 1.0:
                msg = f"AugmentConfig: {name}_prob is a probability in [0, 1], got {share}"
                raise ConfigError(msg)
            if share > 0 and getattr(self, f"{name}_dir") is None:
                msg = f"AugmentConfig: {name}_prob is {share} but {name}_dir is not set; set it"
                raise ConfigError(msg)
        if self.min_snr_db > self.max_snr_db:
            msg = (
                f"AugmentConfig: needs min_snr_db <= max_snr_db, got {self.min_snr_db} and "
                f"{self.max_snr_db}; swap them"
            )
            raise ConfigError(msg)
        if not self.speeds or len(set(self.speeds)) < len(self.speeds):
            msg = f"AugmentConfig: speeds are one or more different factors, got {self.speeds}"
            raise ConfigError(msg)
        if not all(0.5 <= speed <= 2.0 for speed in self.speeds):  # noqa: PLR2004 (an octave)
            msg = f"AugmentConfig: speeds lie between 0.5 and 2, got {self.speeds}"
            raise ConfigError(msg)

    @property
    def changes_sound(self) -> bool:
        """Whether any chunk gets noise or a room."""
        return self.noise_prob > 0 or self.rir_prob > 0


class Augmenter:
    """Puts speech into rooms and noise.

    Args:
        config: What to do how often; ``speeds`` are not its business, see ``change_speed``.
        sample_rate: Of the speech, in Hz; noise and rooms are resampled to it when loaded.

    Raises:
        DataError: If a folder has no audio, or a file cannot be read.
    """

    def __init__(self, config: AugmentConfig, sample_rate: int) -> None:
        self.config = config
        self.noises: list[NDArray[np.float32]] = []
        self.rirs: list[NDArray[np.float32]] = []
        if config.noise_dir is not None and config.noise_prob > 0:
            self.noises = load_folder(config.noise_dir, sample_rate)
        if config.rir_dir is not None and config.rir_prob > 0:
            self.rirs = load_folder(config.rir_dir, sample_rate)

    def __call__(
        self, waveform: NDArray[np.float32], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Reverberate, then add noise, each with its probability.

        Args:
            waveform: Shape (samples,).
            rng: The only source of randomness.

        Returns:
            Same shape; ``waveform`` itself is never changed.
        """
        config = self.config
        # The same number of draws whatever happens keeps neighbouring options comparable.
        use_rir, use_noise = rng.random(2) < (config.rir_prob, config.noise_prob)
        rir, noise = rng.integers(0, (max(1, len(self.rirs)), max(1, len(self.noises))))
        snr_db = rng.uniform(config.min_snr_db, config.max_snr_db)
        if use_rir:
            waveform = reverberate(waveform, self.rirs[rir])
        if use_noise:
            waveform = add_noise(waveform, self.noises[noise], snr_db, rng)
        return waveform


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
    signal_power, noise_power = _power(waveform), _power(stretch)
    if signal_power == 0.0 or noise_power == 0.0:
        return waveform
    gain = np.sqrt(signal_power / noise_power / 10 ** (snr_db / 10))
    return waveform + np.float32(gain) * stretch


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
        faster = _resampler(ratio.numerator, ratio.denominator)(torch.from_numpy(waveform))
    result: NDArray[np.float32] = faster.numpy()
    return result


def load_folder(folder: str, sample_rate: int) -> list[NDArray[np.float32]]:
    """Read every audio file under a folder.

    Args:
        folder: Searched with its sub-folders, in sorted order.
        sample_rate: What the recordings are resampled to, in Hz. Of several channels the first is
            taken: a mean of channels would blur a room's direct path.

    Returns:
        One waveform per file, shape (samples,).

    Raises:
        DataError: If there is no audio, or a file cannot be read or holds only zeros.
    """
    files = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in _SUFFIXES)
    if not files:
        msg = f"{folder}: no audio files ({', '.join(sorted(_SUFFIXES))}) in it; check the path"
        raise DataError(msg)
    return [_load_any(file, sample_rate) for file in files]


def _load_any(file: Path, sample_rate: int) -> NDArray[np.float32]:
    """One file's first channel at ``sample_rate``.

    Raises:
        DataError: If it is not sound audio.
    """
    try:
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        msg = f"{file}: not readable as audio ({error}); restore or remove it"
        raise DataError(msg) from error
    first: NDArray[np.float32] = np.ascontiguousarray(samples[:, 0])
    if not np.isfinite(first).all() or not first.any():
        msg = f"{file}: empty, silent or not finite; restore or remove it"
        raise DataError(msg)
    if rate != sample_rate:
        first = resample(torch.from_numpy(first), rate, sample_rate).numpy()
    return first


@lru_cache(maxsize=32)
def _resampler(orig: int, new: int) -> Resample:
    """A resampler whose filter is computed once."""
    return Resample(orig, new)


def _power(samples: NDArray[np.float32]) -> float:
    """Mean square; in float64, so that long signals lose nothing."""
    return float(np.vdot(samples, samples)) / len(samples)
