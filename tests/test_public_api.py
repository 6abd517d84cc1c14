import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import bbb

NAMES = [
    "ELBO",
    "audio",
    "bayesianize",
    "bayesianize_",
    "callbacks",
    "distributions",
    "errors",
    "estimators",
    "fixed_sample",
    "kl_divergence",
    "kl_weights",
    "layers",
    "posterior_mean",
    "predict",
    "priors",
    "prune",
    "record_draws",
    "sample_deterministic",
    "sampling",
    "schedules",
    "scoring",
    "signal_to_noise",
    "speaker",
    "to_deterministic",
    "uncertainty",
]
# The rooms of speech have tests of their own doors.
OWN = sorted(set(NAMES) - {"audio", "scoring", "speaker"})


def modules_after(code):
    program = f"import sys, json; {code}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return set(json.loads(done.stdout))


def test_names_are_these_and_sorted():
    assert sorted(bbb.__all__) == list(bbb.__all__) == NAMES
    assert set(NAMES) <= set(dir(bbb))


@pytest.mark.parametrize("name", OWN)
def test_names_are_importable_and_documented(name):
    assert getattr(bbb, name).__doc__


@pytest.mark.parametrize(
    "room", ["bbb.distributions", "bbb.layers", "bbb.priors", "bbb.uncertainty"]
)
def test_doors_of_the_rooms(room):
    module = importlib.import_module(room)
    assert sorted(module.__all__) == module.__all__
    for name in module.__all__:
        value = getattr(module, name)
        assert value.__doc__ or not callable(value) or name == "Estimator"


def test_type_checkers_see_the_same_names():
    text = Path(bbb.__file__).read_text(encoding="utf-8")
    typed = text.split("__all__ = [")[1].split("]")[0]
    assert [line.strip(' ",') for line in typed.strip().splitlines()] == NAMES


def test_import_loads_no_torch():
    loaded = modules_after("import bbb, bbb.errors; dir(bbb)")
    assert "torch" not in loaded
    assert "numpy" not in loaded
    assert "lightning" not in modules_after("import bbb; bbb.bayesianize, bbb.predict, bbb.ELBO")


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="bayesianise"):
        bbb.bayesianise  # noqa: B018
