"""SuperGlobal re-ranking beside a plain loop that forms every z."""

from __future__ import annotations

import numpy as np
import pytest

from imgret.rerank import superglobal as module
from imgret.rerank.superglobal import superglobal
from tests.rerank import loops
from tests.rerank.toy import groups


@pytest.mark.parametrize(("k", "beta"), [(3, 0.15), (9, 0.15), (0, 0.15), (1, 1.0), (100, 0.05)])
@pytest.mark.parametrize("spread", [0.5, 3])
def test_it_is_the_formula(k, beta, spread):
    x = groups(0, 31, 7, spread).astype(np.float64)
    assert superglobal(x[0], x[1:], k, beta) == pytest.approx(loops.superglobal(x[0], x[1:], k, beta), abs=1e-12)


def test_float32_is_the_same_to_its_precision():
    x = groups(0, 31, 7)
    assert x.dtype == np.float32
    assert superglobal(x[0], x[1:]) == pytest.approx(loops.superglobal(x[0], x[1:], 9, 0.15), abs=1e-6)


def test_blocks_of_similarities_change_nothing(monkeypatch):
    x = groups(2, 24, 5)
    whole = superglobal(x[0], x[1:])
    monkeypatch.setattr(module, "_AT_ONCE", 7)
    assert superglobal(x[0], x[1:]) == pytest.approx(whole, abs=1e-6)


def test_beta_0_refines_nothing():
    # z = x, so S1 = X q, e is the element-wise max of the k + 1 nearest, S2 = X e
    x = groups(3, 20, 6).astype(np.float64)
    q, x = x[0], x[1:]
    e = x[np.argsort(-(x @ q))[:4]].max(0)
    assert superglobal(q, x, 3, 0.0) == pytest.approx((x @ q + x @ e) / 2)


def test_two_images_by_hand():
    # q = (1, 0), x = (1, 0) and (0.6, 0.8), k = 1, beta = 0.5: w = 0.5 * 0.6 = 0.3
    # z_0 = (1.18, 0.24)/1.3, z_1 = (0.9, 0.8)/1.3;  S1 = 1.18/1.3, 0.9/1.3;  e = (1.18, 0.8)/1.3
    # S2_0 = (1.18^2 + 0.24 * 0.8)/1.69, S2_1 = (0.9 * 1.18 + 0.64)/1.69
    scores = superglobal(np.array([1.0, 0.0]), np.array([[1.0, 0.0], [0.6, 0.8]]), 1, 0.5)
    assert scores == pytest.approx([(1.18 / 1.3 + 1.5844 / 1.69) / 2, (0.9 / 1.3 + 1.702 / 1.69) / 2])


def test_a_single_candidate_is_scored():
    # z = e = x: (q.x + x.x)/2 = (0.6 + 1)/2
    assert superglobal(np.array([1.0, 0.0]), np.array([[0.6, 0.8]])) == pytest.approx([0.8])


def test_duplicates_are_each_others_neighbours_and_score_the_same():
    x = groups(4, 12, 6).astype(np.float64)
    x = np.concatenate([x, x[3:4], x[3:4]])
    scores = superglobal(x[0], x[1:], 4)
    assert scores[2] == pytest.approx(scores[-1], abs=1e-12)
    assert scores[2] == pytest.approx(scores[-2], abs=1e-12)
    assert scores == pytest.approx(loops.superglobal(x[0], x[1:], 4, 0.15), abs=1e-12)


def test_an_image_whose_nearest_are_all_opposite_stays_as_it_is():
    # weights of the last: 1 - 9 * 0.15 < 0, so z = x = (-1, 0): S1 = -1, e = (1, 0), S2 = -1
    x = np.array([[1.0, 0.0]] * 10 + [[-1.0, 0.0]])
    scores = superglobal(np.array([1.0, 0.0]), x, 9, 0.15)
    assert scores[-1] == pytest.approx(-1)
    assert scores[:10] == pytest.approx(1)
