"""Keep memory that tensors free, in place of giving it back to the system after every layer."""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8  # malloc.h
_LARGEST = 2**31 - 1  # mallopt takes an int


@cache
def keep_freed_memory() -> bool:
    """Tell glibc's malloc to keep what is freed for the next tensor; whether it was told.

    A feature map of some megabytes is mapped anew by default, and the system fills each of its pages with zeros
    at the first touch: a tenth of the time of describing on a processor, a fifth of that of training
    (docs/benchmarks.md). The process then stays as large as it was at most. Other C libraries are left alone, and so is
    one that a MALLOC_ variable of the environment has told something already.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    asked = (_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST), (_TOP_PAD, 64 << 20), (_ARENA_MAX, 1)
    return all(mallopt(ctypes.c_int(what), ctypes.c_int(value)) for what, value in asked)
