"""The shell examples of docs/scoring.md, run one after the other on a miniature corpus."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from bbb.cli.main import main

PAGE = Path(__file__).parents[1] / "docs" / "scoring.md"
(BLOCK,) = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
COMMANDS = [shlex.split(line) for line in BLOCK.replace("\\\n", "").splitlines()]


def write_set(root, name, *, first, speakers, utt2spk):
    """Embeddings of some speakers with six utterances each, in 16 dimensions."""
    rng = np.random.default_rng(first)
    owner = np.repeat(np.arange(first, first + speakers), 6)
    ids = [f"s{who}-{number}" for number, who in enumerate(owner)]
    rows = rng.normal(size=(speakers, 16))[owner - first] + rng.normal(size=(len(owner), 16))
    np.savez(root / f"{name}.npz", ids=ids, embeddings=rows.astype(np.float32))
    lines = [f"{utt} s{who}\n" for utt, who in zip(ids, owner, strict=True)]
    (root / utt2spk).write_text("".join(lines))
    return ids, owner


def write_trials(path, ids, owner):
    pairs = zip(*np.triu_indices(len(ids), 1), strict=True)
    labels = {True: "target", False: "nontarget"}
    lines = [f"{ids[a]} {ids[b]} {labels[bool(owner[a] == owner[b])]}\n" for a, b in pairs]
    path.write_text("".join(lines))


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    write_set(tmp_path, "train", first=0, speakers=40, utt2spk="train_utt2spk")
    for name, trials, utt2spk, first in (
        ("dev", "dev_trials", "dev_utt2spk", 100),
        ("eval", "trials", "utt2spk", 200),
    ):
        ids, owner = write_set(tmp_path, name, first=first, speakers=12, utt2spk=utt2spk)
        write_trials(tmp_path / trials, ids, owner)
    genders = [f"s{who} {'fm'[who % 2]}\n" for who in range(200, 212)]
    (tmp_path / "gender").write_text("".join(genders))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_command_works_in_turn(corpus, capsys):
    assert len(COMMANDS) > 10
    for program, *words in COMMANDS:
        assert program == "bbb"
        assert main(words) == 0, (words, capsys.readouterr().err)
    figures = json.loads((corpus / "fused.json").read_text())
    assert figures["eer_ci"][0] <= figures["eer"] <= figures["eer_ci"][1]
    assert figures["eer"] < 0.3
    assert (corpus / "det.png").stat().st_size > 1000
