"""The back-end as a whole: better than cosine, robust on small sets, the same after a file."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone

from bbb.errors import ConfigError, DataError, FormatError, NumericsError, ShapeError
from bbb.scoring import PLDABackend, cosine_scores, equal_error_rate


def corpus(
    speakers: int, utts: int | np.ndarray, seed: int, dim: int = 24
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings with nuisance directions that are common to all seeds."""
    shared = np.random.default_rng(99)
    keep, noise = shared.normal(size=(2, dim, dim)) * np.geomspace(3, 0.1, dim)
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(speakers), utts)
    x = (rng.normal(size=(speakers, dim)) @ keep)[labels] + rng.normal(
        size=(len(labels), dim)
    ) @ noise
    return x.astype(np.float32) + 2.0, labels


def eers(backend: PLDABackend) -> tuple[float, float]:
    """EER of the back-end and of cosine on new speakers."""
    x, labels = corpus(40, 5, seed=1)
    first, second = np.triu_indices(len(x), 1)
    same = labels[first] == labels[second]
    z = backend.transform(x)
    return (
        equal_error_rate(backend.plda_.llr(z, z, first, second), same),
        equal_error_rate(
            cosine_scores(x - x.mean(axis=0), x - x.mean(axis=0), first, second), same
        ),
    )


@pytest.mark.parametrize("method", ["em", "moments"])
def test_beats_cosine_on_new_speakers(method: str) -> None:
    backend = PLDABackend(lda_dim=12, method=method).fit(*corpus(150, 8, seed=0))  # type: ignore[arg-type]
    plda, cosine = eers(backend)
    assert plda < 0.8 * cosine
    assert backend.lda_.shape == (24, 12)
    assert (backend.num_speakers_, backend.num_utts_) == (150, 1200)


def test_stages_are_as_documented() -> None:
    x, labels = corpus(60, 6, seed=0)
    backend = PLDABackend(lda_dim=5).fit(x, labels)
    np.testing.assert_allclose(backend.mean_, x.mean(axis=0), rtol=1e-5)
    expected = (x - backend.mean_) @ backend.lda_
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(backend.transform(x), expected, atol=1e-5)
    assert backend.transform(x).dtype == np.float32
    longer = PLDABackend(lda_dim=5, length_norm=False).fit(x, labels).transform(x)
    assert np.ptp(np.linalg.norm(longer, axis=1)) > 0.1


def test_lda_can_be_left_out() -> None:
    backend = PLDABackend(lda_dim=0).fit(*corpus(100, 8, seed=0))
    np.testing.assert_array_equal(backend.lda_, np.eye(24))
    assert eers(backend)[0] < eers(backend)[1]


def test_small_sets_reduce_lda_with_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"lda_dim 150 is more than 10 speakers.*keeps 9"):
        backend = PLDABackend().fit(*corpus(10, 20, seed=0))
    assert backend.lda_.shape == (24, 9)


@pytest.mark.parametrize("case", ["dead", "copied", "mixed"])
def test_no_discriminant_is_a_direction_without_variance(case: str) -> None:
    x, labels = corpus(100, 8, seed=0)
    wider = {
        "dead": np.hstack((x, np.full_like(x, 0.1))),
        "copied": np.hstack((x, x)),
        "mixed": x @ np.random.default_rng(0).normal(size=(24, 50)).astype(np.float32),
    }[case]
    backend = PLDABackend(lda_dim=24, length_norm=False).fit(wider, labels)
    assert backend.lda_.shape[1] == len(backend.plda_.between_var_) == 24
    # Of 24 dimensions that vary, LDA drops none: all speaker information is left.
    plain = PLDABackend(lda_dim=24, length_norm=False).fit(x, labels)
    pairs = np.random.default_rng(1).integers(len(x), size=(2, 500))
    llrs = [b.plda_.llr(*[b.transform(v)] * 2, *pairs) for b, v in ((plain, x), (backend, wider))]
    np.testing.assert_allclose(*llrs, atol=0.02)


@pytest.mark.parametrize("shrinkage", ["auto", 0.0, 0.2])
def test_dead_and_collinear_dimensions_do_no_harm(shrinkage: float | str) -> None:
    x, labels = corpus(80, 6, seed=0)
    padded = np.column_stack((x, x[:, :2], np.full(len(x), 4.0, dtype=np.float32)))
    backend = PLDABackend(lda_dim=10, shrinkage=shrinkage).fit(padded, labels)  # type: ignore[arg-type]
    assert np.isfinite(backend.transform(padded)).all()
    assert np.isfinite(backend.plda_.within_cov_).all()


def test_units_of_single_dimensions_do_not_matter() -> None:
    x, labels = corpus(80, 6, seed=0)
    units = np.geomspace(1e-3, 1e3, 24)
    scores = []
    for scale in (1.0, units):
        backend = PLDABackend(lda_dim=6).fit(x * scale, labels)
        z = backend.transform(x * scale)
        scores.append(backend.plda_.llr(z, z, *np.triu_indices(30, 1)))
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-3, atol=1e-3)


