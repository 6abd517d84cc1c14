"""``bbb plda``: trains and writes a back-end, or says what is wrong first."""

import re
from pathlib import Path

import numpy as np
import pytest

from bbb.cli.main import main
from bbb.scoring import Embeddings, PLDABackend, write_embeddings

IDS = tuple(f"{speaker}-{utt}" for speaker in range(20) for utt in range(6))
WORDS = ["plda", "--embeddings", "x.npz", "--utt2spk", "utt2spk", "--output", "out/plda.npz"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    values = np.repeat(rng.normal(size=(20, 5)), 6, axis=0) + 0.5 * rng.normal(size=(120, 5))
    write_embeddings("x.npz", Embeddings(IDS, values))
    lines = [f"{key} {key.split('-')[0]}\n" for key in (*IDS, "unused-1")]
    Path("utt2spk").write_text("".join(lines))
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_trains(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--lda-dim", "3", "--method", "moments", "--shrinkage", "0.1"]) == 0
    assert PLDABackend.load("out/plda.npz").lda_.shape == (5, 3)
    shown = capsys.readouterr()
    assert "dimension 5 to 3, trained on 120 utterances of 20 speakers" in shown.out
    assert shown.err == ""


@pytest.mark.usefixtures("folder")
def test_the_default_dimension_is_reduced_with_a_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(WORDS) == 0
    assert "bbb plda: warning: lda_dim 150 is more than" in capsys.readouterr().err
    assert PLDABackend.load("out/plda.npz").lda_.shape == (5, 5)


@pytest.mark.usefixtures("folder")
def test_unknown_speakers(capsys: pytest.CaptureFixture[str]) -> None:
    Path("utt2spk").write_text("0-0 0\n")
    assert main(WORDS) == 1
    assert "no speaker for 119 of 120: '0-1', '0-2'" in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.usefixtures("folder")
def test_one_utterance_per_speaker(capsys: pytest.CaptureFixture[str]) -> None:
    Path("utt2spk").write_text("".join(f"{key} {key}\n" for key in IDS))
    assert main(WORDS) == 1
    assert "needs two speakers with at least 2 utterances, got 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--output", "plda.ark"], "ending in .npz, got 'plda.ark'"),
        (["--lda-dim", "-2"], "needs lda_dim >= 0"),
        (["--lda-dims", "3"], "; did you mean"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_options(extra: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, *extra]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("folder")
def test_adapts_while_it_trains_and_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)
    write_embeddings(
        "new.npz", Embeddings(tuple(map(str, range(50))), 2.0 + 3.0 * rng.normal(size=(50, 5)))
    )
    adapt = ["--adapt-from", "new.npz", "--adapt-method", "kaldi"]
    assert main([*WORDS, "--lda-dim", "3", *adapt]) == 0
    assert "20 speakers, adapted to 50 utterances by kaldi" in capsys.readouterr().out
    at_once = PLDABackend.load("out/plda.npz")
    main([*WORDS, "--lda-dim", "3"])
    trained = PLDABackend.load("out/plda.npz")
    words = ["plda", "--plda", "out/plda.npz", *adapt, "--output", "out/adapted.npz"]
    assert main(words) == 0
    adapted = PLDABackend.load("out/adapted.npz")
    np.testing.assert_array_equal(adapted.plda_.transform_, at_once.plda_.transform_)
    assert np.linalg.norm(adapted.mean_ - trained.mean_) > 1.0


@pytest.mark.usefixtures("folder")
def test_files_of_kaldi(capsys: pytest.CaptureFixture[str]) -> None:
    main([*WORDS, "--lda-dim", "3"])
    trained = PLDABackend.load("out/plda.npz")
    trained.to_kaldi("kaldi")
    names = ["--transform", "kaldi/transform.mat", "--mean", "kaldi/mean.vec"]
    assert main(["plda", "--plda", "kaldi/plda", *names, "--output", "again.npz"]) == 0
    again = PLDABackend.load("again.npz")
    for name, values in trained.arrays().items():
        np.testing.assert_allclose(again.arrays()[name], values, atol=1e-12)
    assert "wrote again.npz: dimension 5 to 3, from kaldi/plda" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "needs --embeddings and --utt2spk to train, or else --plda .*got neither"),
        (["--embeddings", "x.npz"], "got --embeddings$"),
        (["--plda", "p.npz", "--utt2spk", "u"], "got --utt2spk with --plda"),
        (["--plda", "p.npz", "--mean", "m"], "--transform and --mean need --plda with a PLDA of K"),
        (["--plda", "p.npz", "--scheduler", "tcp://a:1"], "--scheduler is for training; drop it"),
        (["--plda", "p.npz"], "p.npz:0: no such file"),
        (["--plda", "plda"], "plda:0: expected a file"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_sources(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plda", *words, "--output", "out.npz"]) == 1
    assert re.search(message, capsys.readouterr().err, flags=re.MULTILINE)
