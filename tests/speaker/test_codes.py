"""Binary codes as a scikit-learn transformer: what they learn, cut, store and refuse."""

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

import bbb.estimators as G
from bbb.errors import (
    ConfigError,
    DataError,
    FormatError,
    NumericsError,
    ShapeError,
    UnsupportedDistributionError,
)
from bbb.scoring import Whitening, equal_error_rate, hamming_matrix, majority_codes
from bbb.speaker import BinaryCodes

RNG = np.random.default_rng(0)
DIM = 32


def voices(speakers: int, utterances: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Speakers that differ in 8 directions of 32, and are drowned by noise in the others."""
    rng = np.random.default_rng(seed)
    scale = np.repeat([1.0, 0.0], [8, DIM - 8])
    who = np.repeat(np.arange(speakers), utterances)
    noise = rng.normal(size=(len(who), DIM)) * np.where(scale, 0.3, 1.5)
    return 3.0 + rng.normal(size=(speakers, DIM))[who] * scale + noise, who


TRAIN, SPEAKERS = voices(60, 10, seed=0)
TEST, WHO = voices(30, 6, seed=1)
QUICK: dict[str, Any] = {"num_bits": 32, "epochs": 2}
GOOD: dict[str, Any] = {"num_bits": 64, "epochs": 20, "batch_size": 32, "lr": 1e-2}


def quick(**changes: Any) -> BinaryCodes:
    return BinaryCodes(**{**QUICK, **changes})


def eer(codes: np.ndarray, num_bits: int | None = None) -> float:
    scores = hamming_matrix(codes, codes, num_bits=num_bits)
    pairs = np.triu_indices(len(codes), 1)
    return equal_error_rate(scores[pairs], (WHO[:, None] == WHO)[pairs])


def random_hyperplanes(bits: int) -> np.ndarray:
    planes = np.random.default_rng(0).normal(size=(DIM, bits))
    return np.packbits((TEST - TRAIN.mean(axis=0)) @ planes > 0, axis=1)


@pytest.mark.parametrize(
    "estimator",
    [G.ReinMax(), G.StraightThrough(), G.STGumbel(), G.RLOO(4), G.DisARM(), G.MuProp(), G.REBAR()],
    ids=lambda estimator: type(estimator).__name__,
)
def test_learned_codes_tell_speakers_apart_better_than_random_ones(estimator: G.Estimator) -> None:
    model = BinaryCodes(**GOOD, estimator=estimator).fit(TRAIN, SPEAKERS)
    # Random hyperplanes, where training starts, have 0.40.
    assert eer(model.transform(TEST)) < 0.8 * eer(random_hyperplanes(64))
    assert model.losses_[-1] < 0.9 * model.losses_[0]


def test_nested_dropout_puts_what_matters_first() -> None:
    models = [BinaryCodes(**GOOD, min_bits=m).fit(TRAIN, SPEAKERS) for m in (4, None)]
    nested, plain = (eer(model.transform(TEST), 8) for model in models)
    assert nested < 0.85 * plain


def test_transform_and_probs_agree_with_the_fitted_planes() -> None:
    model = quick().fit(TRAIN, SPEAKERS)
    logits = (TEST - TRAIN.mean(axis=0)) @ model.weight_.T + model.bias_
    np.testing.assert_allclose(model.probs(TEST), expit(logits), atol=1e-6)
    codes = model.transform(TEST)
    assert (codes.shape, codes.dtype) == ((180, 4), np.uint8)
    np.testing.assert_array_equal(np.unpackbits(codes, axis=1), model.probs(TEST) > 0.5)
    assert model.probs(TEST.astype(np.float32)).dtype == np.float32
    assert model.losses_.shape == (2,)


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_neither_unit_nor_origin_of_the_embeddings_matters(unit: float) -> None:
    codes = quick().fit(TRAIN, SPEAKERS).transform(TEST)
    other = quick().fit(unit * (TRAIN + 2.0), SPEAKERS).transform(unit * (TEST + 2.0))
    assert np.mean(codes != other) < 0.01


def test_speakers_may_be_strings_in_any_order() -> None:
    names = np.array([f"speaker {code:03d}" for code in SPEAKERS])
    codes = quick().fit(TRAIN, SPEAKERS).transform(TEST)
    np.testing.assert_array_equal(quick().fit(TRAIN, names).transform(TEST), codes)


def test_seed_decides_and_torchs_own_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    first, again, other = (quick(seed=s).fit(TRAIN, SPEAKERS).transform(TEST) for s in (1, 1, 2))
    assert torch.get_rng_state().equal(state)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_an_estimator_with_parameters_is_trained_but_not_changed() -> None:
    estimator = G.ScoreFunction(G.Net(torch.nn.Linear(DIM, 1)))
    before = copy.deepcopy(estimator.state_dict())
    quick(estimator=estimator).fit(TRAIN, SPEAKERS)
    assert all(value.equal(before[name]) for name, value in estimator.state_dict().items())


def test_an_estimator_keeps_its_own_generator() -> None:
    def codes() -> np.ndarray:
        estimator = G.ReinMax(generator=torch.Generator().manual_seed(5))
        return quick(estimator=estimator).fit(TRAIN, SPEAKERS).transform(TEST)

    np.testing.assert_array_equal(codes(), codes())


def test_learns_inside_no_grad_and_reports_progress() -> None:
    done: list[tuple[int, int]] = []
    with torch.no_grad():
        quick().fit(TRAIN, SPEAKERS, progress=lambda *place: done.append(place))
    assert done == [(1, 2), (2, 2)]


def test_several_enrolment_utterances_are_better_than_one() -> None:
    model = BinaryCodes(**GOOD).fit(TRAIN, SPEAKERS)
    enroll, test = np.arange(180) % 6 < 3, np.arange(180) % 6 >= 3
    probs, codes = model.probs(TEST), model.transform(TEST)
    means = np.stack([probs[enroll & (s == WHO)].mean(axis=0) for s in range(30)])
    mean = np.packbits(means > 0.5, axis=1)
    majority = majority_codes(codes[enroll], WHO[enroll])[1]
    one = codes[enroll][::3]
    labels = (np.arange(30)[:, None] == WHO[test]).ravel()
    single, *several = (
        equal_error_rate(hamming_matrix(models, codes[test]).ravel(), labels)
        for models in (one, mean, majority)
    )
    assert max(several) < 0.9 * single


def test_is_part_of_pipelines_and_clones() -> None:
    chain = make_pipeline(Whitening(), quick(estimator=G.DisARM())).fit(TRAIN, SPEAKERS)
    assert chain.transform(TEST).shape == (180, 4)
    assert isinstance(clone(quick(estimator=G.DisARM())).estimator, G.DisARM)
    model = quick().fit(TRAIN, SPEAKERS)
    again = pickle.loads(pickle.dumps(model))  # noqa: S301 (ours)
    np.testing.assert_array_equal(again.transform(TEST), model.transform(TEST))


def test_saves_and_loads(tmp_path: Path) -> None:
    model = quick().fit(TRAIN, SPEAKERS)
    model.save(tmp_path / "codes.npz")
    again = BinaryCodes.load(tmp_path / "codes.npz")
    assert again.num_bits == 32
    np.testing.assert_array_equal(again.transform(TEST), model.transform(TEST))
    wrong = dict(np.load(tmp_path / "codes.npz"))
    for bias in (wrong["bias"][:8], np.array(["0"] * 32), wrong["weight"]):
        np.savez(tmp_path / "wrong.npz", **{**wrong, "bias": bias})
        with pytest.raises(FormatError, match=r"wrong.npz:0: expected floats, the weight of shape"):
            BinaryCodes.load(tmp_path / "wrong.npz")


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_bits": 12},
        {"num_bits": 0},
        {"min_bits": 0},
        {"min_bits": 33},
        {"epochs": 0},
        {"batch_size": 0},
        {"lr": 0.0},
        {"lr": float("nan")},
    ],
)
def test_arguments_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="num_bits a multiple of 8"):
        quick(**wrong).fit(TRAIN, SPEAKERS)


def test_data_that_cannot_be_learned_from() -> None:
    with pytest.raises(DataError, match="two speakers, got 1"):
        quick().fit(TRAIN, np.zeros(600))
    with pytest.raises(ShapeError, match="one speaker per embedding"):
        quick().fit(TRAIN, SPEAKERS[1:])
    with pytest.raises(NumericsError, match="embeddings that differ"):
        quick().fit(np.ones((600, 4)), SPEAKERS)
    with pytest.raises(DataError, match="finite"):
        quick().fit(np.full((600, 4), np.nan), SPEAKERS)
    with pytest.raises(NotFittedError):
        quick().transform(TEST)
    with pytest.raises(ShapeError, match="utterances, 32"):
        quick().fit(TRAIN, SPEAKERS).transform(TEST[:, :5])
    with pytest.raises(UnsupportedDistributionError, match="ReinMax"):
        quick(estimator=G.Pathwise()).fit(TRAIN, SPEAKERS)


def test_divergence_is_an_error_that_names_the_step_size() -> None:
    class Wild(G.ReinMax):
        def forward(self, *args: Any) -> torch.Tensor:
            return super().forward(*args) * float("inf")

    with pytest.raises(NumericsError, match=r"finite loss, got (inf|nan) .*lower lr=0\.001"):
        quick(estimator=Wild()).fit(TRAIN, SPEAKERS)
