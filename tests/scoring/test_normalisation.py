"""Score normalisation against its definition, one id at a time."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbb.errors import ConfigError, DataError, ShapeError
from bbb.scoring import (
    CohortStatistics,
    Embeddings,
    PLDABackend,
    ScoreNorm,
    Trials,
    as_norm,
    cohort_statistics,
    normalise_scores,
    score_trials,
)

RNG = np.random.default_rng(0)
SPEAKERS, UTTS, DIM = 15, 4, 6


def speech(seed: int, name: str = "") -> Embeddings:
    rng = np.random.default_rng(seed)
    values = np.repeat(rng.normal(size=(SPEAKERS, DIM)), UTTS, axis=0)
    values += 0.7 * rng.normal(size=values.shape)
    ids = tuple(f"{name}{s}-{u}" for s in range(SPEAKERS) for u in range(UTTS))
    return Embeddings(ids, values)


DATA, COHORT = speech(1), speech(2, "c")
BACKEND = PLDABackend(lda_dim=4).fit(
    speech(3).embeddings, np.repeat(np.arange(SPEAKERS), UTTS).astype(str)
)
UTT2SPK = {key: key.split("-")[0] for key in COHORT.ids}


def trial_list(enroll: tuple[str, ...], test: tuple[str, ...]) -> Trials:
    first, second = (x.ravel().astype(np.int32) for x in np.indices((len(enroll), len(test))))
    return Trials(enroll, test, first, second, first == second)


def plain(enroll: list[str], test: str, kind: str, data: Embeddings, counted: int = 1) -> float:
    """Score of one trial by definition, one pair of vectors at a time."""
    rows = [data.embeddings[data.ids.index(key)] for key in enroll]
    other = data.embeddings[data.ids.index(test)]
    return raw(rows, other, kind, counted)


def raw(rows: list[np.ndarray], other: np.ndarray, kind: str, counted: int = 1) -> float:
    if kind == "cosine":
        centre = np.mean([row / np.linalg.norm(row) for row in rows], axis=0)
        return float(centre @ other / np.linalg.norm(centre) / np.linalg.norm(other))
    z = BACKEND.transform(np.array([*rows, other]))
    one = np.array([0])
    model = z[:-1].mean(axis=0, keepdims=True)
    return float(BACKEND.plda_.llr(model, z[-1:], one, one, num_enroll=[counted])[0])


@pytest.mark.parametrize("kind", ["cosine", "plda"])
@pytest.mark.parametrize("method", ["z", "t", "s", "as"])
def test_every_method_by_definition(kind: str, method: str) -> None:
    # The cohort holds some of the trials' own utterances.
    cohort = Embeddings(
        (*COHORT.ids, *DATA.ids[:3]), np.vstack((COHORT.embeddings, DATA.embeddings[:3]))
    )
    models = {"m": ["0-0", "1-0"], "n": ["5-0"], "o": ["0-1"]}
    trials = trial_list(tuple(models), ("0-1", "0-2", "7-3"))
    scores = score_trials(
        trials,
        DATA,
        DATA,
        backend=BACKEND if kind == "plda" else None,
        enroll_map=models,
        norm=ScoreNorm(cohort, method, top_n=20),  # type: ignore[arg-type]
    ).scores
    for row, found in enumerate(scores):
        model, test = trials.pair(row).split()
        utts = models[model]
        score = plain(utts, test, kind, DATA, len(utts))
        own = [DATA.embeddings[DATA.ids.index(key)] for key in utts]
        other = DATA.embeddings[DATA.ids.index(test)]
        cohort_of = {
            "z": [
                raw(own, c, kind, len(utts))
                for key, c in zip(cohort.ids, cohort.embeddings, strict=True)
                if key not in utts
            ],
            "t": [
                raw([other], c, kind)
                for key, c in zip(cohort.ids, cohort.embeddings, strict=True)
                if key != test
            ],
        }
        parts = []
        for side in "zt" if method in {"s", "as"} else method:
            values = sorted(cohort_of[side])[-20:] if method == "as" else cohort_of[side]
            parts.append((score - np.mean(values)) / np.std(values))
        assert found == pytest.approx(np.mean(parts), abs=1e-6)


def test_a_cohort_of_speakers_is_their_means() -> None:
    trials = trial_list(("0-0", "1-1"), ("0-2", "3-3"))
    unit = COHORT.embeddings / np.linalg.norm(COHORT.embeddings, axis=1, keepdims=True)
    means = Embeddings(
        tuple(f"s{k}" for k in range(SPEAKERS)), unit.reshape(SPEAKERS, UTTS, DIM).mean(axis=1)
    )
    np.testing.assert_allclose(
        score_trials(trials, DATA, DATA, norm=ScoreNorm(COHORT, "as", 5, UTT2SPK)).scores,
        score_trials(trials, DATA, DATA, norm=ScoreNorm(means, "as", 5)).scores,
    )


def test_an_utterance_leaves_its_speaker_out_of_a_cohort_of_speakers() -> None:
    trials = trial_list(("c0-0",), ("c3-1",))
    utt2spk = UTT2SPK
    found = score_trials(trials, COHORT, COHORT, norm=ScoreNorm(COHORT, "z", utt2spk=utt2spk))
    rest = Embeddings(COHORT.ids[UTTS:], COHORT.embeddings[UTTS:])
    expected = score_trials(trials, COHORT, COHORT, norm=ScoreNorm(rest, "z", utt2spk=utt2spk))
    np.testing.assert_allclose(found.scores, expected.scores)


@pytest.mark.parametrize("method", ["s", "as"])
def test_a_score_does_not_depend_on_the_other_trials(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = Embeddings((*COHORT.ids, "0-0"), np.vstack((COHORT.embeddings, DATA.embeddings[:1])))
    norm = ScoreNorm(cohort, method, 20)  # type: ignore[arg-type]
    every = score_trials(trial_list(DATA.ids, DATA.ids), DATA, DATA, norm=norm).scores
    alone = score_trials(trial_list(("4-0",), ("0-0",)), DATA, DATA, norm=norm).scores
    row = DATA.ids.index("4-0") * len(DATA) + DATA.ids.index("0-0")
    assert every[row] == pytest.approx(alone[0], abs=1e-12)
    monkeypatch.setattr("bbb.scoring.cohort.ROWS", 7)
    monkeypatch.setattr("bbb.scoring.normalisation.TRIALS", 11)
    blocks = score_trials(trial_list(DATA.ids, DATA.ids), DATA, DATA, norm=norm).scores
    np.testing.assert_allclose(blocks, every, atol=1e-12)


@settings(deadline=None, max_examples=200)
@given(st.integers(2, 12), st.integers(0, 2**32 - 1), st.booleans())
def test_statistics_of_small_cohorts_with_ties(top_n: int, seed: int, all_of_them: bool) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(-2, 3, size=(5, 3)) + rng.normal(size=(5, 3)) * (seed % 2)
    cohort = rng.integers(-2, 3, size=(14, 3)).astype(float)
    own = [rng.choice(14, size=rng.integers(3), replace=False).tolist() for _ in range(5)]
    expected = []
    for row, out in zip(rows, own, strict=True):
        kept = np.sort(np.delete(cohort @ row, out))
        expected.append(kept if all_of_them else kept[-top_n:])
    spread = np.array([np.std(values) for values in expected])
    if spread.min() < 1e-9:
        with pytest.raises(DataError, match="cohort scores that vary, got equal ones for 'row"):
            cohort_statistics(rows, cohort, own, top_n=None if all_of_them else top_n)
        return
    found = cohort_statistics(rows, cohort, own, top_n=None if all_of_them else top_n)
    np.testing.assert_allclose(found.mean, [np.mean(values) for values in expected], atol=1e-12)
    np.testing.assert_allclose(found.std, spread, atol=1e-12)


def test_as_norm_of_cosine() -> None:
    trials = trial_list(DATA.ids[:6], DATA.ids[6:])
    found = as_norm(
        DATA.embeddings[:6],
        DATA.embeddings[6:],
        COHORT.embeddings,
        trials.enroll,
        trials.test,
        top_n=20,
    )
    expected = score_trials(trials, DATA, DATA, norm=ScoreNorm(COHORT, top_n=20)).scores
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_scale_and_shift_of_scores_do_not_matter() -> None:
    index = np.array([0, 1, 2])
    scores, cohort = RNG.normal(size=3), RNG.normal(size=(2, 3, 50))

    def norm(scale: float, shift: float) -> np.ndarray:
        sides = [CohortStatistics((scale * x + shift).mean(1), (scale * x).std(1)) for x in cohort]
        return normalise_scores(scale * scores + shift, index, index, *sides)

    np.testing.assert_allclose(norm(1.0, 0.0), norm(30.0, -7.0))


def test_memory_is_that_of_a_block() -> None:
    rows, cohort = RNG.normal(size=(2, 20_000, 4)).astype(np.float32)
    tracemalloc.start()
    cohort_statistics(rows[:4000], cohort, top_n=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # All scores would take 320 MB; a block takes 17 MB.
    assert peak < 30e6


def test_progress_counts_trials_and_ids() -> None:
    done: list[int] = []
    norm = ScoreNorm(COHORT, top_n=20)
    score_trials(trial_list(("0-0",), ("1-0", "2-0")), DATA, DATA, norm=norm, progress=done.append)
    assert done == [2, 3]


@pytest.mark.parametrize("kind", ["cosine", "plda"])
def test_an_utterance_on_both_sides_is_scored_once(kind: str) -> None:
    trials, done = trial_list(DATA.ids[:5], DATA.ids[2:8]), []
    copy = Embeddings(DATA.ids, DATA.embeddings)
    backend = BACKEND if kind == "plda" else None
    norm = ScoreNorm(COHORT, top_n=20)
    once = score_trials(trials, DATA, DATA, backend=backend, norm=norm, progress=done.append)
    twice = score_trials(trials, DATA, copy, backend=backend, norm=norm)
    np.testing.assert_allclose(once.scores, twice.scores, atol=1e-9)
    assert done == [30, 8]


@pytest.mark.parametrize("trick", ["sorted", "ties", "top at the sampled columns"])
def test_the_highest_scores_of_a_large_cohort(trick: str) -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(40, 1000))
    if trick == "sorted":
        scores[1::2].sort(axis=1)
    elif trick == "ties":
        scores = np.round(scores)
    else:
        scores[:20, ::8] += 10.0
    found = cohort_statistics(np.eye(40), scores.T.copy(), top_n=100)
    top = np.sort(scores, axis=1)[:, -100:]
    np.testing.assert_allclose(found.mean, top.mean(axis=1))
    np.testing.assert_allclose(found.std, top.std(axis=1))


class TestErrors:
    def test_top_n_beyond_the_cohort(self) -> None:
        with pytest.raises(DataError, match="needs 300 cohort scores, got 60 for an id"):
            ScoreNorm(COHORT)
        with pytest.raises(DataError, match="needs 20 cohort scores, got 15 for an id"):
            ScoreNorm(COHORT, "as", 20, UTT2SPK)

    def test_top_n_beyond_what_is_left_for_an_id(self) -> None:
        trials = trial_list(("c0-0",), ("c3-1",))
        with pytest.raises(DataError, match="needs 60 cohort scores, got 59 for 'c0-0'"):
            score_trials(trials, COHORT, COHORT, norm=ScoreNorm(COHORT, "as", 60))

    def test_a_cohort_of_one(self) -> None:
        one = Embeddings(("a",), np.ones((1, DIM)))
        with pytest.raises(DataError, match="needs 2 cohort scores, got 1"):
            ScoreNorm(one, "z")

    def test_no_cohort(self) -> None:
        none = np.empty((0, DIM))
        for utt2spk in (None, UTT2SPK):
            with pytest.raises(DataError, match="needs 2 cohort scores, got 0"):
                ScoreNorm(Embeddings((), none), "z", utt2spk=utt2spk)
        with pytest.raises(DataError, match="needs 300 cohort scores, got 0"):
            as_norm(DATA.embeddings, DATA.embeddings, none, *np.array([[0], [1]]))

    @pytest.mark.parametrize("top_n", [0, -3])
    def test_top_n_of_none(self, top_n: int) -> None:
        with pytest.raises(ConfigError, match=f"top_n needs at least 1, got {top_n}"):
            cohort_statistics(DATA.embeddings, COHORT.embeddings, top_n=top_n)

    def test_equal_cohort_scores(self) -> None:
        same = Embeddings(("a", "b", "c"), np.tile(RNG.normal(size=DIM).astype(np.float32), (3, 1)))
        with pytest.raises(DataError, match="scores that vary, got equal ones for '0-0'"):
            score_trials(trial_list(("0-0",), ("1-0",)), DATA, DATA, norm=ScoreNorm(same, "s"))

    @pytest.mark.parametrize(("method", "top_n"), [("zt", 300), ("as", 1)])
    def test_arguments(self, method: str, top_n: int) -> None:
        with pytest.raises(ConfigError, match=rf"top_n >= 2, got '{method}' and {top_n}"):
            ScoreNorm(COHORT, method, top_n)  # type: ignore[arg-type]

    def test_a_cohort_utterance_without_speaker(self) -> None:
        with pytest.raises(DataError, match=r"utt2spk needs every id .* 'c0-0'"):
            ScoreNorm(COHORT, utt2spk={"x": "y"})

    def test_dimension(self) -> None:
        with pytest.raises(ShapeError, match="trials and cohort need the same dimension, got 3"):
            cohort_statistics(np.ones((2, 3)), np.ones((5, 4)))

    def test_no_side(self) -> None:
        with pytest.raises(ConfigError, match="at least one side"):
            normalise_scores(np.ones(1), np.zeros(1, int), np.zeros(1, int), None, None)
