"""``bbb train``: a YAML file and flags to a checkpoint."""

from pathlib import Path

import pytest
import torch
import yaml

from bbb.cli.main import main
from bbb.cli.train import make_parser
from bbb.speaker.checkpoint import load_network
from bbb.speaker.config import TrainConfig


@pytest.fixture
def words(speech: Path, recipe: Path, tmp_path: Path) -> list[str]:
    """The command line of a training that works."""
    output = str(tmp_path / "exp")
    return ["train", "--config", str(recipe), "--data", str(speech), "--output", output]


def test_a_file_and_flags_become_an_experiment(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--seed", "3", "--network.head", "am", "--keep_steps", "[2,4]"]
    assert main([*words, *flags]) == 0
    best = tmp_path / "exp" / "best.ckpt"
    assert capsys.readouterr().out == f"wrote {best}\n"
    _, config = load_network(best)
    assert (config.seed, config.network.head, config.network.channels) == (3, "am", 6)
    assert config.keep_steps == (2, 4)
    assert config.spec_augment is None
    assert (tmp_path / "exp" / "step=4.ckpt").is_file()
    resolved = yaml.safe_load((tmp_path / "exp" / "config.yaml").read_text())
    assert resolved["network"]["head"] == "am"
    assert resolved["optim"]["warmup"] == 0.15  # a default is written out as well


def test_the_resolved_configuration_makes_the_same_weights(
    words: list[str], tmp_path: Path
) -> None:
    assert main([*words, "--seed", "3"]) == 0
    again = str(tmp_path / "again")
    assert main(["train", "--config", str(tmp_path / "exp/config.yaml"), "--output", again]) == 0
    first, second = (
        load_network(tmp_path / name / "best.ckpt")[0].state_dict() for name in ("exp", "again")
    )
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_bayesian_layers_by_flags(models: dict[str, Path]) -> None:
    network, config = load_network(models["bayesian"])
    assert config.bayes.layers == ("frame1",)
    assert "frame1.affine.weight_rho" in network.state_dict()
    assert "frame1.affine.weight" in load_network(models["plain"])[0].state_dict()


def test_a_second_start_does_nothing(words: list[str], tmp_path: Path) -> None:
    assert main(words) == 0
    best = tmp_path / "exp" / "best.ckpt"
    before = best.stat().st_mtime_ns
    assert main(words) == 0
    assert best.stat().st_mtime_ns == before


def test_other_settings_in_the_same_folder_are_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    assert main([*words, "--optim.lr", "0.5"]) == 1
    assert "optim.lr (0.02 there, 0.5 now)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--max_step", "3"], "unknown key '--max_step'; did you mean '--max_steps'?"),
        (["--network.chanels", "3"], "did you mean '--network.channels'?"),
        (["--max_steps", "many"], 'Parser key "max_steps": Expected'),
        (["--network.head", "amm"], 'Parser key "network.head": Expected'),
        (["--optim.lr", "-1"], "optim: needs lr > 0"),
        (["--network.dropout", "2"], "network: needs 0 <= dropout < 1"),
        (["--network", "3"], 'Parser key "network": Unable to load config'),
        (["--bayes.layers", "[fram1]"], "'fram1' matches nothing"),
        (["--data", "nowhere"], "nowhere"),
        (["--precision", "3-bit"], "precision '3-bit' cannot be used here"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_folder(
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    message: str,
) -> None:
    assert main([*words, *flags]) == 1
    error = capsys.readouterr().err
    assert error.startswith("bbb train: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "exp").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n_steps: 3\n", "unknown key 'n_steps'; did you mean 'max_steps'?"),
        ("network: {chanels: 3}\n", "unknown key 'network.chanels'; did you mean 'network.channe"),
        ("spec_augment: {time_mask: 3}\n", "did you mean 'spec_augment.time_masks'?"),
        ("network: 3\n", "key 'network' is a group of keys, got 3; see --help"),
        ("optim: null\n", "key 'optim' is a group of keys, got None"),
        ("spec_augment: 3\n", 'Parser key "spec_augment"'),
        ("optim: {lr: fast}\n", 'Parser key "optim.lr": Expected'),
        ("optim: [\n", "wrong.yaml: not a mapping"),
    ],
)
def test_a_mistake_in_a_file_is_named(
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    message: str,
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(text)
    assert main([*words, "--config", str(wrong)]) == 1
    assert message in capsys.readouterr().err


def test_data_and_output_are_required(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data", "x"]) == 1
    assert "required: output" in capsys.readouterr().err


def test_help_shows_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["train", "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert "\n  bbb train --config conf/xvector.yaml --data data/train" in shown
    for key in ("--data", "--bayes.kl_weight", "--network.margin_warmup", "--chunks.batch_size"):
        assert key in shown


def test_help_explains_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("docstring_parser", reason="comes with bayes-by-backprop[speech]")
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "Share of the steps over which the margin grows from 0" in shown
    assert "Kaldi data directory to train on" in shown


def test_defaults_of_the_command_are_those_of_the_library() -> None:
    parser = make_parser()
    values = parser.instantiate(parser.parse_args(["--data", "d", "--output", "o"]))
    del values["config"]
    assert TrainConfig(**values.as_dict()) == TrainConfig(data="d", output="o")
