"""DISC21, TREC and hloc: lines that pair a query with an image."""

from __future__ import annotations

import pytest

from imgret.errors import GroundTruthError
from imgret.ground_truth import disc21, hloc, trec


@pytest.mark.parametrize("header", [b"", b"query_id,reference_id\n"])
def test_an_empty_reference_is_a_distractor_query(answers, header):
    truth = disc21.read("g.csv", header + b"Q00000,R000009\nQ00001,\nQ00002,R000001\n")
    assert answers(truth) == {"Q00000": ["R000009"], "Q00001": [], "Q00002": ["R000001"]}
    assert truth.database == ["R000009", "R000001"]
    assert (truth.rules.measures, truth.rules.headline) == (("micro_ap",), "micro_ap")


def test_a_query_may_have_several_references(answers):
    assert answers(disc21.read("g.csv", b"Q1,R1\nQ2,\nQ1,R2\n")) == {"Q1": ["R1", "R2"], "Q2": []}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"Q1,R1\nQ2,\nQ1,R1\n", "line 3: Q1,R1 stands on line 1 already"),
        (b"Q1,\nQ1,\n", "line 2: Q1, stands on line 1 already"),
        (b"Q1,\nQ1,R1\n", "line 2: query Q1 has a reference and has none: see line 1 too"),
        (b"Q1,R1\nQ1,\n", "line 2: query Q1 has a reference and has none: see line 1 too"),
        (b"Q1,R1\nQ2\n", "line 2: expected query_id,reference_id, got 'Q2'"),
        (b",R1\n", "line 1: the query is empty"),
        (b"query_id,ref\nQ1,R1\n", "has no column reference_id"),
    ],
)
def test_what_is_wrong_with_disc21_is_said(content, message):
    with pytest.raises(GroundTruthError, match=message):
        disc21.read("g.csv", content)


def test_a_relevance_of_one_or_more_is_a_positive(answers):
    truth = trec.read("qrels", b"q1 0 d1 2\nq1 0 d2 0\nq2 0 d1 -1\nq1 0 d3 1\n")
    assert answers(truth) == {"q1": ["d1", "d3"], "q2": []}
    assert truth.database == ["d1", "d2", "d3"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"q1 0 d1 1\nq1 0 d1 0\n", "line 2: query q1: d1 is judged twice"),
        (b"q1 0 d1 yes\n", "line 1: query q1: relevance 'yes' is no whole number"),
        (b"q1 0 d1\n", "line 1: expected query iteration document relevance, got 'q1 0 d1'"),
    ],
)
def test_what_is_wrong_with_qrels_is_said(content, message):
    with pytest.raises(GroundTruthError, match=message):
        trec.read("qrels", content)


def test_every_image_paired_with_a_query_is_right(answers):
    truth = hloc.read("pairs.txt", b"query/a.jpg db/1.jpg\nquery/b.jpg db/1.jpg\nquery/a.jpg db/2.jpg\n")
    assert answers(truth) == {"query/a.jpg": ["db/1.jpg", "db/2.jpg"], "query/b.jpg": ["db/1.jpg"]}


def test_blanks_that_are_not_of_ascii_are_part_of_a_name(answers):
    assert answers(hloc.read("pairs.txt", "q\xa01 db\u30002\n".encode())) == {"q\xa01": ["db\u30002"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a b\na b\n", "line 2: a b stands on line 1 already"),
        (b"a b c\n", "line 1: expected query database, got 'a b c'"),
    ],
)
def test_what_is_wrong_with_pairs_is_said(content, message):
    with pytest.raises(GroundTruthError, match=message):
        hloc.read("pairs.txt", content)
