"""A corpus of five tone-like speakers, and a training on it that takes a second."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from bbb.audio.datadir import DataDir
from bbb.audio.dataset import ChunkConfig
from bbb.audio.features import FeatureConfig
from bbb.speaker.config import BayesConfig, NetworkConfig, OptimConfig, TrainConfig
from bbb.speaker.module import SpeakerModule
from bbb.speaker.train import train

RATE = 8000
SPEAKERS = 5
FEATURES = FeatureConfig(sample_rate=RATE, num_mels=12, num_ceps=8, high_freq=3700.0)


def make_voice(seconds: float, pitch: float, seed: int) -> np.ndarray:
    """Harmonics of ``pitch`` that swell three times a second, with a little noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    tones = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 12))
    swell = 0.55 + 0.45 * np.sin(2 * np.pi * 3 * time + seed)
    return (0.1 * swell * tones + 0.002 * rng.standard_normal(len(time))).astype(np.float32)


def write_corpus(folder: Path) -> DataDir:
    """5 speakers x 3 utterances; the last speaker has one alone, and it is 0.3 s short."""
    wavs, utt2spk = {}, {}
    for s in range(SPEAKERS):
        for u in range(3 if s < SPEAKERS - 1 else 1):
            utterance = f"spk{s}-utt{u}"
            path = folder / "wav" / f"{utterance}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            seconds = 0.7 if s < SPEAKERS - 1 else 0.3
            soundfile.write(path, make_voice(seconds, 90 + 30 * s, seed=10 * s + u), RATE)
            wavs[utterance], utt2spk[utterance] = str(path), f"spk{s}"
    return DataDir(folder / "data", wavs, utt2spk).write()


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> DataDir:
    """A data directory that no test may change."""
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def own_corpus(tmp_path: Path) -> DataDir:
    """A data directory that a test may spoil."""
    return write_corpus(tmp_path / "corpus")


def tiny_config(data: Path, output: Path, **changes: Any) -> TrainConfig:
    """12 steps of a network with about 2,000 weights; chunks of 32 to 40 frames."""
    config = TrainConfig(
        data=str(data),
        output=str(output),
        max_steps=12,
        seed=1,
        features=FEATURES,
        chunks=ChunkConfig(batch_size=5, min_frames=32, max_frames=40, batches_per_epoch=4),
        spec_augment=None,
        network=NetworkConfig(channels=6, pooled_channels=8, embed_dim=6),
        optim=OptimConfig(lr=0.02),
        checkpoint_every=4,
        workers=0,
        accelerator="cpu",
    )
    return dataclasses.replace(config, **changes)


@pytest.fixture
def make_config(corpus: DataDir, tmp_path: Path) -> Callable[..., TrainConfig]:
    """A function that makes ``tiny_config`` of the shared corpus, in a folder of this test."""

    def make(output: str = "exp", **changes: Any) -> TrainConfig:
        data = changes.pop("data", corpus.path)
        return tiny_config(data, tmp_path / output, **changes)

    return make


@pytest.fixture(scope="session")
def baseline(corpus: DataDir, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Experiment folder of a trained plain x-vector with ``step=6.ckpt``."""
    folder = tmp_path_factory.mktemp("baseline")
    train(tiny_config(corpus.path, folder, keep_steps=(6,)))
    return folder


@pytest.fixture(scope="session")
def bayesian(corpus: DataDir, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Experiment folder of a trained Bayesian x-vector, all frame layers, wide posterior."""
    folder = tmp_path_factory.mktemp("bayesian")
    bayes = BayesConfig(layers=("frame*",), sigma_init=0.1, kl_weight=0.1)
    train(tiny_config(corpus.path, folder, bayes=bayes))
    return folder


@pytest.fixture(scope="session")
def weights() -> Callable[[Path], dict[str, Tensor]]:
    """A function that reads the weights in a checkpoint."""

    def read(path: Path) -> dict[str, Tensor]:
        state: dict[str, Tensor] = torch.load(path, weights_only=True)["state_dict"]
        return state

    return read


@pytest.fixture(scope="session")
def tiny() -> Callable[..., TrainConfig]:
    """The function ``tiny_config``."""
    return tiny_config


@dataclasses.dataclass
class Steps:
    """What happened at each step."""

    loss: list[float] = dataclasses.field(default_factory=list)
    kl: list[float] = dataclasses.field(default_factory=list)
    nll: list[list[float]] = dataclasses.field(default_factory=list)
    lr: list[float] = dataclasses.field(default_factory=list)
    margin: list[float] = dataclasses.field(default_factory=list)
    place: list[int] = dataclasses.field(default_factory=list)
    first_state: dict[str, Tensor] = dataclasses.field(default_factory=dict)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """A record that fills while a training runs."""
    record = Steps()
    step, classify = SpeakerModule.training_step, SpeakerModule._classify

    def training_step(self: SpeakerModule, batch: Any, index: int) -> Tensor:
        if not record.place:
            record.first_state = {k: v.clone() for k, v in self.state_dict().items()}
        record.nll.append([])
        record.place.append(self.global_step)
        record.lr.append(self.optimizers().param_groups[0]["lr"])
        record.margin.append(float(getattr(self.head, "margin", math.nan)))
        loss = step(self, batch, index)
        record.loss.append(loss.item())
        record.kl.append(float(self.trainer.callback_metrics["kl"]))
        return loss

    def spied(self: SpeakerModule, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        nll, correct = classify(self, features, labels)
        record.nll[-1].append(nll.item())
        return nll, correct

    monkeypatch.setattr(SpeakerModule, "training_step", training_step)
    monkeypatch.setattr(SpeakerModule, "_classify", spied)
    return record
