"""Synthetic speakers: source-filter voices that need no recording.

A voice is drawn once and stays: the length of its vocal tract, the shape, roughness and breath of
its glottal pulses, its pitch range and melody, its own formant targets for every sound, its nose,
its upper formants, and the rhythm in which it speaks. A session changes the voice a little (mood,
effort, a cold) and brings its own room, noise and channel. An utterance is a random sequence of
syllables, so no two say the same.

What this does *not* model: language, words, age, emotion, illness, room geometry, real codecs.
Formants are all that is left of articulation. Results on these voices tell whether a system works
and which of two systems is better at *this*; they say nothing about its error rate on people.

Everything is seeded by (seed, group, speaker, session, utterance), so that one utterance can be
made alone and does not change with the number of its neighbours.
"""

import functools

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.signal import resample_poly

from bbb.audio import phones, tract
from bbb.audio.glottis import RD_RANGE, glottal_source
from bbb.audio.recording import TRAIN_CHANNELS, UNSEEN_CHANNELS, record
from bbb.audio.speakers import REFERENCE_CM, Session, Voice, draw_session, draw_voice
from bbb.errors import ConfigError

__all__ = [
    "TRAIN_CHANNELS",
    "UNSEEN_CHANNELS",
    "VERSION",
    "Session",
    "Voice",
    "draw_session",
    "draw_voice",
    "speak",
    "synthesize",
]

VERSION = 1
"""Changes whenever the same seed gives other samples."""
_BABBLE_GROUP = 1_000_003
_RATE = 16_000  # of all synthesis; 8 kHz are made from it


def _smooth(track: NDArray[np.float64], seconds: float) -> NDArray[np.float64]:
    """Two passes of a running mean along axis 0, which together span ``seconds``."""
    size = max(1, round(seconds / tract.HOP_SECONDS / 2.0) * 2 - 1)
    once = uniform_filter1d(track, size, axis=0, mode="nearest")
    return np.asarray(uniform_filter1d(once, size, axis=0, mode="nearest"), dtype=np.float64)


def _pitch(
    voice: Voice, session: Session, score: phones.Score, sound: NDArray[np.int_]
) -> NDArray[np.float64]:
    """F0 in Hz per frame: phrases fall, syllables have accents, the last one moves its own way."""
    starts = np.cumsum(score.seconds) - score.seconds
    first = np.searchsorted(score.phrase, score.phrase)
    semitones = voice.f0_range * score.accents - voice.declination * (starts - starts[first])
    semitones = semitones + voice.final_rise * score.last
    # Without a floor a long, falling phrase would leave the voice's register.
    semitones = np.maximum(semitones, -7.0) + session.f0_shift
    track: NDArray[np.float64] = voice.f0 * 2.0 ** (_smooth(semitones[sound], 0.15) / 12.0)
    return track


def _tract_response(
    voice: Voice, session: Session, sound: NDArray[np.int_], sample_rate: int, hop: int
) -> NDArray[np.complex128]:
    """Response of throat, mouth and nose in each frame."""
    scale = REFERENCE_CM / (voice.tract_cm * session.tract_factor)
    targets = phones.FORMANTS * scale * np.exp(voice.formant_shift)
    lower = _smooth(targets[sound], voice.glide_seconds)
    upper = np.minimum(voice.upper_hz / session.tract_factor, 0.47 * sample_rate)
    hz = np.concatenate([lower, np.tile(upper, (len(sound), 1))], axis=1)
    width = (45.0 + 0.035 * hz) * voice.damping
    coupling = voice.nasality + session.nasality
    coupling_track = _smooth(np.maximum(phones.NASAL, min(coupling, 1.0))[sound], 0.03)
    pole = 280.0 * voice.nasal_scale
    zero = _smooth(phones.ZERO_HZ[sound] * voice.nasal_scale, 0.03)
    zero = pole + coupling_track * (zero - pole)
    notch = np.full_like(zero, min(voice.notch_hz, 0.46 * sample_rate))
    nose = np.full_like(zero, pole)
    roots = np.column_stack([hz, nose, notch])
    widths = np.column_stack([width, np.full_like(zero, 110.0), np.full_like(zero, 700.0)])
    denominator = tract.resonances(roots, widths, sample_rate)
    zeros = np.column_stack([zero, notch])
    numerator = tract.resonances(zeros, np.array([110.0, voice.notch_width]), sample_rate)
    return tract.response(numerator, denominator, hop)


def _hiss_response(
    voice: Voice, sound: NDArray[np.int_], sample_rate: int, hop: int
) -> NDArray[np.complex128]:
    """Response of the cavity before a constriction, with a mean power gain of 1."""
    centre = np.minimum(phones.HISS_HZ[sound] * voice.hiss_scale, 0.45 * sample_rate)
    hz, width = _smooth(centre, 0.02)[:, None], phones.HISS_WIDTH[sound][:, None]
    # The zero at 0 Hz is the sound's radiation from the lips.
    radiation = np.tile([1.0, -0.95], (len(sound), 1))
    shape = tract.response(radiation, tract.resonances(hz, width, sample_rate), hop)
    power = np.mean(np.abs(shape) ** 2, axis=1, keepdims=True)
    result: NDArray[np.complex128] = shape / np.sqrt(power)
    return result


