"""Two runs, paired query by query."""

from __future__ import annotations

import itertools
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgret.evaluation.comparison import EXACT_UP_TO, FLIPS, Moved, _random_signed_sums, compare, sign_flip_p

RUNS = st.dictionaries(
    st.sampled_from([f"q{n}" for n in range(20)]),
    st.tuples(st.none() | st.floats(0, 1), st.none() | st.floats(0, 1)),
    min_size=1,
)


def split(runs):
    return {query: a for query, (a, _) in runs.items()}, {query: b for query, (_, b) in runs.items()}


def test_three_queries_by_hand():
    a = {"q1": 0.5, "q2": 0.2, "q3": 0.9}
    b = {"q1": 0.75, "q2": 0.7, "q3": 0.775}
    found = compare(a, b)
    # (0.5 + 0.2 + 0.9) / 3 and (0.75 + 0.7 + 0.775) / 3; differences 0.25, 0.5 and -0.125, of sum 0.625
    assert (found.a, found.b) == (pytest.approx(1.6 / 3), pytest.approx(2.225 / 3))
    assert found.difference == pytest.approx(0.625 / 3)
    # the 8 patterns of signs give the sums +-0.875, +-0.625, +-0.375, +-0.125: 4 of 8 are 0.625 or more from 0
    assert found.p == 0.5
    assert (found.queries, found.better, found.worse, found.equal) == (3, 2, 1, 0)
    assert found.gained == [Moved("q2", 0.2, 0.7), Moved("q1", 0.5, 0.75)]
    assert found.lost == [Moved("q3", 0.9, 0.775)]
    assert found.winner is None


def test_three_queries_that_agree_give_the_smallest_p_they_can():
    # only + + + and - - - are as far from 0 as the sum seen: 2 of 8
    assert sign_flip_p([0.1, 0.2, 0.3]) == 0.25


def test_queries_that_did_not_move_change_no_p():
    assert sign_flip_p([0.1, 0.2, 0.3] + [0.0] * 100) == 0.25
    assert sign_flip_p([]) == sign_flip_p([0.0] * 5) == 1.0


def test_all_patterns_are_tried_as_a_loop_would():
    moved = np.random.default_rng(5).normal(0.3, 1, EXACT_UP_TO)
    far = [
        abs(sum(sign * one for sign, one in zip(signs, moved, strict=True))) >= abs(moved.sum()) - 1e-9
        for signs in itertools.product((1, -1), repeat=len(moved))
    ]
    assert sign_flip_p(moved) == sum(far) / 2**EXACT_UP_TO


def test_a_sum_that_rounds_differently_still_counts_as_the_one_seen():
    # 0.1 + 0.2 + 0.3 is 0.6000000000000001 in one order and 0.6 in another; + + + and - - - count whatever the order
    for order in itertools.permutations([0.1, 0.2, 0.3]):
        assert sign_flip_p(order) == 0.25


def test_random_signs_agree_with_all_patterns():
    # 13 equal differences, all but 3 of one sign: the sum is 7, and |sum| >= 7 means at most 3 signs of one kind:
    # 2 (1 + 13 + 78 + 286) / 8192
    assert sign_flip_p([1.0] * 10 + [-1.0] * 3) == pytest.approx(2 * 378 / 8192, abs=0.01)


def test_random_signs_are_fair_and_independent():
    sums = _random_signed_sums(np.ones(1000), seed=0)  # of 1,000 fair signs: mean 0, variance 1,000
    assert len(sums) == FLIPS
    assert abs(sums.mean()) < 4 * (1000 / FLIPS) ** 0.5
    assert sums.var() == pytest.approx(1000, rel=0.06)


def test_p_is_never_0():
    # no random pattern of 100 signs is all + or all -: 1 / 10,001
    assert sign_flip_p([0.01] * 100) == 1 / 10_001


def test_a_run_that_answers_every_query_a_little_better_wins():
    a = {f"q{n}": n / 100 for n in range(70)}
    b = {query: value + 0.02 + 0.0001 * (n % 3) for n, (query, value) in enumerate(a.items())}
    assert compare(a, b).winner == "b"
    assert compare(b, a).winner == "a"
    assert compare(a, b, higher_is_better=False).winner == "a"


def test_few_queries_win_nothing_however_alike():
    a = {f"q{n}": 0.1 for n in range(5)}
    b = {query: 0.5 + n / 100 for n, query in enumerate(a)}
    found = compare(a, b)
    assert found.interval[0] > 0
    assert found.p == 2 / 32
    assert found.winner is None


