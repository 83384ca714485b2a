"""The size rule of query boxes in the revisited Oxford/Paris protocol, by numbers.

Crop first; then the longer side of the crop becomes size * max(crop) / max(full image), the scale that the whole image
would get; nothing is enlarged.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgret.images.decode import Decoded, DecodeRule, decode
from imgret.images.files import ImageFile
from tests.pictures import textured


def decoded(path: Path, size: int, box: tuple[int, int, int, int]) -> np.ndarray:
    image = ImageFile(path.name, str(path), str(path.parent), path.stat().st_size, 0, box=box)
    found = decode(image, DecodeRule(size, crop="full"))
    assert isinstance(found, Decoded)
    return found.pixels


@pytest.mark.parametrize(
    ("size", "box", "expected"),
    [
        # 1024 x 768 at size 512: everything is halved
        (512, (100, 50, 500, 250), (200, 100)),  # 512 * 400 / 1024 = 200
        (512, (0, 0, 100, 300), (50, 150)),  # 512 * 300 / 1024 = 150: a high crop of a wide image
        (512, (0, 0, 1024, 768), (512, 384)),  # the whole image
        (300, (10, 20, 310, 120), (88, 29)),  # 300 * 300 / 1024 = 87.9 and 300 * 100 / 1024 = 29.3
        # never enlarged: the whole image fits already, so the crop stays as it is
        (1024, (100, 50, 500, 250), (400, 200)),
        (2000, (100, 50, 500, 250), (400, 200)),
    ],
)
def test_a_crop_gets_the_scale_of_its_whole_image(tmp_path, size, box, expected):
    path = tmp_path / "x.png"
    textured(1, 1024, 768).save(path)
    pixels = decoded(path, size, box)
    assert pixels.shape[1::-1] == expected


def test_corners_between_pixels_are_rounded_as_pillow_rounds_them(tmp_path):
    # to the nearest, halves to the even one: 10.5 -> 10, 20.5 -> 20, 90.51 -> 91, 71.5 -> 72
    corners = (10.5, 20.5, 90.51, 71.5)
    box = tuple(round(corner) for corner in corners)  # as `imgret eval` does with the boxes of a ground truth
    assert box == (10, 20, 91, 72)
    path = tmp_path / "x.png"
    textured(1, 128, 96).save(path)
    with Image.open(path) as picture:
        expected = np.asarray(picture.crop(corners))  # type: ignore[arg-type]
    assert np.array_equal(decoded(path, 1024, box), expected)


@pytest.mark.parametrize(("size", "side"), [(128, 64), (64, 32), (50, 25)])
def test_nothing_outside_the_box_bleeds_into_the_crop(tmp_path, size, side):
    path = tmp_path / "x.png"
    pixels = np.full((128, 128, 3), 255, np.uint8)
    pixels[32:96, 32:96] = 0  # a black square on white, and the box is the square
    Image.fromarray(pixels).save(path)
    found = decoded(path, size, (32, 32, 96, 96))
    assert found.shape == (side, side, 3)
    assert found.max() == 0
