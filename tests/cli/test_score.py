"""``bbb score``: files in, files out, and every fault before any work."""

import json
from pathlib import Path

import numpy as np
import pytest

from bbb.cli.main import main
from bbb.scoring import (
    Embeddings,
    PLDABackend,
    cosine_scores,
    read_embeddings,
    read_scores,
    read_trials,
    score_uncertain_trials,
    write_embeddings,
)

IDS = tuple(f"{speaker}-{utt}" for speaker in range(20) for utt in range(6))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Embeddings, utt2spk, trials in two formats, an enrolment map and a back-end."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    values = np.repeat(rng.normal(size=(20, 5)), 6, axis=0) + 0.5 * rng.normal(size=(120, 5))
    write_embeddings(tmp_path / "x.scp", Embeddings(IDS, values.astype(np.float32)))
    write_embeddings(tmp_path / "narrow.npz", Embeddings(IDS, values[:, :4]))
    speakers = [key.split("-")[0] for key in IDS]
    PLDABackend(lda_dim=3).fit(values, speakers).save(tmp_path / "plda.npz")
    pairs = [(f"{a}-0", f"{b}-1") for a in range(20) for b in range(20)]
    same = [left.split("-")[0] == right.split("-")[0] for left, right in pairs]
    kaldi = [
        f"{a} {b} {'target' if yes else 'nontarget'}\n"
        for (a, b), yes in zip(pairs, same, strict=True)
    ]
    Path("trials").write_text("".join(kaldi))
    Path("trials.vox").write_text(
        "".join(f"{int(yes)} {a} {b}\n" for (a, b), yes in zip(pairs, same, strict=True))
    )
    Path("models").write_text("".join(f"{a}-0 {a}-2 {a}-3\n" for a in range(20)))
    return tmp_path


COSINE = ["score", "--backend", "cosine", "--enroll", "x.scp", "--test", "x.ark"]
PLDA = ["score", "--backend", "plda", "--plda", "plda.npz", "--enroll", "x.scp", "--test", "x.scp"]
OUT = ["--trials", "trials", "--output", "out/scores"]


@pytest.mark.usefixtures("folder")
def test_cosine_with_the_mean_of_other_embeddings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COSINE, *OUT, "--mean-from", "x.scp"]) == 0
    scores = read_scores("out/scores")
    x = read_embeddings("x.scp").embeddings
    centred = x - x.mean(axis=0)
    first, second = np.repeat(np.arange(0, 120, 6), 20), np.tile(np.arange(1, 120, 6), 20)
    np.testing.assert_allclose(
        scores.scores, cosine_scores(centred, centred, first, second), atol=1e-6
    )
    assert scores.is_target is not None
    assert scores.is_target.sum() == 20
    assert capsys.readouterr().out == "wrote 400 scores to out/scores\n"


@pytest.mark.usefixtures("folder")
def test_plda() -> None:
    assert main([*PLDA, *OUT]) == 0
    scores = read_scores("out/scores")
    backend, x = PLDABackend.load("plda.npz"), read_embeddings("x.scp").embeddings
    z = backend.transform(x)
    expected = backend.plda_.llr(z, z, np.array([0, 0]), np.array([1, 7]))
    np.testing.assert_allclose(scores.scores[:2], expected, rtol=1e-5)


@pytest.mark.usefixtures("folder")
def test_trial_formats_agree() -> None:
    main([*COSINE, *OUT])
    first = Path("out/scores").read_bytes()
    main([*COSINE, "--trials", "trials.vox", "--output", "out/scores"])
    assert Path("out/scores").read_bytes() == first


@pytest.mark.usefixtures("folder")
def test_enrolment_maps() -> None:
    results = []
    for extra in (
        [],
        ["--enroll-map", "models"],
        ["--enroll-map", "models", "--multi-enroll", "mean"],
    ):
        assert main([*PLDA, *OUT, *extra]) == 0
        results.append(read_scores("out/scores").scores)
    assert (results[0] != results[1]).any()
    assert (results[1] != results[2]).any()


