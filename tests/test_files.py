"""Text files in blocks of whole lines: any block size, byte-order marks, gzip, broken files."""

import gzip
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bbb import files
from bbb.errors import FormatError
from bbb.files import numbered_lines, open_output, text_blocks, write_text

ONCE = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@ONCE
@given(
    text=st.text(alphabet="ab é\n\r", max_size=30),
    size=st.integers(4, 12),
    bom=st.booleans(),
    packed=st.booleans(),
)
def test_blocks_are_whole_lines_that_know_their_number(
    text: str, size: int, bom: bool, packed: bool, tmp_path: Path
) -> None:
    data = b"\xef\xbb\xbf" * bom + text.encode()
    (tmp_path / "x").write_bytes(gzip.compress(data) if packed else data)
    blocks = list(text_blocks(tmp_path / "x", size))
    assert b"".join(block for _, block in blocks).decode() == text
    assert all(block.endswith(b"\n") for _, block in blocks[:-1])
    number = 1
    for first, block in blocks:
        assert first == number
        number += block.count(b"\n")
    lines = enumerate(text.split("\n"), start=1)
    assert list(numbered_lines(tmp_path / "x")) == [(n, s.strip()) for n, s in lines if s.strip()]


@pytest.mark.parametrize("packed", [False, True])
def test_output_names_say_how(packed: bool, tmp_path: Path) -> None:
    path = tmp_path / ("x.gz" if packed else "x")
    written = []
    for _ in range(2):
        with open_output(path) as stream:
            stream.write(b"a b\n")
        written.append(path.read_bytes())
    assert written[0] == written[1]
    assert (gzip.decompress(written[0]) if packed else written[0]) == b"a b\n"


def test_broken_gzip_names_the_line_that_was_reached(tmp_path: Path) -> None:
    whole = gzip.compress(b"a line\n" * 100, mtime=0)
    for size in range(2, len(whole)):
        (tmp_path / "x").write_bytes(whole[:size])
        with pytest.raises(FormatError, match=r"x:\d+: broken gzip"):
            list(numbered_lines(tmp_path / "x"))
    for place in range(2, len(whole)):
        (tmp_path / "x").write_bytes(whole[:place] + b"\xff" + whole[place + 1 :])
        try:
            lines = [line for _, line in numbered_lines(tmp_path / "x")]
        except FormatError as error:
            assert "x:1: broken gzip" in str(error)  # noqa: PT017
        else:
            assert lines == ["a line"] * 100


def test_a_file_without_line_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LONGEST_LINE", 50)
    (tmp_path / "x").write_bytes(b"short\n" + b"x" * 99)
    with pytest.raises(FormatError, match=r"x:2: expected lines of text, got \d+ bytes without"):
        list(text_blocks(tmp_path / "x", 10))


def test_a_file_of_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes("a\nb\né\n".encode("latin-1"))
    with pytest.raises(FormatError, match=r"x:3: not UTF-8 \(.*\); convert"):
        list(numbered_lines(tmp_path / "x"))


def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # Opened for both, so that neither end waits for the other.
    with pipe.open("r+b", buffering=0) as reader:
        os.set_blocking(reader.fileno(), False)
        write_text(pipe, "all\n")
        assert reader.read(4) == b"all\n"
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"x:0: no such file"):
        list(text_blocks(tmp_path / "x"))
