"""What is installed: metadata, dependencies, pins, the command, and what imports cost."""

import ast
import configparser
import importlib
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Distribution by the name that is imported, where the two differ.
DISTRIBUTIONS = {"kaldi_native_fbank": "kaldi-native-fbank", "sklearn": "scikit-learn"}
DISTRIBUTIONS |= {"yaml": "pyyaml"}
# Folders of scripts, which find each other, and which tests load, by bare names.
SCRIPTS = ("data_prep", "recipes", "benchmarks")
CORE = {"lazy-loader", "numpy", "torch"}


@pytest.fixture(scope="module")
def setup():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


@pytest.fixture(scope="module")
def pins():
    """Lines of constraints.txt: name, version, marker."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [re.split(r"==|; ", line) for line in lines if line and not line.startswith("#")]


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def required(text):
    """Canonical names of the requirements of one option."""
    lines = [line for line in text.splitlines() if line]
    return {canonical(re.match(r"[\w.-]+", line)[0]) for line in lines}


def run(code, *options):
    return subprocess.run(
        [sys.executable, *options, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


def imported(folder):
    """Distributions that the files of a folder import; Python's own and ours left out."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module)
    # Scripts import their neighbours by bare names, and tests those of recipes.
    rooms = [ROOT / folder, ROOT / "data_prep", *(ROOT / "recipes").iterdir()]
    scripts = [path for room in rooms for path in room.glob("*.py")]
    local = {path.stem for path in scripts} | {"bbb", "recipes", "tests"}
    names = {name.split(".")[0] for name in found} - set(sys.stdlib_module_names) - local
    return {DISTRIBUTIONS.get(name, canonical(name)) for name in names}


# -- metadata -------------------------------------------------------------------------------


