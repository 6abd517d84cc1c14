"""Kaldi archives: against kaldiio, against Kaldi's arithmetic term by term, and broken ones."""

import contextlib
import pickle
import struct
from pathlib import Path

import kaldiio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bbb._ark import Archive, ark_writer
from bbb._scp import Scp
from bbb.errors import FormatError

RNG = np.random.default_rng(0)
SPEECH = (RNG.normal(size=(40, 7)) * np.arange(1, 8) + 12.0).astype(np.float32)
ARRAYS = {"a": SPEECH, "b": RNG.normal(size=(1, 1)), "ü": SPEECH[:9, :3]}
# kaldiio's numbers of Kaldi's methods, and the formats that they lead to.
METHODS = {2: b"CM", 3: b"CM2", 4: b"CM2", 5: b"CM3", 6: b"CM3", 7: b"CM3"}


def write(folder: Path, arrays: dict[str, np.ndarray] = ARRAYS, name: str = "x") -> Scp:
    with ark_writer(folder / f"{name}.ark") as put:
        for key, array in arrays.items():
            put(key, array)
    return Scp(folder / f"{name}.scp", next(iter(arrays.values())).ndim)


def same(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


# -- there and back -------------------------------------------------------------------------


@pytest.mark.parametrize("arrays", [ARRAYS, {"v": SPEECH[0], "w": SPEECH[:3, 0].astype(float)}])
def test_what_is_written_is_read_by_both(arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    scp = write(tmp_path, arrays)
    theirs = kaldiio.load_scp(str(tmp_path / "x.scp"))
    assert list(scp) == list(theirs) == [key for key, _ in Archive(tmp_path / "x.ark", scp.ndim)]
    assert len(scp) == len(arrays)
    for key, array in Archive(tmp_path / "x.ark", scp.ndim):
        for found in (scp.read(key), theirs[key], array):
            same(found, arrays[key])
        assert scp.shape(key) == arrays[key].shape


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("arrays", [{"a": SPEECH, "b": SPEECH[:1]}, {"v": SPEECH[0]}])
def test_what_kaldiio_writes_is_read(
    arrays: dict[str, np.ndarray], tmp_path: Path, *, text: bool
) -> None:
    names = (str(tmp_path / "x.ark"), str(tmp_path / "x.scp"))
    kaldiio.save_ark(names[0], arrays, scp=names[1], text=text)
    scp = Scp(tmp_path / "x.scp", next(iter(arrays.values())).ndim)
    assert dict(Archive(tmp_path / "x.ark", scp.ndim)).keys() == arrays.keys()
    for key, array in arrays.items():
        np.testing.assert_allclose(scp.read(key), array, rtol=1e-6)
        np.testing.assert_array_equal(scp.read(key, 3, 9), scp.read(key)[3:9])


def test_text_as_kaldi_lays_it_out(tmp_path: Path) -> None:
    (tmp_path / "x.ark").write_text("a  [\n  1 -2e0 \n  3 inf ]\nb  [ 5 6 ]\n")
    found = dict(Archive(tmp_path / "x.ark", 2))
    np.testing.assert_array_equal(found["a"], [[1.0, -2.0], [3.0, np.inf]])
    np.testing.assert_array_equal(found["b"], [[5.0, 6.0]])


# -- compression ----------------------------------------------------------------------------


def kaldi_value(content: bytes, row: int, col: int) -> np.float32:
    """One value of a compressed matrix, as compressed-matrix.h computes it, from the mark on."""
    token, rest = content[2:].split(b" ", maxsplit=1)
    low, span = np.frombuffer(rest, "<f4", 2)
    rows, cols = struct.unpack("<ii", rest[8:16])
    body = rest[16:]
    if token == b"CM2":
        code = np.float32(np.frombuffer(body, "<u2")[row * cols + col])
        return np.float32(low + np.float32(float(span) * (1.0 / 65535.0)) * code)
    if token == b"CM3":
        code = np.float32(body[row * cols + col])
        return np.float32(low + np.float32(float(span) * (1.0 / 255.0)) * code)
    quarters = np.frombuffer(body, "<u2", 4, 8 * col)
    points = [low + span * np.float32(1.52590218966964e-05) * np.float32(q) for q in quarters]
    code = body[8 * cols + col * rows + row]
    if code <= 64:
        first, last, part, size = *points[:2], code, 64.0
    elif code <= 192:
        first, last, part, size = *points[1:3], code - 64, 128.0
    else:
        first, last, part, size = *points[2:], code - 192, 63.0
    return np.float32(float(first) + float((last - first) * np.float32(part)) * (1.0 / size))


@pytest.mark.parametrize("method", METHODS)
def test_compressed_matrices_are_those_of_kaldi(method: int, tmp_path: Path) -> None:
    matrix = {4: SPEECH.round(), 6: abs(SPEECH).round(), 7: abs(SPEECH) / 99}.get(method, SPEECH)
    names = (str(tmp_path / "x.ark"), str(tmp_path / "x.scp"))
    kaldiio.save_ark(names[0], {"a": matrix}, scp=names[1], compression_method=method)
    content = (tmp_path / "x.ark").read_bytes()[2:]
    assert content.startswith(b"\0B" + METHODS[method] + b" ")
    scp = Scp(tmp_path / "x.scp", 2)
    found = scp.read("a")
    assert scp.shape("a") == found.shape == matrix.shape
    same(found, np.array([[kaldi_value(content, r, c) for c in range(7)] for r in range(40)]))
    np.testing.assert_allclose(found, kaldiio.load_scp(names[1])["a"], rtol=2e-6, atol=2e-6)
    # And they are near to what was compressed: a code is at most a 63rd of a quarter.
    np.testing.assert_allclose(found, matrix, atol=np.ptp(matrix) / 63)
    same(scp.read("a", 5, 17), found[5:17])


def test_every_code_of_a_column(tmp_path: Path) -> None:
    # Many columns, since on a knot the pieces differ by rounding alone.
    points = np.sort(RNG.integers(0, 65536, (30, 4)).astype("<u2"), axis=1)
    body = points.tobytes() + bytes(range(256)) * 30
    content = b"\0BCM " + struct.pack("<ffii", -3.5, 41.0, 256, 30) + body
    (tmp_path / "x.ark").write_bytes(b"a " + content)
    found = dict(Archive(tmp_path / "x.ark", 2))["a"]
    same(found, np.array([[kaldi_value(content, r, c) for c in range(30)] for r in range(256)]))


# -- parts of arrays ------------------------------------------------------------------------


@given(start=st.integers(0, 45), stop=st.one_of(st.none(), st.integers(0, 45)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows(start: int, stop: int | None, tmp_path: Path) -> None:
    scp = write(tmp_path) if not (tmp_path / "x.scp").exists() else Scp(tmp_path / "x.scp", 2)
    same(scp.read("a", start, stop), SPEECH[start:stop])


@pytest.mark.parametrize("method", [None, 2, 3])
@pytest.mark.parametrize(
    ("written", "first", "last"), [("[3:10]", 3, 10), ("[:]", 0, 39), ("[38:42]", 38, 39)]
)
def test_ranges_have_both_ends(
    written: str, first: int, last: int, method: int | None, tmp_path: Path
) -> None:
    kaldiio.save_ark(str(tmp_path / "x.ark"), {"a": SPEECH}, compression_method=method)
    file = tmp_path / "y.scp"
    file.write_text(f"whole x.ark:2\npart x.ark:2{written}\n")
    scp = Scp(file, 2)
    whole = scp.read("whole")
    assert scp.shape("part") == (last + 1 - first, 7)
    same(scp.read("part"), whole[first : last + 1])
    same(scp.read("part", 1, 3), whole[first : last + 1][1:3])
    if written == "[3:10]":
        oracle = kaldiio.load_mat(f"{tmp_path / 'x.ark'}:2{written}")
        np.testing.assert_allclose(scp.read("part"), oracle, rtol=2e-6)


def test_ranges_of_vectors(tmp_path: Path) -> None:
    write(tmp_path, {"v": SPEECH[:, 0]})
    (tmp_path / "y.scp").write_text("v x.ark:2[2:4]\n")
    same(Scp(tmp_path / "y.scp", 1).read("v"), SPEECH[2:5, 0])


@pytest.mark.parametrize("written", ["[0:43]", "[40:41]", "[5:3]"])
def test_ranges_that_cannot_be(written: str, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "y.scp").write_text(f"a x.ark:2{written}\n")
    with pytest.raises(FormatError, match=r"y.scp:1: 'a': no rows \d+ to \d+ among 40"):
        Scp(tmp_path / "y.scp", 2).read("a")


@pytest.mark.parametrize("written", ["[0:3,0:2]", "[0]", "[-1:3]", "[0:2]x"])
def test_ranges_that_are_none(written: str, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "y.scp").write_text(f"a x.ark:2{written}\n")
    with pytest.raises(FormatError, match=r"y.scp:1: (expected '<id> <path>:|no such archive)"):
        Scp(tmp_path / "y.scp", 2).read("a")


def test_a_pickled_table_opens_its_archives_again(tmp_path: Path) -> None:
    scp = write(tmp_path)
    scp.read("a")
    same(pickle.loads(pickle.dumps(scp)).read("a"), SPEECH)  # noqa: S301 (our own bytes)


# -- broken files ---------------------------------------------------------------------------


def test_an_id_twice(tmp_path: Path) -> None:
    (tmp_path / "x.scp").write_text("a x.ark:2\nb x.ark:2\na x.ark:9\n")
    with pytest.raises(FormatError, match=r"x.scp:3: 'a' is there already"):
        Scp(tmp_path / "x.scp", 2)


@pytest.mark.parametrize("method", [None, 2, 3, 5])
def test_every_cut_is_seen(method: int | None, tmp_path: Path) -> None:
    file = tmp_path / "x.ark"
    kaldiio.save_ark(str(file), {"a": SPEECH[:9]}, compression_method=method)
    whole = file.read_bytes()
    (tmp_path / "x.scp").write_text("a x.ark:2\n")
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        # Name, key and offset.
        with pytest.raises(FormatError, match=r"x.scp:1: 'a': .*x.ark, byte 2\)"):
            Scp(tmp_path / "x.scp", 2).shape("a")


@pytest.mark.parametrize(
    ("content", "ndim", "message"),
    [
        (b"a \0BFV \4\1\0\0\0abcd", 2, "'a': expected a Kaldi matrix, got other data"),
        (b"a \0BCM " + bytes(24), 1, "'a': expected a Kaldi vector, got other data"),
        (b"a \0BCM " + bytes(24), 2, "'a': the matrix is not complete"),
        (b"a \0BCM9 " + bytes(24), 2, "'a': expected a Kaldi matrix"),
        (b"a \0BFM \4\1\0\0\0\5\1\0\0\0abcd", 2, "'a': expected a Kaldi matrix"),
        (b"a \0BSM " + bytes(24), 2, "'a': expected a Kaldi matrix"),
        (b"a  [\n 1 2\n 3 ]\n", 2, "'a': expected '.', equal rows"),
        (b"a  [\n 1 2\n 3 x ]\n", 2, "'a': expected '.', equal rows"),
        (b"a  [ 1 2", 2, "'a': expected '.', equal rows"),
        (b"a  [ 1 2 ] 3\n", 2, "'a': expected '.', equal rows"),
        (b"a  [\n 1\n 2 ]\n", 1, "'a': expected '. 1.0 2.0"),
    ],
)
def test_other_content(content: bytes, ndim: int, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.ark").write_bytes(content)
    with pytest.raises(FormatError, match=message):
        list(Archive(tmp_path / "x.ark", ndim))


@pytest.mark.parametrize("shape", [(2**31 - 1, 2**31 - 1), (-1, -1), (0, 5), (2**31 - 1, 1)])
def test_sizes_that_cannot_be(shape: tuple[int, int], tmp_path: Path) -> None:
    for head in (
        b"FM " + struct.pack("<bibi", 4, shape[0], 4, shape[1]),
        b"CM " + struct.pack("<ffii", 0.0, 1.0, *shape),
        b"CM2 " + struct.pack("<ffii", 0.0, 1.0, *shape),
    ):
        (tmp_path / "x.ark").write_bytes(b"a \0B" + head + bytes(99))
        with pytest.raises(FormatError, match="'a': the matrix is not complete"):
            list(Archive(tmp_path / "x.ark", 2))


PIECES = [
    *(b"a", b" ", b"\n", b"[", b" ]", b"1.5", b"\xff", b"a [ 1 2 ]\n", b"\0B", b"FM ", b"CM "),
    *(b"CM2 ", b"\4\1\0\0\0", b"\1\0\0\0", b"\0\0\x80\x3f", bytes(8)),
]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=14), ndim=st.sampled_from([1, 2]))
def test_anything_is_read_or_refused(pieces: list[bytes], ndim: int, tmp_path: Path) -> None:
    (tmp_path / "x.ark").write_bytes(b"a " + b"".join(pieces))
    with contextlib.suppress(FormatError):
        assert all(array.ndim == ndim for _, array in Archive(tmp_path / "x.ark", ndim))
