"""``bbb fuse``: score files in any order of lines become one."""

from pathlib import Path

import numpy as np
import pytest

from bbb.cli.main import main
from bbb.scoring import read_scores

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
        (["a", "b", "--method", "logistic"], "method"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_faults(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fuse", *words, "--output", "out/fused"]) == 1
    assert message in capsys.readouterr().err
