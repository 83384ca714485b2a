"""The images that are measured: a random sample of the user's own, or pictures drawn here."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imgret.errors import InputError
from imgret.images import files
from imgret.images.files import ImageFile

SEED = 0
_DRAWN = (4000, 3000)  # pixels, as telephones have them


@dataclass(frozen=True)
class Sample:
    """`images` in the order found; `found` is how many there were to take them from."""

    images: tuple[ImageFile, ...]
    found: int
    drawn: bool = False


def take(inputs: Sequence[str], count: int) -> Sample:
    """Up to `count` images of what `imgret extract` finds in `inputs`, the same ones every time."""
    found = files.find(list(inputs)).images
    numbers = sorted(random.Random(SEED).sample(range(len(found)), min(count, len(found))))
    taken = tuple(image for image in map(found.__getitem__, numbers) if not image.missing)
    if not taken:
        raise InputError("none of the images that were named exists; name a folder of photographs")
    return Sample(taken, len(found))


def draw(folder: Path, count: int) -> Sample:
    """`count` drawn photographs of 12 megapixels; nothing is downloaded."""
    from PIL import Image

    from imgret.demo.draw import SCENES, VIEWS, draw_collection

    views = min(count, VIEWS)
    scenes = list(SCENES)[: -(-count // views)]
    made = draw_collection(folder, scenes=scenes, views=views, seed=SEED)
    for name in made.paths:
        path = made.folder / name
        with Image.open(path) as picture:
            large = picture.resize(_DRAWN if picture.width >= picture.height else _DRAWN[::-1])
        large.save(path, quality=90)
    drawn = take([str(made.folder)], count)
    return Sample(drawn.images, drawn.found, drawn=True)
