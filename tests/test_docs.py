"""The pages under docs/, whose examples run as doctests: do their claims lead somewhere?"""

import ast
import re
from pathlib import Path

import pytest

from bbb import layers, priors

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))


def functions(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_is_named_exists(page):
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", page.read_text(encoding="utf-8"))
    assert [f"{f}::{name}" for f, name in named if name not in functions(ROOT / "tests" / f)] == []
    assert page.name != "layers.md" or len(named) > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_fit_on_a_screen(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    # A row of a table is one line, whatever its length.
    assert [line for line in lines if len(line) > 120 and line[0] != "|"] == []


def test_every_layer_and_prior_is_named():
    text = (ROOT / "docs" / "layers.md").read_text(encoding="utf-8")
    assert [kind for kind in layers.BAYESIAN if f"`{kind.__name__}`" not in text] == []
    own = set(priors.__all__) - {"Density", "Prior"}
    assert [name for name in sorted(own) if f"`{name}(" not in text] == []