def test_the_command_bbb_calls_a_function(setup):
    [entry] = setup["options.entry_points"]["console_scripts"].split("\n")[1:]
    name, target = entry.split(" = ")
    assert name == "bbb"
    module, function = target.split(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_installed_metadata_agree(setup):
    try:
        found = importlib.metadata.distribution("bayes-by-backprop")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("bbb runs from its folder; pip install -e . to check what is installed")
    assert found.version == setup["metadata"]["version"]
    assert [e.value for e in found.entry_points if e.name == "bbb"] == ["bbb.cli.main:main"]
    assert set(found.metadata.get_all("Provides-Extra")) == set(setup["options.extras_require"])


def test_type_hints_are_shipped(setup):
    assert "py.typed" in setup["options.package_data"]["*"]
    assert (ROOT / "bbb" / "py.typed").is_file()


def test_every_room_is_a_package():
    # A folder without __init__.py would be left out of the wheel.
    folders = {path.parent for path in (ROOT / "bbb").rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


# -- dependencies ---------------------------------------------------------------------------


def test_the_core_is_light(setup):
    assert required(setup["options"]["install_requires"]) == CORE


@pytest.mark.parametrize("folder", ["bbb", *SCRIPTS])
def test_every_import_is_declared(setup, folder):
    extras = setup["options.extras_require"]
    optional = (required(extras[name]) for name in ("speech", "cluster", "sphere"))
    assert imported(folder) <= CORE.union(*optional)


def test_every_import_of_the_tests_is_declared(setup):
    extras = setup["options.extras_require"]
    declared = CORE.union(*(required(extra) for extra in extras.values()))
    assert imported("tests") <= declared


def test_no_dependency_is_left_over(setup):
    # jsonargparse reads YAML through PyYAML, which is named because configurations are YAML.
    speech = required(setup["options.extras_require"]["speech"])
    used = imported("bbb") | imported("data_prep") | imported("recipes")
    assert speech - used <= {"pyyaml"}


def test_everything_is_pinned(setup, pins):
    extras = setup["options.extras_require"]
    wanted = CORE | required(extras["speech"]) | required(extras["dev"]) - {"bayes-by-backprop"}
    assert wanted <= {canonical(name) for name, *_ in pins}


def test_pins_are_versions_and_nothing_else(pins):
    for name, version, *marker in pins:
        assert re.fullmatch(r"[a-z0-9-]+", name), name
        assert re.fullmatch(r"[\d.]+", version), name
        assert not marker or re.fullmatch(r'python_version (>=|<) "3\.11"', marker[0]), name
    assert [line[0] for line in pins] == sorted(line[0] for line in pins)


def test_pins_reach_the_declared_minimum(setup, pins):
    def number(version):
        return tuple(map(int, version.split(".")))

    text = setup["options"]["install_requires"] + setup["options.extras_require"]["speech"]
    minimum = dict(re.findall(r"^([\w-]+)\S*?>=([\d.]+)", text, re.MULTILINE))
    minimum = {canonical(name): number(version) for name, version in minimum.items()}
    assert len(minimum) >= 10
    low = [name for name, version, *_ in pins if number(version) < minimum.get(name, ())]
    assert low == []


def test_torch_and_torchaudio_go_together(pins):
    versions = {name: version for name, version, *_ in pins}
    assert versions["torch"] == versions["torchaudio"]


# -- imports --------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["bbb", "bbb.scoring", "bbb.cli.main", "bbb.errors"])
def test_cheap_imports_load_nothing_heavy(module):
    done = run(f"import {module}", "-W", "error", "-X", "importtime")
    assert done.returncode == 0, done.stderr
    loaded = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert module.split(".")[0] in loaded
    heavy = {"torch", "numpy", "scipy", "sklearn", "lightning", "polars", "matplotlib", "rich"}
    assert loaded & heavy == set()


@pytest.mark.parametrize("verb", ["score", "plda", "fuse", "calibrate", "evaluate"])
def test_scoring_verbs_load_neither_torch_nor_lightning(verb):
    code = f"import sys, bbb.cli.{verb} as verb; verb.make_parser(); print(*sys.modules)"
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert not {"torch", "lightning"} & set(done.stdout.split())


# -- the core alone -------------------------------------------------------------------------

# Hides what only '.[speech]' installs, as if it were not there.
WITHOUT_SPEECH = """
import sys
from importlib.abc import MetaPathFinder
class Hidden(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
"""


@pytest.fixture(scope="module")
def core_only(setup):
    modules = {name: module for module, name in DISTRIBUTIONS.items()}
    speech = required(setup["options.extras_require"]["speech"]) - CORE
    hidden = {modules.get(name, name.replace("-", "_")) for name in speech}
    return WITHOUT_SPEECH.format(names=hidden)


def test_the_core_alone_makes_and_trains_a_bayesian_model(core_only):
    done = run(
        core_only + "import torch, bbb\n"
        "model = bbb.bayesianize(torch.nn.Linear(3, 2))\n"
        "x, y = torch.randn(4, 3), torch.tensor([0, 1, 0, 1])\n"
        "bbb.ELBO(model, num_train=4)(model(x), y).loss.backward()\n"
        "print(tuple(bbb.predict(model, x, num_samples=5).shape))"
    )
    assert done.stdout == "(5, 4, 2)\n", done.stderr


def test_the_core_alone_computes_metrics(core_only):
    done = run(
        core_only + "from bbb.scoring import equal_error_rate\n"
        "print(equal_error_rate([0.9, 0.6, 0.5, 0.1], [True, False, True, False]))"
    )
    assert done.stdout == "0.5\n", done.stderr


def test_the_core_alone_shows_the_verbs(core_only):
    done = run(core_only + "from bbb.cli.main import main; sys.exit(main(['--help']))")
    assert done.returncode == 0, done.stderr
    assert "usage: bbb VERB" in done.stdout


@pytest.mark.parametrize("verb", ["train", "extract", "plda", "score", "fuse", "evaluate", "data"])
def test_the_core_alone_says_what_a_verb_needs(core_only, verb):
    done = run(core_only + f"from bbb.cli.main import main; sys.exit(main(['{verb}', '--help']))")
    assert done.returncode == 1
    assert re.fullmatch(
        rf"bbb {verb}: .*'\w+'.*pip install 'bayes-by-backprop\[speech\]'\n", done.stderr
    )
