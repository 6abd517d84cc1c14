"""Adaptation: nothing where domains agree, gains where they differ, variance only where needed."""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from bbb.errors import ConfigError, DataError, ShapeError
from bbb.scoring import CORAL, PLDA, PLDABackend, equal_error_rate

DIM = 6
METHODS = ["kaldi", "coral", "coral+"]


def corpus(speakers: int, seed: int, shift: np.ndarray | None = None, utts: int = 8):
    """Embeddings and speakers of one domain; `shift` mixes into each utterance (dim, dim)."""
    shared = np.random.default_rng(3)
    between, within = shared.normal(size=(2, DIM, DIM)) / np.sqrt(DIM)
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(speakers), utts)
    x = 2.0 * (rng.normal(size=(speakers, DIM)) @ between)[labels]
    x += rng.normal(size=(len(labels), DIM)) @ within
    if shift is not None:
        x += rng.normal(size=x.shape) @ shift + 1.0
    return x, labels


NOISE = 4.0 * np.outer(*np.random.default_rng(4).normal(size=(2, DIM)))  # one noisy direction
MODEL = PLDA().fit(*corpus(300, seed=0))


def exact_sample(covariance: np.ndarray, mean: np.ndarray, num: int = 50) -> np.ndarray:
    """Rows with exactly this mean and covariance."""
    x = np.random.default_rng(5).normal(size=(num, len(mean)))
    x -= x.mean(axis=0)
    white = x @ np.linalg.inv(np.linalg.cholesky(x.T @ x / num)).T
    return white @ np.linalg.cholesky(covariance).T + mean


def total(model: PLDA) -> np.ndarray:
    return model.within_cov_ + model.between_cov_


def eer(model: PLDA, x: np.ndarray, labels: np.ndarray) -> float:
    pairs = np.triu_indices(len(x), 1)
    return equal_error_rate(model.llr(x, x, *pairs), labels[pairs[0]] == labels[pairs[1]])


@pytest.mark.parametrize("method", METHODS)
def test_equal_domains_leave_the_model_alone(method: str) -> None:
    adapted = MODEL.adapt(exact_sample(total(MODEL), MODEL.mean_), method)
    for name in ("within_cov_", "between_cov_", "mean_"):
        np.testing.assert_allclose(getattr(adapted, name), getattr(MODEL, name), atol=1e-10)


@pytest.mark.parametrize("method", ["kaldi", "coral+"])
def test_variance_grows_only_where_it_must(method: str) -> None:
    direction = np.random.default_rng(6).normal(size=DIM)
    wanted = total(MODEL) + 3.0 * np.outer(direction, direction)
    adapted = MODEL.adapt(exact_sample(wanted, MODEL.mean_), method)
    for name in ("within_cov_", "between_cov_"):
        gain = np.linalg.eigvalsh(getattr(adapted, name) - getattr(MODEL, name))
        assert gain.min() > -1e-9
        assert gain.max() > 0.1
    if method == "kaldi":
        # One direction was added to, and 0.3 + 0.7 of it given out.
        np.testing.assert_allclose(total(adapted), wanted, atol=1e-9)
    smaller = MODEL.adapt(exact_sample(0.25 * total(MODEL), MODEL.mean_), method)
    np.testing.assert_allclose(smaller.within_cov_, MODEL.within_cov_, atol=1e-9)
    np.testing.assert_allclose(smaller.between_cov_, MODEL.between_cov_, atol=1e-6)


def test_kaldi_by_its_own_steps() -> None:
    """Kaldi's UpdatePlda, matrix by matrix, from its source's description."""
    x, _ = corpus(50, seed=1, shift=NOISE)
    mean, shift = x.mean(axis=0), x.mean(axis=0) - MODEL.mean_
    variance = np.cov(x.T, bias=True) + np.outer(shift, shift)
    to_unit = (MODEL.transform_ / np.sqrt(1.0 + MODEL.between_var_)).T
    values, vectors = np.linalg.eigh(to_unit @ variance @ to_unit.T)
    combined = vectors.T @ to_unit
    within, between = (
        combined @ cov @ combined.T for cov in (MODEL.within_cov_, MODEL.between_cov_)
    )
    for i, value in enumerate(values):
        if value > 1.0:
            within[i, i] += 0.3 * (value - 1.0)
            between[i, i] += 0.7 * (value - 1.0)
    back = np.linalg.inv(combined)
    adapted = MODEL.adapt(x, "kaldi")
    np.testing.assert_allclose(adapted.within_cov_, back @ within @ back.T, atol=1e-9)
    np.testing.assert_allclose(adapted.between_cov_, back @ between @ back.T, atol=1e-9)
    np.testing.assert_allclose(adapted.mean_, mean)


