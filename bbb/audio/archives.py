"""Features in Kaldi's archives: ``feats.scp``, ``vad.scp``, ``utt2num_frames``."""

import os
import warnings
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bbb._ark import ark_writer
from bbb._scp import Scp
from bbb.audio.datadir import DataDir
from bbb.audio.features import (
    FRAMES_PER_SECOND,
    FeatureConfig,
    kaldi_features,
    naming,
    normalize,
    voice_activity,
)
from bbb.audio.tables import read_table
from bbb.audio.utterances import Utterances
from bbb.audio.waveform import load_utterance
from bbb.errors import ConfigError, DataError, FormatError
from bbb.files import write_text


class FeatureArchive:
    """Features that Kaldi's ``make_mfcc.sh``, or ``write_features``, left in a data directory.

    They are raw: of all frames, without mean normalisation, which is done here, as ``config`` says,
    when they are read. Kaldi's compressed archives are read too.

    Args:
        folder: With ``feats.scp``; and with ``vad.scp``, by which ``config.vad`` leaves frames out.
        config: What a model takes: size, normalisation, voice activity.

    Warns:
        UserWarning: If frames are to be left out, and there is no ``vad.scp``: all are kept.

    Raises:
        FormatError: If a table is missing or a line is wrong.
    """

    def __init__(self, folder: str | os.PathLike[str], config: FeatureConfig) -> None:
        self.path = Path(folder)
        self.config = config
        self._feats = Scp(self.path / "feats.scp", 2)
        vad = self.path / "vad.scp"
        self._vad = Scp(vad, 1) if config.vad and vad.is_file() else None
        if config.vad and self._vad is None:
            msg = f"{vad}: no such file; all frames are kept, as if silence had been cut off before"
            warnings.warn(msg, stacklevel=2)

    def directory(self) -> DataDir:
        """A data directory without audio: of ``utt2spk``, or else of the ids in ``feats.scp``.

        Raises:
            FormatError: If a line of ``utt2spk`` cannot be used.
        """
        table = read_table(self.path / "utt2spk", required=False)
        if table.faults:
            raise FormatError(str(table.faults[0]))
        return DataDir(self.path, {}, table.values or dict.fromkeys(self._feats, ""))

    def check(self, utterances: Iterable[str]) -> None:
        """Refuse utterances that are not there, and features of another size.

        Args:
            utterances: Their ids.

        Raises:
            DataError: If there is such a one; names the first five.
            FormatError: If an archive is missing or broken.
        """  # noqa: DOC502 (FormatError, by Scp)
        wanted = list(utterances)
        for scp in [self._feats, *([] if self._vad is None else [self._vad])]:
            missing = [utterance for utterance in wanted if utterance not in scp]
            if missing:
                msg = (
                    f"{scp.file}: {len(missing)} of {len(wanted)} utterances are not there, first "
                    f"{', '.join(missing[:5])}; make them too, or drop these utterances"
                )
                raise DataError(msg)
        for utterance in wanted[:1]:
            self.num_frames(utterance)

    def num_frames(self, utterance: str) -> int:
        """Frames of an utterance, those without speech too, from the archive's header.

        Args:
            utterance: Its id.

        Returns:
            Their number.

        Raises:
            DataError: If the utterance is not there, or its features have another size.
            FormatError: If its archive is missing or broken.
        """  # noqa: DOC502 (FormatError, by Scp)
        if utterance not in self._feats:
            msg = f"{self._feats.file}: no utterance '{utterance}'; make its features, or drop it"
            raise DataError(msg)
        frames, dim = self._feats.shape(utterance)
        if dim != self.config.dim:
            msg = (
                f"{self._feats.file}: '{utterance}' has {dim} values per frame, the model takes "
                f"{self.config.dim}; make the features with its settings (bbb data feats)"
            )
            raise DataError(msg)
        return frames

    def features(self, utterance: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Features as an x-vector sees them: normalised, without the frames that hold no speech.

        Args:
            utterance: Its id.
            start: First frame, from 0, in the count of ``num_frames``.
            stop: One past the last; the end when None. Nothing else is read, nor counts in the
                mean.

        Returns:
            float32, shape (frames, dim); where no frame holds speech, all of them.

        Raises:
            DataError: If the utterance is not there, its features have another size or are not
                finite, or ``vad.scp`` does not fit them.
            FormatError: If an archive is missing or broken.
        """  # noqa: DOC502 (FormatError, by Scp)
        frames = self.num_frames(utterance)
        raw = self._feats.read(utterance, start, stop)
        if not np.isfinite(raw).all():
            msg = f"{self._feats.file}: '{utterance}' is not finite; make its features again"
            raise DataError(msg)
        features = normalize(torch.from_numpy(raw.astype(np.float32)), self.config)
        if self._vad is None:
            return features
        if utterance not in self._vad or self._vad.shape(utterance) != (frames,):
            msg = (
                f"{self._vad.file}: expected {frames} values for '{utterance}', as feats.scp has "
                "frames; decide on voice activity again, with these features"
            )
            raise DataError(msg)
        voiced = torch.from_numpy(self._vad.read(utterance, start, stop) != 0)
        return features[voiced] if bool(voiced.any()) else features


class ArchivedUtterances(Utterances):
    """The utterances of an archive, in place of those of audio files; lengths are in samples.

    Args:
        archive: Their features.
        data: Their speakers.

    Raises:
        DataError: If features are missing, or of another size.
        FormatError: If an archive is missing or broken.
    """

    def __init__(self, archive: FeatureArchive, data: DataDir) -> None:
        archive.check(data.utterances)
        self._archive = archive
        self.sample_rate = archive.config.sample_rate
        self._name(data)
        frames = np.array([archive.num_frames(u) for u in data.utterances], np.int64)
        self.samples = frames * self.sample_rate // FRAMES_PER_SECOND
        self.stored = np.arange(len(frames))
        self.shards = np.array([len(frames)])

    def features(self, index: int, start: int = 0, size: int | None = None) -> Tensor:
        """Features of a stretch, which is given in samples, as ``FeatureArchive.features``."""
        shift = self.sample_rate // FRAMES_PER_SECOND
        stop = None if size is None else (start + size) // shift
        return self._archive.features(self.names[index], start // shift, stop)


def write_features(
    data: DataDir,
    folder: str | os.PathLike[str],
    config: FeatureConfig,
    *,
    part: int = 0,
    num_parts: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> bool:
    """Compute raw features and voice activity, and write them as Kaldi's tools would.

    ``feats.ark`` (matrices, float32, not compressed) and ``vad.ark`` (1 for frames with speech)
    with their ``.scp``, and ``utt2num_frames``. Where Kaldi finds no speech at all, ``vad.ark``
    says 1 throughout, so that the utterance is kept there as it is here.

    Args:
        data: Utterances.
        folder: Made when missing; gets the tables of ``data`` too, if it is another folder.
        config: What to compute; without ``config.vad`` all frames count as speech.
        part: Which stretch of the utterances this process makes, from 0.
        num_parts: Processes that share the work, each with archives of its own; the last to be
            done writes the tables.
        progress: Called with utterances done and their number after each.

    Returns:
        Whether the tables are there; False while other parts are missing.

    Raises:
        ConfigError: If there is no such part.
        DataError: If an utterance cannot be used; names it. Nothing is written then.
    """  # noqa: DOC502 (DataError, by what it calls)
    if not 0 <= part < num_parts <= len(data):
        msg = (
            f"write_features: needs 0 <= part < num_parts <= {len(data)}, the utterances, got part "
            f"{part} of {num_parts}"
        )
        raise ConfigError(msg)
    target = Path(folder).absolute()
    utterances = data.share(part, num_parts).utterances
    # What an earlier run with other settings left behind is no part of this one.
    digest = sha256(repr((config, data.utterances)).encode()).hexdigest()[:8]
    ends = [f".{digest}.{i}of{num_parts}" for i in range(num_parts)] if num_parts > 1 else [""]
    with (
        ark_writer(target / f"feats{ends[part]}.ark") as put,
        ark_writer(target / f"vad{ends[part]}.ark") as put_vad,
    ):
        for done, utterance in enumerate(utterances, start=1):
            waveform = load_utterance(data, utterance, config.sample_rate)
            with naming(data.path, utterance):
                put(utterance, kaldi_features(waveform, config).numpy())
                put_vad(utterance, voice_activity(waveform, config).numpy().astype(np.float32))
            if progress is not None:
                progress(done, len(utterances))
    return _write_tables(data, target, ends)


def _write_tables(data: DataDir, target: Path, ends: list[str]) -> bool:
    """Put the tables of all parts together, if they are there; returns whether they are."""
    if not all((target / f"feats{end}.scp").is_file() for end in ends):
        return False
    for kind in ("feats", "vad"):
        texts = [(target / f"{kind}{end}.scp").read_text(encoding="utf-8") for end in ends]
        write_text(target / f"{kind}.scp", "".join(texts))
    feats = Scp(target / "feats.scp", 2)
    write_text(target / "utt2num_frames", "".join(f"{u} {feats.shape(u)[0]}\n" for u in feats))
    if target != data.path.absolute():
        data.write(target)
    return True
