"""Speakers of utterances and of trials, and utterances of enrolled models."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bbb.errors import DataError, FormatError
from bbb.files import numbered_lines
from bbb.scoring.scores import Scores
from bbb.scoring.trials import Trials


def read_utt2spk(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read Kaldi's ``utt2spk``.

    Args:
        path: Lines ``utterance speaker``, plain or gzip.

    Returns:
        Speaker by utterance.

    Raises:
        FormatError: If a line has not two fields, an utterance has two speakers, or the file is
            empty; it names the line.
    """
    speakers: dict[str, str] = {}
    for number, line in numbered_lines(path):
        fields = line.split()
        if len(fields) != 2:  # noqa: PLR2004
            msg = (
                f"{path}:{number}: expected 'utterance speaker', got {len(fields)} fields; correct "
                "the line"
            )
            raise FormatError(msg)
        if speakers.setdefault(fields[0], fields[1]) != fields[1]:
            msg = (
                f"{path}:{number}: expected one speaker per utterance, got '{fields[1]}' after "
                f"'{speakers[fields[0]]}' for '{fields[0]}'; remove the wrong line"
            )
            raise FormatError(msg)
    if not speakers:
        msg = f"{path}:0: expected at least one utterance, got an empty file; was it written fully?"
        raise FormatError(msg)
    return speakers


def read_enroll_map(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Read which utterances enrol each model.

    Args:
        path: Lines ``model utterance [utterance ...]`` (the form of spk2utt), plain or gzip; the
            lines of one model add up.

    Returns:
        Utterance ids by model id.

    Raises:
        FormatError: If a line has fewer than two fields, an utterance enrols a model twice, or
            the file is empty; it names the line.
    """
    models: dict[str, dict[str, None]] = {}
    for number, line in numbered_lines(path):
        model, *utterances = line.split()
        if not utterances:
            msg = (
                f"{path}:{number}: expected 'model utterance [utterance ...]', got 1 field; add "
                "the model's utterances"
            )
            raise FormatError(msg)
        enrolled = models.setdefault(model, {})
        for utterance in utterances:
            if utterance in enrolled:
                msg = (
                    f"{path}:{number}: expected each utterance of a model once, got '{utterance}' "
                    f"again for '{model}'; remove it"
                )
                raise FormatError(msg)
            enrolled[utterance] = None
    if not models:
        msg = f"{path}:0: expected at least one model, got an empty file; was it written fully?"
        raise FormatError(msg)
    return {model: list(enrolled) for model, enrolled in models.items()}


def speakers_of(ids: Iterable[str], utt2spk: Mapping[str, str]) -> list[str]:
    """Speaker of each id.

    Args:
        ids: Utterances; an id that is itself the name of a speaker (an enrolled model) stands for
            that speaker.
        utt2spk: Speaker by utterance.

    Returns:
        Speakers, in the order of the ids.

    Raises:
        DataError: If ids are unknown; it gives their number and the first five.
    """
    wanted, names = list(ids), set(utt2spk.values())
    missing = [key for key in wanted if key not in utt2spk and key not in names]
    if missing:
        first = ", ".join(f"'{key}'" for key in missing[:5])
        msg = (
            f"utt2spk needs every id that is asked for, got no speaker for {len(missing)} of "
            f"{len(wanted)}: {first}; add them to the file"
        )
        raise DataError(msg)
    return [utt2spk.get(key, key) for key in wanted]


def trial_speakers(
    trials: Trials | Scores, utt2spk: Mapping[str, str]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Speakers of both sides of each trial, as the bootstrap takes them.

    Args:
        trials: The trials.
        utt2spk: Speaker by utterance; see `speakers_of` for enrolled models.

    Returns:
        Integer codes of the enrolment speakers and of the test speakers, each of shape (trials,).

    Raises:
        DataError: If ids are unknown; it gives their number and the first five.
    """  # noqa: DOC502 (raised by speakers_of)
    both = speakers_of((*trials.enroll_ids, *trials.test_ids), utt2spk)
    _, codes = np.unique(both, return_inverse=True)
    return codes[: len(trials.enroll_ids)][trials.enroll], codes[len(trials.enroll_ids) :][
        trials.test
    ]
