"""Checkpoints: what they hold, and how a network comes back from one."""

import dataclasses
import os
import pickle
import types
import typing
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from bbb.errors import ConfigError
from bbb.speaker.build import build_network, load_weights, make_bayesian
from bbb.speaker.config import TrainConfig
from bbb.speaker.provenance import plain
from bbb.speaker.xvector import XVector

_FORMAT = 1
# What torch.load raises for bytes that are no checkpoint; which of them depends on the bytes.
_DAMAGED = (
    RuntimeError,
    OSError,
    EOFError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
)
Config = TypeVar("Config")


def pack_config(config: TrainConfig, num_classes: int) -> dict[str, Any]:
    """What a checkpoint says of itself, in plain types that ``weights_only=True`` reads.

    Args:
        config: The training's.
        num_classes: Classes of the head.

    Returns:
        Format number, classes, and the configuration as nested dictionaries.
    """
    return {"format": _FORMAT, "num_classes": num_classes, "config": plain(config)}


def unpack_config(packed: Mapping[str, Any]) -> TrainConfig:
    """The configuration in ``pack_config``'s result.

    Args:
        packed: From a checkpoint.

    Returns:
        The training's configuration.

    Raises:
        ConfigError: If the format is newer than this package, or a key is unknown.
    """
    if packed.get("format") != _FORMAT:
        msg = f"checkpoint format {packed.get('format')} is not {_FORMAT}; update bbb"
        raise ConfigError(msg)
    return _from_dict(TrainConfig, packed["config"])


def _from_dict(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """A frozen configuration from nested dictionaries.

    Raises:
        ConfigError: If a key is unknown.
    """
    types_ = typing.get_type_hints(kind)
    unknown = sorted(values.keys() - types_.keys())
    if unknown:
        msg = f"checkpoint: {kind.__name__} has no {', '.join(unknown)}; update bbb"
        raise ConfigError(msg)
    return kind(**{name: _value(types_[name], value) for name, value in values.items()})


def _value(kind: Any, value: Any) -> Any:  # noqa: ANN401 (any field's type)
    """One field: a nested configuration, a tuple that came back as a list, or as it is."""
    choices = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    for choice in choices:
        if dataclasses.is_dataclass(choice) and isinstance(value, Mapping):
            return _from_dict(typing.cast("type[Any]", choice), value)
    return tuple(value) if isinstance(value, list) else value


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint of ``bbb train``, with ``weights_only=True``: nothing is executed.

    Args:
        path: A ``.ckpt`` file.

    Returns:
        Lightning's dictionary; tensors on the CPU.

    Raises:
        ConfigError: If there is no such file, it is damaged, or another program wrote it.
    """
    file = Path(path)
    if not file.is_file():
        msg = f"{file}: no such checkpoint; train one with bbb train, or check the path"
        raise ConfigError(msg)
    try:
        with warnings.catch_warnings():
            # About foreign pickles, which are refused anyhow.
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            checkpoint: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except _DAMAGED as error:
        reason = str(error).split("\n", maxsplit=1)[0][:200]
        msg = f"{file}: not a readable checkpoint ({reason}); train again or restore a copy"
        raise ConfigError(msg) from error
    if not _written_by_bbb(checkpoint):
        msg = f"{file}: not a checkpoint of bbb train; give one that it wrote"
        raise ConfigError(msg)
    return checkpoint


def _written_by_bbb(checkpoint: object) -> bool:
    """Whether a file's content is that of ``bbb train``."""
    return isinstance(checkpoint, dict) and all(
        isinstance(checkpoint.get(key), dict) for key in ("bbb", "state_dict")
    )


def module_state(checkpoint: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    """The part of a checkpoint's weights below a module.

    Args:
        checkpoint: From ``read_checkpoint``.
        prefix: The module's name: "network" or "head".

    Returns:
        Its state dict.
    """
    dot = f"{prefix}."
    weights: dict[str, Tensor] = checkpoint["state_dict"]
    return {
        name.removeprefix(dot): value for name, value in weights.items() if name.startswith(dot)
    }


def load_network(path: str | os.PathLike[str]) -> tuple[XVector, TrainConfig]:
    """The extractor in a checkpoint, plain or Bayesian as it was trained, in eval mode.

    Args:
        path: A ``.ckpt`` file of ``bbb train``.

    Returns:
        The network, and the configuration of its training (features included).

    Raises:
        ConfigError: If the checkpoint is missing, damaged, or does not fit its configuration.
    """
    checkpoint = read_checkpoint(path)
    try:
        config = unpack_config(checkpoint["bbb"])
    except (ConfigError, LookupError, TypeError) as error:
        msg = f"{path}: configuration not understood: {error}"
        raise ConfigError(msg) from error
    network = build_network(config)
    # A pretrained prior's centre is part of the state dict, so it needs no other checkpoint here.
    make_bayesian(network, config.bayes)
    load_weights(network, module_state(checkpoint, "network"), str(path))
    return network.eval(), config
