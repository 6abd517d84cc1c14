import functools
import hashlib
import http.server
import threading

import _script
import mushrooms
import pytest

from bbb.errors import DataError

CONTENT = b"p,x,s,n,t,p,f,c,n,k,e,e,s,s,w,w,p,w,o,p,k,s,u\n"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def url(tmp_path):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / mushrooms.FILE).write_bytes(CONTENT)
    handler = functools.partial(Quiet, directory=str(tmp_path / "mirror"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/{mushrooms.FILE}"
        server.shutdown()
        thread.join()


def test_download(url, tmp_path):
    checksum = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
    file = mushrooms.download_mushrooms(tmp_path / "out", url, checksum)
    assert file == tmp_path / "out" / "agaricus-lepiota.data"
    assert file.read_bytes() == CONTENT
    assert mushrooms.download_mushrooms(tmp_path / "out", "http://127.0.0.1:9/", checksum) == file
    file.write_bytes(b"e")
    with pytest.raises(DataError, match="remove it and run again"):
        mushrooms.download_mushrooms(tmp_path / "out", url, checksum)


def test_command_checks_the_published_digest(url, tmp_path, capsys):
    argv = ["download", "--output", str(tmp_path / "out"), "--url", url]
    assert _script.run(mushrooms.main, argv) == 1
    assert f"expected {mushrooms.CHECKSUM[7:]}" in capsys.readouterr().err
    assert not (tmp_path / "out" / mushrooms.FILE).exists()


def test_published_digest_is_of_the_real_file(real_data, tmp_path):
    # The copy there may have a line of names before the original.
    content = (real_data / mushrooms.FILE).read_bytes()
    original = content[content.index(b"\np,") + 1 :] if content[:2] != b"p," else content
    (tmp_path / mushrooms.FILE).write_bytes(original)
    mushrooms.download_mushrooms(tmp_path, "http://127.0.0.1:9/")
