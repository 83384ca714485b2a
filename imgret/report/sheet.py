"""The sheet of `imgret attend`: a photograph and one panel per view, as one PNG picture."""

from __future__ import annotations

import io
import math
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from imgret import atomic
from imgret.ids import escape
from imgret.report.overlay import UNTRAINED, AnyLook, Heat, photograph_words, times, view_words

_PAPER, _INK, _SOFT, _LINE, _WARNING = "#f6f5f2", "#1d1f23", "#666a72", "#c9c5bb", "#a8321f"
_MARGIN, _GAP = 48, 36  # around the sheet, between panels; pixels
_AREA = 640 * 480  # of a panel, whatever its shape
_NARROWEST, _WIDEST, _TALLEST = 300, 1100, 900  # a panel's sides: words need some width
_BAR = 12
_SHAPE = 1.5  # width by height that a sheet comes near to


@dataclass(frozen=True)
class _Panel:
    """A picture with its words; `heat` has the scale drawn below it."""

    picture: np.ndarray
    title: str
    words: str
    heat: Heat | None = None


def write_sheet(path: str | Path, look: AnyLook, *, caption: str = "", untrained: bool = False) -> None:
    """Write a photograph and its maps of attention side by side as PNG, whole or not at all.

    look       a Look: its id is escaped (`imgret.ids.escape`), and shortened in the middle when it is long
    caption    the line below the name, such as the model
    untrained  says in plain words that the weights are random

    The letters are those of Pillow's own font: it has no accents and no scripts but Latin.
    """
    file = io.BytesIO()
    draw_sheet(look, caption, untrained).save(file, "PNG")
    atomic.write_bytes(Path(path), file.getvalue())


def draw_sheet(look: AnyLook, caption: str = "", untrained: bool = False) -> Image.Image:
    """The picture that `write_sheet` writes."""
    size = _panel_size(look.pixels.shape[1], look.pixels.shape[0])
    photograph = _Panel(_sized(look.pixels, size), "photograph", photograph_words(look))
    shown = [photograph]
    for view, values in look.views.items():
        heat = Heat(values)
        # laid over the enlarged photograph, so that a small one has a smooth map as well
        picture = heat.over(photograph.picture, look.places.get(view))
        shown.append(_Panel(picture, view, view_words(look, view), heat))
    wide = max(size[0], _NARROWEST)
    lines = max(len(_wrapped(panel.words, _font(18), wide)) for panel in shown)
    words, scale = 50 + 24 * lines, 20 + _BAR + 30  # heights below a picture, pixels
    columns = _columns(len(shown), (wide, size[1] + words + scale))
    rows = [shown[first : first + columns] for first in range(0, len(shown), columns)]
    heights = [size[1] + words + scale * any(panel.heat for panel in row) for row in rows]
    across = columns * wide + (columns - 1) * _GAP
    warning = _wrapped(UNTRAINED, _font(20), across) if untrained else []
    y = _MARGIN + 72 + (34 if caption else 0) + 30 * len(warning)
    down = y + sum(heights) + (len(rows) - 1) * _GAP + _MARGIN - 16  # the last line of words has air of its own
    sheet = Image.new("RGB", (across + 2 * _MARGIN, down), _PAPER)
    draw = ImageDraw.Draw(sheet)
    _head(draw, look.id, caption, warning, across)
    for row, height in zip(rows, heights, strict=True):
        for number, panel in enumerate(row):
            _draw_panel(sheet, draw, panel, (_MARGIN + number * (wide + _GAP), y), wide, words)
        y += height + _GAP
    return sheet


def shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    """The text, its middle left out where it is wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    kept = len(text)
    while kept > 2 and font.getlength(text[: (kept + 1) // 2] + "…" + text[-(kept // 2) :]) > width:
        kept -= 1
    return text[: (kept + 1) // 2] + "…" + text[-(kept // 2) :]


def _panel_size(width: int, height: int) -> tuple[int, int]:
    """The size a photograph is shown at: the same area for every shape, unless that is too wide or too tall."""
    factor = min(math.sqrt(_AREA / (width * height)), _WIDEST / width, _TALLEST / height)
    return max(1, round(width * factor)), max(1, round(height * factor))


def _columns(count: int, cell: tuple[int, int]) -> int:
    """How many panels go side by side: the shape nearest to `_SHAPE`, an empty place counting against it."""

    def badness(columns: int) -> float:
        rows = math.ceil(count / columns)
        shape = columns * cell[0] / (rows * cell[1])
        return abs(math.log(shape / _SHAPE)) + columns * rows - count

    return min(range(1, count + 1), key=badness)


def _head(draw: ImageDraw.ImageDraw, name: str, caption: str, warning: list[str], across: int) -> None:
    """The name, the caption and the warning, from the top margin down."""
    y = _MARGIN - 8
    draw.text((_MARGIN, y), shortened(drawable(name), _font(34), across), _INK, _font(34))
    y += 48
    if caption:
        draw.text((_MARGIN, y), shortened(drawable(caption), _font(20), across), _SOFT, _font(20))
        y += 34
    for line in warning:
        draw.text((_MARGIN, y), line, _WARNING, _font(20))
        y += 30


def _draw_panel(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, panel: _Panel, corner: tuple[int, int], width: int, words: int
) -> None:
    """A picture with its title, words (`words` pixels high, so that the scales of a row are level) and scale."""
    x, y = corner
    picture = Image.fromarray(panel.picture)
    sheet.paste(picture, corner, _rounded(picture.size))
    y += picture.height + 12
    draw.text((x, y), shortened(panel.title, _font(25), width), _INK, _font(25))
    y += 38
    for line in _wrapped(panel.words, _font(18), width):
        draw.text((x, y), line, _SOFT, _font(18))
        y += 24
    if panel.heat is not None:
        _draw_scale(sheet, draw, panel.heat, (x, corner[1] + picture.height + words + 16), width)


def _draw_scale(sheet: Image.Image, draw: ImageDraw.ImageDraw, heat: Heat, corner: tuple[int, int], width: int) -> None:
    """The colours of a map with its extremes and its average in numbers; for a flat map, words."""
    x, y = corner
    small = _font(17)
    if heat.flat:
        draw.text((x, y - 4), heat.words, _INK, _font(18))
        return
    colours = (heat.scale(width) * 255).round().astype(np.uint8)
    bar = Image.fromarray(np.repeat(colours[None], _BAR, 0))  # [_BAR, width, 3]
    sheet.paste(bar, corner, _rounded(bar.size, _BAR // 2))
    least, most = times(heat.low), f"{times(heat.high)} the average"
    below = y + _BAR + 6
    draw.text((x, below), least, _INK, small)
    draw.text((x + width, below), most, _INK, small, anchor="ra")
    middle = x + heat.average * width
    draw.line((middle, y - 3, middle, y + _BAR + 3), _INK, 2)
    half = small.getlength("1x") / 2 + 10
    if x + small.getlength(least) < middle - half and middle + half < x + width - small.getlength(most):
        draw.text((middle, below), "1x", _INK, small, anchor="ma")


def _sized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def _rounded(size: tuple[int, int], radius: int = 8) -> Image.Image:
    """A mask with rounded corners, drawn at four times the size so that they are smooth."""
    mask = Image.new("L", (4 * size[0], 4 * size[1]))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, mask.width - 1, mask.height - 1), 4 * radius, fill=255)
    return mask.resize(size, Image.Resampling.BOX)


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> list[str]:
    """The words of a text in lines no wider than `width` pixels."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def drawable(name: str) -> str:
    """A name as Pillow's own font can draw it: escaped, without accents, for the font has none."""
    return "".join(sign for sign in unicodedata.normalize("NFKD", escape(name)) if not unicodedata.combining(sign))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
