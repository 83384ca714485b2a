"""The drawn collection: twelve scenes, eight views of each, and the labels that say which belong together."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from imgret import atomic
from imgret.errors import ImgretError
from imgret.tables import look_up, resolve

DRAWING = 1
"""Version of the drawings: raise it when a pixel changes."""

VIEWS = 8


@dataclass(frozen=True)
class Scene:
    """A drawing and where to look at it: `focus` is x, y as fractions of its width and height."""

    target: str
    focus: tuple[float, float] = (0.5, 0.5)


SCENES: dict[str, Scene] = {
    "lighthouse": Scene("imgret.demo.landscapes:lighthouse", focus=(0.6, 0.45)),
    "mountains": Scene("imgret.demo.landscapes:mountains", focus=(0.5, 0.5)),
    "harbour": Scene("imgret.demo.landscapes:harbour", focus=(0.48, 0.6)),
    "train": Scene("imgret.demo.railway:train", focus=(0.62, 0.62)),
    "facade": Scene("imgret.demo.town:facade"),
    "market": Scene("imgret.demo.town:market"),
    "book": Scene("imgret.demo.things:book"),
    "tea-tin": Scene("imgret.demo.things:tea_tin"),
    "plate": Scene("imgret.demo.things:plate"),
    "stamp": Scene("imgret.demo.things:stamp"),
    "quilt": Scene("imgret.demo.handiwork:quilt"),
    "mosaic": Scene("imgret.demo.handiwork:mosaic"),
}


@dataclass(frozen=True)
class Collection:
    """Where the pictures and labels are.

    folder  `<scene>/view-1.jpg` to `view-8.jpg` lie in it
    labels  CSV with path (relative to `folder`) and label (the scene)
    drawn   pictures drawn now; 0 when all of them were there
    """

    folder: Path
    labels: Path
    scenes: tuple[str, ...]
    views: int
    drawn: int = 0

    @property
    def paths(self) -> list[str]:
        """Paths relative to `folder`, scene by scene."""
        return [f"{scene}/view-{number}.jpg" for scene in self.scenes for number in range(1, self.views + 1)]


def draw_collection(
    output: Path,
    *,
    scenes: Sequence[str] = tuple(SCENES),
    views: int = VIEWS,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Collection:
    """Draw `output/collection/<scene>/view-N.jpg` and `output/labels.csv`, unless this version did already.

    The same seed gives the same pictures, whichever other scenes are drawn. `progress` is told (pictures
    drawn, pictures in all) after every scene. UnknownNameError for a scene that is not in `SCENES`.
    """
    for scene in scenes:
        look_up(SCENES, "scene", scene)
    if views < 1:
        raise ValueError(f"views must be at least 1, got {views}")
    if output.exists() and not output.is_dir():
        raise ImgretError(f"{output} is a file; name a folder for the demo with -o FOLDER")
    folder = output / "collection"
    made = Collection(folder, output / "labels.csv", tuple(scenes), views)
    note = output / "drawing.json"
    card = {
        "schema": "imgret.demo/1",
        "drawing": DRAWING,
        "seed": seed,
        "scenes": list(scenes),
        "views": views,
    }
    if _read(note) == card and made.labels.is_file() and all((folder / path).is_file() for path in made.paths):
        return made
    done = 0
    with ThreadPoolExecutor(2) as pool:  # Pillow and numpy let go of the interpreter while they work
        for count in pool.map(lambda scene: _draw_scene(folder, scene, views, seed), scenes):
            done += count
            if progress is not None:
                progress(done, len(scenes) * views)
    table = io.StringIO()
    lines = csv.writer(table, lineterminator="\n")
    lines.writerow(("path", "label"))
    lines.writerows((path, path.partition("/")[0]) for path in made.paths)
    atomic.write_text(made.labels, table.getvalue())
    atomic.write_json(note, card)
    return Collection(folder, made.labels, made.scenes, views, drawn=done)


def _draw_scene(folder: Path, scene: str, views: int, seed: int) -> int:
    """Draw one scene and write its views; how many there are."""
    import numpy as np

    from imgret.demo.views import view

    place = folder / scene
    place.mkdir(parents=True, exist_ok=True)
    number = list(SCENES).index(scene)
    master = resolve(SCENES[scene].target)(np.random.default_rng([seed, number]))
    for n in range(views):
        data = view(master, n, SCENES[scene].focus, np.random.default_rng([seed, number, n + 1]))
        atomic.write_bytes(place / f"view-{n + 1}.jpg", data)
    return views


def _read(note: Path) -> object:
    try:
        return json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
