"""Handiwork: a patchwork quilt and a mosaic floor. Cut out, to be laid on any ground."""

from __future__ import annotations

import numpy as np
from PIL import Image

from imgret.demo.canvas import SCALE, Canvas, noise, rgb

FABRICS = [
    "#b23a48",
    "#fcb97d",
    "#edd892",
    "#2e5e6e",
    "#7ea88b",
    "#4b3b63",
    "#d98a9a",
    "#e8e0cf",
    "#34506b",
    "#a65e2e",
]


def _cloth(canvas: Canvas) -> list[np.ndarray]:
    """Printed fabrics [H, W, 3]: dots, stripes, checks and sprigs."""
    x, y = canvas.x, canvas.y
    dx, dy = (x + 6 * np.floor(y / 11)) % 14 - 7, y % 11 - 5.5
    prints = [
        np.hypot(x % 9 - 4.5, y % 9 - 4.5) < 1.9,
        (x + 0 * y) % 7 < 2.2,
        (x % 12 < 6) ^ (y % 12 < 6),
        (x + y) % 9 < 2.4,
        np.hypot(dx, dy) < 2.6 + 1.4 * np.cos(4 * np.arctan2(dy, dx)),
    ]
    cloths = []
    for number, colour in enumerate(FABRICS):
        base = np.array(rgb(colour), np.float32)
        ink = 255 - (255 - base) * 0.45 if base.mean() < 150 else base * 0.72
        cloths.append(np.where(prints[number % len(prints)][..., None], ink, base).astype(np.float32))
    return cloths


def quilt(rng: np.random.Generator) -> Image.Image:
    """A patchwork quilt of pinwheels, log cabins, stars and squares."""
    canvas = Canvas(rng, 660, 560, "#2e3f55")
    cloths = _cloth(canvas)
    areas = [canvas.stencil() for _ in cloths]
    border, size = 30, 100
    areas[8].rect(0, 0, 660, 560, "white")
    for row in range(5):
        for column in range(6):
            first, second, third = (int(n) for n in rng.choice(len(cloths), 3, replace=False))
            x, y = border + column * size, border + row * size
            _block(areas, (row + column) % 4, x, y, size, first, second, third)
    for cloth, area in zip(cloths, areas, strict=True):
        canvas.fill(cloth, area)
    inner_x, inner_y = (canvas.x - border) / 50, (canvas.y - border) / 50
    puff = np.abs(np.sin(np.pi * inner_x)) * np.abs(np.sin(np.pi * inner_y))
    slope = np.cos(np.pi * inner_x) * np.sign(np.sin(np.pi * inner_x)) + np.cos(np.pi * inner_y) * np.sign(
        np.sin(np.pi * inner_y)
    )
    wrinkle = noise(rng, canvas.shape, 34 * SCALE, 5)
    canvas.light(0.72 + 0.3 * puff**0.35 + 0.06 * slope + 0.05 * wrinkle)
    for offset in (7, 23):
        _stitches(canvas, offset)
    for column in range(7):
        canvas.line([(border + column * size, border), (border + column * size, 530)], 1, "#1c2430")
    for row in range(6):
        canvas.line([(border, border + row * size), (630, border + row * size)], 1, "#1c2430")
    canvas.grain(1.6, 0.06)
    outline = canvas.stencil()
    outline.rect(1, 1, 658, 558, "white", 12)
    return canvas.finish(outline)


def _stitches(canvas: Canvas, offset: float) -> None:
    for x in np.arange(offset, 660 - offset, 9):
        for y in (offset, 560 - offset):
            canvas.line([(x, y), (x + 5, y)], 1.4, "#e8e0cf")
    for y in np.arange(offset, 560 - offset, 9):
        for x in (offset, 660 - offset):
            canvas.line([(x, y), (x, y + 5)], 1.4, "#e8e0cf")


def _block(areas: list[Canvas], kind: int, x: float, y: float, size: float, a: int, b: int, c: int) -> None:
    """One block of the quilt: where fabrics a, b and c lie. What is laid later hides what is below."""

    def lay(fabric: int, points: list[tuple[float, float]]) -> None:
        spots = [(x + px * size, y + py * size) for px, py in points]
        for number, area in enumerate(areas):
            area.polygon(spots, "white" if number == fabric else "black")

    square = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
    lay(a, square)
    turned = [
        lambda p, q: (p, q),
        lambda p, q: (1 - q, p),
        lambda p, q: (1 - p, 1 - q),
        lambda p, q: (q, 1 - p),
    ]
    if kind == 0:  # pinwheel
        for turn in turned:
            lay(b, [turn(0, 0), turn(0.5, 0), turn(0.5, 0.5)])
            lay(c, [turn(0.25, 0), turn(0.5, 0), turn(0.5, 0.25)])
    elif kind == 1:  # log cabin
        for ring, width in enumerate((0.0, 0.16, 0.32)):
            low, high = width, 1 - width
            lay((b, a, c)[ring], [(low, low), (high, low), (high, low + 0.16), (low, low + 0.16)])
            lay((b, a, c)[ring], [(low, low), (low + 0.16, low), (low + 0.16, high), (low, high)])
            lay((c, b, a)[ring], [(low, high - 0.16), (high, high - 0.16), (high, high), (low, high)])
            lay((c, b, a)[ring], [(high - 0.16, low), (high, low), (high, high), (high - 0.16, high)])
    elif kind == 2:  # star
        for turn in turned:
            lay(b, [turn(0.25, 0.25), turn(0.5, 0), turn(0.5, 0.5)])
            lay(c, [turn(0.5, 0.0), turn(0.75, 0.25), turn(0.5, 0.5)])
            lay(c, [turn(0, 0), turn(0.25, 0), turn(0.25, 0.25), turn(0, 0.25)])
    else:  # nine squares
        for i in range(3):
            for j in range(3):
                corner = [
                    (i / 3, j / 3),
                    ((i + 1) / 3, j / 3),
                    ((i + 1) / 3, (j + 1) / 3),
                    (i / 3, (j + 1) / 3),
                ]
                lay((a, b, c)[(i + 2 * j) % 3], corner)


