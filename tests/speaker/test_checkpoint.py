"""Checkpoints: what they keep of a configuration, and every file that is not one."""

import dataclasses
import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bbb.audio.augment import AugmentConfig
from bbb.audio.dataset import ChunkConfig
from bbb.audio.specaugment import SpecAugmentConfig
from bbb.errors import ConfigError
from bbb.layers import BayesianLayer
from bbb.speaker.checkpoint import (
    load_network,
    module_state,
    pack_config,
    read_checkpoint,
    unpack_config,
)
from bbb.speaker.config import BayesConfig, NetworkConfig, OptimConfig, TrainConfig

FULL = TrainConfig(
    data="data",
    output="exp",
    seed=7,
    chunks=ChunkConfig(batch_size=3),
    augment=AugmentConfig(speeds=(1.0, 0.9)),
    spec_augment=SpecAugmentConfig(time_masks=2),
    network=NetworkConfig(head="aam", margin=0.3),
    bayes=BayesConfig(layers=("frame1", "frame2"), start="baseline", baseline="b"),
    optim=OptimConfig(name="sgd", start=0.5),
    keep_steps=(5, 10),
    threads=2,
)


def saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "config",
    [FULL, TrainConfig(data="d", output="o", spec_augment=None)],
    ids=["full", "none"],
)
def test_a_configuration_survives_a_checkpoint(config: TrainConfig) -> None:
    packed = torch.load(io.BytesIO(saved(pack_config(config, 9))), weights_only=True)
    assert unpack_config(packed) == config
    assert packed["num_classes"] == 9
    # JSON makes lists of tuples; they come back as tuples.
    assert unpack_config(json.loads(json.dumps(packed))) == config


def test_keys_of_a_newer_version_are_an_error() -> None:
    packed = pack_config(FULL, 9)
    packed["config"]["network"]["depth"] = 3
    with pytest.raises(ConfigError, match="NetworkConfig has no depth; update bbb"):
        unpack_config(packed)
    with pytest.raises(ConfigError, match="format 2 is not 1; update bbb"):
        unpack_config(pack_config(FULL, 9) | {"format": 2})


def test_read_gives_weights_by_module(baseline: Path) -> None:
    checkpoint = read_checkpoint(baseline / "best.ckpt")
    network, head = (module_state(checkpoint, name) for name in ("network", "head"))
    assert "frame1.affine.weight" in network
    assert set(head) == {"weight", "bias"}
    assert len(network) + len(head) == len(checkpoint["state_dict"])


def test_checkpoints_are_plain_enough_for_weights_only(baseline: Path) -> None:
    for name in ("best.ckpt", "last.ckpt", "step=6.ckpt"):
        assert "state_dict" in torch.load(baseline / name, weights_only=True)


def test_load_network_gives_the_plain_extractor(
    baseline: Path, weights: Callable[[Path], dict[str, torch.Tensor]]
) -> None:
    network, config = load_network(baseline / "best.ckpt")
    assert not network.training
    assert config.output == str(baseline)
    state = weights(baseline / "best.ckpt")
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[f"network.{name}"]), name


def test_load_network_gives_the_bayesian_extractor(
    bayesian: Path, weights: Callable[[Path], dict[str, torch.Tensor]]
) -> None:
    network, config = load_network(str(bayesian / "best.ckpt"))
    names = [name for name, module in network.named_modules() if isinstance(module, BayesianLayer)]
    assert names == [f"frame{i}.affine" for i in range(1, 6)]
    assert config.bayes.layers == ("frame*",)
    state = weights(bayesian / "best.ckpt")
    rho = state["network.frame3.affine.weight_rho"]
    assert torch.equal(network.frame3.affine.weight_rho, rho)
    assert rho.std() > 0  # trained away from sigma_init


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no.ckpt: no such checkpoint; train one"):
        load_network(tmp_path / "no.ckpt")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello, I am text\n",
        b"\x80\x02}q\x00.",
        b"PK\x03\x04 not a zip",
        bytes(range(256)) * 8,
        pickle.dumps({"state_dict": {}}),
        pickle.dumps(object()),
    ],
    ids=["empty", "text", "tiny pickle", "half a zip", "bytes", "pickle", "object"],
)
def test_what_is_not_a_checkpoint_is_an_error(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.ckpt"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"x.ckpt: not a (readable )?checkpoint"):
        load_network(file)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_a_truncated_checkpoint_is_an_error(tmp_path: Path, baseline: Path, share: float) -> None:
    content = (baseline / "best.ckpt").read_bytes()
    file = tmp_path / "x.ckpt"
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ConfigError, match=r"x.ckpt: not a readable checkpoint .*restore a copy"):
        load_network(file)


