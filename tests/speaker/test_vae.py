"""The normaliser against probabilistic PCA, which a linear one is, and as a part of pipelines."""

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from torch.distributions import Normal, kl_divergence

from bbb.errors import ConfigError, DataError, FormatError, NumericsError, ShapeError
from bbb.scoring import PLDA, Centering, LengthNorm
from bbb.speaker import VAENormalizer
from bbb.speaker._autoencoder import Autoencoder, centres_of, encode

RNG = np.random.default_rng(0)
SPEAKERS = np.repeat(np.arange(20), 5)
VOICES = RNG.normal(size=(20, 6))[SPEAKERS] + 0.5 * RNG.normal(size=(100, 6))
QUICK: dict[str, Any] = {"code_dim": 4, "hidden_dim": 8, "epochs": 3, "batch_size": 32}
# A linear model (num_layers=0) of these has its optimum in closed form.
LATENT = RNG.normal(size=(500, 3)) * [4.0, 2.0, 1.0]
MIXED = LATENT @ np.linalg.qr(RNG.normal(size=(8, 3)))[0].T + 0.3 * RNG.normal(size=(500, 8))
LINEAR: dict[str, Any] = {"code_dim": 3, "num_layers": 0, "epochs": 250, "lr": 0.03}


def quick(**changes: Any) -> VAENormalizer:
    return VAENormalizer(**{**QUICK, **changes})


def standardised(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(axis=0)) / x.std(axis=0)


# -- what is minimised ------------------------------------------------------------------------


def test_a_linear_one_finds_probabilistic_pca() -> None:
    model = VAENormalizer(**LINEAR).fit(MIXED)
    pca = PCA(3).fit(standardised(MIXED))
    # Tipping and Bishop 1999: the bound is tight, the noise is the mean of what is left out, and
    # a code has the variance 1 - s^2 / eigenvalue. The draws of the last epoch leave some noise.
    assert model.losses_[-1] == pytest.approx(-pca.score(standardised(MIXED)), abs=0.15)
    assert model.obs_sigma_ == pytest.approx(np.sqrt(pca.noise_variance_), rel=0.02)
    wanted = 1.0 - pca.noise_variance_ / pca.explained_variance_
    found = np.linalg.eigvalsh(np.cov(model.transform(MIXED).T))[::-1]
    assert found.sum() == pytest.approx(wanted.sum(), abs=0.05)
    np.testing.assert_allclose(found, wanted, atol=0.15)


def test_directions_that_vary_less_than_the_observation_noise_are_left_out() -> None:
    values = np.linalg.eigvalsh(np.cov(standardised(MIXED).T))[::-1]
    sigma = float(np.sqrt(values[1:3].mean()))
    model = VAENormalizer(**LINEAR, obs_sigma=sigma).fit(MIXED)
    assert model.obs_sigma_ == pytest.approx(sigma)
    found = np.linalg.eigvalsh(np.cov(model.transform(MIXED).T))[::-1]
    wanted = np.maximum(1.0 - sigma**2 / values[:3], 0.0)
    assert (wanted > 0).tolist() == [True, True, False]
    np.testing.assert_allclose(found, wanted, atol=0.05)


def test_without_sampling_it_finds_pca() -> None:
    model = VAENormalizer(**LINEAR, sampling=False, obs_sigma=0.5).fit(MIXED)
    x = standardised(MIXED)
    pca = PCA(3).fit(x)
    error = ((x - pca.inverse_transform(pca.transform(x))) ** 2).sum(axis=1).mean()
    constant = 8 * (np.log(0.5) + 0.5 * np.log(2 * np.pi))
    assert model.losses_[-1] == pytest.approx(error / (2 * 0.25) + constant, abs=0.05)


