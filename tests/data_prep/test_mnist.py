import functools
import gzip
import hashlib
import http.server
import threading

import _script
import mnist
import numpy as np
import pytest

from bbb.errors import DataError

SHAPES = {"x_train": (6, 28, 28), "y_train": (6,), "x_test": (3, 28, 28), "y_test": (3,)}


def idx(array, kind=8):
    head = bytes([0, 0, kind, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return gzip.compress(head + array.tobytes(), mtime=0)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {name: rng.integers(256, size=shape).astype(np.uint8) for name, shape in SHAPES.items()}


@pytest.fixture
def checksums(tmp_path, arrays):
    """The files of a mirror, and their checksums."""
    (tmp_path / "mirror").mkdir()
    found = {}
    for name, array in arrays.items():
        content = idx(array)
        (tmp_path / "mirror" / mnist.FILES[name]).write_bytes(content)
        found[name] = "md5:" + hashlib.md5(content, usedforsecurity=False).hexdigest()
    return found


@pytest.fixture
def url(tmp_path, checksums):  # noqa: ARG001 (the files have to be there)
    handler = functools.partial(Quiet, directory=str(tmp_path / "mirror"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def test_download(url, arrays, checksums, tmp_path, capsys):
    file = mnist.download_mnist(tmp_path / "out", url, checksums)
    with np.load(file) as found:
        assert set(found) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == np.uint8
    mnist.download_mnist(tmp_path / "out", "http://127.0.0.1:9/gone")
    assert "is there already" in capsys.readouterr().out


@pytest.mark.parametrize("output", ["fashion.npz", "fashion"])
def test_prepare(output, arrays, checksums, tmp_path):  # noqa: ARG001 (the files have to be there)
    file = tmp_path / "out" / output
    argv = ["prepare", "--source", str(tmp_path / "mirror"), "--output", str(file)]
    assert _script.run(mnist.main, argv) == 0
    with np.load(file) as found:
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
    assert list(file.parent.iterdir()) == [file]


def test_command_checks_the_published_digests(url, tmp_path, capsys):
    argv = ["download", "--output", str(tmp_path / "out"), "--url", url]
    assert _script.run(mnist.main, argv) == 1
    assert f"expected {mnist.CHECKSUMS['x_train'][4:]}" in capsys.readouterr().err
    assert not (tmp_path / "out/mnist.npz").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"not gzip",
        gzip.compress(b""),
        gzip.compress(b"\0\0"),
        gzip.compress(b"\0\0\x08\x03\0\0\0\x01"),
        gzip.compress(b"\0\0\x08\x03\0\0"),
        idx(np.zeros((2, 3), np.uint8))[:-9],
        idx(np.zeros((2, 3), np.float32), kind=13),
        gzip.compress(gzip.decompress(idx(np.zeros((2, 3), np.uint8)))[:-1]),
    ],
    # A compressed file has the time of day in it, and workers must agree on the names of tests.
    ids=[
        *("not gzip", "empty", "short magic", "short shape", "half a number", "cut off"),
        *("floats", "short data"),
    ],
)
def test_broken_files_are_named(content, tmp_path):
    file = tmp_path / "train.gz"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"train\.gz: .*download it again"):
        mnist.read_idx(file)