@pytest.mark.parametrize(
    "content",
    [
        {"weight": torch.zeros(3)},
        [1, 2],
        torch.zeros(3),
        {"bbb": 3, "state_dict": {}},
        {"bbb": {"format": 1}},
    ],
    ids=["state dict", "list", "tensor", "wrong type", "no weights"],
)
def test_a_foreign_torch_file_is_an_error(tmp_path: Path, content: Any) -> None:
    file = tmp_path / "x.ckpt"
    file.write_bytes(saved(content))
    with pytest.raises(ConfigError, match=r"x.ckpt: not a checkpoint of bbb train; give one"):
        load_network(file)


class Malicious:
    """Touches a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize("torch_format", [True, False])
def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path, *, torch_format: bool) -> None:
    touched, file = tmp_path / "touched", tmp_path / "x.ckpt"
    content = {"bbb": Malicious(touched), "state_dict": {}}
    file.write_bytes(saved(content) if torch_format else pickle.dumps(content))
    with pytest.raises(ConfigError, match=r"x.ckpt: not a readable checkpoint"):
        load_network(file)
    assert not touched.exists()
    # The object does what this test is about, where unpickling is allowed.
    pickle.loads(pickle.dumps(content))  # noqa: S301
    assert touched.exists()


def spoiled(checkpoint: dict[str, Any], **changes: Any) -> dict[str, Any]:
    config = unpack_config(checkpoint["bbb"])
    return checkpoint | {"bbb": pack_config(dataclasses.replace(config, **changes), 5)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": NetworkConfig(channels=7)}, r"another architecture: 'frame1.affine"),
        ({"bayes": BayesConfig(layers=("frame1",), sigma_init=0.1)}, None),
    ],
    ids=["size", "plain weights are means"],
)
def test_weights_that_do_not_fit_their_configuration(
    tmp_path: Path, baseline: Path, changes: dict[str, Any], message: str | None
) -> None:
    file = tmp_path / "x.ckpt"
    file.write_bytes(saved(spoiled(read_checkpoint(baseline / "best.ckpt"), **changes)))
    if message is None:
        network, _ = load_network(file)
        assert isinstance(network.frame1.affine, BayesianLayer)
        return
    with pytest.raises(ConfigError, match=rf"x.ckpt: checkpoint of {message}"):
        load_network(file)


def test_bayesian_weights_in_a_plain_network_are_an_error(tmp_path: Path, bayesian: Path) -> None:
    file = tmp_path / "x.ckpt"
    checkpoint = read_checkpoint(bayesian / "best.ckpt")
    file.write_bytes(saved(spoiled(checkpoint, bayes=BayesConfig())))
    with pytest.raises(ConfigError, match=r"x.ckpt: .*another architecture: .*weight_mu"):
        load_network(file)


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        ({"format": 2}, "format 2 is not 1"),
        ({"format": 1}, "config"),
        ({"format": 1, "config": {}}, "data"),
        ({"format": 1, "config": {"data": "d", "output": "o", "depth": 3}}, "has no depth"),
        ({"format": 1, "config": {"data": "d", "output": "o", "max_steps": 0}}, "max_steps >= 1"),
    ],
)
def test_a_configuration_that_makes_no_sense_names_the_file(
    tmp_path: Path, packed: dict[str, Any], message: str
) -> None:
    file = tmp_path / "x.ckpt"
    file.write_bytes(saved({"bbb": packed, "state_dict": {}}))
    with pytest.raises(ConfigError, match=rf"x.ckpt: configuration not understood: .*{message}"):
        load_network(file)
