"""Training that was killed, interrupted, or met a full disk goes on as if nothing had been."""

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from bbb.audio.datadir import DataDir
from bbb.audio.dataset import ChunkConfig
from bbb.audio.specaugment import SpecAugmentConfig
from bbb.errors import ConfigError
from bbb.speaker.checkpoint import read_checkpoint
from bbb.speaker.config import BayesConfig, NetworkConfig, TrainConfig
from bbb.speaker.module import SpeakerModule
from bbb.speaker.provenance import plain
from bbb.speaker.saving import STOPPING
from bbb.speaker.train import train

Make = Callable[..., TrainConfig]
Weights = Callable[[Path], dict[str, Tensor]]

# Dropout, masks, weight draws and a growing margin: everything that a resumed run could lose.
RANDOM: dict[str, Any] = {
    "network": NetworkConfig(
        channels=6, pooled_channels=8, embed_dim=6, head="aam", dropout=0.3, margin_warmup=1.0
    ),
    "bayes": BayesConfig(
        layers=("frame*",), sigma_init=0.1, prior="scale_mixture", kl_warmup=0.9, draws=2
    ),
    "spec_augment": SpecAugmentConfig(freq_width=2),
    "average": 3,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "random": RANDOM,
    "worker": {"workers": 1, **RANDOM},
    # Epochs of 2 batches, so that the kill comes in the middle of the fourth.
    "sequence": {
        "chunks": ChunkConfig(batch_size=5, min_frames=32, max_frames=40, order="sequence"),
        "cache_gb": 0.0,
        "workers": 1,
    },
    "write": RANDOM,
    "end": RANDOM,
}
# Each configuration is trained in a child of its own, which dies by SIGKILL: in the middle of step
# 7, in the middle of writing the second checkpoint, or when all is done but the last file.
KILLED = """
import json, os, signal, sys
from pathlib import Path
from bbb.speaker.checkpoint import unpack_config
from bbb.speaker.module import SpeakerModule
from bbb.speaker.train import train

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def die_at_step_7(self, batch, index, step=SpeakerModule.training_step):
    if self.global_step == 7:
        die()
    return step(self, batch, index)

def half(self, content, write=Path.write_bytes):
    if self.name.startswith(".last.") and "last.ckpt" in os.listdir(self.parent):
        write(self, bytes(content)[:1000])
        die()
    return write(self, content)

def end(self, path, replace=Path.replace):
    return die() if Path(path).name == "best.ckpt" else replace(self, path)

for name, packed in json.load(sys.stdin).items():
    child = os.fork()
    if child == 0:
        if name == "write":
            Path.write_bytes = half
        elif name == "end":
            Path.replace = end
        else:
            SpeakerModule.training_step = die_at_step_7
        train(unpack_config(packed))
        os._exit(0)
    print(name, os.WTERMSIG(os.waitpid(child, 0)[1]))
"""


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether all weights are equal to the last bit."""
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.fixture(scope="module")
def killed(
    corpus: DataDir, tmp_path_factory: pytest.TempPathFactory, tiny: Make
) -> dict[str, TrainConfig]:
    """Configurations of trainings that were killed, by the names of ``VARIANTS``."""
    folder = tmp_path_factory.mktemp("killed")
    configs = {
        name: tiny(corpus.path, folder / name, **changes) for name, changes in VARIANTS.items()
    }
    packed = {name: {"format": 1, "config": plain(config)} for name, config in configs.items()}
    run = subprocess.run(
        [sys.executable, "-c", KILLED],
        input=json.dumps(packed),
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert run.stdout.split("\n")[:-1] == [f"{name} {int(signal.SIGKILL)}" for name in VARIANTS]
    return configs


@pytest.mark.parametrize(
    ("name", "step"),
    [("plain", 4), ("random", 4), ("worker", 4), ("sequence", 4), ("write", 4), ("end", 12)],
)
def test_the_same_command_after_a_kill_ends_with_the_same_weights(
    killed: dict[str, TrainConfig], tmp_path: Path, weights: Weights, name: str, step: int
) -> None:
    config = killed[name]
    folder = Path(config.output)
    assert not (folder / "best.ckpt").exists()
    # What the kill left half written is not under the final name.
    assert bool(list(folder.glob(".last.*.ckpt"))) == (name == "write")
    assert read_checkpoint(folder / "last.ckpt")["global_step"] == step
    undisturbed = weights(train(dataclasses.replace(config, output=str(tmp_path / "undisturbed"))))
    assert same(weights(train(config)), undisturbed)
    # One folder of metrics per start.
    assert len(list((folder / "metrics").iterdir())) == 2
    assert not list(folder.glob(".*.ckpt"))


@pytest.fixture
def keyboard() -> Iterator[None]:
    """Python's own handler of Ctrl-C: a process in the background was started without it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("keyboard")
