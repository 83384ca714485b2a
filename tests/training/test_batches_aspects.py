from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgret.images import decode as decoding
from imgret.images.files import ImageFile, find
from imgret.training.batches import aspects as reading
from imgret.training.batches.aspects import aspects
from tests.pictures import save, textured


def image_file(path: Path, box=None) -> ImageFile:
    return ImageFile(path.name, str(path), str(path.parent), path.stat().st_size if path.exists() else -1, 0, box)


@pytest.mark.parametrize("workers", [0, 3])
def test_aspects_are_height_over_width_in_the_order_of_the_images(tmp_path, workers):
    sizes = [(64, 48), (48, 64), (50, 50), (100, 20)]
    images = [image_file(save(tmp_path, f"{n}.jpg", n, size)) for n, size in enumerate(sizes)]
    found, failures = aspects(images, workers)
    assert found.tolist() == [48 / 64, 64 / 48, 1.0, 20 / 100]
    assert failures == []


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(("orientation", "aspect"), [(1, 0.5), (3, 0.5), (5, 2.0), (6, 2.0), (8, 2.0)])
def test_an_image_stored_on_its_side_has_the_aspect_of_the_upright_one(tmp_path, format, orientation, aspect):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "x.img"
    textured(1, 40, 20).save(path, format, exif=exif)
    found, _ = aspects([image_file(path)])
    assert found.tolist() == [aspect]
    height, width, _ = decoding.decode(image_file(path), decoding.DecodeRule(512)).pixels.shape
    assert height / width == aspect


def test_a_box_has_its_own_aspect_cut_to_the_image(tmp_path):
    path = save(tmp_path, "x.png", 1, (64, 48))
    # 10 x 30 inside; 40..64 x 8..48 of a box that reaches over the edges: 24 x 40
    found, _ = aspects([image_file(path, (0, 0, 10, 30)), image_file(path, (40, 8, 100, 99))])
    assert found.tolist() == [3.0, 40 / 24]


def test_a_tar_member_is_read_in_place(tmp_path):
    stored = io.BytesIO()
    textured(1, 30, 60).save(stored, "JPEG")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name in ("first.jpg", "second.jpg"):
            member = tarfile.TarInfo(name)
            member.size = len(stored.getvalue())
            archive.addfile(member, io.BytesIO(stored.getvalue()))
    found, failures = aspects(find([str(tmp_path / "a.tar")]).images)
    assert found.tolist() == [2.0, 2.0]
    assert failures == []


def test_what_cannot_be_opened_is_nan_and_listed_with_its_row(tmp_path):
    good = image_file(save(tmp_path, "good.png", 1))
    (tmp_path / "words.jpg").write_text("no picture")
    (tmp_path / "empty.jpg").touch()
    bad = [image_file(tmp_path / name) for name in ("words.jpg", "absent.jpg", "empty.jpg")]
    outside = image_file(tmp_path / "good.png", (64, 0, 70, 10))
    found, failures = aspects([bad[0], good, *bad[1:], outside])
    assert np.isnan(found).tolist() == [True, False, True, True, True]
    assert [row for row, _ in failures] == [0, 2, 3, 4]
    assert [why.partition(":")[0] for _, why in failures] == ["unreadable", "missing", "empty", "unreadable"]


def test_nothing_is_decoded_for_a_format_that_pillow_knows(tmp_path, monkeypatch):
    images = [image_file(save(tmp_path, f"x.{kind}", 1)) for kind in ("jpg", "png", "webp", "tif")]
    monkeypatch.setattr(reading, "decode", lambda image, rule: pytest.fail(f"{image.id} is decoded"))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("pixels are loaded"))
    assert aspects(images)[0].tolist() == [0.75] * 4


def test_a_format_that_pillow_does_not_know_is_decoded(tmp_path, monkeypatch):
    # stands for HEIC, whose extra need not be installed here
    path = save(tmp_path, "x.png", 1, (30, 60))
    monkeypatch.setattr(reading, "_header_size", lambda image: None)
    assert aspects([image_file(path)])[0].tolist() == [2.0]
