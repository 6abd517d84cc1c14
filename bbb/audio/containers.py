"""How much of an audio file was cut off, from its container alone.

libsndfile reads the front part of a cut WAV, Ogg or SPHERE file without a word, so that a
half-copied corpus would train in silence.
"""

import math
from pathlib import Path

# A streaming writer that cannot seek back leaves one of these as the size of the data.
_UNKNOWN_SIZES = {0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000}
_SPHERE_SIZES = ("sample_count", "channel_count", "sample_n_bytes")
_OGG_HEADER = 27
_OGG_PAGE_MAX = _OGG_HEADER + 255 + 255 * 255


def missing_bytes(path: Path) -> int:
    """Bytes that the container promises beyond the end of the file.

    Args:
        path: An audio file that exists.

    Returns:
        0 for a whole file, and for formats whose decoder notices a cut by itself (flac, mp3).
    """
    with path.open("rb") as stream:
        magic = stream.read(4)
    if magic == b"RIFF":
        return _missing_riff(path)
    if magic == b"NIST":
        return _missing_sphere(path)
    return _missing_ogg(path) if magic == b"OggS" else 0


def sphere_header(path: Path) -> dict[str, str]:
    """Fields of a NIST SPHERE header: lines ``name -type value`` up to ``end_head``.

    Args:
        path: A file that exists.

    Returns:
        Name to value, and ``header_bytes``, which stands in the second line; empty when the file
        is no SPHERE file, or its header was cut.
    """
    with path.open("rb") as stream:
        magic, size = stream.readline(16), stream.readline(16).strip()
        if magic.strip() != b"NIST_1A" or not size.isdigit():
            return {}
        stream.seek(0)
        lines = stream.read(int(size)).decode("latin-1").split("\n")
    fields = (line.split(maxsplit=2) for line in lines[2:])
    values = {field[0]: field[2].strip() for field in fields if len(field) == 3}  # noqa: PLR2004
    return {**values, "header_bytes": size.decode()}


def is_shorten(path: Path) -> bool:
    """Whether a file is SPHERE whose samples are compressed by shorten (or like it).

    Args:
        path: A file that exists.

    Returns:
        True when libsndfile lacks the decoder.
    """
    return "embedded" in sphere_header(path).get("sample_coding", "")


def _missing_sphere(path: Path) -> int:
    """Bytes that a SPHERE header promises; of compressed samples it does not tell."""
    header = sphere_header(path)
    try:
        sizes = [int(header[name]) for name in _SPHERE_SIZES]
        start = int(header["header_bytes"])
    except (KeyError, ValueError):
        return 0
    if "embedded" in header.get("sample_coding", ""):
        return 0
    return max(0, start + math.prod(sizes) - path.stat().st_size)


def _missing_riff(path: Path) -> int:
    """Walk the chunks of a WAV file up to its samples (RIFF, 1991: id, little-endian size)."""
    size = path.stat().st_size
    position = 12
    with path.open("rb") as stream:
        while position + 8 <= size:
            stream.seek(position)
            header = stream.read(8)
            length = int.from_bytes(header[4:], "little")
            position += 8
            if header[:4] == b"data":
                return 0 if length in _UNKNOWN_SIZES else max(0, position + length - size)
            position += length + length % 2
    return max(0, position - size)


def _missing_ogg(path: Path) -> int:
    """Bytes that the last page lacks (RFC 3533, section 6: header, lacing values, body)."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(max(0, size - _OGG_PAGE_MAX - _OGG_HEADER))
        tail = stream.read()
    start = tail.rfind(b"OggS")
    if start < 0:
        return 1
    page = tail[start:]
    if len(page) < _OGG_HEADER:
        return _OGG_HEADER - len(page)
    table = _OGG_HEADER + page[26]
    return max(0, table + sum(page[_OGG_HEADER:table]) - len(page))
