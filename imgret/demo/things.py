"""Things to hold: a book, a tea tin, a painted plate, a stamp. Cut out, to be laid on any ground."""

from __future__ import annotations

import numpy as np
from PIL import Image

from imgret.demo.canvas import SCALE, Canvas, mix, noise, tint


def book(rng: np.random.Generator) -> Image.Image:
    """A cloth-bound book with an abstract composition on its cover."""
    canvas = Canvas(rng, 440, 600, "#efe4cd")
    outline = canvas.stencil()
    outline.rect(2, 2, 436, 596, "white", 7)
    palette = ["#d9482b", "#e9a32a", "#1f5c74", "#14303f", "#7fb09a"]
    step = 94
    for row in range(5):
        for column in range(4):
            x, y = 52 + column * step, 36 + row * step
            first, second = rng.choice(palette, 2, replace=False)
            _motif(canvas, int(rng.integers(6)), x, y, step, str(first), str(second))
    canvas.rect(52, 522, 376, 56, "#14303f")
    for x, y, w, h in ((70, 535, 210, 12), (70, 555, 130, 7), (392, 534, 20, 32)):
        canvas.rect(x, y, w, h, "#efe4cd")
    canvas.rect(0, 0, 30, 600, "#14303f")
    canvas.light(
        1 - 0.45 * np.exp(-(((canvas.x - 33) / 5) ** 2)) + 0.18 * np.exp(-(((canvas.x - 14) / 7) ** 2)) + 0 * canvas.y
    )
    weave = np.sin(canvas.x * 2.6) * np.sin(canvas.y * 2.6)
    canvas.light(1 + 0.05 * weave + 0.03 * noise(rng, canvas.shape, 60 * SCALE, 5))
    wear = np.maximum(np.abs(canvas.x - 220) / 220, np.abs(canvas.y - 300) / 300)
    canvas.fill("#fbf5e6", np.clip((wear - 0.975) * 40 + 0.35 * noise(rng, canvas.shape, 10 * SCALE, 4) - 0.2, 0, 0.8))
    return canvas.finish(outline)


def _motif(canvas: Canvas, kind: int, x: float, y: float, size: float, first: str, second: str) -> None:
    """One square of the composition, `size` pixels a side."""
    canvas.rect(x, y, size, size, first)
    middle = (x + size / 2, y + size / 2)
    if kind == 0:
        for part, colour in ((0.46, second), (0.32, "#efe4cd"), (0.2, first), (0.1, second)):
            canvas.ellipse(*middle, size * part, size * part, colour)
    elif kind == 1:
        for part in np.arange(1, 0.1, -0.25):
            box = [
                (x - size * part) * SCALE,
                (y - size * part) * SCALE,
                (x + size * part) * SCALE,
                (y + size * part) * SCALE,
            ]
            canvas.pen.pieslice(box, 0, 90, fill=second if round(part * 4) % 2 == 0 else "#efe4cd")
    elif kind == 2:
        canvas.polygon([(x, y), (x + size, y), (x, y + size)], second)
        canvas.ellipse(x + size * 0.68, y + size * 0.68, size * 0.17, size * 0.17, "#efe4cd")
    elif kind == 3:
        for stripe in np.arange(0, size, size / 5):
            canvas.rect(x, y + stripe, size, size / 10, second)
    elif kind == 4:
        for i in range(4):
            for j in range(4):
                canvas.ellipse(x + (i + 0.5) * size / 4, y + (j + 0.5) * size / 4, size * 0.075, size * 0.075, second)
    else:
        canvas.polygon([middle, (x, y), (x + size, y)], second)
        canvas.polygon([middle, (x, y + size), (x + size, y + size)], "#efe4cd")


