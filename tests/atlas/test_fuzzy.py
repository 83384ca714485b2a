"""Fuzzy weights against the paper's loop."""

from __future__ import annotations

import math

import numpy as np
import pytest

from imgret.atlas.fuzzy import fuzzy_graph, memberships
from imgret.atlas.neighbours import nearest_others
from tests.atlas.data import clustered


def slow_row(distances: list[float]) -> list[float]:
    """Memberships of one row's neighbours, by a bisection of its own."""
    if not distances:
        return []
    apart = [one for one in distances if one > 1e-6]
    rho = min(apart, default=0.0)
    beyond = [max(0.0, one - rho) for one in distances]
    low, high = 0.0, 1e6
    for _ in range(200):
        sigma = (low + high) / 2
        total = sum(math.exp(-min(one / sigma, 700)) for one in beyond)
        low, high = (low, sigma) if total > math.log2(len(distances) + 1) else (sigma, high)
    sigma = max(sigma, 1e-3 * sum(distances) / len(distances))
    return [math.exp(-min(one / sigma, 700)) if one else 1.0 for one in beyond]


def slow_graph(near: np.ndarray, cosines: np.ndarray) -> np.ndarray:
    count = len(near)
    one_way = np.zeros((count, count))
    for row in range(count):
        there = [place for place, other in enumerate(near[row]) if other >= 0 and other != row]
        distances = [1 - float(cosines[row, place]) for place in there]
        for place, weight in zip(there, slow_row(distances), strict=True):
            one_way[row, near[row, place]] = weight
    both = np.zeros((count, count))
    for i in range(count):
        for j in range(count):
            both[i, j] = one_way[i, j] + one_way[j, i] - one_way[i, j] * one_way[j, i]
    return both


def test_weights_are_those_of_a_slow_loop():
    rows, _ = clustered(80, clusters=4)
    near, cosines = nearest_others(rows, 7)
    near[5, 3:] = -1  # some have fewer
    near[6] = -1
    near[7, 2] = 7  # its own number is no neighbour
    np.testing.assert_allclose(fuzzy_graph(near, cosines).toarray(), slow_graph(near, cosines), atol=1e-6)


def test_the_nearest_counts_in_full_and_all_sum_to_log2_of_their_number_and_one():
    weights = memberships(np.array([[0.9, 0.8, 0.5]]), np.ones((1, 3), bool))
    assert weights[0, 0] == 1
    assert weights[0, 0] > weights[0, 1] > weights[0, 2] > 0
    assert weights.sum() == pytest.approx(2)  # log2(3 + 1)


def test_copies_count_in_full_beside_the_nearest_that_is_none():
    weights = memberships(np.array([[1, 1 - 1e-7, 0.9, 0.5]], np.float32), np.ones((1, 4), bool))
    assert weights[0, :3].tolist() == [1, 1, 1]
    assert weights[0, 3] < 1e-6


def test_a_row_of_copies_alone_has_weights_of_one():
    assert (memberships(np.ones((2, 3)), np.ones((2, 3), bool)) == 1).all()


def test_a_neighbour_that_is_equally_near_weighs_as_much():
    assert (memberships(np.full((1, 5), 0.25), np.ones((1, 5), bool)) == 1).all()


def test_without_neighbours_there_is_no_weight():
    assert not fuzzy_graph(np.full((3, 2), -1), np.zeros((3, 2))).nnz
    assert fuzzy_graph(np.zeros((0, 0), int), np.zeros((0, 0))).shape == (0, 0)
