"""Sets of embeddings with their ids: Kaldi ark and scp, or ``.npz``. Nothing is ever unpickled."""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bbb._ark import Archive, ark_writer
from bbb._scp import Scp
from bbb.errors import ConfigError, DataError, FormatError, ShapeError
from bbb.scoring._npz import load_arrays, save_arrays
from bbb.scoring._pairs import check_ids

Floats = NDArray[np.floating[Any]]
REMEDY = "extract them again"


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Embeddings, one row per utterance.

    Attributes:
        ids: Distinct ids of the utterances.
        embeddings: Finite values, float32 or float64, shape (utterances, dim).
        covariances: Uncertainty of each embedding: variances of shape (utterances, dim), or
            matrices of shape (utterances, dim, dim); None where it is unknown.

    Raises:
        ShapeError: If the shapes do not fit each other.
        DataError: If an id is repeated, empty or has a blank in it, a value is NaN or infinite, or
            a variance negative; it names the utterance.
    """

    ids: tuple[str, ...]
    embeddings: Floats
    covariances: Floats | None = None

    def __post_init__(self) -> None:
        # Arrays of ids are welcome; a tuple of plain strings is what they become.
        object.__setattr__(self, "ids", tuple(str(name) for name in self.ids))
        shape = self.embeddings.shape
        if len(shape) != 2 or shape[0] != len(self.ids):  # noqa: PLR2004
            msg = (
                f"Embeddings need shape (utterances, dim) with one row for each of the "
                f"{len(self.ids)} ids, got {shape}; stack one vector per utterance"
            )
            raise ShapeError(msg)
        if self.covariances is not None and self.covariances.shape not in {
            shape,
            (*shape, shape[1]),
        }:
            msg = (
                f"covariances need shape {shape} or {(*shape, shape[1])}, got "
                f"{self.covariances.shape}; give variances or one matrix per utterance"
            )
            raise ShapeError(msg)
        check_ids(self.ids, "Embeddings")
        if len(set(self.ids)) != len(self.ids):
            again = next(name for name, times in Counter(self.ids).items() if times > 1)
            msg = f"Embeddings need distinct ids, got '{again}' more than once; remove the copies"
            raise DataError(msg)
        for name, values in (("embedding", self.embeddings), ("covariance", self.covariances)):
            if values is not None and not np.isfinite(values).all():
                axes = tuple(range(1, values.ndim))
                bad = np.flatnonzero(~np.isfinite(values).all(axis=axes))
                msg = (
                    f"Embeddings need finite values, got NaN or infinity in the {name} of "
                    f"'{self.ids[bad[0]]}' and {len(bad) - 1} more; extract them again"
                )
                raise DataError(msg)
        self._check_variances()

    def _check_variances(self) -> None:
        if self.covariances is None:
            return
        full = self.covariances.ndim > 2  # noqa: PLR2004 (matrices)
        variances = np.einsum("nii->ni", self.covariances) if full else self.covariances
        negative = np.flatnonzero((variances < 0).any(axis=1))
        if len(negative):
            msg = (
                f"covariances need variances of at least 0, got less for "
                f"'{self.ids[negative[0]]}' and {len(negative) - 1} more; are they logarithms?"
            )
            raise DataError(msg)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dim(self) -> int:
        """Number of values per embedding."""
        return int(self.embeddings.shape[1])

    def rows(self, ids: Iterable[str], *, name: str = "embeddings") -> NDArray[np.intp]:
        """Row of each id.

        Args:
            ids: Ids to look up.
            name: What to call this set in the message.

        Returns:
            Indices into `embeddings`, in the order of the ids.

        Raises:
            DataError: If ids are missing; it gives their number and the first five.
        """
        table = {key: row for row, key in enumerate(self.ids)}
        wanted = list(ids)
        missing = [key for key in wanted if key not in table]
        if missing:
            first = ", ".join(f"'{key}'" for key in missing[:5])
            msg = (
                f"{name} need every id that is asked for, got none for {len(missing)} of "
                f"{len(wanted)}: {first}; extract these too, or check that the ids agree"
            )
            raise DataError(msg)
        return np.fromiter((table[key] for key in wanted), np.intp, len(wanted))


def read_embeddings(path: str | os.PathLike[str]) -> Embeddings:
    """Read embeddings; the suffix says how: ``.npz``, ``.scp``, anything else is a Kaldi ark.

    Args:
        path: An ``.npz`` with ``ids`` (utterances,), ``embeddings`` (utterances, dim) and optional
            ``covariances``; or a Kaldi archive of vectors, binary or text; or a Kaldi scp, whose
            paths are relative to the working directory or else to the scp's own folder.

    Returns:
        The embeddings, in the order of the file.

    Raises:
        FormatError: If the file is missing, truncated or not of that format, or a line is wrong.
        DataError: If an id is repeated, or a value is not finite; it names the utterance.
    """  # noqa: DOC502 (raised by Embeddings)
    file = Path(path)
    if not file.is_file():
        msg = f"{file}:0: no such file; extract the embeddings first, or check the path"
        raise FormatError(msg)
    if file.suffix == ".npz":
        return _read_npz(file)
    scp = Scp(file, 1) if file.suffix == ".scp" else None
    pairs = list(Archive(file, 1)) if scp is None else [(key, scp.read(key)) for key in scp]
    _check_some(file, len(pairs))
    ids, vectors = zip(*pairs, strict=True)
    dim = len(vectors[0])
    for key, vector in pairs:
        if len(vector) != dim:
            msg = (
                f"{file}:0: expected {dim} values per utterance as for '{ids[0]}', got "
                f"{len(vector)} for '{key}'; extract with one model"
            )
            raise FormatError(msg)
    return _named(file, ids, np.concatenate(vectors).reshape(len(ids), dim), None)


def check_embeddings_path(path: str | os.PathLike[str], *, covariances: bool = False) -> None:
    """Refuse a name that `write_embeddings` could not write, before any work is done.

    Args:
        path: The name.
        covariances: Whether there will be covariances.

    Raises:
        ConfigError: If the suffix is another one, or Kaldi's format cannot hold the covariances.
    """
    suffix = Path(path).suffix
    if suffix not in {".npz", ".ark", ".scp"}:
        msg = f"embeddings need a path ending in .npz, .ark or .scp, got '{path}'; rename it"
        raise ConfigError(msg)
    if covariances and suffix != ".npz":
        msg = f"Kaldi archives hold no covariances, got some for '{path}'; write an .npz instead"
        raise ConfigError(msg)


def write_embeddings(path: str | os.PathLike[str], embeddings: Embeddings) -> None:
    """Write embeddings; each file appears whole or not at all.

    Args:
        path: ``.npz``, or ``.ark`` or ``.scp``, which write both files of a Kaldi pair with the
            same stem.
        embeddings: What to write; covariances need ``.npz``.

    Raises:
        ConfigError: If the suffix is another one, or Kaldi's format cannot hold the covariances.
    """  # noqa: DOC502 (raised by check_embeddings_path)
    check_embeddings_path(path, covariances=embeddings.covariances is not None)
    file = Path(path)
    if file.suffix == ".npz":
        arrays: dict[str, NDArray[Any]] = {
            "ids": np.asarray(embeddings.ids, dtype=np.str_),
            "embeddings": embeddings.embeddings,
        }
        if embeddings.covariances is not None:
            arrays["covariances"] = embeddings.covariances
        save_arrays(file, arrays)
        return
    with ark_writer(file.with_suffix(".ark")) as put:
        for key, row in zip(embeddings.ids, embeddings.embeddings, strict=True):
            put(key, row)


def _check_some(file: Path, number: int) -> None:
    if not number:
        msg = f"{file}:0: expected at least one embedding, got an empty file; {REMEDY}"
        raise FormatError(msg)


def _named(
    file: Path, ids: tuple[str, ...], values: Floats, covariances: Floats | None
) -> Embeddings:
    """Embeddings, with the file's name in front of what is wrong with them."""
    try:
        return Embeddings(ids, values, covariances)
    except (DataError, ShapeError) as error:
        msg = f"{file}: {error}"
        raise type(error)(msg) from error


def _read_npz(file: Path) -> Embeddings:
    arrays = load_arrays(file, ("ids", "embeddings"), optional=("covariances",))
    ids = arrays.pop("ids")
    for name, values in arrays.items():
        if values.dtype.kind not in "fiu":
            msg = f"{file}:0: expected numbers in the array '{name}', got {values.dtype}; {REMEDY}"
            raise FormatError(msg)
        if values.dtype not in {np.dtype(np.float32), np.dtype(np.float64)}:
            arrays[name] = values.astype(np.float32)
    try:
        names = ids.astype(np.str_).tolist() if ids.dtype.kind in "SUiu" else None
    except UnicodeDecodeError:
        names = None
    if names is None or ids.ndim != 1:
        msg = f"{file}:0: expected the array 'ids' of shape (utterances,), got other data; {REMEDY}"
        raise FormatError(msg)
    _check_some(file, len(names))
    return _named(file, tuple(names), arrays["embeddings"], arrays.get("covariances"))