@pytest.mark.parametrize("number", STOPPING)
def test_an_interrupt_is_one_and_leaves_the_handlers(
    make_config: Make, monkeypatch: pytest.MonkeyPatch, weights: Weights, number: signal.Signals
) -> None:
    step = SpeakerModule.training_step

    def interrupted(module: SpeakerModule, batch: Any, index: int) -> Tensor:
        if module.global_step == 5:
            assert signal.getsignal(number) is not signal.SIG_DFL  # it would end the tests
            os.kill(os.getpid(), number)
        return step(module, batch, index)

    config = make_config(**RANDOM)
    before = [signal.getsignal(each) for each in STOPPING]
    message = rf"stopped by {number.name} after step 6 of 12, .*last.ckpt; give the same command"
    with monkeypatch.context() as patch:
        patch.setattr(SpeakerModule, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt, match=message):
            train(config)
    assert [signal.getsignal(each) for each in STOPPING] == before
    folder = Path(config.output)
    assert not (folder / "best.ckpt").exists()
    # The step that it came in was finished; it is no multiple of checkpoint_every.
    assert read_checkpoint(folder / "last.ckpt")["global_step"] == 6
    undisturbed = weights(train(make_config("undisturbed", **RANDOM)))
    assert same(weights(train(config)), undisturbed)


def test_a_second_interrupt_does_not_wait_for_the_step(
    make_config: Make,
    monkeypatch: pytest.MonkeyPatch,
    keyboard: None,  # noqa: ARG001
) -> None:
    def interrupted(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(SpeakerModule, "training_step", interrupted)
    config = make_config()
    with pytest.raises(KeyboardInterrupt):
        train(config)
    assert not (Path(config.output) / "last.ckpt").exists()


# -- writing ----------------------------------------------------------------------------------


def no_room(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["write_bytes", "replace"])
@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt", "step=7.ckpt"])
def test_a_full_disk_leaves_the_earlier_checkpoint(
    make_config: Make,
    monkeypatch: pytest.MonkeyPatch,
    weights: Weights,
    where: str,
    name: str,
) -> None:
    config = make_config(keep_steps=(7,))
    folder = Path(config.output)
    real = getattr(Path, where)

    def fails(self: Path, argument: Any) -> Any:
        mine = self.name.startswith(f".{Path(name).stem}.")
        again = name != "last.ckpt" or (folder / "last.ckpt").exists()
        return no_room() if mine and again else real(self, argument)

    with monkeypatch.context() as patch:
        patch.setattr(Path, where, fails)
        message = rf"exp/{name} cannot be written \(No space left on device\); earlier checkpoints"
        with pytest.raises(OSError, match=message):
            train(config)
    left = {path.name for path in folder.iterdir()} - {"config.yaml", "versions.json", "metrics"}
    kept = {"last.ckpt"} if name == "step=7.ckpt" else {"last.ckpt", "step=7.ckpt"}
    assert left == kept  # no half file, and no temporary one
    expected_step = 12 if name == "best.ckpt" else 4
    assert read_checkpoint(folder / "last.ckpt")["global_step"] == expected_step
    undisturbed = weights(train(make_config("undisturbed", keep_steps=(7,))))
    assert same(weights(train(config)), undisturbed)


def test_checkpoints_do_not_pass_through_the_folder_of_temporary_files(
    make_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    # From there a move may be a copy, which is not atomic. Lightning's own way would be taken here.
    monkeypatch.setattr(TorchCheckpointIO, "save_checkpoint", no_room)
    monkeypatch.setattr("shutil.move", no_room)
    assert train(make_config()).is_file()


@pytest.mark.parametrize("content", [b"", b"half a checkpoint"])
def test_a_damaged_last_checkpoint_is_named_before_the_speech_is_read(
    make_config: Make, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    config = make_config()
    last = Path(config.output) / "last.ckpt"
    last.parent.mkdir()
    last.write_bytes(content)
    monkeypatch.setattr(sys.modules["bbb.speaker.train"], "ChunkBatches", None)
    with pytest.raises(ConfigError, match=r"exp/last.ckpt: not a readable checkpoint"):
        train(config)


def test_a_last_checkpoint_of_another_architecture_is_named(
    make_config: Make, baseline: Path
) -> None:
    network = NetworkConfig(channels=7, pooled_channels=8, embed_dim=6)
    config = make_config(network=network)
    last = Path(config.output) / "last.ckpt"
    last.parent.mkdir()
    before = (baseline / "last.ckpt").read_bytes()
    last.write_bytes(before)
    with pytest.raises(ConfigError, match=r"exp/last.ckpt: checkpoint of another architecture"):
        train(config)
    assert last.read_bytes() == before