@pytest.mark.usefixtures("folder")
def test_options_may_stand_in_a_file() -> None:
    Path("conf.yaml").write_text("backend: cosine\nenroll: x.scp\ntest: x.scp\n")
    assert main(["score", "--config", "conf.yaml", *OUT]) == 0
    assert len(read_scores("out/scores")) == 400


@pytest.mark.parametrize("system", [COSINE, PLDA], ids=["cosine", "plda"])
@pytest.mark.usefixtures("folder")
def test_normalisation(system: list[str]) -> None:
    write_embeddings("cohort.npz", Embeddings(IDS, read_embeddings("x.scp").embeddings + 0.1))
    Path("utt2spk").write_text("".join(f"{key} {key.split('-')[0]}\n" for key in IDS))
    results = []
    for words in (
        [],
        ["--norm", "z"],
        ["--norm", "t"],
        ["--norm", "s"],
        ["--top-n", "30"],
        ["--top-n", "10", "--cohort-utt2spk", "utt2spk"],
    ):
        cohort = ["--cohort", "cohort.npz"] if words else []
        assert main([*system, *OUT, *cohort, *words]) == 0
        results.append(read_scores("out/scores").scores)
    _, z, t, s, top, speakers = results
    np.testing.assert_allclose((z + t) / 2, s, rtol=1e-4, atol=1e-4)
    assert len({tuple(each) for each in results}) == 6
    assert np.isfinite(top + speakers).all()


@pytest.mark.usefixtures("folder")
def test_all_pairs_of_one_file_however_it_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("utt2spk").write_text("".join(f"{key} {key.split('-')[0]}\n" for key in IDS))
    Path("link.scp").symlink_to("x.scp")
    words = ["score", "--backend", "cosine", "--all-pairs", "utt2spk", "--output", "figures.json"]
    for name in ("x.scp", "./x.scp", "link.scp"):
        assert main([*words, "--enroll", "x.scp", "--test", name]) == 0
        # Each pair once, and no utterance with itself.
        assert "300 target, 6840 nontarget trials" in capsys.readouterr().out
        assert json.loads(Path("figures.json").read_text())["num_target"] == 20 * 6 * 5 // 2


