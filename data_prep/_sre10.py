"""The lists of NIST SRE 2010: what models are trained on, and the key of a test."""

import dataclasses
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from _corpus import Faults
from numpy.typing import NDArray

from bbb.files import numbered_lines

CONDITIONS = tuple(range(1, 10))
_KEY_COLUMNS = 5 + len(CONDITIONS)
Segment = tuple[str, str]
"""A recording and its channel, "A" or "B"."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Key:
    """The scored trials of a test.

    Attributes:
        models: Model ids.
        sides: Segment and channel ("A" or "B").
        enroll: Index of each trial's model, shape (trials,).
        test: Index of each trial's side, shape (trials,).
        is_target: Whether the speaker is that of the model, shape (trials,).
        conditions: Bit n - 1 tells whether it is in common condition n, shape (trials,).
    """

    models: list[str]
    sides: list[Segment]
    enroll: NDArray[np.int32]
    test: NDArray[np.int32]
    is_target: NDArray[np.bool_]
    conditions: NDArray[np.uint16]

    def only(self, conditions: Iterable[int]) -> "Key":
        """The trials of some common conditions, with the same models and sides."""
        keep = (self.conditions & sum(1 << (n - 1) for n in conditions)) > 0
        rows = ("enroll", "test", "is_target", "conditions")
        return dataclasses.replace(self, **{name: getattr(self, name)[keep] for name in rows})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """What a model is trained on.

    Attributes:
        gender: ``"f"`` or ``"m"``.
        sides: Segment and channel of its recordings.
        speaker: Id of its speaker; that of the model where the key has none.
    """

    gender: str
    sides: list[Segment]
    speaker: str


def read_key(path: Path, faults: Faults) -> Key:
    """Read a trial key; the six million trials of ``coreext-coreext`` take some twenty seconds.

    Args:
        path: ``TRAIN-TEST.trialkey.csv``.
        faults: Gets lines that cannot be used, and trials that occur twice.

    Returns:
        The scored trials.
    """
    models: dict[str, int] = {}
    sides: dict[Segment, int] = {}
    masks: dict[str, int | None] = {}
    enroll, test, target, mask = array("i"), array("i"), array("b"), array("H")
    broken = []
    for number, line in numbered_lines(path):
        fields = line.split(",", 5)
        model, segment, side, answer, scored, flags = (*fields, *[""] * 6)[:6]
        if flags not in masks:
            masks[flags] = _mask(flags)
        bits = masks[flags]
        if scored == "N" or (number == 1 and scored != "Y"):
            continue
        wrong = answer not in {"target", "nontarget"} or side.upper() not in {"A", "B"}
        if bits is None or wrong or scored != "Y":
            broken.append(f"{path.name}:{number}")
            continue
        enroll.append(models.setdefault(model, len(models)))
        test.append(sides.setdefault((segment, side.upper()), len(sides)))
        target.append(answer == "target")
        mask.append(bits)
    faults.add(
        "broken lines", broken, f"expected {_KEY_COLUMNS} columns, model to condition 9: restore"
    )
    key = Key(
        models=list(models),
        sides=list(sides),
        enroll=np.array(enroll, dtype=np.int32),
        test=np.array(test, dtype=np.int32),
        is_target=np.array(target, dtype=np.bool_),
        conditions=np.array(mask, dtype=np.uint16),
    )
    faults.add(f"trials that occur twice in {path.name}", _repeated(key), "keep one of each")
    return key


def _mask(flags: str) -> int | None:
    """Common conditions as bits, of ``Y,N,...``; None when these are not nine of Y and N."""
    words = flags.rstrip().split(",")[: len(CONDITIONS)]
    if len(words) < len(CONDITIONS) or not {*words} <= {"Y", "N"}:
        return None
    return sum(1 << place for place, word in enumerate(words) if word == "Y")


def _repeated(key: Key) -> Iterator[str]:
    codes = key.enroll.astype(np.int64) * max(1, len(key.sides)) + key.test
    values, counts = np.unique(codes, return_counts=True)
    for code in values[counts > 1].tolist():
        model, side = divmod(code, len(key.sides))
        yield f"{key.models[model]} {':'.join(key.sides[side])}"


def read_models(train: Path, key: Path, faults: Faults) -> dict[str, Model]:
    """Read what models are trained on, and who speaks.

    Args:
        train: ``TRAIN.trn``.
        key: ``TRAIN.modelkey.csv``.
        faults: Gets lines that cannot be used, and models that occur twice.

    Returns:
        Model id to its sides and speaker.
    """
    speakers = {}
    for _, line in numbered_lines(key):
        model, speaker = (*line.strip().split(","), "")[:2]
        if speaker != "NOT_SCORED":
            speakers[model] = speaker
    models: dict[str, Model] = {}
    broken, twice = [], []
    for number, line in numbered_lines(train):
        model, gender, waves = (*line.split(maxsplit=2), "", "", "")[:3]
        paths = [wave.rpartition(":") for wave in waves.replace(",", " ").split()]
        sides = [(Path(path).stem, side.upper()) for path, _, side in paths]
        if gender not in {"f", "m"} or not sides or not {s for _, s in sides} <= {"A", "B"}:
            broken.append(f"{train.name}:{number}")
        elif model in models:
            twice.append(model)
        else:
            speaker = speakers.get(model) or model
            models[model] = Model(gender=gender, sides=sides, speaker=speaker)
    faults.add("broken lines", broken, "expected 'MODEL f|m PATH.sph:A|B': restore the file")
    faults.add(f"models that occur twice in {train.name}", twice, "keep one of each")
    return models
