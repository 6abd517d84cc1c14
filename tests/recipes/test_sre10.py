"""The SRE10 recipe's data on a miniature of the corpora; test_voxceleb.py has the whole of it."""

import shutil

import pytest

from bbb import scoring
from bbb.audio.datadir import DataDir
from recipes.common import miniature
from recipes.common.results import Options
from tests.recipes.test_recipes import run


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    folder = tmp_path_factory.mktemp("LDC")
    miniature.make_sre(folder)
    return folder


def prepare(corpora, tmp_path):
    words = ("--source", str(corpora), "--exp-dir", "exp", "--stop-stage", "2")
    return run("sre10", *words, folder=tmp_path)


def test_training_and_test_share_no_speaker(corpora, tmp_path):
    first = prepare(corpora, tmp_path)
    assert first.returncode == 0, first.stderr
    data = tmp_path / "exp" / "data"
    parts = ("train", "sre", "swbd", "sre10/enroll", "sre10/test")
    train, sre, swbd, enroll, test = (DataDir.read(data / name) for name in parts)
    assert set(train.spk2utt) == set(sre.spk2utt) | set(swbd.spk2utt)
    assert len(sre.spk2utt) == len(swbd.spk2utt) == 4
    assert not set(train.spk2utt) & set(enroll.spk2utt)
    assert "note: 2 speakers of exp/data/sre10/enroll are left out" in first.stdout
    assert {side.channel for side in train.sides.values()} == {"A", "B"}
    assert len(enroll) == len(test) == 10
    pooled, women, men = (
        scoring.read_trials(data / "sre10" / f"trials_core_c5{part}") for part in ("", "_f", "_m")
    )
    assert len(pooled) == len(women) + len(men) == 50
    assert women.is_target.sum() == men.is_target.sum() == 5
    second = prepare(corpora, tmp_path)
    assert second.returncode == 0, second.stderr
    assert second.stdout.count("done already") == 4 + 3


def test_intervals_know_the_speakers_of_models(tmp_path):
    """A model, its utterance and the test side of a target trial are one speaker."""
    (tmp_path / "utt2spk").write_text("s1-x s1\ns2-x s2\n")
    (tmp_path / "test2spk").write_text("a a\nb b\n")
    (tmp_path / "model2utt").write_text("10 s1-x\n20 s2-x\n")
    (tmp_path / "trials").write_text("10 a target\n20 a nontarget\n20 b nontarget\n")
    options = Options(
        exp_dir=tmp_path,
        systems=[],
        trials=[tmp_path / "trials"],
        utt2spk=[tmp_path / "utt2spk", tmp_path / "test2spk"],
        enroll_map=tmp_path / "model2utt",
    )
    speakers = options.speakers([scoring.read_trials(tmp_path / "trials")])
    assert [speakers[name] for name in ("10", "20", "a", "b")] == ["s1", "s2", "s1", "b"]


def test_broken_corpora_are_refused_before_training(corpora, tmp_path):
    broken = tmp_path / "LDC"
    shutil.copytree(corpora, broken)
    base = broken / "LDC2017S06/data/eval"
    (base / "data/test/tel/xaa0.sph").unlink()
    cut = base / "data/train/tel/taa1.sph"
    cut.write_bytes(cut.read_bytes()[:-100])
    result = prepare(broken, tmp_path)
    assert result.returncode != 0
    assert "1 segments of trials without audio: xaa0" in result.stderr
    assert "taa1.sph: truncated, 100 bytes are missing" in result.stderr
    assert not (tmp_path / "exp" / "data" / "sre10").exists()


def test_a_source_is_needed(tmp_path):
    result = run("sre10", folder=tmp_path)
    assert result.returncode != 0
    assert "--source DIR is needed" in result.stderr
    assert not list(tmp_path.iterdir())
