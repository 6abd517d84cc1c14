"""What stands between a mouth and a file: a room, noise, a microphone and a codec."""

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from bbb.errors import ConfigError

_EQ_HZ = np.array([60.0, 250.0, 700.0, 1500.0, 3000.0, 5000.0, 8000.0])
_NARROW_RATE = 8000


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Ranges:
    """Ranges (lowest, highest) from which the channels of one kind are drawn."""

    low_hz: tuple[float, float]
    high_hz: tuple[float, float]
    ripple_db: float
    bits: int = 0
    block_seconds: float = 0.0


_KINDS = {
    "studio": _Ranges(low_hz=(40, 90), high_hz=(7200, 7900), ripple_db=1.0),
    "headset": _Ranges(low_hz=(90, 200), high_hz=(6000, 7600), ripple_db=1.5),
    "laptop": _Ranges(low_hz=(120, 280), high_hz=(5200, 7200), ripple_db=1.8),
    "telephone": _Ranges(low_hz=(250, 350), high_hz=(3200, 3700), ripple_db=1.2, bits=8),
    "codec": _Ranges(
        low_hz=(200, 400), high_hz=(2800, 3400), ripple_db=2.0, bits=6, block_seconds=0.02
    ),
}
TRAIN_CHANNELS = ("studio", "headset", "laptop", "telephone")
"""Kinds of channel that training sessions use."""
UNSEEN_CHANNELS = ("codec",)
"""Kinds of channel that only mismatched evaluation sessions use."""
NOISES = ("coloured", "babble", "hum")
"""Kinds of noise."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recording:
    """Room, noise and channel of one session.

    Attributes:
        channel: Kind of channel, a name of ``TRAIN_CHANNELS`` or ``UNSEEN_CHANNELS``.
        low_hz: Lower edge of the pass band.
        high_hz: Upper edge of the pass band.
        ripple_db: Gains of the microphone at seven frequencies from 60 to 8000 Hz.
        rt60: Reverberation time in seconds; 0 is an open field.
        direct_to_reverb_db: Energy of the direct sound over that of the reverberation.
        room_seed: Seed of the room's impulse response.
        noise: Kind of noise.
        noise_slope: Spectral slope of coloured noise: amplitude falls as ``hz ** -noise_slope``.
        hum_hz: Mains frequency, 50 or 60.
        snr_db: Speech over noise before the channel.
    """

    channel: str
    low_hz: float
    high_hz: float
    ripple_db: tuple[float, ...]
    rt60: float
    direct_to_reverb_db: float
    room_seed: int
    noise: str
    noise_slope: float
    hum_hz: float
    snr_db: float


def draw_recording(
    rng: np.random.Generator, *, channels: tuple[str, ...] = TRAIN_CHANNELS
) -> Recording:
    """Draw the circumstances of a session.

    Args:
        rng: Source of randomness.
        channels: Kinds of channel to choose from.

    Returns:
        The circumstances.

    Raises:
        ConfigError: If a kind of channel is unknown.
    """
    unknown = [kind for kind in channels if kind not in _KINDS]
    if unknown or not channels:
        msg = f"draw_recording expects channels of {sorted(_KINDS)}, got {list(channels)}"
        raise ConfigError(msg)
    kind = channels[int(rng.integers(len(channels)))]
    ranges = _KINDS[kind]
    return Recording(
        channel=kind,
        low_hz=float(rng.uniform(*ranges.low_hz)),
        high_hz=float(rng.uniform(*ranges.high_hz)),
        ripple_db=tuple(float(gain) for gain in ranges.ripple_db * rng.normal(size=_EQ_HZ.size)),
        rt60=float(rng.uniform(0.1, 0.35)),
        direct_to_reverb_db=float(rng.uniform(10.0, 22.0)),
        room_seed=int(rng.integers(2**31)),
        noise=NOISES[int(rng.choice(len(NOISES), p=[0.6, 0.25, 0.15]))],
        noise_slope=float(rng.uniform(0.0, 1.2)),
        hum_hz=float(rng.choice([50.0, 60.0])),
        snr_db=float(rng.uniform(18.0, 38.0)),
    )


def impulse_response(
    rt60: float, direct_to_reverb_db: float, sample_rate: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Room impulse response: the direct sound, then exponentially decaying noise.

    High frequencies decay 1.6 times as fast, as walls and air absorb them more.

    Args:
        rt60: Seconds until the reverberation has decayed by 60 dB.
        direct_to_reverb_db: Energy of the direct sound over that of the rest.
        sample_rate: Samples per second.
        rng: Source of randomness.

    Returns:
        The response, shape (rt60 * sample_rate,), with its direct sound of 1 at sample 0.
    """
    size = max(2, round(rt60 * sample_rate))
    seconds = np.arange(size) / sample_rate
    white = rng.standard_normal(size)
    low = np.convolve(white, np.full(8, 0.125))[:size]
    tail = 2.0 * low * 10.0 ** (-3.0 * seconds / max(rt60, 1e-3))
    tail += (white - low) * 10.0 ** (-3.0 * 1.6 * seconds / max(rt60, 1e-3))
    tail[: round(rng.uniform(0.001, 0.006) * sample_rate) + 1] = 0.0
    energy = float(np.sum(tail**2))
    if energy > 0:
        tail *= 10.0 ** (-direct_to_reverb_db / 20.0) / np.sqrt(energy)
    tail[0] = 1.0
    return tail


