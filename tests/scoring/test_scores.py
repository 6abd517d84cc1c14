"""Score files: exact round trips, keys instead of line order, faults with their line."""

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bbb.errors import DataError, FormatError, ShapeError
from bbb.scoring import (
    Scores,
    Trials,
    _table,
    align_scores,
    iter_scores,
    read_scores,
    read_trials,
    write_scores,
)

TEXT = "a u1 1.5 target\na u2 -2 nontarget\nb u1 1e-3 nontarget\n"


@pytest.fixture(params=["line by line", "polars"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_table, "FAST_BYTES", 0 if request.param == "polars" else 2**40)


def write(folder: Path, text: str, name: str = "scores") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def trials(count: int) -> Trials:
    """Distinct trials over few ids."""
    index = np.arange(count, dtype=np.int32)
    return Trials(
        tuple(f"m{k}" for k in range(7)),
        tuple(f"u{k}" for k in range(count)),
        index % 7,
        index,
        index % 3 == 0,
    )


@pytest.mark.usefixtures("reader")
class TestRead:
    def test_with_labels(self, tmp_path: Path) -> None:
        scores = read_scores(write(tmp_path, TEXT))
        assert scores.scores.tolist() == [1.5, -2.0, 0.001]
        assert scores.is_target is not None
        assert scores.is_target.tolist() == [True, False, False]
        assert (scores.enroll_ids, scores.test_ids) == (("a", "b"), ("u1", "u2"))
        assert len(scores) == 3

    def test_without_labels(self, tmp_path: Path) -> None:
        scores = read_scores(write(tmp_path, "a u1 inf\r\nb u1 -0.25\r\n"))
        assert scores.is_target is None
        assert scores.scores.tolist() == [np.inf, -0.25]

    def test_equal_repetitions_are_welcome(self, tmp_path: Path) -> None:
        assert len(read_scores(write(tmp_path, TEXT + "a u1 1.50 target\n"))) == 4

    @pytest.mark.parametrize(
        ("line", "match"),
        [
            ("b u2 nan target", r"scores:4: expected a number as the score, got 'nan'"),
            ("b u2 NaN target", r"scores:4: expected a number as the score, got 'NaN'"),
            ("b u2 x target", r"scores:4: expected a number as the score, got 'x'"),
            ("b u2 1_0 target", r"scores:4: expected a number as the score, got '1_0'"),
            ("b u2 1.0", r"scores:4: expected 'enroll test score .* got 3 fields"),
            ("b u2 1.0 tar", r"scores:4: expected the label target or nontarget in field 4"),
            ("a u1 2.5 target", r"scores:4: .* got 2.5 after 1.5 in line 1 for 'a u1'"),
            ("a u1 1.5 nontarget", r"scores:4: expected one score and label per trial"),
        ],
    )
    def test_faults_name_the_line(self, line: str, match: str, tmp_path: Path) -> None:
        with pytest.raises(FormatError, match=match):
            read_scores(write(tmp_path, TEXT + line + "\n"))

    @pytest.mark.parametrize("text", ["a u1\n", "a u1 1 target x\n"])
    def test_number_of_fields(self, text: str, tmp_path: Path) -> None:
        with pytest.raises(FormatError, match=r"scores:1: expected 'enroll test score"):
            read_scores(write(tmp_path, text))

    def test_empty(self, tmp_path: Path) -> None:
        with pytest.raises(FormatError, match=r"scores:0: expected at least one line"):
            read_scores(write(tmp_path, ""))

    def test_a_later_line_number_counts_blank_lines(self, tmp_path: Path) -> None:
        with pytest.raises(FormatError, match=r"scores:6: .* in line 2"):
            read_scores(write(tmp_path, "\n" + TEXT + "\na u1 7 target\n"))


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=st.text(alphabet="ab 01.-+eEnif_\t\n\r", max_size=40))
def test_both_readers_agree_on_any_text(text: str, tmp_path: Path) -> None:
    path = tmp_path / "scores"
    path.write_bytes(text.encode())
    results: list[object] = []
    for limit in (0, 2**40):
        _table.FAST_BYTES, kept = limit, _table.FAST_BYTES
        try:
            results.append(read_scores(path).scores.tolist())
        except FormatError as error:
            results.append(str(error))
        finally:
            _table.FAST_BYTES = kept
    assert results[0] == results[1]


