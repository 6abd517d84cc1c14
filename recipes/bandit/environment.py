"""Mushrooms that may be eaten or left: a contextual bandit (Blundell et al. 2015, section 5.3)."""

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bbb.errors import ConfigError, FormatError
from bbb.files import numbered_lines

PASS, EAT = 0, 1
ATTRIBUTES = 22
GAIN, POISONING = 5.0, -35.0


@dataclass(frozen=True)
class Mushrooms:
    """All mushrooms, ready for a network.

    Attributes:
        inputs: Row ``2 * mushroom + action``: one-hot attributes and action, (2 * mushrooms, inp).
        edible: Whether one may be eaten, (mushrooms,).
    """

    inputs: Tensor
    edible: Tensor

    @property
    def digest(self) -> str:
        """What tells them from other mushrooms."""
        content = hashlib.sha256(self.inputs.numpy().tobytes())
        content.update(self.edible.numpy().tobytes())
        return content.hexdigest()[:16]


def load_mushrooms(file: Path) -> Mushrooms:
    """Read ``agaricus-lepiota.data``; an unknown value ("?") is a value like the others.

    Args:
        file: Lines of a class, "e" or "p", and 22 attributes, with commas; one line of names
            before them is allowed. Plain or gzip.

    Returns:
        The mushrooms, in the order of the file.

    Raises:
        ConfigError: If there is no such file.
        FormatError: If a line is something else, or the file no text.
    """
    if not file.is_file():
        msg = (
            f"data expects UCI's agaricus-lepiota.data, got '{file}'; "
            "'python data_prep/mushrooms.py download --output DIR' puts it into DIR"
        )
        raise ConfigError(msg)
    numbered = [(number, next(csv.reader([line]))) for number, line in numbered_lines(file)]
    start = 1 if numbered and numbered[0][1][0] not in {"e", "p"} else 0
    for number, row in numbered[start:]:
        if len(row) != 1 + ATTRIBUTES or row[0] not in {"e", "p"}:
            msg = f"{file}:{number}: expected 'e' or 'p' and 22 attributes, got {','.join(row)!r}"
            raise FormatError(msg)
    if len(numbered) == start:
        msg = f"{file}:{start}: expected mushrooms, got none; download the file again"
        raise FormatError(msg)
    table = np.array([row for _, row in numbered[start:]])
    columns = [column[:, None] == np.unique(column) for column in table.T[1:]]
    attributes = torch.from_numpy(np.concatenate(columns, 1)).float().repeat_interleave(2, 0)
    actions = torch.eye(2).repeat(len(table), 1)
    return Mushrooms(torch.cat([attributes, actions], 1), torch.from_numpy(table[:, 0] == "e"))


class Stream:
    """The mushrooms that one seed brings, and the luck of who eats a poisonous one.

    It does not depend on what the agent does, so that all agents of a seed can be compared by pair.

    Args:
        edible: Of each mushroom.
        seeds: One stream for each.
        steps: Length of a stream.

    Attributes:
        mushroom: Numbers of mushrooms, drawn with replacement, (seeds, steps).
        edible: Whether that one may be eaten, (seeds, steps).
        reward: What eating it brings, (seeds, steps); leaving it brings 0.
    """

    def __init__(self, edible: Tensor, seeds: list[int], steps: int) -> None:
        drawn, lucky = [], []
        for seed in seeds:
            # One draw for both, so that a longer stream begins as a shorter one does.
            generator = torch.Generator().manual_seed(seed)
            number = torch.randint(2 * len(edible), (steps,), generator=generator)
            drawn.append(number // 2)
            lucky.append(number % 2 == 1)
        self.mushroom = torch.stack(drawn)
        self.edible = edible[self.mushroom]
        self.reward = torch.where(self.edible | torch.stack(lucky), GAIN, POISONING)

    def regret(self, ate: Tensor) -> Tensor:
        """What an oracle, who eats the edible ones, gains more; a lucky poisoning is negative.

        Args:
            ate: Whether the agent ate, (seeds, steps).

        Returns:
            Regret of each step, of that shape.
        """
        return torch.where(self.edible, GAIN, 0.0) - torch.where(ate, self.reward, 0.0)

    def expected_regret(self, ate: Tensor) -> Tensor:
        """The mean of `regret` over the luck: 5 for an edible one left, 15 for a poisonous eaten.

        Args:
            ate: Whether the agent ate, (seeds, steps).

        Returns:
            Expected regret of each step, of that shape.
        """
        eaten = torch.where(self.edible, GAIN, (GAIN + POISONING) / 2)
        return torch.where(self.edible, GAIN, 0.0) - torch.where(ate, eaten, 0.0)
