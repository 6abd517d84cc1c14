"""Covariances of embeddings: exact ratios by joint Gaussians, the way through the chain, draws."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from bbb.errors import ConfigError, DataError
from bbb.scoring import (
    Embeddings,
    PLDABackend,
    Scores,
    Trials,
    equal_error_rate,
    score_draws,
    score_trials,
    score_uncertain_trials,
)
from bbb.scoring._uncertain import propagate

DIM = 4
RNG = np.random.default_rng(0)


def backend(*, length_norm: bool = False, lda_dim: int = 0, dim: int = DIM) -> PLDABackend:
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(60), 6)
    mix = rng.normal(size=(2, dim, dim)) / np.sqrt(dim)
    x = (rng.normal(size=(60, dim)) @ mix[0])[labels] + rng.normal(size=(360, dim)) @ mix[1] + 1.0
    return PLDABackend(lda_dim=lda_dim, length_norm=length_norm).fit(x, labels)


def random_cov(num: int, dim: int = DIM) -> np.ndarray:
    roots = RNG.normal(size=(num, dim, dim))
    return roots @ roots.transpose(0, 2, 1) / dim


def data(num: int, *, full: bool) -> Embeddings:
    covariances = random_cov(num) if full else RNG.uniform(0.1, 3.0, size=(num, DIM))
    ids = tuple(f"u{i}" for i in range(num))
    return Embeddings(ids, RNG.normal(1.0, 2.0, size=(num, DIM)), covariances)


def trials_of(enroll: tuple[str, ...], test: tuple[str, ...]) -> Trials:
    first, second = (index.ravel() for index in np.indices((len(enroll), len(test))))
    return Trials(enroll, test, first.astype(np.int32), second.astype(np.int32), None)


def log_density(model: PLDABackend, rows: np.ndarray, covs: np.ndarray) -> float:
    """Of utterances of one speaker, as one long Gaussian with each its own covariance."""
    plda, num = model.plda_, len(rows)
    cov = np.kron(np.ones((num, num)), plda.between_cov_)
    cov += np.kron(np.eye(num), plda.within_cov_)
    for i, own in enumerate(covs):
        part = slice(i * DIM, (i + 1) * DIM)
        cov[part, part] += own if own.ndim == 2 else np.diag(own)
    mean = np.tile(plda.mean_ + model.mean_, num)
    return float(multivariate_normal(mean, cov).logpdf(rows.ravel()))


def test_an_unknown_multi_enroll_is_refused() -> None:
    sides = data(5, full=True)
    with pytest.raises(ConfigError, match="multi_enroll needs 'book' or 'mean', got 'sum'"):
        score_uncertain_trials(trials_of(("u0",), ("u4",)), sides, sides, multi_enroll="sum")  # type: ignore[arg-type]


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("sizes", [(1, 1), (3, 1, 2)])
def test_exact_ratios_are_those_of_joint_gaussians(sizes: tuple[int, ...], *, full: bool) -> None:
    model, sides = backend(), data(8, full=full)
    assert sides.covariances is not None
    models = {f"m{i}": list(sides.ids[i : i + size]) for i, size in enumerate(sizes)}
    trials = trials_of(tuple(models), sides.ids[5:])
    found = score_uncertain_trials(
        trials, sides, sides, backend=model, enroll_map=models, full=True
    )
    for score, i, j in zip(found.scores, trials.enroll, trials.test, strict=True):
        rows = sides.rows([*models[f"m{i}"], f"u{5 + j}"])
        x, c = sides.embeddings[rows], sides.covariances[rows]
        expected = log_density(model, x, c)
        expected -= log_density(model, x[:-1], c[:-1]) + log_density(model, x[-1:], c[-1:])
        assert score == pytest.approx(expected, abs=1e-9)


def test_the_mean_of_a_model_has_the_mean_covariance_over_the_number() -> None:
    model, sides = backend(), data(5, full=True)
    assert sides.covariances is not None
    trials = trials_of(("m",), ("u4",))
    found = score_uncertain_trials(
        trials,
        sides,
        sides,
        backend=model,
        enroll_map={"m": ["u0", "u1"]},
        multi_enroll="mean",
        full=True,
    )
    x = np.stack((sides.embeddings[:2].mean(axis=0), sides.embeddings[4]))
    c = np.stack((sides.covariances[:2].sum(axis=0) / 4, sides.covariances[4]))
    expected = log_density(model, x, c)
    expected -= log_density(model, x[:1], c[:1]) + log_density(model, x[1:], c[1:])
    assert found.scores[0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("length_norm", [True, False])
def test_without_uncertainty_nothing_changes(*, full: bool, length_norm: bool) -> None:
    model, sides = backend(length_norm=length_norm, lda_dim=3), data(9, full=False)
    models = {"m0": ["u0", "u1", "u2"], "m1": ["u3"]}
    trials = trials_of(("m0", "m1"), sides.ids[4:])
    certain = Embeddings(sides.ids, sides.embeddings, np.zeros((9, DIM)))
    for multi_enroll in ("book", "mean"):
        options = {"backend": model, "enroll_map": models, "multi_enroll": multi_enroll}
        plain = score_trials(trials, sides, sides, mean=np.ones(DIM), **options)
        found = score_uncertain_trials(
            trials, certain, certain, full=full, mean=np.ones(DIM), **options
        )
        np.testing.assert_allclose(found.scores, plain.scores, atol=1e-9)


def test_diagonals_are_exact_where_covariances_are_diagonal_in_the_basis() -> None:
    model, sides = backend(), data(6, full=True)
    inverse = np.linalg.inv(model.plda_.transform_)
    covs = inverse.T @ (RNG.uniform(0, 2, size=(6, 1, DIM)) * np.eye(DIM)) @ inverse
    known = Embeddings(sides.ids, sides.embeddings, covs)
    trials = trials_of(sides.ids[:3], sides.ids[3:])
    exact, fast = (
        score_uncertain_trials(trials, known, known, backend=model, full=full).scores
        for full in (True, False)
    )
    np.testing.assert_allclose(fast, exact, atol=1e-9)


@pytest.mark.parametrize("length_norm", [True, False])
def test_the_way_through_the_chain_is_that_of_samples(*, length_norm: bool) -> None:
    model = backend(length_norm=length_norm, lda_dim=3)
    x, cov = RNG.normal(1.0, 4.0, size=(1, DIM)), random_cov(1)
    values, full = propagate(model, x, cov, full=True)
    _, diagonal = propagate(model, x, cov, full=False)
    np.testing.assert_allclose(np.diagonal(full[0]), diagonal[0])
    np.testing.assert_allclose(values, model.plda_.transform(model.transform(x)))
    samples = (RNG.multivariate_normal(x[0], cov[0], size=100_000) - model.mean_) @ model.lda_
    if length_norm:
        samples /= np.linalg.norm((x - model.mean_) @ model.lda_)
    seen = np.cov(model.plda_.transform(samples).T)
    assert np.linalg.norm(full[0] - seen) < 0.02 * np.linalg.norm(seen)
    variances = np.diagonal(cov, axis1=1, axis2=2)
    for kind in (True, False):
        _, own = propagate(model, x, variances, full=kind)
        _, same = propagate(model, x, variances[:, :, None] * np.eye(DIM), full=kind)
        np.testing.assert_allclose(own, same)


def test_doubt_pulls_ratios_towards_zero_and_lowers_errors() -> None:
    rng = np.random.default_rng(2)
    model = backend(dim=8)
    plda = model.plda_
    labels = np.repeat(np.arange(40), 6)
    basis = np.linalg.inv(plda.transform_)
    z = (rng.normal(size=(40, 8)) * np.sqrt(plda.between_var_))[labels]
    z += rng.normal(size=z.shape)
    # A third of the utterances is noisy, and said to be.
    spread = np.where(rng.random(len(z)) < 1 / 3, 16.0, 0.01)[:, None] * np.ones(8)
    x = (z + rng.normal(size=z.shape) * np.sqrt(spread)) @ basis + plda.mean_ + model.mean_
    ids = tuple(f"{i}" for i in range(len(x)))
    known = Embeddings(ids, x, basis.T @ (spread[:, :, None] * np.eye(8)) @ basis)
    first, second = (index.astype(np.int32) for index in np.triu_indices(len(x), 1))
    trials = Trials(ids, ids, first, second, labels[first] == labels[second])
    plain = score_trials(trials, known, known, backend=model)
    found = score_uncertain_trials(trials, known, known, backend=model)
    assert trials.is_target is not None
    errors = [equal_error_rate(scores.scores, trials.is_target) for scores in (plain, found)]
    assert errors[1] < 0.95 * errors[0]
    doubtful = spread[first, 0] + spread[second, 0] > 20
    assert np.abs(found.scores[doubtful]).mean() < 0.3 * np.abs(plain.scores[doubtful]).mean()


class TestCosine:
    def test_it_is_the_cosine_of_what_samples_are_expected_to_be(self) -> None:
        # Truths under the prior, those that could have given the embedding weighed by how likely.
        dim, cov = 2, np.array([[1.0, 0.5], [0.5, 3.0]])
        x, y = np.array([2.0, 2.5]), np.array([1.0, -0.3])
        prior = (x @ x - np.trace(cov)) / dim
        truths = RNG.normal(size=(400_000, dim)) * np.sqrt(prior)
        weights = multivariate_normal(x, cov).pdf(truths)
        expected = weights @ truths / weights.sum()
        sides = Embeddings(("x", "y"), np.stack((x, y)), np.stack((cov, np.zeros((2, 2)))))
        found = score_uncertain_trials(trials_of(("x",), ("y",)), sides, sides).scores[0]
        cosine = expected @ y / np.linalg.norm(expected) / np.linalg.norm(y)
        assert found == pytest.approx(cosine, abs=0.01)
        plain = score_trials(trials_of(("x",), ("y",)), sides, sides).scores[0]
        assert abs(found - plain) > 0.1

    def test_variances_are_diagonal_matrices(self) -> None:
        sides = data(6, full=False)
        assert sides.covariances is not None
        matrices = Embeddings(
            sides.ids, sides.embeddings, sides.covariances[:, :, None] * np.eye(DIM)
        )
        trials = trials_of(sides.ids[:2], sides.ids[2:])
        mean = np.array([1.0, 0.0, 0.5, 0.0])
        one, two = (
            score_uncertain_trials(trials, known, known, mean=mean).scores
            for known in (sides, matrices)
        )
        np.testing.assert_allclose(one, two)
        shifted = Embeddings(sides.ids, sides.embeddings - mean, sides.covariances)
        np.testing.assert_allclose(score_uncertain_trials(trials, shifted, shifted).scores, one)

    def test_equal_doubt_in_all_directions_changes_nothing(self) -> None:
        sides = data(6, full=False)
        equal = Embeddings(sides.ids, sides.embeddings, np.full((6, DIM), 0.3))
        trials = trials_of(sides.ids[:3], sides.ids[3:])
        found = score_uncertain_trials(trials, equal, equal).scores
        np.testing.assert_allclose(found, score_trials(trials, equal, equal).scores)

    def test_utterances_in_doubt_count_less_in_a_model(self) -> None:
        x = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        trials, models = trials_of(("m",), ("c",)), {"m": ["a", "b"]}
        found = []
        for doubt in (0.0, 0.2, 0.45):
            known = Embeddings(
                ("a", "b", "c"), x, np.array([0.0, doubt, 0.0])[:, None] * np.ones(2)
            )
            scores = score_uncertain_trials(trials, known, known, enroll_map=models)
            found.append(scores.scores[0])
        plain = score_trials(trials, known, known, enroll_map=models).scores[0]
        assert found[0] == pytest.approx(plain)
        assert found[0] < found[1] < found[2] < 1.0

    @pytest.mark.parametrize("full", [True, False])
    def test_it_lowers_errors(self, *, full: bool) -> None:
        rng = np.random.default_rng(5)
        labels = np.repeat(np.arange(40), 6)
        sigma = np.where(rng.random((240, 30)) < 0.3, 2.5, 0.1)
        x = rng.normal(size=(40, 30))[labels] + 0.6 * rng.normal(size=(240, 30))
        x += sigma * rng.normal(size=x.shape)
        covs = sigma[:, :, None] ** 2 * np.eye(30) if full else sigma**2
        known = Embeddings(tuple(map(str, range(240))), x, covs)
        first, second = (index.astype(np.int32) for index in np.triu_indices(240, 1))
        same = labels[first] == labels[second]
        trials = Trials(known.ids, known.ids, first, second, same)
        plain = equal_error_rate(score_trials(trials, known, known).scores, same)
        assert equal_error_rate(score_uncertain_trials(trials, known, known).scores, same) < (
            0.7 * plain
        )


def test_float32_and_progress() -> None:
    sides = data(40, full=False)
    assert sides.covariances is not None
    single = Embeddings(
        sides.ids, sides.embeddings.astype(np.float32), sides.covariances.astype(np.float32)
    )
    trials = trials_of(sides.ids, sides.ids)
    steps: list[int] = []
    model = backend(length_norm=True, lda_dim=3)
    found = score_uncertain_trials(trials, single, single, backend=model, progress=steps.append)
    double = score_uncertain_trials(trials, sides, sides, backend=model)
    assert sum(steps) == 1600
    np.testing.assert_allclose(found.scores, double.scores, atol=1e-4)


def test_covariances_must_be_there() -> None:
    sides = data(3, full=False)
    bare = Embeddings(sides.ids, sides.embeddings)
    trials = trials_of(("u0",), ("u1",))
    with pytest.raises(DataError, match="enrolment embeddings with covariances, got none; write"):
        score_uncertain_trials(trials, bare, sides)
    with pytest.raises(DataError, match="test embeddings with covariances"):
        score_uncertain_trials(trials, sides, bare)


class TestDraws:
    TRIALS = trials_of(("a", "b"), ("x",))

    def test_ratios_are_averaged_as_ratios(self) -> None:
        values = RNG.normal(size=(5, 2)) * [1.0, 400.0]
        draws = (Scores.of(self.TRIALS, row.astype(np.float64)) for row in values)
        expected = logsumexp(values, axis=0) - np.log(5)
        np.testing.assert_allclose(score_draws(draws, llr=True).scores, expected)
        draws = (Scores.of(self.TRIALS, row) for row in values)
        np.testing.assert_allclose(score_draws(draws, llr=False).scores, values.mean(axis=0))

    def test_one_draw_is_itself(self) -> None:
        draw = Scores.of(self.TRIALS, np.array([1.0, 2.0], dtype=np.float32))
        assert score_draws([draw], llr=True) is draw

    def test_errors(self) -> None:
        with pytest.raises(ConfigError, match="at least one set of scores, got none"):
            score_draws([], llr=True)
        other = trials_of(("a", "c"), ("x",))
        draws = [Scores.of(trials, np.zeros(2)) for trials in (self.TRIALS, self.TRIALS, other)]
        with pytest.raises(DataError, match="other trials in draw 3"):
            score_draws(draws, llr=True)
