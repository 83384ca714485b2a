"""Every vector by hand: the sum stands in the comment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgret.evaluation import metrics

ranks_of_positives = st.lists(st.integers(0, 60), min_size=1, max_size=12, unique=True).map(sorted)
places = st.lists(st.integers(0, 60), max_size=20, unique=True)


@pytest.mark.parametrize(
    ("ranks", "n_positives", "trapezoid", "finite"),
    [
        ([0], 1, 1.0, 1.0),  # (1 + 1/1)/2 | 1/1
        ([1], 1, 0.25, 0.5),  # (0/1 + 1/2)/2 | 1/2
        # ((1+1)/2 + (1/2+2/3)/2 + (2/5+3/6)/2)/3 = (1 + 0.583333 + 0.45)/3 | (1/1 + 2/3 + 3/6)/3
        ([0, 2, 5], 3, 0.677778, 0.722222),
        ([3, 4], 2, 0.225, 0.325),  # ((0/3+1/4)/2 + (1/4+2/5)/2)/2 | (1/4 + 2/5)/2
        ([11], 1, 0.041667, 0.083333),  # (0/11 + 1/12)/2 | 1/12
        ([0, 1, 11], 3, 0.738636, 0.75),  # (1 + 1 + (2/11+3/12)/2)/3 | (1 + 1 + 3/12)/3
        ([2], 2, 0.083333, 0.166667),  # ((0/2 + 1/3)/2 + 0)/2 | (1/3 + 0)/2: the missing one stays in P
        ([], 1, 0.0, 0.0),  # nothing found
    ],
)
def test_average_precisions(ranks, n_positives, trapezoid, finite):
    assert metrics.average_precision_trapezoid(ranks, n_positives) == pytest.approx(trapezoid, abs=1e-6)
    assert metrics.average_precision_finite(ranks, n_positives) == pytest.approx(finite, abs=1e-6)


@pytest.mark.parametrize("measure", [metrics.average_precision_trapezoid, metrics.average_precision_finite])
def test_average_precision_needs_a_positive_and_no_more_ranks_than_positives(measure):
    with pytest.raises(ValueError, match="at least one positive"):
        measure([], 0)
    with pytest.raises(ValueError, match="2 ranks of 1"):
        measure([0, 1], 1)


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        ([0, 2, 5], (1, 2 / 5, 3 / 6)),  # last at place 6, so kq = 1, 5, 6
        ([0, 1, 4], (1, 3 / 5, 3 / 5)),  # last at place 5, so kq = 5 for k = 5 and for k = 10
        ([0], (1, 1, 1)),  # kq = 1 throughout
        ([0, 1], (1, 1, 1)),  # kq = 1, 2, 2
        ([0, 1, 11], (1, 2 / 5, 2 / 10)),
        ([11], (0, 0, 0)),
        ([2], (0, 1 / 3, 1 / 3)),  # kq = 1, 3, 3
        ([], (0, 0, 0)),  # the official code fails here
    ],
)
def test_revisitop_precision_stops_at_the_last_positive(ranks, expected):
    assert [metrics.precision_at_k_revisitop(ranks, k) for k in (1, 5, 10)] == pytest.approx(list(expected))


def test_plain_precision_divides_by_k_however_short_the_ranking():
    assert metrics.precision_at_k([0, 2, 5], 5) == pytest.approx(2 / 5)
    assert metrics.precision_at_k([0], 10) == pytest.approx(1 / 10)
    assert metrics.precision_at_k([], 10) == 0


def test_recall_is_whether_there_is_a_hit():
    assert [metrics.recall_at_k([3, 4, 9], k) for k in (1, 3, 4, 5)] == [0, 0, 1, 1]
    assert metrics.recall_at_k([], 1000) == 0


@pytest.mark.parametrize("measure", [metrics.precision_at_k, metrics.precision_at_k_revisitop, metrics.recall_at_k])
def test_k_below_one_is_a_bug_of_the_caller(measure):
    with pytest.raises(ValueError, match="at least 1"):
        measure([0], 0)


@pytest.mark.parametrize(
    ("positives", "junk", "expected"),
    [
        ([0, 2, 5], [], [0, 2, 5]),
        ([0, 2, 5], [1], [0, 1, 4]),
        ([1], [0], [0]),
        ([3, 4], [0, 1, 2], [0, 1]),
        ([5, 0, 2], [9, 1], [0, 1, 4]),  # any order
        ([], [0, 1], []),
    ],
)
def test_positives_move_up_by_the_junk_before_them(positives, junk, expected):
    assert metrics.ranks_without_junk(positives, junk).tolist() == expected


@given(ranks_of_positives, st.integers(0, 5))
def test_trapezoid_is_never_above_finite_and_equal_only_for_leading_positives(ranks, unfound):
    n_positives = len(ranks) + unfound
    trapezoid = metrics.average_precision_trapezoid(ranks, n_positives)
    finite = metrics.average_precision_finite(ranks, n_positives)
    assert 0 <= trapezoid <= finite + 1e-12
    assert finite <= 1 + 1e-12
    leading = ranks == list(range(len(ranks)))
    assert (abs(trapezoid - finite) < 1e-12) == leading


@given(st.integers(1, 50))
def test_perfect_order_scores_one_in_every_measure(n):
    ranks = list(range(n))
    assert metrics.average_precision_trapezoid(ranks, n) == pytest.approx(1)
    assert metrics.average_precision_finite(ranks, n) == pytest.approx(1)
    assert all(metrics.precision_at_k_revisitop(ranks, k) == 1 for k in (1, 5, 10))
    assert all(metrics.precision_at_k(ranks, k) == 1 for k in (1, 5, 10) if k <= n)
    assert metrics.recall_at_k(ranks, 1) == 1


@given(ranks_of_positives, places)
def test_junk_put_in_anywhere_changes_no_rank(ranks, insert_before):
    moved = [rank + sum(place <= rank for place in insert_before) for rank in ranks]
    taken = set(moved)
    length = 61 + len(insert_before)
    order: list[str] = []
    for place in range(61):
        order += ["junk"] * insert_before.count(place) + ["positive" if place in ranks else "negative"]
    assert len(order) == length
    positives = [i for i, what in enumerate(order) if what == "positive"]
    assert set(positives) == taken
    junk = [i for i, what in enumerate(order) if what == "junk"]
    assert metrics.ranks_without_junk(positives, junk).tolist() == ranks


@given(ranks_of_positives)
def test_precision_at_one_is_the_share_of_right_first_places(ranks):
    assert metrics.precision_at_k_revisitop(ranks, 1) == metrics.precision_at_k(ranks, 1) == (ranks[0] == 0)
