"""The command ``bbb``: verbs, exit codes, and how errors are shown."""

import errno
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from bbb.cli.main import VERBS, main, usage
from bbb.errors import BBBError, ConfigError, DataError, FormatError

Verb = Callable[[list[str]], int | None]


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Verb], None]:
    """A function that puts another one in the place of ``bbb score``."""

    def install(run: Verb) -> None:
        monkeypatch.setattr(importlib, "import_module", lambda _: SimpleNamespace(main=run))

    return install


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert main(["-h"]) == 0
    shown = capsys.readouterr().out
    assert shown == 2 * (usage() + "\n")
    assert shown.startswith("usage: bbb VERB [options]")
    for name, text in VERBS.items():
        assert f"  {name:10s} {text}\n" in shown


@pytest.mark.parametrize("words", [["--help"], ["data", "--help"], ["data", "validate", "."]])
def test_output_that_nobody_reads_is_no_error(words: list[str], tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "bbb.cli.main", *words]
    done = subprocess.run(
        command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, cwd=tmp_path
    )
    os.close(writer)
    assert done.stderr.strip() == ""
    assert done.returncode in {0, 1}


def test_no_verb_is_a_wrong_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert usage() in capsys.readouterr().out


def test_an_unknown_verb_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian", "--help"]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("bbb: unknown verb 'trian'\n\nusage: bbb VERB")
    assert not shown.out


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_a_module_with_a_main(name: str) -> None:
    assert callable(importlib.import_module(f"bbb.cli.{name}").main)


def test_words_after_the_verb_are_the_verbs(verb: Callable[[Verb], None]) -> None:
    seen: list[list[str]] = []
    verb(seen.append)  # type: ignore[func-returns-value]
    assert main(["score", "--a", "b", "--help"]) == 0
    assert seen == [["--a", "b", "--help"]]


def test_words_of_the_process_are_the_default(
    verb: Callable[[Verb], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    verb(seen.append)  # type: ignore[func-returns-value]
    monkeypatch.setattr(sys, "argv", ["bbb", "score", "x"])
    assert main() == 0
    assert seen == [["x"]]


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (1, 1), (3, 3)])
def test_a_verbs_result_is_the_exit_code(
    verb: Callable[[Verb], None], returned: int | None, code: int
) -> None:
    verb(lambda _: returned)
    assert main(["score"]) == code


@pytest.mark.parametrize(
    "error",
    [
        BBBError("it broke"),
        ConfigError("it broke"),
        DataError("it broke"),
        FormatError("it broke"),
        OSError("it broke"),
    ],
)
def test_bad_input_is_a_message_and_no_traceback(
    verb: Callable[[Verb], None], capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def fails(_: list[str]) -> None:
        raise error

    verb(fails)
    assert main(["score"]) == 1
    shown = capsys.readouterr()
    assert shown.err == "bbb score: it broke\n"
    assert not shown.out


def test_a_file_that_cannot_be_written_is_named(
    verb: Callable[[Verb], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_: list[str]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "exp/x.npz")

    verb(fails)
    assert main(["score"]) == 1
    assert "No space left on device: 'exp/x.npz'" in capsys.readouterr().err


def test_ctrl_c_is_130(verb: Callable[[Verb], None], capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_: list[str]) -> None:
        raise KeyboardInterrupt

    verb(interrupted)
    assert main(["score"]) == 130
    assert capsys.readouterr().err == "bbb score: interrupted\n"


def test_our_own_faults_keep_their_traceback(verb: Callable[[Verb], None]) -> None:
    def broken(_: list[str]) -> None:
        raise ZeroDivisionError

    verb(broken)
    with pytest.raises(ZeroDivisionError):
        main(["score"])


def test_a_missing_package_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(_: str) -> None:
        msg = "No module named 'jsonargparse'"
        raise ModuleNotFoundError(msg)

    monkeypatch.setattr(importlib, "import_module", missing)
    assert main(["score"]) == 1
    error = capsys.readouterr().err
    assert "No module named 'jsonargparse'" in error
    assert "pip install 'bayes-by-backprop[speech]'" in error


def test_the_command_imports_its_verb_alone() -> None:
    script = (
        "import sys; from bbb.cli.main import main; main(['--help']);"
        "print({'torch', 'numpy', 'jsonargparse', 'lightning'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert run.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize(("given", "kept"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_do_not_spin_unless_told_to(monkeypatch, given, kept):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    if given is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    assert main(["evaluate", "no.scores"]) == 1
    assert os.environ["OMP_WAIT_POLICY"] == kept
