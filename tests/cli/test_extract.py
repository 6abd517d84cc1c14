"""``bbb extract``: a checkpoint and a data directory to embeddings."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bbb.audio.datadir import DataDir
from bbb.cli.main import main
from bbb.scoring import read_embeddings
from bbb.speaker.checkpoint import load_network
from bbb.speaker.extract import extract_embeddings


def words(model: Path, speech: Path, output: Path) -> list[str]:
    return ["extract", "--model", str(model), "--data", str(speech), "--output", str(output)]


def test_embeddings_are_those_of_the_library(
    models: dict[str, Path], speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "x.npz"
    assert main(words(models["plain"], speech, output)) == 0
    assert f"wrote 8 embeddings to {output}" in capsys.readouterr().out
    read = read_embeddings(output)
    network, config = load_network(models["plain"])
    expected = extract_embeddings(network, DataDir.read(speech), config.features)
    assert read.ids == expected.ids == tuple(f"s{s}-u{u}" for s in range(4) for u in range(2))
    np.testing.assert_array_equal(read.embeddings, expected.embeddings)
    assert read.covariances is None


@pytest.mark.parametrize("suffix", [".ark", ".scp"])
def test_kaldi_archives_hold_the_same(
    models: dict[str, Path], speech: Path, tmp_path: Path, suffix: str
) -> None:
    assert main(words(models["plain"], speech, tmp_path / "x.npz")) == 0
    assert main(words(models["plain"], speech, tmp_path / f"y{suffix}")) == 0
    expected = read_embeddings(tmp_path / "x.npz")
    for name in ("y.ark", "y.scp"):
        read = read_embeddings(tmp_path / name)
        assert read.ids == expected.ids
        np.testing.assert_array_equal(read.embeddings, expected.embeddings)


@pytest.mark.parametrize(
    ("covariance", "shape"),
    [(None, (8, 6)), ("none", None), ("diagonal", (8, 6)), ("full", (8, 6, 6))],
)
def test_draws_and_their_covariance(
    models: dict[str, Path],
    speech: Path,
    tmp_path: Path,
    covariance: str | None,
    shape: tuple[int, ...] | None,
) -> None:
    draws = ["--num-samples", "3", "--seed", "4"]
    draws += [] if covariance is None else ["--covariance", covariance]
    assert main([*words(models["bayesian"], speech, tmp_path / "x.npz"), *draws]) == 0
    assert main([*words(models["bayesian"], speech, tmp_path / "mean.npz")]) == 0
    read, mean = read_embeddings(tmp_path / "x.npz"), read_embeddings(tmp_path / "mean.npz")
    assert not np.allclose(read.embeddings, mean.embeddings)
    assert (None if read.covariances is None else read.covariances.shape) == shape
    network, config = load_network(models["bayesian"])
    expected = extract_embeddings(
        network, DataDir.read(speech), config.features, num_samples=3, seed=4
    )
    np.testing.assert_array_equal(read.embeddings, expected.embeddings)


def test_options_from_a_file(models: dict[str, Path], speech: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(f"model: {models['bayesian']}\ndata: {speech}\nnum_samples: 2\n")
    output = tmp_path / "x.npz"
    assert main(["extract", "--config", str(file), "--output", str(output)]) == 0
    assert len(read_embeddings(output)) == 8


def test_threads_are_set(
    models: dict[str, Path], speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    command = words(models["plain"], speech, tmp_path / "x.npz")
    assert main([*command, "--threads", "1"]) == 0
    assert asked == [1]


@pytest.mark.parametrize(
    ("model", "flags", "message"),
    [
        ("plain", ["--num-samples", "3"], "has no Bayesian layer: every draw would be the same"),
        ("plain", ["--num-samples", "-1"], '"num_samples"'),
        ("plain", ["--num_samples", "3"], "did you mean '--num-samples'?"),
        ("plain", ["--threads", "0"], '"threads"'),
        ("bayesian", ["--covariance", "full"], "needs --num-samples of at least 2, got 0"),
        ("bayesian", ["--covariance", "half"], '"covariance"'),
        ("plain", ["--data", "nowhere"], "nowhere"),
        ("plain", ["--model", "no.ckpt"], "no.ckpt: no such checkpoint; train one"),
        ("plain", ["--model", __file__], "test_extract.py: not a readable checkpoint"),
        ("plain", ["--output", "x.txt"], "'x.txt'"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_written(
    models: dict[str, Path],
    speech: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    model: str,
    flags: list[str],
    message: str,
) -> None:
    assert main([*words(models[model], speech, tmp_path / "out" / "x.npz"), *flags]) == 1
    error = capsys.readouterr().err
    assert error.startswith("bbb extract: ")
    assert message in error
    assert not (tmp_path / "out").exists()


def test_a_name_that_cannot_be_written_is_refused_before_the_work(
    models: dict[str, Path],
    speech: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bbb.speaker.extract.extract_embeddings", None)
    draws = ["--num-samples", "2", "--covariance", "diagonal"]
    assert main([*words(models["bayesian"], speech, tmp_path / "x.ark"), *draws]) == 1
    assert "Kaldi archives hold no covariances" in capsys.readouterr().err


def test_a_gpu_that_is_not_there(
    models: dict[str, Path],
    speech: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    command = words(models["plain"], speech, tmp_path / "x.npz")
    assert main([*command, "--accelerator", "cuda"]) == 1
    assert "--accelerator cuda: torch sees no such device; use cpu" in capsys.readouterr().err


# -- in parts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "draws"), [(".npz", 0), (".npz", 3), (".ark", 0)])
def test_merged_parts_are_the_file_of_one_process(
    models: dict[str, Path],
    speech: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    suffix: str,
    draws: int,
) -> None:
    flags = ["--num-samples", str(draws)]
    # The same folder: the scp holds the ark's name.
    output = tmp_path / f"x{suffix}"
    assert main([*words(models["bayesian"], speech, output), *flags]) == 0
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for path in tmp_path.iterdir():
        path.unlink()
    command = [*words(models["bayesian"], speech, output), *flags, "--num-parts", "3"]
    for part in (2, 0):
        assert main([*command, "--part", str(part)]) == 0
    assert main([*command, "--merge"]) == 1
    assert "of 3 parts [1] are missing, such as x." in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 2
    assert main([*command, "--part", "1"]) == 0
    capsys.readouterr()
    assert main([*command, "--merge"]) == 0
    assert capsys.readouterr().out == f"wrote 8 embeddings to {output}\n"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_parts_of_another_extraction_are_not_merged(
    models: dict[str, Path], speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "x.npz"
    command = [*words(models["bayesian"], speech, output), "--num-parts", "2"]
    draws = ["--num-samples", "2", "--covariance", "none"]
    assert main([*command, "--part", "0"]) == 0
    assert main([*command, "--part", "1", *draws]) == 0
    plain = [*words(models["plain"], speech, output), "--num-parts", "2"]
    for merge, missing in ((command, "[1]"), ([*command, *draws], "[0]"), (plain, "[0, 1]")):
        assert main([*merge, "--merge"]) == 1
        assert f"of 2 parts {missing} are missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rank", "size"), [("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS")]
)
def test_the_part_is_the_rank_of_the_process(
    models: dict[str, Path],
    speech: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    rank: str,
    size: str,
) -> None:
    monkeypatch.setenv(size, "2")
    command = words(models["plain"], speech, tmp_path / "x.npz")
    for part in ("0", "1"):
        monkeypatch.setenv(rank, part)
        assert main(command) == 0
    monkeypatch.delenv(rank)
    assert main([*command, "--num-parts", "2", "--merge"]) == 0
    assert len(read_embeddings(tmp_path / "x.npz")) == 8


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--num-parts", "2"], "--num-parts 2 needs a --part from 0 to 1, got None; or --merge"),
        (["--num-parts", "2", "--part", "2"], "from 0 to 1, got 2"),
        (["--part", "1"], "--num-parts 1 needs a --part from 0 to 0, got 1"),
        (["--merge"], "--merge needs --num-parts"),
        (["--merge", "--num-parts", "2", "--part", "1"], "and no --part"),
        (["--num-parts", "9", "--part", "1"], "has 8 utterances, which 9 parts cannot share"),
    ],
)
def test_flags_that_name_no_part_are_an_error(
    models: dict[str, Path],
    speech: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    flags: list[str],
    message: str,
) -> None:
    assert main([*words(models["plain"], speech, tmp_path / "x.npz"), *flags]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_help_shows_the_keys(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["extract", "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    for key in ("--model", "--data", "--output", "--num-samples", "--covariance", "--seed"):
        assert key in shown
    assert "\n  bbb extract --model exp/b/best.ckpt --data data/eval" in shown  # an example


def test_extraction_does_not_import_lightning(
    models: dict[str, Path], speech: Path, tmp_path: Path
) -> None:
    command = words(models["plain"], speech, tmp_path / "x.npz")
    script = (
        f"import sys; from bbb.cli.main import main; assert main({command!r}) == 0;"
        "print('lightning' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert run.stdout.splitlines()[-1] == "False"