def mosaic(rng: np.random.Generator) -> Image.Image:
    """A mosaic floor: two fish among waves, in a border of meanders, every stone laid by hand."""
    canvas = Canvas(rng, 600, 600, "#b8a88e")
    design = np.asarray(_design(rng), np.float32)
    cell = 11.5
    count = int(600 / cell) + 3
    rows, columns = np.mgrid[0:count, 0:count]
    shift = 0.5 * (rows % 2)
    seeds_x = (columns - 0.5 + shift + rng.uniform(-0.24, 0.24, rows.shape)) * cell
    seeds_y = (rows - 0.5 + rng.uniform(-0.24, 0.24, rows.shape)) * cell
    near = np.full(canvas.shape, 1e9, np.float32)
    second = near.copy()
    winner = np.zeros(canvas.shape, np.int32)
    at_row = np.broadcast_to((canvas.y / cell + 1).astype(int), canvas.shape)
    at_column = np.broadcast_to((canvas.x / cell + 1).astype(int), canvas.shape)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            index = (at_row + dy).clip(0, count - 1) * count + (at_column + dx).clip(0, count - 1)
            distance = np.hypot(canvas.x - seeds_x.ravel()[index], canvas.y - seeds_y.ravel()[index]).astype(np.float32)
            closer = distance < near
            second = np.where(closer, near, np.minimum(second, distance))
            winner = np.where(closer, index, winner)
            near = np.minimum(near, distance)
    pick_y = seeds_y.ravel().clip(0, 599).astype(int)
    pick_x = seeds_x.ravel().clip(0, 599).astype(int)
    stone = design[pick_y, pick_x] * rng.normal(1, 0.1, (count * count, 1)) + rng.normal(0, 5, (count * count, 3))
    tilt = rng.normal(0, 0.016, (count * count, 2))
    facing = (
        1
        + tilt[winner, 0] * (canvas.x - seeds_x.ravel()[winner])
        + tilt[winner, 1] * (canvas.y - seeds_y.ravel()[winner])
    )
    gap = np.clip((second - near - 1.1) * 1.2, 0, 1)
    chamfer = 0.82 + 0.18 * np.clip((second - near) / 4.5, 0, 1)
    canvas.fill(stone[winner] * (facing * chamfer)[..., None], gap)
    canvas.grain(2, 0.05)
    canvas.light(1 + 0.06 * noise(rng, canvas.shape, 150 * SCALE, 4))
    outline = canvas.stencil()
    outline.rect(0, 0, 600, 600, "white", 3)
    return canvas.finish(outline)


def _design(rng: np.random.Generator) -> Image.Image:
    """What the mosaic shows, as flat colours."""
    canvas = Canvas(rng, 600, 600, "#1f4a5e")
    wave = np.sin(canvas.y / 13 + 1.4 * np.sin(canvas.x / 42))
    canvas.fill("#3f8796", (wave > 0.35).astype(np.float32))
    canvas.fill("#8fc4bf", (wave > 0.86).astype(np.float32))
    for x, y, flip, body, fin in ((300, 225, 1, "#d9572f", "#f0b23e"), (300, 390, -1, "#e6c15a", "#b23a2c")):
        _fish(canvas, x, y, flip, body, fin)
    for inset, width, colour in (
        (0, 26, "#efe6d0"),
        (8, 10, "#8c2f27"),
        (26, 40, "#e9dcc0"),
        (66, 8, "#2b2a2c"),
    ):
        far, long = 600 - inset - width, 600 - 2 * inset
        for x, y, w, h in (
            (inset, inset, long, width),
            (inset, far, long, width),
            (inset, inset, width, long),
            (far, inset, width, long),
        ):
            canvas.rect(x, y, w, h, colour)
    for n in range(40, 560, 40):
        for x, y in ((n, 46), (n, 554), (46, n), (554, n)):
            canvas.polygon([(x - 16, y), (x, y - 16), (x + 16, y), (x, y + 16)], "#2f6f78")
            canvas.ellipse(x, y, 7, 7, "#d9a13e")
    return canvas.finish()


def _fish(canvas: Canvas, x: float, y: float, flip: int, body: str, fin: str) -> None:
    canvas.polygon([(x - flip * 105, y), (x - flip * 180, y - 58), (x - flip * 158, y), (x - flip * 180, y + 58)], fin)
    canvas.polygon([(x - 30, y - 46), (x + 20, y - 84), (x + 44, y - 42)], fin)
    canvas.polygon([(x - 26, y + 46), (x - flip * 4, y + 76), (x + 32, y + 44)], fin)
    canvas.ellipse(x, y, 128, 56, "#3a2420")
    canvas.ellipse(x, y, 118, 47, body)
    for n in range(6):
        canvas.ring(x - flip * (70 - n * 24), y, 22, 6, fin if n % 2 else "#f3e6c4")
    canvas.ellipse(x + flip * 84, y - 2, 28, 36, "#f3e6c4")
    canvas.ellipse(x + flip * 86, y - 8, 15, 15, "#ffffff")
    canvas.ellipse(x + flip * 88, y - 8, 8, 8, "#1b1b1f")
