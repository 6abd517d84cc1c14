"""What systems of embeddings are made from, and what their tables are made from."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bbb import scoring
from bbb.errors import DataError
from bbb.files import atomic_path


@dataclasses.dataclass(frozen=True, kw_only=True)
class SystemOptions:
    """Of systems that are trained on the embeddings of one extractor.

    Attributes:
        source: Folder of the extractor, with train_0.npz and eval_0.npz.
        data: Folder of its data, with train/utt2spk.
        systems: YAML file of the systems.
        seed: Of everything random.
        output: The .npz to write.
    """

    source: Path
    data: Path
    systems: Path
    seed: int = 0
    output: Path

    @property
    def config(self) -> dict[str, Any]:
        """What the YAML file says."""
        found: dict[str, Any] = yaml.safe_load(self.systems.read_text(encoding="utf-8"))
        return found

    def load(self) -> tuple[scoring.Embeddings, scoring.Embeddings, np.ndarray]:
        """Return embeddings of training and evaluation, and the speakers of the first.

        Raises:
            DataError: If a training utterance has no speaker.
        """
        train, test = (
            scoring.read_embeddings(self.source / f"{n}_0.npz") for n in ("train", "eval")
        )
        file = self.data / "train" / "utt2spk"
        utt2spk = scoring.read_utt2spk(file)
        missing = [name for name in train.ids if name not in utt2spk]
        if missing:
            msg = f"{file} has no speaker of '{missing[0]}'; is it the same data?"
            raise DataError(msg)
        return train, test, np.array([utt2spk[name] for name in train.ids])

    def save(self, arrays: dict[str, Any]) -> None:
        """Write the output in one step."""
        # NumPy would add a suffix to a name that lacks it.
        with atomic_path(self.output) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **arrays)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableOptions:
    """Of a table of error rates.

    Attributes:
        trials: List of the trials.
        utt2spk: Speakers of their utterances, which the intervals resample.
        ci: Bootstrap resamples; 0: no intervals.
    """

    trials: Path
    utt2spk: Path
    ci: int = 1000

    def load(self) -> tuple[scoring.Trials, tuple[np.ndarray, np.ndarray]]:
        """Return the trials, and the speakers of both their sides."""
        trials = scoring.read_trials(self.trials)
        return trials, scoring.trial_speakers(trials, scoring.read_utt2spk(self.utt2spk))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunsOptions(TableOptions):
    """Of a table whose figures are means over runs.

    Attributes:
        runs: Files of the runs.
        title: Of the table.
        output: Folder of results.json, RESULTS.md and results.png.
    """

    runs: list[Path]
    title: str = ""
    output: Path

    def read_runs(self) -> list[dict[str, np.ndarray]]:
        """Return the arrays of each run."""
        return [dict(np.load(path)) for path in self.runs]
