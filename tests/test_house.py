"""House rules that no linter checks: sizes, doors, words, recipes."""

import ast
import importlib
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST_FILE = 400
LONGEST_FUNCTION = 60
# Folders that are made, and so are nobody's text.
MADE = {"exp", "data", "build", "dist", "__pycache__"}
SUFFIXES = {".py", ".sh", ".md", ".yaml", ".cfg", ".toml", ".txt", ".json", ""}
PACKAGE = sorted((ROOT / "bbb").rglob("*.py"))
RECIPES = sorted(path.parent for path in (ROOT / "recipes").glob("*/run.sh"))


def texts(*folders):
    """The project's own files, all of them or those of some folders."""
    for top in [ROOT / name for name in folders] or [ROOT]:
        for folder, names, files in os.walk(top):
            names[:] = [n for n in names if n not in MADE and (n[0] != "." or n == ".ci")]
            names[:] = [n for n in names if not n.endswith(".egg-info")]
            for name in files:
                path = Path(folder, name)
                if path.suffix in SUFFIXES and not name.startswith(".coverage"):
                    yield path


def relative(path):
    return str(path.relative_to(ROOT))


def code_lines(function):
    """Lines of a function without its docstring, which may be as long as it needs to be."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        lines -= docstring.end_lineno - docstring.lineno + 1
    return lines


def functions(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


# -- sizes ----------------------------------------------------------------------------------


def test_the_package_is_found():
    assert len(PACKAGE) > 30


@pytest.mark.parametrize("path", PACKAGE, ids=relative)
def test_files_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize("path", PACKAGE, ids=relative)
def test_functions_are_short(path):
    long = {node.name: code_lines(node) for node in functions(path)}
    assert {name: n for name, n in long.items() if n > LONGEST_FUNCTION} == {}


def test_length_of_a_function_leaves_out_its_docstring():
    [function] = ast.parse('def f():\n    """One.\n\n    Two.\n    """\n    return 1\n').body
    assert code_lines(function) == 2


# -- doors ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PACKAGE, ids=relative)
def test_every_room_and_file_says_what_it_is(path):
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring
    assert docstring.splitlines()[0].endswith((".", ":"))


@pytest.mark.parametrize("room", ["audio", "layers", "priors", "scoring", "speaker", "uncertainty"])
def test_doors_are_sorted_complete_and_real(room):
    module = importlib.import_module(f"bbb.{room}")
    names = list(module.__all__)
    assert names == sorted(set(names))
    assert not [name for name in names if name.startswith("_")]
    for name in names:
        getattr(module, name)
    assert set(names) <= set(dir(module))


def test_commands_have_a_file_each():
    from bbb.cli.main import VERBS  # noqa: PLC0415 (after the collection)

    files = {path.stem for path in (ROOT / "bbb" / "cli").glob("*.py")}
    assert {name for name in files if name[0] != "_"} - {"main"} == set(VERBS)


# -- words ----------------------------------------------------------------------------------


def test_no_path_of_one_machine():
    # In pieces, so that this file does not find itself.
    wrong = re.compile(
        "|".join(rf"(?<![\w.])/{top}/\w" for top in ("work", "root", "home", "Users"))
    )
    found = {relative(p): wrong.findall(p.read_text(encoding="utf-8")) for p in texts()}
    assert {name: hits for name, hits in found.items() if hits} == {}


def test_the_library_knows_nothing_of_our_test_data():
    variable = "_".join(("BBB", "DATA"))
    places = texts("bbb", "data_prep", "recipes", "benchmarks")
    assert [relative(p) for p in places if variable in p.read_text(encoding="utf-8")] == []


def test_the_library_leaves_the_world_alone():
    # Global seeds, warning filters and sys.path belong to the program, not to its libraries.
    wrong = re.compile(
        r"torch\.manual_seed|np\.random\.seed|seed_everything|sys\.path|breakpoint\(|"
        r"^warnings\.(?:simple)?filter",
        re.MULTILINE,
    )
    # Training is a program: its seed and its warnings are its own.
    library = [p for p in PACKAGE if p.parent.name not in {"speaker", "cli"}]
    found = {relative(p): wrong.findall(p.read_text(encoding="utf-8")) for p in library}
    assert {name: hits for name, hits in found.items() if hits} == {}


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_readme_links_lead_somewhere():
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


# -- recipes --------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", RECIPES, ids=relative)
def test_recipes_are_complete(recipe):
    assert os.access(recipe / "run.sh", os.X_OK)
    assert (recipe / "README.md").is_file()
    # Recipes of the same experiment on other corpora share their configurations.
    shared = "common/corpora.sh" in (recipe / "run.sh").read_text(encoding="utf-8")
    conf = ROOT / "recipes/common/conf" if shared else recipe / "conf"
    assert list(conf.glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=relative)
def test_recipes_explain_themselves(recipe):
    done = subprocess.run(
        [recipe / "run.sh", "--help"], check=False, capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    for option in ("--stage", "--stop-stage", "--config", "--exp-dir", "--seed", "--smoke"):
        assert option in done.stdout
