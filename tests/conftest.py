"""Shared by all tests: few threads, and the folder of real recordings where there is one."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest
import torch

torch.set_num_threads(1)
# A busy machine is no failure.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that BBB_DATA names; tests that need it skip without it."""
    folder = os.environ.get("BBB_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("set BBB_DATA to a folder of real recordings to run this test")
    return Path(folder)
