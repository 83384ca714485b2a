"""Diffusion beside a dense solver and a graph made one pair at a time."""

from __future__ import annotations

import numpy as np
import pytest

from imgret.errors import InputError
from imgret.rerank import parse_chain
from imgret.rerank.chain import Head
from imgret.rerank.diffusion import Diffusion, affinity, diffused, entry
from tests.rerank import loops
from tests.rerank.toy import Memory, graph, groups


def stage(text: str, searched: Memory) -> Diffusion:
    return Diffusion(parse_chain(text)[0].parameters, searched)


def head(x: np.ndarray, query: np.ndarray) -> Head:
    cosines = x @ query
    rows = np.argsort(-cosines, kind="stable").astype(np.int32)
    return Head(query, rows, cosines[rows])


@pytest.mark.parametrize("spread", [0.6, 3])
def test_the_graph_joins_who_name_each_other(spread):
    neighbours, similarities = graph(groups(0, 30, 6, spread), 5)
    neighbours[4, 2:] = -1  # a short list
    similarities[7] = -0.1  # no positive neighbour
    dense = loops.affinity(neighbours, similarities, 3)
    dense[:, 7] = 0
    made = affinity(neighbours, similarities, 3).toarray()
    assert made == pytest.approx(dense, abs=5e-7)
    assert (made == made.T).all()
    assert 0 < np.count_nonzero(made) < np.count_nonzero(neighbours >= 0)


def test_one_who_is_not_named_back_is_not_joined():
    # 0 names 1, 1 names 2 and 2 names 1: only 1 and 2 are mutual, 0.5^3 = 0.125
    made = affinity(np.array([[1], [2], [1]]), np.array([[0.9], [0.5], [0.5]]))
    assert made.toarray().tolist() == [[0, 0, 0], [0, 0, 0.125], [0, 0.125, 0]]


def test_a_node_that_names_itself_is_not_joined_to_itself():
    assert affinity(np.array([[0, 1], [1, 0]]), np.full((2, 2), 0.5), 1).toarray().tolist() == [[0, 0.5], [0.5, 0]]


@pytest.mark.parametrize("alpha", [0.5, 0.9, 0.99])
def test_f_solves_the_system(alpha):
    x = groups(1, 40, 6)
    A = affinity(*graph(x, 8))
    y = entry(x @ x[0])
    assert diffused(A, y, alpha, 200) == pytest.approx(loops.diffused(A.toarray(), y, alpha), abs=1e-4)


def test_two_nodes_by_hand():
    # S = [[0, 1], [1, 0]]; f = (1, 0.5) / (1 - 0.25) for y = (1, 0) and alpha = 0.5
    A = affinity(np.array([[1], [0]]), np.array([[0.8], [0.8]]))
    assert diffused(A, np.array([1.0, 0.0]), 0.5) == pytest.approx([4 / 3, 2 / 3], abs=1e-6)


def test_a_node_without_neighbours_keeps_y():
    A = affinity(np.array([[1], [0], [-1]]), np.array([[0.8], [0.8], [0.0]]))
    assert diffused(A, np.array([0.0, 0.0, 0.7]), 0.9).tolist() == [0, 0, 0.7]


def test_alpha_0_gives_y():
    x = groups(2, 20, 5)
    y = entry(x @ x[0])
    assert diffused(affinity(*graph(x, 4)), y, 0.0) == pytest.approx(y)
    assert diffused(affinity(*graph(x, 4)), y, 1e-6) == pytest.approx(y, abs=1e-5)


def test_the_query_enters_at_its_best_positive_similarities():
    # the 3 best are 0.8, 0.5 and -0.1: 0.64, 0.25 and 0
    assert entry(np.array([-0.1, 0.8, -0.5, 0.5], np.float32), 3, 2) == pytest.approx([0, 0.64, 0, 0.25])
    assert entry(np.array([0.8, 0.5]), 1, 1).tolist() == [0.8, 0]
    assert not entry(np.array([-0.1, 0.0])).any()


def test_the_stage_scores_candidates_on_their_own_sub_graph():
    x = groups(3, 60, 6, spread=0.9)
    searched = Memory(x, k=6)
    line = head(x, x[5])
    line = Head(line.query, line.rows[:25], line.cosines[:25])
    scores = stage("diffusion:m=25,kq=4,iterations=300", searched).scores(line)

    place = {int(row): i for i, row in enumerate(line.rows)}
    neighbours, similarities = searched.neighbours
    inside = np.array([[place.get(int(j), -1) for j in neighbours[row]] for row in line.rows])
    f = loops.diffused(loops.affinity(inside, similarities[line.rows], 3), entry(line.cosines, 4, 3), 0.99)
    wet = f > 1e-9
    assert 4 < wet.sum() < 25  # it flowed further than it entered, and not everywhere
    assert scores[wet] == pytest.approx(f[wet], rel=1e-3)
    assert scores[~wet].max() < scores[wet].min()
    assert (np.diff(scores[~wet]) < 0).all()  # those it did not reach keep their order


def test_alpha_0_keeps_the_order_of_the_search():
    x = groups(4, 30, 6)
    scores = stage("diffusion:alpha=0", Memory(x, k=5)).scores(head(x, x[0]))
    assert (np.diff(scores) < 0).all()


def test_unreached_images_follow_by_cosine_whatever_their_order_was():
    x = groups(5, 30, 6)
    plain = head(x, x[0])
    mixed = np.random.default_rng(0).permutation(30)
    diffusion = stage("diffusion:kq=2", Memory(x, k=2))
    scores = diffusion.scores(Head(plain.query, plain.rows[mixed], plain.cosines[mixed]))
    straight = diffusion.scores(plain)
    assert plain.rows[mixed][np.argsort(-scores)].tolist() == plain.rows[np.argsort(-straight)].tolist()


def test_where_no_similarity_is_positive_the_order_is_that_of_cosines():
    x = groups(6, 12, 3)
    line = Head(x[0], np.arange(12, dtype=np.int32), np.linspace(0, -1, 12, dtype=np.float32))
    assert stage("diffusion", Memory(x, k=3)).scores(line).tolist() == line.cosines.tolist()


def test_one_query_leaves_nothing_behind_for_the_next():
    x = groups(7, 40, 6)
    diffusion = stage("diffusion", Memory(x, k=5))
    first = head(x, x[0])
    alone = diffusion.scores(first).tolist()
    other = head(x, x[9])
    diffusion.scores(Head(other.query, other.rows[20:], other.cosines[20:]))
    assert diffusion.scores(first).tolist() == alone


def test_without_a_graph_it_says_how_to_make_one():
    with pytest.raises(InputError, match="imgret index STORE -o INDEX --graph 20"):
        stage("diffusion", Memory(groups(0, 4, 3)))
