"""What made an experiment folder: resolved configuration, package versions, code revision."""

import dataclasses
import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import yaml

from bbb.errors import ConfigError
from bbb.files import write_text
from bbb.speaker.config import TrainConfig

_PACKAGES = ("bayes-by-backprop", "torch", "torchaudio", "lightning", "numpy", "scikit-learn")
# Where it runs and how often it saves change nothing in the result; more or fewer processes draw
# other weights from the same posterior, and rounding differs.
_FREE = {"output", "checkpoint_every", "workers", "threads", "accelerator", "devices", "nodes"}


def plain(config: TrainConfig) -> dict[str, Any]:
    """The configuration as nested dictionaries of plain types: tuples as lists, paths as text."""
    text = json.dumps(dataclasses.asdict(config), default=os.fspath)
    return json.loads(text)  # type: ignore[no-any-return]


def write_provenance(config: TrainConfig, folder: Path) -> None:
    """Write ``config.yaml`` and ``versions.json``.

    Args:
        config: Resolved.
        folder: The experiment's.
    """
    write_text(folder / "config.yaml", yaml.safe_dump(plain(config), sort_keys=False))
    versions = {"python": platform.python_version(), "machine": platform.machine()}
    versions |= {package: _version(package) for package in _PACKAGES}
    record = {"seed": config.seed, "git": git_hash(), "versions": versions}
    write_text(folder / "versions.json", json.dumps(record, indent=2) + "\n")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def git_hash() -> str | None:
    """Revision of the working directory's repository, "-dirty" when changed; None outside."""
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.strip()


def check_same_run(config: TrainConfig, folder: Path) -> None:
    """Refuse to go on with another experiment's folder.

    Args:
        config: Of this run.
        folder: May hold ``config.yaml`` of an earlier one.

    Raises:
        ConfigError: If a setting that matters for the result differs; names all such keys. If
            ``config.yaml`` is damaged.
    """
    file = folder / "config.yaml"
    if not file.is_file():
        return
    try:
        earlier = _flat(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        msg = f"{file}: not the YAML that bbb train wrote ({reason}); choose another output"
        raise ConfigError(msg) from error
    now = _flat(plain(config))
    for key, value in _flat(plain(TrainConfig(data="", output=""))).items():
        # A setting that did not exist yet had what is its default now.
        if key in now and key.rpartition(".")[0] not in earlier:
            earlier.setdefault(key, value)
    free = _FREE - ({"checkpoint_every"} if config.average else set())
    if config.augment.changes_sound:
        free |= {"cache_gb"}  # the same spans, from memory or from files (Opus: within -50 dB)
    differ = [
        f"{key} ({earlier.get(key)} there, {now.get(key)} now)"
        for key in sorted(earlier.keys() | now.keys())
        if earlier.get(key) != now.get(key) and key not in free
    ]
    if differ:
        msg = (
            f"{folder} holds a run with other settings: {'; '.join(differ)}; choose another "
            "output, or remove the folder"
        )
        raise ConfigError(msg)


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:  # noqa: ANN401 (YAML's types)
    """Nested dictionaries as dotted keys."""
    if not isinstance(values, dict):
        return {prefix: values}
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return flat