@pytest.mark.parametrize("obs_sigma", ["learned", 0.3])
def test_loss_is_that_of_the_definition(obs_sigma: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    model = Autoencoder(
        6, 4, [8], obs_sigma=obs_sigma, cohesion=1.5, sampling=True, generator=generator
    )
    x = torch.randn(10, 6, generator=generator)
    centres = torch.randn(10, 4, generator=generator)
    loss = model.loss(x, centres, generator.manual_seed(1))
    mu, rho = encode(model.encoder, x)
    q = Normal(mu, torch.log1p(rho.exp()))
    z = q.mean + q.stddev * torch.randn(mu.shape, generator=generator.manual_seed(1))
    scale = 1.0 if obs_sigma == "learned" else obs_sigma
    wanted = (
        kl_divergence(q, Normal(0.0, 1.0)).sum()
        - Normal(model.decoder(z), scale).log_prob(x).sum()
        - 1.5 * Normal(centres, 1.0).log_prob(mu).sum()
        + 1.5 * Normal(mu, 1.0).log_prob(mu).sum()
    )
    torch.testing.assert_close(loss, wanted)


def test_centres_are_the_mean_codes_of_speakers() -> None:
    model = quick().fit(VOICES)
    shuffled = np.random.default_rng(1).permutation(SPEAKERS)
    x = model._standardised(VOICES)
    found = centres_of(model.encoder_, x, torch.from_numpy(shuffled)).numpy()
    codes = model.transform(VOICES)
    wanted = np.stack([codes[shuffled == s].mean(axis=0) for s in shuffled])
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_cohesion_draws_the_codes_of_a_speaker_together() -> None:
    shares = []
    for cohesion in (0.0, 3.0):
        model = quick(cohesion=cohesion, epochs=50, lr=0.01).fit(VOICES, SPEAKERS)
        codes = model.transform(VOICES)
        means = np.stack([codes[s == SPEAKERS].mean(axis=0) for s in SPEAKERS])
        shares.append((codes - means).var() / codes.var())
    assert shares[1] < 0.9 * shares[0]


def test_codes_of_bent_embeddings_are_less_skewed() -> None:
    z, eps = np.random.default_rng(1).normal(size=(2, 500, 2))
    bent = np.column_stack((z, z**2 + 0.1 * eps))
    model = VAENormalizer(code_dim=2, hidden_dim=64, num_layers=2, epochs=60, lr=5e-3).fit(bent)
    before, after = (np.abs(stats.skew(x)).mean() for x in (bent, model.transform(bent)))
    assert after < 0.5 * before


# -- numbers ----------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(st.floats(0.01, 100.0), st.floats(-100.0, 100.0))
def test_units_and_offsets_of_the_embeddings_do_not_matter(unit: float, offset: float) -> None:
    codes = quick().fit(VOICES).transform(VOICES)
    moved = unit * VOICES + offset
    # float32 inside; three epochs of Adam widen the last digit.
    np.testing.assert_allclose(quick().fit(moved).transform(moved), codes, atol=1e-3)


def test_constant_dimensions_and_outliers_stay_finite() -> None:
    rows = np.column_stack((VOICES, np.full(100, 1e6 + 0.1)))
    model = quick().fit(rows)
    assert model.scale_[-1] == 1.0
    assert np.isfinite(model.losses_).all()
    assert np.isfinite(model.transform(1e6 * rows)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_type_of_the_codes_is_that_of_the_embeddings(dtype: type) -> None:
    codes = quick().fit(VOICES).transform(VOICES.astype(dtype))
    assert codes.dtype == dtype
    assert codes.shape == (100, 4)


def test_the_seed_decides_and_the_global_generators_are_left_alone() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
    one, same = (quick(cohesion=1.0).fit(VOICES, SPEAKERS).transform(VOICES) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(quick(seed=1).fit(VOICES).transform(VOICES), one)


def test_it_trains_where_gradients_are_off_and_the_default_type_is_another() -> None:
    plain = quick().fit(VOICES).transform(VOICES)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            model = quick().fit(VOICES)
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_array_equal(model.transform(VOICES), plain)


def test_what_speakers_are_called_does_not_matter() -> None:
    names = np.array([f"spk{s}" for s in SPEAKERS])
    codes = [quick(cohesion=1.0).fit(VOICES, y).transform(VOICES) for y in (SPEAKERS, names)]
    np.testing.assert_allclose(*codes, atol=1e-4)
    plain = [quick().fit(VOICES, y).transform(VOICES) for y in (None, SPEAKERS)]
    np.testing.assert_array_equal(*plain)


# -- scikit-learn -----------------------------------------------------------------------------


def test_it_is_an_estimator() -> None:
    model = quick(cohesion=0.5)
    assert clone(model).get_params() == model.get_params()
    assert model.set_params(lr=0.1).lr == 0.1
    with pytest.raises(NotFittedError):
        model.transform(VOICES)
    assert not hasattr(clone(model.fit(VOICES, SPEAKERS)), "encoder_")
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):  # noqa: S301
        np.testing.assert_array_equal(twin.transform(VOICES), model.transform(VOICES))


def test_it_works_in_a_pipeline() -> None:
    chain = make_pipeline(quick(cohesion=1.0), Centering(), LengthNorm(), PLDA())
    z = chain.fit(VOICES, SPEAKERS)[:-1].transform(VOICES)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1.0)
    llr = chain[-1].llr_matrix(z, z)
    same = SPEAKERS[:, None] == SPEAKERS
    assert llr[same].mean() > llr[~same].mean()


def test_progress_is_reported() -> None:
    done: list[tuple[int, int]] = []
    quick().fit(VOICES, progress=lambda *epochs: done.append(epochs))
    assert done == [(1, 3), (2, 3), (3, 3)]


# -- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_layers", [0, 1, 3])
def test_what_is_saved_is_read_again(num_layers: int, tmp_path: Path) -> None:
    model = quick(num_layers=num_layers).fit(VOICES)
    model.save(tmp_path / "vae.npz")
    twin = VAENormalizer.load(tmp_path / "vae.npz")
    assert twin.transform(VOICES).tobytes() == model.transform(VOICES).tobytes()
    assert (twin.code_dim, twin.num_layers) == (4, num_layers)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scale", np.ones(5)),
        ("parameters", np.zeros(3)),
        ("sizes", np.array([6])),
        ("sizes", np.array([[6, 8], [8, 8]])),
        ("sizes", np.array([6, -8, 8])),
        ("mean", np.array(["a"] * 6)),
    ],
)
def test_files_that_are_wrong(name: str, value: np.ndarray, tmp_path: Path) -> None:
    quick().fit(VOICES).save(tmp_path / "vae.npz")
    arrays = dict(np.load(tmp_path / "vae.npz"))
    np.savez(tmp_path / "wrong.npz", **{**arrays, name: value})
    with pytest.raises(FormatError, match=r"wrong.npz:0: expected .* fit and save it again"):
        VAENormalizer.load(tmp_path / "wrong.npz")
    del arrays[name]
    np.savez(tmp_path / "wrong.npz", **arrays)
    with pytest.raises(FormatError, match=f"expected the array '{name}'"):
        VAENormalizer.load(tmp_path / "wrong.npz")