def tea_tin(rng: np.random.Generator) -> Image.Image:
    """A round tea tin: a label with a medallion bent around a cylinder, under a brass lid."""
    flat = _label(rng)
    canvas = Canvas(rng, 420, 580, "#d8a94a")
    radius, top, bottom, tilt = 188.0, 120.0, 530.0, 26.0
    across = np.clip((canvas.x - 210) / radius, -0.999, 0.999)
    sag = tilt * np.sqrt(1 - across**2)
    column = ((np.arcsin(across) / np.pi + 0.5) * (flat.shape[1] - 1)).astype(int)
    row = np.clip((canvas.y - sag - top - 14) / (bottom - top - 14), 0, 0.999) * flat.shape[0]
    body = flat[row.astype(int), np.broadcast_to(column, canvas.shape)].astype(np.float32)
    inside = (np.abs(canvas.x - 210) < radius) & (canvas.y > top - tilt) & (canvas.y - sag < bottom)
    canvas.fill(body, inside.astype(np.float32))
    lid = (np.abs(canvas.x - 210) < radius + 3) & (canvas.y > 62) & (canvas.y - sag < top + 16)
    brushed = 1 + 0.06 * noise(rng, canvas.shape, 3 * SCALE, 3, stretch=30)
    canvas.fill(np.array([214, 172, 84], np.float32) * brushed[..., None], lid.astype(np.float32))
    metal = 0.5 + 0.65 * np.sqrt(1 - np.clip(0.85 * across + 0.12, -1, 1) ** 2)
    metal = (
        metal
        + 0.5 * np.exp(-(((across + 0.42) / 0.09) ** 2))
        - 0.14 * np.exp(-(((across - 0.1) / 0.2) ** 2))
        + 0 * canvas.y
    )
    canvas.light(metal)
    canvas.light(1 - 0.35 * np.exp(-(((canvas.y - sag - top - 18) / 5) ** 2)))
    canvas.ellipse(210, 62, radius + 3, 28, "#8f6a28")
    canvas.ellipse(210, 60, radius, 26, "#e2bd6a")
    canvas.ellipse(210, 60, radius * 0.86, 21, "#c99a44")
    canvas.ellipse(210, 58, radius * 0.84, 20, "#dcb662")
    canvas.ellipse(210, 50, 28, 9, "#8f6a28")
    canvas.ball(210, 38, 19, "#dcb048")
    outline = canvas.stencil()
    outline.ellipse(210, 60, radius + 3, 29, "white")
    outline.rect(210 - radius - 3, 60, 2 * radius + 6, top - 44, "white")
    outline.rect(210 - radius, top, 2 * radius, bottom - top, "white")
    outline.ellipse(210, bottom, radius, tilt - 1, "white")
    outline.ellipse(210, 38, 19, 19, "white")
    return canvas.finish(outline)


def _label(rng: np.random.Generator) -> np.ndarray:
    """The tin's label, flat: [H, W, 3] uint8."""
    canvas = Canvas(rng, 600, 410, "#16423f")
    for n, y in enumerate(range(8, 410, 21)):
        for x in range(-10, 610, 30):
            px = x + 15 * (n % 2)
            canvas.ring(px, y + 12, 11, 1.4, "#2c6a62")
            canvas.ellipse(px, y + 12, 3, 3, "#3d857a")
    for y in (14, 364):
        canvas.rect(0, y, 600, 32, "#b5322b")
        canvas.rect(0, y - 4, 600, 4, "#e6c066")
        canvas.rect(0, y + 32, 600, 4, "#e6c066")
        for x in range(6, 600, 24):
            canvas.polygon([(x, y + 16), (x + 9, y + 5), (x + 18, y + 16), (x + 9, y + 27)], "#f0d58c")
            canvas.ellipse(x + 9, y + 16, 3.4, 3.4, "#b5322b")
    canvas.ellipse(300, 205, 128, 138, "#e6c066")
    canvas.ellipse(300, 205, 120, 130, "#f6ecd2")
    canvas.ring(300, 205, 110, 2, "#b5322b")
    for angle in np.linspace(0, 2 * np.pi, 40, endpoint=False):
        canvas.ellipse(300 + 124 * np.cos(angle), 205 + 134 * np.sin(angle), 2.4, 2.4, "#8c2a22")
    canvas.ellipse(340, 150, 26, 26, "#e2693c")
    for base, colour, peaks in ((250, "#9dbfa8", (258, 300, 350)), (270, "#5d9079", (276, 328))):
        for x in peaks:
            canvas.polygon([(x - 56, base), (x - 8, base - 86), (x + 4, base - 76), (x + 50, base)], colour)
    canvas.polygon([(202, 250), (398, 250), (374, 300), (300, 322), (226, 300)], "#2f6b57")
    for row in range(5):
        y = 258 + row * 11
        for x in range(222 + row * 5, 380 - row * 5, 9):
            canvas.ellipse(x, y, 4.6, 3.4, tint("#79a83f", rng.uniform(0.75, 1.2)))
    for side in (-1, 1):
        for n in range(7):
            x, y = 300 + side * (150 + 9 * n), 130 + 25 * n
            canvas.polygon(
                [(x, y), (x + side * 18, y - 17), (x + side * 30, y - 6), (x + side * 14, y + 6)],
                mix("#e6c066", "#7fae5a", n / 7),
            )
        canvas.line([(300 + side * (146 + 9 * n), 126 + 25 * n) for n in range(8)], 2.2, "#e6c066")
    return np.asarray(canvas.image)


