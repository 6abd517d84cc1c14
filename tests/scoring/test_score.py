"""Scoring a trial list: keys first, enrolment maps, means, both back-ends."""

from pathlib import Path

import numpy as np
import pytest

from bbb.errors import ConfigError, DataError, FormatError, ShapeError
from bbb.scoring import (
    Embeddings,
    PLDABackend,
    Trials,
    equal_error_rate,
    read_enroll_map,
    score_trials,
)


def embeddings(speakers: int = 12, utts: int = 5, seed: int = 0) -> Embeddings:
    """Utterance ``s-u`` of speaker s."""
    rng = np.random.default_rng(seed)
    values = np.repeat(rng.normal(size=(speakers, 6)), utts, axis=0)
    values += 0.8 * rng.normal(size=values.shape) + 2.0
    ids = [f"{speaker}-{utt}" for speaker in range(speakers) for utt in range(utts)]
    return Embeddings(tuple(ids), values.astype(np.float32))


def all_trials(enroll: tuple[str, ...], test: tuple[str, ...]) -> Trials:
    first, second = (
        index.ravel().astype(np.int32) for index in np.indices((len(enroll), len(test)))
    )
    same = [
        enroll[a].split("-")[0] == test[b].split("-")[0] for a, b in zip(first, second, strict=True)
    ]
    return Trials(enroll, test, first, second, np.array(same))


@pytest.fixture(scope="module")
def backend() -> PLDABackend:
    data = embeddings(60, 6, seed=3)
    return PLDABackend(lda_dim=4).fit(data.embeddings, [key.split("-")[0] for key in data.ids])


MAP = {str(s): [f"{s}-0", f"{s}-1", f"{s}-2"][: 1 + s % 3] for s in range(12)}
TEST = tuple(f"{s}-{u}" for s in range(12) for u in (3, 4))


def test_cosine_is_the_cosine_of_each_pair() -> None:
    data = embeddings()
    trials = all_trials(("3-1", "0-0"), ("3-2", "7-4", "0-0"))
    scores = score_trials(trials, data, data)
    for row in range(len(trials)):
        left, right = (data.embeddings[data.ids.index(key)] for key in trials.pair(row).split())
        expected = left @ right / np.linalg.norm(left) / np.linalg.norm(right)
        assert scores.scores[row] == pytest.approx(expected, abs=1e-6)
    assert scores.is_target is trials.is_target
    assert scores.scores[-1] == pytest.approx(1.0)


def test_the_mean_is_subtracted_from_both_sides() -> None:
    data, trials = embeddings(), all_trials(("0-0", "1-0"), TEST)
    mean = data.embeddings.mean(axis=0)
    moved = Embeddings(data.ids, data.embeddings - mean)
    np.testing.assert_allclose(
        score_trials(trials, data, data, mean=mean).scores,
        score_trials(trials, moved, moved).scores,
        atol=1e-6,
    )


def test_a_mean_of_integer_embeddings_is_not_rounded() -> None:
    data = Embeddings(("a", "b"), np.array([[3, 1, 2], [1, 2, -3]], np.int8))
    mean = np.array([0.5, 0.5, 0.25])
    left, right = data.embeddings - mean
    expected = left @ right / np.linalg.norm(left) / np.linalg.norm(right)
    scores = score_trials(all_trials(("a",), ("b",)), data, data, mean=mean).scores
    assert scores[0] == pytest.approx(expected)


def test_cosine_averages_normalised_enrolments() -> None:
    data, trials = embeddings(), all_trials(tuple(MAP), TEST)
    scores = score_trials(trials, data, data, enroll_map=MAP).scores
    unit = data.embeddings / np.linalg.norm(data.embeddings, axis=1, keepdims=True)
    for row in (0, 30, 60, len(trials) - 1):
        model, test = trials.pair(row).split()
        centre = unit[[data.ids.index(key) for key in MAP[model]]].mean(axis=0)
        expected = centre @ unit[data.ids.index(test)] / np.linalg.norm(centre)
        assert scores[row] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("multi_enroll", ["book", "mean"])
def test_plda_with_several_enrolments(multi_enroll: str, backend: PLDABackend) -> None:
    data, trials = embeddings(), all_trials(tuple(MAP), TEST)
    scores = score_trials(
        trials,
        data,
        data,
        backend=backend,
        enroll_map=MAP,
        multi_enroll=multi_enroll,  # type: ignore[arg-type]
    ).scores
    z = backend.transform(data.embeddings)
    means = np.stack([z[[data.ids.index(key) for key in MAP[model]]].mean(axis=0) for model in MAP])
    counts = [len(utts) for utts in MAP.values()] if multi_enroll == "book" else None
    expected = backend.plda_.llr(
        means, z[data.rows(TEST)], trials.enroll, trials.test, num_enroll=counts
    )
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_more_enrolment_helps(backend: PLDABackend) -> None:
    data = embeddings(100, 8, seed=9)
    tests = tuple(f"{s}-{u}" for s in range(100) for u in (5, 6, 7))
    eers = []
    for count in (1, 5):
        models = {str(s): [f"{s}-{u}" for u in range(count)] for s in range(100)}
        trials = all_trials(tuple(models), tests)
        scores = score_trials(trials, data, data, backend=backend, enroll_map=models)
        eers.append(equal_error_rate(scores.scores, trials.is_target))
    # 25.8 % and 19.7 % here; the ratio has a standard error of about 0.04.
    assert eers[1] < 0.9 * eers[0]


