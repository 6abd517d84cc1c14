"""Embeddings extracted in parts, by as many processes, and put together."""

import hashlib
from pathlib import Path

import numpy as np

from bbb.audio.datadir import DataDir
from bbb.errors import ConfigError, DataError
from bbb.scoring.embeddings import Embeddings, read_embeddings, write_embeddings


class Parts:
    """Files beside an output that hold a stretch of its utterances each.

    Their names hold a digest of the model, the utterances and the settings, so that what an earlier
    extraction left behind is not taken for a part of this one.

    Args:
        output: What the parts become.
        data: Utterances.
        number: Of parts.
        model: The checkpoint that embeds them.
        settings: Everything else that the embeddings depend on.

    Raises:
        ConfigError: If there are fewer utterances than parts.
    """

    def __init__(
        self, output: str, data: DataDir, number: int, *, model: str, settings: object
    ) -> None:
        self.output = Path(output)
        self.number = number
        if number > len(data):
            msg = f"{data.path} has {len(data)} utterances, which {number} parts cannot share"
            raise ConfigError(msg)
        digest = hashlib.sha256(Path(model).read_bytes())
        digest.update(repr((settings, list(data.utterances))).encode())
        self._digest = digest.hexdigest()[:8]

    def path(self, part: int) -> Path:
        """The file of a part."""
        name = f"{self.output.stem}.{self._digest}.part{part}of{self.number}.npz"
        return self.output.with_name(name)

    def merge(self) -> Embeddings:
        """Write the output, the same as that of a single process, and remove the parts.

        Returns:
            The embeddings.

        Raises:
            DataError: If parts are missing; it names them.
        """
        files = [self.path(part) for part in range(self.number)]
        missing = [part for part, file in enumerate(files) if not file.is_file()]
        if missing:
            msg = (
                f"{self.output}: of {self.number} parts {missing} are missing, such as "
                f"{files[missing[0]].name}; extract them with the same settings (--part)"
            )
            raise DataError(msg)
        parts = [read_embeddings(file) for file in files]
        covariances = [part.covariances for part in parts if part.covariances is not None]
        embeddings = Embeddings(
            ids=tuple(name for part in parts for name in part.ids),
            embeddings=np.concatenate([part.embeddings for part in parts]),
            covariances=np.concatenate(covariances) if covariances else None,
        )
        write_embeddings(self.output, embeddings)
        for file in files:
            file.unlink()
        return embeddings
