"""Models of Kaldi: its formula, its files byte for byte, and a real meeting end to end."""

import struct
from pathlib import Path

import numpy as np
import pytest

from bbb.errors import FormatError, ShapeError
from bbb.scoring import PLDA, PLDABackend, equal_error_rate, read_embeddings
from bbb.scoring._kaldi_model import read_array, read_plda, write_objects

RNG = np.random.default_rng(0)
MEAN, TRANSFORM, PSI = RNG.normal(size=4), RNG.normal(size=(4, 4)), np.array([5.0, 2.0, 0.5, 0.0])


def kaldi_ratio(model, enroll, num, test):
    """PldaLogLikelihoodRatio as its documentation derives it, of one trial, term by term."""
    mean, transform, psi = model
    u, v = transform @ (enroll - mean), transform @ (test - mean)
    same = different = 0.0
    for i in range(len(psi)):
        expected = num * psi[i] / (num * psi[i] + 1.0) * u[i]
        variance = 1.0 + psi[i] / (num * psi[i] + 1.0)
        same -= 0.5 * (np.log(2 * np.pi * variance) + (v[i] - expected) ** 2 / variance)
        different -= 0.5 * (np.log(2 * np.pi * (1.0 + psi[i])) + v[i] ** 2 / (1.0 + psi[i]))
    return same - different


def plda_bytes(mean, transform, psi, real: str = "d") -> bytes:
    """Kaldi's binary format, written from its description."""
    kind = "D" if real == "d" else "F"

    def vector(values):
        head = f"{kind}V ".encode() + struct.pack("<bi", 4, len(values))
        return head + struct.pack(f"<{len(values)}{real}", *values)

    rows, cols = transform.shape
    matrix = f"{kind}M ".encode() + struct.pack("<bibi", 4, rows, 4, cols)
    matrix += struct.pack(f"<{rows * cols}{real}", *transform.ravel())
    return b"\0B<Plda> " + vector(mean) + matrix + vector(psi) + b"</Plda> "


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "plda"
    path.write_bytes(plda_bytes(MEAN, TRANSFORM, PSI))
    return path


@pytest.mark.parametrize("num", [1, 3])
def test_scores_are_those_of_kaldi(file: Path, num: int) -> None:
    model = PLDA.from_kaldi(file)
    enroll, test = RNG.normal(size=(2, 6, 4))
    scores = model.llr(enroll, test, np.arange(6), np.arange(6), num_enroll=np.full(6, num))
    expected = [
        kaldi_ratio((MEAN, TRANSFORM, PSI), e, num, t) for e, t in zip(enroll, test, strict=True)
    ]
    np.testing.assert_allclose(scores, expected, rtol=1e-10)


