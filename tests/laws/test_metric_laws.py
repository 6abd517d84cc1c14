"""Laws that every metric of trials obeys, against definitions by brute force."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from bbb.scoring import act_dcf, cllr, det_curve, equal_error_rate, min_cllr, min_dcf

Trials = tuple[np.ndarray, np.ndarray]
MANY = settings(max_examples=300, deadline=None)


@st.composite
def trial_lists(draw: st.DrawFn) -> Trials:
    """Up to 24 trials of both classes, with many ties and with negative and equal scores."""
    values = st.integers(-4, 4).map(float)
    target = draw(st.lists(values, min_size=1, max_size=12))
    nontarget = draw(st.lists(values, min_size=1, max_size=12))
    scores = np.array(target + nontarget)
    labels = np.array([True] * len(target) + [False] * len(nontarget))
    order = np.array(draw(st.permutations(range(len(scores)))))
    return scores[order], labels[order]


def points(scores: np.ndarray, labels: np.ndarray) -> list[tuple[float, float]]:
    """(fnr, fpr) at every threshold, straight from the definition."""
    found = []
    for threshold in [*sorted(set(scores.tolist())), math.inf]:
        accepted = scores >= threshold
        found.append((float((~accepted)[labels].mean()), float(accepted[~labels].mean())))
    return found


def brute_eer(scores: np.ndarray, labels: np.ndarray) -> float:
    """Where the polygon through the points crosses the diagonal."""
    curve = points(scores, labels)
    for (miss0, fa0), (miss1, fa1) in itertools.pairwise(curve):
        if miss0 - fa0 < 0 <= miss1 - fa1:
            break
    share = (fa0 - miss0) / ((fa0 - miss0) + (miss1 - fa1))
    return miss0 + share * (miss1 - miss0)


def brute_dcf(scores: np.ndarray, labels: np.ndarray, p: float, miss: float, fa: float) -> float:
    costs = [p * miss * fnr + (1 - p) * fa * fpr for fnr, fpr in points(scores, labels)]
    return min(costs) / min(p * miss, (1 - p) * fa)


def brute_min_cllr(scores: np.ndarray, labels: np.ndarray) -> float:
    """By scikit-learn's isotonic regression, with the two classes weighted equally."""
    weight = np.where(labels, 0.5 / labels.sum(), 0.5 / (~labels).sum())
    fit = IsotonicRegression().fit(scores, labels.astype(float), sample_weight=weight)
    posterior = np.clip(fit.predict(scores), 1e-300, 1.0)
    against = np.clip(1.0 - fit.predict(scores), 1e-300, 1.0)
    cost = np.where(labels, -np.log2(posterior), -np.log2(against))
    return float((cost * weight).sum())


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "eer": equal_error_rate,
    "min_dcf_01": lambda s, t: min_dcf(s, t, 0.1),
    "min_dcf_costs": lambda s, t: min_dcf(s, t, 0.5, 10.0, 1.0),
    "min_cllr": min_cllr,
}


@MANY
@given(trial_lists())
def test_eer_is_the_brute_force_crossing(trials: Trials) -> None:
    assert equal_error_rate(*trials) == pytest.approx(brute_eer(*trials), abs=1e-12)


@MANY
@given(trial_lists(), st.floats(0.001, 0.999), st.floats(0.1, 10), st.floats(0.1, 10))
def test_min_dcf_is_the_brute_force_minimum(
    trials: Trials, p: float, miss: float, fa: float
) -> None:
    assert min_dcf(*trials, p, miss, fa) == pytest.approx(brute_dcf(*trials, p, miss, fa))


@MANY
@given(trial_lists())
def test_min_cllr_is_that_of_isotonic_regression(trials: Trials) -> None:
    assert min_cllr(*trials) == pytest.approx(brute_min_cllr(*trials), abs=1e-9)


@MANY
@given(trial_lists())
def test_det_curve_is_the_brute_force_list_of_points(trials: Trials) -> None:
    curve = det_curve(*trials)
    np.testing.assert_allclose(
        np.stack((curve.fnr, curve.fpr), axis=1), points(*trials), atol=1e-12
    )


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=100, deadline=None)
@given(trials=trial_lists(), data=st.data())
def test_order_of_trials_does_not_matter(name: str, trials: Trials, data: st.DataObject) -> None:
    order = np.array(data.draw(st.permutations(range(len(trials[0])))))
    assert METRICS[name](trials[0][order], trials[1][order]) == METRICS[name](*trials)


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=100, deadline=None)
@given(trials=trial_lists(), scale=st.floats(0.01, 100), shift=st.floats(-5, 5))
def test_monotone_maps_do_not_matter(name: str, trials: Trials, scale: float, shift: float) -> None:
    scores, labels = trials
    # The map is strictly monotone on the few integers that the scores are.
    assert METRICS[name](scale * np.arctan(scores) + shift, labels) == METRICS[name](scores, labels)


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=100, deadline=None)
@given(trials=trial_lists())
def test_every_metric_stays_between_zero_and_one(name: str, trials: Trials) -> None:
    assert 0.0 <= METRICS[name](*trials) <= 1.0 + 1e-12


@settings(max_examples=100, deadline=None)
@given(trial_lists())
def test_reversed_scores_and_labels_give_the_same_eer(trials: Trials) -> None:
    assert equal_error_rate(-trials[0], ~trials[1]) == pytest.approx(equal_error_rate(*trials))


@settings(max_examples=100, deadline=None)
@given(trial_lists(), st.floats(0.01, 0.99))
def test_actual_costs_are_never_below_minimal_ones(trials: Trials, p: float) -> None:
    assert act_dcf(*trials, p) >= min_dcf(*trials, p) - 1e-12
    assert cllr(*trials) >= min_cllr(*trials) - 1e-12


@pytest.mark.parametrize("targets", [1, 3, 50])
@pytest.mark.parametrize("nontargets", [1, 7, 100])
def test_perfect_reversed_and_tied(targets: int, nontargets: int) -> None:
    labels = np.repeat([True, False], [targets, nontargets])
    rng = np.random.default_rng(0)
    perfect = np.where(labels, 1.0, -1.0) + rng.uniform(-0.5, 0.5, len(labels))
    tied = np.full(len(labels), 3.25)
    for metric in METRICS.values():
        assert metric(perfect, labels) == 0.0
    assert equal_error_rate(-perfect, labels) == 1.0
    assert equal_error_rate(tied, labels) == 0.5
    assert min_dcf(tied, labels) == 1.0
    assert min_cllr(tied, labels) == pytest.approx(1.0)
