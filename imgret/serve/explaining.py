"""Explaining: why two images match, as pictures of where the score comes from and of where the model looked."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from imgret.extraction.attribution import Attribution, NoAttribution, between, spread
from imgret.report.overlay import VIEWS, Heat, times
from imgret.serve.decode_worker import QUALITY
from imgret.serve.views import APART, TOGETHER

if TYPE_CHECKING:
    from imgret.extraction.attribution import Whitens
    from imgret.extraction.describe import Describer

_SIDE = 640  # pixels, at least: small pictures are enlarged, for the maps are drawn on them


@dataclass(frozen=True)
class Cell:
    """A cell on its picture, in percent of its sides, and what it brings, in words."""

    left: float
    top: float
    width: float
    height: float
    words: str


@dataclass(frozen=True)
class View:
    """A map over a picture: `jpeg`, its `words`, the colours from least to most and their ends."""

    name: str
    words: str
    jpeg: bytes
    colours: list[str]
    low: str
    high: str
    cells: list[Cell] = field(default_factory=list)


@dataclass(frozen=True)
class Side:
    """One of the two images: its maps, and sums of what its cells bring to the score."""

    views: dict[str, View]
    together: float = 0.0
    apart: float = 0.0
    rest: float = 0.0
    half: int = 0
    places: int = 0


@dataclass(frozen=True)
class Explained:
    """Why a query and a hit match. `reason` says why the score is not shared out, "" where it is."""

    score: float | None
    reason: str
    query: Side
    hit: Side


def explain(describer: Describer, query: np.ndarray, hit: np.ndarray, whitening: Whitens | None) -> Explained:
    """Share out the cosine of two images, each [H, W, 3] uint8 RGB as the model is given them."""
    looks = [describer.look(pixels) for pixels in (query, hit)]
    found = between(describer, query, hit, whitening)
    shares: list[Attribution | None] = [None, None]
    if not isinstance(found, NoAttribution):
        shares = [found.query, found.hit]
    sides = []
    for pixels, views, share in zip((query, hit), looks, shares, strict=True):
        large = _large(pixels)
        drawn = {} if share is None else _shares(large, share)
        for name, (values, places) in views.items():
            drawn[name] = _view(large, name, values, places, describer.view_words().get(name) or VIEWS.get(name, name))
        sides.append(Side(drawn) if share is None else _side(drawn, share))
    if isinstance(found, NoAttribution):
        return Explained(None, found.reason, *sides)
    return Explained(found.query.score, "", *sides)


def _side(views: dict[str, View], share: Attribution) -> Side:
    """With the sums; `half` is the fewest cells that bring half of what draws the two together."""
    together, apart = spread(share)
    descending = np.cumsum(-np.sort(-together, axis=None))
    half = int(np.searchsorted(descending, descending[-1] / 2)) + 1 if descending[-1] > 0 else 0
    return Side(views, float(together.sum()), float(apart.sum()), share.rest, half, together.size)


def _shares(pixels: np.ndarray, share: Attribution) -> dict[str, View]:
    together, apart = spread(share)
    cells = _cells(share)
    words = "the places that bring the score: each is told when it is pointed at"
    found = {TOGETHER: _view(pixels, TOGETHER, together, share.places, words, cells)}
    if apart.sum() > 0.02 * max(together.sum(), 1e-9):
        found[APART] = _view(pixels, APART, apart, share.places, "the places that draw the two apart", cells)
    return found


def _cells(share: Attribution) -> list[Cell]:
    (top, down), (left, across) = share.places
    rows, columns = share.cells.shape
    found = []
    for row in range(rows):
        for column in range(columns):
            value = float(share.cells[row, column])
            part = f", {100 * value / share.score:.1f} % of the score" if share.score > 0.01 else ""
            found.append(
                Cell(
                    100 * (left + (column - 0.5) * across),
                    100 * (top + (row - 0.5) * down),
                    100 * across,
                    100 * down,
                    f"{value:+.4f}{part}",
                )
            )
    return found


def _view(
    pixels: np.ndarray, name: str, values: np.ndarray, places: object, words: str, cells: list[Cell] | None = None
) -> View:
    heat = Heat(values)
    colours = [] if heat.flat else [f"rgb({r},{g},{b})" for r, g, b in (heat.scale(8) * 255).round().astype(int)]
    low, high = (heat.words, "") if heat.flat else (times(heat.low), times(heat.high))
    jpeg = _jpeg(heat.over(pixels, places))  # type: ignore[arg-type]
    return View(name, words, jpeg, colours, low, high, cells or [])


def _large(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    factor = _SIDE / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def _jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY, optimize=True)
    return file.getvalue()