class TestIterate:
    @pytest.mark.parametrize("block", [4, 64, 2**20])
    @pytest.mark.usefixtures("reader")
    def test_blocks_are_the_file(self, block: int, tmp_path: Path) -> None:
        path = tmp_path / "scores.gz"
        written = Scores.of(trials(100), np.random.default_rng(0).normal(size=100))
        write_scores(path, written)
        scores, is_target = zip(*iter_scores(path, block=block), strict=True)
        assert (len(scores) > 1) == (block < 2**20)
        np.testing.assert_array_equal(np.concatenate(scores), written.scores)
        np.testing.assert_array_equal(np.concatenate(is_target), written.is_target)

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ("\na u1 1.5\n", r"scores:2: expected .* got 3 fields; write the scores with labels"),
            (TEXT + "b u2 nan target\n", r"scores:4: expected a number"),
            (TEXT + "b u2 1 yes\n", r"scores:4: expected the label"),
            (TEXT + "b u2 1\n", r"scores:4: expected .* got 3 fields"),
            ("", r"scores:0: expected at least one line"),
        ],
    )
    @pytest.mark.parametrize("block", [4, 2**20])
    @pytest.mark.usefixtures("reader")
    def test_faults_name_the_line(self, text: str, match: str, block: int, tmp_path: Path) -> None:
        with pytest.raises(FormatError, match=match):
            list(iter_scores(write(tmp_path, text), block=block))

    def test_memory_does_not_grow_with_the_file(self, tmp_path: Path) -> None:
        # In a process of its own, which knows its own peak, and what polars takes too.
        code = """
import resource, sys
from bbb.scoring import _table, iter_scores
_table.FAST_BYTES = 0
peaks = []
for path in sys.argv[1:]:
    lines = sum(len(scores) for scores, _ in iter_scores(path, block=2**20))
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(lines, *peaks)
"""
        text = "".join(
            f"speaker-{k % 97}/model utterance-{k} {k}.5 target\n" for k in range(100_000)
        )
        small, large = tmp_path / "small", tmp_path / "large"
        small.write_text(text)
        large.write_text(text * 10)
        words = [sys.executable, "-c", code, str(small), str(large)]
        out = subprocess.run(words, capture_output=True, check=True, text=True).stdout
        lines, before, after = map(int, out.split())
        assert lines == 1_000_000
        assert large.stat().st_size > 40 * 2**20
        assert (after - before) * 2**10 < 16 * 2**20


