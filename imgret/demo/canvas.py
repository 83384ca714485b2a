"""A canvas to paint scenes on: Pillow for shapes, numpy for light and texture, one generator for chance.

Coordinates are pixels of the finished picture; everything is drawn `SCALE` times larger and reduced at
the end, which smooths the edges. Chance comes from the generator handed over and from nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFilter

SCALE = 2
Colour = tuple[int, int, int]
Points = Iterable[Sequence[float]]


def rgb(colour: str | Colour) -> Colour:
    """'#rrggbb' or a triple as a triple."""
    return ImageColor.getrgb(colour)[:3] if isinstance(colour, str) else colour


def tint(colour: str | Colour, factor: float) -> Colour:
    """A colour made darker (factor below 1) or brighter."""
    r, g, b = (min(255, max(0, round(channel * factor))) for channel in rgb(colour))
    return r, g, b


def mix(one: str | Colour, other: str | Colour, part: float) -> Colour:
    """`one` with `part` of `other` in it, 0..1."""
    r, g, b = (round(a + (z - a) * part) for a, z in zip(rgb(one), rgb(other), strict=True))
    return r, g, b


def noise(
    rng: np.random.Generator, shape: tuple[int, int], cell: float, octaves: int = 4, stretch: float = 1.0
) -> np.ndarray:
    """Smooth noise [H, W] float32, mean 0 and deviation 1.

    The coarsest features are `cell` pixels high and `cell * stretch` wide; each octave halves them.
    """
    height, width = shape
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        step = cell / 2**octave
        grid = (int(height / step) + 3, int(width / (step * stretch)) + 3)
        points = Image.fromarray(rng.standard_normal(grid, np.float32))
        total += np.asarray(points.resize((width, height), Image.Resampling.BICUBIC)) / 2**octave
    return (total - total.mean()) / (total.std() + 1e-6)


def ramp(shape: tuple[int, int], *stops: tuple[float, str]) -> np.ndarray:
    """A vertical gradient [H, W, 3] float32 in 0..255 through (height 0..1, colour) stops."""
    places = [place for place, _ in stops]
    colours = np.array([rgb(colour) for _, colour in stops], np.float32)
    at = np.linspace(0, 1, shape[0])
    column = np.stack([np.interp(at, places, colours[:, channel]) for channel in range(3)], axis=1)
    return np.broadcast_to(column[:, None].astype(np.float32), (*shape, 3))


class Canvas:
    """A picture of `width` x `height` finished pixels being painted."""

    def __init__(self, rng: np.random.Generator, width: int, height: int, ground: str = "#000000") -> None:
        self.rng = rng
        self.width, self.height = width, height
        self.shape = (height * SCALE, width * SCALE)
        self.image = Image.new("RGB", self.shape[::-1], ground)
        self.pen = ImageDraw.Draw(self.image)
        self.y = ((np.arange(self.shape[0], dtype=np.float32) + 0.5) / SCALE)[:, None]  # [H, 1]
        self.x = ((np.arange(self.shape[1], dtype=np.float32) + 0.5) / SCALE)[None]  # [1, W]

    # shapes

    def polygon(self, points: Points, colour: str | Colour) -> None:
        self.pen.polygon([(x * SCALE, y * SCALE) for x, y in points], fill=colour)

    def rect(self, x: float, y: float, w: float, h: float, colour: str | Colour, radius: float = 0) -> None:
        corners = (x * SCALE, y * SCALE, (x + w) * SCALE - 1, (y + h) * SCALE - 1)
        self.pen.rounded_rectangle(corners, radius * SCALE, fill=colour)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: str | Colour) -> None:
        self.pen.ellipse([(x - rx) * SCALE, (y - ry) * SCALE, (x + rx) * SCALE, (y + ry) * SCALE], fill=colour)

    def line(self, points: Points, width: float, colour: str | Colour) -> None:
        path = [(x * SCALE, y * SCALE) for x, y in points]
        self.pen.line(path, fill=colour, width=max(1, round(width * SCALE)), joint="curve")

    def ring(self, x: float, y: float, radius: float, width: float, colour: str | Colour) -> None:
        box = [(x - radius) * SCALE, (y - radius) * SCALE, (x + radius) * SCALE, (y + radius) * SCALE]
        self.pen.ellipse(box, outline=colour, width=max(1, round(width * SCALE)))

    def ball(self, x: float, y: float, radius: float, colour: str | Colour) -> None:
        """A round thing lit from the upper left."""
        for step in np.linspace(0, 1, 9):
            shade = tint(colour, 0.55 + 0.65 * float(step))
            off = radius * 0.32 * step
            self.ellipse(x - off, y - off, radius * (1 - 0.86 * step), radius * (1 - 0.86 * step), shade)
        self.ellipse(x - radius * 0.38, y - radius * 0.4, radius * 0.13, radius * 0.1, mix(colour, "#ffffff", 0.75))

    # areas

    def stencil(self) -> Canvas:
        """An empty canvas of the same size, to draw an area on in white."""
        made = Canvas.__new__(Canvas)
        made.rng, made.width, made.height, made.shape = self.rng, self.width, self.height, self.shape
        made.x, made.y = self.x, self.y
        made.image = Image.new("L", self.shape[::-1], 0)
        made.pen = ImageDraw.Draw(made.image)
        return made

    def fill(self, paint: np.ndarray | str | Colour, area: Canvas | np.ndarray) -> None:
        """Lay paint ([H, W, 3] in 0..255 or a colour) through an area: a stencil, or [H, W] in 0..1."""
        if isinstance(area, Canvas):
            mask = area.image
        else:
            mask = Image.fromarray((np.broadcast_to(area, self.shape).clip(0, 1) * 255).astype(np.uint8))
        box = mask.getbbox()
        if box is None:
            return
        if isinstance(paint, np.ndarray):
            part = np.broadcast_to(paint, (*self.shape, 3))[box[1] : box[3], box[0] : box[2]]
            layer = Image.fromarray(part.clip(0, 255).astype(np.uint8))
            self.image.paste(layer, box[:2], mask.crop(box))
        else:
            self.image.paste(rgb(paint), box, mask.crop(box))

    def light(self, gain: np.ndarray, area: Canvas | None = None) -> None:
        """Multiply the picture, or an area of it, by a gain [H, W] around 1."""
        box = area.image.getbbox() if area is not None else (0, 0, *self.image.size)
        if box is None:
            return
        rows, columns = slice(box[1], box[3]), slice(box[0], box[2])
        part = np.asarray(self.image.crop(box), np.float32)
        lit = part * np.broadcast_to(gain, self.shape)[rows, columns, None]
        layer = Image.fromarray(lit.clip(0, 255).astype(np.uint8))
        self.image.paste(layer, box[:2], area.image.crop(box) if area is not None else None)

    def grain(self, cell: float, amount: float, area: Canvas | None = None, stretch: float = 1.0) -> None:
        """Roughen the light by noise of `cell` pixels."""
        self.light(1 + amount * noise(self.rng, self.shape, cell * SCALE, 4, stretch), area)

    def glow(self, x: float, y: float, radius: float, colour: str, strength: float = 1.0) -> None:
        """Add a soft round light."""
        distance = ((self.x - x) ** 2 + (self.y - y) ** 2) / radius**2
        falloff = (strength * np.exp(-2.5 * distance))[..., None]
        lit = np.asarray(self.image, np.float32)
        added = (255 - lit) * falloff * (np.array(rgb(colour), np.float32) / 255)
        self.image.paste(Image.fromarray((lit + added).clip(0, 255).astype(np.uint8)))

    def shadow(self, area: Canvas, dx: float, dy: float, blur: float, strength: float) -> None:
        """Darken what lies under an area that is about to be painted."""
        cast = Image.new("L", self.image.size, 0)
        cast.paste(area.image, (round(dx * SCALE), round(dy * SCALE)))
        cast = cast.resize((self.width, self.height)).filter(ImageFilter.GaussianBlur(blur))
        dark = cast.resize(self.image.size).point([round(level * strength) for level in range(256)])
        self.image.paste((0, 0, 0), (0, 0), dark)

    # the finished picture

    def finish(self, outline: Canvas | None = None) -> Image.Image:
        """The picture [height, width], RGB, or RGBA cut out along an outline."""
        picture = self.image.reduce(SCALE)
        if outline is not None:
            picture.putalpha(outline.image.reduce(SCALE))
        return picture
