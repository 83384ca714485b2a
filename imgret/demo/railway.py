"""A steam train crossing fields."""

from __future__ import annotations

import numpy as np
from PIL import Image

from imgret.demo.canvas import SCALE, Canvas, mix, noise, ramp, rgb, tint
from imgret.demo.landscapes import clouds, ridge


def train(rng: np.random.Generator) -> Image.Image:
    """A green steam engine with a carriage, crossing fields."""
    canvas = Canvas(rng, 800, 600)
    canvas.fill(ramp(canvas.shape, (0, "#7fb6dc"), (0.5, "#dff0f4"), (1, "#dff0f4")), np.ones(canvas.shape))
    clouds(canvas, 300, "#ffffff", 1)
    for colour, base, height, cell in (
        ("#9db89a", 350, 90, 220),
        ("#7ea066", 390, 70, 260),
        ("#a9b45a", 430, 50, 300),
    ):
        line = ridge(canvas, base, height, cell)
        rough = noise(rng, canvas.shape, 16 * SCALE, 4, stretch=3)
        furrows = np.sin((canvas.y - line) * 0.55 + canvas.x * 0.03)
        canvas.fill(
            np.array(rgb(colour), np.float32) * (1 + 0.07 * rough + 0.08 * furrows)[..., None],
            np.clip(canvas.y - line, 0, 1),
        )
    for x in rng.uniform(0, 800, 26):
        y, s = 352 + rng.uniform(0, 50), rng.uniform(9, 20)
        for _ in range(7):
            _leaf(canvas, x + rng.normal(0, s * 0.5), y - abs(rng.normal(0, s * 0.5)), s * 0.5)
    canvas.fill("#8a8078", (canvas.y > 505) * np.ones_like(canvas.x))
    ballast = canvas.stencil()
    ballast.rect(0, 505, 800, 95, "white")
    canvas.light(1 + 0.3 * noise(rng, canvas.shape, 5 * SCALE, 2), ballast)
    for x in range(-10, 810, 30):
        canvas.polygon([(x, 512), (x + 17, 512), (x + 14, 530), (x - 5, 530)], tint("#5a4030", rng.uniform(0.8, 1.2)))
    canvas.rect(0, 508, 800, 5, "#b9bcc2")
    canvas.rect(0, 513, 800, 3, "#4a4a50")
    _carriage(canvas)
    _engine(canvas)
    puff = np.linspace(0, 1, 46)
    for part in puff[::-1]:
        x, y = 618 - 560 * part + rng.normal(0, 10), 212 - 110 * part**0.6 + rng.normal(0, 10 + 20 * part)
        radius = 15 + 46 * part
        for step in np.linspace(1, 0.25, 5):
            canvas.fill(mix("#ffffff", "#9aa0aa", 0.5 * step), _soft(canvas, x, y, radius * step, 0.16))
    canvas.grain(2.5, 0.03)
    return canvas.finish()


def _leaf(canvas: Canvas, x: float, y: float, radius: float) -> None:
    green = tint("#46702f", canvas.rng.uniform(0.75, 1.15))
    canvas.ellipse(x, y, radius, radius * 0.85, green)
    canvas.ellipse(x - radius * 0.25, y - radius * 0.3, radius * 0.6, radius * 0.45, tint(green, 1.2))


def _soft(canvas: Canvas, x: float, y: float, radius: float, strength: float) -> Canvas:
    area = canvas.stencil()
    area.pen.ellipse(
        [(x - radius) * SCALE, (y - radius) * SCALE, (x + radius) * SCALE, (y + radius) * SCALE],
        fill=round(255 * strength),
    )
    return area


def _wheel(canvas: Canvas, x: float, y: float, radius: float, colour: str) -> None:
    canvas.ellipse(x, y, radius, radius, "#1d1d20")
    canvas.ring(x, y, radius, 4, "#8d9096")
    canvas.ring(x, y, radius * 0.82, 3, colour)
    for angle in np.linspace(0, np.pi, 7)[:-1].tolist():
        dx, dy = radius * 0.8 * np.cos(angle), radius * 0.8 * np.sin(angle)
        canvas.line([(x - dx, y - dy), (x + dx, y + dy)], 2.6, colour)
    canvas.ball(x, y, radius * 0.22, colour)


