"""Embeddings: Kaldi and npz round trips, and what is refused."""

import contextlib
import itertools
import pickle
from collections.abc import Callable
from pathlib import Path

import kaldiio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bbb.errors import ConfigError, DataError, FormatError, ShapeError
from bbb.scoring import Embeddings, read_embeddings, write_embeddings
from bbb.scoring.embeddings import check_embeddings_path

IDS = ("utt-1", "ütt-2", "c")
SUFFIXES = [".ark", ".scp", ".npz"]


def example(dtype: type = np.float32) -> Embeddings:
    return Embeddings(IDS, np.random.default_rng(0).normal(size=(3, 5)).astype(dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip(suffix: str, dtype: type, tmp_path: Path) -> None:
    path = tmp_path / "new" / f"x{suffix}"
    write_embeddings(path, example(dtype))
    back = read_embeddings(path)
    assert back.ids == IDS
    assert back.embeddings.dtype == dtype
    np.testing.assert_array_equal(back.embeddings, example(dtype).embeddings)
    assert (len(back), back.dim) == (3, 5)


@pytest.mark.parametrize("written", [".ark", ".scp"])
def test_kaldi_files_come_in_pairs(written: str, tmp_path: Path) -> None:
    write_embeddings(tmp_path / f"x{written}", example())
    oracle = kaldiio.load_scp(str(tmp_path / "x.scp"))
    for suffix in (".ark", ".scp"):
        back = read_embeddings(tmp_path / f"x{suffix}")
        for key, row in zip(back.ids, back.embeddings, strict=True):
            np.testing.assert_array_equal(row, oracle[key])


def test_scp_paths_may_be_relative_to_its_folder(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "x.ark", example())
    scp = tmp_path / "x.scp"
    scp.write_text(scp.read_text().replace(f"{tmp_path}/", ""), encoding="utf-8")
    np.testing.assert_array_equal(read_embeddings(scp).embeddings, example().embeddings)


def test_integers_in_npz_become_float32(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", ids=["a", "b"], embeddings=np.arange(6).reshape(2, 3))
    back = read_embeddings(tmp_path / "x.npz")
    assert back.embeddings.dtype == np.float32
    assert back.embeddings[1].tolist() == [3.0, 4.0, 5.0]


def test_text_archives(tmp_path: Path) -> None:
    path = tmp_path / "x.ark"
    path.write_text("a  [ 1.0 2.0 ]\nb  [ 3.0 -4.5 ]\n")
    back = read_embeddings(path)
    assert back.ids == ("a", "b")
    assert back.embeddings.tolist() == [[1.0, 2.0], [3.0, -4.5]]


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 5)])
def test_covariances_travel_in_npz(shape: tuple[int, ...], tmp_path: Path) -> None:
    covariances = np.random.default_rng(1).random(shape).astype(np.float32)
    embeddings = Embeddings(IDS, example().embeddings, covariances)
    write_embeddings(tmp_path / "x.npz", embeddings)
    np.testing.assert_array_equal(read_embeddings(tmp_path / "x.npz").covariances, covariances)
    with pytest.raises(ConfigError, match="Kaldi archives hold no covariances"):
        write_embeddings(tmp_path / "x.ark", embeddings)


def test_paths_can_be_checked_early() -> None:
    check_embeddings_path("x.npz", covariances=True)
    check_embeddings_path("x.scp")
    with pytest.raises(ConfigError, match=r"ending in .npz, .ark or .scp, got 'x.h5'"):
        check_embeddings_path("x.h5")


def test_a_failed_write_leaves_the_old_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_embeddings(tmp_path / "x.ark", example())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bbb._ark.binary_entry", full)
    with pytest.raises(OSError, match="No space left"):
        write_embeddings(tmp_path / "x.ark", Embeddings(("other",), np.zeros((1, 2))))
    assert read_embeddings(tmp_path / "x.scp").ids == IDS
    assert len(list(tmp_path.iterdir())) == 2