def test_a_mean_replaces_that_of_the_backend(backend: PLDABackend) -> None:
    data, trials = embeddings(), all_trials(("0-0", "1-0"), TEST)
    moved = Embeddings(data.ids, data.embeddings + 7.0)
    np.testing.assert_allclose(
        score_trials(trials, moved, moved, backend=backend, mean=backend.mean_ + 7.0).scores,
        score_trials(trials, data, data, backend=backend).scores,
        atol=1e-3,
    )


def test_unused_embeddings_may_be_anything() -> None:
    data = embeddings()
    with_zero = Embeddings((*data.ids, "zero"), np.vstack((data.embeddings, np.zeros((1, 6)))))
    trials = all_trials(("0-0",), TEST)
    assert np.isfinite(score_trials(trials, with_zero, with_zero).scores).all()


class TestKeys:
    def test_missing_enrolment(self) -> None:
        data = embeddings()
        trials = all_trials(("0-0", *(f"x-{k}" for k in range(8))), TEST)
        match = r"enrolment embeddings need .* none for 8 of 9: 'x-0', .*'x-4'; extract"
        with pytest.raises(DataError, match=match):
            score_trials(trials, data, data)

    def test_missing_test(self) -> None:
        data = embeddings()
        with pytest.raises(DataError, match=r"test embeddings need .* none for 1 of 2: 'gone'"):
            score_trials(all_trials(("0-0",), ("0-1", "gone")), data, data)

    def test_missing_model(self) -> None:
        data = embeddings()
        with pytest.raises(DataError, match=r"enrolment map needs .* none for 1 of 2: 'm'"):
            score_trials(all_trials(("0", "m"), TEST), data, data, enroll_map=MAP)

    def test_a_model_without_utterances(self) -> None:
        data = embeddings()
        for empty in ("0", "1"):
            with pytest.raises(DataError, match=rf"enrolment map needs .* 1 of 2: '{empty}'"):
                score_trials(
                    all_trials(("0", "1"), TEST), data, data, enroll_map={**MAP, empty: []}
                )

    def test_missing_utterance_of_a_model(self) -> None:
        data = embeddings()
        with pytest.raises(DataError, match=r"enrolment embeddings .* 1 of 2: 'gone'"):
            score_trials(all_trials(("0",), TEST), data, data, enroll_map={"0": ["0-0", "gone"]})

    def test_keys_are_checked_before_scoring(self) -> None:
        # The enrolment side cannot be scored (a zero vector), but the missing id comes first.
        zero = Embeddings(("a",), np.zeros((1, 6)))
        with pytest.raises(DataError, match="'gone'"):
            score_trials(all_trials(("a",), ("gone",)), zero, zero)

    def test_dimensions(self) -> None:
        data, other = embeddings(), Embeddings(("t",), np.ones((1, 4)))
        with pytest.raises(ShapeError, match="need the same dimension, got 6 and 4"):
            score_trials(all_trials(("0-0",), ("t",)), data, other)

    @pytest.mark.parametrize(("mean", "dim"), [(np.zeros(4), 4), (0.5, 1)])
    def test_the_mean_has_the_dimension_of_the_embeddings(
        self, mean: np.ndarray | float, dim: int
    ) -> None:
        data = embeddings()
        match = f"enrolment embeddings and mean need the same dimension, got 6 and {dim}"
        with pytest.raises(ShapeError, match=match):
            score_trials(all_trials(("0-0",), TEST), data, data, mean=mean)

    def test_multi_enroll(self) -> None:
        data = embeddings()
        with pytest.raises(ConfigError, match="multi_enroll needs 'book' or 'mean', got 'sum'"):
            score_trials(all_trials(("0-0",), TEST), data, data, multi_enroll="sum")  # type: ignore[arg-type]


class TestEnrollMap:
    def test_lines_add_up(self, tmp_path: Path) -> None:
        path = tmp_path / "map"
        path.write_text("m a b\nn c\nm d\n")
        assert read_enroll_map(path) == {"m": ["a", "b", "d"], "n": ["c"]}

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ("m a\nn\n", r"map:2: expected 'model utterance .* got 1 field"),
            ("m a\nm b a\n", r"map:2: .* got 'a' again for 'm'"),
            ("\n", r"map:0: expected at least one model"),
        ],
    )
    def test_faults(self, text: str, match: str, tmp_path: Path) -> None:
        path = tmp_path / "map"
        path.write_text(text)
        with pytest.raises(FormatError, match=match):
            read_enroll_map(path)
