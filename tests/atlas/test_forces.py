"""Forces against loops in float64, and against the gradient of what the paper makes small."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import curve_fit

from imgret.atlas.forces import A, B, Edges, attraction, repulsion

COUNT = 12


@pytest.fixture
def graph() -> np.ndarray:
    """[N, N] symmetric weights, half of them 0."""
    rng = np.random.default_rng(1)
    weights = np.triu(rng.uniform(0, 1, (COUNT, COUNT)) * (rng.uniform(size=(COUNT, COUNT)) < 0.5), 1)
    return weights + weights.T


@pytest.fixture
def at() -> np.ndarray:
    """[2, N], no two nearer than 0.1 to one another."""
    places = np.random.default_rng(2).permutation(36)[:COUNT]
    return np.stack([places // 6, places % 6]) * 0.7 + np.random.default_rng(3).uniform(0, 0.5, (2, COUNT))


def test_attraction_is_that_of_a_slow_loop(graph, at):
    wanted = np.zeros((2, COUNT))
    for i in range(COUNT):
        for j in range(COUNT):
            if i != j:
                squared = sum((at[axis, i] - at[axis, j]) ** 2 for axis in (0, 1))
                pull = -2 * A * B * squared ** (B - 1) / (1 + A * squared**B)
                for axis in (0, 1):  # once as the head of an edge and once as the tail of its twin
                    wanted[axis, i] += 2 * graph[i, j] * pull * (at[axis, i] - at[axis, j])
    found = attraction(at.astype(np.float32), Edges.of(sparse.csr_array(graph)))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_repulsion_is_that_of_a_slow_loop(at):
    others = np.random.default_rng(4).integers(0, COUNT, COUNT)
    at[:, 3] = at[:, others[3]] + 1e-3  # so near that the push has its limit
    wanted = np.zeros((2, COUNT))
    for i in range(COUNT):
        away = [at[axis, i] - at[axis, others[i]] for axis in (0, 1)]
        squared = away[0] ** 2 + away[1] ** 2
        push = 2 * B / ((0.001 + squared) * (1 + A * squared**B))
        length = push * math.sqrt(squared)
        for axis in (0, 1):
            wanted[axis, i] = push * away[axis] * min(1, 4 / length if length else 1)
    np.testing.assert_allclose(repulsion(at.astype(np.float32), others), wanted, rtol=1e-3, atol=1e-5)


def cross_entropy(at: np.ndarray, attracted: np.ndarray, pushed: np.ndarray) -> float:
    """Sum over ordered pairs of -w log q - v log(1 - q)."""
    squared = ((at[:, :, None] - at[:, None]) ** 2).sum(0)
    np.fill_diagonal(squared, 1)
    q = 1 / (1 + A * squared**B)
    return float(-(attracted * np.log(q)).sum() - (pushed * np.log(1 - q)).sum())


def slope(at: np.ndarray, attracted: np.ndarray, pushed: np.ndarray) -> np.ndarray:
    """Its gradient by differences, [2, N]."""
    found, step = np.zeros_like(at), 1e-5
    for place in np.ndindex(*at.shape):
        there = np.zeros_like(at)
        there[place] = step
        up, down = cross_entropy(at + there, attracted, pushed), cross_entropy(at - there, attracted, pushed)
        found[place] = (up - down) / (2 * step)
    return found


def test_attraction_goes_down_the_cross_entropy(graph, at):
    found = attraction(at.astype(np.float32), Edges.of(sparse.csr_array(graph)))
    np.testing.assert_allclose(found, -slope(at, graph, np.zeros_like(graph)), rtol=1e-3, atol=1e-3)


def test_repulsion_goes_down_the_cross_entropy(at):
    for other in range(1, COUNT):  # from image 0, far enough off that what is added to d^2 does not show
        pushed = np.zeros((COUNT, COUNT))
        pushed[0, other] = 1
        found = repulsion(at.astype(np.float32), np.full(COUNT, other))[:, 0]
        np.testing.assert_allclose(found, -slope(at, np.zeros_like(pushed), pushed)[:, 0], rtol=0.02, atol=1e-4)


def test_what_lies_upon_another_is_neither_pulled_nor_pushed_to_infinity():
    at = np.ones((2, 3), np.float32)
    edges = Edges.of(sparse.csr_array(np.ones((3, 3)) - np.eye(3)))
    assert not attraction(at, edges).any()
    assert not repulsion(at, np.array([1, 2, 0])).any()
    at[0, 0] += 1e-6
    assert np.isfinite(attraction(at, edges)).all()
    assert np.linalg.norm(repulsion(at, np.array([1, 2, 0])), axis=0).max() <= 4


def test_the_curve_is_the_best_fit_to_a_plateau_of_a_tenth():
    x = np.linspace(0, 3, 300)
    (a, b), _ = curve_fit(lambda d, a, b: 1 / (1 + a * d ** (2 * b)), x, np.where(x < 0.1, 1, np.exp(-(x - 0.1))))
    assert pytest.approx((a, b), abs=1e-3) == (A, B)
