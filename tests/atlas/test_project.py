"""The layout."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from imgret.atlas.map import Atlas
from imgret.atlas.neighbours import nearest_others
from imgret.atlas.project import project
from tests.atlas.data import agreement, clustered, purity, source_of

THREADS = """
import hashlib
from imgret.atlas.map import Atlas
from tests.atlas.data import clustered, source_of
print(hashlib.sha256(Atlas.compute(source_of(clustered(400)[0])).positions.tobytes()).hexdigest())
"""


def components(rows: np.ndarray) -> np.ndarray:
    left, values, _ = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    return left[:, :2] * values[:2]


def test_neighbours_stay_together_far_better_than_on_principal_components():
    rows, cluster = clustered(1000, clusters=20)
    near, _ = nearest_others(rows, 10)
    positions, plain = Atlas.compute(source_of(rows)).positions, components(rows)
    # measured: 0.59 of the ten nearest, and 1.0 of the cluster among those on the map, against 0.16 and 0.43
    assert agreement(positions, near) > 0.5 > 2 * agreement(plain, near)
    assert purity(positions, cluster) > 0.99 > 2 * purity(plain, cluster)


def test_a_cluster_is_in_one_piece():
    rows, cluster = clustered(600, clusters=6)
    positions = Atlas.compute(source_of(rows)).positions
    middles = np.array([np.median(positions[cluster == number], axis=0) for number in range(6)])
    nearest = np.linalg.norm(positions[:, None] - middles, axis=2).argmin(1)
    assert (nearest == cluster).mean() > 0.99


def test_the_map_fills_the_square_and_no_more():
    positions = Atlas.compute(source_of(clustered(500)[0])).positions
    assert positions.dtype == np.float32
    assert positions.min() >= 0
    assert positions.max() <= 1
    assert np.ptp(positions, axis=0).max() > 0.99


def test_a_seed_gives_the_same_bits_and_another_seed_others():
    source = source_of(clustered(300)[0])
    first = Atlas.compute(source).positions
    assert (first == Atlas.compute(source).positions).all()
    assert (first == Atlas.compute(source_of(clustered(300)[0], 77)).positions).all()  # blocks do not matter
    assert (first != Atlas.compute(source, seed=1).positions).any()


def test_the_number_of_threads_makes_no_difference():
    found = set()
    for threads in ("1", "2"):
        environment = {"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads, "PYTHONPATH": ":".join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", THREADS], env=environment, capture_output=True, text=True, check=True
        )
        found.add(done.stdout)
    assert len(found) == 1


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_so_few_images_are_in_the_square_and_apart(count):
    positions = Atlas.compute(source_of(clustered(count)[0])).positions
    assert positions.shape == (count, 2)
    assert np.isfinite(positions).all()
    assert len(np.unique(positions, axis=0)) == count


def test_hundreds_of_copies_break_nothing():
    rows, _ = clustered(500)
    rows[:250] = rows[0]
    positions = Atlas.compute(source_of(rows)).positions
    assert np.isfinite(positions).all()
    assert purity(positions, np.arange(500) < 250) > 0.95


def test_copies_of_one_image_alone_break_nothing():
    positions = Atlas.compute(source_of(np.repeat(clustered(1)[0], 200, axis=0))).positions
    assert np.isfinite(positions).all()


def test_rows_of_zeros_break_nothing():
    assert np.isfinite(Atlas.compute(source_of(np.zeros((40, 8), np.float32))).positions).all()


def test_images_without_neighbours_stay_where_they_were():
    near, cosines = np.full((3, 4), -1, np.int32), np.zeros((3, 4), np.float32)
    positions = project(near, cosines, np.array([[0, 0], [1, 0], [0, 1]]))
    np.testing.assert_allclose(positions, [[0, 0], [1, 0], [0, 1]], atol=0.01)


def test_progress_ends_at_the_end():
    said = []
    near, cosines = nearest_others(clustered(30)[0], 5)
    project(near, cosines, np.zeros((30, 2)), epochs=25, progress=lambda *words: said.append(words))
    assert said == [("laying out the map", done, 25) for done in (10, 20, 25)]


@pytest.mark.parametrize(
    ("near", "cosines", "start", "epochs", "words"),
    [
        ((4, 2), (4, 3), (4, 2), 1, "must be"),
        ((4, 2), (4, 2), (3, 2), 1, "must be"),
        ((4, 2), (4, 2), (4, 3), 1, "must be"),
        ((4,), (4,), (4, 2), 1, "must be"),
        ((4, 2), (4, 2), (4, 2), -1, "epochs"),
    ],
)
def test_what_does_not_fit_is_refused(near, cosines, start, epochs, words):
    with pytest.raises(ValueError, match=words):
        project(np.zeros(near, np.int32), np.zeros(cosines, np.float32), np.zeros(start), epochs=epochs)


def test_a_start_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="finite"):
        project(np.zeros((1, 1), np.int32), np.zeros((1, 1), np.float32), np.array([[np.nan, 0]]))
