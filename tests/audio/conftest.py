"""A small corpus of tones in noise, written to disk, for the tests of the audio room."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bbb.audio.datadir import DataDir

RATE = 16000


def make_voice(seconds: float, pitch: float = 120.0, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """Harmonics of ``pitch`` that swell three times a second, with a little noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    harmonics = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 12))
    swell = 0.55 + 0.45 * np.sin(2 * np.pi * 3 * time)
    return (0.1 * swell * harmonics + 0.002 * rng.standard_normal(len(time))).astype(np.float32)


@pytest.fixture(scope="session")
def voice() -> Callable[..., np.ndarray]:
    """The function ``make_voice``."""
    return make_voice


@pytest.fixture
def make_corpus(tmp_path: Path) -> Callable[..., DataDir]:
    """A function that writes ``speakers`` x ``utterances`` wav files and their data directory."""

    def make(speakers: int = 3, utterances: int = 2, seconds: float = 1.0) -> DataDir:
        wavs, utt2spk = {}, {}
        for s in range(speakers):
            for u in range(utterances):
                utterance = f"spk{s}-utt{u}"
                path = tmp_path / "wav" / f"{utterance}.wav"
                path.parent.mkdir(exist_ok=True)
                soundfile.write(path, make_voice(seconds, 90 + 25 * s, seed=10 * s + u), RATE)
                wavs[utterance], utt2spk[utterance] = str(path), f"spk{s}"
        durations = dict.fromkeys(wavs, float(seconds))
        return DataDir(tmp_path / "data", wavs, utt2spk, durations=durations).write()

    return make
