"""Slots: memory that decode workers write pixels into, which is quicker than sending them through a pipe."""

from __future__ import annotations

import mmap
import os
import sys
from typing import Any

import numpy as np


def make_slots(count: int, size: int) -> Slots | None:
    """Slots, or None where the system has none to give: pixels go through the pipe then."""
    if sys.platform != "linux":  # the others have no memory without a name to hand over
        return None
    try:
        return Slots(count, size)
    except OSError:
        return None


class Slots:
    """`count` pieces of `size` bytes that this process and those it spawns all see.

    The memory has no name, so nothing is left behind however the processes end. Handed to a new process as an
    argument, it is the same memory there. OSError where the system gives none.
    """

    def __init__(self, count: int, size: int) -> None:
        self._size = size
        self._file = os.memfd_create("imgret-pixels")
        os.ftruncate(self._file, count * size)
        self._memory = mmap.mmap(self._file, count * size)

    def __getstate__(self) -> tuple[int, Any]:
        from multiprocessing.reduction import DupFd

        return self._size, DupFd(self._file)

    def __setstate__(self, state: tuple[int, Any]) -> None:
        self._size, file = state[0], state[1].detach()
        self._memory = mmap.mmap(file, os.fstat(file).st_size)
        os.close(file)

    def put(self, slot: int, pixels: np.ndarray) -> bool:
        """Write pixels, or any uint8 array, into a slot; False where they do not fit."""
        if pixels.nbytes > self._size:
            return False
        self._view(slot, pixels.shape)[:] = pixels
        return True

    def take(self, slot: int, shape: tuple[int, ...]) -> np.ndarray:
        """A copy of the pixels of a shape in a slot."""
        return self._view(slot, shape).copy()

    def _view(self, slot: int, shape: tuple[int, ...]) -> np.ndarray:
        return np.ndarray(shape, np.uint8, self._memory, slot * self._size)

    def close(self) -> None:
        """Give the memory back once nothing looks at it any more."""
        os.close(self._file)
        self._memory.close()