class TestContents:
    def test_rows(self) -> None:
        assert example().rows(["c", "utt-1", "c"]).tolist() == [2, 0, 2]

    def test_missing_ids_are_counted_and_named(self) -> None:
        wanted = ["c", *(f"x{k}" for k in range(7))]
        with pytest.raises(DataError, match=r"test need .* none for 7 of 8: 'x0', .*'x4'; extract"):
            example().rows(wanted, name="test")

    def test_arrays_of_ids_become_a_tuple(self) -> None:
        ids = Embeddings(np.array(["a", "b"]), np.zeros((2, 3))).ids  # type: ignore[arg-type]
        assert ids == ("a", "b")
        assert type(ids[0]) is str

    def test_repeated_ids(self) -> None:
        with pytest.raises(DataError, match="distinct ids, got 'a' more than once"):
            Embeddings(("a", "b", "a"), np.zeros((3, 2)))

    @pytest.mark.parametrize("name", ["", "a b", "a\tb", "a\n"])
    def test_ids_that_no_table_can_hold(self, name: str) -> None:
        with pytest.raises(DataError, match="Embeddings needs ids without blanks"):
            Embeddings(("a", name), np.zeros((2, 2)))

    @pytest.mark.parametrize("shape", [(2, 5), (3,), (3, 5, 1)])
    def test_shape(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ShapeError, match="one row for each of the 3 ids"):
            Embeddings(IDS, np.zeros(shape))

    def test_covariance_shape(self) -> None:
        with pytest.raises(ShapeError, match=r"covariances need shape \(3, 5\) or \(3, 5, 5\)"):
            Embeddings(IDS, np.zeros((3, 5)), np.zeros((3, 4)))

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_not_finite(self, value: float) -> None:
        values = np.zeros((3, 5))
        values[1:, 2] = value
        with pytest.raises(DataError, match="in the embedding of 'ütt-2' and 1 more"):
            Embeddings(IDS, values)
        with pytest.raises(DataError, match="in the covariance of 'ütt-2' and 1 more"):
            Embeddings(IDS, np.zeros((3, 5)), values)

    @pytest.mark.parametrize("spread", [np.eye(3, 5), np.eye(5)[None] * np.ones((3, 1, 1))])
    def test_logarithms_of_variances_are_no_variances(self, spread: np.ndarray) -> None:
        values, spread = np.zeros((3, 5)), spread.copy()
        Embeddings(IDS, values, spread)
        spread[1] *= -0.5
        with pytest.raises(DataError, match="variances of at least 0, got less for 'ütt-2'"):
            Embeddings(IDS, values, spread)


