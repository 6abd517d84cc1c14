"""Statistical tests have one seed, whatever order or seed the run has."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _same_draws():
    torch.manual_seed(0)
