"""Trial lists: which utterances are compared with which."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bbb.errors import DataError
from bbb.files import atomic_path

_LINES_AT_ONCE = 200_000


@dataclasses.dataclass(frozen=True)
class Trials:
    """Pairs of utterances.

    Attributes:
        utterances: Sorted ids.
        enroll: Index of the first of each pair, shape (trials,).
        test: Index of the second of each pair, shape (trials,).
        is_target: True where both are of one speaker, shape (trials,).
    """

    utterances: Sequence[str]
    enroll: NDArray[np.int64]
    test: NDArray[np.int64]
    is_target: NDArray[np.bool_]

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.is_target)

    def where(self, keep: NDArray[np.bool_]) -> "Trials":
        """The pairs for which ``keep`` is true, shape (trials,)."""
        return Trials(self.utterances, self.enroll[keep], self.test[keep], self.is_target[keep])

    def both(self, label: Mapping[str, str]) -> NDArray[np.bool_]:
        """True where ``label`` (by utterance) is the same on both sides, shape (trials,)."""
        codes = np.unique([label[utt] for utt in self.utterances], return_inverse=True)[1]
        same: NDArray[np.bool_] = codes[self.enroll] == codes[self.test]
        return same


def all_pairs(
    utt2spk: Mapping[str, str],
    *,
    utt2session: Mapping[str, str] | None = None,
    max_nontargets: int | None = None,
    seed: int = 0,
) -> Trials:
    """Every unordered pair of utterances, once, the smaller id first.

    Args:
        utt2spk: Utterance id to speaker id.
        utt2session: Utterance id to session id; pairs of one session are then left out.
        max_nontargets: Keep at most so many nontarget pairs, drawn at random; all by default.
        seed: Of that draw.

    Returns:
        The pairs, in the order of their ids.

    Raises:
        DataError: If no target pair, or no nontarget pair, can be made.
    """
    utterances = sorted(utt2spk)
    enroll, test = np.triu_indices(len(utterances), 1)
    everything = Trials(utterances, enroll, test, np.zeros(len(enroll), dtype=np.bool_))
    is_target = everything.both(utt2spk)
    keep = np.ones(len(is_target), dtype=np.bool_)
    if utt2session is not None:
        keep &= ~everything.both(utt2session)
    nontargets = np.flatnonzero(keep & ~is_target)
    if max_nontargets is not None and len(nontargets) > max_nontargets:
        drop = np.random.default_rng(seed).permutation(nontargets)[max_nontargets:]
        keep[drop] = False
    trials = dataclasses.replace(everything, is_target=is_target).where(keep)
    targets = int(trials.is_target.sum())
    if not 0 < targets < len(trials):
        msg = (
            f"{len(utterances)} utterances of {len(set(utt2spk.values()))} speakers give {targets} "
            f"target and {len(trials) - targets} nontarget trials; both kinds are needed, so give "
            "at least two speakers, each with two utterances (of different sessions, if any)"
        )
        raise DataError(msg)
    return trials


def write_trials(path: Path, trials: Trials) -> None:
    """Write ``enroll test target|nontarget`` lines in one atomic step.

    Args:
        path: The file.
        trials: The pairs.
    """
    names = trials.utterances
    words = ("nontarget", "target")
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for start in range(0, len(trials), _LINES_AT_ONCE):
            part = slice(start, start + _LINES_AT_ONCE)
            rows = zip(
                trials.enroll[part].tolist(),
                trials.test[part].tolist(),
                trials.is_target[part].tolist(),
                strict=True,
            )
            stream.writelines(f"{names[i]} {names[j]} {words[same]}\n" for i, j, same in rows)


def write_trial_lists(folder: Path, trials: Trials, utt2gender: Mapping[str, str]) -> None:
    """Write ``trials`` and, when both genders occur, ``trials_same_gender``.

    Args:
        folder: The data directory of the utterances.
        trials: The pairs.
        utt2gender: Utterance id to gender.
    """
    write_trials(folder / "trials", trials)
    if len(set(utt2gender.values())) > 1:
        write_trials(folder / "trials_same_gender", trials.where(trials.both(utt2gender)))
