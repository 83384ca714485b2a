from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgret.errors import GroundTruthError, RankingError
from imgret.evaluation.evaluate import evaluate
from imgret.evaluation.variants import Variant, known
from imgret.ground_truth import labels, revisitop
from imgret.ids import IdTable
from imgret.ranking import Ranking

IMAGES = [f"i{n:02d}.jpg" for n in range(12)]


def truth(*gnd, imlist=IMAGES, qimlist=None):
    """A ground truth with one entry per keyword dict; lists left out are empty."""
    entries = [{"bbx": None, "easy": [], "hard": [], "junk": [], **entry} for entry in gnd]
    names = qimlist or [f"q{number}.jpg" for number in range(len(entries))]
    data = {"imlist": list(imlist), "qimlist": names, "gnd": entries}
    return revisitop.read("gnd.json", json.dumps(data).encode())


def ranked(*lines, queries=None, database=IMAGES):
    """A ranking with the given rows; scores fall by one a place."""
    rows = np.array(lines, np.int32).reshape(len(lines), -1)
    scores = np.broadcast_to(-np.arange(rows.shape[1], dtype=np.float32), rows.shape)
    return Ranking(queries or [f"q{n}.jpg" for n in range(len(lines))], rows, scores, database)


IDENTITY = list(range(12))


@pytest.mark.parametrize(
    ("ok", "junk", "places", "ap", "precisions"),
    [
        ([0, 2, 5], [], 12, 0.677778, (1, 0.4, 0.5)),  # kq = 6 for k = 10
        ([0, 2, 5], [1], 12, 0.85, (1, 0.6, 0.6)),  # ranks 0, 1, 4: (1 + 1 + (2/4+3/5)/2)/3; kq = 5 for both
        ([1], [0], 12, 1.0, (1, 1, 1)),
        ([3, 4], [0, 1, 2], 12, 1.0, (1, 1, 1)),
        ([0, 1, 11], [], 12, 0.738636, (1, 0.4, 0.2)),
        ([11], [], 12, 0.041667, (0, 0, 0)),
        ([2, 9], [], 5, 0.083333, (0, 1 / 3, 1 / 3)),  # 9 was cut off: it adds 0 and P stays 2
        ([9], [], 5, 0.0, (0, 0, 0)),  # the official code fails here
    ],
)
def test_revisitop_vectors_on_an_identity_ranking(ok, junk, places, ap, precisions):
    scores = evaluate(truth({"easy": ok, "junk": junk}), [ranked(IDENTITY[:places])])
    easy = scores.subsets["easy"]
    assert easy["map"] == easy["map_trapezoid"] == pytest.approx(ap, abs=1e-6)
    assert (easy["mp@1"], easy["mp@5"], easy["mp@10"]) == pytest.approx(precisions)
    assert scores.counts.truncated == (places < 12)


def test_easy_medium_and_hard_share_one_ranking_and_differ_in_junk():
    # Ranking 0..11, easy {1}, hard {3}, junk {0}.
    # easy: without 0 and 3 rank 0 -> 1; hard: without 0 and 1 rank 1 -> 0.25
    # medium: without 0 ranks 0 and 2 -> (1 + (1/2+2/3)/2)/2
    scores = evaluate(truth({"easy": [1], "hard": [3], "junk": [0]}), [ranked(IDENTITY)])
    assert [scores.subsets[name]["map"] for name in ("easy", "medium", "hard")] == pytest.approx(
        [1, (1 + (1 / 2 + 2 / 3) / 2) / 2, 0.25]
    )


def test_a_query_without_positives_is_left_out_and_listed():
    scores = evaluate(truth({"easy": [0]}, {"hard": [0]}), [ranked(IDENTITY, IDENTITY)])
    assert scores.subsets["easy"]["map"] == 1
    assert (scores.subsets["easy"]["queries"], scores.subsets["easy"]["skipped"]) == (1, 1)
    assert scores.skipped("easy") == ["q1.jpg"]
    assert scores.skipped("medium") == []