def plate(rng: np.random.Generator) -> Image.Image:
    """A hand-painted plate: rings of petals and leaves around a flower."""
    canvas = Canvas(rng, 560, 560, "#f5f0e4")
    x, y = canvas.x - 280, canvas.y - 280
    wobble = noise(rng, canvas.shape, 40 * SCALE, 3)
    radius = np.hypot(x, y) / 276 + 0.004 * wobble
    angle = np.arctan2(y, x) + 0.012 * wobble

    def stroke(distance: np.ndarray, colour: str) -> None:
        """Paint where the distance is below 0, thinner here and there as a brush leaves it."""
        edge = np.clip(-distance * 276 * SCALE / 2, 0, 1)
        canvas.fill(colour, edge * np.clip(0.86 + 0.09 * wobble, 0, 1))

    def petals(count: int, at: float, length: float, width: float, colour: str, phase: float = 0.0) -> None:
        turn = (angle * count / (2 * np.pi) + phase) % 1 - 0.5
        across = turn * 2 * np.pi / count * radius
        stroke(np.hypot((radius - at) / length, across / width) * 0.05 - 0.05, colour)

    stroke(np.abs(radius - 0.975) - 0.022, "#1f4b99")
    stroke(np.abs(radius - 0.925) - 0.006, "#1f4b99")
    petals(24, 0.845, 0.05, 0.075, "#2a5fb0")
    petals(24, 0.845, 0.022, 0.034, "#f0c552")
    petals(24, 0.87, 0.036, 0.018, "#c8442f", 0.5)
    stroke(np.abs(radius - 0.765) - 0.006, "#1f4b99")
    stroke(np.abs(radius - 0.71 - 0.025 * np.sin(angle * 16)) - 0.007, "#3d7d45")
    petals(32, 0.725, 0.03, 0.014, "#3d7d45", 0.25)
    stroke(np.abs(radius - 0.645) - 0.011, "#1f4b99")
    petals(8, 0.42, 0.19, 0.105, "#1f4b99")
    petals(8, 0.42, 0.15, 0.07, "#5b8fd0")
    petals(8, 0.43, 0.085, 0.022, "#f5f0e4")
    petals(8, 0.52, 0.1, 0.034, "#3d7d45", 0.5)
    petals(16, 0.24, 0.07, 0.034, "#e0902c")
    petals(8, 0.19, 0.085, 0.05, "#c8442f", 0.5)
    stroke(radius - 0.12, "#f0c552")
    stroke(np.abs(radius - 0.12) - 0.008, "#8a3d1f")
    petals(10, 0.07, 0.016, 0.014, "#8a3d1f")
    speckle = np.clip(noise(rng, canvas.shape, 2.4 * SCALE, 2) - 2.6, 0, 1)
    canvas.fill("#6b4a2c", speckle)
    direction = np.cos(angle + 2.3)
    bowl = 0.2 * np.exp(-(((radius - 0.66) / 0.035) ** 2)) - 0.22 * np.exp(-(((radius - 0.985) / 0.03) ** 2))
    canvas.light(1 + direction * bowl - 0.1 * np.exp(-(((radius - 0.6) / 0.08) ** 2)) + 0.05 * direction)
    canvas.glow(190, 170, 90, "#ffffff", 0.35)
    canvas.fill("#ffffff", 0.5 * np.exp(-(((radius - 0.955) / 0.012) ** 2)) * np.clip(direction, 0, 1) ** 6)
    outline = canvas.stencil()
    outline.ellipse(280, 280, 276, 276, "white")
    return canvas.finish(outline)


