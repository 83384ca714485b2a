from __future__ import annotations

import pytest

from imgret.errors import GroundTruthError
from imgret.ground_truth import load
from imgret.ground_truth.judgements import Query
from imgret.ground_truth.names import unboxed


def four(name, query, good="", ok="", junk=""):
    texts = {"query": query, "good": good, "ok": ok, "junk": junk}
    return {f"{name}_{kind}.txt": text + "\n" for kind, text in texts.items()}


ALL_SOULS = four("all_souls_1", "oxc1_all_souls_000013 136.5 34.1 648.5 955.7", "all_souls_000013\na", "b", "c\nd")


def test_good_and_ok_are_positives_and_junk_is_junk(put, answers):
    truth = load(put(ALL_SOULS))
    assert truth.queries == [Query("all_souls_000013", (136.5, 34.1, 648.5, 955.7))]
    assert answers(truth) == {"all_souls_000013": ["all_souls_000013", "a", "b"]}
    assert answers(truth, junk=True) == {"all_souls_000013": ["c", "d"]}
    assert (truth.rules.ap, truth.rules.precision, truth.notes) == ("trapezoid", "revisitop", ())


def test_the_querys_own_image_is_listed_and_counts(put):
    truth = load(put(ALL_SOULS))
    own = truth.database.index("all_souls_000013")
    assert own in truth.judge(0, "all").positives


def test_paris_has_no_prefix_to_take_off(put):
    truth = load(put(four("defense_1", "paris_defense_000605 1 2 3 4", "paris_defense_000605")))
    assert truth.queries == [Query("paris_defense_000605", (1, 2, 3, 4))]


def test_the_doubled_line_of_all_souls_counts_once_and_is_noted(put, answers):
    truth = load(put(four("all_souls_1", "oxc1_q 1 2 3 4", "a\nall_souls_000091\nb\nall_souls_000091")))
    assert answers(truth) == {"q": ["a", "all_souls_000091", "b"]}
    assert truth.notes == ("all_souls_1_good.txt, line 4: all_souls_000091 stands in it already and counts once",)


def test_queries_cut_from_one_image_are_told_apart_by_their_boxes(put):
    path = put(four("x_1", "oxc1_a 0 0 10 10.5", "a") | four("x_2", "oxc1_a 5 5 20 20") | four("x_3", "oxc1_b 0 0 1 1"))
    truth = load(path)
    assert [query.name for query in truth.queries] == ["a#0,0,10,10.5", "a#5,5,20,20", "b"]
    assert [unboxed(query.name) for query in truth.queries] == ["a", "a", "b"]
    assert truth.database == ["a"]
    put(four("x_2", "oxc1_a 0 0 10 10.5"))
    with pytest.raises(GroundTruthError, match=r"two queries ask for a#0,0,10,10\.5, the second x_2"):
        load(path)


@pytest.mark.parametrize("lists", [{"good": "i", "junk": "i"}, {"good": "i", "ok": "i"}, {"ok": "i", "junk": "i"}])
def test_an_image_in_two_lists_is_refused_with_file_query_and_image(put, lists):
    one, other = lists
    path = put(four("x_1", "q 1 2 3 4", **lists))
    with pytest.raises(GroundTruthError, match=rf"x_1_{other}\.txt: query x_1: image i is both {one} and {other}"):
        load(path)


def test_a_query_without_positives_is_kept(put):
    truth = load(put(four("x_1", "q 1 2 3 4", junk="c")))
    assert truth.judge(0, "all").positives.tolist() == []


@pytest.mark.parametrize("kind", ["query", "good", "ok", "junk"])
def test_a_file_that_is_missing_is_named(put, kind):
    path = put(ALL_SOULS)
    (path / f"all_souls_1_{kind}.txt").unlink()
    with pytest.raises(GroundTruthError, match=rf"all_souls_1_{kind}\.txt cannot be read: No such file"):
        load(path, "oxford5k")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be one line, IMAGE x1 y1 x2 y2, but has 0"),
        ("q 1 2 3 4\nr 1 2 3 4", "must be one line, IMAGE x1 y1 x2 y2, but has 2"),
        ("q 1 2 3", "line 1: expected IMAGE x1 y1 x2 y2, got 'q 1 2 3'"),
        ("q 1 2 3 x", "line 1: the box must be x1 y1 x2 y2 .* got 1 2 3 x"),
        ("q 1 2 1 4", "the box must be x1 y1 x2 y2 with x1 < x2"),
        ("q 1 2 3 nan", "the box must be x1 y1 x2 y2"),
    ],
)
def test_what_is_wrong_with_a_query_is_said(put, text, message):
    with pytest.raises(GroundTruthError, match=message):
        load(put(four("x_1", text, "a")))


def test_the_hash_is_of_names_and_contents(put):
    path = put(ALL_SOULS)
    first = load(path).sha256
    put({"readme.txt": "not of the ground truth"})
    assert load(path).sha256 == first
    put({"all_souls_1_ok.txt": "e\n"})
    assert load(path).sha256 != first
