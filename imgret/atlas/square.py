"""Square: positions moved and scaled into the unit square."""

from __future__ import annotations

import numpy as np

_OUTER = 0.5  # per cent of the positions on each side that do not decide how large the rest is drawn
_BEYOND = 0.25  # what is left free for them on each side, as a share of the extent of all others


def unit_square(positions: np.ndarray) -> np.ndarray:
    """[N, 2] float32 in [0, 1]: one scale for both axes, the middle of what there is at (0.5, 0.5).

    What lies so far out that the rest would be squeezed is drawn at the rim: the 0.5 per cent outermost on each side
    have a quarter of the extent of all others, where they need it. Positions that are all equal become (0.5, 0.5).
    """
    if not len(positions):
        return np.zeros((0, 2), np.float32)
    positions = np.asarray(positions, np.float64)
    low, high = np.percentile(positions, [_OUTER, 100 - _OUTER], axis=0)
    room = _BEYOND * (high - low).max()
    low, high = np.maximum(positions.min(0), low - room), np.minimum(positions.max(0), high + room)
    side = (high - low).max()
    if not side > 0:  # nearly all are equal: anything else is at the rim
        return (0.5 + 0.5 * np.sign(positions - low)).astype(np.float32)
    return np.clip((positions - (low + high) / 2) / side + 0.5, 0, 1).astype(np.float32)