def test_without_any_positive_everything_is_null_and_nothing_is_nan():
    document = evaluate(truth({"junk": [0]}), [ranked(IDENTITY)]).to_json({})
    assert all(
        value is None for name, value in document["subsets"]["easy"].items() if name not in ("queries", "skipped")
    )
    json.dumps(document, allow_nan=False)


def test_a_ranking_with_duplicates_is_refused():
    # counted twice, the official code gives average precision 2.0 here
    with pytest.raises(RankingError, match=r"i00\.jpg stands in it more than once"):
        evaluate(truth({"easy": [0]}), [ranked([0, 0, 1, 2])])


def test_depth_cuts_every_ranking():
    scores = evaluate(truth({"easy": [2, 9]}), [ranked(IDENTITY)], depth=5)
    assert scores.subsets["easy"]["map"] == pytest.approx(1 / 12)
    assert scores.protocol["depth"] == 5
    assert evaluate(truth({"easy": [2]}), [ranked(IDENTITY)]).protocol["depth"] == "all"


def test_places_without_a_result_are_no_images():
    scores = evaluate(truth({"easy": [11]}), [ranked([2, 11, -1, -1])])
    assert scores.subsets["easy"]["map"] == pytest.approx(0.25)
    assert scores.counts.truncated == 1


def test_blocks_of_queries_score_as_one_ranking():
    gnd = truth({"easy": [0]}, {"easy": [3, 4]}, {"easy": [11]})
    whole = evaluate(gnd, [ranked(IDENTITY, IDENTITY[::-1], IDENTITY)])
    lines = [IDENTITY, IDENTITY[::-1], IDENTITY]
    blocks = [ranked(line, queries=[f"q{n}.jpg"]) for n, line in enumerate(lines)]
    assert evaluate(gnd, reversed(blocks)) == whole
    assert [line.query for line in whole.per_query[::3]] == ["q0.jpg", "q1.jpg", "q2.jpg"]


def test_images_the_ground_truth_does_not_list_are_negatives():
    database = [*IMAGES, "other/a.jpg", "other/b.jpg"]
    scores = evaluate(truth({"easy": [0]}), [ranked([12, 0, *range(1, 12), 13], database=database)])
    assert scores.subsets["easy"]["map"] == pytest.approx(0.25)
    assert scores.counts.distractors == 2
    assert scores.counts.database == 14


def test_the_querys_own_image_is_ignored_when_the_ground_truth_does_not_list_it():
    gnd = truth({"easy": [1]}, qimlist=["i00.jpg"])
    scores = evaluate(gnd, [ranked(IDENTITY, queries=["i00.jpg"])])
    assert scores.subsets["easy"]["map"] == 1
    assert scores.counts.self_ignored == 1


def test_the_querys_own_image_is_ignored_when_only_the_index_has_it():
    gnd = truth({"easy": [1]}, imlist=IMAGES[1:], qimlist=["i00.jpg"])
    scores = evaluate(gnd, [ranked([0, 2, 1], queries=["i00.jpg"])], allow_missing=True)
    assert scores.subsets["easy"]["map"] == 1  # number 1 of the list is i02, right behind the query itself
    assert scores.counts.self_ignored == 1
    assert scores.counts.distractors == 1


def test_a_boxed_query_does_not_find_the_image_it_was_cut_from():
    gnd = truth({"easy": [1]}, qimlist=["i00"])
    scores = evaluate(gnd, [ranked(IDENTITY, queries=["i00.jpg#1,2,30.5,40"])])
    assert scores.subsets["easy"]["map"] == 1
    assert scores.counts.self_ignored == 1


def test_the_querys_own_image_counts_when_the_ground_truth_lists_it():
    gnd = truth({"easy": [0, 1]}, qimlist=["i00.jpg"])
    scores = evaluate(gnd, [ranked(IDENTITY, queries=["i00.jpg"])])
    assert scores.per_query[0].found == 2
    assert scores.counts.self_ignored == 0