def test_speakers_with_one_utterance_of_another_domain_are_left_out() -> None:
    x, labels = corpus(60, 6, seed=0)
    alone, names = corpus(50, 1, seed=5)
    both = np.concatenate((x, alone + 30.0)), np.concatenate((labels, 1000 + names))
    plain, mixed = PLDABackend(lda_dim=8).fit(x, labels), PLDABackend(lda_dim=8).fit(*both)
    np.testing.assert_allclose(plain.mean_, mixed.mean_)
    np.testing.assert_allclose(plain.lda_, mixed.lda_)
    kept = PLDABackend(lda_dim=8, min_utts=1).fit(*both)
    assert (kept.num_speakers_, mixed.num_speakers_) == (110, 60)
    assert np.abs(kept.mean_ - mixed.mean_).min() > 1.0


def test_round_trip(tmp_path: Path) -> None:
    x, labels = corpus(60, 6, seed=0)
    backend = PLDABackend(lda_dim=8, length_norm=False).fit(x, labels)
    backend.save(tmp_path / "plda.npz")
    back = PLDABackend.load(tmp_path / "plda.npz")
    np.testing.assert_array_equal(back.transform(x), backend.transform(x))
    pairs = np.triu_indices(30, 1)
    z = back.transform(x)
    np.testing.assert_array_equal(back.plda_.llr(z, z, *pairs), backend.plda_.llr(z, z, *pairs))
    assert back.length_norm is False


def test_another_mean() -> None:
    x, labels = corpus(60, 6, seed=0)
    backend = PLDABackend(lda_dim=8).fit(x, labels)
    moved = backend.with_mean(backend.mean_ + 5.0)
    np.testing.assert_allclose(moved.transform(x + 5.0), backend.transform(x), atol=1e-4)
    with pytest.raises(ShapeError, match=r"with_mean needs shape \(24,\), got \(3,\)"):
        backend.with_mean(np.zeros(3))


def test_it_is_a_scikit_learn_estimator() -> None:
    assert clone(PLDABackend(lda_dim=7, min_utts=3)).get_params()["lda_dim"] == 7


class TestErrors:
    @pytest.mark.parametrize(
        "backend", [PLDABackend(lda_dim=-1), PLDABackend(shrinkage=1.5), PLDABackend(min_utts=0)]
    )
    def test_arguments(self, backend: PLDABackend) -> None:
        with pytest.raises(ConfigError, match="PLDABackend needs lda_dim >= 0"):
            backend.fit(*corpus(5, 5, seed=0))

    def test_labels_must_fit(self) -> None:
        with pytest.raises(ShapeError, match="PLDABackend needs one speaker per embedding"):
            PLDABackend().fit(corpus(5, 5, seed=0)[0], [1, 2])

    def test_no_repetition_keeps_principal_components(self) -> None:
        x, labels = corpus(30, 6, seed=0)
        with (
            pytest.warns(UserWarning, match="principal components are kept"),
            pytest.warns(UserWarning, match="gives each half of the variance"),
        ):
            backend = PLDABackend(lda_dim=8, min_utts=1).fit(x, np.arange(len(x)))
        z = backend.transform(x)
        first, second = np.triu_indices(len(x), 1)
        scores = backend.plda_.llr(z, z, first, second)
        assert equal_error_rate(scores, labels[first] == labels[second]) < 0.4

    def test_too_few_speakers(self) -> None:
        x, _ = corpus(30, 1, seed=0)
        with pytest.raises(DataError, match="at least 2 utterances, got 0 of 30; add"):
            PLDABackend().fit(x, np.arange(30))

    def test_a_collapsed_model(self) -> None:
        copies = np.repeat(np.random.default_rng(0).normal(size=(10, 6)), 4, axis=0)
        with pytest.raises(NumericsError, match="LDA needs utterances of a speaker that differ"):
            PLDABackend(lda_dim=4).fit(copies, np.arange(40) // 4)
        with pytest.raises(NumericsError, match="LDA needs embeddings that differ, got equal"):
            PLDABackend(lda_dim=2).fit(np.full((30, 4), 0.1), np.arange(30) % 5)
        with pytest.raises(DataError, match="zero vectors"):
            PLDABackend(lda_dim=0).fit(np.ones((30, 4)), np.arange(30) % 5)

    def test_dimension(self) -> None:
        backend = PLDABackend(lda_dim=4).fit(*corpus(20, 6, seed=0))
        with pytest.raises(ShapeError, match=r"need shape \(utterances, 24\), got \(2, 5\)"):
            backend.transform(np.zeros((2, 5)))

    def test_files(self, tmp_path: Path) -> None:
        path = tmp_path / "plda.npz"
        backend = PLDABackend(lda_dim=4).fit(*corpus(20, 6, seed=0))
        backend.plda_.save(path)
        with pytest.raises(FormatError, match=r"expected the array 'centre'.*bbb plda"):
            PLDABackend.load(path)
        np.savez(path, **{**backend.arrays(), "lda": np.zeros((24, 3))})
        with pytest.raises(ShapeError, match=r"needs centre \(dim,\) and lda \(dim, 4\)"):
            PLDABackend.load(path)
