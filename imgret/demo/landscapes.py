"""Scenes out of doors: a lighthouse, mountains over a lake, a harbour at night."""

from __future__ import annotations

import numpy as np
from PIL import Image

from imgret.demo.canvas import SCALE, Canvas, noise, ramp, rgb, tint

WIDTH, HEIGHT = 800, 600


def clouds(canvas: Canvas, low: float, colour: str, amount: float) -> None:
    """Clouds above the height `low`."""
    cover = noise(canvas.rng, canvas.shape, 130 * SCALE, 6, stretch=2.4)
    fade = np.clip((low - canvas.y) / (0.55 * low), 0, 1)
    canvas.fill(colour, np.clip(cover * 0.55 - 0.12, 0, 1) * fade * amount)


def ridge(canvas: Canvas, base: float, height: float, cell: float, power: float = 1.0) -> np.ndarray:
    """The skyline of a range of hills: its y for every column [W * SCALE]."""
    line = noise(canvas.rng, (8, canvas.shape[1]), cell * SCALE, 6)[4]
    line = (line - line.min()) / (np.ptp(line) + 1e-6)
    return base - height * line**power


def lighthouse(rng: np.random.Generator) -> Image.Image:
    """A striped lighthouse on a cliff by the sea."""
    canvas = Canvas(rng, WIDTH, HEIGHT)
    sky = ramp(canvas.shape, (0, "#2a6fb5"), (0.38, "#8cc4e8"), (0.62, "#fbe3c2"), (1, "#fbe3c2"))
    canvas.fill(sky, np.ones(canvas.shape))
    canvas.glow(120, 330, 260, "#fff0c8", 0.9)
    clouds(canvas, 350, "#ffffff", 0.95)
    sea = ramp(canvas.shape, (0, "#3c8ea8"), (0.62, "#3c8ea8"), (0.75, "#1c6387"), (1, "#0b3a58"))
    canvas.fill(sea, (canvas.y > 372) * np.ones_like(canvas.x))
    depth = np.clip((canvas.y - 372) / 228, 0, 1)
    waves = (
        noise(rng, canvas.shape, 9 * SCALE, 3, stretch=9) * (1 - depth)
        + noise(rng, canvas.shape, 26 * SCALE, 4, 5) * depth
    )
    canvas.light(1 + 0.16 * waves * (depth > 0))
    canvas.fill("#ffffff", np.clip(waves - 1.5, 0, 1) * (depth > 0.03) * 0.8)
    canvas.fill("#ffe9b8", np.clip(waves - 0.6, 0, 1) * np.exp(-(((canvas.x - 120) / 90) ** 2)) * (depth > 0))

    cliff = canvas.stencil()
    top = 432 - 46 * np.clip((np.arange(330, 801, 10) - 330) / 200, 0, 1) + rng.normal(0, 4, 48)
    edge = list(zip(range(330, 801, 10), top.tolist(), strict=True))
    foot = [(300 + 14 * rng.normal(), 470), (262, 520), (280, 560), (238, 600), (800, 600)]
    cliff.polygon([*edge, (800, 600), *foot[::-1][1:]], "white")
    rock = noise(rng, canvas.shape, 60 * SCALE, 7, stretch=0.5)[..., None]
    cracks = np.abs(noise(rng, canvas.shape, 44 * SCALE, 5, stretch=0.45))[..., None]
    layers = np.sin(canvas.y[..., None] / 9 + 1.6 * rock)
    canvas.fill(
        np.array([128, 106, 88], np.float32) * (0.72 + 0.2 * rock + 0.09 * layers + 0.3 * np.minimum(cracks, 1)),
        cliff,
    )
    grass = canvas.stencil()
    under = [(x, y + 16 + 9 * rng.random()) for x, y in edge]
    grass.polygon([*edge, *under[::-1]], "white")
    canvas.fill(np.array([104, 140, 62], np.float32) * (1 + 0.2 * rock), grass)
    for x in rng.uniform(340, 800, 500):
        y = float(np.interp(x, range(330, 801, 10), top))
        canvas.line(
            [(x, y + 3), (x + rng.normal(0, 3), y - rng.uniform(2, 8))],
            0.8,
            tint("#6f9440", rng.uniform(0.7, 1.3)),
        )
    foot_x = np.interp(canvas.y, [470, 520, 560, 600], [300, 262, 280, 238])
    surf = np.exp(-(((canvas.x - foot_x) / 20) ** 2)) * (canvas.y > 462) * (canvas.x < foot_x + 6)
    canvas.fill("#f4fbff", surf * np.clip(0.75 + 0.6 * noise(rng, canvas.shape, 14 * SCALE, 4, 2), 0, 1))

    _house(canvas, 575, 325, 150, 82)
    _tower(canvas)
    for x, y, s in ((250, 170, 13), (292, 148, 9), (206, 142, 8), (640, 120, 11)):
        canvas.line(
            [
                (x - s, y - s * 0.3),
                (x - s * 0.4, y - s * 0.6),
                (x, y),
                (x + s * 0.5, y - s * 0.6),
                (x + s, y - s * 0.2),
            ],
            1.6,
            "#f7f7f7",
        )
    return canvas.finish()


