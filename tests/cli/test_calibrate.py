"""``bbb calibrate``: scores in, log-likelihood ratios out, the map saved and used again."""

from pathlib import Path

import numpy as np
import pytest

from bbb.cli.main import main
from bbb.scoring import Calibration, cllr, min_cllr, read_scores

PAIRS = [(a, b) for a in range(40) for b in range(40)]
SAME = np.array([a == b for a, b in PAIRS])
LEARN = ["calibrate", "--train-scores", "train", "--train-trials", "trials"]
APPLY = ["--scores", "eval", "--output", "out/llr"]


@pytest.fixture
def values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Training scores without labels, in another order; others with labels; quality measures."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    train, other = rng.normal(2.0 * SAME, size=(2, len(SAME)))
    lines = [f"e{a} t{b} {x!r}\n" for (a, b), x in zip(PAIRS, train.tolist(), strict=True)]
    Path("train").write_text("".join(rng.permutation(lines)))
    labels = ["target" if yes else "nontarget" for yes in SAME]
    Path("trials").write_text(
        "".join(f"e{a} t{b} {label}\n" for (a, b), label in zip(PAIRS, labels, strict=True))
    )
    rows = zip(PAIRS, other.tolist(), labels, strict=True)
    Path("eval").write_text("".join(f"e{a} t{b} {x!r} {label}\n" for (a, b), x, label in rows))
    quality = rng.normal(size=80).tolist()
    Path("quality").write_text(
        "".join(f"{'et'[k % 2]}{k // 2} {q!r}\n" for k, q in enumerate(quality))
    )
    return np.stack((train, other))


@pytest.mark.parametrize("method", ["logistic", "pav"])
def test_calibration(method: str, values: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--method", method, "--p-target", "0.05", "--save", "out/m.npz"]
    assert main([*LEARN, *APPLY, *words]) == 0
    found = read_scores("out/llr")
    expected = Calibration(method, 0.05).fit(values[0], SAME).transform(values[1])  # type: ignore[arg-type]
    np.testing.assert_allclose(found.scores, expected)
    assert found.is_target is not None
    assert cllr(found.scores, SAME) < min_cllr(values[1], SAME) + 0.15
    out = capsys.readouterr().out
    assert ("log-likelihood ratio = " if method == "logistic" else "non-decreasing map") in out
    assert "on the trials learnt from: Cllr 0." in out
    assert "wrote 1600 log-likelihood ratios to out/llr" in out
    first = Path("out/llr").read_bytes()
    assert main(["calibrate", "--load", "out/m.npz", *APPLY]) == 0
    assert Path("out/llr").read_bytes() == first


@pytest.mark.usefixtures("values")
def test_quality_measures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*LEARN, *APPLY, "--quality", "quality"]) == 0
    assert capsys.readouterr().out.count(" q") == 2
    with_quality = read_scores("out/llr").scores
    assert main([*LEARN, *APPLY]) == 0
    assert (with_quality != read_scores("out/llr").scores).any()


@pytest.mark.usefixtures("values")
def test_warnings_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    text = "".join(f"e{a} t{b} {int(a == b)} {'non' * (a != b)}target\n" for a, b in PAIRS)
    Path("train").write_text(text)
    assert main(["calibrate", "--train-scores", "train", *APPLY]) == 0
    error = capsys.readouterr().err
    assert error.startswith("bbb calibrate: warning: Calibration: a threshold separates")


FAULTS = {
    "nothing to learn from": (["calibrate", *APPLY], "either --train-scores FILE or --load FILE"),
    "two maps": ([*LEARN, *APPLY, "--load", "m.npz"], "either --train-scores FILE or --load FILE"),
    "nothing to write": (LEARN, "--scores FILE with --output FILE, or --save FILE"),
    "no output": ([*LEARN, "--scores", "eval"], "--scores FILE with --output FILE"),
    "no labels": ([*LEARN[:3], *APPLY], "train has no labels; name the trial list with --train-tr"),
    "no quality": ([*LEARN, *APPLY, "--quality", "few"], "quality measures need every id"),
    "name": ([*LEARN, "--save", "m.txt"], "a path ending in .npz, got 'm.txt'"),
    "method": (
        [*LEARN, *APPLY, "--method", "pav", "--quality", "quality"],
        "'pav' without quality",
    ),
    "no such file": (["calibrate", "--load", "m.npz", *APPLY], "m.npz:0: no such file; make it"),
    "prior": ([*LEARN, *APPLY, "--p-target", "1"], "p_target needs a probability"),
}


@pytest.mark.parametrize("case", FAULTS)
@pytest.mark.usefixtures("values")
def test_faults(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("few").write_text("e0 1.0\n")
    words, message = FAULTS[case]
    assert main(words) == 1
    assert message in capsys.readouterr().err
    assert not Path("out").exists()
