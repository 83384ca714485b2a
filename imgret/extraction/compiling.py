"""Compiling: a model as it is, or compiled by torch once that is worth its start."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

from imgret.extraction.contest import Contest
from imgret.extraction.job import Say, quiet

_START = 30.0  # seconds to compile a trunk for images of any size, on two cores (docs/benchmarks.md)
_GAIN = {torch.float32: 0.05}  # share of the time that is saved
_GAIN_IN_HALF = 0.3
_WARM_UP = 2  # calls that do not count
_LOOKED_AT = 6  # batches timed before the decision
_COMMON = 3  # batches of a shape before a GPU records it
_GRAPHS = 6  # shapes that are recorded, each in memory of its own; torch compiles a function at most 8 times


class Compiling:
    """Calls `rows` plainly, or compiled: [B, 3, H, W] -> [B, D].

    compile  True: from the first call; False: never; None: once what is expected would take so long that compiling
             pays for itself twice, and only if it then is quicker. What cannot be compiled here (no C++ compiler, a
             graph that torch refuses) is said and goes on plainly.

    On a processor one compilation serves all sizes: shapes are symbolic, weights are constants that the compiler lays
    out anew ("freezing"). On a GPU the first few shapes that come often, which are those of full batches, are compiled
    and recorded as CUDA graphs, the others run plainly; that was never run on a GPU, so None is False there. It is the
    same arithmetic in another order.
    """

    def __init__(
        self,
        rows: Callable[[Tensor], Tensor],
        device: torch.device,
        dtype: torch.dtype,
        compile: bool | None,
        say: Say = quiet,
    ) -> None:
        self._plain = self._rows = rows
        self._device = device
        self._gain = _GAIN.get(dtype, _GAIN_IN_HALF)
        self._asked = compile
        self._say = say
        self._expected = 0
        self._seconds: list[float] = []
        self._shapes: Counter[torch.Size] = Counter()
        self._recorded: set[torch.Size] = set()
        self._trial: Contest[Callable[[Tensor], Tensor]] | None = None
        self.settled = True
        if compile:
            self._compile()

    def expect(self, images: int) -> None:
        """Tell how many images will come; without that None is False."""
        self._expected = images
        self.settled = self._asked is not None or self._device.type != "cpu"

    def note(self, seconds: float, images: int) -> None:
        """Tell how long a batch took."""
        if self._trial is not None:
            self._trial.note(seconds / images)
            self._rows = self._trial.current
            self.settled = self._trial.winner is not None
            return
        self._expected -= images
        self._seconds.append(seconds / images)
        if len(self._seconds) < _WARM_UP + _LOOKED_AT:
            return
        left = self._expected * min(self._seconds[_WARM_UP:])
        self.settled = self._gain * left < 2 * _START
        if not self.settled:
            self._say(
                f"Compiling the model: at this pace {left / 60:.0f} minutes of it are left (--no-compile leaves it)"
            )
            self._compile()
            self._trial = Contest([self._rows, self._plain])

    def __call__(self, images: Tensor) -> Tensor:
        if self._rows is self._plain or not self._is_common(images.shape):
            return self._plain(images)
        try:
            rows = self._rows(images)
            return rows if self._device.type == "cpu" else rows.clone()  # the next replay writes to the same place
        except Exception as error:  # the compiler's many ways to fail; a fault of the model's own shows once more below
            rows = self._plain(images)
            self._rows, self._trial, self.settled = self._plain, None, True
            self._say(f"note: the model cannot be compiled here ({_first_line(error)}); it goes on as it is")
            return rows

    def _is_common(self, shape: torch.Size) -> bool:
        """Whether a shape is compiled for."""
        if self._device.type == "cpu":
            return shape[0] > 1  # a batch of one would be compiled once more: torch takes a size of one for a constant
        if shape not in self._recorded and len(self._recorded) < _GRAPHS:
            self._shapes[shape] += 1
            if self._shapes[shape] > _COMMON:
                self._recorded.add(shape)
        return shape in self._recorded

    def _compile(self) -> None:
        if self._device.type == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))):
            self._say("note: the model is not compiled: no C++ compiler is installed")
            return
        if self._device.type == "cpu":
            self._rows = torch.compile(self._plain, dynamic=True, options={"freezing": True})
        else:
            self._rows = torch.compile(self._plain, dynamic=False, mode="reduce-overhead")


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
