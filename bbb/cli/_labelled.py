"""What the verbs that learn from labelled scores share: reading, warning, reporting."""

import contextlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bbb.errors import DataError

if TYPE_CHECKING:
    from bbb.scoring.scores import Scores
    from bbb.scoring.trials import Trials


def read_labelled(
    paths: Sequence[str], trials: str | None, option: str
) -> tuple["Trials | Scores", NDArray[np.float64], NDArray[np.bool_]]:
    """Scores of the same labelled trials by some systems.

    Args:
        paths: A score file per system.
        trials: The trial list; None where the first score file has labels.
        option: The flag that names the list, for the message.

    Returns:
        The trials, their scores of shape (trials, systems), and their labels.

    Raises:
        DataError: If there are no labels, or a trial has no score.
    """
    from bbb.scoring.scores import align_scores, read_scores  # noqa: PLC0415 (--help needs none)
    from bbb.scoring.trials import read_trials  # noqa: PLC0415

    systems = [read_scores(path) for path in paths]
    listed: Trials | Scores = read_trials(trials) if trials else systems[0]
    if listed.is_target is None:
        msg = f"{paths[0]} has no labels; name the trial list with {option}"
        raise DataError(msg)
    columns: list[Any] = [
        align_scores(system, listed, name=f"scores of {path}")
        for path, system in zip(paths, systems, strict=True)
    ]
    return listed, np.stack(columns, axis=1), listed.is_target


@contextlib.contextmanager
def shown_warnings(verb: str) -> Iterator[None]:
    """Print each of our warnings once, on standard error, in the manner of errors."""
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", UserWarning)
        yield
    for text in dict.fromkeys(str(note.message) for note in notes):
        print(f"bbb {verb}: warning: {text}", file=sys.stderr)


def figures(llrs: NDArray[np.float64], is_target: NDArray[np.bool_], p_target: float) -> str:
    """Quality of log-likelihood ratios and of their calibration, in one line."""
    from bbb.scoring.metrics import act_dcf, cllr, min_cllr, min_dcf  # noqa: PLC0415

    pairs = (
        ("Cllr", cllr(llrs, is_target), min_cllr(llrs, is_target)),
        (
            f"DCF({p_target:g})",
            act_dcf(llrs, is_target, p_target),
            min_dcf(llrs, is_target, p_target),
        ),
    )
    return ", ".join(f"{name} {actual:.4f} (at best {best:.4f})" for name, actual, best in pairs)
