"""Operating points: a prior and two costs, and the ones that evaluations are known by."""

from dataclasses import dataclass

from bbb.errors import ConfigError
from bbb.scoring._sorted import bayes_threshold, check_operating_point


@dataclass(frozen=True)
class OperatingPoint:
    """Where a decision is taken; ``str()`` gives ``p_target`` or ``p_target:c_miss:c_fa``.

    Attributes:
        p_target: Prior probability of a target trial, in (0, 1).
        c_miss: Cost of a miss, positive.
        c_fa: Cost of a false alarm, positive.

    Raises:
        ConfigError: If one is out of range.

    Example:
        >>> round(OperatingPoint(0.01, c_miss=10).threshold, 2)
        2.29
    """

    p_target: float
    c_miss: float = 1.0
    c_fa: float = 1.0

    def __post_init__(self) -> None:
        check_operating_point(*self.costs)

    def __str__(self) -> str:
        return ":".join(f"{cost:.12g}" for cost in self.costs).removesuffix(":1:1")

    @property
    def costs(self) -> tuple[float, float, float]:
        """Prior, cost of a miss, cost of a false alarm: the arguments of `min_dcf`."""
        return self.p_target, self.c_miss, self.c_fa

    @property
    def threshold(self) -> float:
        """The natural log-likelihood ratio from which accepting is the cheaper decision."""
        return bayes_threshold(*self.costs)

    @staticmethod
    def of(
        value: "float | str | OperatingPoint", c_miss: float = 1.0, c_fa: float = 1.0
    ) -> "OperatingPoint":
        """Read a point.

        Args:
            value: A prior, or text: a prior, or ``p_target:c_miss:c_fa``.
            c_miss: Cost of a miss where the value is a prior.
            c_fa: Cost of a false alarm, likewise.

        Returns:
            The point.

        Raises:
            ConfigError: If the text is neither form, or a number is out of range.
        """
        if isinstance(value, OperatingPoint):
            return value
        try:
            numbers = [float(part) for part in str(value).split(":")]
        except ValueError:
            numbers = []
        if len(numbers) not in {1, 3}:
            msg = f"an operating point needs p_target or p_target:c_miss:c_fa, got '{value}'"
            raise ConfigError(msg)
        miss, fa = numbers[1:] or (c_miss, c_fa)
        return OperatingPoint(numbers[0], miss, fa)


# SRE08, SRE10, SRE16 and SRE18 (conversational telephone speech): the evaluation plans of NIST;
# the last two rank by the mean of both points.
PRESETS: dict[str, tuple[OperatingPoint, ...]] = {
    "voxceleb": (OperatingPoint(0.01),),
    "sre08": (OperatingPoint(0.01, 10.0, 1.0),),
    "sre10": (OperatingPoint(0.001),),
    "sre16": (OperatingPoint(0.01), OperatingPoint(0.005)),
    "sre18": (OperatingPoint(0.01), OperatingPoint(0.005)),
}


def preset_points(name: str) -> tuple[OperatingPoint, ...]:
    """Operating points of an evaluation.

    Args:
        name: One of `PRESETS`.

    Returns:
        The points; the evaluation's figure is the mean over them.

    Raises:
        ConfigError: If the name is unknown.
    """
    if name not in PRESETS:
        msg = f"preset needs one of {', '.join(PRESETS)}, got '{name}'"
        raise ConfigError(msg)
    return PRESETS[name]
