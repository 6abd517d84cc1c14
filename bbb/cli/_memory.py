"""Memory of the process: how the C library treats blocks that were freed."""

import ctypes
import platform

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Let glibc keep large blocks that are freed, for the next tensor of that size.

    By default it hands them back to the system, and a training step spends a quarter of its CPU
    time in the page faults of getting them again. The process then stays as large as its peak.

    Returns:
        Whether there is a glibc that took it.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_M_MMAP_MAX, 0) and libc.mallopt(_M_TRIM_THRESHOLD, -1))
