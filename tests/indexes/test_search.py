from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgret.indexes.build import build
from imgret.indexes.exact import exact
from imgret.indexes.files import Index
from imgret.indexes.kinds import INDEX_KINDS
from imgret.indexes.search import search
from tests.indexes.conftest import clustered, names, self_queries, write_store

FACTORIES = ["PCA16,IVF8,Flat", "OPQ8,IVF8,PQ8np", "SQ8", "HNSW16,SQ8", "IVF8,PQ16np,RFlat"]


@pytest.fixture(scope="module")
def opened(big, tmp_path_factory):
    """Indexes over the same 3,000 vectors, built when first asked for."""
    made: dict[str, Index] = {}

    def give(name: str) -> Index:
        if name not in made:
            how = {"kind": name} if name in INDEX_KINDS else {"factory": name}
            made[name] = Index.open(build([big()], tmp_path_factory.mktemp("index"), **how).path)
        return made[name]

    return give


@pytest.mark.parametrize("name", [*INDEX_KINDS, *FACTORIES])
def test_every_kind_finds_each_vector_itself(opened, big, name):
    index = opened(name)
    queries, ids = self_queries(big())
    ranking = search(index, queries, ids, 3).check()
    assert [index.ids[row] for row in ranking.rows[:, 0]] == ids
    assert ranking.scores[:, 0].min() > 0.9999
    assert ranking.scores.max() <= 1


@pytest.mark.parametrize("name", [*INDEX_KINDS, *FACTORIES])
def test_recall_stored_is_what_a_measurement_gives(opened, big, name):
    index = opened(name)
    stored = index.about["recall"]
    assert stored["reached"]
    assert stored["recall@10"] >= stored["target"] == 0.95
    queries, ids = self_queries(big())
    found = search(index, queries[:500], ids[:500], 10).rows
    truth = np.concatenate([part.rows for part in exact(index, queries[:500], ids[:500], 10)])
    shared = [len(set(one) & set(two)) / 10 for one, two in zip(found.tolist(), truth.tolist(), strict=True)]
    assert np.mean(shared) == pytest.approx(stored["recall@10"], abs=0.03)


@pytest.mark.parametrize("name", [*INDEX_KINDS, *FACTORIES])
def test_more_than_all_gives_all_but_what_a_shallow_look_missed(opened, big, name):
    index = opened(name)
    queries, ids = self_queries(big())
    ranking = search(index, queries[:20], ids[:20], 10_000).check()
    assert ranking.rows.shape == (20, 3000)
    found = (ranking.rows >= 0).sum(1)
    assert found.min() > 0.9 * 3000
    if name == "flat":
        assert found.min() == 3000


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["flat", "hnsw", "ivf", "ivfpq", "SQ8"]),
    copies=st.sampled_from([1, 2, 7, 40, 300]),
    seed=st.integers(0, 3),
    ks=st.lists(st.integers(1, 900), min_size=2, max_size=4),
)
def test_a_shorter_ranking_begins_a_longer_one(tmp_path_factory, name, copies, seed, ks):
    # Every vector stands there `copies` times, so that ties cross the end of nearly every ranking.
    vectors = np.repeat(clustered(600 // copies + 1, 16, seed), copies, 0)
    shuffled = np.random.default_rng(seed).permutation(len(vectors))
    store = write_store(tmp_path_factory.mktemp("s"), [(names(len(vectors)), vectors[shuffled])])
    how = {"kind": name} if name in INDEX_KINDS else {"factory": name}
    index = Index.open(build([store], tmp_path_factory.mktemp("i"), **how).path)
    queries = clustered(30, 16, seed + 10)
    rankings = [search(index, queries, [""] * 30, k).check() for k in sorted(ks)]
    for short, long in itertools.pairwise(rankings):
        np.testing.assert_array_equal(short.rows, long.rows[:, : short.depth])
        np.testing.assert_array_equal(short.scores, long.scores[:, : short.depth])


@pytest.mark.parametrize("kind", INDEX_KINDS)
def test_equal_scores_stand_in_order_of_their_ids(tmp_path, kind):
    vectors = clustered(400, 16)
    vectors[100:150] = vectors[7]
    ids = [f"{number * 7919 % 1000:03d}-é" for number in range(400)]
    index = Index.open(build([write_store(tmp_path / "s", [(ids, vectors)])], tmp_path / "i", kind=kind).path)
    ranking = search(index, vectors[7:8], ["q"], 20)
    assert len(set(ranking.scores[0].tolist())) == 1
    copies = sorted((ids[row] for row in [7, *range(100, 150)]), key=str.encode)
    assert [index.ids[row] for row in ranking.rows[0]] == copies[:20]


@pytest.mark.parametrize("kind", [kind for kind in INDEX_KINDS if "hnsw" not in kind])  # a graph may miss them
def test_of_more_copies_than_candidates_the_first_by_id_are_found(tmp_path, kind):
    vectors = clustered(3000, 16)
    vectors[100:2000] = vectors[7]
    ids = [f"{number * 7919 % 3000:04d}" for number in range(3000)]
    index = Index.open(build([write_store(tmp_path / "s", [(ids, vectors)])], tmp_path / "i", kind=kind).path)
    # Most rows are copies, so several lists have them for their centre and share them out: visit all lists.
    index = index.with_parameters(index.parameters | ({"nprobe": index.structure.lists} if "ivf" in kind else {}))
    copies = sorted(ids[row] for row in [7, *range(100, 2000)])
    queries = vectors[[7, 2500, 300, 7]]  # the same three times
    for k in (1, 20, 300):
        found = [[index.ids[row] for row in line] for line in search(index, queries, [""] * 4, k).rows]
        assert found[0] == found[2] == found[3] == copies[:k]
        assert found[1][0] == ids[2500]


@pytest.mark.parametrize(
    ("queries", "ids", "k", "message"),
    [
        (np.ones((2, 31), np.float32), ["a", "b"], 10, r"\[Q, 32\] or \[Q, V, 32\], got \[2, 31\]"),
        (np.ones(32, np.float32), ["a"], 10, r"\[Q, 32\] or \[Q, V, 32\], got \[32\]"),
        (np.full((1, 32), np.nan, np.float32), ["a"], 10, "NaN"),
        (np.ones((2, 32), np.float32), ["a"], 10, "1 query ids for 2"),
        (np.ones((1, 32), np.float32), ["a"], 0, "k must be"),
    ],
)
def test_a_query_that_cannot_be_meant_is_a_callers_bug(opened, queries, ids, k, message):
    with pytest.raises(ValueError, match=message):
        search(opened("flat"), queries, ids, k)


def test_no_queries_give_an_empty_ranking(opened):
    assert search(opened("ivf"), np.zeros((0, 32), np.float32), [], 5).rows.shape == (0, 5)


def test_one_vector_is_an_index(tmp_path):
    store = write_store(tmp_path / "s", [(["only"], clustered(1, 16))])
    for kind in ("flat", "ivf", "hnsw"):
        report = build([store], tmp_path / kind, kind=kind)
        assert report.recall["recall@10"] is None
        assert search(Index.open(report.path), clustered(1, 16), ["q"], 5).rows.tolist() == [[0]]