def _house(canvas: Canvas, x: float, y: float, w: float, h: float) -> None:
    """The keeper's house; x, y is the upper left corner of its wall."""
    canvas.rect(x, y, w, h, "#f2ead9")
    canvas.polygon([(x - 12, y + 3), (x + 26, y - 48), (x + w - 26, y - 48), (x + w + 12, y + 3)], "#a9452f")
    for row in range(6):
        canvas.line([(x - 8 + 6 * row, y - 5 - 8 * row), (x + w + 8 - 6 * row, y - 5 - 8 * row)], 1.2, "#7d2f20")
    for wx in (x + 16, x + 106):
        canvas.rect(wx, y + 22, 28, 32, "#31556b")
        canvas.line([(wx + 14, y + 22), (wx + 14, y + 54)], 2.5, "#ffffff")
        canvas.line([(wx, y + 38), (wx + 28, y + 38)], 2.5, "#ffffff")
    canvas.rect(x + 62, y + 26, 26, 56, "#2f6b57")
    canvas.rect(x + w - 46, y - 66, 18, 30, "#8d3a28")


def _tower(canvas: Canvas) -> None:
    """The lighthouse itself, with its gallery and lantern."""
    body = canvas.stencil()
    left, right, head, foot_y = 418.0, 542.0, 150.0, 412.0
    body.polygon([(left, foot_y), (452, head), (508, head), (right, foot_y)], "white")
    stripes = np.floor((canvas.y - head + 7 * np.cos((canvas.x - 480) / 45)) / (foot_y - head + 14) * 7)
    paint = np.where((stripes % 2 == 0)[..., None], np.array([202, 44, 40]), np.array([246, 241, 232])).astype(
        np.float32
    )
    canvas.fill(paint, body)
    half = 28 + (canvas.y - head) / (foot_y - head) * 34
    across = np.clip((canvas.x - 480) / half, -1, 1)
    canvas.light(0.42 + 0.72 * np.sqrt(1 - (0.78 * across + 0.2) ** 2), body)
    canvas.grain(22, 0.04, body)
    for y in (205, 275, 345):
        canvas.rect(472, y, 16, 25, "#25313d", 8)
    canvas.rect(438, 138, 84, 12, "#2b2f36")
    for x in range(440, 522, 8):
        canvas.line([(x, 118), (x, 138)], 1.3, "#2b2f36")
    canvas.line([(438, 118), (522, 118)], 2, "#2b2f36")
    canvas.rect(456, 92, 48, 46, "#ffe9a0")
    for x in (456, 468, 480, 492, 504):
        canvas.line([(x, 92), (x, 138)], 2, "#2b2f36")
    canvas.polygon([(448, 93), (462, 70), (480, 58), (498, 70), (512, 93)], "#b5281f")
    canvas.ball(480, 56, 6, "#d8b34a")
    canvas.glow(480, 114, 70, "#fff2b0", 0.8)


