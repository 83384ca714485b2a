"""Images finished on the device, the processor standing for it: the same calls, the same order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from imgret import workflows
from imgret.extraction import on_device
from imgret.extraction.describe import Describer
from imgret.extraction.job import ExtractJob
from imgret.extraction.on_device import OnDevice
from imgret.extraction.stream import describe_stream
from imgret.extraction.turned import TurnedDescriber
from imgret.images import files
from imgret.images.decode import Decoded, DecodeRule, Undecodable, decode
from imgret.images.files import ImageFile
from imgret.store.store import Store
from imgret.workflows.queries import QueryOptions, describe_queries, find_queries
from tests.pictures import corners, textured
from tests.toy import MeanColour

CPU = torch.device("cpu")
EXACT = DecodeRule(64, scaled=False)


@pytest.fixture(params=["torchcodec", "pillow"])
def rule(request, monkeypatch):
    """The rule of `--decode device`, with TorchCodec and as it is without."""
    if request.param == "pillow":
        monkeypatch.setattr(on_device, "decoder", lambda: None)
    elif on_device.decoder() is None:
        pytest.skip("TorchCodec is not installed")
    return DecodeRule(64, device=True, encoded=request.param == "torchcodec")


def finished(image: ImageFile, rule: DecodeRule) -> np.ndarray:
    """[H, W, 3] pixels of one image, as the model would get them."""
    one = decode(image, rule)
    assert isinstance(one, Decoded)
    pixels, failed = OnDevice(CPU, rule)([(image, one)])
    assert not failed
    assert pixels.shape[1:] == (one.size[1], one.size[0], 3)
    return pixels[0].numpy()


def jpeg(path, picture: Image.Image, **options) -> ImageFile:
    picture.save(path, quality=98, subsampling=0, **options)
    return found(path)


def found(path) -> ImageFile:
    (image,) = files.find([str(path)], root=path.parent).images
    return image


def exact(image: ImageFile, rule: DecodeRule) -> np.ndarray:
    """[H, W, 3] of the ordinary way."""
    return decode(image, replace(rule, device=False, encoded=False, scaled=False)).pixels


def far(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(one.astype(int) - other.astype(int))


@pytest.mark.parametrize("size", [(300, 200), (131, 257), (64, 48), (30, 20)])
def test_finished_pixels_are_near_those_of_the_exact_way(tmp_path, rule, size):
    image = jpeg(tmp_path / "a.jpg", textured(3, *size))
    assert far(finished(image, rule), exact(image, rule)).max() <= (4 if rule.encoded else 8)  # scaled without


def test_a_resize_on_the_device_is_pillows_up_to_its_rounding():
    # noise is the hardest there is; Pillow rounds twice (after each direction), the device once
    pixels = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    resized = Image.fromarray(pixels).resize((64, 43), Image.Resampling.BICUBIC)
    done = on_device.finish(torch.from_numpy(pixels).permute(2, 0, 1), on_device.Rest((64, 43)))
    assert far(done.numpy(), np.asarray(resized)).max() <= 1


@pytest.mark.parametrize("exif", [True, False])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_applied_once_or_not_at_all(tmp_path, rule, orientation, exif):
    noted = Image.Exif()
    noted[0x0112] = orientation
    image = jpeg(tmp_path / "a.jpg", corners(), exif=noted)
    rule = replace(rule, exif=exif)
    pixels = finished(image, rule)
    assert far(pixels, exact(image, rule)).max() <= 3
    # 40 x 20, lying on its side after the turns 5 to 8
    assert pixels.shape == ((40, 20, 3) if exif and orientation > 4 else (20, 40, 3))


def test_an_orientation_in_xmp_alone_is_applied_too(tmp_path, rule):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    image = jpeg(tmp_path / "a.jpg", corners(), xmp=xmp)
    assert finished(image, rule).shape == (40, 20, 3)
    assert far(finished(image, rule), exact(image, rule)).max() <= 3


@pytest.mark.parametrize("crop", ["own", "full"])
@pytest.mark.parametrize("orientation", [1, 6, 3])
def test_nothing_from_outside_a_box_gets_into_it(tmp_path, rule, orientation, crop):
    picture = Image.new("RGB", (400, 300), "white")
    picture.paste("black", (100, 50, 300, 250))
    noted = Image.Exif()
    noted[0x0112] = orientation
    # what is stored is turned back, so that the upright picture is the one above
    stored = picture.transpose(Image.Transpose.ROTATE_90) if orientation == 6 else picture
    stored = picture.transpose(Image.Transpose.ROTATE_180) if orientation == 3 else stored
    image = replace(jpeg(tmp_path / "a.jpg", stored, exif=noted), box=(100, 50, 300, 250))
    rule = replace(rule, crop=crop)
    pixels = finished(image, rule)
    assert pixels.max() <= 2
    assert pixels.shape == exact(image, rule).shape


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_jpegs_are_pillows(tmp_path, rule, mode):
    image = jpeg(tmp_path / "a.jpg", textured(1, 200, 100).convert(mode))
    assert decode(image, rule).pixels.ndim == 3
    assert far(finished(image, rule), exact(image, rule)).max() <= 4


def test_a_jpeg_that_holds_rgb_is_pillows(tmp_path, rule):
    image = jpeg(tmp_path / "a.jpg", textured(1, 200, 100), keep_rgb=True)
    assert decode(image, rule).pixels.ndim == 3
    assert far(finished(image, rule), exact(image, rule)).max() <= 4


def test_only_jpegs_go_over_as_they_are_and_only_with_torchcodec(tmp_path, rule):
    image = jpeg(tmp_path / "a.jpg", textured(1, 200, 100))
    one = decode(image, rule)
    assert one.pixels.ndim == (1 if rule.encoded else 3)
    if rule.encoded:
        assert one.pixels.tobytes() == (tmp_path / "a.jpg").read_bytes()
    textured(1, 200, 100).save(tmp_path / "a.png")
    assert decode(found(tmp_path / "a.png"), rule).pixels.ndim == 3


def test_pixels_that_are_handed_over_are_less_than_twice_as_large_as_wanted(tmp_path):
    rule = DecodeRule(64, device=True)
    for name, size in (("a.png", (1000, 700)), ("a.jpg", (1000, 700)), ("b.png", (127, 90)), ("c.png", (128, 90))):
        textured(1, *size).save(tmp_path / name)
        one = decode(found(tmp_path / name), rule)
        assert max(one.pixels.shape) < 2 * 64
        assert one.pixels.nbytes <= rule.most_bytes
        assert max(one.size) == 64


@pytest.fixture
def mixed(tmp_path):
    """Twelve pictures of two sizes, JPEG and PNG, one that is cut short and one that is damaged inside."""
    for number in range(12):
        size = (200, 100) if number % 3 else (100, 200)
        textured(number, *size).save(tmp_path / f"{number:02d}.{'png' if number % 4 == 2 else 'jpg'}", quality=95)
    whole = (tmp_path / "05.jpg").read_bytes()
    (tmp_path / "05.jpg").write_bytes(whole[: len(whole) // 2])
    whole = (tmp_path / "07.jpg").read_bytes()
    # without its frame header, but with the end that tells a whole file from one cut short
    (tmp_path / "07.jpg").write_bytes(whole[: len(whole) // 2] + b"\xff\xd9")
    return list(files.find([str(tmp_path)]).images)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_every_image_comes_once_in_order_and_fails_alone_for_pillows_reasons(mixed, rule, workers, batch_size):
    describer = Describer(MeanColour(), CPU)
    plain = list(describe_stream(mixed, EXACT, describer, workers=0, batch_size=4))
    done = list(describe_stream(mixed, rule, describer, workers=workers, batch_size=batch_size))
    assert [image.id for image, _ in done] == [image.id for image in mixed]
    for (image, one), (_, other) in zip(done, plain, strict=True):
        if isinstance(other, Undecodable):
            assert one == other
        else:
            assert one.descriptor == pytest.approx(other.descriptor, abs=2e-3), image.id
            assert (one.width, one.height, one.bytes, one.sha256) == (
                other.width, other.height, other.bytes, other.sha256
            )  # fmt: skip
    assert isinstance(plain[5][1], Undecodable)


def test_what_torchcodec_refuses_is_decoded_by_pillow(mixed, monkeypatch):
    asked = []

    def refuse(jpegs, **options):
        asked.append(len(jpegs))
        raise RuntimeError("no")

    plain = [one for _, one in describe_stream(mixed, EXACT, Describer(MeanColour(), CPU), workers=0, batch_size=4)]
    monkeypatch.setattr(on_device, "decoder", lambda: refuse)
    rule = DecodeRule(64, device=True)
    done = [one for _, one in describe_stream(mixed, rule, Describer(MeanColour(), CPU), workers=0, batch_size=4)]
    assert [type(one) for one in done] == [type(one) for one in plain]
    assert max(asked) > 1  # a batch first, then each of it
    assert asked.count(1) >= max(asked)


def test_few_large_jpegs_are_whole_on_the_device_at_once(mixed, monkeypatch):
    if on_device.decoder() is None:
        pytest.skip("TorchCodec is not installed")
    decode_jpeg, asked = on_device.decoder(), []
    monkeypatch.setattr(on_device, "decoder", lambda: lambda jpegs, **rest: asked.append(len(jpegs)) or decode_jpeg(jpegs, **rest))  # fmt: skip # noqa: E501
    monkeypatch.setattr(on_device, "_MOST_PIXELS", 45_000)  # two of 20,000 each
    rule = DecodeRule(64, device=True)
    list(describe_stream(mixed, rule, Describer(MeanColour(), CPU), workers=0, batch_size=8))
    assert max(asked) == 2


def test_turned_queries_take_what_was_finished_on_the_device(mixed, rule):
    sound = [image for image in mixed if "05" not in image.id and "07" not in image.id]
    turned = TurnedDescriber(Describer(MeanColour(), CPU))
    rows = [one.descriptor for _, one in describe_stream(sound, rule, turned, workers=0, batch_size=2)]
    assert np.shape(rows) == (10, 8 * 3)


def test_a_store_decoded_on_the_device_is_searched_with_query_images_on_a_processor(tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(6):
        textured(number, 300, 200).save(tmp_path / "photos" / f"{number}.jpg", quality=95)
    job = ExtractJob(
        images=(str(tmp_path / "photos"),),
        output=tmp_path / "store",
        model="gem",
        backbone="resnet10t",
        weights="none",
        image_size=96,
        workers=0,
        device="cpu",
        precision="fp32",
        decode="device",
        store_dtype="float32",
    )
    report = workflows.extract(job)
    assert report.added == 6
    store = Store.open(tmp_path / "store")
    assert store.recipe["decode"] == "device"
    images, _ = find_queries([str(tmp_path / "photos")])
    options = QueryOptions(device="cpu", workers=0)
    queries = describe_queries(images, "own", store.recipe, store.origin, store.path, store.dim, options, print)
    stored = np.concatenate([block.descriptors for block in store.blocks()])
    assert (queries.descriptors * stored).sum(1) == pytest.approx(1, abs=1e-5)
    (answer,) = workflows.search(tmp_path / "store", [str(tmp_path / "photos" / "4.jpg")], k=1, options=options)
    assert answer.hits[0].id == "4.jpg"
