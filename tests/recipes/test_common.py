"""What the recipes share: refusals, errors, options, tables."""

import itertools
import re
from dataclasses import dataclass, field

import numpy as np
import pytest

from bbb import scoring
from bbb.errors import ConfigError, DataError
from bbb.files import write_text
from recipes.bandit import settings as bandit
from recipes.common import compare, script
from recipes.common.evaluation import SystemOptions
from recipes.common.images import read_npz
from recipes.common.options import read_options
from recipes.common.statistics import comparison, difference_texts
from recipes.common.tables import markdown_table, print_markdown, print_table
from recipes.mnist import settings as mnist
from recipes.regression import options as regression
from recipes.vae import settings as vae


class TestSameSettings:
    def test_names_every_other_value(self, tmp_path):
        found, wanted = {"lr": 0.1, "steps": 5, "old": 1}, {"lr": 0.2, "steps": 5, "new": None}
        with pytest.raises(ConfigError) as error:
            script.check_same(found, wanted | {"units": [3]}, tmp_path)
        assert str(error.value) == (
            f"{tmp_path} holds a run with other settings: lr (0.1 there, 0.2 now), units "
            "(None there, [3] now); take another folder, or remove it"
        )

    def test_what_is_not_asked_for_may_differ(self, tmp_path):
        script.check_same({"lr": 0.1, "threads": 1}, {"lr": 0.1}, tmp_path)


def test_script_says_what_it_refuses(monkeypatch):
    monkeypatch.setattr("sys.argv", ["script", "a", "b"])
    words = []
    script.run(words.extend)
    assert words == ["a", "b"]

    def refuse(_):
        msg = "no such thing"
        raise DataError(msg)

    with pytest.raises(SystemExit, match=r"^error: no such thing$"):
        script.run(refuse)


@dataclass(frozen=True, kw_only=True)
class Words:
    """Options.

    Attributes:
        some: At least one.
        any_number: Perhaps none.
    """

    some: list[int]
    any_number: list[int] = field(default_factory=list)


class TestOptions:
    @pytest.mark.parametrize(
        "kind", [bandit.Settings, mnist.Settings, vae.Options, regression.CurveOptions]
    )
    def test_help_is_whole_sentences(self, kind, capsys):
        with pytest.raises(SystemExit):
            read_options(kind, ["--help"], "")
        told = " ".join(capsys.readouterr().out.split())
        assert "(type: " in told
        assert re.findall(r"[^.](?= \(type: )", told) == []

    @pytest.mark.parametrize(("words", "found"), [([], []), (["4", "5"], [4, 5])])
    def test_a_list_may_be_empty_where_its_default_is(self, words, found):
        options = read_options(Words, ["--some", "1", "--any-number", *words], "")
        assert options == Words(some=[1], any_number=found)

    def test_empty_list_in_a_file(self, tmp_path):
        (tmp_path / "a.yaml").write_text("some: [1]\nany_number: []\n")
        options = read_options(Words, ["--config", str(tmp_path / "a.yaml")], "")
        assert options.any_number == []

    def test_others_may_not(self):
        with pytest.raises(ConfigError, match="some"):
            read_options(Words, ["--some"], "")


def test_difference_of_two_systems():
    result = scoring.PairedComparison(0.1, 0.08, -0.02, -0.03, 0.001, 0.0624)
    row = comparison(result)
    systems = {"eer_a": 0.1, "eer_b": 0.08}
    assert row == systems | {"difference": -0.02, "ci": [-0.03, 0.001], "p_value": 0.0624}
    assert difference_texts(row) == ["-2.00", "-3.00 to +0.10", "0.062"]
    row["value"] = 0.5
    assert difference_texts(row, "value", 1, 3) == ["+0.500", "-0.030 to +0.001", "0.062"]


class TestTables:
    def test_numbers_are_flushed_right(self, capsys):
        print_table(["name", "figure"], [["a", "1"], ["bcdef", "+10.5"], ["", ""]], title="T")
        lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
        assert lines[0] == "T"
        assert "│ a     │      1 │" in lines
        assert "│ bcdef │  +10.5 │" in lines

    def test_sections_have_lines_between_them(self, capsys):
        rows = [[str(i)] for i in range(4)]
        print_table(["x"], rows, section=2)
        with_lines = len(capsys.readouterr().out.splitlines())
        print_table(["x"], rows)
        assert with_lines == len(capsys.readouterr().out.splitlines()) + 1

    def test_wider_than_the_terminal(self, capsys):
        print_table(["x"], [["y" * 120]], width=130)
        assert "y" * 120 in capsys.readouterr().out

    def test_markdown(self, capsys):
        lines = markdown_table(["a", "b"], [["1", "2"]])
        assert lines == ["| a | b |", "|---|---|", "| 1 | 2 |"]
        print_markdown("\n".join(lines))
        assert "|" not in capsys.readouterr().out


