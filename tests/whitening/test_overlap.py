from __future__ import annotations

import numpy as np
import pytest

from imgret.whitening import overlap
from imgret.whitening.overlap import Sketch, shared


def ids(start: int, stop: int) -> list[bytes]:
    return [f"{number}.jpg".encode() for number in range(start, stop)]


def test_the_images_in_common_are_counted():
    sketch = Sketch()
    for start in range(0, 100, 30):
        sketch.add(ids(start, min(start + 30, 100)))
    assert len(sketch.hashes) == 100
    assert (np.diff(sketch.hashes.astype(object)) > 0).all()
    assert shared(sketch.hashes, ids(0, 100)) == 100
    assert shared(sketch.hashes, ids(93, 200)) == 7
    assert shared(sketch.hashes, ids(100, 200)) == 0
    assert shared(sketch.hashes, []) == 0


def test_of_a_large_set_a_sample_is_kept_and_the_count_estimated(monkeypatch):
    monkeypatch.setattr(overlap, "KEPT", 500)
    sketch = Sketch()
    for start in range(0, 5000, 1000):
        sketch.add(ids(start, start + 1000))
    assert len(sketch.hashes) == 500
    every = Sketch()
    monkeypatch.setattr(overlap, "KEPT", 10_000)
    every.add(ids(0, 5000))
    assert np.array_equal(sketch.hashes, every.hashes[:500])  # the smallest, whatever the blocks
    monkeypatch.setattr(overlap, "KEPT", 500)
    # 2,000 of the 4,000 asked for are in it; a tenth of them is seen, 400 with a deviation of 10
    assert shared(sketch.hashes, ids(3000, 7000)) == pytest.approx(2000, abs=200)
    assert shared(sketch.hashes, ids(5000, 9000)) == 0
    assert shared(sketch.hashes, ids(0, 5000)) == 5000
