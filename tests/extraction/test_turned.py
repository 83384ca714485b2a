"""The eight variants of a picture, against files that are really turned and mirrored."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from imgret.extraction.describe import Describer
from imgret.extraction.turned import VARIANTS, TurnedDescriber, turned
from tests.models.tiny import tiny
from tests.pictures import corners

TURNS = (None, Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)


def variants(picture: Image.Image) -> list[Image.Image]:
    """What Pillow makes of it: four turns, then the same of its mirror image."""
    mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return [one if turn is None else one.transpose(turn) for one in (picture, mirrored) for turn in TURNS]


def test_the_variants_are_those_that_pillow_makes_and_all_differ():
    found = list(turned(np.asarray(corners())[None]))  # wider than high, and no symmetry
    assert len(found) == VARIANTS == 8
    for pixels, picture in zip(found, variants(corners()), strict=True):
        assert np.array_equal(pixels[0], np.asarray(picture))
    assert len({pixels.tobytes() + bytes(pixels.shape[1:2]) for pixels in found}) == 8


def test_each_row_holds_the_descriptors_of_one_image_in_that_order():
    describer = Describer(tiny("glam"), torch.device("cpu"))
    pictures = [corners().resize((96, 48)), corners().resize((96, 48)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)]
    rows = TurnedDescriber(describer).begin(np.stack([np.asarray(picture) for picture in pictures]))()
    assert rows.shape == (2, 8 * 512)
    for row, picture in zip(rows.reshape(2, 8, 512), pictures, strict=True):
        expected = [describer(np.array(one)[None])[0] for one in variants(picture)]
        assert row == pytest.approx(np.stack(expected), abs=1e-5)
        assert np.abs(row[1:] - row[0]).max(1).min() > 1e-3  # no variant is another
