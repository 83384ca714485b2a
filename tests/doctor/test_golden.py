"""This machine describes the golden pictures as expected, and every planted mistake is seen."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
import torch
from PIL import Image

from imgret.doctor import golden
from imgret.doctor.golden import Expected, compare
from imgret.errors import WeightsError
from imgret.extraction.describe import Describer
from imgret.images import decode

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def loaded():
    """One model for all: building it takes longer than all the rest."""
    return golden.shipped()


@pytest.fixture(autouse=True)
def quick(monkeypatch, loaded):
    """On the processor in float32 alone, and no clocking."""
    monkeypatch.setattr(golden, "shipped", lambda: loaded)
    monkeypatch.setattr(golden, "rate", lambda describer, seconds: 1.0)
    monkeypatch.setattr(golden, "_places", lambda: [(CPU, "fp32")])


def checked():
    found = golden.check()
    assert [finding.what for finding in found] == ["golden pixels", "golden, cpu fp32"]
    return found


def test_this_machine_describes_the_golden_pictures_as_expected_in_float32():
    pixels, descriptors = checked()
    # Equal pixels, or those of another JPEG decoder; then cosine >= 0.99999. Sums in another order give 1 - 1e-7.
    assert pixels.verdict == "ok" or ".png" not in pixels.words
    assert descriptors.verdict == "ok", descriptors.words
    assert descriptors.figures["deviation"] < 1e-4


def test_half_precision_stays_within_its_own_tolerance(loaded):
    expected = golden.read_expected(weights=loaded.identity["weights"]["sha256"])
    found = golden.describe(Describer(copy.deepcopy(loaded.model), CPU, "bf16"), golden.decode_pictures(expected.names))
    agreement = compare(expected, found, "bf16")
    assert agreement.outside == ()
    assert agreement.cosine < golden.SMALLEST_COSINE["fp32"]  # so float32 needs another tolerance


@pytest.mark.parametrize("wrong", ["BILINEAR", "LANCZOS", "BOX", "NEAREST"])
def test_a_wrong_resize_filter_is_caught(monkeypatch, wrong):
    right = Image.Image.resize

    def resize(self, size, resample=None, **how):
        return right(self, size, getattr(Image.Resampling, wrong), **how)

    monkeypatch.setattr(Image.Image, "resize", resize)
    pixels, descriptors = checked()
    assert pixels.verdict == "warning"
    assert "landscape.png" in pixels.words
    assert descriptors.verdict == "wrong"


def test_swapped_colours_of_a_decoder_are_caught(monkeypatch):
    right = decode._rgb
    monkeypatch.setattr(decode, "_rgb", lambda picture: Image.merge("RGB", right(picture).split()[::-1]))
    pixels, descriptors = checked()
    assert "landscape.png" in pixels.words
    assert "grey.png" not in pixels.words  # grey has no colours to swap
    assert descriptors.verdict == "wrong"


def test_swapped_colours_between_decoder_and_model_are_caught_though_the_pixels_are_right(monkeypatch):
    right = Describer.__call__
    monkeypatch.setattr(Describer, "__call__", lambda self, pixels: right(self, pixels[..., ::-1].copy()))
    pixels, descriptors = checked()
    assert pixels.verdict == "ok"
    assert descriptors.verdict == "wrong"
    assert "landscape.png" in descriptors.words


def test_an_ignored_orientation_is_caught(monkeypatch):
    monkeypatch.setattr(decode, "_turn", lambda picture, apply: None)
    pixels, descriptors = checked()
    assert pixels.words.startswith("turned.jpg of 6 pictures")
    assert descriptors.verdict == "wrong"
    assert "turned.jpg described otherwise" in descriptors.words


def test_one_grey_level_too_many_is_caught(monkeypatch):
    right = Describer.__call__
    monkeypatch.setattr(Describer, "__call__", lambda self, pixels: right(self, np.minimum(pixels, 254) + 1))
    assert checked()[1].verdict == "wrong"


def two(cosine: float) -> tuple[Expected, np.ndarray]:
    """A PNG and a JPEG, each described at this cosine to what is expected."""
    names = ("a.png", "b.jpg")
    found = np.array([[cosine, np.sqrt(1 - cosine**2)]] * 2, np.float32)
    return Expected(names, ("", ""), np.array([[1, 0]] * 2, np.float32), ""), found


def test_a_jpeg_of_another_decoder_may_differ_more_than_a_png():
    expected, found = two(0.9995)
    assert compare(expected, found, "fp32").outside == ("a.png", "b.jpg")
    assert compare(expected, found, "fp32", others=("a.png", "b.jpg")).outside == ("a.png",)
    expected, found = two(0.998)
    assert compare(expected, found, "fp32", others=("a.png", "b.jpg")).outside == ("a.png", "b.jpg")


def test_the_figures_are_the_smallest_cosine_and_the_largest_deviation():
    expected, _ = two(1.0)
    agreement = compare(expected, np.array([[1, 0], [0.6, 0.8]], np.float32), "fp32")
    assert agreement.cosine == pytest.approx(0.6)
    assert agreement.deviation == pytest.approx(0.8)  # of |0.6 - 1| = 0.4 and |0.8 - 0|
    assert (agreement.worst, agreement.outside) == ("b.jpg", ("b.jpg",))


def test_a_descriptor_that_is_no_number_is_outside():
    expected, found = two(1.0)
    found[0] = np.nan
    agreement = compare(expected, found, "bf16")
    assert agreement.outside == ("a.png",)
    finding = golden._descriptors("golden", agreement, 1.0)
    assert (finding.verdict, finding.figures["cosine"]) == ("wrong", None)  # JSON has no NaN


def test_other_weights_than_the_golden_files_are_an_error_that_says_so(monkeypatch, loaded):
    with pytest.raises(WeightsError, match=r"is stale: it belongs to the weights .*run: python tests/benchmarks/write"):
        golden.read_expected(weights="0" * 64)
    identity = {**loaded.identity, "weights": {**loaded.identity["weights"], "sha256": "0" * 64}}
    monkeypatch.setattr(golden, "shipped", lambda: replace(loaded, identity=identity))
    (found,) = golden.check()
    assert found.verdict == "wrong"
    assert "is stale" in found.words


def test_a_damaged_or_foreign_golden_file_is_named(tmp_path):
    path = tmp_path / "expected.safetensors"
    for content in (b"", b"x" * 100, safetensors.numpy.save({"descriptors": np.zeros((1, 2), np.float32)})):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"expected\.safetensors cannot be read"):
            golden.read_expected(path)
    about = {"schema": "imgret.golden/0", "pictures": json.dumps(["a"]), "pixels": json.dumps(["b"]), "weights": "c"}
    path.write_bytes(safetensors.numpy.save({"descriptors": np.zeros((1, 2), np.float32)}, about))
    with pytest.raises(WeightsError, match="is not a file of expected descriptors"):
        golden.read_expected(path)


def test_a_missing_picture_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(golden, "PICTURES", tmp_path)
    (found,) = golden.check()
    assert found.verdict == "wrong"
    assert "landscape.png is missing" in found.words


def test_the_pictures_are_resized_of_many_shapes_and_small():
    expected = golden.read_expected()
    shapes = set()
    for name in expected.names:
        with Image.open(golden.PICTURES / name) as picture:
            assert max(picture.size) > golden.SIZE
            shapes.add((picture.format, picture.mode, np.sign(picture.width - picture.height)))
    assert len(shapes) == 6
    assert sum(path.stat().st_size for path in golden.PICTURES.iterdir()) < 60_000
    assert np.linalg.norm(expected.descriptors, axis=1) == pytest.approx(1, abs=1e-5)
