from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgret.images.decode import Decoded, DecodeRule, Undecodable, decode
from imgret.images.files import ImageFile
from tests.pictures import corners, textured

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def image_file(path: Path, box=None) -> ImageFile:
    size = path.stat().st_size if path.exists() else -1
    return ImageFile(path.name, str(path), str(path.parent), size, 0, box)


def pixels(path: Path, rule: DecodeRule = DecodeRule(512), box=None) -> np.ndarray:
    found = decode(image_file(path, box), rule)
    assert isinstance(found, Decoded), found
    return found.pixels


def reason(path: Path, rule: DecodeRule = DecodeRule(512), box=None) -> str:
    found = decode(image_file(path, box), rule)
    assert isinstance(found, Undecodable)
    assert found.message
    return found.reason


def near(found, expected, tolerance=12) -> bool:
    return bool(np.abs(np.asarray(found, int) - np.asarray(expected, int)).max() <= tolerance)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_applied_in_every_format(tmp_path, format, orientation):
    upright = corners()
    stored = upright
    # the transposition that the reader will undo
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    if orientation > 1:
        stored = upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "x.img"
    options = {"quality": 95} if format in ("JPEG", "WEBP", "AVIF") else {}
    stored.save(path, format, exif=exif, **options)
    found = pixels(path)
    assert found.shape == (20, 40, 3)
    assert near(found[3, 3], RED, 40)
    assert near(found[3, 36], BLUE, 40)
    assert near(found[16, 36], GREEN, 60)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
def test_orientation_can_be_ignored(tmp_path, format):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "x.img"
    corners().save(path, format, exif=exif)
    found = pixels(path, DecodeRule(512, exif=False))
    assert found.shape == (20, 40, 3)
    assert near(found[3, 3], RED, 40)


def test_the_longer_side_becomes_the_size_and_the_aspect_stays(tmp_path):
    path = tmp_path / "x.png"
    textured(1, 400, 300).save(path)
    assert pixels(path, DecodeRule(100)).shape == (75, 100, 3)


def test_a_small_image_is_never_enlarged(tmp_path):
    path = tmp_path / "x.png"
    textured(1, 30, 20).save(path)
    assert pixels(path, DecodeRule(512)).shape == (20, 30, 3)


def test_what_is_nearly_small_enough_is_left_as_it_is_where_slack_is_given(tmp_path):
    path = tmp_path / "x.png"
    textured(1, 400, 300).save(path)
    assert pixels(path, DecodeRule(267, slack=1.5)).shape == (300, 400, 3)  # 400 <= 1.5 x 267
    assert pixels(path, DecodeRule(266, slack=1.5)).shape == (200, 266, 3)  # 400 > 1.5 x 266
    assert pixels(path, DecodeRule(267, slack=1.5), box=(0, 0, 400, 300)).shape == (200, 267, 3)


def test_a_sliver_keeps_at_least_one_pixel(tmp_path):
    path = tmp_path / "x.png"
    textured(1, 4000, 1).save(path)
    assert pixels(path, DecodeRule(100)).shape == (1, 100, 3)


def test_scaled_decoding_hardly_changes_a_jpeg(tmp_path):
    path = tmp_path / "x.jpg"
    textured(3, 1600, 1200).save(path, quality=95)
    scaled, exact = pixels(path, DecodeRule(200)), pixels(path, DecodeRule(200, scaled=False))
    assert scaled.shape == exact.shape == (150, 200, 3)
    assert np.abs(scaled.astype(int) - exact).mean() < 1.0


def test_transparency_is_laid_over_white(tmp_path):
    path = tmp_path / "x.png"
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(path)
    assert near(pixels(path)[0, 0], WHITE, 0)


def test_palette_grey_and_one_bit_images_become_rgb(tmp_path):
    for number, picture in enumerate(
        (corners().convert("P"), corners().convert("L"), Image.new("1", (8, 8), 1), corners().convert("LA"))
    ):
        path = tmp_path / f"{number}.png"
        picture.save(path)
        assert pixels(path).shape[2] == 3


def test_palette_transparency_is_laid_over_white_too(tmp_path):
    path = tmp_path / "x.gif"
    picture = Image.new("P", (8, 8), 0)
    picture.putpalette([255, 0, 0] + [0, 0, 0] * 255)
    picture.save(path, transparency=0)
    assert near(pixels(path)[0, 0], WHITE, 0)


def test_cmyk_jpegs_have_their_colours(tmp_path):
    path = tmp_path / "x.jpg"
    Image.new("RGB", (16, 16), (200, 30, 30)).convert("CMYK").save(path, quality=95)
    found = pixels(path)[8, 8].astype(int)
    assert found[0] > 150
    assert found[1] < 80


def test_sixteen_bit_grey_is_scaled_and_not_clipped(tmp_path):
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    for suffix in ("png", "tif"):
        path = tmp_path / f"x.{suffix}"
        Image.fromarray(values).save(path)
        found = pixels(path)
        assert found[0, 0, 0] == 0
        assert found[15, 15, 0] == 255
        assert near(found[8, 0, 0], values[8, 0] >> 8, 1)


def test_float_tiffs_are_stretched_by_their_range(tmp_path):
    path = tmp_path / "x.tif"
    Image.fromarray(np.array([[0.0, 0.5], [1.0, 1.0]], np.float32)).save(path)
    assert pixels(path)[:, :, 0].tolist() == [[0, 127], [255, 255]]