def mountains(rng: np.random.Generator) -> Image.Image:
    """Snowy mountains at sunrise over a lake, like a travel poster."""
    canvas = Canvas(rng, WIDTH, HEIGHT)
    canvas.fill(
        ramp(
            canvas.shape,
            (0, "#28305f"),
            (0.25, "#8c4a7c"),
            (0.45, "#ee8a63"),
            (0.62, "#fde0a4"),
            (1, "#fde0a4"),
        ),
        np.ones(canvas.shape),
    )
    canvas.glow(560, 250, 300, "#ffe3a0", 0.85)
    canvas.ellipse(560, 250, 40, 40, "#fff6d2")
    clouds(canvas, 240, "#ffd0b0", 0.7)
    shore = 430
    layers = (
        ("#a0648a", 330, 120, 150, 1.0),
        ("#6a4f83", 360, 235, 200, 1.5),
        ("#4a4574", 392, 130, 160, 1.0),
        ("#34406a", 412, 84, 110, 1.0),
        ("#20324f", shore, 52, 80, 1.0),
    )
    for number, (colour, base, height, cell, power) in enumerate(layers):
        line = ridge(canvas, base, height, cell, power)
        inside = np.clip((canvas.y - line) * 1.5, 0, 1)
        facets = noise(rng, canvas.shape, 46 * SCALE, 6, stretch=0.7)
        slope = np.gradient(line)[None] * 5
        shade = 1 + 0.16 * np.tanh(slope + facets)
        canvas.fill(np.array(rgb(colour), np.float32) * shade[..., None], inside)
        if number == 1:
            snow = np.clip((300 + 18 * facets - canvas.y) / 10, 0, 1) * np.clip(facets + slope * 0.6 + 0.9, 0, 1)
            canvas.fill(
                np.array([255, 232, 226], np.float32) * (0.86 + 0.14 * np.tanh(slope))[..., None],
                inside * snow,
            )
        mist = np.exp(-(((canvas.y - base) / 26) ** 2)) * 0.35
        canvas.fill("#f6c9a8", mist * np.ones_like(canvas.x) * (canvas.y < shore))
    mirrored = np.asarray(canvas.image)[: shore * SCALE][::-1]
    rows = np.arange((HEIGHT - shore) * SCALE)
    ripple = noise(rng, (len(rows), canvas.shape[1]), 7 * SCALE, 3, stretch=8)
    columns = (np.arange(canvas.shape[1]) + ripple * (1 + rows[:, None] / 60)).clip(0, canvas.shape[1] - 1).astype(int)
    lake = (
        mirrored[np.minimum(rows * 2, len(mirrored) - 1)[:, None], columns]
        * np.array([0.72, 0.78, 0.9])
        * (1 + 0.1 * ripple[..., None])
    )
    canvas.image.paste(Image.fromarray(lake.clip(0, 255).astype(np.uint8)), (0, shore * SCALE))
    for x in sorted(rng.uniform(-10, 810, 46), key=lambda x: -abs(x - 400)):
        distance = abs(x - 430) / 430
        if distance < 0.34:
            continue
        _pine(
            canvas,
            x,
            455 + 165 * distance + rng.normal(0, 6),
            70 + 130 * distance * rng.uniform(0.7, 1.15),
            tint("#15303a", rng.uniform(0.7, 1.25)),
        )
    canvas.grain(3, 0.03)
    return canvas.finish()


def _pine(canvas: Canvas, x: float, foot: float, height: float, colour: tuple[int, int, int]) -> None:
    canvas.rect(x - height * 0.02, foot - height * 0.12, height * 0.04, height * 0.12, "#2b1f1c")
    for tier in range(9):
        y = foot - height * (0.1 + 0.1 * tier)
        half = height * 0.21 * (1 - tier / 9.5)
        sag = height * 0.05
        shade = tint(colour, 0.85 + 0.06 * tier)
        canvas.polygon(
            [
                (x - half, y + sag),
                (x - half * 0.4, y),
                (x, y - height * 0.14),
                (x + half * 0.4, y),
                (x + half, y + sag),
                (x, y - 0.2 * sag),
            ],
            shade,
        )


