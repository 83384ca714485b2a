"""Freed memory is kept for the next tensor."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys, torch
from imgret.allocator import keep_freed_memory
told = keep_freed_memory() if "keep" in sys.argv else False
tensor = torch.zeros(16 << 20, dtype=torch.uint8)
faults = []
for _ in range(24):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensor = None
    tensor = torch.ones(40 << 20, dtype=torch.uint8)  # larger than glibc ever keeps unasked
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(int(told), sum(faults[12:]))
"""


def later_faults(*words: str, **variables: str) -> tuple[int, int]:
    """(told, page faults of twelve tensors of 40 MiB, once others of their size have been freed)."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", _FAULTS, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=clean | variables)
    told, faults = done.stdout.split()
    return int(told), int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="speaks to glibc's malloc")
def test_a_tensor_takes_the_place_of_one_that_was_freed():
    told, faults = later_faults("keep")
    assert told
    assert later_faults()[1] > 10 * faults  # what it would be


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="speaks to glibc's malloc")
def test_what_the_environment_says_stays():
    assert later_faults("keep", MALLOC_ARENA_MAX="2")[0] == 0
