"""A map of attention laid over its photograph: what is looked at glows, the rest sinks into a dark violet."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from PIL import Image

# Dark violet, crimson, orange, pale yellow: lightness rises evenly from end to end (a test measures it), so the order
# can be read by the colour-blind and on grey paper.
_STOPS = (
    (21, 13, 46),
    (66, 22, 99),
    (127, 31, 113),
    (186, 54, 97),
    (228, 93, 61),
    (246, 144, 48),
    (251, 194, 96),
    (253, 241, 188),
)
FLAT = 0.05
"""A map whose extremes differ by less than this part of its average is the same everywhere."""

_SPAN = (0.5, 1.5)  # multiples of the average that the colours reach at least: a faint map stays faint

VIEWS = {
    "local": "how much each place counts in the local branch",
    "global": "how much attention each place is given over the whole image",
    "pooled": "how much of the descriptor comes from each place",
    "gate": "how strongly the gates act on each place",
}
"""The names of `DescriptorModel.look` in plain words."""

UNTRAINED = "UNTRAINED: the weights are random, so this shows the network before it has learned anything."


def colours(positions: np.ndarray) -> np.ndarray:
    """Positions [...] from 0 (least) to 1 (most) -> RGB [..., 3] in 0..1."""
    stops = np.array(_STOPS) / 255
    knots = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(positions, knots, channel) for channel in stops.T], -1)


class Heat:
    """A map of attention [h, w], not negative, in multiples of its average.

    low, high   the extremes, in multiples of the average
    flat        whether they differ by less than `FLAT`; a map of zeros is flat too
    """

    def __init__(self, view: np.ndarray) -> None:
        mean = view.mean(dtype=np.float64)
        self._gain = view / mean if mean > 0 else np.ones(view.shape)
        self.low, self.high = float(self._gain.min()), float(self._gain.max())
        self.flat = self.high - self.low < FLAT

    @property
    def words(self) -> str:
        """The extremes in words: '0.20x to 3.1x the average', or 'the same everywhere, to within 2 %'."""
        if self.flat:
            return f"the same everywhere, to within {max(1, math.ceil(100 * (self.high - self.low)))} %"
        return f"{times(self.low)} to {times(self.high)} the average"

    @property
    def average(self) -> float:
        """Where 1x lies between the extremes, from 0 to 1; ValueError when the map is flat."""
        if self.flat:
            raise ValueError("a flat map has no scale")
        return float((_step(1) - _step(self.low)) / (_step(self.high) - _step(self.low)))

    def scale(self, count: int) -> np.ndarray:
        """The colours that occur in the map, least first: [count, 3] in 0..1."""
        return colours(self._positions(np.linspace(_step(self.low), _step(self.high), count) ** 2))

    def over(self, pixels: np.ndarray) -> np.ndarray:
        """The map laid over its photograph, [H, W, 3] uint8 -> [H, W, 3] uint8; a flat one leaves a grey photograph.

        Cells are joined by a bicubic curve that is kept within their extremes.
        """
        photo = pixels / 255.0  # [H, W, 3]
        grey = photo @ (0.299, 0.587, 0.114)  # [H, W]
        if self.flat:
            return _bytes(np.repeat(grey[..., None], 3, -1))
        height, width = grey.shape
        cells = Image.fromarray(self._gain.astype(np.float32))
        smooth = np.asarray(cells.resize((width, height), Image.Resampling.BICUBIC))
        positions = self._positions(smooth.clip(self.low, self.high))
        more = positions[..., None]
        # Colour and light come back to the photograph where more attention is; the heat keeps its light and shade.
        dimmed = (0.65 + 0.35 * more) * (more * photo + (1 - more) * grey[..., None])
        heat = colours(positions) * (0.6 + 0.4 * grey[..., None])
        return _bytes(0.45 * dimmed + 0.55 * heat)

    def _positions(self, gain: np.ndarray) -> np.ndarray:
        """Multiples of the average -> positions on the colour scale, 0..1."""
        low, high = _step(min(self.low, _SPAN[0])), _step(max(self.high, _SPAN[1]))
        return (_step(gain) - low) / (high - low)


def times(gain: float) -> str:
    """A multiple of the average with two digits or three: '0.20x', '3.1x', '41x'; '0x' for next to nothing."""
    if gain < 0.005:
        return "0x"
    return f"{gain:.2f}x" if gain < 2 else f"{gain:.1f}x" if gain < 10 else f"{gain:.0f}x"


def _step(gain: Any) -> Any:
    """Even steps of colour are even steps of the square root: one place of 40x leaves something to see of the rest."""
    return np.sqrt(gain)


def _bytes(picture: np.ndarray) -> np.ndarray:
    return (picture.clip(0, 1) * 255).round().astype(np.uint8)