def speak(
    voice: Voice,
    session: Session,
    seconds: float,
    sample_rate: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Say something, without room, noise or channel.

    Args:
        voice: Who speaks.
        session: How the voice is today.
        seconds: Duration.
        sample_rate: Samples per second, a multiple of 1000.
        rng: Source of randomness.

    Returns:
        The waveform of RMS 1, shape (seconds * sample_rate,).
    """
    hop = round(tract.HOP_SECONDS * sample_rate)
    samples = round(seconds * sample_rate)
    frames = -(-samples // hop)
    score = phones.compose(
        seconds,
        rng,
        rate=voice.rate * session.rate_factor,
        phrase_syllables=voice.phrase_syllables,
        pause_seconds=voice.pause_seconds,
        onset_seconds=voice.onset_seconds,
    )
    times = np.arange(frames + 1) * tract.HOP_SECONDS
    ends = np.cumsum(score.seconds)
    entry = np.minimum(np.searchsorted(ends, times, side="right"), len(ends) - 1)
    sound = score.phones[entry]

    def at_samples(track: NDArray[np.float64]) -> NDArray[np.float64]:
        """Interpolate a track of frames to samples."""
        positions = np.arange(frames * hop) / hop
        return np.asarray(np.interp(positions, np.arange(frames + 1), track), dtype=np.float64)

    source = glottal_source(
        at_samples(_pitch(voice, session, score, entry)),
        sample_rate,
        rng,
        rd=float(np.clip(voice.rd + session.rd_shift, *RD_RANGE)),
        jitter=voice.jitter,
        shimmer=voice.shimmer,
        creak=voice.creak,
        breath=voice.breath * session.breath_factor,
    )
    air = rng.standard_normal((2, frames * hop), dtype=np.float32)
    glottal = source * at_samples(_smooth(phones.VOICE[sound], 0.02))
    glottal += 0.15 * air[0] * at_samples(_smooth(phones.BREATH[sound], 0.016))
    hiss = 0.6 * voice.hiss_gain * air[1] * at_samples(_smooth(phones.HISS[sound], 0.016))
    spectra = tract.analyse(glottal, hop)
    spectra *= _tract_response(voice, session, sound, sample_rate, hop)
    spectra += tract.analyse(hiss, hop) * _hiss_response(voice, sound, sample_rate, hop)
    speech = tract.overlap_add(spectra, hop)[:samples]
    result: NDArray[np.float64] = speech / np.sqrt(np.mean(speech**2) + 1e-12)
    return result


def _generator(*key: int) -> np.random.Generator:
    """A stream of its own for each key, independent of how many others there are."""
    return np.random.default_rng(np.random.SeedSequence(key[0], spawn_key=key[1:]))


def _gender(speaker: int) -> str:
    return "fm"[speaker % 2]


@functools.lru_cache(maxsize=4)
def _babble(seed: int) -> NDArray[np.float64]:
    """Five strangers talking, shape (5, 6 seconds)."""
    rows = []
    for talker in range(5):
        rng = _generator(seed, _BABBLE_GROUP, talker)
        voice = draw_voice(rng, gender=_gender(talker))
        rows.append(speak(voice, Session(), 6.0, _RATE, rng))
    return np.stack(rows)


def synthesize(
    seed: int,
    group: int,
    speaker: int,
    session: int,
    utterance: int,
    *,
    seconds: tuple[float, float] = (3.0, 6.0),
    sample_rate: int = 16_000,
    channels: tuple[str, ...] = TRAIN_CHANNELS,
) -> NDArray[np.float32]:
    """Make one utterance of a corpus, alone and always the same.

    Args:
        seed: The corpus.
        group: Set of speakers, for example 0 for training and 1 for evaluation; two groups
            have no speaker in common.
        speaker: Number of the speaker in the group; even ones are women.
        session: Number of the session.
        utterance: Number of the utterance in the session.
        seconds: Shortest and longest duration.
        sample_rate: Samples per second: 8000 or 16000.
        channels: Kinds of channel that this session may have.

    Returns:
        The waveform in [-1, 1), shape (samples,).

    Raises:
        ConfigError: If the sample rate is another.
    """
    if sample_rate not in {8000, 16_000}:
        msg = f"synthesize expects sample_rate 8000 or 16000, got {sample_rate}"
        raise ConfigError(msg)
    voice = draw_voice(_generator(seed, group, speaker), gender=_gender(speaker))
    today = draw_session(_generator(seed, group, speaker, session), channels=channels)
    rng = _generator(seed, group, speaker, session, utterance)
    # Level and length belong to the utterance, so that neither betrays the speaker.
    level = 10.0 ** (rng.uniform(-34.0, -18.0) / 20.0)
    wet = speak(voice, today, float(rng.uniform(*seconds)), _RATE, rng)
    if today.recording is not None:
        wet = record(wet, today.recording, _RATE, rng, _babble(seed))
    if sample_rate < _RATE:
        wet = resample_poly(wet, 1, _RATE // sample_rate)
    wet *= level / np.sqrt(np.mean(wet**2) + 1e-12)
    # Rather quieter than clipped.
    return np.asarray(wet * min(1.0, 0.98 / float(np.max(np.abs(wet)))), dtype=np.float32)