def test_speakers_of_other_data_are_missed(tmp_path):
    embeddings = scoring.Embeddings(("u0", "u1"), np.eye(2, dtype=np.float32))
    for name in ("train", "eval"):
        scoring.write_embeddings(tmp_path / f"{name}_0.npz", embeddings)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "utt2spk").write_text("u0 s\n")
    options = SystemOptions(
        source=tmp_path, data=tmp_path, systems=tmp_path, output=tmp_path / "out" / "a.npz"
    )
    with pytest.raises(DataError, match=r"utt2spk has no speaker of 'u1'; is it the same data\?"):
        options.load()
    (tmp_path / "train" / "utt2spk").write_text("u0 s\nu1 t\n")
    assert options.load()[2].tolist() == ["s", "t"]
    options.save({"x": np.arange(3)})
    assert np.load(options.output)["x"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", ["one array", "empty", "text", "damaged"])
def test_other_files_than_archives_are_named(kind, tmp_path):
    file = tmp_path / "a.npz"
    if kind == "one array":
        with file.open("wb") as stream:
            np.save(stream, np.zeros(3, np.uint8))
    elif kind == "damaged":
        noise = np.random.default_rng(0).integers(9, size=3000).astype(np.uint8)
        np.savez_compressed(file, x=noise)
        content = bytearray(file.read_bytes())
        content[200:260] = bytes(60)
        file.write_bytes(content)
    else:
        file.write_text("no images" if kind == "text" else "")
    with pytest.raises(DataError, match=r"a\.npz: expected an \.npz with x \(.+\); is it"):
        read_npz(str(file), ["x"])


def test_output_keeps_its_name(tmp_path):
    options = SystemOptions(source=tmp_path, data=tmp_path, systems=tmp_path, output=tmp_path / "a")
    options.save({"x": np.arange(3)})
    with np.load(tmp_path / "a") as found:
        assert found["x"].tolist() == [0, 1, 2]
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


class TestCompare:
    @pytest.fixture
    def words(self, tmp_path):
        """Trials of five speakers, a system that makes no error, and one that makes many."""
        utt2spk = {f"s{i}-{j}": f"s{i}" for i in range(5) for j in range(2)}
        pairs = list(itertools.combinations(utt2spk, 2))
        same = [utt2spk[a] == utt2spk[b] for a, b in pairs]
        label = {True: "target", False: "nontarget"}
        lines = {
            "utt2spk": [f"{u} {s}" for u, s in utt2spk.items()],
            "trials": [f"{a} {b} {label[t]}" for (a, b), t in zip(pairs, same, strict=True)],
        }
        for backend in compare.BACKENDS:
            for system, values in (("right", same), ("wrong", range(len(same)))):
                each = zip(pairs, values, strict=True)
                rows = [f"{a} {b} {float(value)}" for (a, b), value in each]
                lines[f"seed0/{system}/{backend}.scores"] = rows
        for name, rows in lines.items():
            write_text(tmp_path / name, "\n".join(rows) + "\n")
        words = ["--trials", str(tmp_path / "trials"), "--utt2spk", str(tmp_path / "utt2spk")]
        words += ["--exp-dirs", str(tmp_path / "seed0"), "--output", str(tmp_path / "out.json")]
        return [*words, "--ci", "9"]

    def test_with_a_system_without_errors(self, words, tmp_path):
        compare.main([*words, "--pairs", "right:wrong", "wrong:right"])
        first, second = (tmp_path / "out.md").read_text().splitlines()[2:4]
        assert "| right | wrong | 0.00 |" in first
        assert "|  |" in first
        assert "| -100.0 % |" in second

    def test_half_a_pair(self, words):
        with pytest.raises(ConfigError, match="pairs are A:B, got 'right'"):
            compare.main([*words, "--pairs", "right"])
