"""Transforms behave as scikit-learn's do."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline

from bbb.errors import DataError, NumericsError, ShapeError
from bbb.scoring import Centering, LengthNorm, Whitening

ROWS = np.random.default_rng(0).normal(3.0, 1.0, size=(50, 4))


def test_centering_removes_the_training_mean() -> None:
    centering = Centering().fit(ROWS)
    np.testing.assert_allclose(centering.transform(ROWS).mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(centering.transform(ROWS + 1.0).mean(axis=0), 1.0)
    assert centering.transform(ROWS.astype(np.float32)).dtype == np.float32


def test_centering_keeps_what_float32_has_of_a_large_mean() -> None:
    large = (ROWS + 12_345.678).astype(np.float32)
    centred = Centering().fit(large).transform(large)
    exact = large.astype(np.float64) - large.astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(centred, exact, atol=2e-6)


def test_whitening() -> None:
    mixed = ROWS @ np.random.default_rng(1).normal(size=(4, 4))
    white = Whitening().fit_transform(mixed)
    np.testing.assert_allclose(white.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(white.T @ white / 50, np.eye(4), atol=1e-12)
    pca = PCA(whiten=True).fit_transform(mixed / mixed.std(axis=0)) * np.sqrt(50 / 49)
    np.testing.assert_allclose(white @ white.T, pca @ pca.T, atol=1e-9)
    assert Whitening().fit(mixed).transform(mixed.astype(np.float32)).dtype == np.float32
    padded = np.column_stack((mixed, mixed[:, 0], np.ones(50)))
    with pytest.warns(UserWarning, match="fill only 4 of 6 dimensions"):
        assert Whitening().fit_transform(padded).shape == (50, 4)
    with pytest.raises(NumericsError, match="whitening needs embeddings that differ"):
        Whitening().fit(np.full((9, 2), 0.1))


def test_length_norm() -> None:
    unit = LengthNorm().fit_transform(ROWS)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1.0)
    np.testing.assert_allclose(LengthNorm().transform(7.0 * ROWS), unit)


def test_they_work_in_a_pipeline_and_can_be_cloned() -> None:
    labels = np.arange(50) % 5
    steps = make_pipeline(Centering(), LinearDiscriminantAnalysis(n_components=2), LengthNorm())
    assert clone(steps).fit(ROWS, labels).transform(ROWS).shape == (50, 2)


def test_errors() -> None:
    centering = Centering().fit(ROWS)
    with pytest.raises(ShapeError, match=r"need shape \(utterances, 4\), got \(50, 3\)"):
        centering.transform(ROWS[:, :3])
    with pytest.raises(ShapeError, match=r"need shape \(utterances, dim\), got \(4,\)"):
        Centering().fit(ROWS[0])
    broken = ROWS.copy()
    broken[7, 1] = np.nan
    with pytest.raises(DataError, match="NaN or infinity in 1 rows, the first in row 7"):
        Centering().fit(broken)
    with pytest.raises(DataError, match="zero vectors, the first in row 0"):
        LengthNorm().fit_transform(np.zeros((2, 3)))
