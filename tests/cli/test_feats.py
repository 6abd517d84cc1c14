"""``bbb data feats``, and embeddings of what it, or Kaldi, wrote."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from bbb.audio.archives import FeatureArchive
from bbb.audio.features import FeatureConfig
from bbb.cli._feats import feats, feats_parser
from bbb.cli.main import main
from bbb.errors import ConfigError
from bbb.scoring import read_embeddings


def run(*words: object) -> int:
    return feats(feats_parser().parse_args([str(word) for word in words]))


def test_features_of_a_training(
    speech: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(speech, "--output", tmp_path, "--config", recipe) == 0
    assert (
        f"wrote features of 8 utterances, 8 values each, to {tmp_path}" in capsys.readouterr().out
    )
    names = {"feats.ark", "feats.scp", "vad.ark", "vad.scp", "utt2num_frames"}
    assert {path.name for path in tmp_path.iterdir()} == names | {"wav.scp", "utt2spk", "spk2utt"}


def test_flags_come_after_the_file(speech: Path, recipe: Path, tmp_path: Path) -> None:
    flags = ["--num-ceps", "5", "--low_freq", "50", "--vad", "false"]
    assert run(speech, "--output", tmp_path, "--config", recipe, *flags) == 0
    made = yaml.safe_load(recipe.read_text())["features"] | {"num_ceps": 5, "low_freq": 50.0}
    assert FeatureArchive(tmp_path, FeatureConfig(**made, vad=False)).num_frames("s0-u0") == 50


def test_into_the_same_folder(speech: Path, tmp_path: Path) -> None:
    shutil.copytree(speech, tmp_path / "data")
    options = ["--kind", "fbank", "--num_mels", "9", "--sample-rate", "8000", "--high_freq", "3700"]
    assert run(tmp_path / "data", *options) == 0
    assert (tmp_path / "data" / "feats.scp").is_file()


def test_parts(
    speech: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [speech, "--output", tmp_path, "--config", recipe, "--num-parts", 2, "--part"]
    assert run(*words, 1) == 0
    assert capsys.readouterr().out == f"{tmp_path}: part 1 is done, others are missing\n"
    assert run(*words, 0) == 0
    assert "wrote features of 8 utterances" in capsys.readouterr().out


def test_a_wrong_key_in_the_file(speech: Path, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("features:\n  num_cep: 3\n")
    with pytest.raises(ConfigError, match=r"num_cep'; did you mean 'features.num_ceps'"):
        run(speech, "--output", tmp_path / "new", "--config", tmp_path / "x.yaml")


def test_embeddings_of_features_are_those_of_the_audio(
    models: dict[str, Path], speech: Path, recipe: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    run(speech, "--output", data, "--config", recipe)
    # Neither audio nor speakers are needed any more.
    for name in ("wav.scp", "utt2spk", "spk2utt"):
        (data / name).unlink()
    words = ["extract", "--model", str(models["plain"]), "--output"]
    assert main([*words, str(tmp_path / "x.npz"), "--data", str(speech)]) == 0
    words += [str(tmp_path / "y.npz"), "--data", str(data), "--features", "feats"]
    assert main(words) == 0
    whole, found = (read_embeddings(tmp_path / f"{name}.npz") for name in "xy")
    assert found.ids == whole.ids
    np.testing.assert_array_equal(found.embeddings, whole.embeddings)
    for step in (["--part", "0"], ["--part", "1"], ["--merge"]):
        assert main([*words, "--num-parts", "2", *step]) == 0
    np.testing.assert_array_equal(read_embeddings(tmp_path / "y.npz").embeddings, whole.embeddings)


def test_features_of_another_size(
    models: dict[str, Path], speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(speech, "--output", tmp_path, "--sample_rate", 8000, "--high_freq", 3700)
    words = ["extract", "--model", str(models["plain"]), "--data", str(tmp_path)]
    assert main([*words, "--features", "feats", "--output", str(tmp_path / "x.npz")]) == 1
    assert "has 30 values per frame, the model takes 8" in capsys.readouterr().err