def test_coral_and_coral_plus_by_the_paper() -> None:
    x, _ = corpus(50, seed=1, shift=NOISE)
    own = np.cov(x.T, bias=True)
    recolour = np.linalg.inv(sqrtm(total(MODEL)).real) @ sqrtm(own).real
    adapted = MODEL.adapt(x, "coral")
    plus = MODEL.adapt(x, "coral+", within=0.3, between=0.6)
    np.testing.assert_allclose(total(adapted), own, atol=1e-9)
    for name, share in (("within_cov_", 0.3), ("between_cov_", 0.6)):
        old = getattr(MODEL, name)
        pseudo = recolour.T @ old @ recolour
        np.testing.assert_allclose(getattr(adapted, name), pseudo, atol=1e-9)
        values, q = np.linalg.eigh(old)
        half = q / np.sqrt(values)
        gains, p = np.linalg.eigh(half.T @ pseudo @ half)
        inverse = np.linalg.inv(half @ p)
        wanted = old + share * inverse.T @ np.diag(np.maximum(gains - 1.0, 0.0)) @ inverse
        np.testing.assert_allclose(getattr(plus, name), wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "shares"),
    [("kaldi", {}), ("kaldi", {"within": 1.0, "between": 0.0}), ("coral", {}), ("coral+", {})],
)
def test_shifted_domains_gain(method: str, shares: dict[str, float]) -> None:
    test, labels = corpus(60, seed=2, shift=NOISE)
    adapted = MODEL.adapt(corpus(100, seed=1, shift=NOISE)[0], method, **shares)
    assert eer(adapted, test, labels) < 0.9 * eer(MODEL, test, labels)


@pytest.mark.parametrize("method", METHODS)
def test_a_model_of_lower_rank(method: str) -> None:
    x, labels = corpus(100, seed=0)
    padded = np.column_stack((x, x[:, 0] - x[:, 1]))
    with pytest.warns(UserWarning, match="fill only 6 of 7"):
        model = PLDA().fit(padded, labels)
    new, new_labels = corpus(50, seed=1, shift=NOISE)
    adapted = model.adapt(np.column_stack((new, new[:, 0] - new[:, 1])), method)
    assert adapted.transform_.shape == (7, 6)
    rows = np.column_stack((new, new[:, 0] - new[:, 1]))
    assert eer(adapted, rows, new_labels) < eer(model, rows, new_labels)


def test_few_unlabelled_embeddings_are_enough_for_a_model() -> None:
    few = corpus(2, seed=1, utts=2)[0]
    with pytest.warns(UserWarning, match="covariance is singular.*use 'coral\\+'"):
        models = [MODEL.adapt(few, "coral")]
    for adapted in [*models, MODEL.adapt(few, "kaldi"), MODEL.adapt(few, "coral+")]:
        assert np.isfinite(adapted.transform_).all()
        assert (np.diff(adapted.between_var_) <= 0).all()


def test_the_backend_adapts_around_the_new_mean() -> None:
    x, labels = corpus(100, seed=0)
    backend = PLDABackend(lda_dim=4, length_norm=False).fit(x, labels)
    new, _ = corpus(100, seed=1, shift=NOISE)
    adapted = backend.adapt(new, "kaldi")
    np.testing.assert_allclose(adapted.transform(new).mean(axis=0), 0.0, atol=1e-9)
    np.testing.assert_array_equal(adapted.lda_, backend.lda_)
    np.testing.assert_allclose(adapted.mean_, new.mean(axis=0))
    assert backend.plda_.within_cov_[0, 0] < adapted.plda_.within_cov_[0, 0]


def test_arguments() -> None:
    x = np.random.default_rng(0).normal(size=(9, DIM))
    with pytest.raises(ConfigError, match="got 'zoom'; choose one"):
        MODEL.adapt(x, "zoom")
    for method, shares in (("coral", {"within": 0.5}), ("kaldi", {"between": 1.5})):
        with pytest.raises(ConfigError, match=r"shares in \[0, 1\], and none for 'coral'"):
            MODEL.adapt(x, method, **shares)
    with pytest.raises(ShapeError, match=r"need shape \(utterances, 6\)"):
        MODEL.adapt(x[:, :3])
    with pytest.raises(DataError, match="differ, got 3 equal ones"):
        MODEL.adapt(np.ones((3, DIM)))


class TestCoralTransform:
    def test_moments_become_those_of_the_target(self) -> None:
        x, target = corpus(100, seed=0)[0], corpus(100, seed=1, shift=NOISE)[0]
        z = CORAL(target, regularization=1e-9).fit_transform(x)
        np.testing.assert_allclose(z.mean(axis=0), target.mean(axis=0))
        np.testing.assert_allclose(np.cov(z.T), np.cov(target.T), rtol=1e-4)
        assert CORAL(target).fit(x).transform(x.astype(np.float32)).dtype == np.float32

    def test_equal_domains_stay(self) -> None:
        x, _ = corpus(20, seed=0)
        np.testing.assert_allclose(CORAL(x, regularization=0.5).fit_transform(x), x, atol=1e-10)

    def test_training_on_recoloured_embeddings_helps(self) -> None:
        target = corpus(100, seed=1, shift=NOISE)[0]
        x, labels = corpus(300, seed=0)
        test = corpus(60, seed=2, shift=NOISE)
        steps = clone(make_pipeline(CORAL(target), PLDA("moments"))).fit(x, labels)
        assert eer(steps[-1], *test) < eer(PLDA("moments").fit(x, labels), *test)
        with pytest.raises(ShapeError, match=r"need shape \(utterances, 3\)"):
            CORAL(target).fit(x[:, :3])
