"""PLDA: likelihood ratios by the joint Gaussians, estimation, singular data, files."""

import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.base import clone

from bbb.errors import ConfigError, DataError, FormatError, NumericsError, ShapeError
from bbb.scoring import PLDA, cllr, equal_error_rate, min_cllr


def sample(
    speakers: int, utts: int | np.ndarray, dim: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings and speakers from a random model, with its B and W."""
    rng = np.random.default_rng(seed)
    left, right = rng.normal(size=(2, dim, dim)) / np.sqrt(dim)
    labels = np.repeat(np.arange(speakers), utts)
    x = (rng.normal(size=(speakers, dim)) @ left.T)[labels] + 1.0
    x += rng.normal(size=(len(labels), dim)) @ right.T
    return x, labels, left @ left.T, right @ right.T


def known(dim: int, seed: int = 0) -> PLDA:
    """A model of full rank that was trained on plenty."""
    x, labels, _, _ = sample(60, 6, dim, seed)
    return PLDA("moments").fit(x, labels)


def joint_log_density(model: PLDA, same: np.ndarray) -> float:
    """Log-density of embeddings (utterances, dim) of one speaker, as one long Gaussian."""
    num, dim = same.shape
    cov = np.kron(np.ones((num, num)), model.between_cov_) + np.kron(np.eye(num), model.within_cov_)
    return float(
        multivariate_normal(np.tile(model.mean_, num), cov).logpdf(same.reshape(num * dim))
    )


class TestScores:
    def test_single_enrolment_is_the_ratio_of_joint_gaussians(self) -> None:
        model, rng = known(4), np.random.default_rng(1)
        enroll, test = rng.normal(1.0, 2.0, size=(2, 5, 4))
        first, second = (index.ravel() for index in np.indices((5, 5)))
        scores = model.llr(enroll, test, first, second)
        for score, left, right in zip(scores, enroll[first], test[second], strict=True):
            expected = joint_log_density(model, np.stack((left, right)))
            expected -= joint_log_density(model, left[None]) + joint_log_density(model, right[None])
            assert score == pytest.approx(expected, abs=1e-9)

    @pytest.mark.parametrize("sizes", [(2, 2), (1, 3, 7, 3)])
    def test_several_enrolments_by_the_book(self, sizes: tuple[int, ...]) -> None:
        model, rng = known(3), np.random.default_rng(1)
        enrolled = [rng.normal(1.0, 2.0, size=(size, 3)) for size in sizes]
        test = rng.normal(1.0, 2.0, size=(4, 3))
        means = np.stack([group.mean(axis=0) for group in enrolled])
        first, second = (index.ravel() for index in np.indices((len(sizes), 4)))
        scores = model.llr(means, test, first, second, num_enroll=sizes)
        for score, model_index, test_index in zip(scores, first, second, strict=True):
            group, right = enrolled[model_index], test[test_index][None]
            expected = joint_log_density(model, np.concatenate((group, right)))
            expected -= joint_log_density(model, group) + joint_log_density(model, right)
            assert score == pytest.approx(expected, abs=1e-9)

    def test_symmetric(self) -> None:
        x, labels, _, _ = sample(30, 4, 5)
        model = PLDA().fit(x, labels)
        pair = np.array([3]), np.array([90])
        assert model.llr(x, x, *pair)[0] == pytest.approx(model.llr(x, x, *pair[::-1])[0])

    def test_float32_stays_and_is_close(self) -> None:
        x, labels, _, _ = sample(50, 6, 20)
        model = PLDA().fit(x, labels)
        pairs = np.triu_indices(len(x), 1)
        double = model.llr(x, x, *pairs)
        single = model.llr(x.astype(np.float32), x.astype(np.float32), *pairs)
        assert single.dtype == np.float32
        np.testing.assert_allclose(single, double, atol=1e-4 * np.abs(double).max())

    def test_every_pair_by_one_matrix_product(self) -> None:
        model, rng = known(3), np.random.default_rng(1)
        enroll, test = rng.normal(size=(6, 3)), rng.normal(size=(9, 3))
        first, second = (index.ravel() for index in np.indices((6, 9)))
        for num in (None, np.array([1, 3, 1, 2, 3, 3])):
            matrix = model.llr_matrix(enroll, test, num_enroll=num)
            scores = model.llr(enroll, test, first, second, num_enroll=num)
            np.testing.assert_allclose(matrix.ravel(), scores)
        single = model.llr_matrix(enroll.astype(np.float32), test.astype(np.float32))
        assert single.dtype == np.float32

    def test_long_lists_take_no_memory_but_their_scores(self) -> None:
        model, x = known(3), np.zeros((4, 3), dtype=np.float32)
        index = np.zeros(1_000_000, dtype=np.int32)
        model.llr(x, x, index[:10], index[:10])
        tracemalloc.start()
        try:
            model.llr(x, x, index, index)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 1.3 * 4 * len(index)

    def test_ratios_are_calibrated(self) -> None:
        # 300 new speakers; over 20 seeds the loss was at most 0.011 bits.
        x, labels, _, _ = sample(600, 4, 3)
        model = PLDA().fit(x[1200:], labels[1200:])
        first, second = np.triu_indices(1200, 1)
        ratios = model.llr(x, x, first, second)
        same = labels[first] == labels[second]
        assert cllr(ratios, same) - min_cllr(ratios, same) < 0.02
        assert cllr(1.5 * ratios, same) - min_cllr(ratios, same) > 0.02

    def test_counts_must_fit(self) -> None:
        model, x = known(3), np.zeros((2, 3))
        for counts in ([1, 2, 3], [0, 1]):
            with pytest.raises(ShapeError, match="num_enroll needs one count >= 1 per enrolment"):
                model.llr(x, x, np.array([0]), np.array([0]), num_enroll=counts)

    def test_dimension_must_fit(self) -> None:
        with pytest.raises(ShapeError, match=r"need shape \(utterances, 3\), got \(2, 4\)"):
            known(3).llr(np.zeros((2, 4)), np.zeros((2, 3)), np.array([0]), np.array([0]))


class TestTraining:
    @pytest.mark.parametrize("method", ["em", "moments"])
    def test_recovers_the_model(self, method: str) -> None:
        # 3000 speakers: relative error of a covariance about 1/sqrt(1500) = 2.6 %.
        counts = np.random.default_rng(1).integers(1, 12, 3000)
        x, labels, between, within = sample(3000, counts, 3)
        model = PLDA(method).fit(x, labels)  # type: ignore[arg-type]
        assert np.linalg.norm(model.between_cov_ - between) < 0.15 * np.linalg.norm(between)
        assert np.linalg.norm(model.within_cov_ - within) < 0.1 * np.linalg.norm(within)
        np.testing.assert_allclose(model.mean_, 1.0, atol=0.15)

    def test_transform_diagonalises_both(self) -> None:
        model = known(5)
        v = model.transform_
        np.testing.assert_allclose(v.T @ model.within_cov_ @ v, np.eye(5), atol=1e-8)
        np.testing.assert_allclose(
            v.T @ model.between_cov_ @ v, np.diag(model.between_var_), atol=1e-8
        )
        assert (np.diff(model.between_var_) <= 0).all()

    @pytest.mark.parametrize("seed", range(4))
    def test_em_gains_likelihood(self, seed: int) -> None:
        counts = np.random.default_rng(seed).integers(1, 9, 40)
        x, labels, _, _ = sample(40, counts, 6, seed)
        gains = np.diff(PLDA(num_iters=60).fit(x, labels).log_likelihoods_)
        assert (gains > -1e-8 * len(x)).all()
        assert gains[0] > 0

    @settings(max_examples=60, deadline=None)
    @given(
        counts=st.lists(st.integers(1, 6), min_size=2, max_size=20),
        dim=st.integers(1, 8),
        collinear=st.integers(0, 2),
        scale=st.floats(1e-3, 1e3),
        shrinkage=st.sampled_from([0.0, 0.3]),
        seed=st.integers(0, 1000),
    )
    def test_em_never_loses_likelihood(  # noqa: PLR0917 (hypothesis names them)
        self,
        counts: list[int],
        dim: int,
        collinear: int,
        scale: float,
        shrinkage: float,
        seed: int,
    ) -> None:
        x, labels, _, _ = sample(len(counts), np.array(counts), dim, seed)
        x = np.column_stack((scale * x, x[:, :1] * np.arange(1, collinear + 1)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            try:
                model = PLDA(num_iters=20, shrinkage=shrinkage).fit(x, labels)
            except NumericsError as error:
                # So few speakers that chance makes them differ less than their utterances do.
                assert "speakers that differ more" in str(error)  # noqa: PT017 (or no error)
                return
        gains = np.diff(model.log_likelihoods_)
        assert (gains > -1e-7 * (1.0 + np.abs(model.log_likelihoods_[1:]))).all()
        assert np.isfinite(model.llr(x, x, np.array([0]), np.array([len(x) - 1]))).all()

    def test_log_likelihood_is_that_of_the_joint_gaussians(self) -> None:
        x, labels, _, _ = sample(15, np.arange(1, 16), 3)
        model = PLDA(num_iters=3).fit(x, labels)
        expected = sum(joint_log_density(model, x[labels == speaker]) for speaker in range(15))
        assert model.log_likelihoods_[-1] == pytest.approx(expected, rel=1e-10)
        assert model.log_likelihoods_.shape == (4,)

    def test_em_reaches_a_direct_maximum(self) -> None:
        x, labels, _, _ = sample(30, np.arange(30) % 4 + 1, 1)

        def loss(parameters: np.ndarray) -> float:
            mean, between, within = parameters[0], *np.exp(parameters[1:])
            total = 0.0
            for speaker in range(30):
                own = x[labels == speaker, 0]
                cov = between * np.ones((len(own), len(own))) + within * np.eye(len(own))
                total -= multivariate_normal(np.full(len(own), mean), cov).logpdf(own)
            return total

        best = minimize(loss, np.zeros(3), tol=1e-8)
        model = PLDA(num_iters=800).fit(x, labels)
        found = [model.mean_[0], model.between_cov_[0, 0], model.within_cov_[0, 0]]
        np.testing.assert_allclose(found, [best.x[0], *np.exp(best.x[1:])], rtol=1e-3, atol=1e-3)
        assert model.log_likelihoods_[-1] == pytest.approx(-best.fun, abs=1e-5)

    def test_em_reaches_a_direct_maximum_in_two_dimensions(self) -> None:
        x, labels, _, _ = sample(30, np.arange(30) % 3 + 3, 2)
        corner = np.tril_indices(2)

        def covariances(parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            factors = np.zeros((2, 2, 2))
            factors[0][corner], factors[1][corner] = parameters[2:5], parameters[5:]
            return factors[0] @ factors[0].T, factors[1] @ factors[1].T

        def loss(parameters: np.ndarray) -> float:
            between, within = covariances(parameters)
            total = 0.0
            for speaker in range(30):
                own = x[labels == speaker]
                cov = np.kron(np.ones((len(own), len(own))), between)
                cov += np.kron(np.eye(len(own)), within)
                mean = np.tile(parameters[:2], len(own))
                total -= multivariate_normal(mean, cov, allow_singular=True).logpdf(own.ravel())
            return total

        best = minimize(loss, [1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0], tol=1e-6)
        model = PLDA(num_iters=1000).fit(x, labels)
        between, within = covariances(best.x)
        np.testing.assert_allclose(model.between_cov_, between, atol=3e-3)
        np.testing.assert_allclose(model.within_cov_, within, atol=3e-3)
        assert model.log_likelihoods_[-1] == pytest.approx(-best.fun, abs=1e-4)

    def test_training_does_not_depend_on_order_or_names(self) -> None:
        x, labels, _, _ = sample(20, 5, 4)
        order = np.random.default_rng(0).permutation(len(x))
        names = np.array([f"speaker {label}" for label in labels])
        one, two = PLDA().fit(x, labels), PLDA().fit(x[order], names[order])
        np.testing.assert_allclose(one.within_cov_, two.within_cov_)
        np.testing.assert_allclose(one.between_cov_, two.between_cov_)

    def test_speakers_with_one_utterance_leave_within_alone(self) -> None:
        x, labels, _, within = sample(400, 6, 3)
        alone, _, _, _ = sample(400, 1, 3)
        both = np.concatenate((x, alone)), np.concatenate((labels, 1000 + np.arange(400)))
        for method in ("em", "moments"):
            model = PLDA(method).fit(*both)  # type: ignore[arg-type]
            assert np.linalg.norm(model.within_cov_ - within) < 0.1 * np.linalg.norm(within)

    def test_it_is_a_scikit_learn_estimator(self) -> None:
        model = clone(PLDA("moments", shrinkage=0.5))
        assert model.get_params() == {"method": "moments", "num_iters": 10, "shrinkage": 0.5}


class TestDifficultData:
    def test_collinear_and_constant_dimensions(self) -> None:
        x, labels, _, _ = sample(40, 8, 4)
        padded = np.column_stack((x, x[:, 0] + x[:, 1], np.full(len(x), 3.0)))
        with pytest.warns(UserWarning, match="fill only 4 of 6 dimensions"):
            model = PLDA().fit(padded, labels)
        plain = PLDA().fit(x, labels)
        pairs = np.triu_indices(20, 1)
        np.testing.assert_allclose(
            model.llr(padded, padded, *pairs), plain.llr(x, x, *pairs), atol=1e-6
        )

    def test_fewer_utterances_than_dimensions(self) -> None:
        x, labels, _, _ = sample(12, 3, 30)
        with pytest.warns(UserWarning, match="covariance is singular.*shrinks it by 0.1"):
            model = PLDA().fit(x, labels)
        assert (np.diff(model.log_likelihoods_) > -1e-6).all()
        fresh, fresh_labels, _, _ = sample(40, 3, 30)
        first, second = np.triu_indices(len(fresh), 1)
        scores = model.llr(fresh, fresh, first, second)
        assert np.isfinite(scores).all()
        assert equal_error_rate(scores, fresh_labels[first] == fresh_labels[second]) < 0.45

    def test_many_singletons_and_one_pair(self) -> None:
        x, labels, _, _ = sample(30, 1, 3)
        labels[1] = labels[0]
        with pytest.warns(UserWarning, match="singular"):
            model = PLDA().fit(x, labels)
        assert np.isfinite(model.llr(x, x, *np.triu_indices(30, 1))).all()

    def test_shrinkage_moves_within_to_the_identity(self) -> None:
        x, labels, _, _ = sample(40, 8, 4)
        eigenvalues = []
        for shrinkage in (0.0, 0.5, 1.0):
            model = PLDA("moments", shrinkage=shrinkage).fit(x, labels)
            total = np.cov(x.T, bias=True)
            eigenvalues.append(np.ptp(np.linalg.eigvals(np.linalg.solve(total, model.within_cov_))))
        assert eigenvalues[0] > eigenvalues[1] > eigenvalues[2]
        assert eigenvalues[2] == pytest.approx(0.0, abs=1e-8)

    def test_no_repetition(self) -> None:
        x, labels, _, _ = sample(60, 4, 3)
        for method in ("em", "moments"):
            with pytest.warns(UserWarning, match="no speaker has two utterances.*each half"):
                model = PLDA(method).fit(x, np.arange(len(x)))  # type: ignore[arg-type]
            np.testing.assert_allclose(model.within_cov_, np.cov(x.T, bias=True) / 2)
            np.testing.assert_allclose(model.between_cov_, model.within_cov_)
            expected = multivariate_normal(x.mean(axis=0), np.cov(x.T, bias=True)).logpdf(x).sum()
            np.testing.assert_allclose(model.log_likelihoods_, [expected])
        first, second = np.triu_indices(len(x), 1)
        scores = model.llr(x, x, first, second)
        assert equal_error_rate(scores, labels[first] == labels[second]) < 0.4
        with pytest.raises(DataError, match="needs two speakers, got 1"):
            PLDA().fit(x, np.zeros(len(x)))

    @pytest.mark.parametrize("method", ["em", "moments"])
    def test_units_do_not_matter(self, method: str) -> None:
        x, labels, _, _ = sample(40, 6, 4)
        units = np.array([1e-7, 1.0, 1e5, 30.0])
        pairs = np.triu_indices(40, 1)
        one, two = (PLDA(method).fit(rows, labels) for rows in (x, x * units))  # type: ignore[arg-type]
        assert two.log_likelihoods_[-1] == pytest.approx(
            one.log_likelihoods_[-1] - len(x) * np.log(units).sum()
        )
        np.testing.assert_allclose(two.llr(x * units, x * units, *pairs), one.llr(x, x, *pairs))

    def test_float32_with_a_large_mean(self) -> None:
        x, labels, _, _ = sample(100, 6, 4)
        single = (x + 20_000.0).astype(np.float32)
        double = single.astype(np.float64)
        pairs = np.triu_indices(60, 1)
        one, two = PLDA().fit(single, labels), PLDA().fit(double, labels)
        np.testing.assert_allclose(one.within_cov_, two.within_cov_, rtol=1e-6, atol=1e-9)
        expected = two.llr(double, double, *pairs)
        np.testing.assert_allclose(one.llr(single, single, *pairs), expected, atol=2e-3)
        constant = np.column_stack((single, np.full(len(x), 0.1, dtype=np.float32)))
        with pytest.warns(UserWarning, match="fill only 4 of 5"):
            PLDA().fit(constant, labels)

    def test_log_likelihood_of_rank_deficient_data(self) -> None:
        x, labels, _, _ = sample(30, 5, 2)
        turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0][:2]
        plain = PLDA().fit(x, labels)
        with pytest.warns(UserWarning, match="fill only 2 of 3"):
            turned = PLDA().fit(x @ turn, labels)
        np.testing.assert_allclose(turned.log_likelihoods_, plain.log_likelihoods_)

    def test_a_collapsed_model(self) -> None:
        with pytest.raises(NumericsError, match="embeddings that differ, got equal ones"):
            PLDA().fit(np.full((20, 3), 0.1), np.arange(20) % 4)

    def test_copies(self) -> None:
        x = np.random.default_rng(0).normal(size=(5, 3))[np.arange(20) % 5]
        with pytest.raises(NumericsError, match="utterances of a speaker that differ"):
            PLDA().fit(x, np.arange(20) % 5)

    def test_speakers_that_do_not_differ(self) -> None:
        x = np.random.default_rng(0).normal(size=(20, 2))
        balanced = np.concatenate((x, -x))
        with (
            warnings.catch_warnings(),
            pytest.raises(NumericsError, match="speakers that differ more than the utterances"),
        ):
            PLDA().fit(balanced, np.tile(np.arange(20), 2))

    def test_not_finite(self) -> None:
        x, labels, _, _ = sample(5, 5, 2)
        x[4, 0] = np.inf
        with pytest.raises(DataError, match="first in row 4"):
            PLDA().fit(x, labels)

    def test_labels_must_fit(self) -> None:
        with pytest.raises(ShapeError, match="one speaker per embedding"):
            PLDA().fit(np.zeros((4, 2)), [1, 2, 3])

    @pytest.mark.parametrize("model", [PLDA("map"), PLDA(num_iters=0)])  # type: ignore[arg-type]
    def test_arguments(self, model: PLDA) -> None:
        with pytest.raises(ConfigError, match="needs method 'em' or 'moments' and num_iters"):
            model.fit(np.zeros((4, 2)), [1, 1, 2, 2])

    def test_shrinkage_is_a_share(self) -> None:
        with pytest.raises(ConfigError, match=r"shrinkage in \[0, 1\], got 2"):
            PLDA(shrinkage=2.0).fit(np.zeros((4, 2)), [1, 1, 2, 2])


class TestFiles:
    def test_round_trip(self, tmp_path: Path) -> None:
        model = known(4)
        model.save(tmp_path / "plda.npz")
        back = PLDA.load(tmp_path / "plda.npz")
        for name in ("mean_", "transform_", "between_var_"):
            np.testing.assert_array_equal(getattr(back, name), getattr(model, name))

    def test_suffix(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"ending in \.npz"):
            known(2).save(tmp_path / "plda")

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(FormatError, match=r"no such file; train it with 'bbb plda'"):
            PLDA.load(tmp_path / "plda.npz")

    def test_truncated(self, tmp_path: Path) -> None:
        path = tmp_path / "plda.npz"
        known(4).save(path)
        path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(FormatError, match=r"plda.npz:0: not a complete .npz"):
            PLDA.load(path)

    def test_other_arrays(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "x.npz", mean=np.zeros(3))
        with pytest.raises(FormatError, match="expected the array 'transform'"):
            PLDA.load(tmp_path / "x.npz")
        np.savez(tmp_path / "y.npz", mean=np.zeros(3), transform=np.eye(2), between_var=np.zeros(2))
        with pytest.raises(ShapeError, match=r"PLDA needs mean \(dim,\), transform"):
            PLDA.load(tmp_path / "y.npz")
