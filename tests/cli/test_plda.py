"""``bbb plda``: trains and writes a back-end, or says what is wrong first."""

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
