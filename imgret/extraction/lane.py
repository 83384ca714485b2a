"""Lane: pixels to the device and descriptors back, while the device is busy with the batch before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Lane:
    """The way between this process and a device.

    Batches go over as bytes, from pinned memory and on a stream of their own, so that a GPU computes meanwhile. On a
    processor the same calls are there and do nothing but hand over.

    device
    ahead   batches that may be under way at once before the first is waited for
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.ahead = 2 if device.type == "cuda" else 0
        self._module: Any = torch.get_device_module(device)
        self._pinned = device.type == "cuda"
        # Streams and events belong to the current device unless told otherwise, and that is the first GPU.
        self._beside = None if device.type == "cpu" else self._module.Stream(device)

    def to_device(self, pixels: np.ndarray) -> Tensor:
        """A uint8 array, there when the work that is queued next on the device needs it."""
        return self.beside(lambda: self.copy(pixels))

    def copy(self, pixels: np.ndarray) -> Tensor:
        """The same on the current stream; pinned memory is not used again before the copy is done."""
        here = torch.from_numpy(pixels)
        if self._beside is None:
            return here
        staged = here.pin_memory() if self._pinned else here
        return staged.to(self.device, non_blocking=True)

    def beside(self, work: Callable[[], Tensor]) -> Tensor:
        """Do work beside the model's; its tensor is there when what is queued next on the device needs it."""
        if self._beside is None:
            return work()
        with self._module.stream(self._beside):
            there = work()
        current = self._module.current_stream(self.device)
        current.wait_stream(self._beside)
        there.record_stream(current)  # its memory is not given to the next copy while the model still reads it
        return there

    def from_device(self, rows: Tensor) -> Callable[[], np.ndarray]:
        """What waits for the rows and gives them as an array; it can be called once the next batch was sent."""
        if self._beside is None:
            return rows.numpy
        back = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=self._pinned)
        back.copy_(rows, non_blocking=True)
        done = self._module.Event()
        done.record(self._module.current_stream(self.device))

        def wait() -> np.ndarray:
            done.synchronize()
            return back.numpy()

        return wait