def channel_gain(recording: Recording, hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Amplitude response of the microphone and the line.

    Args:
        recording: The session's circumstances.
        hz: Frequencies, shape (bins,).

    Returns:
        Gains, shape (bins,); band edges fall by 24 dB (low) and 48 dB (high) per octave.
    """
    ripple = np.interp(np.log(np.maximum(hz, 1.0)), np.log(_EQ_HZ), recording.ripple_db)
    below = 1.0 / np.sqrt(1.0 + (recording.low_hz / np.maximum(hz, 1.0)) ** 8)
    above = 1.0 / np.sqrt(1.0 + (hz / recording.high_hz) ** 16)
    gains: NDArray[np.float64] = 10.0 ** (ripple / 20.0) * below * above
    return gains


def compand(
    signal: NDArray[np.float64], bits: int, *, block: int | None = None
) -> NDArray[np.float64]:
    """Quantise with the mu-law of telephony (mu = 255).

    Args:
        signal: Waveform, shape (samples,).
        bits: Bits per sample.
        block: Samples that share one scale factor, as in simple block codecs; by default one
            scale factor for the whole signal.

    Returns:
        The quantised waveform, shape (samples,).
    """
    size = block or signal.size
    rows = np.pad(signal, (0, -signal.size % size)).reshape(-1, size)
    scale = np.max(np.abs(rows), axis=1, keepdims=True) + 1e-12
    levels = 2.0 ** (bits - 1)
    pressed = np.sign(rows) * np.log1p(255.0 * np.abs(rows) / scale) / np.log(256.0)
    pressed = np.clip(np.floor(pressed * levels) + 0.5, -levels + 0.5, levels - 0.5) / levels
    out = np.sign(pressed) * np.expm1(np.abs(pressed) * np.log(256.0)) / 255.0 * scale
    flat: NDArray[np.float64] = out.ravel()[: signal.size]
    return flat


def _noise_spectrum(
    recording: Recording,
    size: int,
    hz: NDArray[np.float64],
    rng: np.random.Generator,
    babble: NDArray[np.float64],
) -> NDArray[np.complex128]:
    """Spectrum of the session's noise, of any scale."""
    if recording.noise == "babble":
        # Tile first: the pool may be shorter than the utterance.
        talkers = [np.resize(np.roll(row, int(rng.integers(row.size))), size) for row in babble]
        mixed = np.sum(talkers, axis=0)
        return np.asarray(fft.rfft(mixed), dtype=np.complex128)
    white = rng.standard_normal((2, hz.size), dtype=np.float32)
    shaped = (white[0] + 1j * white[1]) * np.maximum(hz, 50.0) ** -recording.noise_slope
    if recording.noise == "hum":
        samples = np.arange(size) * (2.0 * np.pi * recording.hum_hz * hz[-1] ** -1.0 / 2.0)
        tones = sum(np.sin(n * samples + rng.uniform(0, 6.28)) / n for n in (1, 2, 3, 5, 7, 9))
        line = np.asarray(fft.rfft(tones))
        shaped *= 0.5 * np.linalg.norm(line) / np.linalg.norm(shaped)
        shaped = shaped + line
    return np.asarray(shaped, dtype=np.complex128)


def record(
    speech: NDArray[np.float64],
    recording: Recording,
    sample_rate: int,
    rng: np.random.Generator,
    babble: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Put a dry voice into a session's room, noise and channel.

    Args:
        speech: Dry waveform, shape (samples,).
        recording: The session's circumstances.
        sample_rate: Samples per second, a multiple of 8000.
        rng: Source of randomness of this utterance's noise.
        babble: Other voices, shape (talkers, samples of any number).

    Returns:
        The recorded waveform of any level, shape (samples,).
    """
    room_rng = np.random.default_rng(recording.room_seed)
    room = impulse_response(recording.rt60, recording.direct_to_reverb_db, sample_rate, room_rng)
    step = 4 * sample_rate // _NARROW_RATE
    size = fft.next_fast_len(-(-(speech.size + room.size) // step)) * step
    hz = np.arange(size // 2 + 1) * (sample_rate / size)
    voice = fft.rfft(speech, size) * fft.rfft(room, size)
    noise = _noise_spectrum(recording, size, hz, rng, babble)
    wanted: float = 10.0 ** (-(recording.snr_db + rng.normal(0.0, 1.5)) / 20.0)
    wanted *= np.sqrt(size / speech.size)  # the voice is zero in the padding, the noise is not
    level = float(np.linalg.norm(voice) / (np.linalg.norm(noise) + 1e-12))
    mixed = (voice + noise * (wanted * level)) * channel_gain(recording, hz)
    ranges = _KINDS[recording.channel]
    if not ranges.bits:
        return np.asarray(fft.irfft(mixed, size)[: speech.size], dtype=np.float64)
    # Telephony is sampled at 8 kHz; cutting the spectrum is exact resampling.
    factor = sample_rate // _NARROW_RATE
    narrow_size = size // factor
    narrow = fft.irfft(mixed[: narrow_size // 2 + 1], narrow_size) / factor
    block = round(ranges.block_seconds * _NARROW_RATE) or None
    coded = fft.rfft(compand(narrow, ranges.bits, block=block))
    wide = np.zeros(hz.size, dtype=np.complex128)
    wide[: coded.size] = coded * factor
    return np.asarray(fft.irfft(wide, size)[: speech.size], dtype=np.float64)
