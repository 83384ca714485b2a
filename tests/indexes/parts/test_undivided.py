"""Parts merged to one undivided index."""

from __future__ import annotations

import json

import pytest

from imgret.errors import IndexFileError
from imgret.indexes import kinds, planner
from imgret.indexes.build import build
from imgret.indexes.files import Index
from imgret.indexes.kinds import INDEX_KINDS
from imgret.indexes.parts.build import build_parts
from imgret.indexes.parts.files import Parts
from imgret.indexes.parts.undivided import merge_parts
from imgret.indexes.search import search
from imgret.indexes.trials import Trial
from imgret.store.store import Store
from tests.indexes.conftest import save


@pytest.mark.parametrize("kind", ["flat", "fp16", "sq8", "rabitq", "ivf", "ivfsq8", "ivfrabitq"])
def test_the_merged_index_is_what_one_machine_makes(tmp_path, shards, kind):
    build([shards], tmp_path / "whole", kind=kind)
    build_parts([shards], tmp_path / "parts", 3, kind=kind)
    merge_parts(tmp_path / "parts", tmp_path / "merged")
    files = {file.name for file in (tmp_path / "whole").iterdir()}
    assert {file.name for file in (tmp_path / "merged").iterdir()} == files
    for name in files:
        assert (tmp_path / "merged" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_lists_of_short_codes_are_merged_to_the_same_codes_in_another_layout(tmp_path, shards, queries):
    whole = Index.open(build([shards], tmp_path / "whole", kind="ivfpq").path)
    build_parts([shards], tmp_path / "parts", 3, kind="ivfpq")
    merged = merge_parts(tmp_path / "parts", tmp_path / "merged")
    assert merged.parameters == whole.parameters
    ours, theirs = (search(one, queries, [""] * 30, 40) for one in (merged, whole))
    assert ours.rows.tolist() == theirs.rows.tolist()
    assert ours.scores.tolist() == theirs.scores.tolist()
    assert merged.verify() == []


def test_an_index_that_is_there_gets_a_new_generation(tmp_path, shards):
    build([shards], tmp_path / "index", kind="sq8")
    build_parts([shards], tmp_path / "parts", 2, kind="flat")
    merge_parts(tmp_path / "parts", tmp_path / "index")
    about = json.loads((tmp_path / "index/index.json").read_text())
    assert (about["generation"], about["kind"], about["count"]) == (2, "flat", 1200)


def test_graphs_cannot_be_merged(tmp_path, shards):
    build_parts([shards], tmp_path / "parts", 2, kind="hnsw")
    with pytest.raises(IndexFileError, match="FAISS cannot merge parts of kind hnsw; leave them as they are"):
        merge_parts(tmp_path / "parts", tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_no_graph_is_chosen_for_parts_that_are_to_be_put_together(tmp_path, shards, monkeypatch):
    monkeypatch.setattr(kinds, "QUICK", 100)  # so that exact search counts as slow
    quick = {"hnswsq8": 0.1, "ivf": 50.0}  # milliseconds
    monkeypatch.setattr(planner, "ORDER", tuple(quick))
    monkeypatch.setattr(
        planner, "attempt", lambda kind, *_: Trial(kind, INDEX_KINDS[kind].factory(300, 16), 1, 1.0, quick[kind], 1, 1)
    )
    assert build_parts([shards], tmp_path / "parts", 2).kind == "hnswsq8"
    assert build_parts([shards], tmp_path / "whole", 2, whole=True).kind == "ivf"
    assert merge_parts(tmp_path / "whole", tmp_path / "index").about["kind"] == "ivf"


def test_stores_that_have_changed_are_told(tmp_path, shards):
    build_parts([shards], tmp_path / "parts", 2, kind="flat")
    shards.shards[0].dropped = [1]
    save(shards)
    with pytest.raises(IndexFileError, match="have changed since it was made; bring it up to date first"):
        merge_parts(tmp_path / "parts", tmp_path / "merged")
    shards.shards.pop(0)
    save(shards)
    with pytest.raises(IndexFileError, match="have changed since it was made"):
        merge_parts(tmp_path / "parts", tmp_path / "merged")


def test_parts_that_were_trained_on_more_rows_than_there_are_left_are_merged(tmp_path, shards):
    build_parts([shards], tmp_path / "parts", 3, kind="ivfsq8")
    shards.shards[0].dropped = [*range(140)]
    save(shards)
    build_parts([Store.open(shards.path)], tmp_path / "parts", 3)
    merged = merge_parts(tmp_path / "parts", tmp_path / "merged")
    assert (merged.count, merged.about["training"]["count"]) == (1060, 1200)
    assert merged.about["recall"] == Parts.open(tmp_path / "parts").about["recall"]
