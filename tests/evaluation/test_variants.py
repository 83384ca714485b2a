from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgret.evaluation.evaluate import evaluate
from imgret.evaluation.variants import OFFICIAL, Places, Variant, combinations, known, tie_runs
from imgret.ground_truth.judgements import GroundTruth, Judgement, Query, Rules
from imgret.ranking import Ranking

RULES = Rules(ap="trapezoid", precision="revisitop")


def places(positives, junk=(), own=-1, ties=(), lost_junk=0):
    return Places(
        np.array(positives, np.int64),
        np.array(junk, np.int64),
        own,
        np.array(ties, np.int64).reshape(-1, 2),
        len(junk) + lost_junk,
    )


def ranks(where, **how):
    found, n_positives = Variant(RULES, **how).ranks(where, len(where.positives))
    return found.tolist(), n_positives


def test_junk_is_taken_out_counted_as_wrong_or_counted_as_right():
    where = places([2, 4], junk=[1, 3])
    assert ranks(where) == ([1, 2], 2)
    assert ranks(where, junk="negative") == ([2, 4], 2)
    assert ranks(where, junk="positive") == ([1, 2, 3, 4], 4)


def test_junk_that_was_not_found_counts_in_the_divisor_where_junk_is_right():
    assert ranks(places([0], lost_junk=1), junk="positive") == ([0], 2)
    assert ranks(places([0], lost_junk=1)) == ([0], 1)


def test_the_own_image_is_taken_out_counted_as_wrong_or_counted_as_right():
    where = places([1, 3], own=0)
    assert ranks(where) == ([0, 2], 2)
    assert ranks(where, own="negative") == ([1, 3], 2)
    assert ranks(where, own="positive") == ([0, 1, 3], 3)


def test_equal_scores_put_the_right_images_first_or_last():
    # places 2 to 5 are equal; one positive at 3, junk at 4
    where = places([0, 3], junk=[4], ties=[(2, 6)])
    assert ranks(where, ties="best") == ([0, 2], 2)
    # worst: the two wrong ones, junk, the positive; junk is taken out, so it is at rank 4
    assert ranks(where, ties="worst") == ([0, 4], 2)


def test_an_own_image_inside_a_run_of_equals_stays_where_it_is():
    where = places([3], own=2, ties=[(2, 5)])
    assert ranks(where, ties="best") == ([2], 1)
    assert ranks(where, ties="worst") == ([3], 1)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.data())
def test_runs_of_equal_scores_are_those_that_hold_a_positive(values, data):
    scores = np.sort(np.array(values, np.float32))[::-1].copy()
    positives = sorted(data.draw(st.sets(st.integers(0, len(values) - 1), min_size=1)))
    expected = set()
    for place in positives:
        same = np.flatnonzero(scores == scores[place])
        if len(same) > 1:
            expected.add((int(same[0]), int(same[-1]) + 1))
    assert {tuple(run) for run in tie_runs(scores, np.array(positives)).tolist()} == expected


@given(st.lists(st.integers(0, 2), min_size=2, max_size=10), st.data())
def test_every_order_of_equals_lies_between_best_and_worst(values, data):
    scores = np.sort(np.array(values, np.float32))[::-1].copy()
    wanted = data.draw(st.sets(st.integers(0, len(values) - 1), min_size=1, max_size=4))
    truth = one_query(sorted(wanted), len(values))
    among = np.array(data.draw(st.permutations(range(len(values)))))
    line = among[np.argsort(-scores[np.arange(len(values))], kind="stable")]
    ranking = Ranking(["q"], line[None].astype(np.int32), scores[None], [f"i{n}" for n in range(len(values))])
    found = evaluate(truth, [ranking], variants=known(Variant(truth.rules))).variants
    low, here, high = (
        found[name]["all"]["map"]
        for name in ("equal scores: right ones last", OFFICIAL, "equal scores: right ones first")
    )
    assert low - 1e-12 <= here <= high + 1e-12


def one_query(positives, size, junk=(), rules=RULES):
    judgement = Judgement(np.array(positives, np.int32), np.array(junk, np.int32))
    return GroundTruth(
        [f"i{n}" for n in range(size)], [Query("q")], {"all": [judgement].__getitem__}, "revisitop", rules, ""
    )


def test_known_variants_change_one_thing_each_and_say_what():
    found = known(Variant(RULES))
    assert next(iter(found)) == OFFICIAL
    assert "AP: trapezoid" not in found  # that is the official rule here
    assert {"AP: finite sum", "junk counts as wrong", "the query's own image counts as right"} <= set(found)
    assert len(set(map(str, found.values()))) == len(found)


def test_combinations_are_all_different_and_hold_the_known_ones():
    found = combinations(Variant(RULES))
    assert len(found) == 4 * 3 * 3 * 3
    copydays = combinations(Variant(Rules(ap="trapezoid", cutoff=20)))
    assert len(copydays) == 5 * 3 * 3 * 3  # its own rule is none of the four
    assert len(set(map(str, found.values()))) == len(found)
    assert set(map(str, known(Variant(RULES)).values())) <= set(map(str, found.values()))


def test_evaluation_under_variants_scores_one_ranking_in_many_ways():
    truth = one_query([0, 2], 6, junk=[1])
    ranking = Ranking(["q"], np.arange(6, dtype=np.int32)[None], -np.arange(6, dtype=np.float32)[None], truth.database)
    found = evaluate(truth, [ranking], variants=known(Variant(truth.rules))).variants
    assert found[OFFICIAL]["all"]["map"] == 1.0
    # junk in its place: positives at 0 and 2: (1 + (1/2 + 2/3)/2)/2
    assert found["junk counts as wrong"]["all"]["map"] == pytest.approx((1 + 7 / 12) / 2)
    assert found["AP: finite sum"]["all"]["map"] == 1.0
