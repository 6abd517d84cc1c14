"""``bbb fuse``: score files in any order of lines become one."""

from pathlib import Path

import numpy as np
import pytest

from bbb.cli.main import main
from bbb.scoring import Fusion, align_scores, read_scores, read_trials

LOGISTIC = ["--method", "logistic", "--dev-scores"]
VALUES = np.random.default_rng(0).normal(size=(2, 50))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, values in zip("ab", VALUES, strict=True):
        lines = [
            f"m{k % 5} u{k} {value!r} {'non' * (k % 3 > 0)}target\n"
            for k, value in enumerate(values.tolist())
        ]
        Path(name).write_text("".join(lines[::-1] if name == "b" else lines))
    Path("c").write_text("m0 u0 1.0\nm1 u1 2.0\n")
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_mean_of_standardised_scores(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fuse", "a", "b", "--output", "out/fused"]) == 0
    fused = read_scores("out/fused")
    expected = ((VALUES - VALUES.mean(1, keepdims=True)) / VALUES.std(1, keepdims=True)).mean(0)
    np.testing.assert_allclose(fused.scores, expected, atol=1e-12)
    assert fused.is_target is not None
    assert fused.is_target.tolist() == [k % 3 == 0 for k in range(50)]
    assert "wrote 50 fused scores of 2 systems" in capsys.readouterr().out


@pytest.mark.usefixtures("folder")
def test_other_trials(capsys: pytest.CaptureFixture[str]) -> None:
    Path("b").write_text("m0 u0 1.0 target\nm1 u1 2.0 nontarget\n")
    assert main(["fuse", "a", "b", "--output", "out/fused"]) == 1
    assert (
        "scores of b need every trial of the list, got none for 48 of 50" in capsys.readouterr().err
    )
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a"], "needs at least two systems, got 1"),
        (["a", "none"], "none:0: no such file"),
        (["a", "b", "--method", "vote"], "method"),
        (["a", "b", "--dev-scores", "a", "b"], "--dev-scores needs --method logistic"),
        (["a", "b", *LOGISTIC, "a"], "needs --dev-scores of the 2 systems, got 1"),
        (["a", "b", *LOGISTIC, "a", "b", "--dev-output", "c"], "--dev-output needs --dev-utt2spk"),
        (["a", "b", *LOGISTIC, "c", "b"], "c has no labels; name the trial list with --dev-trials"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_faults(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fuse", *words, "--output", "out/fused"]) == 1
    assert message in capsys.readouterr().err


@pytest.fixture
def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Two systems with labels in a trial list, in another order; returns whether each is target."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    pairs = [(a, b) for a in range(40) for b in range(40)]
    same = np.array([a == b for a, b in pairs])
    Path("trials").write_text(
        "".join(f"{int(yes)} e{a} t{b}\n" for (a, b), yes in zip(pairs, same, strict=True))
    )
    for name in "ab":
        values = rng.normal(1.5 * same).tolist()
        lines = [f"e{a} t{b} {x!r}\n" for (a, b), x in zip(pairs, values, strict=True)]
        Path(name).write_text("".join(rng.permutation(lines)))
    Path("utt2spk").write_text("".join(f"e{k} s{k}\nt{k} s{k}\n" for k in range(40)))
    return same


def test_logistic(dev: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fuse", "a", "b", *LOGISTIC, "a", "b", "--dev-trials", "trials", "--output", "fused"]
    assert main([*words, "--p-target", "0.05"]) == 0
    systems = np.stack(
        [align_scores(read_scores(name), read_trials("trials")) for name in "ab"], axis=1
    )
    expected = Fusion("logistic", 0.05).fit_transform(systems, dev)
    fused = align_scores(read_scores("fused"), read_trials("trials"))
    np.testing.assert_allclose(fused, expected)
    out = capsys.readouterr().out
    assert "a: weight 1." in out
    assert "on the trials learnt from: Cllr 0." in out
    assert "DCF(0.05) 0." in out


def test_cross_validation(dev: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fuse", "a", "b", *LOGISTIC, "a", "b", "--dev-trials", "trials", "--output", "fused"]
    words += ["--dev-utt2spk", "utt2spk", "--folds", "4", "--dev-output", "honest"]
    assert main(words) == 0
    honest, fused = read_scores("honest"), read_scores("fused")
    assert honest.is_target is not None
    assert (honest.is_target == dev).all()
    gap = np.abs(honest.scores - align_scores(fused, honest))
    assert gap.min() > 0
    assert np.median(gap) < 1.0
    assert "cross-validated: Cllr 0." in capsys.readouterr().out


@pytest.mark.usefixtures("dev")
def test_warnings_are_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fuse", "a", "a", *LOGISTIC, "a", "a", "--dev-trials", "trials", "--output", "fused"]
    assert main([*words, "--dev-utt2spk", "utt2spk"]) == 0
    assert capsys.readouterr().err.count("bbb fuse: warning: Fusion: columns are collinear") == 1
