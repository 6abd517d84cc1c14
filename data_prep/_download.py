"""Downloads that resume and are checked; unpacking stands beside, in ``_unpack``."""

import hashlib
import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import cast

from _unpack import extract_tar_gz, extract_zip  # noqa: PLC2701 (beside this file)
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from bbb.errors import ConfigError, DataError

__all__ = ["download", "extract_tar_gz", "extract_zip", "file_digest", "parse_checksum"]

_CHUNK = 1 << 18
_ALGORITHMS = ("sha256", "md5")


class _InterruptedTransferError(OSError):
    """The connection closed before the last byte."""


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Hexadecimal digest of a file's content.

    Args:
        path: The file.
        algorithm: A name that hashlib knows.

    Returns:
        The digest.
    """
    digest = hashlib.new(algorithm)
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def parse_checksum(text: str) -> tuple[str, str]:
    """Split ``sha256:0123...`` or ``md5:0123...``.

    Args:
        text: The checksum with its algorithm.

    Returns:
        Algorithm and lower-case digest.

    Raises:
        ConfigError: If the algorithm is unknown or the digest has a wrong length.
    """
    algorithm, _, digest = text.partition(":")
    digest = digest.strip().lower()
    if algorithm not in _ALGORITHMS or len(digest) != 2 * hashlib.new(algorithm).digest_size:
        msg = f"checksum expects 'sha256:' and 64 or 'md5:' and 32 hexadecimal digits, got {text!r}"
        raise ConfigError(msg)
    return algorithm, digest


def _check(path: Path, checksum: str | None, *, remove: bool) -> None:
    if checksum is None:
        return
    algorithm, needed = parse_checksum(checksum)
    got = file_digest(path, algorithm)
    if got == needed:
        return
    if remove:
        path.unlink()
    hint = "it was removed; run again" if remove else "remove it and run again"
    msg = f"{path}: {algorithm} is {got}, expected {needed}; {hint}, or check the source"
    raise DataError(msg)


def download(
    url: str,
    target: Path,
    *,
    checksum: str | None = None,
    login: tuple[str, str] | None = None,
    attempts: int = 5,
    wait: float = 1.0,
    timeout: float = 30.0,
) -> Path:
    """Fetch a file over HTTP; a broken transfer continues where it stopped.

    The part that has come lies beside the target as ``NAME.part``, also between two runs; the
    server's entity tag (``NAME.part.tag``) makes sure that it belongs to the same version.

    Args:
        url: Address, http or https.
        target: The file to make; when it exists, only its checksum is verified.
        checksum: ``sha256:...`` or ``md5:...``; unchecked by default.
        login: User and password (HTTP basic authentication), for the host of ``url`` alone:
            they do not follow a redirection to another one.
        attempts: How often to connect before giving up.
        wait: Seconds before the second connection; doubles each time.
        timeout: Seconds of silence after which a connection counts as broken.

    Returns:
        The target.

    Raises:
        ConfigError: If the address or the checksum is malformed.
        DataError: If the server refuses, the transfer keeps breaking, or the checksum is wrong.
    """
    if not url.startswith(("http://", "https://")):
        msg = f"download expects an http or https address, got {url!r}"
        raise ConfigError(msg)
    opener = _opener(url, login)
    if checksum is not None:
        parse_checksum(checksum)
    if target.exists():
        _check(target, checksum, remove=False)
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    for attempt in range(attempts):
        try:
            _transfer(opener, url, part, timeout)
            break
        except (TimeoutError, ConnectionError, http.client.HTTPException, urllib.error.URLError,
                _InterruptedTransferError) as error:  # fmt: skip
            if attempt == attempts - 1 or _is_final(error):
                # What follows the question mark may be a key.
                msg = f"{url.partition('?')[0]}: {error}; {_remedy(error, part)}"
                raise DataError(msg) from error
            time.sleep(wait * 2.0**attempt)
    _check(part, checksum, remove=True)
    part.replace(target)
    _tag_file(part).unlink(missing_ok=True)
    return target


def fetch_unpacked(
    url: str, archive: Path, *, top: str, checksum: str | None, attempts: int
) -> Path:
    """Download an archive and unpack it beside itself, unless that is done.

    Args:
        url: Where it is.
        archive: Where to put it; ``.zip``, or else ``.tar.gz``.
        top: The folder that it holds.
        checksum: As for ``download``.
        attempts: As for ``download``.

    Returns:
        The unpacked folder.
    """
    folder = archive.with_name(top)
    if folder.is_dir():
        print(f"{folder}: is there already")
        return folder
    download(url, archive, checksum=checksum, attempts=attempts)
    unpack = extract_zip if archive.suffix == ".zip" else extract_tar_gz
    return unpack(archive, archive.parent, top=top)


def _is_final(error: Exception) -> bool:
    """A client error (404, 403) does not go away by asking again."""
    return isinstance(error, urllib.error.HTTPError) and 400 <= error.code < 500  # noqa: PLR2004


def _remedy(error: Exception, part: Path) -> str:
    if isinstance(error, urllib.error.HTTPError) and error.code in {401, 403}:
        return "the server wants a login or a key: check what you gave, or whether it has expired"
    if _is_final(error):
        return "check the address"
    kept = part.stat().st_size if part.exists() else 0
    return f"{kept} bytes are kept in {part}, run again to continue"


def _opener(url: str, login: tuple[str, str] | None) -> urllib.request.OpenerDirector:
    """What opens addresses, and knows the login for the host of ``url``."""
    if login is None:
        return urllib.request.build_opener()
    passwords = urllib.request.HTTPPasswordMgrWithPriorAuth()
    host = urllib.parse.urlunsplit((*urllib.parse.urlsplit(url)[:2], "/", "", ""))
    passwords.add_password(None, host, *login, is_authenticated=True)
    return urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(passwords))


def _tag_file(part: Path) -> Path:
    return part.with_name(part.name + ".tag")


def _request(url: str, part: Path) -> tuple[urllib.request.Request, int]:
    """A request for what is missing, and how much is there."""
    request = urllib.request.Request(url, headers={"User-Agent": "bbb-data-prep"})  # noqa: S310
    have, tag = part.stat().st_size if part.exists() else 0, _tag_file(part)
    if not have or not tag.is_file():
        return request, 0
    request.add_header("Range", f"bytes={have}-")
    request.add_header("If-Range", tag.read_text(encoding="utf-8"))
    return request, have


def _transfer(opener: urllib.request.OpenerDirector, url: str, part: Path, timeout: float) -> None:
    """Connect once and append to ``part`` what comes.

    Raises:
        HTTPError: If the server refuses.
        _InterruptedTransferError: If another connection is needed.
    """
    request, have = _request(url, part)
    try:
        reply = cast("http.client.HTTPResponse", opener.open(request, timeout=timeout))
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            if error.headers.get("Content-Range") == f"bytes */{have}":
                return  # everything had come before the last interruption
            _tag_file(part).unlink()
            msg = "the partial file is longer than the server's"
            raise _InterruptedTransferError(msg) from error
        raise
    with reply:
        if reply.status != http.HTTPStatus.PARTIAL_CONTENT:
            have = 0  # the server sends all: it knows no ranges, or the file has changed
        tag = reply.headers.get("ETag") or reply.headers.get("Last-Modified")
        if tag:
            _tag_file(part).write_text(tag, encoding="utf-8")
        length = reply.headers.get("Content-Length")
        total = have + int(length) if length else None
        _save(reply, part, have, total)
    if total is not None and part.stat().st_size != total:
        msg = f"the connection closed after {part.stat().st_size} of {total} bytes"
        raise _InterruptedTransferError(msg)


def _save(reply: http.client.HTTPResponse, part: Path, have: int, total: int | None) -> None:
    with _bar(part.name.removesuffix(".part"), total) as (progress, task):
        progress.update(task, completed=have)
        with part.open("ab" if have else "wb") as stream:
            while chunk := reply.read(_CHUNK):
                stream.write(chunk)
                progress.update(task, advance=len(chunk))


class _bar:  # noqa: N801 (used like a function)
    """A progress bar of bytes as a context."""

    def __init__(self, name: str, total: int | None) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        self._task = self._progress.add_task(name, total=total)

    def __enter__(self) -> tuple[Progress, TaskID]:
        self._progress.start()
        return self._progress, self._task

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
