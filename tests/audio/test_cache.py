import os
import pickle

import numpy as np
import pytest

from bbb.audio import cache
from bbb.audio.cache import SharedArrays
from bbb.errors import DataError


def refuse():
    msg = "made a second time"
    raise AssertionError(msg)


def test_an_array_is_made_once():
    kept = SharedArrays([3, 5], np.int16)
    value = np.array([1, 2, 3, 4], dtype=np.int16)
    np.testing.assert_array_equal(kept.get(1, lambda: value), value)
    np.testing.assert_array_equal(kept.get(1, refuse), value)


def test_arrays_do_not_touch_each_other():
    kept = SharedArrays([2, 3, 1], np.float32)
    values = [np.full(n, n, dtype=np.float32) for n in (2, 3, 1)]
    for index in (1, 0, 2):
        kept.get(index, lambda index=index: values[index])
    for index in range(3):
        np.testing.assert_array_equal(kept.get(index, refuse), values[index])


def test_an_empty_array_counts_as_made():
    kept = SharedArrays([4], np.float32)
    kept.get(0, lambda: np.zeros(0, dtype=np.float32))
    assert len(kept.get(0, refuse)) == 0


def test_what_does_not_fit_is_made_each_time():
    kept = SharedArrays([2, 2], np.float32)
    large = np.ones(3, dtype=np.float32)
    kept.get(1, lambda: 5 * np.ones(2, dtype=np.float32))
    for _ in range(2):
        np.testing.assert_array_equal(kept.get(0, lambda: large), large)
    np.testing.assert_array_equal(kept.get(1, refuse), [5, 5])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_fills_the_parents_cache():
    kept = SharedArrays([2], np.int16)
    child = os.fork()
    if child == 0:
        kept.get(0, lambda: np.array([7, 8], dtype=np.int16))
        os._exit(0)
    os.waitpid(child, 0)
    np.testing.assert_array_equal(kept.get(0, refuse), [7, 8])


def test_a_pickled_copy_starts_empty():
    kept = SharedArrays([2], np.int16)
    kept.get(0, lambda: np.array([1, 2], dtype=np.int16))
    copy = pickle.loads(pickle.dumps(kept))  # noqa: S301 (made here)
    np.testing.assert_array_equal(copy.get(0, lambda: np.array([3], dtype=np.int16)), [3])


def test_no_arrays_need_no_memory():
    SharedArrays([], np.int16)


def test_memory_is_that_of_the_machine_or_of_the_group(tmp_path, monkeypatch):
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < cache.memory_limit() <= machine
    monkeypatch.setattr(cache, "_CGROUPS", tmp_path)
    assert cache.memory_limit() == machine
    (tmp_path / "memory.max").write_text("max\n")
    assert cache.memory_limit() == machine
    (tmp_path / "memory.max").write_text("1000000\n")
    assert cache.memory_limit() == 1000000
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("5000\n")
    assert cache.memory_limit() == 5000


def test_more_than_there_is():
    with pytest.raises(
        DataError, match=r"no memory for 9223372.* GB of cached data .* set cache_gb to 0"
    ):
        SharedArrays([2**62], np.int16)