FAULTS = {
    "no back-end": (["score", "--backend", "plda", *COSINE[3:], *OUT], "needs --plda FILE"),
    "two back-ends": ([*COSINE, *OUT, "--plda", "plda.npz"], "--plda needs --backend plda"),
    "no such file": ([*COSINE, *OUT, "--mean-from", "none.npz"], "none.npz:0: no such file"),
    "a mean of another model": (
        [*COSINE, *OUT, "--mean-from", "narrow.npz"],
        "embeddings and mean need the same dimension, got 5 and 4",
    ),
    "unknown key": ([*COSINE, *OUT, "--mean-form", "x.scp"], "; did you mean"),
    "norm without a cohort": ([*COSINE, *OUT, "--norm", "z"], "--norm needs --cohort FILE"),
    "top_n without a cohort": ([*COSINE, *OUT, "--top-n", "9"], "--top-n needs --cohort FILE"),
    "top_n of z": (
        [*COSINE, *OUT, "--cohort", "x.scp", "--norm", "z", "--top-n", "9"],
        "--top-n needs --norm as, got --norm z",
    ),
    "small cohort": ([*COSINE, *OUT, "--cohort", "x.scp"], "needs 300 cohort scores, got 120"),
    "cohort speakers": (
        [*COSINE, *OUT, "--cohort", "x.scp", "--cohort-utt2spk", "utt2spk"],
        "utt2spk:0: no such file",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
@pytest.mark.usefixtures("folder")
def test_faults(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    words, message = FAULTS[case]
    assert main(words) == 1
    assert message in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.usefixtures("folder")
def test_missing_ids_leave_earlier_scores_alone(capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").mkdir()
    Path("out/scores").write_text("earlier\n")
    with Path("trials").open("a") as stream:
        stream.writelines(f"0-0 gone-{k} nontarget\n" for k in range(7))
    assert main([*COSINE, *OUT]) == 1
    error = capsys.readouterr().err
    assert (
        "test embeddings need every id that is asked for, got none for 7 of 27: 'gone-0'" in error
    )
    assert "'gone-4';" in error
    assert Path("out/scores").read_text() == "earlier\n"


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["score", "--help"])
    shown = capsys.readouterr().out
    assert "--mean-from" in shown
    assert "bbb score --backend plda" in shown
    assert "--cohort" in shown


@pytest.mark.parametrize("words", [COSINE, PLDA])
@pytest.mark.usefixtures("folder")
def test_uncertain_embeddings(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    x = read_embeddings("x.scp")
    doubt = np.ones_like(x.embeddings) * [4.0, 0.1, 0.1, 0.1, 0.1]
    known = Embeddings(x.ids, x.embeddings, doubt.astype(np.float32))
    write_embeddings("u.npz", known)
    plain = [*words, *OUT, "--enroll", "u.npz", "--test", "u.npz"]
    backend = PLDABackend.load("plda.npz") if words is PLDA else None
    for kind in ("diagonal", "full"):
        assert main([*plain, "--uncertainty", kind]) == 0
        expected = score_uncertain_trials(
            read_trials("trials"), known, known, backend=backend, full=kind == "full"
        )
        np.testing.assert_allclose(read_scores("out/scores").scores, expected.scores, rtol=1e-5)
    assert main([*words, *OUT, "--uncertainty", "full"]) == 1
    assert "needs enrolment embeddings with covariances" in capsys.readouterr().err
    assert main([*plain, "--uncertainty", "full", "--cohort", "u.npz"]) == 1
    assert "--cohort needs --uncertainty none" in capsys.readouterr().err


@pytest.mark.parametrize("words", [COSINE, PLDA])
@pytest.mark.usefixtures("folder")
def test_draws(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    x, rng = read_embeddings("x.scp"), np.random.default_rng(1)
    each = []
    for draw in (1, 2, 3):
        noisy = x.embeddings + 0.3 * rng.normal(size=x.embeddings.shape).astype(np.float32)
        write_embeddings(f"d{draw}.scp", Embeddings(x.ids, noisy))
        sides = ["--enroll", f"d{draw}.scp", "--test", f"d{draw}.ark"]
        assert main([*words, *OUT, *sides, "--mean-from", f"d{draw}.scp"]) == 0
        each.append(read_scores("out/scores").scores)
    names = ["--enroll", "d{draw}.scp", "--test", "d{draw}.ark", "--mean-from", "d{draw}.scp"]
    assert main([*words, *OUT, *names, "--draws", "3"]) == 0
    expected = np.mean(each, axis=0)
    if words is PLDA:
        expected = np.log(np.mean(np.exp(each), axis=0))
    np.testing.assert_allclose(read_scores("out/scores").scores, expected, atol=1e-4)
    assert main([*words, *OUT, "--draws", "3"]) == 1
    assert "--draws needs {draw} in --enroll and in --test" in capsys.readouterr().err


@pytest.mark.parametrize("words", [COSINE, PLDA])
@pytest.mark.usefixtures("folder")
def test_draws_of_uncertain_embeddings(words: list[str]) -> None:
    x = read_embeddings("x.scp")
    for draw in (1, 2):
        write_embeddings(f"u{draw}.npz", Embeddings(x.ids, x.embeddings, 0.1 + 0 * x.embeddings))
    doubtful = [*words, *OUT, "--uncertainty", "diagonal"]
    assert main([*doubtful, "--enroll", "u1.npz", "--test", "u1.npz"]) == 0
    one = read_scores("out/scores").scores
    assert (
        main([*doubtful, "--enroll", "u{draw}.npz", "--test", "u{draw}.npz", "--draws", "2"]) == 0
    )
    np.testing.assert_allclose(read_scores("out/scores").scores, one, rtol=1e-5)
