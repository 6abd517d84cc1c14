"""Shared by the recipes' tests."""

import pytest

from recipes.vae.images import load_images


@pytest.fixture(scope="session")
def digits():
    """The VAE recipe's default images."""
    return load_images("digits", "threshold")
