"""A benchmark, phone photo to clean original: every photograph of `distractors/` shot again, as a phone would. By hand:

    IMGRET_DATA=path/to/data python tests/benchmarks/reshoot.py -o reshot --seed 0

writes reshot/query/000.jpg and so on, one for each original in the order of their names, and reshot/gnd.json in the
revisited Oxford/Paris structure: the database is the originals, and each query has one positive. Chance comes from the
seed and the photograph's name alone. Nothing here was tuned to a model. Commands and scores: docs/benchmarks.md.

The original is a print, a screen, part of a page or a bare sheet on a cluttered table, seen by the pinhole camera of
phone.py. The scene is drawn `SCALE` times larger and reduced.
"""

from __future__ import annotations

import argparse
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from phone import SQUARE, aim, blurred, lit, project
from PIL import Image, ImageDraw, ImageFilter

from imgret.atomic import write_bytes, write_json

SCALE = 2
Layer = tuple[Image.Image, Image.Image]
"""Colours (RGB) and where they lie (L, 255 inside), both as large as the scene."""


def colour(rng: np.random.Generator) -> tuple[int, ...]:
    """Any brightness; mostly muted, sometimes vivid."""
    mixed = rng.uniform(30, 230) + rng.choice([8, 25, 60]) * rng.standard_normal(3)
    return tuple(mixed.clip(0, 255).astype(int).tolist())


def placed(shape: Sequence[float], angle: float, at: Sequence[float]) -> np.ndarray:
    """[3, 3]: the unit square around 0 to a rectangle of `shape` on the table, turned by `angle` (radians), at `at`."""
    cos, sin = np.cos(angle), np.sin(angle)
    wide, high = shape
    return np.array([(cos * wide, -sin * high, at[0]), (sin * wide, cos * high, at[1]), (0, 0, 1)])


def laid(picture: Image.Image, where: np.ndarray, H: np.ndarray, size: tuple[int, int]) -> Layer:
    """A picture as it is seen when `where` [3, 3] takes the unit square around 0 to its place on the table."""
    shrink = np.array([(1 / picture.width, 0, -0.5), (0, 1 / picture.height, -0.5), (0, 0, 1)])
    back = np.linalg.inv(H @ where @ shrink)
    how = size, Image.Transform.PERSPECTIVE, (back / back[2, 2]).ravel()[:8].tolist()
    return picture.transform(*how, Image.Resampling.BICUBIC), Image.new("L", picture.size, 255).transform(*how)


