"""Fusion: standardised means and weighted sums, matched by trial."""

import numpy as np
import pytest

from bbb.errors import ConfigError, DataError, ShapeError
from bbb.scoring import (
    Calibration,
    Fusion,
    Scores,
    cllr,
    equal_error_rate,
    fuse_mean,
    min_cllr,
)


def scores(values: np.ndarray, *, labels: bool = True, order: np.ndarray | None = None) -> Scores:
    """Scores of trials (m_k, u_k) in some order of the file."""
    order = np.arange(len(values)) if order is None else order
    names = tuple(f"m{k}" for k in order), tuple(f"u{k}" for k in order)
    index = np.arange(len(values), dtype=np.int32)
    return Scores(*names, index, index, values[order], order % 3 == 0 if labels else None)


RNG = np.random.default_rng(0)
A, B = RNG.normal(size=300), RNG.normal(5.0, 20.0, size=300)


def standardise(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / values.std()


def test_mean_of_standardised_scores() -> None:
    fused = fuse_mean([scores(A), scores(B)])
    np.testing.assert_allclose(fused.scores, (standardise(A) + standardise(B)) / 2)
    assert fused.scores.dtype == np.float64


def test_scale_and_shift_of_a_system_do_not_matter() -> None:
    np.testing.assert_allclose(
        fuse_mean([scores(A), scores(B)]).scores,
        fuse_mean([scores(3 * A - 1), scores(B / 7)]).scores,
    )


def test_systems_are_matched_by_trial() -> None:
    shuffled = scores(B, order=RNG.permutation(300))
    np.testing.assert_allclose(
        fuse_mean([scores(A), shuffled]).scores, fuse_mean([scores(A), scores(B)]).scores
    )


def test_labels_come_from_whoever_has_them() -> None:
    for first, second in ((True, False), (False, True)):
        order = RNG.permutation(300)
        fused = fuse_mean([scores(A, labels=first), scores(B, labels=second, order=order)])
        assert fused.is_target is not None
        assert fused.is_target.tolist() == [k % 3 == 0 for k in range(300)]
    assert fuse_mean([scores(A, labels=False), scores(B, labels=False)]).is_target is None


def test_fusion_of_independent_systems_is_better() -> None:
    labels = np.arange(6000) % 2 == 0
    systems = [scores(RNG.normal(2.0 * labels) * scale) for scale in (1.0, 30.0)]
    fused = fuse_mean(systems)
    alone = min(equal_error_rate(system.scores, labels) for system in systems)
    # d grows from 2 to 2 sqrt 2: 15.9 % to 7.9 %, with a standard error of 0.5 %.
    assert equal_error_rate(fused.scores, labels) < 0.7 * alone


def test_fusion_keeps_what_it_learnt() -> None:
    fusion = Fusion().fit(np.stack((A, B), axis=1))
    np.testing.assert_allclose(fusion.mean_, [A.mean(), B.mean()])
    assert fusion.transform([[A.mean() + A.std(), B.mean() - B.std()]]) == pytest.approx(0.0)
    with pytest.raises(ShapeError, match=r"fitted on 2 systems, got scores of shape \(1, 3\)"):
        fusion.transform([[1.0, 2.0, 3.0]])


class TestErrors:
    def test_other_trials(self) -> None:
        with pytest.raises(DataError, match=r"scores of B need every trial .* for 10 of 300"):
            fuse_mean([scores(A), scores(B[:290])], ["A", "B"])
        with pytest.raises(DataError, match=r"scores of A need every trial .* for 10 of 300"):
            fuse_mean([scores(A[:290]), scores(B)], ["A", "B"])

    def test_other_labels(self) -> None:
        other = scores(B)
        flipped = Scores(
            other.enroll_ids,
            other.test_ids,
            other.enroll,
            other.test,
            other.scores,
            ~np.asarray(other.is_target),
        )
        with pytest.raises(DataError, match="system 2 has another one for 'm0 u0'"):
            fuse_mean([scores(A), flipped])

    def test_one_system(self) -> None:
        with pytest.raises(ConfigError, match="needs at least two systems, got 1"):
            fuse_mean([scores(A)])

    def test_a_constant_system(self) -> None:
        with pytest.raises(DataError, match="the same for every trial from system 2"):
            fuse_mean([scores(A), scores(np.full(300, 0.1))])

    def test_not_finite(self) -> None:
        with pytest.raises(DataError, match="NaN or infinity in column 1"):
            fuse_mean([scores(np.where(A > 0, A, np.inf)), scores(B)])

    def test_shape(self) -> None:
        with pytest.raises(ShapeError, match=r"shape \(trials, columns\), got \(300,\)"):
            Fusion().fit(A)

    def test_method(self) -> None:
        with pytest.raises(ConfigError, match="method 'mean' or 'logistic', got 'vote'"):
            Fusion("vote")  # type: ignore[arg-type]


class TestLogistic:
    LABELS = np.arange(6000) % 3 == 0
    SYSTEMS = np.random.default_rng(7).normal(size=(6000, 2)) + LABELS[:, None] * [1.0, 2.0]

    def test_weights_are_those_of_the_generator(self) -> None:
        # The log-likelihood ratio of unit normals a apart is a s - a a / 2.
        fusion = Fusion("logistic", 0.3).fit(self.SYSTEMS * [1.0, 10.0], self.LABELS)
        np.testing.assert_allclose(fusion.coef_ * [1.0, 10.0], [1.0, 2.0], atol=0.2)
        assert fusion.intercept_ == pytest.approx(-2.5, abs=0.3)

    def test_one_system_is_calibration(self) -> None:
        fusion = Fusion("logistic", 0.1).fit(self.SYSTEMS[:, :1], self.LABELS)
        model = Calibration("logistic", 0.1).fit(self.SYSTEMS[:, 0], self.LABELS)
        np.testing.assert_array_equal(
            fusion.transform(self.SYSTEMS[:, :1]), model.transform(self.SYSTEMS[:, 0])
        )

    def test_better_than_the_mean_of_unequal_systems(self) -> None:
        bad = np.column_stack((self.SYSTEMS[:, 1], np.random.default_rng(1).normal(size=6000)))
        fused = Fusion("logistic", 0.3).fit_transform(bad, self.LABELS)
        assert cllr(fused, self.LABELS) < min_cllr(Fusion().fit_transform(bad), self.LABELS)

    def test_negative_weight(self) -> None:
        with pytest.warns(UserWarning, match="system 2 gets a negative weight, -2"):
            Fusion("logistic").fit(self.SYSTEMS * [1.0, -1.0], self.LABELS)

    def test_collinear_systems(self) -> None:
        first = self.SYSTEMS[:, 0]
        with pytest.warns(UserWarning, match="Fusion: columns are collinear"):
            fusion = Fusion("logistic").fit(np.stack((first, 5 * first + 1), 1), self.LABELS)
        # Both standardised systems get the same weight.
        assert fusion.coef_[0] == pytest.approx(5 * fusion.coef_[1], rel=1e-3)

    def test_no_labels(self) -> None:
        with pytest.raises(DataError, match="by 'logistic' needs labels, got none"):
            Fusion("logistic").fit(self.SYSTEMS)
