"""The curves of a run as one picture: loss, learning rate and validation score over the steps."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from imgret import atomic
from imgret.training.axes import Axis, axis

CURVES = "curves.png"
_PAPER, _INK, _SOFT, _LINE, _FAINT = "#f6f5f2", "#1d1f23", "#666a72", "#dedbd3", "#dca794"
_CURVE, _BEST = "#a8321f", "#1f6f78"
_WIDTH, _MARGIN, _LEFT = 1200, 48, 104  # pixels; the curves begin `_LEFT` from the margin, right of the numbers
_HEAD, _TITLE, _FOOT = 24, 84, 60  # the caption, the room above each axis, the steps below the last
_FINE = 2  # drawn so many times larger, then reduced: Pillow's lines have no smooth edges
_SMOOTH = 40  # the smooth curve averages over one part in so many of the records

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class _Panel:
    """A curve and its words. `raw` is drawn faintly behind it; `best` is a point of it."""

    title: str
    words: str
    height: int  # of the axes, pixels
    points: Points
    scale: Axis
    raw: Points | None = None
    best: tuple[float, float] | None = None


def write_curves(path: Path, records: Sequence[Mapping[str, Any]], caption: str = "") -> None:
    """Draw the records of a journal (`journal.read`) as PNG, whole or not at all.

    The loss has a log scale where it falls far, with a smooth curve over what each step gave; the best of the
    validation scores is marked. `caption` is the line above: the run's folder, its model.
    """
    file = io.BytesIO()
    draw_curves(records, caption).save(file, "PNG")
    atomic.write_bytes(path, file.getvalue())


def draw_curves(records: Sequence[Mapping[str, Any]], caption: str = "") -> Image.Image:
    """The picture that `write_curves` writes, 1200 pixels wide."""
    panels = [panel for panel in (_loss(records), _rate(records), _score(records)) if panel is not None]
    steps = axis([0.0, *(record["step"] for record in records), 1.0], most=9)
    # The last record, not the next round number, ends the curves.
    last = max([record["step"] for record in records], default=1) or 1
    steps = Axis(0.0, last, False, tuple(tick for tick in steps.ticks if tick <= last))
    height = 2 * _MARGIN + _HEAD + sum(_TITLE + panel.height for panel in panels) + _FOOT
    sheet = Image.new("RGB", (_WIDTH * _FINE, height * _FINE), _PAPER)
    pen = _Pen(ImageDraw.Draw(sheet))
    pen.text((_MARGIN, _MARGIN - 8), caption or "training", 26, _INK)
    y = _MARGIN + _HEAD
    if not panels:
        pen.text((_MARGIN, y), "no records yet", 18, _SOFT)
    for panel in panels:
        y += _TITLE
        _draw_panel(pen, panel, (_MARGIN + _LEFT, y, _WIDTH - _MARGIN, y + panel.height), steps)
        y += panel.height
    if panels:
        _draw_steps(pen, steps, y, _epochs(records))
    return sheet.resize((_WIDTH, height), Image.Resampling.BOX)


def smoothed(values: Sequence[float], over: int) -> list[float]:
    """The mean of each value and its neighbours, `over` in all (rounded to odd), fewer near the ends.

    As many before it as behind it, so a falling curve is not drawn late.
    """
    sums = [0.0, *accumulate(values)]
    side, count = over // 2, len(values)
    ranges = ((max(0, at - side), min(count, at + side + 1)) for at in range(count))
    return [(sums[end] - sums[start]) / (end - start) for start, end in ranges]


def best_of(records: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The first record with the highest score, or None."""
    scored = [record for record in records if record.get("score") is not None]
    return max(scored, key=lambda record: record["score"], default=None)


