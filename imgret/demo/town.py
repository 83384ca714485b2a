"""Scenes in town: a tiled facade and a market stall."""

from __future__ import annotations

import numpy as np
from PIL import Image

from imgret.demo.canvas import SCALE, Canvas, Colour, mix, noise, ramp, tint


def _tile(size: int) -> Image.Image:
    """One glazed tile: a blue rosette whose corners meet those of its neighbours; `size` pixels a side."""
    y, x = (np.mgrid[0 : size * 4, 0 : size * 4] + 0.5) / (size * 2) - 1
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    corner = np.hypot(np.abs(x) - 1, np.abs(y) - 1)
    blue = radius < 0.42 + 0.2 * np.cos(4 * angle)
    blue ^= radius < 0.2
    blue |= (np.abs(corner - 0.52) < 0.06) | (corner < 0.26)
    ochre = (
        (radius < 0.12) | (np.abs(corner - 0.36) < 0.035) | ((np.abs(np.abs(x) - np.abs(y)) < 0.05) & (radius > 0.66))
    )
    paint = np.where(blue[..., None], (38, 82, 156), (238, 240, 236))
    paint = np.where(ochre[..., None], (222, 164, 62), paint)
    paint = np.where((np.maximum(np.abs(x), np.abs(y)) > 0.965)[..., None], (168, 172, 176), paint)
    return Image.fromarray(paint.astype(np.uint8)).resize((size, size), Image.Resampling.BOX)


def facade(rng: np.random.Generator) -> Image.Image:
    """A house front in blue tiles, with shutters, balconies and flowers."""
    canvas = Canvas(rng, 800, 640, "#dcdcd8")
    step = 40
    tile = _tile(step * SCALE)
    for x in range(0, 800, step):
        for y in range(0, 640, step):
            glaze = rng.uniform(0.86, 1.04)
            fired = tile.point([min(255, round(level * glaze)) for level in range(256)] * 3)
            canvas.image.paste(fired, (x * SCALE, y * SCALE))
    canvas.grain(140, 0.05)
    canvas.rect(0, 0, 800, 44, "#d8ccb4")
    for x in range(0, 800, 32):
        canvas.rect(x + 5, 16, 20, 28, "#b7a98c", 3)
        canvas.rect(x + 7, 14, 16, 22, "#e9dfc9", 3)
    canvas.rect(0, 0, 800, 14, "#c98a5c")
    for x in range(0, 800, 20):
        canvas.ellipse(x + 10, 10, 9, 9, tint("#b4603c", rng.uniform(0.85, 1.15)))
    shade = canvas.stencil()
    shade.rect(0, 44, 800, 90, "white")
    canvas.light(0.55 + 0.45 * np.clip((canvas.y - 44) / 80, 0, 1) ** 0.7, shade)
    for row, y in enumerate((96, 372)):
        for column, x in enumerate((95, 345, 595)):
            _window(canvas, x, y, ("#2f7a5a", "#b5493a")[row], lit=(row, column) == (1, 2))
    canvas.rect(0, 330, 800, 12, "#e2d7c1")
    canvas.rect(0, 342, 800, 4, "#9c8f78")
    light = 1.06 - 0.16 * canvas.x / 800 + 0 * canvas.y
    canvas.light(light)
    canvas.grain(2.5, 0.025)
    return canvas.finish()