def _carriage(canvas: Canvas) -> None:
    body = canvas.stencil()
    body.rect(-60, 318, 330, 150, "white", 6)
    canvas.fill("#8c2f2b", body)
    canvas.rect(-60, 322, 330, 74, "#f0e2c0")
    for x in range(-42, 260, 62):
        canvas.rect(x, 334, 46, 50, "#6b4a2c", 5)
        canvas.rect(x + 4, 338, 38, 42, "#9fc6d6", 4)
        canvas.polygon([(x + 6, 376), (x + 26, 340), (x + 36, 340), (x + 14, 378)], "#d6ecf2")
        canvas.rect(x + 4, 338, 12, 42, "#b8483e")
    canvas.rect(-60, 394, 330, 5, "#d8b048")
    canvas.rect(-60, 450, 330, 4, "#d8b048")
    canvas.polygon([(-60, 320), (-50, 300), (258, 300), (278, 320)], "#3c3f45")
    canvas.light(1.12 - 0.34 * np.abs((canvas.y - 370) / 100), body)
    canvas.rect(-60, 468, 330, 10, "#222226")
    for x in (20, 74, 190, 244):
        _wheel(canvas, x, 486, 23, "#5d6066")
    canvas.rect(268, 470, 40, 8, "#222226")


def _engine(canvas: Canvas) -> None:
    boiler = canvas.stencil()
    boiler.rect(400, 318, 270, 104, "white", 22)
    canvas.fill("#1f6a48", boiler)
    canvas.light(0.5 + 0.95 * np.exp(-(((canvas.y - 346) / 36) ** 2)), boiler)
    for x in (440, 500, 560, 620):
        canvas.rect(x, 318, 5, 104, "#c9a13c")
    canvas.rect(646, 312, 30, 116, "#26282c", 6)
    canvas.polygon([(600, 320), (606, 262), (596, 246), (642, 246), (632, 262), (638, 320)], "#26282c")
    canvas.rect(592, 240, 54, 9, "#b98c34", 3)
    canvas.ball(540, 312, 25, "#c9a13c")
    canvas.rect(516, 314, 50, 10, "#1f6a48")
    canvas.ball(470, 314, 16, "#26282c")
    canvas.rect(300, 276, 108, 150, "#1f6a48", 5)
    canvas.rect(316, 296, 34, 46, "#dfeef0", 4)
    canvas.rect(360, 296, 34, 46, "#cfe3e8", 4)
    canvas.rect(288, 264, 134, 14, "#26282c", 5)
    canvas.rect(312, 356, 84, 56, "#2a7d57", 4)
    canvas.ring(354, 384, 20, 3, "#e0b84c")
    canvas.ball(354, 384, 9, "#b5332c")
    canvas.rect(290, 424, 396, 20, "#b5332c")
    canvas.rect(290, 440, 396, 5, "#7c1f1b")
    canvas.rect(640, 440, 52, 34, "#26282c", 5)
    canvas.polygon([(686, 446), (736, 506), (676, 506)], "#b5332c")
    for x in range(690, 732, 9):
        canvas.line([(688, 450), (x, 505)], 2, "#e7b5a8")
    canvas.ball(684, 350, 13, "#ffe9a6")
    for x in (364, 450, 536):
        _wheel(canvas, x, 468, 41, "#c03a31")
    for x in (606, 656):
        _wheel(canvas, x, 487, 22, "#c03a31")
    canvas.line([(364, 482), (536, 482)], 6.5, "#c9ccd2")
    canvas.line([(536, 482), (660, 458)], 5.5, "#aeb2b8")
    for x in (364, 450, 536):
        canvas.ball(x, 482, 6, "#8b8f96")
