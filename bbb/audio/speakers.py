"""Who speaks, and in which circumstances: random voices and random sessions."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from bbb.audio import phones
from bbb.audio.recording import TRAIN_CHANNELS, Recording, draw_recording
from bbb.errors import ConfigError

REFERENCE_CM = 17.3
"""Length of the vocal tract that the targets in :mod:`bbb.audio.phones` belong to."""
_NEUTRAL_HZ = np.array([500.0, 1500.0, 2500.0])
_UPPER_HZ = np.array([3500.0, 4500.0, 5500.0, 6500.0])


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Voice:
    """Everything that stays the same in a speaker.

    Attributes:
        gender: ``"f"`` or ``"m"``.
        tract_cm: Length of the vocal tract.
        f0: Median fundamental frequency in Hz.
        f0_range: Standard deviation of the pitch accents in semitones.
        declination: Fall of the pitch in a phrase, semitones per second.
        final_rise: Pitch movement on the last syllable of a phrase, semitones.
        rd: Shape of the glottal pulse, see :func:`bbb.audio.glottis.lf_pulse`.
        jitter: Irregularity of the glottal instants, in periods.
        shimmer: Irregularity of the pulses' amplitude.
        creak: How much every second pulse is weaker, 0 to 1.
        breath: Amplitude of the aspiration in voiced sounds.
        formant_shift: Logarithm of the factor on F1 to F3 of each sound, shape (phones, 3).
        upper_hz: F4 to F7 of this tract, shape (4,).
        damping: Factor on all bandwidths.
        nasality: Coupling of the nose in sounds that are not nasal, 0 to 1.
        nasal_scale: Factor on the frequencies of the nose.
        notch_hz: Antiresonance of the piriform fossae.
        notch_width: Bandwidth of that antiresonance in Hz.
        hiss_scale: Factor on the centre frequencies of fricatives.
        hiss_gain: Factor on the amplitude of fricatives.
        rate: Speaking rate, 1 is about 4.5 syllables per second.
        phrase_syllables: Mean number of syllables between two pauses.
        pause_seconds: Mean length of a pause.
        onset_seconds: Length of the burst of voiceless stops.
        glide_seconds: Time in which the formants move from one sound to the next.
    """

    gender: str
    tract_cm: float
    f0: float
    f0_range: float
    declination: float
    final_rise: float
    rd: float
    jitter: float
    shimmer: float
    creak: float
    breath: float
    formant_shift: NDArray[np.float64]
    upper_hz: NDArray[np.float64]
    damping: float
    nasality: float
    nasal_scale: float
    notch_hz: float
    notch_width: float
    hiss_scale: float
    hiss_gain: float
    rate: float
    phrase_syllables: float
    pause_seconds: float
    onset_seconds: float
    glide_seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Session:
    """What one day changes in a voice, and where it was recorded.

    Attributes:
        f0_shift: Change of the pitch in semitones.
        tract_factor: Factor on the length of the tract.
        rd_shift: Change of the glottal shape.
        breath_factor: Factor on the aspiration.
        nasality: Added to the voice's nasality (a cold).
        rate_factor: Factor on the speaking rate.
        recording: Room, noise and channel.
    """

    f0_shift: float = 0.0
    tract_factor: float = 1.0
    rd_shift: float = 0.0
    breath_factor: float = 1.0
    nasality: float = 0.0
    rate_factor: float = 1.0
    recording: Recording | None = None


def _around(rng: np.random.Generator, median: float, spread: float) -> float:
    """Draw a positive number; ``spread`` is the standard deviation of its logarithm."""
    return float(median * np.exp(spread * rng.standard_normal()))


def draw_voice(rng: np.random.Generator, *, gender: str) -> Voice:
    """Draw a speaker.

    Args:
        rng: Source of randomness.
        gender: ``"f"`` or ``"m"``.

    Returns:
        The voice.

    Raises:
        ConfigError: If ``gender`` is neither.
    """
    if gender not in {"f", "m"}:
        msg = f"draw_voice expects gender 'f' or 'm', got {gender!r}"
        raise ConfigError(msg)
    man = gender == "m"
    cm = _around(rng, 17.0, 0.085) if man else _around(rng, 14.7, 0.085)
    scale = REFERENCE_CM / cm
    # Habits: a wide or narrow vowel space, an offset of each formant, and one of each sound.
    space = np.exp(rng.normal(0.0, 0.2, size=3)) - 1.0
    own = space * np.log(phones.FORMANTS / _NEUTRAL_HZ)
    own = own + rng.normal(0.0, 0.07, size=3) + rng.normal(0.0, 0.08, size=own.shape)
    return Voice(
        gender=gender,
        tract_cm=cm,
        f0=_around(rng, 118.0, 0.24) if man else _around(rng, 205.0, 0.2),
        f0_range=_around(rng, 1.8, 0.35),
        declination=float(rng.uniform(0.0, 2.5)),
        final_rise=float(rng.normal(-1.5, 2.0)),
        rd=float(np.clip(rng.normal(1.0 if man else 1.3, 0.4), 0.5, 2.3)),
        jitter=_around(rng, 0.008, 0.4),
        shimmer=_around(rng, 0.06, 0.4),
        creak=float(max(0.0, rng.uniform(-0.5, 0.35))),
        breath=_around(rng, 0.03, 0.8),
        formant_shift=own,
        upper_hz=_UPPER_HZ * scale * np.exp(rng.normal(0.0, 0.07, size=4)),
        damping=_around(rng, 1.0, 0.35),
        nasality=float(rng.uniform(0.0, 0.3)),
        nasal_scale=_around(rng, scale**0.5, 0.1),
        notch_hz=_around(rng, 4600.0 * scale, 0.07),
        notch_width=_around(rng, 180.0, 0.5),
        hiss_scale=_around(rng, scale**0.5, 0.13),
        hiss_gain=_around(rng, 1.0, 0.5),
        rate=_around(rng, 1.0, 0.16),
        phrase_syllables=float(rng.uniform(5.0, 12.0)),
        pause_seconds=_around(rng, 0.25, 0.3),
        onset_seconds=float(rng.uniform(0.025, 0.075)),
        glide_seconds=float(rng.uniform(0.04, 0.1)),
    )


def draw_session(
    rng: np.random.Generator, *, channels: tuple[str, ...] = TRAIN_CHANNELS
) -> Session:
    """Draw a session: how the speaker's voice is today, and where it is recorded.

    Args:
        rng: Source of randomness.
        channels: Kinds of channel to choose from.

    Returns:
        The session.
    """
    return Session(
        f0_shift=float(rng.normal(0.0, 0.6)),
        tract_factor=_around(rng, 1.0, 0.008),
        rd_shift=float(rng.normal(0.0, 0.08)),
        breath_factor=_around(rng, 1.0, 0.2),
        nasality=float(max(0.0, rng.normal(0.0, 0.05))),
        rate_factor=_around(rng, 1.0, 0.06),
        recording=draw_recording(rng, channels=channels),
    )
