"""Large collections: some images are laid out, the others put beside them."""

from __future__ import annotations

import numpy as np
import pytest

from imgret.atlas import map as maps
from imgret.atlas.landmarks import chosen
from imgret.atlas.map import Atlas
from tests.atlas.data import clustered, purity, source_of


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """As if 500 were many."""
    monkeypatch.setattr(maps, "MOST_EXACT", 500)
    monkeypatch.setattr(maps, "LANDMARKS", 300)


def test_images_are_put_near_their_kin():
    rows, cluster = clustered(2000)
    positions = Atlas.compute(source_of(rows)).positions
    assert purity(positions, cluster) > 0.98
    assert positions.min() >= 0
    assert positions.max() <= 1


def test_a_copy_of_a_landmark_is_put_upon_it():
    rows, _ = clustered(2000)
    places = chosen(2000, 300, seed=0)
    other = int(np.setdiff1d(np.arange(2000), places)[0])
    rows[other] = rows[places[7]]
    positions = Atlas.compute(source_of(rows)).positions
    np.testing.assert_allclose(positions[other], positions[places[7]], atol=0.01)


def test_images_that_are_alike_are_not_all_in_one_place():
    positions = Atlas.compute(source_of(clustered(2000)[0])).positions
    assert len(np.unique(positions, axis=0)) > 1950


def test_blocks_make_no_difference_and_the_seed_does():
    rows, _ = clustered(800)
    first = Atlas.compute(source_of(rows, 100)).positions
    assert (first == Atlas.compute(source_of(rows, 333)).positions).all()
    assert (first != Atlas.compute(source_of(rows), seed=1).positions).any()


def test_copies_alone_break_nothing():
    rows = np.repeat(clustered(1)[0], 600, axis=0)
    assert np.isfinite(Atlas.compute(source_of(rows)).positions).all()


def test_fewer_landmarks_than_an_image_is_put_between_are_enough(monkeypatch):
    monkeypatch.setattr(maps, "LANDMARKS", 1)
    assert np.isfinite(Atlas.compute(source_of(clustered(600)[0])).positions).all()


def test_landmarks_are_drawn_once_each():
    places = chosen(1000, 300, seed=3)
    assert len(np.unique(places)) == 300
    assert (np.diff(places) > 0).all()
