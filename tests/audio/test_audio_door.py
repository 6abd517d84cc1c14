import subprocess
import sys

import pytest

import bbb.audio


@pytest.mark.parametrize("name", bbb.audio.__all__)
def test_every_public_name_is_there_and_documented(name):
    assert getattr(bbb.audio, name).__doc__


def test_public_names():
    assert {"ChunkBatches", "DataDir", "FeatureConfig", "read_waveform"} <= set(bbb.audio.__all__)
    assert list(bbb.audio.__all__) == sorted(bbb.audio.__all__)


def test_data_directories_do_not_load_torch():
    code = (
        "import sys; from bbb.audio import DataDir, fix_data_dir, read_waveform, validate_data_dir;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
