"""Trial lists: three formats told apart by content, every fault with its line."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bbb.errors import FormatError
from bbb.scoring import Trials, _table, read_trials

KALDI = "a u1 target\na u2 nontarget\nb u1 nontarget\n"
SAME = {
    "kaldi": KALDI,
    "voxceleb": "1 a u1\n0 a u2\n0 b u1\n",
    "nist": "modelid\tsegmentid\tside\ttargettype\na\tu1\ta\ttarget\n"
    "a\tu2\ta\tnontarget\nb\tu1\ta\tnontarget\n",
    "nist sre16": "modelid segment targettype\na u1 target\na u2 nontarget\nb u1 nontarget\n",
    "crlf": KALDI.replace("\n", "\r\n"),
    "tabs": KALDI.replace(" ", "\t"),
    "bom": "\ufeff" + KALDI,
    "blank lines and blanks": "\n  a   u1\ttarget \n\na u2 nontarget\n\nb u1 nontarget",
}


@pytest.fixture(params=["line by line", "polars"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to read: what small and what large files take."""
    monkeypatch.setattr(_table, "FAST_BYTES", 0 if request.param == "polars" else 2**40)
    return str(request.param)


def write(folder: Path, text: str) -> Path:
    path = folder / "trials"
    path.write_bytes(text.encode())
    return path


def plain(trials: Trials) -> list[tuple[str, str, bool]]:
    return [
        (trials.enroll_ids[enroll], trials.test_ids[test], bool(target))
        for enroll, test, target in zip(trials.enroll, trials.test, trials.is_target, strict=True)
    ]


@pytest.mark.parametrize("form", SAME)
@pytest.mark.usefixtures("reader")
def test_formats_agree(form: str, tmp_path: Path) -> None:
    trials = read_trials(write(tmp_path, SAME[form]))
    assert plain(trials) == [("a", "u1", True), ("a", "u2", False), ("b", "u1", False)]
    assert trials.enroll_ids == ("a", "b")
    assert trials.test_ids == ("u1", "u2")
    assert trials.enroll.dtype == np.int32
    assert len(trials) == 3
    assert trials.pair(2) == "b u1"


WRONG = {
    "two fields": ("a u1\n", r"trials:1: expected .* got 2 fields; is the label column missing"),
    "later line": (KALDI + "b u2\n", r"trials:4: expected 'enroll test .*', got 2 fields"),
    "extra field": (KALDI + "b u2 target x\n", r"trials:4: expected .*, got 4 fields"),
    "label": (KALDI + "b u2 Target\n", r"trials:4: .* got 'Target'; correct the label"),
    "label after blank": (KALDI + "\nb u2 yes\n", r"trials:5: expected the label target"),
    "number": ("1 a u1\n2 a u2\n", r"trials:2: expected the label 1 or 0 in field 1, got '2'"),
    "mixed": ("1 a u1\na u2 target\n", r"trials:2: expected the label 1 or 0"),
    "ambiguous": ("1 a target\n0 b nontarget\n", r"trials:1: .* got lines that are both"),
    "both labels": (
        KALDI + "a u1 nontarget\n",
        r"trials:4: .* got both for 'a u1' \(first in line 1\)",
    ),
    "no label": ("modelid segmentid side\na u1 a\n", r"trials:1: expected a column 'targettype'"),
    "channel": (
        "modelid segmentid side targettype\na u1 b target\n",
        r"trials:1: expected side 'a' in every line, got sides \['b'\]",
    ),
    "nist fields": ("modelid segmentid targettype\na u1\n", r"trials:2: expected the 3 fields"),
    "header only": ("modelid segmentid targettype\n", r"trials:1: expected trials below"),
    "empty": ("", r"trials:0: expected at least one line, got an empty file"),
    "blank": ("\n \n", r"trials:0: expected at least one line"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.usefixtures("reader")
def test_faults_name_the_line(case: str, tmp_path: Path) -> None:
    text, match = WRONG[case]
    with pytest.raises(FormatError, match=match):
        read_trials(write(tmp_path, text))


@pytest.mark.usefixtures("reader")
def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "trials"
    path.write_bytes(KALDI.encode() + b"b \xff target\n")
    with pytest.raises(FormatError, match=r"trials:4: not UTF-8"):
        read_trials(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"none:0: no such file"):
        read_trials(tmp_path / "none")


@pytest.mark.usefixtures("reader")
def test_equal_repetitions_are_kept(tmp_path: Path) -> None:
    assert len(read_trials(write(tmp_path, KALDI + "a u1 target\n"))) == 4


@pytest.mark.usefixtures("reader")
def test_unusual_ids(tmp_path: Path) -> None:
    text = 'm"1 wav/é.wav target\n#x "q" nontarget\n'
    trials = read_trials(write(tmp_path, text))
    assert plain(trials) == [('m"1', "wav/é.wav", True), ("#x", '"q"', False)]


FIELD = st.one_of(
    st.sampled_from(
        ["target", "nontarget", "0", "1", "a", "b", "modelid", "segmentid", "targettype"]
    ),
    st.text(max_size=4),
)
LINE = st.lists(FIELD, max_size=4).flatmap(
    lambda fields: st.sampled_from([" ", "\t", "  "]).map(lambda blank: blank.join(fields))
)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(lines=st.lists(LINE, max_size=5), ends=st.sampled_from(["\n", "\r\n"]))
def test_any_text_parses_or_names_a_line(lines: list[str], ends: str, tmp_path: Path) -> None:
    path = tmp_path / "trials"
    path.write_bytes(ends.join(lines).encode())
    results = []
    for limit in (0, 2**40):
        _table.FAST_BYTES, kept = limit, _table.FAST_BYTES
        try:
            results.append(plain(read_trials(path)))
        except FormatError as error:
            name, number, _ = str(error).removeprefix(str(path)).split(":", 2)
            assert name == ""
            assert int(number) >= 0
            results.append(str(error))
        finally:
            _table.FAST_BYTES = kept
    assert results[0] == results[1]


def test_large_lists_agree_with_small_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    pairs = rng.integers(500, size=(20_000, 2))
    labels = [("nontarget", "target")[int(first * second % 7 == 0)] for first, second in pairs]
    text = "".join(f"m{e} u{t} {label}\n" for (e, t), label in zip(pairs, labels, strict=True))
    path = write(tmp_path, text)
    both = []
    for limit in (0, 2**40):
        monkeypatch.setattr(_table, "FAST_BYTES", limit)
        both.append(read_trials(path))
    assert both[0].enroll_ids == both[1].enroll_ids
    assert both[0].test_ids == both[1].test_ids
    for name in ("enroll", "test", "is_target"):
        np.testing.assert_array_equal(getattr(both[0], name), getattr(both[1], name))
