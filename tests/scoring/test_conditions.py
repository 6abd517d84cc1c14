"""Conditions of trials: three forms of file, matched by id, and the report of each condition."""

from pathlib import Path

import numpy as np
import pytest

from bbb.errors import ConfigError, DataError, FormatError, ShapeError
from bbb.scoring import evaluate, evaluate_by, read_conditions, read_trials

TRIALS = "a x target\na y nontarget\nb x nontarget\nb y target\n"
NIST = "modelid\tsegmentid\tside\tChannel\nb\ty\ta\ttel\na\tx\ta\ttel\na\ty\ta\tmic\nb\tx\ta\tmic\n"


def read(folder: Path, text: str, **options: object) -> list[str]:
    (folder / "trials").write_text(TRIALS)
    (folder / "conditions").write_text(text)
    trials = read_trials(folder / "trials")
    return read_conditions(folder / "conditions", trials, **options).tolist()  # type: ignore[arg-type]


def test_a_line_per_trial_in_any_order(tmp_path: Path) -> None:
    text = "b y far\na x near\n\nother z far\na y far\nb x near\na x near\n"
    assert read(tmp_path, text) == ["near", "far", "near", "far"]


def test_a_condition_per_side(tmp_path: Path) -> None:
    assert read(tmp_path, "a f\nb m\nx f\ny m\n") == ["f", "f-m", "m-f", "m"]
    utt2spk = {"a": "s", "b": "t", "x": "s"}
    assert read(tmp_path, "s f\nt m\ny m\n", utt2spk=utt2spk) == ["f", "f-m", "m-f", "m"]


def test_a_column_of_a_nist_key(tmp_path: Path) -> None:
    assert read(tmp_path, NIST, column="channel") == ["tel", "mic", "mic", "tel"]


@pytest.mark.parametrize(
    ("text", "column", "error", "match"),
    [
        ("a x near\n", "", DataError, "conditions of .* got none for 3 of 4: 'a y'"),
        ("a f\nb m\n", "", DataError, "got none for 2: 'x', 'y'; add them, or give utt2spk"),
        ("a x f\na x m\n", "", FormatError, r"conditions:2: .* got 'm' after 'f' for 'a x'"),
        ("a x f\na y\n", "", FormatError, r"conditions:2: expected .* got 2 fields"),
        ("a x y z\n", "", FormatError, r"conditions:1: expected .* got 4 fields"),
        ("", "", FormatError, "conditions:0: expected at least one line"),
        ("a x f\n", "sex", FormatError, "conditions:1: expected a NIST header with 'sex'"),
        (NIST, "sex", ConfigError, "needs one of modelid, segmentid, side, Channel, got 'sex'"),
        (NIST.split("\n", maxsplit=1)[0], "channel", FormatError, "got none; is the file complete"),
        (NIST + "a\tx\ta\tmic\n", "channel", FormatError, "conditions:6: .* 'mic' after 'tel'"),
    ],
)
def test_faults(text: str, column: str, error: type[Exception], match: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=match):
        read(tmp_path, text, column=column)


def test_each_condition_is_evaluated_alone() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random(600) < 0.3
    scores = rng.normal(2.0 * labels)
    conditions = rng.choice(["x", "y", "lonely"], 600, p=[0.5, 0.5, 0.0])
    conditions[np.flatnonzero(~labels)[:7]] = "lonely"
    reports = evaluate_by(scores, labels, conditions, preset="sre16")
    assert list(reports) == ["lonely", "x", "y"]
    assert reports["lonely"] == {"num_target": 0, "num_nontarget": 7}
    chosen = conditions == "x"
    assert reports["x"] == evaluate(scores[chosen], labels[chosen], preset="sre16")
    with pytest.raises(ShapeError, match=r"conditions need shape \(600,\), got \(5,\)"):
        evaluate_by(scores, labels, conditions[:5])
    with pytest.raises(DataError, match="1 NaN"):
        evaluate_by(np.where(np.arange(600) == 9, np.nan, scores), labels, conditions)
