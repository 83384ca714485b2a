"""Query expansion: sums by hand, and beside a plain loop."""

from __future__ import annotations

import numpy as np
import pytest

from imgret.rerank import parse_chain
from imgret.rerank.query_expansion import QueryExpansion, expanded, is_own
from tests.rerank import loops
from tests.rerank.toy import Memory, groups


def stage(text: str, searched: Memory) -> QueryExpansion:
    return QueryExpansion(parse_chain(text)[0].parameters, searched)


@pytest.mark.parametrize("alpha", [0, 0.5, 1, 3])
def test_it_is_the_formula(alpha):
    x = groups(0, 12, 5, spread=2)  # some similarities are negative
    assert (x[1:] @ x[0] < 0).any()
    assert expanded(x[0], x[1:], alpha) == pytest.approx(loops.expanded(x[0], x[1:], alpha), abs=1e-6)


def test_a_neighbour_is_weighed_by_a_power_of_its_similarity():
    # cosine 0.8, 0.8^3 = 0.512: q + 0.512 (0.8, 0.6) = (1.4096, 0.3072), length 1.44269
    q, x = np.array([1.0, 0.0]), np.array([[0.8, 0.6]])
    assert expanded(q, x, 3) == pytest.approx([1.4096 / 1.44269, 0.3072 / 1.44269], abs=1e-5)


def test_alpha_0_is_the_average():
    # (1, 0) + (0, 1) + (-0.6, 0.8) = (0.4, 1.8): cosines 0 and below weigh 1 like all
    q, x = np.array([1.0, 0.0]), np.array([[0.0, 1.0], [-0.6, 0.8]])
    assert expanded(q, x, 0) == pytest.approx(np.array([0.4, 1.8]) / np.hypot(0.4, 1.8))


def test_negative_similarities_have_no_say_even_or_odd_or_broken_power():
    q, x = np.array([1.0, 0.0]), np.array([[-0.6, 0.8]])
    for alpha in (1, 2, 2.5):
        assert expanded(q, x, alpha).tolist() == [1, 0]


def test_a_sum_of_zero_length_leaves_the_query():
    q = np.array([1.0, 0.0])
    assert expanded(q, -q[None], 0).tolist() == [1, 0]


def test_k_0_and_an_empty_line_leave_the_query():
    x = groups(0, 6, 4)
    query, everyone, nobody = x[0], np.arange(6), np.zeros(0, np.int64)
    assert stage("aqe:k=0", Memory(x)).expand(query, "q", everyone, list("abcdef")) is query
    assert stage("aqe", Memory(x)).expand(query, "q", nobody, []) is query


@pytest.mark.parametrize(
    ("query", "found", "own"),
    [
        ("a/b.jpg", "a/b.jpg", True),
        ("a/b.jpg#1,2,30,40", "a/b.jpg#1,2,30,40", True),
        ("a/b.jpg#1,2,30,40", "a/b.jpg", True),
        ("a/b.jpg#1,2,30,40", "a/b.jpg#1,2,30,41", False),
        ("a/b.jpg", "a/b.jpg#1,2,30,40", False),
        ("a/b.jpg", "b.jpg", False),
        ("no#1.jpg", "no", False),
    ],
)
def test_the_own_image_is_known_by_its_id_with_or_without_the_box(query, found, own):
    assert is_own(query, found) is own


def test_the_own_image_neither_joins_nor_takes_one_of_the_k_places():
    x = groups(1, 6, 4)
    ids = ["own.jpg", "own.jpg#0,0,9,9", "c", "d", "e", "f"]
    made = stage("aqe:k=2", Memory(x)).expand(x[0], "own.jpg#0,0,9,9", np.arange(6), ids)
    assert made.tolist() == expanded(x[0], x[2:4], 3).tolist()


def test_k_may_be_larger_than_the_database():
    x = groups(1, 6, 4)
    made = stage("aqe:k=50", Memory(x)).expand(x[0], "q", np.arange(6), list("abcdef"))
    assert made.tolist() == expanded(x[0], x, 3).tolist()
