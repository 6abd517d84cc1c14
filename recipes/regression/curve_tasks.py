"""Tasks with one input: training examples, the curve behind them, and regions to measure in."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# The paper's N(0, 0.02), read as a standard deviation: as a variance it would shift the phase of
# sin(4 pi (x + e)) by 1.8 rad for one sigma, and little of the curve of figure 5 would be left.
CURVE_SIGMA = 0.02
GAP_SIGMA = 0.1


def paper_curve(x: Tensor, e: Tensor | float = 0.0) -> Tensor:
    """Blundell et al. 2015, section 5.2: the curve, with the noise ``e`` of each point."""
    turn = 2 * math.pi * (x + e)
    return x + 0.3 * torch.sin(turn) + 0.3 * torch.sin(2 * turn) + e


def gap_curve(x: Tensor) -> Tensor:
    """The curve of Foong et al. 2019 with nothing observed between its two clusters."""
    return torch.cos(4 * x + 0.8)


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        draw: Training inputs and targets from a number and a generator, (examples, 1) each.
        curve: The truth without noise.
        limits: Ends of the grid of the picture, and of its vertical axis.
        regions: Intervals of x by name; spread is compared with that of "data".
    """

    draw: Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
    curve: Callable[[Tensor], Tensor]
    limits: tuple[tuple[float, float], tuple[float, float]]
    regions: dict[str, list[tuple[float, float]]]

    def grid(self, points: int = 281) -> Tensor:
        """Return inputs at equal distances, (points, 1)."""
        return torch.linspace(*self.limits[0], points).unsqueeze(1)

    def where(self, region: str, x: Tensor) -> Tensor:
        """Return which of the inputs (points, 1) are in a region, (points,)."""
        inside = [(x >= low) & (x <= high) for low, high in self.regions[region]]
        return torch.stack(inside).any(0).squeeze(1)


def _draw_curve(num: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    x = 0.5 * torch.rand(num, 1, generator=generator)
    return x, paper_curve(x, CURVE_SIGMA * torch.randn(num, 1, generator=generator))


def _draw_gap(num: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    u = torch.rand(num, 1, generator=generator)
    left = (torch.arange(num) % 2 == 0).unsqueeze(1)
    x = torch.where(left, -1.0 + 0.3 * u, 0.5 + 0.5 * u)
    return x, gap_curve(x) + GAP_SIGMA * torch.randn(num, 1, generator=generator)


TASKS = {
    "curve": Task(
        draw=_draw_curve,
        curve=paper_curve,
        limits=((-0.2, 1.2), (-1.2, 2.6)),
        regions={"data": [(0.0, 0.5)], "outside": [(0.9, 1.2)]},
    ),
    "gap": Task(
        draw=_draw_gap,
        curve=gap_curve,
        limits=((-1.6, 1.6), (-2.5, 2.5)),
        regions={
            "data": [(-1.0, -0.7), (0.5, 1.0)],
            "gap": [(-0.3, 0.1)],
            "outside": [(-1.6, -1.3), (1.3, 1.6)],
        },
    ),
}
