"""The room's door: every name is there, and torch never comes in."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import bbb.scoring

ROOM = Path(bbb.scoring.__file__).parent
WITHOUT_TORCH = """
import sys
{code}
assert not [name for name in sys.modules if name.split(".")[0] in {{"torch", "lightning"}}]
"""


def test_names_are_sorted_complete_and_importable() -> None:
    assert bbb.scoring.__all__ == sorted(bbb.scoring.__all__)
    for name in bbb.scoring.__all__:
        assert getattr(bbb.scoring, name).__doc__


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse((ROOM / "__init__.py").read_text(encoding="utf-8"))
    seen = {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }
    assert seen == set(bbb.scoring.__all__)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = bbb.scoring.nonsense


@pytest.mark.parametrize(
    "code",
    [
        "import bbb.scoring\nfor name in bbb.scoring.__all__: getattr(bbb.scoring, name)",
        "import bbb.cli.score, bbb.cli.plda, bbb.cli.fuse, bbb.cli.calibrate, bbb.cli.evaluate",
    ],
)
def test_torch_stays_out(code: str) -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_TORCH.format(code=code)], check=True)


def test_importing_the_room_imports_nothing_heavy() -> None:
    code = (
        "import sys, bbb.scoring\n"
        "assert not {'numpy', 'scipy', 'sklearn', 'polars', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_metrics_need_numpy_only() -> None:
    code = (
        "import sys; from bbb.scoring import equal_error_rate, evaluate, read_scores\n"
        "assert not {'scipy', 'sklearn', 'polars', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
