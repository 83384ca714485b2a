"""Old scores moved below new ones, to the last float32."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgret.rerank.joining import below

F = np.float32
falling = st.lists(st.floats(-1, 1, width=32), max_size=30).map(lambda values: np.sort(np.array(values, F))[::-1])


def test_scores_that_stand_below_stay_as_they_are():
    assert below(np.array([0.4, 0.1], F), 0.5).tolist() == np.array([0.4, 0.1], F).tolist()


def test_scores_that_stand_above_move_down_by_one_constant():
    moved = below(np.array([0.75, 0.5, 0.5, 0.25], F), 0.5)
    assert moved == pytest.approx([0.5, 0.25, 0.25, 0], abs=1e-6)  # all 0.25 lower, and a hair
    assert moved[0] < F(0.5)
    assert moved[1] == moved[2]


def test_an_equal_score_would_be_a_new_tie_and_moves():
    assert below(np.array([0.5], F), 0.5)[0] == np.nextafter(F(0.5), F(0))


def test_rounding_makes_no_tie():
    # around 1000 float32 numbers are 6e-5 apart, these scores 6e-8
    scores = np.array([1, np.nextafter(F(1), F(0)), np.nextafter(F(1), F(0)), 0.5], F)
    moved = below(scores, -1000)
    assert moved[0] > moved[1] == moved[2] > moved[3]
    assert moved[0] < -1000


@given(falling, st.floats(-1e6, 1e6, width=32))
def test_order_and_ties_are_kept_wherever_the_scores_go(scores, last):
    moved = below(scores, last)
    assert moved.dtype == F
    assert (np.sign(np.diff(moved)) == np.sign(np.diff(scores))).all()
    assert (moved < last).all()
