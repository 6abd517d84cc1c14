"""A corpus of four tone-like speakers, and a YAML file for a training of 6 steps on it."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from bbb.audio.datadir import DataDir
from bbb.cli.main import main

RATE = 8000
RECIPE = {
    "max_steps": 6,
    "features": {"sample_rate": RATE, "num_mels": 12, "num_ceps": 8, "high_freq": 3700.0},
    "chunks": {"batch_size": 4, "min_frames": 32, "max_frames": 40, "batches_per_epoch": 3},
    "spec_augment": None,
    "network": {"channels": 6, "pooled_channels": 8, "embed_dim": 6},
    "optim": {"lr": 0.02},
    "checkpoint_every": 2,
    "workers": 0,
    "accelerator": "cpu",
}


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of a data directory with 4 speakers x 2 utterances of half a second."""
    folder = tmp_path_factory.mktemp("speech")
    time = np.arange(RATE // 2) / RATE
    wavs, utt2spk = {}, {}
    for s in range(4):
        for u in range(2):
            noise = np.random.default_rng(10 * s + u).standard_normal(len(time))
            tones = sum(np.sin(2 * np.pi * (90 + 30 * s) * k * time) / k for k in range(1, 12))
            file = folder / f"s{s}-u{u}.wav"
            soundfile.write(file, 0.1 * tones + 0.002 * noise, RATE)
            wavs[file.stem], utt2spk[file.stem] = str(file), f"s{s}"
    return DataDir(folder / "data", wavs, utt2spk).write().path


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YAML file without ``data`` and ``output``."""
    file = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    file.write_text(yaml.safe_dump(RECIPE))
    return file


@pytest.fixture(scope="session")
def models(speech: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints of a plain and of a Bayesian extractor, trained by ``bbb train``."""
    folder = tmp_path_factory.mktemp("models")
    words = ["train", "--config", str(recipe), "--data", str(speech), "--output"]
    bayes = ["--bayes.layers", "[frame1]", "--bayes.sigma_init", "0.2"]
    assert main([*words, str(folder / "plain")]) == 0
    assert main([*words, str(folder / "bayesian"), *bayes]) == 0
    return {name: folder / name / "best.ckpt" for name in ("plain", "bayesian")}