def test_binary_files_come_back_byte_for_byte(file: Path, tmp_path: Path) -> None:
    PLDA.from_kaldi(file).to_kaldi(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == file.read_bytes()


def test_text_files(tmp_path: Path) -> None:
    text = "<Plda>  [ 1 -2e-1 ]\n [\n  1 0.5\n  0 2 ]\n [ 3 1 ]\n</Plda> "
    (tmp_path / "plda").write_text(text)
    model = PLDA.from_kaldi(tmp_path / "plda")
    np.testing.assert_array_equal(model.mean_, [1.0, -0.2])
    np.testing.assert_array_equal(model.transform_, [[1.0, 0.0], [0.5, 2.0]])
    np.testing.assert_array_equal(model.between_var_, [3.0, 1.0])
    model.to_kaldi(tmp_path / "again", text=True)
    assert " ".join((tmp_path / "again").read_text().split()) == (
        "<Plda> [ 1.0 -0.2 ] [ 1.0 0.5 0.0 2.0 ] [ 3.0 1.0 ] </Plda>"
    )
    np.testing.assert_array_equal(read_plda(tmp_path / "again")[1], [[1.0, 0.5], [0.0, 2.0]])


def test_float32_files_and_unsorted_psi(tmp_path: Path) -> None:
    order = np.array([2, 0, 3, 1])
    (tmp_path / "plda").write_bytes(plda_bytes(MEAN, TRANSFORM[order], PSI[order], "f"))
    model = PLDA.from_kaldi(tmp_path / "plda")
    np.testing.assert_allclose(model.transform_, TRANSFORM.T, rtol=1e-6)
    np.testing.assert_array_equal(model.between_var_, PSI)


def test_directions_that_data_do_not_fill_leave_scores_as_they_are(tmp_path: Path) -> None:
    labels = np.repeat(np.arange(20), 6)
    x = RNG.normal(size=(20, 3))[labels] + RNG.normal(size=(120, 3))
    padded = np.column_stack((x, x[:, 0], np.full(120, 2.0)))
    with pytest.warns(UserWarning, match="fill only 3 of 5"):
        model = PLDA().fit(padded, labels)
    model.to_kaldi(tmp_path / "plda")
    mean, transform, psi = read_plda(tmp_path / "plda")
    assert np.linalg.matrix_rank(transform) == 5
    score = model.llr(padded, padded, np.array([0]), np.array([9]))[0]
    expected = kaldi_ratio((mean, transform, psi), padded[0], 1, padded[9])
    assert score == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("text", [False, True])
def test_the_files_of_a_recipe(tmp_path: Path, *, text: bool) -> None:
    labels = np.repeat(np.arange(30), 6)
    x = RNG.normal(size=(30, 5))[labels] + RNG.normal(size=(180, 5)) + 3.0
    backend = PLDABackend(lda_dim=3).fit(x, labels)
    backend.to_kaldi(tmp_path, text=text)
    names = {"transform": tmp_path / "transform.mat", "mean": tmp_path / "mean.vec"}
    again = PLDABackend.from_kaldi(tmp_path / "plda", **names)
    pairs = np.triu_indices(20, 1)
    expected = backend.plda_.llr(backend.transform(x), backend.transform(x), *pairs)
    found = again.plda_.llr(again.transform(x), again.transform(x), *pairs)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    # Step by step as the programs of the recipe do it, which scale to the root of the dimension.
    mean, lda = read_array(names["mean"], 1), read_array(names["transform"], 2)
    z = (x - mean) @ lda.T
    z *= np.sqrt(3) / np.linalg.norm(z, axis=1, keepdims=True)
    model = read_plda(tmp_path / "plda")
    assert kaldi_ratio(model, z[0], 1, z[1]) == pytest.approx(expected[0], abs=1e-9)


def test_a_transform_with_offsets(file: Path, tmp_path: Path) -> None:
    lda, offset, mean = RNG.normal(size=(4, 6)), RNG.normal(size=4), RNG.normal(size=6)
    write_objects(tmp_path / "transform.mat", np.column_stack((lda, offset)))
    write_objects(tmp_path / "mean.vec", mean)
    names = {"transform": tmp_path / "transform.mat", "mean": tmp_path / "mean.vec"}
    backend = PLDABackend.from_kaldi(file, **names, length_norm=False)
    x = RNG.normal(size=(5, 6))
    np.testing.assert_allclose(backend.transform(x), (x - mean) @ lda.T + offset, atol=1e-12)


WHOLE = plda_bytes(MEAN, TRANSFORM, PSI)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (WHOLE[:-40], "end of the file; copy it again"),
        (WHOLE[:70], "end of the file; copy it again"),
        (WHOLE[:-8], "expected '</Plda>'"),
        (WHOLE.replace(b"DM ", b"CM "), "expected a matrix at byte .* other data"),
        (b"\0B<Nnet> " + WHOLE[9:], "expected '<Plda>'"),
        (plda_bytes(MEAN, TRANSFORM, -PSI), "psi .dim,. >= 0"),
        (plda_bytes(MEAN * np.nan, TRANSFORM, PSI), "a vector of finite values"),
        (plda_bytes(MEAN[:3], TRANSFORM, PSI), r"mean \(dim,\), transform \(dim, dim\)"),
        (b"<Plda> [ 1 2 ] [\n 1 2\n 3 ] [ 1 2 ] </Plda>", "2 lines of unequal"),
        (b"<Plda> [ 1 x ] [ 1 ] [ 1 ] </Plda>", "not a number"),
        (b"<Plda> [ 1 2 ", "is it cut off"),
        (b"", "expected '<Plda>' at byte 0"),
    ],
)
def test_broken_files(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "plda"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=rf"plda:0: expected .*{message}|plda:0: {message}"):
        PLDA.from_kaldi(path)


