from __future__ import annotations

import pytest

from imgret.errors import GroundTruthError
from imgret.ground_truth.gldv2 import read, read_recognition

SOLUTION = b"""id,images,Usage
q1,a b c,Public
q2,None,Ignored
q3,c,Private
q4,,Ignored
q5,None,Private
"""


def test_public_and_private_are_subsets_and_ignored_queries_are_left_out_and_counted(answers):
    truth = read("r.csv", SOLUTION)
    assert [query.name for query in truth.queries] == ["q1", "q3", "q5"]
    assert answers(truth, "public") == {"q1": ["a", "b", "c"]}
    assert answers(truth, "private") == {"q3": ["c"], "q5": []}
    assert truth.database == ["a", "b", "c"]
    assert truth.notes == ("2 of 5 queries are marked Ignored and left out",)


def test_the_first_hundred_places_count_and_no_more_positives_than_fit():
    rules = read("r.csv", SOLUTION).rules
    assert rules.ap_text == "finite@100 over min(positives, 100)"
    assert (rules.measures, rules.headline) == (("first_place",), "map")


def test_one_usage_makes_one_subset():
    assert list(read("r.csv", b"id,images,Usage\nq,a,Private\n").subsets) == ["private"]


def test_a_file_without_usage_is_one_set(answers):
    truth = read("r.csv", b"ID,Images\nq1,a b\nq2,\nq3,None\n")
    assert answers(truth) == {"q1": ["a", "b"], "q2": [], "q3": []}


def test_columns_stand_in_any_order_and_may_be_quoted(answers):
    truth = read("r.csv", b'"Usage","images","id"\n"Public","a b","q"\n')
    assert answers(truth, "public") == {"q": ["a", "b"]}


def test_an_image_listed_twice_for_a_query_counts_once(answers):
    assert answers(read("r.csv", b"id,images\nq,a b a\n")) == {"q": ["a", "b"]}


def test_a_query_of_very_many_images_is_read():
    # the csv module refuses fields beyond 131,072 characters: 8,000 ids of 16 and a space are 136,000
    names = " ".join(f"{i:016x}" for i in range(8000))
    assert len(read("r.csv", f"id,images\nq,{names}\n".encode()).judge(0, "all").positives) == 8000


def test_recognition_is_answered_by_landmarks_and_an_image_may_show_none(answers):
    truth = read_recognition("r.csv", b"id,landmarks,Usage\na,17,Public\nb,17 4,Private\nc,,Public\nd,,Ignored\n")
    assert truth.database == ["17", "4"]
    assert answers(truth, "public") == {"a": ["17"], "c": []}
    assert answers(truth, "private") == {"b": ["17", "4"]}
    assert (truth.format, truth.rules.measures, truth.rules.headline) == ("gldv2-recognition", ("gap",), "gap")
    assert truth.notes == ("1 of 4 queries are marked Ignored and left out",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id,pictures\nq,a\n", "has no column images; its first line is 'id,pictures'"),
        (b"images\na\n", "has no column id"),
        (b"id,images,Usage\nq,a,Publik\n", "line 2: usage 'publik' is none of Public, Private, Ignored"),
        (b"id,images\nq,a\n\nq,b\n", "line 4: q stands on line 2 already"),
        (b"id,images\n,a\n", "line 2: the id is empty"),
        (b"id,images\nq\n", "line 2: expected id,images, got 'q'"),
        (b"id,images\nq,a,b\n", "line 2: expected id,images, got 'q,a,b'"),
        (b"id,images,Usage\nq,a,Public\nr,a,\n", "r has no usage, others have"),
    ],
)
def test_what_is_wrong_is_said(content, message):
    with pytest.raises(GroundTruthError, match=message):
        read("r.csv", content)