class TestBrokenFiles:
    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_missing(self, suffix: str, tmp_path: Path) -> None:
        with pytest.raises(FormatError, match=r"x.*:0: no such file; extract"):
            read_embeddings(tmp_path / f"x{suffix}")

    @pytest.mark.parametrize("suffix", [".ark", ".scp", ".npz"])
    def test_empty(self, suffix: str, tmp_path: Path) -> None:
        (tmp_path / f"x{suffix}").write_text("")
        if suffix == ".npz":
            write_embeddings(tmp_path / "x.npz", Embeddings((), np.empty((0, 3))))
        with pytest.raises(FormatError, match="expected at least one embedding, got an empty"):
            read_embeddings(tmp_path / f"x{suffix}")

    def test_truncated_archives(self, tmp_path: Path) -> None:
        write_embeddings(tmp_path / "x.ark", example())
        whole = (tmp_path / "x.ark").read_bytes()
        # A cut exactly between two entries cannot be seen; every other one is an error.
        ends = {whole.index(key.encode()) for key in IDS}
        for size in set(range(1, len(whole))) - ends:
            (tmp_path / "y.ark").write_bytes(whole[:size])
            with pytest.raises(FormatError, match=r"y\.ark:0"):
                read_embeddings(tmp_path / "y.ark")

    def test_truncated_archive_behind_an_scp(self, tmp_path: Path) -> None:
        write_embeddings(tmp_path / "x.ark", example())
        whole = (tmp_path / "x.ark").read_bytes()
        for size in (0, 10, len(whole) // 2, len(whole) - 1):
            (tmp_path / "x.ark").write_bytes(whole[:size])
            with pytest.raises(FormatError, match=r"x.scp:\d: '.*'"):
                read_embeddings(tmp_path / "x.scp")

    def test_truncated_npz(self, tmp_path: Path) -> None:
        write_embeddings(tmp_path / "x.npz", example())
        whole = (tmp_path / "x.npz").read_bytes()
        for size in (0, 10, len(whole) // 2, len(whole) - 1):
            (tmp_path / "x.npz").write_bytes(whole[:size])
            with pytest.raises(FormatError, match=r"x.npz:0: not a complete .npz"):
                read_embeddings(tmp_path / "x.npz")

    def test_npz_without_ids(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "x.npz", embeddings=np.zeros((1, 2)))
        with pytest.raises(FormatError, match=r"expected the array 'ids' in the archive"):
            read_embeddings(tmp_path / "x.npz")

    @pytest.mark.parametrize(
        "arrays",
        [
            {"ids": np.array("ab"), "embeddings": np.zeros((2, 2))},
            {"ids": np.array([["a"], ["b"]]), "embeddings": np.zeros((2, 2))},
            {"ids": np.array([b"\xff", b"b"]), "embeddings": np.zeros((2, 2))},
            {"ids": np.array([0.5, 1.0]), "embeddings": np.zeros((2, 2))},
            {"ids": np.array(["a", "b"]), "embeddings": np.array([["x"], ["y"]])},
            {"ids": np.array(["a", "b"]), "embeddings": np.zeros((2, 2), complex)},
            {
                "ids": np.array(["a", "b"]),
                "embeddings": np.zeros((2, 2)),
                "covariances": np.zeros((2, 2), "M8[s]"),
            },
        ],
    )
    def test_npz_of_other_types(self, arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
        np.savez(tmp_path / "x.npz", **arrays)
        with pytest.raises(FormatError, match=r"x.npz:0: expected .*the array '(ids|embed|cov)"):
            read_embeddings(tmp_path / "x.npz")

    def test_npz_with_faults_names_the_file(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "x.npz", ids=["a"], embeddings=np.full((1, 2), np.nan))
        with pytest.raises(DataError, match=r"x.npz: Embeddings need finite .* 'a'"):
            read_embeddings(tmp_path / "x.npz")

    def test_dimensions_must_agree(self, tmp_path: Path) -> None:
        vectors = {"a": np.zeros(3, np.float32), "b": np.zeros(4, np.float32)}
        kaldiio.save_ark(str(tmp_path / "x.ark"), vectors)
        with pytest.raises(FormatError, match=r"expected 3 values .* for 'a', got 4 for 'b'"):
            read_embeddings(tmp_path / "x.ark")

    def test_matrices_are_not_vectors(self, tmp_path: Path) -> None:
        kaldiio.save_ark(str(tmp_path / "x.ark"), {"a": np.zeros((2, 3), np.float32)})
        with pytest.raises(FormatError, match="'a': expected a Kaldi vector, got other data"):
            read_embeddings(tmp_path / "x.ark")

    @pytest.mark.parametrize("text", ["a [ 1.0 x ]", "a [ 1.0", "a [ ]", "a [", "a  1.0 2.0"])
    def test_text_vectors(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "x.ark").write_text(text)
        with pytest.raises(
            FormatError, match=r"'a': expected (a Kaldi|'\[ 1.0 2.0 ... \]' on one)"
        ):
            read_embeddings(tmp_path / "x.ark")

    @pytest.mark.parametrize(
        "content", [b"no archive at all", b"\x00\x01\x02", b"x" * 5000, b"\xff \0BFV "]
    )
    def test_other_files(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "x.ark").write_bytes(content)
        with pytest.raises(FormatError, match=r"x\.ark:0"):
            read_embeddings(tmp_path / "x.ark")

    @pytest.mark.parametrize("line", ["a", "a cat x.ark |", "a |cat", "a x.ark:5[0:2,0:1]"])
    def test_scp_lines(self, line: str, tmp_path: Path) -> None:
        (tmp_path / "x.scp").write_text(f"{line}\n")
        with pytest.raises(FormatError, match=r"x.scp:1: expected '<id> <path>:<offset>'"):
            read_embeddings(tmp_path / "x.scp")

    def test_scp_to_nowhere(self, tmp_path: Path) -> None:
        (tmp_path / "x.scp").write_text("a none.ark:5\n")
        with pytest.raises(FormatError, match=r"x.scp:1: no such archive 'none.ark'"):
            read_embeddings(tmp_path / "x.scp")

    def test_a_huge_length_is_not_allocated(self, tmp_path: Path) -> None:
        (tmp_path / "x.ark").write_bytes(b"a \0BDV \4\xff\xff\xff\x7f12345678")
        with pytest.raises(FormatError, match=r"x.ark:0: 'a': the vector is not complete"):
            read_embeddings(tmp_path / "x.ark")

    @pytest.mark.parametrize("target", ["x.ark:99999999999999999999999", "x.ark:\u0662", "\0:1"])
    def test_offsets_and_names_that_cannot_be(self, target: str, tmp_path: Path) -> None:
        write_embeddings(tmp_path / "x.ark", example())
        (tmp_path / "y.scp").write_text(f"a {target}\n", encoding="utf-8")
        with pytest.raises(FormatError, match=r"y.scp:1: "):
            read_embeddings(tmp_path / "y.scp")

    def test_an_offset_behind_the_end(self, tmp_path: Path) -> None:
        write_embeddings(tmp_path / "x.ark", example())
        (tmp_path / "y.scp").write_text("a x.ark:999999999999999\n")
        with pytest.raises(FormatError, match=r"y.scp:1: 'a': expected a Kaldi vector"):
            read_embeddings(tmp_path / "y.scp")


PIECE = st.sampled_from(
    [
        *(b"a", b"b", b" ", b"\n", b"[", b" ]", b"1.5", b"nan", b"1e39", b"\xff", b"a [ 1 2 ]\n"),
        *(b"\0B", b"FV ", b"DV ", b"\4", b"\0BFV \4\2\0\0\0", b"\0\0\x80\x3f"),
    ]
)
ONCE = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class TestFuzz:
    @ONCE
    @given(pieces=st.lists(PIECE, max_size=12))
    def test_arks(self, pieces: list[bytes], tmp_path: Path) -> None:
        (tmp_path / "x.ark").write_bytes(b"".join(pieces))
        with contextlib.suppress(FormatError, DataError):
            read_embeddings(tmp_path / "x.ark")

    @ONCE
    @given(
        line=st.text("ab x.ark:0123456789|[]/\0\t\u00a0é", max_size=16),
        content=st.lists(PIECE, max_size=4),
    )
    def test_scps(self, line: str, content: list[bytes], tmp_path: Path) -> None:
        (tmp_path / "x.ark").write_bytes(b"".join(content))
        (tmp_path / "x.scp").write_text(f"a x.ark:2\n{line}", encoding="utf-8")
        with contextlib.suppress(FormatError, DataError):
            read_embeddings(tmp_path / "x.scp")

    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_every_changed_byte_of_an_npz(self, save: Callable[..., None], tmp_path: Path) -> None:
        save(tmp_path / "x.npz", ids=["a", "b"], embeddings=np.ones((2, 2), np.float32))
        data = (tmp_path / "x.npz").read_bytes()
        for place, flip in itertools.product(range(len(data)), (1, 32, 255)):
            changed = bytes([data[place] ^ flip])
            (tmp_path / "x.npz").write_bytes(data[:place] + changed + data[place + 1 :])
            with contextlib.suppress(FormatError, DataError, ShapeError):
                read_embeddings(tmp_path / "x.npz")


class Trap:
    """Would leave a file behind if anything unpickled it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


class TestNothingIsUnpickled:
    def test_ark(self, tmp_path: Path) -> None:
        (tmp_path / "x.ark").write_bytes(b"a PKL" + pickle.dumps(Trap(tmp_path / "trapped")))
        with pytest.raises(FormatError, match="'a': expected a Kaldi vector, got other data"):
            read_embeddings(tmp_path / "x.ark")
        (tmp_path / "x.scp").write_text("a x.ark:2\n")
        with pytest.raises(FormatError, match=r"x.scp:1: 'a': expected a Kaldi vector"):
            read_embeddings(tmp_path / "x.scp")
        assert not (tmp_path / "trapped").exists()

    def test_npz(self, tmp_path: Path) -> None:
        trap = np.array([Trap(tmp_path / "trapped")], dtype=object)
        np.savez(tmp_path / "x.npz", ids=trap, embeddings=np.zeros((1, 2)))
        with pytest.raises(FormatError, match=r"not a complete \.npz of plain arrays"):
            read_embeddings(tmp_path / "x.npz")
        assert not (tmp_path / "trapped").exists()


def test_real_archive(real_data: Path) -> None:
    embeddings = read_embeddings(real_data / "vbx_es2005a" / "ES2005a.ark")
    assert embeddings.embeddings.shape == (len(embeddings.ids), 256)
    assert len(embeddings) > 500
