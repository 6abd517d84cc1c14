"""What is written beside a checkpoint, and that it can be read back into the same training."""

import contextlib
import dataclasses
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from bbb.audio.augment import AugmentConfig
from bbb.audio.specaugment import SpecAugmentConfig
from bbb.cli.train import make_parser
from bbb.errors import ConfigError
from bbb.speaker.config import BayesConfig, OptimConfig, TrainConfig
from bbb.speaker.provenance import check_same_run, git_hash, write_provenance

Make = Callable[..., TrainConfig]
NOISE = {"noise_dir": "noise", "noise_prob": 0.5}


def test_config_yaml_gives_the_same_configuration_to_bbb_train(
    make_config: Make, tmp_path: Path
) -> None:
    config = make_config(
        bayes=BayesConfig(layers=("frame1", "frame2")), keep_steps=(3, 6), spec_augment=None
    )
    write_provenance(config, tmp_path)
    parser = make_parser()
    values = parser.instantiate(parser.parse_args(["--config", str(tmp_path / "config.yaml")]))
    del values["config"]
    assert TrainConfig(**values.as_dict()) == config


def test_config_yaml_holds_plain_types(make_config: Make, tmp_path: Path) -> None:
    write_provenance(make_config(keep_steps=(3,)), tmp_path)
    read = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert read["keep_steps"] == [3]
    assert read["features"]["num_ceps"] == 8
    assert read["spec_augment"] is None
    assert list(read)[:3] == ["data", "output", "source"]  # in the order of the documentation


def test_versions_json_holds_seed_revision_and_packages(make_config: Make, tmp_path: Path) -> None:
    write_provenance(make_config(seed=17), tmp_path)
    record = json.loads((tmp_path / "versions.json").read_text())
    assert set(record) == {"seed", "git", "versions"}
    assert record["seed"] == 17
    assert record["versions"]["torch"] == torch.__version__.split("+")[0]
    assert {"python", "machine", "numpy", "lightning"} <= set(record["versions"])


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with one commit, as working directory."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "file").write_text("1\n")
    monkeypatch.chdir(folder)
    user = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "file"], [*user, "commit", "-q", "-m", "a"]):
        subprocess.run(["git", *command], check=True)
    return folder


def test_revision_of_a_clean_and_of_a_changed_tree(repository: Path) -> None:
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert git_hash() == head.stdout.strip()
    assert re.fullmatch("[0-9a-f]{40}", head.stdout.strip())
    (repository / "file").write_text("2\n")
    assert git_hash() == head.stdout.strip() + "-dirty"


def test_no_revision_outside_of_a_repository_or_without_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_hash() is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_hash() is None


def test_a_new_folder_and_the_same_run_pass(make_config: Make, tmp_path: Path) -> None:
    config = make_config()
    check_same_run(config, tmp_path)
    write_provenance(config, tmp_path)
    check_same_run(config, tmp_path)
    free = {"workers": 3, "threads": 2, "checkpoint_every": 7, "accelerator": "auto"}
    check_same_run(dataclasses.replace(config, **free, output="elsewhere"), tmp_path)


def test_all_keys_that_differ_are_named(make_config: Make, tmp_path: Path) -> None:
    config = make_config()
    write_provenance(config, tmp_path)
    other = dataclasses.replace(config, seed=5, optim=OptimConfig(lr=0.5))
    message = r"optim.lr \(0.02 there, 0.5 now\); seed \(1 there, 5 now\); choose another output"
    with pytest.raises(ConfigError, match=message):
        check_same_run(other, tmp_path)


def test_settings_that_are_new_had_their_default(make_config: Make, tmp_path: Path) -> None:
    write_provenance(config := make_config(), tmp_path)
    file = tmp_path / "config.yaml"
    values = yaml.safe_load(file.read_text())
    del values["average"], values["chunks"]["order"]
    file.write_text(yaml.safe_dump(values))
    check_same_run(config, tmp_path)
    with pytest.raises(ConfigError, match=r"average \(0 there, 1 now\)"):
        check_same_run(dataclasses.replace(config, average=1), tmp_path)
    # What was switched off had no settings.
    on = dataclasses.replace(config, spec_augment=SpecAugmentConfig())
    with pytest.raises(ConfigError, match=r"spec_augment.freq_masks \(None there, 1 now\)"):
        check_same_run(on, tmp_path)


def test_where_speech_is_kept_matters_without_noise_only(make_config: Make, tmp_path: Path) -> None:
    for augment, free in ((AugmentConfig(), False), (AugmentConfig(**NOISE), True)):
        config = make_config(augment=augment)
        write_provenance(config, tmp_path)
        with contextlib.nullcontext() if free else pytest.raises(ConfigError, match="cache_gb"):
            check_same_run(dataclasses.replace(config, cache_gb=0.0), tmp_path)


def test_infinity_is_kept(make_config: Make, tmp_path: Path) -> None:
    config = make_config(optim=OptimConfig(clip_norm=float("inf")))
    write_provenance(config, tmp_path)
    check_same_run(config, tmp_path)


@pytest.mark.parametrize("content", [b"a: [1\n", b"a: \xff\n"])
def test_a_damaged_config_yaml_is_named(make_config: Make, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"config.yaml: not the YAML that bbb train wrote"):
        check_same_run(make_config(), tmp_path)
