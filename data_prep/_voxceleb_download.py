"""Fetching VoxCeleb: its lists from two universities, its audio with a key or a login."""

import argparse
import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path

import _download  # noqa: PLC2701 (beside this file)
from _voxceleb import Corpus

from bbb.errors import ConfigError, DataError

PARTS = ("lists", "dev", "test")
FORM = "https://mm.kaist.ac.kr/datasets/voxceleb/"
LISTS_AT = (
    "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/meta/{file}",
    "https://mm.kaist.ac.kr/datasets/voxceleb/meta/{file}",
)
_WITH_KEY = "https://cn01.mmai.io/download/voxceleb?key={key}&file={file}"
_WITH_LOGIN = "https://thor.robots.ox.ac.uk/voxceleb/vox1a/{file}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Access:
    """How the audio is reached: a key, a login, or a mirror that wants neither.

    Attributes:
        base_url: Address of the parts; ``{file}`` and ``{key}`` stand for a part's name and the
            key. The corpus's own servers when None.
        key_file: File with the key of the e-mail's links.
        user: Name for HTTP basic authentication.
        password_file: File with its password.
    """

    base_url: str | None = None
    key_file: Path | None = None
    user: str | None = None
    password_file: Path | None = None

    def url(self, file: str) -> str:
        """Address of a part.

        Raises:
            ConfigError: If nothing says how to get at it.
        """
        base = self.base_url or (_WITH_KEY if self.key_file else _WITH_LOGIN if self.user else None)
        if base is None:
            msg = (
                f"the audio needs a key: ask for one at {FORM}, put the key of the links in the "
                "e-mail into a file and give --key-file (or --user and --password-file, or the "
                "--base-url of a mirror); the lists have been fetched"
            )
            raise ConfigError(msg)
        if "{key}" in base:
            base = base.replace("{key}", _secret(self.key_file, "--key-file"))
        return address(base, file)

    def login(self) -> tuple[str, str] | None:
        """User and password, if any."""
        if self.user is None:
            return None
        return self.user, _secret(self.password_file, "--password-file")


def _secret(file: Path | None, option: str) -> str:
    """The content of a file: command lines are seen by all users of a machine.

    Raises:
        ConfigError: If there is no such file, or nothing in it.
    """
    secret = file.read_text(encoding="utf-8").strip() if file is not None else ""
    if not secret:
        msg = f"{option} expects a file that holds the secret and nothing else, got {file}"
        raise ConfigError(msg)
    return secret


def address(base: str, file: str) -> str:
    """``base`` with the name of a file in the place of ``{file}``, or at its end."""
    return base.replace("{file}", file) if "{file}" in base else f"{base.rstrip('/')}/{file}"


def download(
    corpus: Corpus,
    output: Path,
    *,
    only: Collection[str] = PARTS,
    access: Access,
    lists_url: str | None = None,
    attempts: int = 5,
) -> None:
    """Fetch lists and audio and unpack it; an interrupted download continues.

    Args:
        corpus: Which one.
        output: Its folder.
        only: Which of "lists", "dev", "test".
        access: How to reach the audio.
        lists_url: Address of the lists; the two universities' when None.
        attempts: How often to connect before giving up.

    Raises:
        ConfigError: If the way to the audio is not given.
        DataError: If something cannot be fetched, or is damaged.
    """  # noqa: DOC502 (raised by the parts)
    bases = LISTS_AT if lists_url is None else (lists_url,)
    for name, checksum in corpus.lists.items() if "lists" in only else ():
        _fetch_list([address(base, name) for base in bases], output / name, checksum, attempts)
    for split, archive in corpus.archives.items():
        folder = output / archive.below
        if split not in only or (folder / archive.top).is_dir():
            continue
        parts = [
            _download.download(
                # What a browser fetched is only checked.
                FORM if (output / name).exists() else access.url(name),
                output / name,
                checksum=f"md5:{checksum}",
                login=access.login(),
                attempts=attempts,
            )
            for name, checksum in archive.parts.items()
        ]
        made = _download.extract_zip(parts, folder, top=archive.top)
        names = " ".join(part.name for part in parts)
        print(f"{made}: unpacked; these files are not needed any more: {names}")


def _fetch_list(urls: Sequence[str], target: Path, checksum: str, attempts: int) -> None:
    """Fetch a list from the first server that gives it; say so when it is not the known one.

    Raises:
        DataError: If none does.
    """
    for url in urls:
        try:
            _download.download(url, target, attempts=attempts)
            break
        except DataError:
            if url == urls[-1]:
                raise
    found = _download.file_digest(target, "md5")
    if checksum and found != checksum:
        print(
            f"note: {target}: md5 is {found}, not {checksum}: the list has changed, or is damaged"
        )


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``download`` on a command line."""
    add = parser.add_argument
    add("--output", type=Path, required=True, help="folder of the corpus")
    add("--only", nargs="+", choices=PARTS, default=PARTS, help="what to fetch (default: all)")
    add("--key-file", type=Path, help=f"file with the key that {FORM} sends by e-mail")
    add("--user", help="name for HTTP basic authentication")
    add("--password-file", type=Path, help="file with its password")
    add("--base-url", help="address of the audio's parts, {file} for the name, {key} for the key")
    add("--lists-url", help="address of the lists")


def run(corpus: Corpus, options: argparse.Namespace) -> None:
    """Do what the options of `add_options` say."""
    access = Access(
        base_url=options.base_url,
        key_file=options.key_file,
        user=options.user,
        password_file=options.password_file,
    )
    lists_url = options.lists_url
    download(corpus, options.output, only=options.only, access=access, lists_url=lists_url)