def test_a_search_that_left_the_query_out_is_not_cut_short():
    gnd = truth({"easy": [1]}, qimlist=["i00.jpg"])
    assert evaluate(gnd, [ranked(IDENTITY[1:], queries=["i00.jpg"])]).counts.truncated == 0


def test_images_the_index_lacks_are_refused_by_name_or_counted_as_missed():
    gnd = truth({"easy": [0, 11], "junk": [10]})
    short = ranked(IDENTITY[:10], database=IMAGES[:10])
    with pytest.raises(GroundTruthError, match=r"2 of .* 12 images .*i10\.jpg, i11\.jpg.*--allow-missing"):
        evaluate(gnd, [short])
    scores = evaluate(gnd, [short], allow_missing=True)
    assert scores.subsets["easy"]["map"] == 0.5  # (1 + 0)/2
    assert scores.missing == ["i10.jpg", "i11.jpg"]
    assert scores.counts.missing == 2
    assert scores.counts.truncated == 0


def test_a_ranking_from_a_file_lacks_nothing_it_only_did_not_find():
    gnd = truth({"easy": [0, 11]})
    found = ranked([1, 0], database=[IMAGES[3], IMAGES[0]][::-1])
    scores = evaluate(gnd, [found], whole_database=False)
    assert scores.subsets["easy"]["map"] == pytest.approx(0.125)  # (1/4 + 0)/2
    assert (scores.counts.database, scores.counts.missing, scores.counts.truncated) == (None, 0, 1)


def test_a_query_no_ranking_answers_is_refused_or_scores_zero():
    gnd = truth({"easy": [0]}, {"easy": [0]})
    with pytest.raises(GroundTruthError, match=r"1 of .* 2 queries .*q1\.jpg"):
        evaluate(gnd, [ranked(IDENTITY)])
    scores = evaluate(gnd, [ranked(IDENTITY)], allow_missing=True)
    assert scores.subsets["easy"]["map"] == 0.5
    assert scores.missing_queries == ["q1.jpg"]
    with pytest.raises(GroundTruthError, match="no ranking"):
        evaluate(gnd, [])


def test_queries_match_by_stem_and_a_path_wins_over_a_stem():
    gnd = truth({"easy": [0]}, qimlist=["a/castle"])
    by_stem = evaluate(gnd, [ranked(IDENTITY, queries=["elsewhere/a/castle.jpg"])])
    assert by_stem.subsets["easy"]["map"] == 1
    both = ranked(IDENTITY[::-1], IDENTITY, queries=["b/castle.jpg", "a/castle"])
    scores = evaluate(gnd, [both])
    assert scores.subsets["easy"]["map"] == 1
    assert scores.counts.other_queries == 1
    with pytest.raises(GroundTruthError, match=r"b/a/castle\.jpg or c/a/castle\.jpg"):
        evaluate(gnd, [ranked(IDENTITY, queries=[f"{f}/a/castle.jpg"]) for f in "bc"])
    with pytest.raises(GroundTruthError, match="none of the ground truth's 1 queries"):
        evaluate(gnd, [ranked(IDENTITY, queries=["b/castle.jpg"])])  # another folder's castle is another castle


def test_a_query_ranked_twice_is_refused():
    with pytest.raises(RankingError, match=r"q0\.jpg is ranked twice"):
        evaluate(truth({"easy": [0]}), [ranked(IDENTITY), ranked(IDENTITY)])


def test_blocks_of_different_databases_are_a_bug_of_the_caller():
    gnd = truth({"easy": [0]}, {"easy": [0]})
    with pytest.raises(ValueError, match="one database"):
        evaluate(gnd, [ranked(IDENTITY), ranked(IDENTITY, queries=["q1.jpg"], database=IMAGES[::-1])])