def _window(canvas: Canvas, x: float, y: float, colour: str, lit: bool) -> None:
    """A window 110 x 170 with its stone frame, shutters and a balcony."""
    rng = canvas.rng
    stone = canvas.stencil()
    stone.rect(x - 14, y - 16, 138, 198, "white")
    canvas.shadow(stone, 5, 7, 6, 0.45)
    canvas.fill("#e6dcc8", stone)
    canvas.grain(4, 0.05, stone)
    canvas.rect(x - 20, y - 24, 150, 12, "#f0e8d8")
    glass = canvas.stencil()
    glass.rect(x, y, 110, 170, "white")
    sky = ramp(canvas.shape, (0, "#24323e"), (1, "#6d8594"))
    slant = np.clip(np.sin((canvas.x + canvas.y * 0.6 - x) / 26), 0.55, 1)[..., None]
    canvas.fill(
        np.broadcast_to(np.array([255, 214, 130], np.float32), sky.shape) * slant if lit else sky * slant * 1.2,
        glass,
    )
    curtain = ("#e9e2d2", "#d8c6c0")[int(rng.integers(2))]
    for n in range(6):
        for side in (1, -1):
            px = x + (3 + 5 * n if side == 1 else 107 - 5 * n)
            canvas.polygon(
                [
                    (px - 2.6, y),
                    (px + 2.6, y),
                    (px + 2.6 - side * n * 0.5, y + 168),
                    (px - 2.6 - side * n * 0.5, y + 168),
                ],
                tint(curtain, 0.78 + 0.2 * (n % 2)),
            )
    for offset in (0, 52, 104):
        canvas.rect(x + offset, y, 6, 170, "#f7f3ea")
    for offset in (0, 54, 110, 164):
        canvas.rect(x, y + offset, 110, 6, "#f7f3ea")
    for edge in (x - 58, x + 112):
        leaf = canvas.stencil()
        leaf.rect(edge, y, 56, 170, "white")
        canvas.shadow(leaf, 5, 5, 4, 0.4)
        canvas.fill(colour, leaf)
        for part in (y + 7, y + 90):
            canvas.rect(edge + 7, part, 42, 73, tint(colour, 0.66))
            for slat in np.arange(part + 2, part + 70, 7):
                canvas.rect(edge + 8, slat, 40, 4.4, tint(colour, rng.uniform(1.0, 1.2)))
    base = y + 170
    for n in range(9):
        px, size = x - 10 + n * 16 + rng.normal(0, 2), rng.uniform(8, 13)
        canvas.ellipse(px, base - 8, size, size * 0.8, tint("#3f6f35", rng.uniform(0.7, 1.2)))
        for _ in range(6):
            bloom = ("#e2395a", "#f28aa8", "#f6c445")[int(rng.integers(3))]
            canvas.ellipse(px + rng.normal(0, 7), base - 13 + rng.normal(0, 5), 2.6, 2.6, bloom)
    canvas.rect(x - 30, base + 2, 170, 10, "#d6cbb6")
    canvas.rect(x - 30, base - 34, 170, 4, "#1d2024")
    for bar in np.arange(x - 28, x + 140, 12):
        canvas.line([(bar, base - 32), (bar, base + 4)], 2, "#1d2024")
        canvas.ring(bar + 6, base - 16, 5, 1.4, "#1d2024")


FRUIT = [
    ("#f08a1c", 14),
    ("#7fae2e", 12),
    ("#c8281f", 14),
    ("#f4d03a", 13),
    ("#5a2560", 15),
    ("#b5d35a", 11),
    ("#e25a4a", 12),
    ("#8c1f3a", 9),
]


def market(rng: np.random.Generator) -> Image.Image:
    """A market stall: a striped awning over crates of fruit."""
    canvas = Canvas(rng, 800, 600, "#3a2a20")
    for x in range(0, 800, 40):
        canvas.rect(x, 0, 38, 600, tint("#4c3527", rng.uniform(0.8, 1.2)))
    canvas.grain(50, 0.16, stretch=0.12)
    canvas.glow(400, 230, 360, "#ffc878", 0.4)
    for row, y in enumerate((250, 372, 492)):
        _shelf(canvas, row, y)
    for x in (24, 776):
        canvas.rect(x - 9, 60, 18, 540, "#6b4a30")
        canvas.rect(x - 9, 60, 5, 540, "#8a6242")
    for x in (140, 310, 490, 660):
        canvas.line([(x, 120), (x, 176)], 1.6, "#15110e")
        canvas.polygon([(x - 20, 190), (x - 7, 172), (x + 7, 172), (x + 20, 190)], "#25423a")
        canvas.ellipse(x, 192, 9, 9, "#fff2c8")
        canvas.glow(x, 194, 62, "#ffd890", 0.6)
    _awning(canvas)
    canvas.grain(2.5, 0.03)
    return canvas.finish()