def test_every_cut_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "plda"
    for length in range(len(WHOLE) - 1):
        path.write_bytes(WHOLE[:length])
        with pytest.raises(FormatError):
            PLDA.from_kaldi(path)


def test_missing_and_unfitting_files(file: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="none; check the path"):
        PLDA.from_kaldi(tmp_path / "no")
    write_objects(tmp_path / "lda", np.ones((3, 5)))
    with pytest.raises(ShapeError, match=r"centre \(dim,\) and lda \(dim, 4\)"):
        PLDABackend.from_kaldi(file, transform=tmp_path / "lda")


def meeting(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows in which exactly one speaker talks: embeddings, speaker, start in seconds."""
    turns = [line.split() for line in (folder / "ES2005a.rttm").read_text().splitlines()]
    embeddings = read_embeddings(folder / "ES2005a.ark")
    starts = {}
    for line in (folder / "ES2005a.seg").read_text().splitlines():
        key, _, start, end = line.split()
        present: dict[str, float] = {}
        for turn in turns:
            begin, length = float(turn[3]), float(turn[4])
            overlap = min(begin + length, float(end)) - max(begin, float(start))
            if overlap > 0:
                present[turn[7]] = present.get(turn[7], 0.0) + overlap
        if len(present) == 1 and max(present.values()) > 0.95 * (float(end) - float(start)):
            starts[key] = (float(start), *present)
    keys = [key for key in embeddings.ids if key in starts]
    speakers = np.array([starts[key][1] for key in keys])
    return (
        embeddings.embeddings[embeddings.rows(keys)],
        speakers,
        np.array([starts[key][0] for key in keys]),
    )


def test_a_real_meeting(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "vbx_es2005a"
    x, speakers, starts = meeting(folder)
    assert len(x) > 200
    assert len(set(speakers)) >= 3
    # The three arrays of the HDF5 file lie in one piece each, at the places its header gives.
    raw = (folder / "ResNet101_16kHz.transform.h5").read_bytes()
    mean1, mean2, lda = (
        np.frombuffer(raw, "<f8", count, start)
        for count, start in ((256, 0x800), (128, 0x1000), (256 * 128, 0x1400))
    )
    unit = x - mean1
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    write_objects(tmp_path / "mean.vec", mean2 @ np.linalg.pinv(lda.reshape(256, 128)))
    write_objects(tmp_path / "transform.mat", lda.reshape(256, 128).T)
    path = folder / "ResNet101_16kHz.plda"
    backend = PLDABackend.from_kaldi(
        path, transform=tmp_path / "transform.mat", mean=tmp_path / "mean.vec", scaleup=False
    )
    first, second = np.triu_indices(len(x), 1)
    apart = np.abs(starts[first] - starts[second]) > 1.5
    first, second = first[apart], second[apart]
    z = backend.transform(unit)
    scores = backend.plda_.llr(z, z, first, second)
    same = speakers[first] == speakers[second]
    assert equal_error_rate(scores, same) < 0.1
    assert np.median(scores[same]) > 0 > np.median(scores[~same])
    PLDA.from_kaldi(path).to_kaldi(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
