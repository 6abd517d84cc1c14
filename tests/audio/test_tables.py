import time
from pathlib import Path

import pytest

from bbb.audio.tables import Fault, read_table


@pytest.fixture
def table(tmp_path):
    def read(content: bytes | str, **options):
        path = tmp_path / "utt2spk"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_table(path, **options)

    return read


def test_fault_prints_as_compilers_do():
    assert str(Fault(Path("data/utt2spk"), 7, "wrong")) == "data/utt2spk:7: wrong"
    assert Fault(Path("x"), 1, "m").level == "error"


def test_values_are_the_rest_of_the_line(table):
    found = table("a one\nb  two words \n")
    assert found.values == {"a": "one", "b": "two words"}
    assert found.lines == {"a": 1, "b": 2}
    assert found.faults == found.style == []


def test_byte_order_mark_is_no_part_of_the_key(table):
    found = table(b"\xef\xbb\xbfa one\n")
    assert found.values == {"a": "one"}
    (fault,) = found.style
    assert (fault.line, fault.level) == (1, "error")
    assert "byte-order mark" in fault.message


def test_last_line_needs_no_line_end(table):
    assert table("a one\nb two").values == {"a": "one", "b": "two"}


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("a one\nb\n", 2, "expected 'key value', got 'b'"),
        ("a one\n\nb two\n", 2, "expected 'key value', got ''"),
        ("a one\na two\n", 2, "duplicate key 'a', first on line 1"),
        (b"a one\nb \xff\n", 2, "not UTF-8"),
        ("", 0, "the file is empty"),
    ],
)
def test_unusable_lines_are_faults(table, content, line, message):
    (fault,) = table(content).faults
    assert fault.line == line
    assert message in fault.message
    assert fault.level == "error"


def test_first_line_of_a_duplicate_is_kept(table):
    assert table("a one\na two\n").values == {"a": "one"}


def test_every_bad_line_is_reported(table):
    found = table("a\nb\nc three\n")
    assert [fault.line for fault in found.faults] == [1, 2]
    assert found.values == {"c": "three"}
    assert found.lines == {"a": 1, "b": 2, "c": 3}


def test_a_key_without_value_does_not_shadow_a_good_line(table):
    found = table("a\na one\n")
    assert found.values == {"a": "one"}
    assert len(found.faults) == 1


def test_missing_file_is_a_fault_only_where_required(tmp_path):
    (fault,) = read_table(tmp_path / "wav.scp").faults
    assert "no such file" in fault.message
    assert read_table(tmp_path / "segments", required=False).faults == []


def test_empty_file_is_no_fault_where_not_required(table):
    assert table("", required=False).faults == []


def test_order_is_that_of_the_c_locale(table):
    # A locale-aware sort puts 'a' before 'B', and ignores '-'.
    assert table("B 1\na 1\na-b 1\nab 1\n").style == []
    (fault,) = table("a 1\nB 1\n").style
    assert (fault.line, fault.level) == (2, "error")
    assert "'B' comes after 'a'; sort the file with LC_ALL=C sort" in fault.message


def test_order_of_non_ascii_keys_is_that_of_their_bytes(table):
    keys = ["z", "é", "中", "\U0001f600"]
    assert sorted(keys, key=lambda key: key.encode()) == sorted(keys)
    assert table("".join(f"{key} 1\n" for key in keys)).style == []


def test_windows_line_ends_are_reported_once(table):
    found = table("a 1\r\nb 2\r\n")
    (fault,) = found.style
    assert "CRLF" in fault.message
    assert found.values == {"a": "1", "b": "2"}


def test_tabs_are_reported_once_as_a_warning(table):
    found = table("a\t1\nb\t2\n")
    (fault,) = found.style
    assert (fault.line, fault.level) == (1, "warning")
    assert "tab between fields" in fault.message
    assert found.values == {"a": "1", "b": "2"}


def test_a_table_in_disorder_takes_time_in_proportion(tmp_path):
    # 20,000 lines took 6 s of CPU time while each looked through the faults of all before it.
    path = tmp_path / "utt2spk"
    path.write_text("".join(f"u{i * 7919 % 20000:05d} s\n" for i in range(20000)))
    start = time.process_time()
    table = read_table(path)
    assert time.process_time() - start < 2.0
    assert len(table.style) > 5000
