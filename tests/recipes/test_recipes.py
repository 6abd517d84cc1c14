"""The speaker recipes end to end in their smoke size: what they write, what a second run reuses."""

import csv
import itertools
import json
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

RECIPES = Path(__file__).parents[2] / "recipes"
SYSTEMS = ["baseline", "bayesian", "fusion"]
COLUMNS = ["path", "corpus", "speaker", "gender", "suggested_split", "duration_s"]


def run(recipe: str, *words: str, folder: Path, script: str = "run.sh"):
    """Run a recipe's script as a user would, from another folder."""
    bin_ = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    command = [str(RECIPES / recipe / script), *words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def kill_once_there(file: Path, module: str, *words: str) -> None:
    """Run a script of the recipes, and kill it as soon as it has written a file."""
    command = [sys.executable, "-m", f"recipes.{module}", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=RECIPES.parent, env=environment, stderr=subprocess.DEVNULL
    ) as process:
        while not file.exists() and process.poll() is None:
            time.sleep(0.005)
        process.kill()


def check_table(folder: Path, systems: list[str], lists: tuple[str, ...] = ("trials",)) -> None:
    """results.json has every row with sane values, and the tables and pictures are there."""
    rows = json.loads((folder / "results.json").read_text())
    found = [(row["trials"], row["backend"], row["system"]) for row in rows]
    assert found == [*itertools.product(lists, ("cosine", "plda"), systems)]
    for row in rows:
        low, high = row["eer_ci"]
        assert 0 <= row["eer"] <= 1
        assert 0 <= low <= high <= 1
        assert set(row["min_dcf"]) == {"0.01", "0.001"}
        assert all(0 <= value <= 1 for value in row["min_dcf"].values())
    text = (folder / "RESULTS.md").read_text()
    assert f"{100 * rows[0]['eer']:.2f}" in text
    assert all(name in text for name in (*systems, *lists))
    for name in ("det",) if len(lists) == 1 else (f"det_{name}" for name in lists):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def checkpoints(folder: Path) -> dict[str, int]:
    """When each checkpoint and each set of embeddings was written."""
    files = [*folder.glob("*/best.ckpt"), *folder.glob("*/*.npz")]
    return {str(file): file.stat().st_mtime_ns for file in files if file.name != "plda.npz"}


def test_quickstart(tmp_path):
    first = run("quickstart", "--smoke", "--exp-dir", "exp", folder=tmp_path)
    assert first.returncode == 0, first.stderr
    check_table(tmp_path / "exp", SYSTEMS)
    before = checkpoints(tmp_path / "exp")
    assert len(before) == 6
    second = run("quickstart", "--smoke", "--exp-dir", "exp", folder=tmp_path)
    assert second.returncode == 0, second.stderr
    assert checkpoints(tmp_path / "exp") == before
    assert second.stdout.count("done already") == 4
    other = run("quickstart", "--smoke", "--exp-dir", "exp", "--seed", "1", folder=tmp_path)
    assert other.returncode != 0
    assert "holds a run with other settings: seed (0 there, 1 now)" in other.stderr
    assert checkpoints(tmp_path / "exp") == before


def make_speechocean(folder: Path) -> None:
    """A tree with metadata.csv: 6 training and 6 evaluation speakers of 3 short utterances."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(12):
        speaker = f"{number:04d}"
        (folder / "so762" / speaker).mkdir(parents=True)
        for u in range(3):
            time = np.arange(16000) / 16000
            voice = sum(np.sin(2 * np.pi * (90 + 15 * number) * k * time) / k for k in range(1, 20))
            swell = 0.1 * (1.2 + np.sin(2 * np.pi * 4 * time + u))
            samples = swell * voice + 0.001 * rng.standard_normal(16000)
            path = f"so762/{speaker}/{u}.wav"
            soundfile.write(folder / path, 0.3 * samples, 16000)
            split = "train" if number < 6 else "eval"
            row = [path, "speechocean762", f"so-{speaker}", "mf"[number % 2], split, "1.0"]
            rows.append(dict(zip(COLUMNS, row, strict=True)))
    with (folder / "metadata.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def test_speechocean762_with_two_presets_and_draws(tmp_path):
    make_speechocean(tmp_path / "corpus")
    words = ["--smoke", "--source", "corpus", "--exp-dir", "exp", "--presets", "best li2020"]
    result = run("speechocean762", *words, "--num-samples", "2", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    systems = ["baseline"]
    for preset in ("best", "li2020"):
        systems += [f"bayesian ({preset})", f"fusion ({preset})"]
    check_table(tmp_path / "exp", systems)
    assert (tmp_path / "exp" / "bayesian_li2020" / "eval_2.npz").is_file()


@pytest.mark.slow
def test_seeds_are_compared(tmp_path):
    make_speechocean(tmp_path / "corpus")
    words = ["--smoke", "--source", "corpus", "--exp-dir", "exp", "--seeds", "0 1"]
    result = run("speechocean762", *words, folder=tmp_path, script="seeds.sh")
    assert result.returncode == 0, result.stderr
    rows = json.loads((tmp_path / "exp" / "comparison.json").read_text())
    assert len(rows) == 2 * 7
    for row in rows:
        assert math.isclose(row["difference"], row["eer_b"] - row["eer_a"], abs_tol=1e-12)
        assert math.isclose(row["eer_a"], sum(row["eer_a_by_seed"]) / 2)
        assert row["ci"][0] <= row["ci"][1]


@pytest.mark.parametrize("recipe", ["quickstart", "speechocean762"])
def test_wrong_words_are_named(recipe, tmp_path):
    unknown = run(recipe, "--stgae", "3", folder=tmp_path)
    assert unknown.returncode != 0
    assert "unknown option --stgae; there are --" in unknown.stderr
    assert "--stop-stage" in unknown.stderr
    assert "-- " not in unknown.stderr
    letter = run(recipe, "--stage", "x", folder=tmp_path)
    assert letter.returncode != 0
    assert "stages are numbers from 1 on, got 'x' to '8'" in letter.stderr
    none = run(recipe, "--stage", "3", "--stop-stage", "2", folder=tmp_path)
    assert none.returncode != 0
    assert "no stage is from 3 to 2" in none.stderr
    missing = run(recipe, "--seed", folder=tmp_path)
    assert missing.returncode != 0
    assert "option --seed needs a value" in missing.stderr
    preset = run(recipe, "--presets", "nope", folder=tmp_path)
    assert preset.returncode != 0
    assert "no preset" in preset.stderr
    help_ = run(recipe, "--help", folder=tmp_path)
    assert help_.returncode == 0
    assert "--exp-dir" in help_.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "script", sorted(RECIPES.glob("*/*.sh")), ids=lambda path: str(path.relative_to(RECIPES))
)
def test_help_names_every_option(script, tmp_path):
    text = script.read_text().replace("\\\n", " ")
    options = re.findall(r'^parse_options "([\w\s-]+)"', text, re.MULTILINE)
    if not options:
        pytest.skip("is sourced by others")
    shown = run(script.parent.name, "--help", folder=tmp_path, script=script.name)
    missing = [name for name in options[0].split() if not re.search(rf"--{name}\b", shown.stdout)]
    assert missing == []


def test_normalization(tmp_path):
    first = run("normalization", "--smoke", "--exp-dir", "exp", folder=tmp_path)
    assert first.returncode == 0, first.stderr
    results = json.loads((tmp_path / "exp" / "results.json").read_text())
    assert results["runs"] == 2
    systems = ["raw", "autoencoder", "vae", "vae_cohesion"]
    assert list(results["moments"]) == systems
    found = [(row["backend"], row["system"]) for row in results["rows"]]
    backends = ("cosine", "lda_cosine", "plda", "lda_plda")
    assert found == [(backend, name) for backend in backends for name in systems]
    for row in results["rows"]:
        raw = next(r for r in results["rows"] if r["backend"] == row["backend"])
        for metric in ("eer", "min_dcf"):
            assert math.isclose(row[metric], sum(row[f"{metric}_by_run"]) / 2)
            compared = row[f"{metric}_difference"]
            assert (compared is None) == (row["system"] == "raw")
            if compared:
                assert math.isclose(compared["value"], row[metric] - raw[metric], abs_tol=1e-12)
                assert compared["ci"][0] <= compared["ci"][1]
    text = (tmp_path / "exp" / "RESULTS.md").read_text()
    assert f"{100 * results['rows'][0]['eer']:.2f}" in text
    assert (tmp_path / "exp" / "results.png").read_bytes().startswith(b"\x89PNG")
    second = run("normalization", "--smoke", "--exp-dir", "exp", "--stage", "2", folder=tmp_path)
    assert second.returncode == 0, second.stderr
    assert second.stdout.count("done already") == 3
    assert (tmp_path / "exp" / "RESULTS.md").read_text() == text


def test_binary(tmp_path):
    first = run("binary", "--smoke", "--exp-dir", "exp", folder=tmp_path)
    assert first.returncode == 0, first.stderr
    folder = tmp_path / "exp"
    results = json.loads((folder / "results.json").read_text())
    assert results["runs"] == 2
    eer = {f"{row['system']}:{row['bits']}": row["eer"] for row in results["rows"]}
    assert {"ReinMax:8", "ReinMax:16", "DisARM:16", "x-vector, random hyperplanes:8"} <= set(eer)
    for row in results["rows"]:
        assert 0 <= row["eer"] <= 1
        assert math.isclose(row["eer"], sum(row["eer_by_run"]) / 2)
        assert row["bytes"] == row["bits"] // 8 or not row["bits"]
    assert len(results["compared"]) == 6
    for row in results["compared"]:
        assert math.isclose(row["eer_a"], eer[row["a"]], abs_tol=1e-12)
        assert math.isclose(row["difference"], row["eer_b"] - row["eer_a"], abs_tol=1e-12)
        assert row["ci"][0] <= row["ci"][1]
    assert f"{100 * eer['ReinMax:8']:.2f}" in (folder / "RESULTS.md").read_text()
    assert (folder / "results.png").read_bytes().startswith(b"\x89PNG")
    codes = np.load(folder / "runs" / "extractor0.npz")
    # One nested code is cut; the system of one training for each length has codes of its own.
    np.testing.assert_array_equal(codes["ReinMax:8"], codes["ReinMax:16"][:, :1])
    own = "ReinMax, a training for each length"
    assert (codes[f"{own}:8"] != codes[f"{own}:16"][:, :1]).any()
    before = (folder / "runs" / "extractor0.npz").stat().st_mtime_ns
    words = ("--stage", "2", "--stop-stage", "2")
    second = run("binary", "--smoke", "--exp-dir", "exp", *words, folder=tmp_path)
    assert second.returncode == 0, second.stderr
    assert second.stdout.count("done already") == 3
    assert (folder / "runs" / "extractor0.npz").stat().st_mtime_ns == before


@pytest.mark.parametrize("recipe", ["speechocean762", "normalization", "binary"])
def test_a_source_is_needed(recipe, tmp_path):
    result = run(recipe, "--exp-dir", "exp", folder=tmp_path)
    assert result.returncode != 0
    assert re.search("--source DIRS?.* needed", result.stderr)
