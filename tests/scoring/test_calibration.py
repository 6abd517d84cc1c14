"""Calibration: the solver against scikit-learn, the maps by what they promise."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from bbb.errors import ConfigError, DataError, FormatError, NumericsError, ShapeError
from bbb.scoring import (
    Calibration,
    Embeddings,
    Trials,
    act_dcf,
    cllr,
    min_cllr,
    min_dcf,
    quality_columns,
    read_quality,
)
from bbb.scoring._logistic import _Problem, fit_affine


def trials(num: int = 4000, seed: int = 0, share: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihood ratios of two normals, 2 apart (EER 16 %), and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.random(num) < share
    return 2.0 * (rng.normal(size=num) + 2.0 * labels - 1.0), labels


LLRS, LABELS = trials()


class TestSolver:
    @pytest.mark.parametrize("p_target", [0.5, 0.01, 0.999])
    @pytest.mark.parametrize("num", [60, 3000])
    def test_equals_scikit_learn(self, p_target: float, num: int) -> None:
        rng = np.random.default_rng(num)
        labels = rng.random(num) < 0.3
        x = rng.normal(size=(num, 3)) + labels[:, None] * [1.0, 0.5, 0.0]
        weight = np.where(labels, p_target / labels.sum(), (1.0 - p_target) / (~labels).sum())
        oracle = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000, solver="newton-cholesky")
        oracle.fit(x, labels, sample_weight=weight * num)
        found = fit_affine(x * [1.0, 100.0, 1e-3] + 7.0, labels, p_target, "test")
        coef = oracle.coef_[0] / [1.0, 100.0, 1e-3]
        np.testing.assert_allclose(found.coef, coef, rtol=1e-5)
        offset = oracle.intercept_[0] - np.log(p_target / (1.0 - p_target)) - 7.0 * coef.sum()
        assert found.intercept == pytest.approx(offset, rel=1e-5)

    @pytest.mark.parametrize("theta", [np.zeros(3), np.array([0.3, -2.0, 1.0]), np.full(3, 40.0)])
    def test_derivatives_against_finite_differences(self, theta: np.ndarray) -> None:
        rng = np.random.default_rng(0)
        problem = _Problem(rng.normal(size=(500, 2)), rng.random(500) < 0.1, 0.05)
        gradient, hessian = problem.derivatives(theta)
        scale = np.abs(gradient).max()
        numeric = approx_fprime(theta, problem.loss, 1e-6)
        np.testing.assert_allclose(gradient, numeric, atol=1e-4 * scale)
        for row in range(3):
            numeric = approx_fprime(theta, lambda at, k=row: problem.derivatives(at)[0][k], 1e-6)
            np.testing.assert_allclose(hessian[row], numeric, atol=1e-4 * scale)

    def test_the_loss_is_the_definition(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("bbb.scoring._logistic.ROWS", 17)
        problem = _Problem(LLRS[:, None], LABELS, 0.1)
        s = 0.7 * LLRS - 0.4 + np.log(0.1 / 0.9)
        expected = 0.1 * np.log1p(np.exp(-s[LABELS])).mean()
        expected += 0.9 * np.log1p(np.exp(s[~LABELS])).mean()
        # In units of the trivial decision's cost, and with the ridge.
        assert problem.loss(np.array([0.7, -0.4])) == pytest.approx(expected / 0.1, rel=1e-8)

    def test_separable_classes(self) -> None:
        scores = np.arange(100.0)
        with pytest.warns(UserWarning, match="a threshold separates the classes"):
            model = Calibration().fit(scores, scores > 60)
        llrs = model.transform(scores)
        assert np.isfinite(llrs).all()
        assert (np.diff(llrs) > 0).all()
        assert act_dcf(llrs, scores > 60) == 0.0

    def test_huge_and_rare(self) -> None:
        labels = np.arange(100_000) < 3
        scores = 1e30 * (LLRS[np.arange(100_000) % 4000] + labels)
        assert np.isfinite(Calibration().fit(scores, labels).transform(scores)).all()

    def test_steps_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("bbb.scoring._logistic.STEPS", 2)
        with pytest.raises(NumericsError, match="no minimum after 2 steps of Newton's method"):
            Calibration().fit(LLRS, LABELS)

    @pytest.mark.parametrize("seed", range(20))
    def test_tiny_and_singular_problems(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        labels = np.array([True, False, *(rng.random(3) < 0.5)])
        features = rng.integers(0, 2, size=(5, 4)) * 10.0 ** rng.integers(-5, 6, size=4)
        features[0, 0] += 1.0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert np.isfinite(fit_affine(features, labels, 1e-6, "test").coef).all()

    def test_collinear_columns(self) -> None:
        with pytest.warns(UserWarning, match="columns are collinear"):
            model = Calibration().fit(LLRS, LABELS, 3.0 * LLRS[:, None])
        both = model.transform(LLRS, 3.0 * LLRS[:, None])
        np.testing.assert_allclose(both, Calibration().fit(LLRS, LABELS).transform(LLRS), atol=1e-4)


@pytest.mark.parametrize("method", ["logistic", "pav"])
class TestMaps:
    @pytest.mark.parametrize("p_target", [0.5, 0.05])
    def test_other_trials_are_calibrated(self, method: str, p_target: float) -> None:
        train, labels = trials(200_000, 1)
        test, answers = trials(200_000, 2, 0.4)
        model = Calibration(method, p_target).fit(0.01 * train + 3.0, labels)  # type: ignore[arg-type]
        llrs = model.transform(0.01 * test + 3.0)
        assert cllr(llrs, answers) == pytest.approx(min_cllr(llrs, answers), abs=2e-3)
        actual, best = act_dcf(llrs, answers, p_target), min_dcf(llrs, answers, p_target)
        # Min-DCF picks its threshold on these trials, and so is a little too good.
        assert best <= actual < best + 0.01
        if method == "logistic":
            # The ratios of the generator itself.
            np.testing.assert_allclose(llrs, test, atol=0.15)

    def test_order_is_kept(self, method: str) -> None:
        llrs = Calibration(method).fit(LLRS, LABELS).transform(np.sort(LLRS))  # type: ignore[arg-type]
        assert (np.diff(llrs) >= 0).all()

    @settings(deadline=None, max_examples=20)
    @given(scale=st.floats(1e-6, 1e6), shift=st.floats(-1e3, 1e3))
    @example(scale=1e-30, shift=0.0)
    @example(scale=1e30, shift=0.0)
    def test_units_do_not_matter(self, method: str, scale: float, shift: float) -> None:
        model = Calibration(method).fit(scale * (LLRS + shift), LABELS)  # type: ignore[arg-type]
        expected = Calibration(method).fit(LLRS, LABELS).transform(LLRS)  # type: ignore[arg-type]
        np.testing.assert_allclose(model.transform(scale * (LLRS + shift)), expected, atol=1e-6)

    def test_saved_and_loaded(self, method: str, tmp_path: Path) -> None:
        model = Calibration(method, 0.3).fit(LLRS, LABELS)  # type: ignore[arg-type]
        model.save(tmp_path / "m.npz")
        again = Calibration.load(tmp_path / "m.npz")
        assert again.get_params() == {"method": method, "p_target": 0.3}
        np.testing.assert_array_equal(again.transform(LLRS), model.transform(LLRS))
        assert clone(again).get_params() == again.get_params()

    def test_one_class(self, method: str) -> None:
        with pytest.raises(DataError, match="trials of both classes, got"):
            Calibration(method).fit(LLRS, LABELS | True)  # type: ignore[arg-type]


class TestPav:
    def test_the_ends_are_finite_and_say_how_many_trials_there_are(self) -> None:
        scores = np.arange(100.0)
        model = Calibration("pav").fit(scores, scores >= 60)
        low, high = model.transform([-1e9, 1e9])
        # 40 of 41 targets against 1 of 61 nontargets, and the reverse.
        assert high == pytest.approx(np.log(40 / 41 * 61))
        assert low == pytest.approx(np.log(1 / 41 / (60 / 61)))

    def test_best_of_all_maps(self) -> None:
        llrs = Calibration("pav").fit(LLRS, LABELS).transform(LLRS)
        assert cllr(llrs, LABELS) == pytest.approx(min_cllr(LLRS, LABELS), abs=2e-3)

    def test_ties(self) -> None:
        scores = np.repeat([0.0, 1.0, 2.0], 30)
        labels = np.arange(90) % np.repeat([10, 3, 2], 30) == 0
        llrs = Calibration("pav").fit(scores, labels).transform([0.0, 1.0, 2.0])
        targets, nontargets = np.array([4, 10, 15]), np.array([27, 20, 16])
        np.testing.assert_allclose(llrs, np.log(targets / 29 / (nontargets / 63)))


class TestQuality:
    def test_columns_are_symmetric(self) -> None:
        quality = Embeddings(("a", "b"), np.array([[1.0, 20.0], [3.0, 10.0]]))
        one = np.array([0], dtype=np.int32)
        for enroll, test in ("ab", "ba"):
            pair = Trials((enroll,), (test,), one, one, np.array([True]))
            assert quality_columns(quality, pair).tolist() == [[1.0, 10.0, 3.0, 20.0]]
        with pytest.raises(DataError, match=r"quality measures need every id .* 'c'"):
            quality_columns(quality, Trials(("a",), ("c",), one, one, np.array([True])))

    def test_a_shift_by_quality_is_undone(self) -> None:
        rng = np.random.default_rng(5)
        quality = rng.normal(size=(len(LLRS), 2))
        shifted = LLRS + quality @ [3.0, -1.0]
        model = Calibration(p_target=0.3).fit(shifted, LABELS, quality)
        llrs = model.transform(shifted, quality)
        np.testing.assert_allclose(
            model.coef_, model.coef_[0] * np.array([1.0, -3.0, 1.0]), atol=0.15
        )
        plain = Calibration(p_target=0.3).fit(shifted, LABELS).transform(shifted)
        assert cllr(llrs, LABELS) < 0.8 * cllr(plain, LABELS)

    def test_a_constant_column_is_harmless(self) -> None:
        model = Calibration().fit(LLRS, LABELS, np.full((len(LLRS), 1), 0.1))
        assert model.coef_[1] == 0.0
        np.testing.assert_allclose(model.coef_[0], Calibration().fit(LLRS, LABELS).coef_[0])

    def test_file(self, tmp_path: Path) -> None:
        path = tmp_path / "quality"
        path.write_text("a 1 2.5\n\nb\t-3e1 4\r\n")
        quality = read_quality(path)
        assert quality.ids == ("a", "b")
        assert quality.embeddings.tolist() == [[1.0, 2.5], [-30.0, 4.0]]

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ("a 1\nb 1 2\n", r"quality:2: expected 'utterance' and 1 numbers"),
            ("a\n", r"quality:1: expected 'utterance' and some numbers"),
            ("a one\n", r"quality:1: .* got 'a one'"),
            ("a 1\na 1\n", r"quality:2: .* once per utterance"),
            ("", r"quality:0: expected at least one utterance"),
        ],
    )
    def test_faults(self, text: str, match: str, tmp_path: Path) -> None:
        (tmp_path / "quality").write_text(text)
        with pytest.raises(FormatError, match=match):
            read_quality(tmp_path / "quality")


class TestErrors:
    def test_reversed_scores(self) -> None:
        with pytest.warns(UserWarning, match="the ratio falls as the score rises"):
            Calibration().fit(-LLRS, LABELS)

    def test_no_other_warning(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            Calibration().fit(LLRS, LABELS)

    def test_arguments(self) -> None:
        with pytest.raises(ConfigError, match=r"method 'logistic', or 'pav' .* got 'beta'"):
            Calibration("beta").fit(LLRS, LABELS)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="without quality measures, got 'pav'"):
            Calibration("pav").fit(LLRS, LABELS, LLRS[:, None])
        with pytest.raises(ConfigError, match="p_target needs a probability"):
            Calibration(p_target=1.0).fit(LLRS, LABELS)

    def test_scores(self) -> None:
        with pytest.raises(DataError, match="scores that differ, got equal ones"):
            Calibration().fit(np.ones(4000), LABELS)
        with pytest.raises(DataError, match="finite values, got NaN or infinity in column 1"):
            Calibration().fit(np.where(LLRS > 3, np.inf, LLRS), LABELS)
        with pytest.raises(ShapeError, match="align them by trial"):
            Calibration().fit(LLRS, LABELS, LLRS[:9, None])
        with pytest.raises(ShapeError, match="one value per trial"):
            Calibration().fit(LLRS, LABELS[:9])

    def test_other_quality_than_in_fit(self) -> None:
        with pytest.raises(ShapeError, match="fitted with 0 quality columns, got 1"):
            Calibration().fit(LLRS, LABELS).transform(LLRS, LLRS[:, None])

    def test_another_archive(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "m.npz", p_target=0.5, coef=1.0)
        with pytest.raises(FormatError, match=r"expected the arrays of a calibration, got .*coef"):
            Calibration.load(tmp_path / "m.npz")
