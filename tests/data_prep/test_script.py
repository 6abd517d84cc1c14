import _script
import pytest

from bbb.errors import ConfigError, DataError


def failing(error):
    def main(_argv):
        raise error

    return main


def test_success_is_silent(capsys):
    seen = []
    assert _script.run(seen.append, ["x"]) == 0
    assert seen == [["x"]]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error", [DataError("bad data"), ConfigError("bad data"),
                                   OSError("bad data")])  # fmt: skip
def test_errors_become_one_line(capsys, error):
    assert _script.run(failing(error)) == 1
    assert capsys.readouterr().err == "error: bad data\n"


def test_interrupt(capsys):
    assert _script.run(failing(KeyboardInterrupt())) == 130
    assert "again to continue" in capsys.readouterr().err


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        _script.run(failing(ZeroDivisionError()))
