"""Joining: new scores at the head of a line, and the old ones below them."""

from __future__ import annotations

import numpy as np


def below(scores: np.ndarray, last: float) -> np.ndarray:
    """Scores [T] that do not rise, moved by a constant to stand strictly below `last`; float32.

    They stay as they are where they do already. Where one score was higher than the next it still is,
    and equal ones stay equal: rounding may cost a float32 its distance to the next one, so where it did,
    the later ones step down by the smallest amount there is.
    """
    scores = np.asarray(scores, np.float32)
    ceiling = np.nextafter(np.float32(last), np.float32(-np.inf))
    if not len(scores) or scores[0] <= ceiling:
        return scores
    falls = np.zeros(len(scores), np.int64)
    np.cumsum(scores[1:] < scores[:-1], out=falls[1:])
    shifted = (scores - (np.float64(scores[0]) - np.float64(ceiling))).astype(np.float32)
    steps = np.minimum(_steps(shifted), _steps(ceiling))  # the place of each among all float32 numbers
    return _floats(np.minimum.accumulate(steps + falls) - falls)


def _steps(values: np.ndarray | np.float32) -> np.ndarray:
    """How many float32 numbers a value stands above zero: consecutive floats give consecutive integers."""
    bits = np.atleast_1d(np.asarray(values, np.float32)).view(np.int32).astype(np.int64)
    return np.where(bits >= 0, bits, -(bits & 0x7FFFFFFF))


def _floats(steps: np.ndarray) -> np.ndarray:
    bits = np.where(steps >= 0, steps, -steps | 0x80000000)
    return bits.astype(np.uint32).view(np.float32)
