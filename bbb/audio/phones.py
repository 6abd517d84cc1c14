"""The sounds that a synthetic voice can make, and random utterances made of them.

Vowel targets are the means of the 33 men of Peterson & Barney (1952), *Control methods used in a
study of the vowels*, JASA 24; the consonants have the usual locus targets of formant synthesis.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phone:
    """Targets of one sound, for the reference vocal tract of 17.3 cm.

    Attributes:
        formants: F1, F2 and F3 in Hz.
        seconds: Usual duration at a speaking rate of 1.
        voice: Amplitude of the glottal source, 0 to 1.
        breath: Amplitude of the noise that passes the whole tract, 0 to 1.
        hiss: Amplitude of the noise made at the constriction, 0 to 1.
        hiss_hz: Centre of that noise.
        hiss_width: Bandwidth of that noise in Hz.
        nasal: Coupling of the nose, 0 to 1.
        zero_hz: Antiformant of the closed mouth behind a nasal.
        weight: Relative frequency of use.
    """

    formants: tuple[float, float, float]
    seconds: float = 0.07
    voice: float = 0.0
    breath: float = 0.0
    hiss: float = 0.0
    hiss_hz: float = 3000.0
    hiss_width: float = 2000.0
    nasal: float = 0.0
    zero_hz: float = 1000.0
    weight: float = 1.0


def _vowel(f1: float, f2: float, f3: float, *, seconds: float = 0.1, weight: float = 1.0) -> Phone:
    return Phone(formants=(f1, f2, f3), seconds=seconds, voice=1.0, weight=weight)


_VOWELS = {
    "iy": _vowel(270, 2290, 3010, seconds=0.11),
    "ih": _vowel(390, 1990, 2550, seconds=0.08, weight=1.5),
    "eh": _vowel(530, 1840, 2480, seconds=0.09),
    "ae": _vowel(660, 1720, 2410, seconds=0.13),
    "ah": _vowel(640, 1190, 2390, seconds=0.08, weight=1.8),
    "aa": _vowel(730, 1090, 2440, seconds=0.13),
    "ao": _vowel(570, 840, 2410, seconds=0.13),
    "uh": _vowel(440, 1020, 2240, seconds=0.08, weight=0.6),
    "uw": _vowel(300, 870, 2240, seconds=0.11),
    "er": _vowel(490, 1350, 1690, seconds=0.12, weight=0.7),
}
_CONSONANTS = {
    "m": Phone(formants=(250, 1000, 2200), voice=0.5, nasal=1.0, zero_hz=900),
    "n": Phone(formants=(250, 1700, 2600), voice=0.5, nasal=1.0, zero_hz=1600, weight=2.0),
    "ng": Phone(formants=(250, 2100, 2700), voice=0.5, nasal=1.0, zero_hz=2900, weight=0.5),
    "l": Phone(formants=(360, 1150, 2800), voice=0.7, weight=1.2),
    "r": Phone(formants=(350, 1150, 1550), voice=0.7, weight=1.2),
    "w": Phone(formants=(290, 680, 2200), voice=0.7, seconds=0.06),
    "y": Phone(formants=(270, 2250, 3000), voice=0.7, seconds=0.06, weight=0.6),
    "s": Phone(
        formants=(320, 1700, 2600), hiss=0.8, hiss_hz=5400, hiss_width=1800, seconds=0.1, weight=1.8
    ),
    "z": Phone(
        formants=(300, 1700, 2600),
        voice=0.35,
        hiss=0.4,
        hiss_hz=5400,
        hiss_width=1800,
        seconds=0.08,
    ),
    "sh": Phone(
        formants=(320, 1900, 2500), hiss=0.9, hiss_hz=3100, hiss_width=1300, seconds=0.1, weight=0.6
    ),
    "f": Phone(formants=(320, 1100, 2300), hiss=0.22, hiss_hz=5500, hiss_width=6000, seconds=0.09),
    "v": Phone(formants=(300, 1100, 2300), voice=0.4, hiss=0.1, hiss_hz=5500, hiss_width=6000),
    "h": Phone(formants=(550, 1400, 2450), breath=0.6, seconds=0.06),
}
# A stop is two sounds: the closure, and a burst whose length the voice sets (its voice onset time).
_CLOSURES = {
    "p_": Phone(formants=(220, 900, 2250), weight=0.8),
    "t_": Phone(formants=(240, 1750, 2700), weight=1.5),
    "k_": Phone(formants=(240, 2050, 2450)),
    "b_": Phone(formants=(220, 900, 2250), voice=0.12),
    "d_": Phone(formants=(240, 1750, 2700), voice=0.12, weight=1.2),
    "g_": Phone(formants=(240, 2050, 2450), voice=0.12, weight=0.7),
}
_BURSTS = {
    "p": Phone(formants=(400, 1000, 2300), breath=0.35, hiss=0.35, hiss_hz=1200, hiss_width=2500),
    "t": Phone(formants=(400, 1750, 2700), breath=0.4, hiss=0.8, hiss_hz=4200, hiss_width=2500),
    "k": Phone(formants=(400, 2000, 2450), breath=0.4, hiss=0.7, hiss_hz=2100, hiss_width=900),
    "b": Phone(formants=(350, 1000, 2300), voice=0.4, hiss=0.25, hiss_hz=1000, hiss_width=2500),
    "d": Phone(formants=(350, 1750, 2700), voice=0.4, hiss=0.5, hiss_hz=4000, hiss_width=2500),
    "g": Phone(formants=(350, 2000, 2450), voice=0.4, hiss=0.45, hiss_hz=2000, hiss_width=900),
}
_PAUSE = {"pause": Phone(formants=(500, 1500, 2500), seconds=0.2)}

_ALL = _VOWELS | _CONSONANTS | _CLOSURES | _BURSTS | _PAUSE
NAMES = tuple(_ALL)
"""Names of the sounds; a sound is its index in this tuple."""


def _column(name: str) -> NDArray[np.float64]:
    return np.array([getattr(phone, name) for phone in _ALL.values()], dtype=np.float64)


FORMANTS = _column("formants")
SECONDS = _column("seconds")
VOICE = _column("voice")
BREATH = _column("breath")
HISS = _column("hiss")
HISS_HZ = _column("hiss_hz")
HISS_WIDTH = _column("hiss_width")
NASAL = _column("nasal")
ZERO_HZ = _column("zero_hz")
PAUSE = NAMES.index("pause")

_HAS_ONSET = 0.85  # share of the syllables that begin with a consonant
_HAS_CODA = 0.35
_NUM_VOWELS = len(_VOWELS)
_FIRST_CLOSURE = _NUM_VOWELS + len(_CONSONANTS)
_ONSETS = np.arange(_NUM_VOWELS, _FIRST_CLOSURE + len(_CLOSURES))
_CODAS = np.array([NAMES.index(name) for name in ("m", "n", "ng", "l", "r", "s", "z", "f", "sh")])
_WEIGHTS = _column("weight")


def _chances(candidates: NDArray[np.int_]) -> NDArray[np.float64]:
    weights: NDArray[np.float64] = _WEIGHTS[candidates]
    return np.asarray(weights / weights.sum(), dtype=np.float64)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """What is said, and when: one entry per sound.

    Attributes:
        phones: Index of each sound in ``NAMES``, shape (sounds,).
        seconds: Duration of each sound, shape (sounds,).
        accents: Pitch accent of the syllable, standard normal, shape (sounds,).
        phrase: Number of the phrase that the sound belongs to, shape (sounds,).
        last: True in the last syllable of a phrase, shape (sounds,).
    """

    phones: NDArray[np.int_]
    seconds: NDArray[np.float64]
    accents: NDArray[np.float64]
    phrase: NDArray[np.int_]
    last: NDArray[np.bool_]


def _syllable(rng: np.random.Generator) -> list[int]:
    """Draw consonant, vowel and perhaps a final consonant."""
    sounds: list[int] = []
    if rng.random() < _HAS_ONSET:
        onset = int(rng.choice(_ONSETS, p=_chances(_ONSETS)))
        sounds.append(onset)
        if onset >= _FIRST_CLOSURE:
            sounds.append(onset + len(_CLOSURES))
    vowels = np.arange(_NUM_VOWELS)
    sounds.append(int(rng.choice(vowels, p=_chances(vowels))))
    if rng.random() < _HAS_CODA:
        sounds.append(int(rng.choice(_CODAS, p=_chances(_CODAS))))
    return sounds


def compose(
    seconds: float,
    rng: np.random.Generator,
    *,
    rate: float = 1.0,
    phrase_syllables: float = 8.0,
    pause_seconds: float = 0.25,
    onset_seconds: float = 0.05,
) -> Score:
    """Draw an utterance of random syllables in phrases.

    Args:
        seconds: Duration to reach; the utterance is cut or padded to it by the caller.
        rng: Source of randomness.
        rate: Speaking rate, 1 for about 4.5 syllables per second.
        phrase_syllables: Mean number of syllables between two pauses.
        pause_seconds: Mean length of a pause.
        onset_seconds: Length of the burst of a voiceless stop.

    Returns:
        The sounds with their durations; it begins and ends with a pause.
    """
    rows: list[tuple[int, float, float, int, bool]] = [(PAUSE, 0.1, 0.0, 0, False)]
    spent, phrase = 0.1, 0
    voiceless = {NAMES.index(name) for name in ("p", "t", "k")}
    while spent < seconds:
        length = max(2, int(rng.poisson(phrase_syllables)))
        for syllable in range(length):
            accent, last = float(rng.standard_normal()), syllable == length - 1
            for sound in _syllable(rng):
                usual = onset_seconds if sound in voiceless else SECONDS[sound]
                usual = 0.02 if NAMES[sound] in {"b", "d", "g"} else usual
                drawn = usual * float(np.exp(0.25 * rng.standard_normal())) / rate
                drawn *= 1.4 if last else 1.0
                rows.append((sound, drawn, accent, phrase, last))
                spent += drawn
            if spent >= seconds:
                break
        pause = pause_seconds * float(np.exp(0.4 * rng.standard_normal()))
        rows.append((PAUSE, pause, 0.0, phrase, False))
        spent += pause
        phrase += 1
    phones, durations, accents, phrases, lasts = zip(*rows, strict=True)
    return Score(
        phones=np.array(phones),
        seconds=np.array(durations),
        accents=np.array(accents),
        phrase=np.array(phrases),
        last=np.array(lasts),
    )
