"""Means over seeds with their intervals, and differences of systems, as numbers and as texts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import stdtrit

from bbb.scoring import PairedComparison


def t_interval(values: Sequence[float], overlap: float = 0.0) -> list[float | None]:
    """Mean of one value per seed, and the ends of its 95 % interval (Student's t).

    Args:
        values: One for each seed, at least one.
        overlap: Of random splits of one set, whose results are not independent: test examples
            over training examples (Nadeau and Bengio 2003, Inference for the Generalization Error).

    Returns:
        Mean, low and high; of one seed the ends are None, which JSON has too.
    """
    mean = float(np.mean(values))
    if len(values) < 2:  # noqa: PLR2004
        return [mean, None, None]
    error = np.std(values, ddof=1) * np.sqrt(1 / len(values) + overlap)
    half = float(stdtrit(len(values) - 1, 0.975) * error)
    return [mean, mean - half, mean + half]


def interval_text(interval: Sequence[float | None], form: str = ".2f", unit: float = 1.0) -> str:
    """Text of what `t_interval` returned: "1.30 (1.22 to 1.38)", or the mean alone.

    Args:
        interval: Mean, low and high.
        form: Format of each number.
        unit: Factor of each number, such as 100 for percent.

    Returns:
        The text.
    """
    texts = [f"{unit * value:{form}}" for value in interval if value is not None]
    return texts[0] if len(texts) == 1 else f"{texts[0]} ({texts[1]} to {texts[2]})"


def difference_texts(
    row: Mapping[str, Any], key: str = "difference", unit: float = 100.0, digits: int = 2
) -> list[str]:
    """Texts of a difference, of the ends of its interval ``row["ci"]``, and of its p-value.

    Args:
        row: With the numbers "ci" and "p_value".
        key: Of the difference.
        unit: Factor of difference and interval, such as 100 for percent.
        digits: Behind the point.

    Returns:
        Three texts.
    """
    value, low, high = (f"{unit * number:+.{digits}f}" for number in (row[key], *row["ci"]))
    return [value, f"{low} to {high}", f"{row['p_value']:.3f}"]


def comparison(result: PairedComparison) -> dict[str, Any]:
    """What is written of the EERs of two systems and their difference."""
    row = {"eer_a": result.a, "eer_b": result.b, "difference": result.difference}
    return row | {"ci": [result.low, result.high], "p_value": result.p_value}