def _loss(records: Sequence[Mapping[str, Any]]) -> _Panel | None:
    raw = _points(records, "loss")
    if not raw:
        return None
    values = smoothed([y for _, y in raw], len(raw) // _SMOOTH)
    points = [(x, y) for (x, _), y in zip(raw, values, strict=True)]
    scale = axis([y for _, y in raw], log=True)
    words = f"{values[-1]:.3g} in the end" + (", log scale" if scale.log else "")
    return _Panel("loss", words, 330, points, scale, raw)


def _rate(records: Sequence[Mapping[str, Any]]) -> _Panel | None:
    points = _points(records, "lr")
    if not points:
        return None
    rates = [y for _, y in points]
    return _Panel("learning rate", f"{max(rates):.3g} at most", 150, points, axis(rates, from_zero=True, most=4))


def _score(records: Sequence[Mapping[str, Any]]) -> _Panel | None:
    points = [(x, 100 * y) for x, y in _points(records, "score")]
    best = best_of(records)
    if best is None:
        return None
    place = (best["step"], 100 * best["score"])
    words = f"best {place[1]:.1f} after " + _count(best["epoch"], "epoch")
    return _Panel("validation score, %", words, 270, points, axis([y for _, y in points], most=5), best=place)


def _count(number: float, what: str) -> str:
    return f"{number:.3g} {what}" + ("" if number == 1 else "s")


def _points(records: Sequence[Mapping[str, Any]], key: str) -> Points:
    return [(record["step"], record[key]) for record in records if record.get(key) is not None]


def _epochs(records: Sequence[Mapping[str, Any]]) -> float:
    return max((record["epoch"] for record in records if record.get("epoch") is not None), default=0)


class _Pen:
    """ImageDraw in the picture's own pixels, on a sheet `_FINE` times larger."""

    def __init__(self, draw: ImageDraw.ImageDraw) -> None:
        self._draw = draw

    def text(self, at: tuple[float, float], text: str, size: int, colour: str, anchor: str = "la") -> float:
        """Write; the width that it took."""
        font = ImageFont.load_default(size * _FINE)
        self._draw.text((at[0] * _FINE, at[1] * _FINE), text, colour, font, anchor=anchor)
        return font.getlength(text) / _FINE

    def line(self, points: Points, colour: str, width: float = 1) -> None:
        """A line through all points; a single point is a dot."""
        if len(points) == 1:
            self.dot(points[0], colour, 2 * width)
        else:
            fine = [(x * _FINE, y * _FINE) for x, y in points]
            self._draw.line(fine, colour, round(width * _FINE), joint="curve")

    def dot(self, at: tuple[float, float], colour: str, radius: float) -> None:
        """A filled circle."""
        self._draw.circle((at[0] * _FINE, at[1] * _FINE), radius * _FINE, colour)


def _draw_panel(pen: _Pen, panel: _Panel, box: tuple[float, float, float, float], steps: Axis) -> None:
    """Title, grid, numbers and curve; `box` is where the axes are: left, top, right, bottom."""
    left, top, right, bottom = box
    taken = pen.text((_MARGIN, top - 46), panel.title, 22, _INK)
    pen.text((_MARGIN + taken + 16, top - 42), panel.words, 18, _SOFT if panel.best is None else _BEST)
    pen.line([(left, bottom), (right, bottom)], _SOFT)
    scale = panel.scale

    def placed(points: Points) -> Points:
        return [(left + steps.place(x) * (right - left), bottom - scale.place(y) * (bottom - top)) for x, y in points]

    for tick in scale.ticks:
        level = bottom - scale.place(tick) * (bottom - top)
        if level < bottom:
            pen.line([(left, level), (right, level)], _LINE)
        pen.text((left - 12, level), scale.label(tick), 17, _SOFT, anchor="rm")
    if panel.raw:
        pen.line(placed(panel.raw), _FAINT)
    curve = placed(panel.points)
    pen.line(curve, _CURVE, 2.5)
    if panel.best is not None:
        if len(curve) <= 60:
            for at in curve:
                pen.dot(at, _CURVE, 4)
        at = placed([panel.best])[0]
        pen.line([(at[0], at[1]), (at[0], bottom)], _BEST, 1.5)
        pen.dot(at, _BEST, 7)


def _draw_steps(pen: _Pen, steps: Axis, bottom: float, epochs: float) -> None:
    """The numbers below all panels, and what they count."""
    left, right = _MARGIN + _LEFT, _WIDTH - _MARGIN
    for tick in steps.ticks:
        at = left + steps.place(tick) * (right - left)
        pen.line([(at, bottom), (at, bottom + 6)], _SOFT)
        pen.text((at, bottom + 12), f"{tick:,.0f}", 17, _SOFT, anchor="ma")
    words = "step" + (f", {_count(epochs, 'epoch')} in all" if epochs else "")
    pen.text(((left + right) / 2, bottom + 40), words, 18, _SOFT, anchor="ma")