def test_labels_use_the_finite_sum_and_plain_precision():
    # a: query a0 finds a1 at rank 1 and a2 at rank 2 once itself is out -> finite (1/2 + 2/3)/2
    gnd = labels.read("labels.csv", b"path,label,split\na0,a,both\na1,a,database\na2,a,database\nb,b,database\n")
    scores = evaluate(gnd, [ranked([0, 3, 1, 2], queries=["a0"], database=IdTable.of(["a0", "a1", "a2", "b"]))])
    result = scores.subsets["all"]
    assert result["map"] == result["map_finite"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert result["map_trapezoid"] == pytest.approx(((0 + 1 / 2) / 2 + (1 / 2 + 2 / 3) / 2) / 2)
    assert (result["mp@1"], result["mp@5"]) == (0, 2 / 5)
    assert (result["recall@1"], result["recall@2"], result["recall@10"]) == (0, 1, 1)
    assert "recall@100" not in result
    assert scores.counts.self_ignored == 1
    assert scores.protocol["ap"] == "finite"


def test_the_document_is_the_contracts():
    document = evaluate(truth({"easy": [0]}), [ranked(IDENTITY)]).to_json({"crop": "gt"})
    assert list(document) == ["schema", "format", "protocol", "subsets", "per_query"]
    assert document["schema"] == "imgret.eval/1"
    assert document["format"] == "revisitop"
    assert document["protocol"]["crop"] == "gt"
    assert document["protocol"]["ap"] == "trapezoid"
    assert {"map", "mp@1", "mp@5", "mp@10", "queries", "skipped"} <= document["subsets"]["hard"].keys()
    json.dumps(document, allow_nan=False)


def test_per_query_lines_are_escaped_and_ranks_start_at_one(tmp_path):
    gnd = truth({"easy": [2, 3]}, qimlist=["a\nb"])
    evaluate(gnd, [ranked(IDENTITY, queries=["a\nb"])]).write_per_query(tmp_path / "scores.csv")
    with open(tmp_path / "scores.csv", newline="") as file:
        easy, _medium, hard = csv.DictReader(file)
    assert easy["query"] == "a\\x0ab"
    assert (easy["subset"], easy["first_rank"], easy["positives"], easy["found"]) == ("easy", "3", "2", "2")
    assert float(easy["p@5"]) == pytest.approx(2 / 4)
    assert (hard["ap"], hard["p@1"], hard["first_rank"]) == ("", "", "")


@st.composite
def judged_rankings(draw):
    order = draw(st.permutations(IDENTITY))
    kinds = draw(st.lists(st.sampled_from(["easy", "hard", "junk", "none"]), min_size=12, max_size=12))
    entry = {kind: [i for i in IDENTITY if kinds[i] == kind] for kind in ("easy", "hard", "junk")}
    return list(order), entry


@given(judged_rankings(), st.integers(0, 12))
def test_another_junk_image_anywhere_changes_nothing(case, place):
    order, entry = case
    before = evaluate(truth(entry), [ranked(order)])
    entry = {**entry, "junk": [*entry["junk"], 12]}
    images = [*IMAGES, "junk.jpg"]
    after = evaluate(truth(entry, imlist=images), [ranked([*order[:place], 12, *order[place:]], database=images)])
    assert after.subsets == before.subsets


@given(judged_rankings(), st.integers(1, 5))
def test_distractors_below_everything_change_nothing(case, n):
    order, entry = case
    before = evaluate(truth(entry), [ranked(order)])
    images = [*IMAGES, *(f"distractor{i}.jpg" for i in range(n))]
    after = evaluate(truth(entry), [ranked([*order, *range(12, 12 + n)], database=images)])
    assert after.subsets == before.subsets
    assert after.counts.distractors == n


@given(judged_rankings(), st.permutations(IDENTITY))
def test_the_order_of_the_database_does_not_matter(case, permutation):
    order, entry = case
    before = evaluate(truth(entry), [ranked(order)])
    row_of = {image: row for row, image in enumerate(permutation)}
    images = [IMAGES[image] for image in permutation]
    after = evaluate(truth(entry), [ranked([row_of[image] for image in order], database=images)])
    assert after.subsets == before.subsets


@given(judged_rankings())
def test_positives_first_score_one(case):
    _, entry = case
    order = sorted(IDENTITY, key=lambda image: image not in entry["easy"] + entry["hard"])
    medium = evaluate(truth(entry), [ranked(order)]).subsets["medium"]
    if entry["easy"] or entry["hard"]:
        assert all(value == pytest.approx(1) for name, value in medium.items() if name not in ("queries", "skipped"))


def test_an_image_listed_under_another_name_is_not_the_query_whatever_its_id():
    # query/0.jpg and ref/0.jpg were extracted from two folders, so both have the id 0.jpg; ref/0.jpg is wrong here
    names = [f"ref/{n}.jpg" for n in range(3)]
    gnd = truth({"easy": [1]}, imlist=names, qimlist=["query/0.jpg"])
    ids = [f"{n}.jpg" for n in range(3)]
    line = Ranking(["0.jpg"], np.array([[0, 1, 2]], np.int32), np.array([[3.0, 2.0, 1.0]], np.float32), ids)
    scores = evaluate(gnd, [line])
    assert scores.subsets["easy"]["map"] == 0.25  # the positive stands behind one wrong image
    assert scores.counts.self_ignored == 0


def test_the_ignored_query_takes_no_place_of_a_cut_ranking():
    # the query itself is first, its positive second: at depth 1 the positive is still seen
    gnd = truth({"easy": [1]}, imlist=["a", "b", "c"], qimlist=["a"])
    line = Ranking(["a"], np.array([[0, 1, 2]], np.int32), np.array([[3.0, 2.0, 1.0]], np.float32), ["a", "b", "c"])
    assert evaluate(gnd, [line], depth=1).subsets["easy"]["map"] == 1
    assert evaluate(gnd, [line], depth=1).protocol["depth"] == 1


def test_a_querys_own_image_is_known_by_its_stem_as_all_images_are():
    # as published: bare names; the folder that was indexed holds the query's image too, and it comes first
    gnd = truth({"easy": [0], "hard": [1]}, qimlist=["castle"])
    ids = [*IMAGES, "oxford/jpg/castle.jpg"]
    for query in ("castle", "castle.jpg"):
        scores = evaluate(gnd, [ranked([12, *IDENTITY], queries=[query], database=ids)])
        assert scores.subsets["easy"]["map"] == 1
        assert scores.counts.self_ignored == 1


def test_an_own_image_listed_as_junk_is_told_apart_from_other_junk():
    gnd = truth({"easy": [1], "junk": [0, 2]}, qimlist=["i00.jpg"])
    ways = known(Variant(gnd.rules))
    found = evaluate(gnd, [ranked(IDENTITY, queries=["i00.jpg"])], variants=ways).variants
    assert found["official"]["easy"]["map"] == 1
    # in its place the own image pushes the positive to rank 1: (0/1 + 1/2)/2; the other junk is out as before
    assert found["the query's own image counts as wrong"]["easy"]["map"] == 0.25
    assert found["the query's own image counts as right"]["easy"]["map"] == 1
    # i02 is right too, and the own image is still out: ranks 0 and 1 of 2
    assert found["junk counts as right"]["easy"]["map"] == 1


def test_a_query_with_a_thousand_namesakes_in_other_folders_is_found_at_once():
    ids = [f"img/id{number}/front.jpg" for number in range(3000)]
    gnd = truth({"easy": [1]}, imlist=ids, qimlist=["img/id0/front.jpg"])
    scores = evaluate(gnd, [ranked([0, 1, 2], queries=["root/img/id0/front.jpg"], database=ids)])
    assert scores.counts.self_ignored == 1
    assert scores.subsets["easy"]["map"] == 1
