"""Contest: which of some settings is the quickest, found out on the first batches of a run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Setting = TypeVar("Setting")


class Contest(Generic[Setting]):
    """Settings take turns, one batch each; after `rounds` turns that count the one of least cost stays.

    settings  what is tried; the first is used where nothing is known yet, and stays unless another costs less than
              `margin` of what it does
    cost      of a setting, from its median time; by default the time itself

    The first turn of every setting warms it up and does not count. The work done in a contest is work done: the
    settings give the same descriptors but for the last bits.
    """

    def __init__(
        self,
        settings: Sequence[Setting],
        *,
        rounds: int = 2,
        margin: float = 0.95,
        cost: Callable[[Setting, float], float] = lambda _, seconds: seconds,
    ) -> None:
        self._settings = list(settings)
        self._times: list[list[float]] = [[] for _ in settings]
        self._rounds = rounds
        self._margin = margin
        self._cost = cost
        self._turn = 0
        self.winner: Setting | None = self._settings[0] if len(settings) == 1 else None

    @property
    def current(self) -> Setting:
        """What to use for the next batch."""
        return self._settings[self._turn] if self.winner is None else self.winner

    def note(self, seconds: float) -> None:
        """Tell how long the batch took, per image or pixel: the batches of a contest may differ in size."""
        if self.winner is not None:
            return
        self._times[self._turn].append(seconds)
        self._turn = (self._turn + 1) % len(self._settings)
        if len(self._times[-1]) > self._rounds:
            costs = [
                self._cost(setting, statistics.median(times[1:]))
                for setting, times in zip(self._settings, self._times, strict=True)
            ]
            best = min(range(len(costs)), key=costs.__getitem__)
            self.winner = self._settings[best if costs[best] < self._margin * costs[0] else 0]
