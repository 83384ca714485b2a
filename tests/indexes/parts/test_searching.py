"""An index in parts is searched like the undivided index of the same kind."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from imgret.errors import IndexFileError, InputError
from imgret.indexes.build import build
from imgret.indexes.exact import exact
from imgret.indexes.files import Index
from imgret.indexes.parts.build import build_parts
from imgret.indexes.parts.files import Parts, open_index
from imgret.indexes.parts.searcher import InTurn, PartSearcher
from imgret.indexes.search import search
from imgret.ranking import Ranking
from tests.indexes.conftest import clustered


def both(tmp_path, store, kind: str, parts: int = 3) -> tuple[Parts, Index]:
    build_parts([store], tmp_path / "parts", parts, kind=kind)
    build([store], tmp_path / "whole", kind=kind)
    return Parts.open(tmp_path / "parts"), Index.open(tmp_path / "whole")


def named(ranking: Ranking) -> list[list[str]]:
    return [[ranking.database[row] for row in line if row >= 0] for line in ranking.rows.tolist()]


def same(one: Ranking, other: Ranking) -> None:
    assert named(one) == named(other)
    assert one.scores.tolist() == other.scores.tolist()


@pytest.mark.parametrize("few", [5, 30])  # flat: FAISS, and comparing block by block
@pytest.mark.parametrize("kind", ["flat", "fp16"])
def test_a_flat_index_in_parts_gives_the_same_ids_and_scores(tmp_path, shards, queries, kind, few):
    parts, whole = both(tmp_path, shards, kind)
    asked, ids = queries[:few], [""] * few
    for k in (1, 3, 50, 1200, 2000):
        same(parts.search(asked, ids, k), search(whole, asked, ids, k))


def test_equal_vectors_in_different_parts_stand_in_order_of_their_ids(tmp_path, shards, queries):
    parts, _ = both(tmp_path, shards, "flat")
    copies = ["image-00010.jpg", "image-00400.jpg", "image-00401.jpg", "image-01100.jpg"]  # in parts 0, 0, 0 and 2
    assert named(parts.search(queries[:1], ["q"], 4)) == [copies]
    assert named(parts.search(queries[:1], ["q"], 2)) == [copies[:2]]
    assert len(set(parts.search(queries[:1], ["q"], 4).scores[0].tolist())) == 1


@pytest.mark.parametrize("kind", ["ivf", "ivfsq8", "ivfpq", "hnsw"])
def test_other_kinds_find_at_least_what_the_undivided_index_finds(tmp_path, shards, queries, kind):
    parts, whole = both(tmp_path, shards, kind)
    assert parts.parameters == whole.parameters
    names = [""] * len(queries)
    ours, theirs = parts.search(queries, names, 20), search(whole, queries, names, 20)
    truth = [set(line) for line in named(next(exact(whole, queries, names, 20)))]

    def recall(ranking: Ranking) -> list[int]:
        return [len(true & set(line)) for true, line in zip(truth, named(ranking), strict=True)]

    assert np.mean(recall(ours)) >= np.mean(recall(theirs))
    if kind == "ivf":  # the same lists, all of whose rows are compared
        assert named(ours) == named(theirs)
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-6)


@pytest.mark.parametrize("kind", ["ivf", "ivfpq", "hnsw"])
def test_a_longer_ranking_begins_as_a_shorter_one(tmp_path, shards, queries, kind):
    parts, _ = both(tmp_path, shards, kind)
    names = [""] * len(queries)
    longest = named(parts.search(queries, names, 900))
    for k in (1, 10, 200):
        assert [line[:k] for line in longest] == named(parts.search(queries, names, k))


@pytest.mark.parametrize("kind", ["flat", "ivf", "sq8"])
def test_comparing_with_every_row_gives_what_it_gives_of_the_undivided_index(tmp_path, shards, queries, kind):
    parts, whole = both(tmp_path, shards, kind)
    names = [""] * len(queries)
    same(parts.search(queries, names, 15, exactly=True), next(exact(whole, queries, names, 15)))
    (ours,), (theirs,) = parts.rank(queries, names, None), exact(whole, queries, names, None)
    assert ours.depth == 1200
    same(ours, theirs)


def test_a_query_of_several_variants_gets_the_best_of_them(tmp_path, shards, queries):
    parts, whole = both(tmp_path, shards, "flat")
    variants = np.stack([queries, queries[::-1]], 1)
    same(parts.search(variants, [""] * 30, 12), search(whole, variants, [""] * 30, 12))
    ours = Parts.open(build_parts([shards], tmp_path / "ivf", 2, kind="ivf").path).search(variants, [""] * 30, 12)
    whole = Index.open(build([shards], tmp_path / "ivf-whole", kind="ivf").path)
    theirs = search(whole, variants, [""] * 30, 12)
    assert named(ours) == named(theirs)
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-6)


def test_rows_ids_vectors_and_origins_are_those_of_the_undivided_index(tmp_path, shards):
    parts, whole = both(tmp_path, shards, "sq8")
    assert list(parts.ids) == list(whole.ids)
    assert np.array_equal(parts.origin[:, :2], whole.origin[:, :2])
    assert parts.about["shards"] == whole.about["shards"]
    rows = np.array([1199, 0, 450, 449, 0])
    assert np.array_equal(parts.vectors(rows), whole.vectors(rows))
    (shards.path / "image-00777.jpg").write_bytes(b"")
    assert parts.path_of(777) == whole.path_of(777) == str(shards.path / "image-00777.jpg")


def test_each_part_is_an_index_by_itself_that_knows_what_was_measured_with_all(tmp_path, shards):
    parts, whole = both(tmp_path, shards, "ivf")
    one = Index.open(parts.parts[1].folder)
    assert (one.count, one.verify(), one.parameters) == (300, [], whole.parameters)
    assert one.about["recall"] == parts.about["recall"]
    assert named(search(one, clustered(1200)[500:501], ["q"], 1)) == [["image-00500.jpg"]]


@pytest.mark.parametrize(("budget", "open_ones"), [(10**9, 3), (1, 0)])
def test_parts_are_let_go_where_they_do_not_fit_into_the_memory_together(tmp_path, shards, queries, budget, open_ones):
    parts, _ = both(tmp_path, shards, "flat")
    searchers = [PartSearcher(part.folder) for part in parts.parts]
    ask, seen = InTurn(searchers, budget), []
    for number, _ in ask(queries, 5, False, {}):
        held = searchers[number].__dict__.get("index")
        seen.append(weakref.ref(held) if held is not None else None)
    gc.collect()
    assert len([one for one in seen if one is not None and one() is not None]) == open_ones
    assert len([one for one in searchers if "index" in one.__dict__]) == open_ones


def test_an_engine_asks_the_parts_in_its_own_way_and_in_any_order(tmp_path, shards, queries):
    _, whole = both(tmp_path, shards, "flat")
    asked = []

    def backwards(searchers, budget):
        folders = [one.folder for one in searchers]

        def ask(*question):
            asked.append(budget)
            return [(number, PartSearcher(folders[number]).search(question[0], question[1])) for number in (2, 0, 1)]

        return ask

    divided = open_index(tmp_path / "parts", backwards)
    same(divided.search(queries, [""] * 30, 9), search(whole, queries, [""] * 30, 9))
    assert len(asked) == 1
    assert asked[0] > 0


def test_a_graph_is_told_to_be_missing(tmp_path, shards):
    parts, _ = both(tmp_path, shards, "flat")
    with pytest.raises(InputError, match="is an index in parts, which have no graph .*--graph 50"):
        _ = parts.neighbours


def test_no_queries_and_wrong_queries_are_answered_as_elsewhere(tmp_path, shards):
    parts, _ = both(tmp_path, shards, "flat")
    assert parts.search(np.zeros((0, 16), np.float32), [], 5).rows.shape == (0, 5)
    assert list(parts.rank(np.zeros((0, 16), np.float32), [], 5, exactly=True)) == []
    with pytest.raises(ValueError, match=r"queries must be \[Q, 16\]"):
        parts.search(np.zeros((1, 8), np.float32), ["q"], 5)
    with pytest.raises(ValueError, match="k must be at least 1"):
        parts.search(np.zeros((1, 16), np.float32), ["q"], 0)


def test_a_part_that_was_removed_meanwhile_is_told_in_one_line(tmp_path, shards, queries):
    parts, _ = both(tmp_path, shards, "flat")
    parts.parts[1].folder.rename(tmp_path / "elsewhere")
    with pytest.raises(IndexFileError, match="part-00001-.* is gone, as when its index was made anew; run the same"):
        parts.search(queries, [""] * 30, 5)
    with pytest.raises(IndexFileError, match=r"is missing. Remove .*index.json and make it again, .* --parts 3"):
        Parts.open(tmp_path / "parts")


def test_blocks_of_rows_go_across_the_ends_of_parts(tmp_path, shards):
    parts, whole = both(tmp_path, shards, "sq8")
    ours, theirs = list(parts.blocks(500)), list(whole.blocks(500))
    assert [len(rows) for rows, _ in ours] == [500, 500, 200]
    for (rows, block), (their_rows, their_block) in zip(ours, theirs, strict=True):
        assert np.array_equal(rows, their_rows)
        assert np.array_equal(block, their_block)
