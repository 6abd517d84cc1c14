import base64
import gzip
import hashlib
import http.server
import io
import itertools
import tarfile
import threading
import zipfile

import _download
import numpy as np
import pytest

from bbb.errors import ConfigError, DataError

BODY = np.random.default_rng(0).bytes(700_000)
SHA256 = "sha256:" + hashlib.sha256(BODY).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves BODY; knows ranges; can break off, refuse, and change the file's tag."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = []
        self.break_after = []  # bytes to send in the next replies before hanging up
        self.refuse = 0
        self.ranges = True
        self.tag = '"v1"'
        self.body = BODY
        self.login = None
        self.redirect = None
        self.logins = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/file.tar.gz"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.requests.append(asked)
        server.logins.append(self.headers.get("Authorization"))
        if server.redirect:
            self.send_response(302)
            self.send_header("Location", server.redirect)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if server.login and server.logins[-1] != server.login:
            self.send_error(401)
            return
        if server.refuse:
            self.send_error(server.refuse)
            return
        start = 0
        if asked and server.ranges and self.headers.get("If-Range") in {None, server.tag}:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(server.body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(server.body)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        self.send_response(206 if start else 200)
        self.send_header("ETag", server.tag)
        self.send_header("Content-Length", str(len(server.body) - start))
        self.end_headers()
        part = server.body[start:]
        if server.break_after:
            part = part[: server.break_after.pop(0)]
            self.close_connection = True
        self.wfile.write(part)


def serve():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


server = pytest.fixture(serve, name="server")
other_server = pytest.fixture(serve, name="other_server")


def fetch(server, tmp_path, **options):
    return _download.download(server.url, tmp_path / "file.tar.gz", wait=0.0, **options)


def left(tmp_path):
    return sorted(file.name for file in tmp_path.iterdir())


class TestDownload:
    def test_whole_file_with_checksum(self, server, tmp_path):
        assert fetch(server, tmp_path, checksum=SHA256).read_bytes() == BODY
        assert left(tmp_path) == ["file.tar.gz"]

    def test_breaks_off_half_way_and_resumes(self, server, tmp_path):
        server.break_after = [300_000, 100_000]
        assert fetch(server, tmp_path, checksum=SHA256).read_bytes() == BODY
        assert server.requests == [None, "bytes=300000-", "bytes=400000-"]
        assert left(tmp_path) == ["file.tar.gz"]

    def test_another_run_resumes(self, server, tmp_path):
        server.break_after = [300_000]
        with pytest.raises(DataError, match="300000 of 700000 bytes; 300000 bytes are kept"):
            fetch(server, tmp_path, attempts=1)
        assert left(tmp_path) == ["file.tar.gz.part", "file.tar.gz.part.tag"]
        assert fetch(server, tmp_path, checksum=SHA256).read_bytes() == BODY
        assert server.requests == [None, "bytes=300000-"]

    def test_a_changed_file_starts_anew(self, server, tmp_path):
        server.break_after = [300_000]
        with pytest.raises(DataError, match="run again to continue"):
            fetch(server, tmp_path, attempts=1)
        server.tag, server.body = '"v2"', BODY[::-1]
        assert fetch(server, tmp_path).read_bytes() == BODY[::-1]

    def test_server_without_ranges(self, server, tmp_path):
        server.ranges, server.break_after = False, [300_000]
        assert fetch(server, tmp_path, checksum=SHA256).read_bytes() == BODY

    def test_part_without_tag_is_not_trusted(self, server, tmp_path):
        (tmp_path / "file.tar.gz.part").write_bytes(b"something else")
        assert fetch(server, tmp_path).read_bytes() == BODY
        assert server.requests == [None]

    def test_complete_part_is_taken(self, server, tmp_path):
        (tmp_path / "file.tar.gz.part").write_bytes(BODY)
        (tmp_path / "file.tar.gz.part.tag").write_text(server.tag)
        assert fetch(server, tmp_path, checksum=SHA256).read_bytes() == BODY

    def test_part_that_is_too_long_starts_anew(self, server, tmp_path):
        (tmp_path / "file.tar.gz.part").write_bytes(BODY + b"more")
        (tmp_path / "file.tar.gz.part.tag").write_text(server.tag)
        assert fetch(server, tmp_path, checksum=SHA256).read_bytes() == BODY

    def test_wrong_checksum_leaves_nothing(self, server, tmp_path):
        with pytest.raises(DataError, match=f"expected {'0' * 64}; it was removed; run again"):
            fetch(server, tmp_path, checksum="sha256:" + "0" * 64)
        assert "file.tar.gz" not in left(tmp_path)
        assert "file.tar.gz.part" not in left(tmp_path)

    def test_existing_file_is_checked_and_kept(self, server, tmp_path):
        file = tmp_path / "file.tar.gz"
        file.write_bytes(b"mine")
        assert fetch(server, tmp_path) == file
        with pytest.raises(DataError, match="remove it and run again"):
            fetch(server, tmp_path, checksum="md5:" + "0" * 32)
        assert file.read_bytes() == b"mine"
        assert server.requests == []

    def test_refusal_is_not_repeated(self, server, tmp_path):
        server.refuse = 404
        with pytest.raises(DataError, match="HTTP Error 404"):
            fetch(server, tmp_path)
        assert len(server.requests) == 1

    def test_server_trouble_is_repeated(self, server, tmp_path):
        server.refuse = 503
        with pytest.raises(DataError, match="HTTP Error 503"):
            fetch(server, tmp_path, attempts=3)
        assert len(server.requests) == 3

    def test_nobody_listens(self, tmp_path):
        with pytest.raises(DataError, match="0 bytes are kept"):
            _download.download("http://127.0.0.1:9/x", tmp_path / "x", attempts=2, wait=0.0)

    def test_address_must_be_http(self, tmp_path):
        with pytest.raises(ConfigError, match="http or https address, got 'file:///etc/passwd'"):
            _download.download("file:///etc/passwd", tmp_path / "x")

    @pytest.mark.parametrize("text", ["abc", "sha256:12", "crc:00", "md5:" + "0" * 31])
    def test_checksum_form(self, text, tmp_path):
        with pytest.raises(ConfigError, match=r"checksum expects 'sha256:'"):
            _download.download("http://127.0.0.1:9/x", tmp_path / "x", checksum=text)


LOGIN = "Basic " + base64.b64encode(b"me:a secret").decode()


class TestLogin:
    def test_is_sent_at_every_connection(self, server, tmp_path):
        server.login, server.break_after = LOGIN, [300_000]
        fetch(server, tmp_path, checksum=SHA256, login=("me", "a secret"))
        assert server.logins == [LOGIN, LOGIN]

    @pytest.mark.parametrize("login", [None, ("me", "wrong")])
    def test_refused(self, server, tmp_path, login):
        server.login = LOGIN
        with pytest.raises(DataError, match=r"401: .* wants a login or a key: check") as caught:
            fetch(server, tmp_path, login=login)
        assert len(server.requests) == 1
        assert "wrong" not in str(caught.value)

    def test_does_not_leave_its_host(self, server, other_server, tmp_path):
        server.redirect = other_server.url
        fetch(server, tmp_path, checksum=SHA256, login=("me", "a secret"))
        assert (server.logins, other_server.logins) == ([LOGIN], [None])

    def test_keys_in_addresses_are_not_shown(self, server, tmp_path):
        server.refuse = 404
        with pytest.raises(DataError, match=r"file.tar.gz: .*404.*check the address") as caught:
            _download.download(server.url + "?key=secret", tmp_path / "x", wait=0.0)
        assert "secret" not in str(caught.value)


def archive(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


class TestExtract:
    def test_unpacks_and_drops_desktop_notes(self, tmp_path):
        members = {"top/a/x.txt": b"x", "top/.DS_Store": b"", "top/._x": b"", "._top": b""}
        file = archive(tmp_path / "f.tar.gz", members)
        folder = _download.extract_tar_gz(file, tmp_path / "out", top="top")
        assert (folder / "a/x.txt").read_text() == "x"
        assert left(folder) == ["a"]
        assert left(tmp_path / "out") == ["top"]

    def test_does_nothing_twice(self, tmp_path):
        (tmp_path / "top").mkdir()
        missing = tmp_path / "missing.tar.gz"
        assert _download.extract_tar_gz(missing, tmp_path, top="top") == tmp_path / "top"

    @pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "top/../../evil"])  # noqa: S108
    def test_refuses_to_leave_the_folder(self, tmp_path, name):
        file = archive(tmp_path / "f.tar.gz", {name: b"x" * 10})
        with pytest.raises(DataError, match=r"cannot be unpacked|no folder 'top'"):
            _download.extract_tar_gz(file, tmp_path / "deep/out", top="top")
        assert not list(tmp_path.rglob("evil"))
        assert left(tmp_path / "deep/out") == []

    def test_refuses_links_out_of_the_folder(self, tmp_path):
        with tarfile.open(tmp_path / "f.tar.gz", "w:gz") as tar:
            entry = tarfile.TarInfo("top/link")
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(entry)
        with pytest.raises(DataError, match="cannot be unpacked"):
            _download.extract_tar_gz(tmp_path / "f.tar.gz", tmp_path / "out", top="top")

    @pytest.mark.parametrize("damage", ["truncated", "wrong crc", "wrong data", "no gzip"])
    def test_damaged_archive_leaves_nothing(self, tmp_path, damage):
        noise = np.random.default_rng(0).bytes(50_000)
        whole = archive(tmp_path / "f.tar.gz", {"top/x": noise}).read_bytes()
        broken = {
            "truncated": whole[: len(whole) // 2],
            "wrong crc": whole[:-8] + bytes(4) + whole[-4:],
            "wrong data": whole[:200] + bytes(200) + whole[400:],
            "no gzip": b"<html>not found</html>",
        }[damage]
        (tmp_path / "f.tar.gz").write_bytes(broken)
        with pytest.raises(DataError, match=r"f.tar.gz: cannot be unpacked .*download it again"):
            _download.extract_tar_gz(tmp_path / "f.tar.gz", tmp_path / "out", top="top")
        assert left(tmp_path / "out") == []

    def test_wrong_archive(self, tmp_path):
        (tmp_path / "f.tar.gz").write_bytes(gzip.compress(b"\0" * 1024))
        with pytest.raises(DataError, match="no folder 'top' in it"):
            _download.extract_tar_gz(tmp_path / "f.tar.gz", tmp_path / "out", top="top")


def zipped(members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return stream.getvalue()


class TestExtractZip:
    NOISE = np.random.default_rng(0).bytes(900_000)

    def test_unpacks_and_drops_desktop_notes(self, tmp_path):
        members = {"top/a/x.txt": b"x", "top/.DS_Store": b"", "__MACOSX/top/._x": b""}
        (tmp_path / "f.zip").write_bytes(zipped(members))
        folder = _download.extract_zip(tmp_path / "f.zip", tmp_path / "out", top="top")
        assert (folder / "a/x.txt").read_text() == "x"
        assert left(folder) == ["a"]
        assert left(tmp_path / "out") == ["top"]

    @pytest.mark.parametrize("cuts", [(), (1,), (300_000, 300_001, 899_000), (450_000,) * 2])
    def test_parts_are_one_archive(self, tmp_path, cuts):
        whole = zipped({"top/x": self.NOISE, "top/y": self.NOISE[::-1]})
        places = [0, *cuts, len(whole)]
        parts = []
        for number, (start, end) in enumerate(itertools.pairwise(places)):
            parts.append(tmp_path / f"part{number}")
            parts[-1].write_bytes(whole[start:end])
        folder = _download.extract_zip(parts, tmp_path / "out", top="top")
        assert (folder / "x").read_bytes() == self.NOISE
        assert (folder / "y").read_bytes() == self.NOISE[::-1]

    def test_does_nothing_twice(self, tmp_path):
        (tmp_path / "top").mkdir()
        missing = tmp_path / "missing.zip"
        assert _download.extract_zip(missing, tmp_path, top="top") == tmp_path / "top"

    @pytest.mark.parametrize("damage", ["truncated", "wrong data", "no zip", "lost part"])
    def test_damaged_archive_leaves_nothing(self, tmp_path, damage):
        whole = zipped({"top/x": self.NOISE, "top/y": b"y"})
        broken = {
            "truncated": whole[: len(whole) // 2],
            "wrong data": whole[:5000] + bytes(200) + whole[5200:],
            "no zip": b"<html>not found</html>",
            "lost part": whole[:1000] + whole[200_000:],
        }[damage]
        (tmp_path / "f.zip").write_bytes(broken)
        with pytest.raises(DataError, match=r"f.zip: cannot be unpacked .*download it again"):
            _download.extract_zip(tmp_path / "f.zip", tmp_path / "out", top="top")
        assert left(tmp_path / "out") == []

    @pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "top/../../evil"])  # noqa: S108
    def test_does_not_leave_the_folder(self, tmp_path, name):
        (tmp_path / "f.zip").write_bytes(zipped({name: b"x", "top/a": b""}))
        _download.extract_zip(tmp_path / "f.zip", tmp_path / "deep/out", top="top")
        assert [str(f.relative_to(tmp_path)) for f in tmp_path.rglob("evil")] in (
            [],
            ["deep/out/top/evil"],
        )

    def test_wrong_archive(self, tmp_path):
        (tmp_path / "f.zip").write_bytes(zipped({"other/x": b""}))
        with pytest.raises(DataError, match="no folder 'top' in it"):
            _download.extract_zip(tmp_path / "f.zip", tmp_path / "out", top="top")
