"""Freed memory stays with the process."""

import platform
import subprocess
import sys

import pytest

# Page faults of 50 blocks of 40 MB, one after the other: 10,000 each, or of the first alone.
SCRIPT = """
import resource, sys
from bbb.cli._memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
size = 40_000_000
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    b"x" * size
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(word: str) -> int:
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, word], capture_output=True, text=True, check=True
    )
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_large_blocks_are_used_again() -> None:
    assert faults("keep") < faults("default") / 10
