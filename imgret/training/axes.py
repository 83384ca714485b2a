"""A scale from numbers to pixels with round ticks, linear or logarithmic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_SPREAD = 8  # times: where the largest of a falling curve is more than so much the least, a log scale shows more


@dataclass(frozen=True)
class Axis:
    """Numbers from `low` to `high` as places from 0 to 1; the ticks lie within."""

    low: float
    high: float
    log: bool
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        """Where a number lies, 0 at `low`; numbers outside are moved to the nearer end."""
        low, high, at = (math.log(x) if self.log else x for x in (self.low, self.high, self._within(value)))
        return (at - low) / (high - low)

    def _within(self, value: float) -> float:
        return min(max(value, self.low), self.high)

    def label(self, tick: float) -> str:
        """A tick as a person writes it: as many digits as set it apart from its neighbours."""
        return f"{tick:.10g}" if tick == 0 or 1e-3 <= abs(tick) < 1e5 else f"{tick:.3g}".replace("e-0", "e-")


def axis(values: Sequence[float], *, log: bool = False, from_zero: bool = False, most: int = 6) -> Axis:
    """An axis that holds all of `values`, at least one of them, with 2 to about `most` ticks.

    `log` is granted where all are positive and the largest is more than eight times the least. `from_zero`
    starts a linear axis at 0.
    """
    low, high = min(values), max(values)
    if log and low > 0 and high > _SPREAD * low:
        return _log_axis(low, high, most)
    if from_zero:
        low = min(low, 0.0)
    if low == high:
        low, high = (low - 0.5 * abs(low), high + 0.5 * abs(high)) if low else (0.0, 1.0)
        low = 0.0 if from_zero else low
    step = round_step((high - low) / (most - 1))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    # Multiples divided out again, so that 3 x 0.1 is written 0.3.
    ticks = tuple(float(f"{number * step:.12g}") for number in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], False, ticks)


def round_step(least: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50, ... (times any power of ten) that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(float(f"{digit * power:.12g}") for digit in (1, 2, 5, 10) if digit * power >= least * (1 - 1e-9))


def _log_axis(low: float, high: float, most: int) -> Axis:
    """Powers of ten, with twos and fives between them while there is room; the ends are as round as they come."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    all_ticks = [float(f"{digit}e{exponent}") for exponent in exponents for digit in (1, 2, 5)]
    start = max(tick for tick in all_ticks if tick <= low * (1 + 1e-9))
    end = min((tick for tick in all_ticks if tick >= high * (1 - 1e-9)), default=high)
    within = [tick for tick in all_ticks if start <= tick <= end]
    decades = [tick for tick in within if f"{tick:e}"[0] == "1"]
    ticks = within if len(within) <= most + 2 or len(decades) < 2 else decades
    every = math.ceil(len(ticks) / (most + 2))
    return Axis(start, end, True, tuple(ticks[::every]))