def table(H: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Plain, striped or chequered, with grain."""
    x, y = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    X, Y = project(np.linalg.inv(H), np.column_stack([x.ravel(), y.ravel()])).T * rng.uniform(4, 14)
    pattern = rng.choice([lambda: 0 * X, lambda: np.sin(3 * X) / 2 + 0.5, lambda: (np.floor(X) + np.floor(Y)) % 2])()
    one, other = np.array(colour(rng), float), np.array(colour(rng), float)
    pixels = one + (other - one) * rng.uniform(0.3, 1) * pattern.reshape(*x.shape, 1)
    for cell, strength in ((160, 16), (24, 14), (5, 10)):
        across = size[0] // (cell * int(rng.choice([1, 1, 6])))  # some grain is long, like wood's
        grain = Image.fromarray(rng.standard_normal((size[1] // cell, max(2, across)), np.float32))
        pixels += strength * np.asarray(grain.resize(size, Image.Resampling.BICUBIC))[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def thing(where: np.ndarray, H: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> Layer:
    """A card, or a round thing such as a lid, with a field of another colour in it and perhaps lines."""
    angles = np.linspace(0, 2 * np.pi, 40)
    edge = np.column_stack([np.cos(angles), np.sin(angles)]) / 2 if rng.random() < 0.3 else SQUARE
    paint, mask = Image.new("RGB", size, colour(rng)), Image.new("L", size, 0)
    pen, field = ImageDraw.Draw(paint), rng.uniform(0.3, 0.95)
    outline, inner = (project(H @ where, edge * part).ravel().tolist() for part in (1, field))
    ImageDraw.Draw(mask).polygon(outline, fill=255)
    pen.polygon(inner, colour(rng))
    ink = colour(rng)
    for y in np.linspace(-0.25, 0.25, rng.integers(1, 9))[1:]:
        pen.line(project(H @ where, np.array([(-0.3, y), (rng.uniform(0, 0.3), y)])).ravel().tolist(), ink, 4)
    return paint, mask


def cable(shape: np.ndarray, H: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> Layer:
    """A Bézier curve along the sheet's upper or lower side."""
    a, b, c, d = shape * rng.uniform((-0.9, 0.3), (0.9, 0.9), (4, 2)) * rng.choice([-1, 1])
    t = np.linspace(0, 1, 60)[:, None]
    curve = a * (1 - t) ** 3 + 3 * b * t * (1 - t) ** 2 + 3 * c * t**2 * (1 - t) + d * t**3
    mask = Image.new("L", size, 0)
    ImageDraw.Draw(mask).line(project(H, curve).ravel().tolist(), 255, int(rng.integers(6, 16)), joint="curve")
    return Image.new("RGB", size, colour(rng)), mask


def mount(shape: np.ndarray, H: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> list[Layer]:
    """What the original is part of: a print's or a screen's border, a page with text, or nothing."""
    kind, border = rng.choice(["print", "screen", "page", "bare"]), rng.uniform(0.02, 0.07)
    if kind == "bare":
        return []
    paper = Image.new("RGB", (400, 400), (24, 24, 26) if kind == "screen" else (244, 242, 236))
    if kind == "page":
        for y in range(14, 390, 9):
            for x in range(20, int(rng.integers(200, 380)), 24):
                ImageDraw.Draw(paper).line([(x, y), (x + rng.integers(8, 20), y)], (130, 130, 134), 3)
    below = border * (rng.uniform(4, 9) if kind == "page" else 1)
    return [laid(paper, placed(shape + 2 * np.array([border, below]), 0, (0, 0)), H, size)]


def lay(scene: Image.Image, layer: Layer) -> None:
    """Put a layer on the scene, with a soft shadow."""
    shadow = Image.new("L", scene.size, 0)
    shadow.paste(128, (6, 8), layer[1])
    scene.paste((0, 0, 0), (0, 0), shadow.filter(ImageFilter.BoxBlur(9)))
    scene.paste(layer[0], (0, 0), layer[1])


def scene_of(original: Image.Image, others: Sequence[Image.Image], rng: np.random.Generator) -> Image.Image:
    """The original among clutter, sharp and in even light; at most a fifth of it is covered."""
    shape = np.array(original.size) / max(original.size)
    frame, H = aim(shape, rng)
    H, size = np.diag([SCALE, SCALE, 1]) @ H, (frame[0] * SCALE, frame[1] * SCALE)
    scene, sheet = table(H, size, rng), laid(original, placed(shape, 0, (0, 0)), H, size)
    clutter = [cable(shape, H, size, rng) for _ in range(rng.integers(1, 3))]
    for other in (*[None] * int(rng.integers(3, 8)), *others):
        side = rng.uniform(-1, 1, 2)
        at = side / abs(side).max() * shape * rng.uniform(0.52, 0.8)  # on the border of the sheet or beside it
        if other is None:
            clutter.append(thing(placed(rng.uniform(0.12, 0.4, 2), rng.uniform(0, 7), at), H, size, rng))
        else:
            x, y = (np.array(other.size) * rng.uniform(0, 0.4, 2)).astype(int).tolist()
            part = other.crop((x, y, x + other.width * 3 // 5, y + other.height * 3 // 5))
            spread = np.array(part.size) / max(part.size) * rng.uniform(0.3, 0.6)
            clutter.append(laid(part, placed(spread, rng.uniform(0, 7), at), H, size))
    whole, covered, above, allowed = np.asarray(sheet[1]) > 0, np.zeros(size[::-1], bool), [], rng.uniform(0.05, 0.2)
    for layer in (clutter[i] for i in rng.permutation(len(clutter))):
        hidden = covered | (np.asarray(layer[1]) > 0) & whole
        if hidden.sum() <= allowed * whole.sum():
            covered = hidden
            above.append(layer)
        else:  # it would hide too much, and lies beneath
            lay(scene, layer)
    for layer in (*mount(shape, H, size, rng), sheet, *above):
        lay(scene, layer)
    return scene


def reshoot(name: str, original: Image.Image, others: Sequence[Image.Image], seed: int) -> bytes:
    """The original as a phone's JPEG, with parts of two to four of `others` beside it.

    The same for the same seed, name and pictures.
    """
    rng = np.random.default_rng([seed, *name.encode()])
    beside = [others[i] for i in rng.choice(len(others), rng.integers(2, 5), replace=False)]
    photo = lit(blurred(scene_of(original, beside, rng).reduce(SCALE), rng), rng)
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=int(rng.integers(40, 81)))
    return file.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    root = Path(os.environ.get("IMGRET_DATA", "")) / "distractors"
    names = sorted(path.name for path in root.glob("jpg/*.jpg"))
    if not names:
        raise SystemExit(f"no photographs in {root / 'jpg'}: set IMGRET_DATA to the folder that holds distractors/")
    photos = [Image.open(root / "jpg" / name).convert("RGB") for name in names]
    (asked.output / "query").mkdir(parents=True, exist_ok=True)
    queries = [f"query/{number:03d}.jpg" for number in range(len(names))]
    for i, (name, query) in enumerate(zip(names, queries, strict=True)):
        write_bytes(asked.output / query, reshoot(name, photos[i], photos[:i] + photos[i + 1 :], asked.seed))
    gnd = [{"bbx": None, "easy": [row], "hard": [], "junk": []} for row in range(len(names))]
    write_json(asked.output / "gnd.json", {"imlist": [f"jpg/{name}" for name in names], "qimlist": queries, "gnd": gnd})


if __name__ == "__main__":
    main()