def test_the_first_frame_of_an_animation_is_used(tmp_path):
    path = tmp_path / "x.gif"
    Image.new("RGB", (8, 8), "red").save(path, save_all=True, append_images=[Image.new("RGB", (8, 8), "blue")])
    assert near(pixels(path)[0, 0], RED)


def test_the_type_is_told_from_the_bytes_and_not_the_name(tmp_path):
    path = tmp_path / "x.jpg"
    corners().save(path, "GIF")
    assert near(pixels(path)[3, 3], RED)


def test_a_box_of_its_own_fills_the_size_and_a_query_box_keeps_the_scale_of_its_image(tmp_path):
    path = tmp_path / "x.png"
    textured(1, 400, 200).save(path)
    box = (100, 50, 200, 100)  # 100 x 50 of a 400 x 200 image
    # own: the crop's longer side (100) becomes 50
    assert pixels(path, DecodeRule(50), box).shape == (25, 50, 3)
    # full: the image would shrink by 100 / 400, so the crop becomes 100 / 4 = 25 wide
    assert pixels(path, DecodeRule(100, crop="full"), box).shape == (12, 25, 3)


def test_a_box_is_cut_from_the_upright_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "x.png"
    corners().transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    found = pixels(path, DecodeRule(512), (20, 0, 40, 10))
    assert found.shape == (10, 20, 3)
    assert near(found[5, 10], BLUE)


def test_a_scaled_jpeg_is_cropped_where_the_full_one_would_be(tmp_path):
    path = tmp_path / "x.jpg"
    corners().resize((1600, 800), Image.Resampling.NEAREST).save(path, quality=95)
    found = pixels(path, DecodeRule(100, crop="full"), (800, 0, 1600, 400))
    assert found.shape == (25, 50, 3)
    assert near(found[12, 25], BLUE, 20)
    assert near(found[12, 1], BLUE, 20)  # nothing of the red half bleeds in


def test_a_box_outside_the_image_is_unreadable(tmp_path):
    path = tmp_path / "x.png"
    corners().save(path)
    assert reason(path, box=(100, 100, 120, 120)) == "unreadable"


def test_missing_and_empty_files_have_their_own_reasons(tmp_path):
    assert reason(tmp_path / "nowhere.jpg") == "missing"
    (tmp_path / "x.jpg").write_bytes(b"")
    assert reason(tmp_path / "x.jpg") == "empty"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.6, 0.9])
def test_a_file_cut_short_is_never_ok(tmp_path, format, share):
    buffer = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 255, (60, 80, 3), np.uint8)
    Image.fromarray(noise).save(buffer, format)
    path = tmp_path / f"x.{format.lower()}"
    path.write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * share)])
    assert reason(path) in ("truncated", "unreadable")
    if format in ("JPEG", "PNG", "WEBP"):
        assert reason(path) == "truncated"


def test_text_and_noise_are_not_images(tmp_path):
    (tmp_path / "x.txt").write_text("hello")
    assert reason(tmp_path / "x.txt") == "unsupported"
    (tmp_path / "x.jpg").write_text("hello, I am no photograph")
    assert reason(tmp_path / "x.jpg") == "unreadable"


def test_heic_without_the_extra_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    path = tmp_path / "x.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    found = decode(image_file(path), DecodeRule(64))
    assert found.reason == "unsupported"
    assert "imgret[heic]" in found.message
    assert found.retry


def test_camera_raw_is_unsupported_and_not_its_thumbnail(tmp_path):
    path = tmp_path / "x.nef"
    corners().save(path, "TIFF")
    assert reason(path) == "unsupported"


def test_too_large_is_told_from_the_header_alone(tmp_path):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )
    found = decode(image_file(path), DecodeRule(64))
    assert found.reason == "too_large"
    assert "--max-megapixels" in found.message
    assert found.retry


def test_max_pixels_may_be_raised_above_what_pillow_allows(tmp_path):
    path = tmp_path / "x.png"
    corners().save(path)
    Image.MAX_IMAGE_PIXELS, before = 10, Image.MAX_IMAGE_PIXELS
    try:
        assert pixels(path).shape == (20, 40, 3)
        assert Image.MAX_IMAGE_PIXELS == 10
    finally:
        Image.MAX_IMAGE_PIXELS = before


@pytest.mark.slow
@pytest.mark.parametrize(
    "format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "TGA", "ICO", "JPEG2000", "AVIF"]
)
def test_no_damage_ever_raises(tmp_path, format):
    buffer = io.BytesIO()
    corners().save(buffer, format)
    random = np.random.default_rng(7)
    path = tmp_path / "x.img"
    for _ in range(150):
        data = bytearray(buffer.getvalue())
        for place in random.integers(0, len(data), random.integers(1, 12)):
            data[place] = random.integers(0, 256)
        path.write_bytes(bytes(data[: random.integers(1, len(data) + 1)]))
        found = decode(image_file(path), DecodeRule(64, max_pixels=1_000_000))
        assert isinstance(found, Decoded | Undecodable)


def test_facts_describe_the_upright_file(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "x.jpg"
    corners().save(path, exif=exif)
    found = decode(image_file(path), DecodeRule(512))
    assert (found.width, found.height) == (20, 40)
    assert found.bytes == path.stat().st_size
    assert found.sha256 == __import__("hashlib").sha256(path.read_bytes()).digest()
