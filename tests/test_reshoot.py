"""The benchmark of phone photographs (tests/benchmarks/reshoot.py): its camera and its chance, on drawn pictures."""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from tests.pictures import textured


@pytest.fixture
def phone(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parent / "benchmarks")
    return importlib.import_module("phone")


@pytest.fixture
def reshoot(phone: ModuleType) -> ModuleType:
    return importlib.import_module("reshoot")


def test_a_table_seen_from_above_is_only_scaled_and_moved(phone):
    H = phone.homography(tilt=0, towards=70, turn=0, focal=600, at=(30, -20), distance=2)
    # 600 / 2 = 300 pixels a unit: (0.5, 0.25) is 150 right and 75 below the centre at (30, -20)
    assert phone.project(H, np.array([(0.5, 0.25)])) == pytest.approx(np.array([(180, 55)]))


def test_a_turn_goes_clockwise_on_screen(phone):
    H = phone.homography(tilt=0, towards=0, turn=90, focal=600, at=(0, 0), distance=2)
    assert phone.project(H, np.array([(1.0, 0.0)])) == pytest.approx(np.array([(0, 300)]))  # y is down


def test_the_side_that_is_tilted_away_looks_smaller(phone):
    H = phone.homography(tilt=30, towards=0, turn=0, focal=600, at=(0, 0), distance=2)
    # around the x axis, (1, 1) comes to (1, cos 30°, 2 + sin 30° = 2.5) and (1, -1) to (1, -cos 30°, 1.5)
    below, above = phone.project(H, np.array([(1.0, 1.0), (1.0, -1.0)]))
    assert below == pytest.approx([600 / 2.5, 600 * 3**0.5 / 2 / 2.5])
    assert above == pytest.approx([600 / 1.5, -600 * 3**0.5 / 2 / 1.5])


def test_the_sheet_fills_the_frame_as_promised_and_at_most_one_corner_is_outside(phone):
    for seed in range(10):
        shape = np.array([1.0, 0.7])
        frame, H = phone.aim(shape, np.random.default_rng(seed))
        corners = phone.project(H, phone.SQUARE * shape)
        assert ((corners > 0) & (corners < frame)).all(1).sum() >= 3
        (x, y), (u, v) = corners[2] - corners[0], corners[3] - corners[1]
        assert 0.29 < (x * v - y * u) / 2 / (640 * 480) < 0.81  # half the cross product of the diagonals


def test_a_picture_lies_where_the_homography_says(phone, reshoot):
    picture = Image.new("RGB", (40, 20), "blue")
    picture.paste("red", (0, 0, 20, 20))
    H = np.array([(1, 0, 100), (0, 1, 80), (0, 0, 1)]) @ phone.homography(40, 20, 15, 200, (0, 0), 2)
    where = reshoot.placed((1, 0.5), 0, (0, 0))
    seen, mask = reshoot.laid(picture, where, H, (200, 160))
    for (x, y), colour in {(-0.47, -0.22): (255, 0, 0), (0.47, 0.22): (0, 0, 255), (0.47, -0.22): (0, 0, 255)}.items():
        at = tuple(np.floor(phone.project(H, np.array([(x, y)]))[0]).astype(int).tolist())
        assert (seen.getpixel(at), mask.getpixel(at)) == (colour, 255)
    for beyond in ((-0.53, -0.28), (0.53, 0.28)):
        assert mask.getpixel(tuple(np.floor(phone.project(H, np.array([beyond]))[0]).astype(int).tolist())) == 0


def test_equal_seeds_and_names_give_equal_pixels_and_no_others(reshoot):
    original, *others = (textured(seed, 80, 60) for seed in range(5))

    def pixels(name: str, seed: int) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(reshoot.reshoot(name, original, others, seed))))

    first = pixels("a.jpg", 0)
    assert np.array_equal(first, pixels("a.jpg", 0))
    assert not np.array_equal(first, pixels("a.jpg", 1))
    assert not np.array_equal(first, pixels("b.jpg", 0))
