"""Command lines and YAML files: every wrong key is named, with the nearest right one."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from jsonargparse import ArgumentParser

from bbb.commandline import parse
from bbb.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A group of keys."""

    size: int = 3
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Model:
    """What the parser reads."""

    data: str
    rate: float = 0.1
    layer: Layer = field(default_factory=Layer)
    maybe: Layer | None = None


@pytest.fixture
def parser() -> ArgumentParser:
    made = ArgumentParser(prog="bbb test", exit_on_error=False)
    made.add_argument("--config", action="config")
    made.add_class_arguments(Model, as_group=False)
    made.add_argument("--num-samples", type=int, default=0)
    return made


def yaml(folder: Path, text: str) -> str:
    file = folder / "x.yaml"
    file.write_text(text)
    return str(file)


def test_flags_come_after_files_and_defaults(parser: ArgumentParser, tmp_path: Path) -> None:
    file = yaml(tmp_path, "data: d\nrate: 0.5\nlayer:\n  size: 7\n  names: [a, b]\nmaybe: null\n")
    values = parser.instantiate(parse(parser, ["--config", file, "--layer.size", "9"]))
    assert (values.data, values.rate, values.num_samples) == ("d", 0.5, 0)
    assert values.layer == Layer(size=9, names=("a", "b"))
    assert values.maybe is None


@pytest.mark.parametrize("value", ["0.5", "'0.5'", "abc"])
def test_one_value_where_a_list_is_needed(
    parser: ArgumentParser, tmp_path: Path, value: str
) -> None:
    parser.add_argument("--points", type=float | str, nargs="+", default=[0.1])
    file = yaml(tmp_path, f"data: d\npoints: {value}\n")
    with pytest.raises(ConfigError, match=r"x.yaml: expected a list .* got one value"):
        parse(parser, ["--config", file])
    yaml(tmp_path, f"data: d\npoints: [{value}]\n")
    assert len(parse(parser, ["--config", file]).points) == 1


def test_the_last_file_wins(parser: ArgumentParser, tmp_path: Path) -> None:
    first = yaml(tmp_path, "data: d\nrate: 0.5\nlayer: {size: 7}\n")
    second = tmp_path / "y.yaml"
    second.write_text("layer: {names: [a]}\nrate: 0.7\n")
    values = parser.instantiate(parse(parser, ["--config", first, "--config", str(second)]))
    assert (values.rate, values.layer) == (0.7, Layer(size=7, names=("a",)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dta: d\n", "unknown key 'dta'; did you mean 'data'?"),
        ("data: d\nlayer: {sise: 3}\n", "unknown key 'layer.sise'; did you mean 'layer.size'?"),
        ("data: d\nlayer.sise: 3\n", "unknown key 'layer.sise'; did you mean 'layer.size'?"),
        ("data: d\nmaybe: {sise: 3}\n", "unknown key 'maybe.sise'; did you mean 'maybe.size'?"),
        ("data: d\nnum_sample: 3\n", "unknown key 'num_sample'; did you mean 'num_samples'?"),
        ("data: d\nsize: 3\n", "unknown key 'size'; did you mean 'layer.size'?"),
        ("data: d\nqqqqq: 3\n", "unknown key 'qqqqq'; see --help for all keys"),
    ],
)
def test_an_unknown_key_in_a_file(
    parser: ArgumentParser, tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(parser, ["--config", yaml(tmp_path, text)])
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dta", "x"], "unknown key '--dta'; did you mean '--data'?"),
        (["--layer.sise=3"], "unknown key '--layer.sise'; did you mean '--layer.size'?"),
        (["--num_samples", "3"], "unknown key '--num_samples'; did you mean '--num-samples'?"),
        (["--size", "3"], "unknown key '--size'; did you mean '--layer.size'?"),
        (["--qqqqq"], "unknown key '--qqqqq'; see --help for all keys"),
        (["qqqqq"], "unknown key 'qqqqq'; see --help for all keys"),
    ],
)
def test_an_unknown_flag(parser: ArgumentParser, words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(parser, ["--data", "d", *words])
    assert str(caught.value) == message


def test_an_abbreviation_is_an_unknown_flag(parser: ArgumentParser) -> None:
    with pytest.raises(ConfigError, match="unknown key '--rat'; did you mean '--rate'"):
        parse(parser, ["--data", "d", "--rat", "3"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rate", "fast"], '"rate": Expected a .*float.*Got value: fast'),
        (["--layer.size", "2.5"], '"layer.size": Expected a .*int.*Got value: 2.5'),
        (["--layer.names", "a"], '"layer.names": Expected a .*tuple'),
        (["--num-samples", "x"], '"num_samples": Expected a .*int.*Got value: x'),
    ],
)
def test_a_value_of_the_wrong_type_names_its_key(
    parser: ArgumentParser, words: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(parser, ["--data", "d", *words])


def test_a_wrong_type_in_a_file_names_its_key(parser: ArgumentParser, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'"layer.size": Expected a .*int.*: many'):
        parse(parser, ["--config", yaml(tmp_path, "data: d\nlayer: {size: many}\n")])


def test_a_missing_key_is_named(parser: ArgumentParser) -> None:
    with pytest.raises(ConfigError, match=r"required.*data"):
        parse(parser, [])


@pytest.mark.parametrize("form", [["--config", "{}"], ["--config={}"]])
@pytest.mark.parametrize("text", ["data: [d\n", "- data\n- d\n"])
def test_a_file_that_is_no_mapping_is_named(
    parser: ArgumentParser, tmp_path: Path, form: list[str], text: str
) -> None:
    words = [word.format(yaml(tmp_path, text)) for word in form]
    with pytest.raises(ConfigError, match=r"x.yaml: not a mapping: "):
        parse(parser, words)


def test_a_missing_file_is_named(parser: ArgumentParser, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not exist: .*no.yaml"):
        parse(parser, ["--config", str(tmp_path / "no.yaml")])


def test_the_parsers_own_usage_is_kept_from_the_screen(
    parser: ArgumentParser, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError):
        parse(parser, ["--rate", "fast"])
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")


def test_help_is_shown(parser: ArgumentParser, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(parser, ["--help"])
    assert caught.value.code == 0
    assert "--layer.size" in capsys.readouterr().out
