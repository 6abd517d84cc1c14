"""Bad input to a training: each is named, before the first step where that can be."""

import math
import sys
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
from bbb.errors import BBBError, ConfigError, DataError
from bbb.speaker.checkpoint import read_checkpoint
from bbb.speaker.config import BayesConfig, NetworkConfig, OptimConfig, TrainConfig
from bbb.speaker.module import SpeakerModule
from bbb.speaker.train import train

Make = Callable[..., TrainConfig]
Weights = Callable[[Path], dict[str, Tensor]]
TINY = {"channels": 6, "pooled_channels": 8, "embed_dim": 6}


def nothing_was_trained(config: TrainConfig) -> bool:
    """Whether the error came before the folder was made, and so before the first step."""
    return not Path(config.output).exists()


def spoil_missing(path: Path) -> None:
    path.unlink()


def spoil_empty(path: Path) -> None:
    path.write_bytes(b"")


def spoil_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:2000])


def spoil_rate(path: Path) -> None:
    samples, rate = soundfile.read(path, dtype="float32")
    soundfile.write(path, samples, 2 * rate)


def spoil_nan(path: Path) -> None:
    samples, rate = soundfile.read(path, dtype="float32")
    samples[100] = np.nan
    soundfile.write(path, samples, rate, subtype="FLOAT")


def spoil_silence(path: Path) -> None:
    samples, rate = soundfile.read(path, dtype="float32")
    soundfile.write(path, np.zeros_like(samples), rate)


def spoil_short(path: Path) -> None:
    samples, rate = soundfile.read(path, dtype="float32")
    soundfile.write(path, samples[:50], rate)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_missing, "spk2-utt1.wav: no such audio file"),
        (spoil_empty, "spk2-utt1.wav: the file is empty"),
        (spoil_truncated, "spk2-utt1.wav: truncated"),
        (spoil_rate, "spk2-utt1.wav: expected 8000 Hz, got 16000 Hz; resample"),
        (spoil_nan, "spk2-utt1.wav: sample 100 is not finite"),
        (spoil_silence, "utterance 'spk2-utt1': .*silence; drop the utterance"),
        (spoil_short, "utterance 'spk2-utt1' has 50 samples, a window needs 200"),
    ],
)
def test_a_bad_recording_is_named_before_the_first_step(
    own_corpus: DataDir,
    make_config: Make,
    steps: Any,
    *,
    spoil: Callable[[Path], None],
    message: str,
) -> None:
    spoil(Path(own_corpus.wavs["spk2-utt1"]))
    config = make_config(data=str(own_corpus.path), workers=1)
    with pytest.raises(DataError, match=message):
        train(config)
    assert not steps.loss
    assert nothing_was_trained(config)


def test_one_speaker_is_not_enough(tmp_path: Path, make_config: Make, corpus: DataDir) -> None:
    alone = corpus.subset(["spk0-utt0", "spk0-utt1"]).write(tmp_path / "alone")
    config = make_config(data=str(alone.path))
    with pytest.raises(DataError, match="at least 2 speakers, got 1; check utt2spk"):
        train(config)
    assert nothing_was_trained(config)


def test_a_missing_data_directory_is_named(make_config: Make, tmp_path: Path) -> None:
    with pytest.raises(BBBError, match="nowhere"):
        train(make_config(data=str(tmp_path / "nowhere")))


@pytest.mark.parametrize(
    ("changes", "memory"),
    [({}, 4e9), ({"devices": 5}, 0.8e9), ({"cache_gb": 0.0}, 0.0), ({"cache_gb": 2.5}, 2.5e9)],
)
def test_memory_for_speech_is_half_of_the_machine_or_as_asked(
    make_config: Make, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], memory: float
) -> None:
    module = sys.modules["bbb.speaker.train"]
    monkeypatch.setattr(module, "memory_limit", lambda: 8e9)
    assert module._memory(make_config(**changes)) == memory