# -- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"code_dim": 0},
        {"hidden_dim": 0},
        {"num_layers": -1},
        {"epochs": 0},
        {"batch_size": 0},
        {"lr": 0.0},
        {"lr": np.inf},
        {"cohesion": -1.0},
        {"cohesion": np.nan},
        {"obs_sigma": 0.0},
        {"obs_sigma": "auto"},
    ],
)
def test_arguments_out_of_range(change: dict[str, Any]) -> None:
    [value] = change.values()
    with pytest.raises(ConfigError, match=f"VAENormalizer needs .* got .*{value}"):
        quick(**change).fit(VOICES, SPEAKERS)


def test_embeddings_that_cannot_be_used() -> None:
    with pytest.raises(DataError, match="two embeddings or more, got 1"):
        quick().fit(VOICES[:1])
    with pytest.raises(DataError, match="NaN or infinity in 100 rows"):
        quick().fit(VOICES * np.nan)
    with pytest.raises(NumericsError, match="embeddings that differ"):
        quick().fit(np.full((5, 3), 0.1))
    with pytest.raises(NumericsError, match="finite variance"), np.errstate(over="ignore"):
        quick().fit(VOICES * 1e300)
    with pytest.raises(ShapeError, match=r"one speaker per embedding, shape \(100,\), got \(99,\)"):
        quick(cohesion=1.0).fit(VOICES, SPEAKERS[1:])
    with pytest.raises(ConfigError, match=r"cohesion=1\.0 needs speakers"):
        quick(cohesion=1.0).fit(VOICES)
    model = quick().fit(VOICES)
    with pytest.raises(ShapeError, match=r"shape \(utterances, 6\), got \(100, 5\)"):
        model.transform(VOICES[:, 1:])
    with pytest.raises(DataError, match="finite"):
        model.transform(VOICES * np.inf)


def test_a_training_that_diverges_says_so() -> None:
    with pytest.raises(NumericsError, match=r"finite loss, got .* lower lr=1e\+30"):
        quick(lr=1e30).fit(VOICES)
