"""A map of attention laid over its photograph: what is looked at glows, the rest sinks into a dark violet.

Light and colour are the map's alone. Of the photograph its fine detail is kept and a trace of its light, both weak
enough that a white sky is no brighter than a black roof that gets the same attention.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageFilter

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

# What the photograph adds to the light of the map, in parts of the range from black to white. Its fine detail averages
# to nothing over a cell, so it may be strong; its light and shade are compressed, for they would compete with the map.
_DETAIL, _SHADE = 0.5, 0.03
_FINE = 1 / 50  # of the longer side: what is finer is detail
_FLOOR, _RANGE = 0.1, 0.8  # where the colours lie between black and white, so that detail has room on both sides

_SPAN = (0.5, 1.5)  # multiples of the average that the colours reach at least: a faint map stays faint

VIEWS = {
    "local": "a local attention of this model",
    "global": "a global attention of this model",
    "pooled": "each place's share of the pooled vector",
    "gate": "how strongly the gates act on each place",
}
"""The names of `DescriptorModel.look` in words, for models that have none of their own."""

UNTRAINED = "UNTRAINED: the weights are random, so this shows the network before it has learned anything."

Axis = tuple[float, float]
"""(first centre, step) of the cells along one side, as parts of that side."""


class AnyLook(Protocol):
    """A Look of `imgret.extraction.looking`."""

    @property
    def id(self) -> str: ...
    @property
    def pixels(self) -> np.ndarray: ...
    @property
    def views(self) -> Mapping[str, np.ndarray]: ...
    @property
    def words(self) -> Mapping[str, str]: ...
    @property
    def places(self) -> Mapping[str, tuple[Axis, Axis]]: ...
    @property
    def seen(self) -> tuple[int, int]: ...


def view_words(look: AnyLook, view: str) -> str:
    """What a view is, in the model's own words if it has any."""
    return look.words.get(view) or VIEWS.get(view, "a view of this model's own")


def photograph_words(look: AnyLook) -> str:
    """'decoded to 500 x 333 pixels', and the size the model sees where the image is stretched for it."""
    height, width = look.pixels.shape[:2]
    stretched = "" if look.seen == (height, width) else f", stretched to {look.seen[1]} x {look.seen[0]} for the model"
    return f"decoded to {width} x {height} pixels{stretched}"


def colours(positions: np.ndarray) -> np.ndarray:
    """Positions [...] from 0 (least) to 1 (most) -> RGB [..., 3] in 0..1."""
    stops = _FLOOR + _RANGE * np.array(_STOPS) / 255
    knots = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(positions, knots, channel) for channel in stops.T], -1)


class Heat:
    """A map of attention [h, w], not negative, in multiples of its average.

    low, high   the extremes, in multiples of the average
    flat        whether they differ by less than `FLAT`; a map of zeros is flat too
    """

    def __init__(self, view: np.ndarray) -> None:
        mean = view.mean(dtype=np.float64)
        self._zero = not mean > 0
        self._gain = np.ones(view.shape) if self._zero else view / mean
        self.low, self.high = float(self._gain.min()), float(self._gain.max())
        self.flat = self.high - self.low < FLAT

    @property
    def words(self) -> str:
        """'0.20x to 3.1x the average', 'the same everywhere, to within 2 %' or that the map is zero."""
        if self._zero:
            return "zero everywhere: not at work yet"
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

    def over(self, pixels: np.ndarray, places: tuple[Axis, Axis] | None = None) -> np.ndarray:
        """The map laid over its photograph, [H, W, 3] uint8 -> [H, W, 3] uint8; a flat one leaves a grey photograph.

        `places` are those of the rows and of the columns of cells (None: they share the image evenly). Cells are
        joined by a bicubic curve that is kept within their extremes; the outermost reach as far as the edges.
        """
        grey = Image.fromarray(pixels).convert("L")
        if self.flat:
            return np.asarray(grey.convert("RGB"))
        blurred = grey.filter(ImageFilter.GaussianBlur(max(1.0, _FINE * max(grey.size))))
        coarse = np.asarray(blurred) / 255.0  # [H, W]
        detail = np.asarray(grey) / 255.0 - coarse
        light = _DETAIL * detail + _SHADE * (coarse - 0.5)
        smooth = _laid_out(self._gain, grey.size, places).clip(self.low, self.high)
        return _bytes(colours(self._positions(smooth)) + light[..., None])

    def _positions(self, gain: np.ndarray) -> np.ndarray:
        """Multiples of the average -> positions on the colour scale, 0..1."""
        low, high = _step(min(self.low, _SPAN[0])), _step(max(self.high, _SPAN[1]))
        return (_step(gain) - low) / (high - low)


def times(gain: float) -> str:
    """A multiple of the average with two digits or three: '0.20x', '3.1x', '41x'; '0x' for next to nothing."""
    if gain < 0.005:
        return "0x"
    return f"{gain:.2f}x" if gain < 2 else f"{gain:.1f}x" if gain < 10 else f"{gain:.0f}x"


def _laid_out(cells: np.ndarray, size: tuple[int, int], places: tuple[Axis, Axis] | None) -> np.ndarray:
    """Cells [h, w] drawn at a size (width, height), each centred at its place: [H, W] float32."""
    rows, columns = cells.shape
    (top, down), (left, across) = places or ((0.5 / rows, 1 / rows), (0.5 / columns, 1 / columns))
    # The edges of the image in cells, whose centres are at 0.5, 1.5, ...
    box = np.array([-left / across, -top / down, (1 - left) / across, (1 - top) / down]) + 0.5
    past = max(-box[0], -box[1], box[2] - columns, box[3] - rows, 0)
    margin = math.ceil(past) + 2  # the bicubic curve looks two cells around
    padded = Image.fromarray(np.pad(cells, margin, mode="edge").astype(np.float32))
    edges = (box + margin).tolist()
    return np.asarray(padded.resize(size, Image.Resampling.BICUBIC, box=(edges[0], edges[1], edges[2], edges[3])))


def _step(gain: Any) -> Any:
    """Even steps of colour are even steps of the square root: one place of 40x leaves something to see of the rest."""
    return np.sqrt(gain)


def _bytes(picture: np.ndarray) -> np.ndarray:
    return (picture.clip(0, 1) * 255).round().astype(np.uint8)
