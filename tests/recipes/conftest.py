"""The scripts of recipes/vae import each other by their folder, as they do when they are run."""

import sys
from pathlib import Path

import pytest

SCRIPTS = str(Path(__file__).parents[2] / "recipes" / "vae")
if SCRIPTS not in sys.path:
    sys.path.insert(0, SCRIPTS)


@pytest.fixture(scope="session")
def digits():
    """The VAE recipe's default images."""
    from images import load_images  # noqa: PLC0415 (found by the path above)

    return load_images("digits", "threshold")
