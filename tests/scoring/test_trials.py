"""Trial lists: three formats told apart by content, every fault with its line."""

import contextlib
import functools
import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bbb.errors import ConfigError, FormatError
from bbb.scoring import Trials, _table, read_trials

KALDI = "a u1 target\na u2 nontarget\nb u1 nontarget\n"
LABEL = ("nontarget", "target")
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


@contextlib.contextmanager
def reading(fast_bytes: int, size: int = _table.BLOCK_BYTES) -> Iterator[None]:
    """Read blocks of ``size`` bytes, by polars where the first has as many as ``fast_bytes``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_table, "FAST_BYTES", fast_bytes)
        for module in ("trials", "scores"):
            small = functools.partial(_table.read_blocks, size=size)
            patch.setattr(f"bbb.scoring.{module}.read_blocks", small)
        yield


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
    "blank of unicode": (KALDI + "b\u00a0c u2 target\n", r"trials:4: .* got 4 fields"),
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
        r"trials:2: expected side 'a' in every line, got 'b'; split",
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


ONCE = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@ONCE
@given(
    lines=st.lists(LINE, max_size=5),
    ends=st.sampled_from(["\n", "\r\n"]),
    size=st.sampled_from([4, 9, 2**20]),
)
def test_any_text_parses_or_names_a_line(
    lines: list[str], ends: str, size: int, tmp_path: Path
) -> None:
    path = tmp_path / "trials"
    path.write_bytes(ends.join(lines).encode())
    results = []
    for limit in (0, 2**40):
        with reading(limit, size):
            try:
                results.append(plain(read_trials(path)))
            except FormatError as error:
                name, number, _ = str(error).removeprefix(str(path)).split(":", 2)
                assert name == ""
                assert int(number) >= 0
                results.append(str(error))
    assert results[0] == results[1]


@ONCE
@given(
    data=st.binary(max_size=30), magic=st.sampled_from([b"", b"PK\3\4", b"\x1f\x8b", b"\xef\xbb"])
)
def test_any_bytes_parse_or_name_a_line(data: bytes, magic: bytes, tmp_path: Path) -> None:
    (tmp_path / "trials").write_bytes(magic + data)
    with contextlib.suppress(FormatError):
        read_trials(tmp_path / "trials")


PAIRS = [(f"m{k % 5}", f"u{k % 13}", k % 13 == k % 5) for k in range(65)]
LISTED = "\n".join(f"{enroll} {test} {LABEL[yes]}" for enroll, test, yes in PAIRS)


@pytest.mark.parametrize("size", [4, 30, 100, 2**20])
@pytest.mark.parametrize("fast", [0, 2**40])
class TestBlocks:
    def test_sizes_agree(self, fast: int, size: int, tmp_path: Path) -> None:
        with reading(fast, size):
            trials = read_trials(write(tmp_path, LISTED))
        assert plain(trials) == PAIRS
        assert trials.enroll_ids == tuple(dict.fromkeys(enroll for enroll, _, _ in PAIRS))
        assert trials.test_ids == tuple(dict.fromkeys(test for _, test, _ in PAIRS))
        assert trials.enroll.dtype == trials.test.dtype == np.int32

    @pytest.mark.parametrize("head", ["", "\n\n", "\n modelid segmentid targettype\n\n"])
    def test_lines_are_counted_across_blocks(
        self, fast: int, size: int, head: str, tmp_path: Path
    ) -> None:
        before = head.count("\n") + 65
        for line, match in {
            "x": r"expected .* got 1 fields",
            "m1 u1 no": "expected the label",
            "m0 u0 nontarget": rf"expected .* got both for 'm0 u0' \(first in line {before - 64}\)",
        }.items():
            text = f"{head}{LISTED}\n{line}\n{LISTED}"
            with reading(fast, size), pytest.raises(FormatError, match=f"s:{before + 1}: {match}"):
                read_trials(write(tmp_path, text))

    def test_odd_lines_are_read_one_by_one(self, fast: int, size: int, tmp_path: Path) -> None:
        lines = LISTED.split("\n")
        lines[3], lines[40] = f" {lines[3]}", lines[40].replace(" ", "\t\u2003")
        with reading(fast, size):
            trials = read_trials(write(tmp_path, "\n\n".join(lines)))
        assert plain(trials) == PAIRS


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("form", SAME)
def test_gzip_is_known_by_its_content(form: str, tmp_path: Path) -> None:
    path = write(tmp_path, SAME[form])
    expected = plain(read_trials(path))
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert plain(read_trials(path)) == expected


def test_without_polars_large_lists_are_read_as_small_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr(_table, "_polars", None)
    with reading(0):
        assert plain(read_trials(write(tmp_path, LISTED))) == PAIRS


class TestBinary:
    def test_round_trip(self, tmp_path: Path) -> None:
        trials = read_trials(write(tmp_path, 'm"1 wav/é.wav target\nx ü nontarget\n'))
        trials.save(tmp_path / "new" / "t.npz")
        back = read_trials((tmp_path / "new" / "t.npz").rename(tmp_path / "any name"))
        assert plain(back) == plain(trials)
        assert (back.enroll_ids, back.test_ids) == (trials.enroll_ids, trials.test_ids)
        assert back.enroll.dtype == back.test.dtype == np.int32

    def test_codes_of_any_integer_type(self, tmp_path: Path) -> None:
        codes = np.array([0, 1])
        assert codes.dtype == np.int64
        Trials(("a", "b"), ("u", "v"), codes, codes, codes == 0).save(tmp_path / "t.npz")
        assert plain(read_trials(tmp_path / "t.npz")) == [("a", "u", True), ("b", "v", False)]

    def test_name(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"ending in \.npz"):
            read_trials(write(tmp_path, KALDI)).save(tmp_path / "t.bin")

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("enroll", [0, 0, 2]),
            ("test", [0, -1, 0]),
            ("test", [0.0, 1.0, 0.0]),
            ("test", [0, 1]),
            ("enroll", [[0], [0], [1]]),
            ("is_target", [1, 0, 0]),
            ("is_target", [[True], [False], [True]]),
            ("enroll_ids", [0xFF]),
            ("test_ids", ["u1", "u2"]),
        ],
    )
    def test_other_contents(self, name: str, value: list[object], tmp_path: Path) -> None:
        read_trials(write(tmp_path, KALDI)).save(tmp_path / "t.npz")
        with np.load(tmp_path / "t.npz") as archive:
            arrays = dict(archive)
        kind = {"enroll_ids": np.uint8}.get(name)
        array = np.array(value, dtype=kind)
        arrays[name] = (
            array.astype(np.int32) if array.dtype == np.int64 and name != "is_target" else array
        )
        np.savez(tmp_path / "t.npz", **arrays)
        with pytest.raises(FormatError, match=r"t.npz:0: expected .*; save the trial list again"):
            read_trials(tmp_path / "t.npz")

    def test_every_cut_is_seen(self, tmp_path: Path) -> None:
        read_trials(write(tmp_path, KALDI)).save(tmp_path / "t.npz")
        whole = (tmp_path / "t.npz").read_bytes()
        for size in range(4, len(whole), 7):
            (tmp_path / "t.npz").write_bytes(whole[:size])
            with pytest.raises(FormatError, match=r"t.npz:0: not a complete \.npz"):
                read_trials(tmp_path / "t.npz")


def test_large_lists_agree_with_small_ones(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pairs = rng.integers(500, size=(20_000, 2))
    labels = [("nontarget", "target")[int(first * second % 7 == 0)] for first, second in pairs]
    text = "".join(f"m{e} u{t} {label}\n" for (e, t), label in zip(pairs, labels, strict=True))
    path = write(tmp_path, text)
    both = []
    for limit in (0, 2**40):
        with reading(limit):
            both.append(read_trials(path))
    assert both[0].enroll_ids == both[1].enroll_ids
    assert both[0].test_ids == both[1].test_ids
    for name in ("enroll", "test", "is_target"):
        np.testing.assert_array_equal(getattr(both[0], name), getattr(both[1], name))
