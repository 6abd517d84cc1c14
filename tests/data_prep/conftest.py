"""The scripts of data_prep import each other by their folder, as they do when they are run."""

import http.server
import sys
import threading
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile

SCRIPTS = str(Path(__file__).parents[2] / "data_prep")
if SCRIPTS not in sys.path:
    sys.path.insert(0, SCRIPTS)


@dataclass
class Mirror:
    """A server of a folder's files, whose every transfer from the start ends half-way.

    With a ``secret`` it wants that as the Authorization header, or as ``?key=...&file=...``.
    """

    folder: Path
    url: str = ""
    secret: str = ""
    asked: list[tuple[str, int]] = field(default_factory=list)


@pytest.fixture
def breaking_mirror(tmp_path):
    mirror = Mirror(tmp_path / "mirror")
    mirror.folder.mkdir()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            address = urllib.parse.urlsplit(self.path)
            query = dict(urllib.parse.parse_qsl(address.query))
            if mirror.secret not in {"", self.headers.get("Authorization"), query.get("key")}:
                self.send_error(401)
                return
            file = mirror.folder / query.get("file", address.path.lstrip("/"))
            if not file.is_file():
                self.send_error(404)
                return
            body, start = file.read_bytes(), int(self.headers.get("Range", "bytes=0-")[6:-1])
            mirror.asked.append((file.name, start))
            self.send_response(206 if start else 200)
            self.send_header("ETag", '"1"')
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            self.wfile.write(body[start:] if start else body[: len(body) // 2])

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        mirror.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield mirror
        server.shutdown()
        thread.join()


def _write_call(file: Path, pitches: tuple[float, ...] = (440.0, 1000.0), rate: int = 8000) -> None:
    """A mu-law SPHERE file of half a second, with another tone in each channel."""
    file.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(rate // 2) / rate
    tones = [0.3 * np.sin(2 * np.pi * hz * time) for hz in pitches]
    soundfile.write(file, np.stack(tones, axis=1), rate, format="NIST", subtype="ULAW")


@pytest.fixture
def write_call() -> Callable[..., None]:
    """The function ``_write_call``."""
    return _write_call
