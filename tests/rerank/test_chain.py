"""Chains: what is searched when, what stays in its order, and that every chain gives a ranking."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgret.errors import InputError
from imgret.ranking import Ranking
from imgret.rerank import chain, parse_chain
from imgret.rerank.query_expansion import expanded
from imgret.rerank.superglobal import superglobal
from tests.rerank.toy import Memory, groups, unit

ALL = "superglobal:m=6,k=2 diffusion:m=9,kq=3 reciprocal:m=7,k1=3,k2=2 aqe:k=4"


def run(text: str, searched: Memory, queries: np.ndarray, depth: int | None = None) -> Ranking:
    ids = [f"q{number}" for number in range(len(queries))]
    blocks = list(chain.reranked(parse_chain(text), searched, queries, ids, depth))
    assert [name for block in blocks for name in block.queries] == ids
    rows = np.concatenate([block.rows for block in blocks])
    scores = np.concatenate([block.scores for block in blocks])
    assert scores.dtype == np.float32
    return Ranking(ids, rows, scores, searched.ids).check()


def test_the_empty_chain_is_the_plain_ranking():
    x, q = groups(0, 20, 5), groups(1, 3, 5)
    searched = Memory(x)
    made = run("", searched, q, 7)
    (first, second) = searched.rank(q, ["q0", "q1", "q2"], 7)
    assert made.rows.tolist() == [*first.rows.tolist(), *second.rows.tolist()]
    assert made.scores.tolist() == [*first.scores.tolist(), *second.scores.tolist()]


@pytest.mark.parametrize("text", ["superglobal:m=6", "diffusion:m=6,kq=2", "reciprocal:m=6,k1=3"])
def test_a_stage_orders_the_first_m_places_and_the_rest_follows_in_its_order(text):
    x, q = groups(0, 24, 5, spread=1), groups(1, 5, 5)
    plain, made = run("", Memory(x), q), run(text, Memory(x, k=4), q)
    assert made.rows[:, 6:].tolist() == plain.rows[:, 6:].tolist()
    assert np.sort(made.rows[:, :6]).tolist() == np.sort(plain.rows[:, :6]).tolist()
    assert made.rows[:, :6].tolist() != plain.rows[:, :6].tolist()
    # one constant for a line: the distances of its end stay
    assert np.diff(made.scores[:, 6:]) == pytest.approx(np.diff(plain.scores[:, 6:]), abs=1e-6)


def test_the_scores_of_the_head_are_the_stages_own():
    x, q = groups(0, 24, 5), groups(1, 1, 5)
    first = run("", Memory(x), q, 6).rows[0]
    made = run("superglobal:m=6,k=2", Memory(x), q, 6)
    assert made.scores[0] == pytest.approx(np.sort(superglobal(q[0], x[first], 2))[::-1], abs=1e-6)


def test_every_query_of_a_block_is_ordered_with_its_own_vector(monkeypatch):
    x, q = groups(0, 24, 5, spread=1), groups(1, 5, 5)
    together = run(ALL, Memory(x, k=4), q)
    for number in range(5):
        alone = run(ALL, Memory(x, k=4), q[number : number + 1])
        assert together.rows[number].tolist() == alone.rows[0].tolist()
    monkeypatch.setattr(chain, "_PLACES", 1)  # one line copied at a time
    assert run(ALL, Memory(x, k=4), q).rows.tolist() == together.rows.tolist()


def test_expansion_searches_anew_with_the_new_queries():
    x, q = groups(0, 24, 5), groups(1, 3, 5)
    plain = run("", Memory(x), q)
    new = np.stack([expanded(query, x[rows[:3]], 3) for query, rows in zip(q, plain.rows, strict=True)])
    assert run("aqe:k=3", Memory(x), q).rows.tolist() == run("", Memory(x), new).rows.tolist()
    after = run("aqe:k=3 superglobal:m=8", Memory(x), q)
    assert after.rows.tolist() == run("superglobal:m=8", Memory(x), new).rows.tolist()


def test_an_expansion_takes_its_neighbours_from_the_new_order():
    x, q = groups(0, 24, 5, spread=1), groups(1, 3, 5)
    ordered = run("superglobal:m=8", Memory(x), q)
    new = np.stack([expanded(query, x[rows[:2]], 3) for query, rows in zip(q, ordered.rows, strict=True)])
    assert run("superglobal:m=8 aqe:k=2", Memory(x), q).rows.tolist() == run("", Memory(x), new).rows.tolist()


def test_k_0_expands_nothing_and_does_not_search():
    x, q = groups(0, 24, 5), groups(1, 3, 5)
    searched = Memory(x)
    assert run("aqe:k=0", searched, q).rows.tolist() == run("", Memory(x), q).rows.tolist()
    assert searched.asked == [None]


@pytest.mark.parametrize(
    ("text", "depth", "asked"),
    [
        ("superglobal:m=8", 5, [8]),  # as deep as the stage looks, cut afterwards
        ("superglobal:m=8", 11, [11]),
        ("superglobal:m=8", None, [None]),
        ("aqe:k=3", None, [5, None]),  # k, and the own image whole and as a crop
        ("superglobal:m=8 aqe:k=3 reciprocal:m=7", 2, [8, 7]),
        ("aqe:k=3 aqe:k=1", 4, [5, 3, 4]),
    ],
)
def test_only_what_is_needed_is_searched(text, depth, asked):
    searched = Memory(groups(0, 24, 5))
    assert run(text, searched, groups(1, 3, 5), depth).depth == (depth or 24)
    assert searched.asked == asked


def test_the_own_image_does_not_expand_the_query():
    x = groups(0, 24, 5)
    ids = [f"{row}.jpg" for row in range(24)]
    searched = Memory(x, ids)
    (known,) = chain.reranked(parse_chain("aqe:k=3"), searched, x[:1], ["0.jpg#1,2,3,4"], None)
    others = [row for row in run("", searched, x[:1]).rows[0].tolist() if row != 0][:3]
    assert known.rows[0].tolist() == run("", searched, expanded(x[0], x[others], 3)[None]).rows[0].tolist()


def test_m_beyond_the_ranking_is_the_ranking():
    x, q = groups(0, 9, 5), groups(1, 3, 5)
    for text in ("superglobal", "diffusion", "reciprocal"):
        made, clamped = run(text, Memory(x, k=3), q), run(f"{text}:m=9", Memory(x, k=3), q)
        assert made.rows.tolist() == clamped.rows.tolist()
        assert made.depth == 9


def test_padding_stays_at_the_end():
    x, q = groups(0, 9, 5), groups(1, 3, 5)
    made = run(ALL + " superglobal", Memory(x, k=3, padding=2), q)
    assert (made.rows[:, 9:] == -1).all()
    assert (made.scores[:, 9:] == -np.inf).all()
    assert made.rows[:, :9].tolist() == run(ALL + " superglobal", Memory(x, k=3), q).rows.tolist()


def test_an_empty_database_gives_empty_lines():
    none = np.zeros((0, 5), np.float32)
    searched = Memory(none)
    searched.neighbours = np.zeros((0, 3), np.int32), np.zeros((0, 3), np.float32)
    assert run(ALL, searched, groups(1, 3, 5)).rows.shape == (3, 0)
    assert run(ALL, searched, groups(1, 3, 5), 4).rows.shape == (3, 0)


def test_no_query_gives_no_line():
    none = np.zeros((0, 5), np.float32)
    assert list(chain.reranked(parse_chain(ALL), Memory(groups(0, 9, 5), k=3), none, [], None)) == []


def test_one_image_is_a_ranking_too():
    x = groups(0, 1, 5)
    assert run(ALL + " " + ALL, Memory(x, k=3), groups(1, 3, 5)).rows.tolist() == [[0], [0], [0]]


def test_what_is_missing_is_said_before_anything_is_searched():
    searched = Memory(groups(0, 9, 5))
    with pytest.raises(InputError, match="--graph 20"):
        chain.reranked(parse_chain("aqe diffusion"), searched, groups(1, 3, 5), ["a", "b", "c"], None)
    assert searched.asked == []


def test_a_callers_mistake_is_a_value_error():
    searched, q = Memory(groups(0, 9, 5)), groups(1, 3, 5)
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        chain.reranked((), searched, q, ["a", "b", "c"], 0)
    with pytest.raises(ValueError, match="Q ids"):
        chain.reranked((), searched, q, ["a"], None)


stages = st.sampled_from(
    [
        "superglobal:m=5,k=2",
        "superglobal:m=40,k=9,beta=1",
        "superglobal:m=3,beta=0",
        "diffusion:m=6,kq=2",
        "diffusion:iterations=1",
        "diffusion:gamma=20,m=30",
        "reciprocal:m=4,k1=2,k2=1",
        "reciprocal:lambda=0",
        "aqe:k=2",
        "aqe:alpha=0",
    ]
)


@st.composite
def databases(draw) -> tuple[Memory, np.ndarray]:
    """Small vectors of small whole numbers: many duplicates, opposites and zero rows."""
    dim = draw(st.integers(1, 3))
    number = st.integers(-2, 2)
    rows = draw(st.lists(st.lists(number, min_size=dim, max_size=dim), min_size=1, max_size=25))
    asked = draw(st.lists(st.lists(number, min_size=dim, max_size=dim), min_size=1, max_size=3))
    return Memory(unit(np.array(rows, float)), k=3), unit(np.array(asked, float))


@settings(max_examples=150, deadline=None)
@given(databases(), st.lists(stages, max_size=3), st.integers(1, 30))
def test_any_chain_gives_a_ranking_of_everything_and_a_cut_one_is_its_beginning(data, texts, depth):
    searched, queries = data
    whole = run(" ".join(texts), searched, queries)
    assert np.sort(whole.rows).tolist() == [list(range(searched.count))] * len(queries)
    cut = run(" ".join(texts), searched, queries, depth)
    assert cut.rows.tolist() == whole.rows[:, :depth].tolist()
    assert cut.scores.tolist() == whole.scores[:, :depth].tolist()


@settings(max_examples=100, deadline=None)
@given(databases(), st.lists(stages.filter(lambda text: "aqe" not in text), max_size=3), st.integers(1, 30))
def test_reordering_permutes_what_the_plain_ranking_found(data, texts, extra):
    searched, queries = data
    looks = max([0, *(stage.parameters["m"] for stage in parse_chain(" ".join(texts)))])
    depth = looks + extra
    made, plain = run(" ".join(texts), searched, queries, depth), run("", searched, queries, depth)
    assert np.sort(made.rows).tolist() == np.sort(plain.rows).tolist()