def harbour(rng: np.random.Generator) -> Image.Image:
    """A city at night over water, with a bridge and lit windows."""
    canvas = Canvas(rng, WIDTH, HEIGHT)
    canvas.fill(
        ramp(
            canvas.shape,
            (0, "#0a0f2c"),
            (0.4, "#26295e"),
            (0.62, "#7a3f78"),
            (0.68, "#c96a6a"),
            (1, "#c96a6a"),
        ),
        np.ones(canvas.shape),
    )
    for x, y in rng.uniform((0, 0), (800, 260), (150, 2)):
        canvas.ellipse(x, y, 0.9, 0.9, tint("#dfe6ff", rng.uniform(0.4, 1)))
    canvas.glow(170, 110, 110, "#e8ecff", 0.5)
    canvas.ball(170, 110, 38, "#d8d8c4")
    for x, y, s in ((160, 98, 8), (184, 118, 6), (172, 128, 4)):
        canvas.ellipse(x, y, s, s * 0.8, "#bdbda8")
    water = 400
    for layer, (base, low, high) in enumerate((("#2b2856", 60, 190), ("#16183c", 40, 250))):
        x = -10.0
        while x < 810:
            w = float(rng.uniform(34, 76))
            h = float(rng.uniform(low, high) * (0.55 + 0.45 * np.exp(-(((x - 500) / 190) ** 2))))
            wall = tint(base, rng.uniform(0.8, 1.3))
            canvas.rect(x, water - h, w, h, wall)
            if rng.random() < 0.3:
                canvas.polygon([(x, water - h), (x + w / 2, water - h - w * 0.6), (x + w, water - h)], wall)
            elif rng.random() < 0.4:
                canvas.line([(x + w / 2, water - h), (x + w / 2, water - h - 34)], 1.6, wall)
                canvas.ellipse(x + w / 2, water - h - 34, 2, 2, "#ff5a4a")
            for wx in np.arange(x + 5, x + w - 7, 8.5 if layer else 6.5):
                for wy in np.arange(water - h + 8, water - 8, 11):
                    if rng.random() < (0.55 if layer else 0.35):
                        glow = ("#ffd27a", "#ffe9b8", "#ff9d5c", "#9fd0ff")[
                            int(rng.choice(4, p=[0.5, 0.25, 0.15, 0.1]))
                        ]
                        canvas.rect(wx, wy, 4.6, 6.4, tint(glow, rng.uniform(0.45, 1)))
            x += w + float(rng.uniform(-2, 8))
    deck = 356
    for tower in (190, 610):
        canvas.rect(tower - 8, 215, 16, water - 205, "#b8463c")
        for y in (235, 275, 315):
            canvas.rect(tower - 12, y, 24, 7, "#d4604e")
    span = np.linspace(-40, 840, 221)
    cable = 340 - 120 * ((span - 400) / 210) ** 2
    outer = np.where(span < 190, 220 + (190 - span) * 0.62, 220 + (span - 610) * 0.62)
    cable = np.where((span >= 190) & (span <= 610), cable, outer).clip(215, deck)
    for x, y in zip(span[::3], cable[::3], strict=True):
        canvas.line([(x, y), (x, deck)], 0.9, "#c9655a")
    canvas.line(list(zip(span, cable, strict=True)), 3.4, "#d8685a")
    canvas.rect(-5, deck, 810, 9, "#8f352f")
    for x in range(10, 800, 24):
        canvas.ellipse(x, deck - 3, 2.2, 2.2, "#fff0c0")

    above = np.asarray(canvas.image)[: water * SCALE][::-1]
    rows = np.arange((HEIGHT - water) * SCALE)
    ripple = noise(rng, (len(rows), canvas.shape[1]), 9 * SCALE, 3, stretch=5)
    shifted = (rows[:, None] * 1.9 + ripple * (4 + rows[:, None] / 14)).clip(0, len(above) - 1).astype(int)
    columns = (np.arange(canvas.shape[1]) + ripple * 5).clip(0, canvas.shape[1] - 1).astype(int)
    mirror = above[shifted, columns] * np.array([0.62, 0.66, 0.82]) * (1 + 0.18 * ripple[..., None]) + np.array(
        [4, 8, 20]
    )
    canvas.image.paste(Image.fromarray(mirror.clip(0, 255).astype(np.uint8)), (0, water * SCALE))
    canvas.polygon([(300, 520), (470, 520), (446, 552), (322, 552)], "#101426")
    canvas.rect(300, 516, 170, 6, "#c9b48a")
    canvas.line([(385, 516), (385, 372)], 3, "#1a1a22")
    canvas.polygon([(381, 378), (381, 506), (312, 506)], "#e9dcc4")
    canvas.polygon([(390, 392), (390, 506), (446, 506)], "#cfae86")
    canvas.glow(306, 506, 36, "#ffcf70", 0.9)
    canvas.grain(2, 0.03)
    return canvas.finish()