def _awning(canvas: Canvas) -> None:
    cloth = canvas.stencil()
    cloth.polygon([(30, 0), (770, 0), (800, 118), (0, 118)], "white")
    count, width = 16, 800 / 16
    for n in range(count):
        cloth.ellipse((n + 0.5) * width, 118, width / 2, 26, "white")
    canvas.shadow(cloth, 0, 24, 16, 0.6)
    centre = 400 + (canvas.x - 400) * (800 / (740 + 60 * np.clip(canvas.y / 118, 0, 1)))
    stripe = (np.floor(centre / width) % 2 == 0)[..., None]
    paint = np.where(stripe, (202, 52, 46), (248, 240, 224)).astype(np.float32)
    fold = (
        1
        + 0.12 * np.sin(centre / width * 2 * np.pi - 0.6)
        - 0.22 * np.clip((canvas.y - 112) / 30, 0, 1)
        + 0.1 * np.clip(1 - canvas.y / 100, 0, 1)
    )
    canvas.fill(paint * fold[..., None], cloth)
    canvas.light(0.98 + 0.05 * noise(canvas.rng, canvas.shape, 3 * SCALE, 2), cloth)
    canvas.rect(0, 112, 800, 3, mix("#ca342e", "#000000", 0.4))


def _shelf(canvas: Canvas, row: int, y: float) -> None:
    """Four crates in a row, their upper edge at height y."""
    rng = canvas.rng
    for column in range(4):
        colour, size = FRUIT[(row * 3 + column) % len(FRUIT)]
        x = 42 + column * 182
        for line in range(5):
            for n in range(int(158 / (size * 1.75))):
                px = x + 12 + (n + 0.5 * (line % 2)) * size * 1.75 + rng.normal(0, 1.4)
                _fruit(
                    canvas,
                    px,
                    y - 38 + line * size * 0.85 + rng.normal(0, 1.6),
                    size,
                    tint(colour, rng.uniform(0.84, 1.12)),
                )
        crate = canvas.stencil()
        for slat in range(3):
            crate.rect(x - 4, y + 12 + slat * 25, 174, 21, "white")
        canvas.fill("#c79a62", crate)
        canvas.light(1 + 0.14 * noise(rng, canvas.shape, 5 * SCALE, 4, stretch=14) - 0.1 * ((canvas.y - y) / 60), crate)
        for post in (x - 4, x + 156):
            canvas.rect(post, y + 6, 14, 82, "#a87c48")
            for slat in range(3):
                canvas.ellipse(post + 7, y + 22 + slat * 25, 1.8, 1.8, "#4a3420")
        if (row + column) % 2 == 0:
            canvas.rect(x + 52, y + 24, 60, 36, "#20312b", 3)
            canvas.rect(x + 55, y + 27, 54, 30, "#2e463d", 2)
            for stroke, w in ((34, 34), (43, 40), (51, 22)):
                canvas.line(
                    [
                        (x + 62, y + stroke),
                        (x + 62 + w * rng.uniform(0.7, 1), y + stroke + rng.normal(0, 0.8)),
                    ],
                    2,
                    "#e9efe4",
                )


def _fruit(canvas: Canvas, x: float, y: float, size: float, colour: Colour) -> None:
    canvas.ellipse(x + 1, y + 1.6, size, size, tint(colour, 0.35))
    canvas.ball(x, y, size * 0.97, colour)
    canvas.ellipse(x + size * 0.2, y - size * 0.62, 1.5, 1.2, "#3c4a1e")