class TestWrite:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("labelled", [True, False])
    def test_round_trip_is_exact(self, dtype: type, labelled: bool, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        values = (rng.normal(size=2000) * 10.0 ** rng.integers(-30, 30, 2000)).astype(dtype)
        scores = Scores.of(trials(2000), values)
        if not labelled:
            scores = Scores(scores.enroll_ids, scores.test_ids, scores.enroll, scores.test, values)
        write_scores(tmp_path / "scores", scores)
        back = read_scores(tmp_path / "scores")
        np.testing.assert_array_equal(back.scores.astype(dtype), values)
        if labelled:
            np.testing.assert_array_equal(back.is_target, scores.is_target)
        else:
            assert back.is_target is None

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("name", ["scores", "scores.gz"])
    @pytest.mark.parametrize("labelled", [True, False])
    def test_both_writers_agree(
        self,
        dtype: type,
        name: str,
        labelled: bool,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        rng = np.random.default_rng(0)
        values = (rng.normal(size=3000) * 10.0 ** rng.integers(-40, 37, 3000)).astype(dtype)
        values[:3] = np.inf, -np.inf, -0.0
        listed = trials(3000)
        odd = ('"m"', "a,b", "é", "#", "'", "\\", "null")
        scores = Scores(
            odd,
            listed.test_ids,
            listed.enroll,
            listed.test,
            values,
            listed.is_target if labelled else None,
        )
        monkeypatch.setattr("bbb.scoring.scores.LINES_AT_ONCE", 1000)
        rows = []
        for limit in (0, 2**40):
            monkeypatch.setattr("bbb.scoring.scores.FAST_LINES", limit)
            write_scores(tmp_path / name, scores)
            data = (tmp_path / name).read_bytes()
            text = (gzip.decompress(data) if name.endswith(".gz") else data).decode()
            fields = [line.split(" ") for line in text.splitlines()]
            rows.append([(*row[:2], float(row[2]), *row[3:]) for row in fields])
            np.testing.assert_array_equal(read_scores(tmp_path / name).scores.astype(dtype), values)
        assert rows[0] == rows[1]
        assert rows[0][1][:3] == ("a,b", "u1", -np.inf)

    @pytest.mark.parametrize("name", ["", "a b", "a\n"])
    def test_ids_that_would_break_the_file(self, name: str, tmp_path: Path) -> None:
        path, index = write(tmp_path, TEXT), np.zeros(1, np.int32)
        with pytest.raises(DataError, match="write_scores needs ids without blanks"):
            write_scores(path, Scores(("a",), (name,), index, index, np.zeros(1)))
        assert path.read_text() == TEXT

    def test_lines_are_as_documented(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "scores"
        write_scores(path, Scores.of(trials(2), np.array([0.1, -3.0], dtype=np.float32)))
        assert path.read_text() == "m0 u0 0.1 target\nm1 u1 -3.0 nontarget\n"

    def test_nan_is_refused_and_the_old_file_stays(self, tmp_path: Path) -> None:
        path = write(tmp_path, TEXT)
        bad = Scores.of(trials(3), np.array([0.0, np.nan, 1.0]))
        with pytest.raises(DataError, match="got 1 NaN, the first for 'm1 u1'"):
            write_scores(path, bad)
        assert path.read_text() == TEXT

    def test_a_kill_leaves_the_old_file(self, tmp_path: Path) -> None:
        path = write(tmp_path, TEXT)

        def killed(lines: int) -> None:
            raise KeyboardInterrupt(lines)

        with pytest.raises(KeyboardInterrupt):
            write_scores(path, Scores.of(trials(5), np.zeros(5)), progress=killed)
        assert path.read_text() == TEXT
        assert [item.name for item in tmp_path.iterdir()] == ["scores"]

    def test_progress_counts_lines(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("bbb.scoring.scores.LINES_AT_ONCE", 4)
        done: list[int] = []
        write_scores(tmp_path / "s", Scores.of(trials(10), np.arange(10.0)), progress=done.append)
        assert done == [4, 4, 2]
        assert read_scores(tmp_path / "s").scores.tolist() == list(range(10))

    def test_one_score_per_trial(self) -> None:
        with pytest.raises(ShapeError, match=r"shape \(3,\), got \(2,\)"):
            Scores.of(trials(3), np.zeros(2))


class TestAlign:
    def test_by_key_not_by_line(self, tmp_path: Path) -> None:
        wanted = read_trials(write(tmp_path, "b u1 target\na u2 nontarget\n", "trials"))
        scores = read_scores(write(tmp_path, TEXT))
        assert align_scores(scores, wanted).tolist() == [0.001, -2.0]

    def test_any_permutation(self) -> None:
        listed = trials(500)
        order = np.random.default_rng(0).permutation(500)
        shuffled = Scores(
            listed.enroll_ids,
            listed.test_ids,
            listed.enroll[order],
            listed.test[order],
            order * 1.0,
        )
        assert align_scores(shuffled, listed).tolist() == list(range(500))

    def test_the_same_order_is_not_copied(self) -> None:
        scores = Scores.of(trials(5), np.arange(5.0))
        assert align_scores(scores, trials(5)) is scores.scores

    def test_missing_trials_are_counted_and_named(self, tmp_path: Path) -> None:
        text = "".join(f"a x{k} target\n" for k in range(7)) + "b u2 target\na u1 nontarget\n"
        wanted = read_trials(write(tmp_path, text, "trials"))
        scores = read_scores(write(tmp_path, TEXT))
        match = r"A need every trial of the list, got none for 8 of 9: 'a x0', .*'a x4'; score"
        with pytest.raises(DataError, match=match):
            align_scores(scores, wanted, name="A")
