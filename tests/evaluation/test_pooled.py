from __future__ import annotations

import numpy as np
import pytest

from imgret.evaluation import metrics, pooled
from imgret.evaluation.evaluate import evaluate
from imgret.ground_truth.judgements import GroundTruth, Judgement, Query, Rules
from imgret.ranking import Ranking


def truth(measure, *positives, size=6):
    """Query qN has the given rows as positives."""
    judged = [Judgement(np.array(rows, np.int32), np.zeros(0, np.int32)) for rows in positives]
    queries = [Query(f"q{number}") for number in range(len(judged))]
    rules = Rules(measures=(measure,), headline=measure)
    return GroundTruth([f"r{n}" for n in range(size)], queries, {"all": judged.__getitem__}, "test", rules, "")


def ranked(rows, scores, database):
    rows, scores = np.array(rows, np.int32), np.array(scores, np.float32)
    return Ranking([f"q{n}" for n in range(len(rows))], rows, scores, database)


def test_micro_ap_pools_the_pairs_of_all_queries():
    gt = truth("micro_ap", [0], [1], [])
    # (q2, r0) 0.95 wrong; (q0, r0) 0.9 right; (q1, r1) 0.8 right: (1/2 + 2/3)/2
    ranking = ranked([[0, 2], [1, 2], [0, 2]], [[0.9, 0.1], [0.8, 0.1], [0.95, 0.1]], gt.database)
    found = evaluate(gt, [ranking]).subsets["all"]
    assert found["micro_ap"] == pytest.approx(0.583333, abs=1e-6)
    assert (found["recall@p90"], found["recall@rank1"], found["recall@rank10"], found["pairs"]) == (None, 1, 1, 6)
    assert found["skipped"] == 1  # the distractor query has no positive, yet its pairs count


def test_a_tie_inside_a_query_counts_against_its_rank():
    gt = truth("micro_ap", [0], [1])
    ranking = ranked([[0, 2], [1, 2]], [[0.9, 0.9], [0.5, 0.1]], gt.database)
    found = evaluate(gt, [ranking]).subsets["all"]
    # 0.9 wrong, 0.9 right, 0.5 right: (1/2 + 2/3)/2; q0's pair shares the top of its query
    assert found["micro_ap"] == pytest.approx(0.583333, abs=1e-6)
    assert (found["recall@rank1"], found["recall@rank10"]) == (0.5, 1.0)


def test_the_query_itself_is_no_pair():
    gt = truth("micro_ap", [1])
    ids = ["q0", "r1", "r2"]
    gt = GroundTruth(
        ["r1", "r2"], gt.queries, {"all": lambda _: Judgement(np.array([0]), np.zeros(0, int))}, "t", gt.rules, ""
    )
    ranking = ranked([[0, 1, 2]], [[1.0, 0.9, 0.1]], ids)
    found = evaluate(gt, [ranking]).subsets["all"]
    assert (found["micro_ap"], found["pairs"], found["recall@rank1"]) == (1.0, 2, 1.0)


def test_only_the_best_pairs_are_held_and_the_measure_is_that_of_the_best():
    rng = np.random.default_rng(0)
    keep, taken, all_scores, all_correct = pooled.PairFilter(limit=50), [], [], []
    from imgret.evaluation.database import Line
    from imgret.evaluation.variants import Places

    for _ in range(30):
        scores = np.sort(rng.random(40).astype(np.float32))[::-1].copy()
        positive = np.sort(rng.choice(40, 2, replace=False))
        where = Places(positive, np.zeros(0, np.int64), -1, np.zeros((0, 2), np.int64), 0)
        taken.append(keep.take(Line({}, np.arange(40), scores, False, False, False), where, 2))
        all_scores.append(scores)
        all_correct.append(np.isin(np.arange(40), positive))
    scores, correct = np.concatenate(all_scores), np.concatenate(all_correct)
    best = np.argsort(-scores)[:50]
    found = pooled.copy_detection(taken, limit=50)
    assert found["pairs"] == 50
    assert found["micro_ap"] == pytest.approx(metrics.micro_average_precision(scores[best], correct[best], 60))
    assert sum(len(each.scores) for each in taken) < 600  # of 1,200


def test_gap_takes_the_first_answer_of_each_query():
    gt = truth("gap", [0], [1], [])
    # q2 has no landmark and is answered first: (1/2 + 2/3)/2
    ranking = ranked([[0, 2], [1, 2], [0, 2]], [[0.9, 0.1], [0.8, 0.1], [0.95, 0.1]], gt.database)
    found = evaluate(gt, [ranking]).subsets["all"]
    assert found["gap"] == pytest.approx(0.583333, abs=1e-6)
    assert found["predictions"] == 3


def test_nothing_to_find_gives_null():
    gt = truth("micro_ap", [])
    found = evaluate(gt, [ranked([[0]], [[0.5]], gt.database)]).subsets["all"]
    assert found["micro_ap"] is None
    assert evaluate(truth("gap", []), [ranked([[0]], [[0.5]], gt.database)]).subsets["all"]["gap"] is None