def test_speakers_of_one_utterance_and_utterances_shorter_than_a_chunk(
    tmp_path: Path, make_config: Make, corpus: DataDir, steps: Any
) -> None:
    # 0.3 s are 30 frames, and every chunk has 60 to 80.
    few = corpus.subset(["spk0-utt0", "spk4-utt0"]).write(tmp_path / "few")
    chunks = ChunkConfig(batch_size=2, min_frames=60, max_frames=80, batches_per_epoch=3)
    train(make_config(data=str(few.path), chunks=chunks))
    assert len(steps.loss) == 12
    assert all(math.isfinite(loss) for loss in steps.loss)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "7-bit"}, "precision '7-bit' cannot be used here"),
        ({"accelerator": "abacus"}, "accelerator 'abacus' with"),
        ({"accelerator": "tpu"}, "accelerator 'tpu' with precision .* cannot be used here"),
        ({"chunks": ChunkConfig(min_frames=14)}, "chunks.min_frames is at least 15, .*, got 14"),
        ({"bayes": BayesConfig(layers=("fram1",))}, "'fram1' matches nothing"),
        ({"bayes": BayesConfig(layers=("frame1",), sigma_init=-1.0)}, "sigma_init"),
        ({"bayes": BayesConfig(layers=("frame1",), prior_sigma=0.0)}, "scale > 0, got 0.0"),
    ],
)
def test_options_that_cannot_work_are_refused_before_the_speech_is_read(
    make_config: Make, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(sys.modules["bbb.speaker.train"], "ChunkBatches", None)
    config = make_config(**changes)
    with pytest.raises(ConfigError, match=message):
        train(config)
    assert nothing_was_trained(config)


@pytest.mark.parametrize(
    ("bayes", "optim", "message"),
    [
        ({"prior": "pretrained", "baseline": "nowhere"}, {}, "nowhere/best.ckpt: no such check"),
        ({"start": "baseline"}, {"start": 0.25}, "step=3.ckpt: no such checkpoint"),
    ],
)
def test_a_missing_baseline_is_named(
    make_config: Make, baseline: Path, bayes: Any, optim: Any, message: str
) -> None:
    options = {"layers": ("frame1",), "baseline": str(baseline)} | bayes
    config = make_config(bayes=BayesConfig(**options), optim=OptimConfig(**optim))
    with pytest.raises(ConfigError, match=message):
        train(config)


@pytest.mark.parametrize("use", [{"prior": "pretrained"}, {"start": "baseline"}])
def test_a_baseline_of_another_architecture_is_refused(
    make_config: Make, baseline: Path, use: Any
) -> None:
    bayes = BayesConfig(layers=("frame1",), baseline=str(baseline), **use)
    config = make_config(bayes=bayes, network=NetworkConfig(**(TINY | {"channels": 7})))
    with pytest.raises(ConfigError, match=r"another architecture: 'frame1.affine.weight' is"):
        train(config)
    assert nothing_was_trained(config)


def test_a_baseline_with_another_head_is_refused(make_config: Make, baseline: Path) -> None:
    bayes = BayesConfig(layers=("frame1",), baseline=str(baseline), start="baseline")
    config = make_config(bayes=bayes, network=NetworkConfig(**TINY, head="am"))
    with pytest.raises(ConfigError, match=r"best.ckpt: checkpoint of another architecture: .*bias"):
        train(config)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_breaks_in_mid_training_is_named_without_a_traceback(
    make_config: Make, own_corpus: DataDir, workers: int
) -> None:
    broken = Path(own_corpus.wavs["spk0-utt0"])
    soundfile.write(broken, np.full(5600, np.nan), 8000, subtype="FLOAT")
    config = make_config(data=str(own_corpus.path), cache_gb=0.0, workers=workers)
    with pytest.raises(DataError, match=r"sample [0-9]+ is not finite; decode") as caught:
        train(config)
    assert str(caught.value).startswith(str(broken))


# -- divergence -----------------------------------------------------------------------------


def spoil_step(monkeypatch: pytest.MonkeyPatch, step: int, spoil: Callable[..., Tensor]) -> None:
    """Put the loss of one step through ``spoil``."""
    classify = SpeakerModule._classify

    def spoiled(self: SpeakerModule, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        nll, correct = classify(self, features, labels)
        return (spoil(nll) if self.global_step == step else nll), correct

    monkeypatch.setattr(SpeakerModule, "_classify", spoiled)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_and_leaves_the_last_checkpoint(
    make_config: Make, monkeypatch: pytest.MonkeyPatch, weights: Weights, value: float
) -> None:
    config = make_config()
    undisturbed = weights(train(make_config("other")))
    with monkeypatch.context() as patch:
        spoil_step(patch, 6, lambda nll: nll * value)
        with pytest.raises(DataError, match=rf"loss is {value} at step 6; lower optim.lr"):
            train(config)
    folder = Path(config.output)
    assert not (folder / "best.ckpt").exists()
    last = read_checkpoint(folder / "last.ckpt")
    assert last["global_step"] == 4
    assert all(value.isfinite().all() for value in last["state_dict"].values())
    # The weights were not touched either: what goes on from there is what would have been.
    resumed = weights(train(config))
    assert all(torch.equal(resumed[name], value) for name, value in undisturbed.items())


class BadGradient(torch.autograd.Function):
    """The identity, with a gradient that is no number."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # noqa: ARG004
        return grad * math.nan


@pytest.mark.parametrize("every", [1, 4])
def test_weights_that_are_no_number_do_not_overwrite_a_checkpoint(
    make_config: Make, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    config = make_config(checkpoint_every=every)
    spoil_step(monkeypatch, 6, BadGradient.apply)
    with pytest.raises(DataError, match=r"not finite at step 7|loss is nan at step 7"):
        train(config)
    last = read_checkpoint(Path(config.output) / "last.ckpt")
    assert last["global_step"] == (6 if every == 1 else 4)
    assert all(value.isfinite().all() for value in last["state_dict"].values())
