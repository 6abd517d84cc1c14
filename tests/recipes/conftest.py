"""Shared by the recipes' tests."""

import pytest

from recipes.bandit import simulate
from recipes.bandit.environment import load_mushrooms
from recipes.vae.images import load_images


@pytest.fixture(scope="session")
def digits():
    """The VAE recipe's default images."""
    return load_images("digits", "threshold")


@pytest.fixture(scope="session")
def mushroom_file(tmp_path_factory):
    """Simulated mushrooms."""
    file = tmp_path_factory.mktemp("data") / "simulated.data"
    simulate.main(["--output", str(file), "--count", "300"])
    return file


@pytest.fixture(scope="session")
def mushrooms(mushroom_file):
    """The same, read."""
    return load_mushrooms(mushroom_file)