def test_where_lower_is_better_a_falling_value_is_a_gain():
    found = compare({"q1": 3, "q2": 5}, {"q1": 1, "q2": 101}, higher_is_better=False)
    assert (found.better, found.worse) == (1, 1)
    assert found.difference == (-2 + 96) / 2
    assert found.gained == [Moved("q1", 3, 1)]
    assert found.lost == [Moved("q2", 5, 101)]


def test_queries_of_one_run_and_queries_without_positives_are_named_and_left_out():
    found = compare(
        {"both": 0.5, "z": 1.0, "gone": 0.0, "none": None}, {"both": 0.5, "new": 1.0, "none": None, "z": None}
    )
    assert (found.queries, found.a, found.b, found.p) == (1, 0.5, 0.5, 1.0)
    assert found.interval is None
    assert found.only_a == ["gone"]
    assert found.only_b == ["new"]
    assert found.undefined == ["none", "z"]


def test_nothing_to_compare_has_no_numbers():
    found = compare({"q": None}, {"q": None})
    assert found.queries == 0
    assert found.a is found.b is found.difference is found.p is found.interval is found.winner is None


def test_the_top_bounds_both_lists_and_equal_moves_stand_in_order_of_name():
    a = dict.fromkeys("dcba", 0.5)
    b = {"a": 0.75, "b": 0.75, "c": 1.0, "d": 0.0}
    assert [one.query for one in compare(a, b, top=2).gained] == ["c", "a"]
    assert compare(a, b, top=0).lost == []


def test_what_two_machines_round_differently_is_equal():
    found = compare({"q": 0.1 + 0.2}, {"q": 0.3})
    assert (found.equal, found.difference, found.p) == (1, 0.0, 1.0)


def test_the_order_of_the_queries_changes_nothing():
    random = np.random.default_rng(1)
    a = {f"q{n}": value for n, value in enumerate(random.random(40).tolist())}
    b = {f"q{n}": value for n, value in enumerate(random.random(40).tolist())}
    assert compare(dict(reversed(a.items())), b) == compare(a, b)


def test_a_seed_gives_the_same_comparison_and_another_seed_nearly_so():
    random = np.random.default_rng(1)
    a = {f"q{n}": value for n, value in enumerate(random.random(40).tolist())}
    b = {f"q{n}": value for n, value in enumerate(random.random(40).tolist())}
    assert compare(a, b, seed=3) == compare(a, b, seed=3)
    assert compare(a, b, seed=3).p != compare(a, b, seed=4).p
    assert compare(a, b, seed=3).p == pytest.approx(compare(a, b, seed=4).p, abs=0.03)


@given(RUNS)
def test_a_run_beside_itself_differs_in_nothing(runs):
    a, _ = split(runs)
    found = compare(a, a)
    assert (found.better, found.worse, found.equal) == (0, 0, found.queries)
    if found.queries:
        assert (found.difference, found.p) == (0, 1)
    if found.queries > 1:
        assert found.interval == (0, 0)


@given(RUNS)
def test_swapping_the_runs_turns_everything_round(runs):
    a, b = split(runs)
    there, back = compare(a, b), compare(b, a)
    assert (there.a, there.b, there.p) == (back.b, back.a, back.p)
    assert (there.better, there.worse, there.equal) == (back.worse, back.better, back.equal)
    assert [(query, y, x) for query, x, y in there.gained] == back.lost
    if there.queries:
        assert there.difference == -back.difference
    if there.queries > 1:
        assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]), abs=1e-12)


@given(RUNS)
def test_every_query_is_counted_once(runs):
    a, b = split(runs)
    a.pop("q3", None)
    b.pop("q5", None)
    found = compare(a, b)
    left_out = [*found.only_a, *found.only_b, *found.undefined]
    assert found.better + found.worse + found.equal == found.queries
    assert found.queries + len(left_out) == len(a.keys() | b.keys())


def test_sixty_thousand_queries_take_seconds_and_little_memory():
    moved = np.random.default_rng(0).normal(0, 1, 60_000)
    tracemalloc.start()
    started = time.perf_counter()
    sign_flip_p(moved)
    taken, (_, peak) = time.perf_counter() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 10  # about 1 s on two cores
    assert peak < 50e6


def test_a_callers_mistake_is_a_value_error():
    with pytest.raises(ValueError, match="finite"):
        sign_flip_p([0.1, float("nan")])
    with pytest.raises(ValueError, match="top"):
        compare({}, {}, top=-1)
