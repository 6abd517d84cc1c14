"""What ``bbb.speaker`` shows, and that importing it costs nothing."""

import importlib
import subprocess
import sys
from pathlib import Path

import bbb.speaker

ROOT = Path(__file__).parents[2]


def test_names_are_sorted_and_there() -> None:
    names = bbb.speaker.__all__
    assert names == sorted(names)
    for name in names:
        assert getattr(bbb.speaker, name).__doc__, name
    assert set(names) <= set(dir(bbb.speaker))


def test_train_can_be_called_whatever_was_imported_first() -> None:
    # Python puts a module over the function of its name when somebody imports the module.
    module = importlib.import_module("bbb.speaker.train")
    assert callable(module)
    assert type(module).__call__ is module.train


def test_networks_need_no_lightning_and_the_door_no_torch() -> None:
    script = (
        "import sys, bbb.speaker; print('torch' in sys.modules);"
        "bbb.speaker.XVector, bbb.speaker.AAMSoftmax, bbb.speaker.extract_embeddings;"
        "bbb.speaker.load_network; print('torch' in sys.modules, 'lightning' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert run.stdout.split() == ["False", "True", "False"]
