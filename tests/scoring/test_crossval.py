"""Cross-validation over speakers: nothing of a trial's speakers reaches its model."""

import numpy as np
import pytest

from bbb.errors import ConfigError, DataError, ShapeError
from bbb.scoring import Calibration, Fusion, cross_validate

RNG = np.random.default_rng(0)
ENROLL, TEST = RNG.integers(30, size=(2, 3000))
TEST = np.where(RNG.random(3000) < 0.3, ENROLL, TEST)
LABELS = ENROLL == TEST
SCORES = RNG.normal(2.0 * LABELS)


class Spy:
    """Remembers the speakers that it learns from; its ratio is the number of them it meets."""

    def fit(self, rows: np.ndarray, labels: np.ndarray) -> None:
        assert labels.any()
        self.seen = set(rows[:, :2].ravel().astype(int).tolist())

    def transform(self, rows: np.ndarray) -> np.ndarray:
        return np.array([len(self.seen & {int(a), int(b)}) for a, b in rows[:, :2]], dtype=float)


@pytest.mark.parametrize("num_folds", [3, 5, 7])
def test_no_model_sees_the_speakers_of_its_trials(num_folds: int) -> None:
    spy, rows = Spy(), np.column_stack((ENROLL, TEST))
    met = cross_validate(spy, rows, LABELS, ENROLL, TEST, num_folds=num_folds)
    assert met.tolist() == [0.0] * 3000
    assert not hasattr(spy, "seen")


def test_ratios_are_close_to_those_of_all_trials() -> None:
    for model, rows in (
        (Calibration(p_target=0.3), SCORES),
        (Fusion("logistic", 0.3), np.column_stack((SCORES, RNG.normal(3.0 * LABELS)))),
    ):
        honest = cross_validate(model, rows, LABELS, ENROLL, TEST)
        gap = np.abs(honest - model.fit(rows, LABELS).transform(rows))
        assert (gap > 0).mean() > 0.99
        assert np.median(gap) < 0.5


def test_the_seed_deals_the_speakers() -> None:
    names = np.array([f"s{k}" for k in range(30)])
    ways = [
        cross_validate(Calibration(), SCORES, LABELS, names[ENROLL], names[TEST], seed=seed)
        for seed in (0, 0, 1)
    ]
    assert (ways[0] == ways[1]).all()
    assert (ways[0] != ways[2]).any()


def test_errors() -> None:
    with pytest.raises(ConfigError, match="3 folds and one per speaker, got 2 for 30 speakers"):
        cross_validate(Calibration(), SCORES, LABELS, ENROLL, TEST, num_folds=2)
    with pytest.raises(ConfigError, match="got 31 for 30 speakers"):
        cross_validate(Calibration(), SCORES, LABELS, ENROLL, TEST, num_folds=31)
    with pytest.raises(ShapeError, match="one speaker per side and trial"):
        cross_validate(Calibration(), SCORES, LABELS, ENROLL[:9], TEST)
    with pytest.raises(DataError, match=r"outside folds \d and \d, got one class"):
        cross_validate(Calibration(), SCORES[:4], LABELS[:4], ENROLL[:4], TEST[:4], num_folds=3)
