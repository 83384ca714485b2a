"""simplejpeg beside Pillow: the same pixels, the same refusals, and no need of it."""

from __future__ import annotations

import io
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgret.images.decode import Decoded, DecodeRule, Undecodable, decode
from imgret.images.files import ImageFile
from tests.pictures import textured

try:
    import simplejpeg
except ImportError:
    simplejpeg = None

installed = pytest.mark.skipif(simplejpeg is None, reason="simplejpeg is not installed")
KEPT = DecodeRule(4096)  # larger than every picture here: none is resized


def noisy(seed: int, width: int, height: int) -> Image.Image:
    """Every pixel its own colour: a decoder that did anything differently would be seen."""
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.blend(Image.fromarray(values), textured(seed, width, height), 0.7)


def written(folder: Path, content: bytes, box=None) -> ImageFile:
    path = folder / "x.jpg"
    path.write_bytes(content)
    return ImageFile(path.name, str(path), str(folder), len(content), 0, box)


def jpeg(picture: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", **options)
    return file.getvalue()


def both(image: ImageFile, rule: DecodeRule) -> tuple[Decoded | Undecodable, Decoded | Undecodable]:
    """By simplejpeg where it may, and by Pillow alone."""
    return decode(image, rule), decode(image, replace(rule, fast=False))


def same(one: Decoded | Undecodable, other: Decoded | Undecodable) -> bool:
    if isinstance(one, Undecodable) or isinstance(other, Undecodable):
        return one == other
    facts = [(d.width, d.height, d.bytes, d.sha256) for d in (one, other)]
    return facts[0] == facts[1] and np.array_equal(one.pixels, other.pixels)


@pytest.fixture
def stand_in(monkeypatch):
    """A simplejpeg that paints everything in one colour, at the least size it is asked for; what it was asked."""
    calls = []

    def decode_jpeg(data, colorspace, min_height, min_width, strict):
        calls.append((colorspace, min_height, min_width, strict))
        return np.full((min_height, min_width, 3), 7, np.uint8)

    monkeypatch.setitem(sys.modules, "simplejpeg", types.SimpleNamespace(decode_jpeg=decode_jpeg))
    return calls


@installed
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(64, 48), (61, 47), (333, 17), (1, 1)])
def test_every_pixel_is_that_of_pillow(tmp_path, subsampling, progressive, size):
    image = written(tmp_path, jpeg(noisy(1, *size), quality=90, subsampling=subsampling, progressive=progressive))
    assert same(*both(image, KEPT))


@installed
@pytest.mark.parametrize("wanted", [400, 250, 201, 200, 101, 100, 51, 50, 26, 25, 9])
def test_a_scaled_decode_takes_the_factor_of_pillow(tmp_path, wanted):
    # 401 x 303: the halves, quarters and eighths are rounded up by both
    image = written(tmp_path, jpeg(noisy(2, 401, 303), quality=90))
    one, other = both(image, DecodeRule(wanted, slack=9.0))
    assert isinstance(one, Decoded)
    assert same(one, other)


@installed
def test_a_jpeg_whose_channels_are_red_green_and_blue_is_the_same_too(tmp_path):
    content = jpeg(noisy(3, 64, 48), quality=90, keep_rgb=True)
    assert same(*both(written(tmp_path, content), KEPT))


@installed
def test_damaged_files_end_the_same_with_and_without_it(tmp_path):
    sound = jpeg(noisy(4, 160, 120), quality=80)
    random = np.random.default_rng(0)
    reasons = set()
    for _ in range(150):
        spoilt = bytearray(sound[: int(random.integers(200, len(sound)))] if random.random() < 0.3 else sound)
        for place in random.integers(2, len(spoilt), 3):
            spoilt[place] = int(random.integers(256))
        one, other = both(written(tmp_path, bytes(spoilt)), KEPT)
        assert same(one, other)
        reasons.add(getattr(one, "reason", "decoded"))
    assert reasons >= {"decoded", "truncated"}  # the damage was of both kinds


def test_what_needs_no_resize_is_asked_for_at_the_size_that_pillow_drafts(tmp_path, stand_in):
    image = written(tmp_path, jpeg(textured(5, 401, 303)))
    found = decode(image, DecodeRule(100, slack=9.0))
    # 401 / 100 lets libjpeg go to a quarter, rounded up: 101 x 76
    assert stand_in == [("RGB", 76, 101, True)]
    assert (found.pixels == 7).all()
    assert (found.width, found.height) == (401, 303)


@pytest.mark.parametrize(
    "rule",
    [DecodeRule(60), DecodeRule(4096, fast=False)],
    ids=["a resize follows", "it is switched off"],
)
def test_pillow_decodes_where_there_is_nothing_to_gain(tmp_path, stand_in, rule):
    decode(written(tmp_path, jpeg(textured(6, 400, 300))), rule)
    assert stand_in == []


def test_boxes_and_turned_photographs_are_left_to_pillow(tmp_path, stand_in):
    exif = Image.Exif()
    exif[0x0112] = 6
    content = jpeg(textured(7, 64, 48), exif=exif)
    assert decode(written(tmp_path, content), KEPT).pixels.shape == (64, 48, 3)
    assert decode(written(tmp_path, jpeg(textured(7, 64, 48)), box=(0, 0, 32, 32)), KEPT).pixels.shape == (32, 32, 3)
    assert stand_in == []
    decode(written(tmp_path, content), replace(KEPT, exif=False))
    assert len(stand_in) == 1


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_jpegs_are_left_to_pillow(tmp_path, stand_in, mode):
    decode(written(tmp_path, jpeg(textured(8, 64, 48).convert(mode))), KEPT)
    assert stand_in == []


def test_pngs_and_multi_picture_files_are_left_to_pillow(tmp_path, stand_in):
    for format in ("PNG", "MPO"):
        file = io.BytesIO()
        more = {"save_all": True, "append_images": [textured(10, 64, 48)]} if format == "MPO" else {}
        textured(9, 64, 48).save(file, format, **more)
        decode(written(tmp_path, file.getvalue()), KEPT)
    assert stand_in == []


@pytest.mark.parametrize("answer", ["raises", "gives another size"])
def test_pillow_decodes_what_simplejpeg_does_not(tmp_path, monkeypatch, answer):
    def decode_jpeg(*arguments, **options):
        if answer == "raises":
            raise ValueError("Unsupported marker type")
        return np.zeros((1, 1, 3), np.uint8)

    image = written(tmp_path, jpeg(textured(11, 64, 48)))
    by_pillow = decode(image, replace(KEPT, fast=False))
    monkeypatch.setitem(sys.modules, "simplejpeg", types.SimpleNamespace(decode_jpeg=decode_jpeg))
    assert same(decode(image, KEPT), by_pillow)


def test_nothing_changes_without_it(tmp_path, monkeypatch):
    image = written(tmp_path, jpeg(textured(12, 64, 48)))
    by_pillow = decode(image, replace(KEPT, fast=False))
    monkeypatch.setitem(sys.modules, "simplejpeg", None)  # importing it fails
    assert same(decode(image, KEPT), by_pillow)