def stamp(rng: np.random.Generator) -> Image.Image:
    """A postage stamp with a kingfisher, perforated and cancelled."""
    canvas = Canvas(rng, 450, 570, "#f6f1e6")
    canvas.rect(26, 26, 398, 518, "#1f5c66")
    canvas.rect(34, 34, 382, 502, "#f6f1e6")
    canvas.rect(39, 39, 372, 492, "#cfe4dc")
    field = canvas.stencil()
    field.rect(39, 39, 372, 420, "white")
    engraved = np.sin(canvas.y * 2.1 + 3.5 * np.sin(canvas.x / 60) + 2 * noise(rng, canvas.shape, 120 * SCALE, 3))
    canvas.light(0.96 + 0.11 * engraved, field)
    for n in range(26):  # reeds
        x, lean = rng.uniform(45, 405), rng.normal(0, 26)
        colour = tint(mix("#4f8a68", "#c9b65a", rng.random()), rng.uniform(0.7, 1.1))
        high = rng.uniform(120, 330)
        canvas.line([(x, 459), (x + lean * 0.3, 459 - high * 0.6), (x + lean, 459 - high)], 3.2, colour)
        if n % 4 == 0:
            canvas.line([(x + lean * 0.8, 459 - high * 0.86), (x + lean, 459 - high)], 9, "#7a4a2a")
    canvas.line([(39, 372), (150, 352), (290, 362), (411, 330)], 13, "#5a3d28")
    canvas.line([(39, 369), (150, 349), (290, 359), (411, 327)], 4, "#8a6444")
    _kingfisher(canvas)
    canvas.rect(39, 459, 372, 72, "#1f5c66")
    for x, segments in ((58, "abged"), (104, "afgcd")):
        _digit(canvas, x, 470, segments)
    for n, w in enumerate((190, 150, 170)):
        canvas.rect(392 - w, 474 + n * 17, w, 8, "#cfe4dc")
    hatch = np.clip(np.sin((canvas.x + canvas.y) * 1.9) * 0.5 + 0.5, 0, 1)
    canvas.light(1 - 0.06 * hatch)
    for radius in (88, 80, 50):
        canvas.ring(352, 96, radius, 2.6, "#33343c")
    for n in range(16):
        angle = n / 16 * 2 * np.pi
        canvas.line([(352 + r * np.cos(angle), 96 + r * np.sin(angle)) for r in (58, 72)], 4, "#33343c")
    for n in range(6):
        canvas.line([(x, 60 + n * 14 + 5 * np.sin(x / 17)) for x in range(0, 268, 3)], 2.4, "#33343c")
    canvas.grain(3, 0.03)
    canvas.light(1 + 0.03 * noise(rng, canvas.shape, 90 * SCALE, 4))
    outline = canvas.stencil()
    outline.rect(6, 6, 438, 558, "white")
    holes = [(6 + n * 24.33, edge) for n in range(19) for edge in (6.0, 564.0)]
    holes += [(edge, 6 + n * 24.26) for n in range(24) for edge in (6.0, 444.0)]
    for left, top in holes:
        outline.ellipse(left, top, 7.4, 7.4, "black")
    return canvas.finish(outline)


def _digit(canvas: Canvas, x: float, y: float, segments: str) -> None:
    """A digit of seven bars, 32 x 50 pixels."""
    bars = {
        "a": (0, 0, 32, 8),
        "b": (24, 0, 8, 25),
        "c": (24, 25, 8, 25),
        "d": (0, 42, 32, 8),
        "e": (0, 25, 8, 25),
        "f": (0, 0, 8, 25),
        "g": (0, 21, 32, 8),
    }
    for name in segments:
        dx, dy, w, h = bars[name]
        canvas.rect(x + dx, y + dy, w, h, "#f0c95a")


def _kingfisher(canvas: Canvas) -> None:
    rng = canvas.rng
    canvas.polygon([(262, 300), (322, 392), (300, 400), (238, 330)], "#155e86")
    canvas.polygon([(120, 176), (30 + 14, 196), (122, 192)], "#23272e")
    canvas.ellipse(172, 178, 58, 48, "#1d86b8")
    body = [(148, 205), (196, 190), (252, 222), (286, 300), (262, 344), (214, 350), (168, 318), (146, 262)]
    canvas.polygon(body, "#e07b2c")
    canvas.ellipse(206, 290, 58, 62, "#e58a38")
    canvas.polygon([(196, 178), (262, 220), (306, 300), (300, 352), (264, 320), (226, 250)], "#1678ad")
    for n in range(34):
        part = n / 34
        x, y = 206 + 84 * part + rng.normal(0, 8), 205 + 120 * part + rng.normal(0, 10)
        canvas.ellipse(x, y, 5.4, 3.6, mix("#36b2de", "#0f5f90", rng.random()))
    for _ in range(70):
        x, y = rng.normal(196, 26), rng.normal(292, 28)
        canvas.line([(x, y), (x + 3, y + 8)], 1.3, mix("#f4b566", "#b4541a", rng.random()))
    for _ in range(42):
        x, y = rng.normal(176, 24), rng.normal(160, 14)
        canvas.ellipse(x, y, 2.6, 1.8, "#7ad4f0")
    canvas.ellipse(160, 198, 26, 15, "#e07b2c")
    canvas.ellipse(206, 202, 17, 11, "#f7f4ec")
    canvas.ellipse(176, 220, 26, 12, "#f7f4ec")
    canvas.ball(152, 174, 11, "#2a1a14")
    canvas.ellipse(148, 170, 3, 3, "#ffffff")
    for x in (200, 226):
        canvas.line([(x, 346), (x - 2, 362)], 5, "#c23b22")
        canvas.line([(x - 10, 362), (x + 8, 361)], 4.5, "#c23b22")
