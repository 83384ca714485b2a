"""Every vector by hand: the sum stands in the comment."""

from __future__ import annotations

import numpy as np
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


@pytest.mark.parametrize(
    ("ranks", "n_positives", "expected"),
    [
        ([0, 1], 2, 1.0),
        ([0, 2], 2, 0.833333),  # (1/1 + 2/3)/2: also (x, x, y), where the repeated x holds its place
        ([1], 1, 0.5),
        ([0], 200, 0.01),  # 1/min(200, 100)
        ([100], 1, 0.0),  # beyond the first hundred
        ([], 3, 0.0),
    ],
)
def test_average_precision_at_100_divides_by_what_fits(ranks, n_positives, expected):
    assert metrics.average_precision_at_k(ranks, n_positives, 100) == pytest.approx(expected, abs=1e-6)


def test_r_precision_and_map_at_r_look_at_the_first_r_places():
    # R = 3, positives at 0, 2 and 7: two of the first three are right; (1/1 + 2/3 + 0)/3
    assert metrics.r_precision([0, 2, 7], 3) == pytest.approx(2 / 3)
    assert metrics.map_at_r([0, 2, 7], 3) == pytest.approx(5 / 9)


def test_the_n_s_score_counts_the_group_among_the_first_four():
    assert metrics.n_s_score([0, 1, 2, 3]) == 4
    assert metrics.n_s_score([0, 5, 6, 7]) == 1  # only the query itself
    assert metrics.n_s_score([4, 5]) == 0


def test_the_first_place_is_one_past_the_end_when_nothing_is_found():
    assert [metrics.first_place(ranks, 100) for ranks in ([0], [4, 7], [100], [])] == [1, 5, 101, 101]


@pytest.mark.parametrize(
    ("predictions", "expected"),
    [
        # ground truth: a is 1, b is 2, c has no landmark; M = 2
        ([("a", 0.9, True), ("b", 0.8, True), ("c", 0.1, False)], 1.0),
        ([("c", 0.95, False), ("a", 0.9, True), ("b", 0.8, True)], 0.583333),  # (1/2 + 2/3)/2
        ([("a", 0.9, True)], 0.5),
        ([("c", 0.5, False), ("b", 0.5, True), ("a", 0.5, True)], 1.0),  # equal scores: a, b, c
    ],
)
def test_global_average_precision_of_recognition(predictions, expected):
    ids, scores, correct = zip(*predictions, strict=True)
    assert metrics.global_average_precision(np.array(scores), np.array(correct), ids, 2) == pytest.approx(
        expected, abs=1e-6
    )


@pytest.mark.parametrize(
    ("scores", "correct", "expected", "at_p90"),
    [
        ([0.9, 0.8], [1, 1], 1.0, 1.0),
        ([0.9, 0.9, 0.5], [1, 0, 1], 0.583333, None),  # the wrong one of the tie first: (1/2 + 2/3)/2
        ([0.9], [1], 0.5, 0.5),  # the other was not found
        ([0.99, 0.9, 0.8], [0, 1, 1], 0.583333, None),  # a distractor above both
        ([0.5] * 4, [1, 0, 1, 0], 0.416667, None),  # wrong, wrong, right, right: (1/3 + 2/4)/2
        ([], [], 0.0, None),
    ],
)
def test_micro_average_precision_puts_wrong_pairs_first_among_equals(scores, correct, expected, at_p90):
    scores, correct = np.array(scores, float), np.array(correct, bool)
    assert metrics.micro_average_precision(scores, correct, 2) == pytest.approx(expected, abs=1e-6)
    assert metrics.recall_at_precision(scores, correct, 2) == at_p90


def test_recall_at_precision_90_is_the_largest_and_not_the_first():
    # precision 1, 1/2, then 9 more right ones: 10/11 >= 0.9 at the end
    correct = np.array([1, 0] + [1] * 9, bool)
    assert metrics.recall_at_precision(-np.arange(11.0), correct, 20) == pytest.approx(10 / 20)


def test_interpolated_precision_is_the_best_at_that_recall_or_a_higher_one():
    # positives at 0, 3, 4 of 4: precisions 1, 2/4, 3/5 at recall 1/4, 2/4, 3/4; recall 1 is not reached
    found = metrics.precision_recall([0, 3, 4], 4, np.array([0, 0.25, 0.3, 0.5, 0.75, 0.76, 1]))
    assert found == pytest.approx([1, 1, 0.6, 0.6, 0.6, 0, 0])


@given(ranks_of_positives)
def test_perfect_order_is_1_in_every_measure(ranks):
    n = len(ranks)
    perfect = list(range(n))
    measures = [metrics.average_precision_trapezoid, metrics.average_precision_finite, metrics.r_precision]
    assert [measure(perfect, n) for measure in [*measures, metrics.map_at_r]] == pytest.approx([1, 1, 1, 1])
    scores = -np.arange(float(n))
    assert metrics.micro_average_precision(scores, np.ones(n), n) == pytest.approx(1)
    assert metrics.recall_at_precision(scores, np.ones(n), n) == pytest.approx(1)


@given(ranks_of_positives, st.integers(0, 5))
def test_measures_agree_with_trec_eval(ranks, lost):
    import pytrec_eval

    n_positives = len(ranks) + lost
    relevant = {f"d{rank:03d}": 1 for rank in ranks} | {f"lost{number}": 1 for number in range(lost)}
    run = {f"d{place:03d}": 1000.0 - place for place in range(max(ranks) + 3)}
    names = {"map", "map_cut_10", "Rprec", "P_5", "P_10", "iprec_at_recall"}
    theirs = pytrec_eval.RelevanceEvaluator({"q": relevant}, names).evaluate({"q": run})["q"]
    assert metrics.average_precision_finite(ranks, n_positives) == pytest.approx(theirs["map"])
    within = [rank for rank in ranks if rank < 10]
    assert metrics.average_precision_finite(within, n_positives) == pytest.approx(theirs["map_cut_10"])
    assert metrics.r_precision(ranks, n_positives) == pytest.approx(theirs["Rprec"])
    assert [metrics.precision_at_k(ranks, k) for k in (5, 10)] == pytest.approx([theirs["P_5"], theirs["P_10"]])
    # trec_eval asks for int(level R + 0.9) positives, so 2 of 3 are enough for a recall of 0.7: not asked there
    levels = np.array([level for level in np.linspace(0, 1, 11) if not 1e-6 < level * n_positives % 1 < 0.11])
    curve = [theirs[f"iprec_at_recall_{level:.2f}"] for level in levels]
    assert metrics.precision_recall(ranks, n_positives, levels) == pytest.approx(curve)


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, max_size=30, unique_by=lambda pair: pair[0]))
def test_micro_ap_of_distinct_scores_is_trec_evals_map_of_one_query(pairs):
    import pytrec_eval

    n_true = sum(correct for _, correct in pairs) or 1
    theirs = pytrec_eval.RelevanceEvaluator(
        {"q": {f"d{score}": int(correct) for score, correct in pairs} | ({"lost": 1} if n_true == 1 else {})}, {"map"}
    ).evaluate({"q": {f"d{score}": float(score) for score, _ in pairs}})["q"]["map"]
    n_true = sum(correct for _, correct in pairs) + (n_true == 1)
    scores, correct = (np.array(column) for column in zip(*pairs, strict=True))
    assert metrics.micro_average_precision(scores, correct, n_true) == pytest.approx(theirs)
