from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from imgret import workflows
from imgret.errors import ImgretError, InputError, ServerError
from imgret.workflows import push
from tests.cli.test_cli import FAST, run
from tests.indexes.conftest import clustered, names, write_store
from tests.pictures import save


def test_answers_are_those_of_the_store_and_of_a_flat_index_to_the_last_bit(store, uri, tmp_path):
    push(store.path, uri)
    workflows.build_index([store.path], tmp_path / "index", kind="flat")
    asked = [str(store.path)]
    found = workflows.search(f"milvus:{uri}", asked, k=7)
    assert found == workflows.search(store.path, asked, k=7)
    assert found == workflows.search(tmp_path / "index", asked, k=7)
    assert found[0].query == "a\nb.jpg"
    assert found[0].hits[0].id == "a\nb.jpg"
    assert found == workflows.search(f"milvus:{uri}#imgret", asked, k=7, exactly=True)
    without = workflows.search(f"milvus:{uri}", asked, k=7, exclude_self=True, min_score=0.2)
    assert without == workflows.search(store.path, asked, k=7, exclude_self=True, min_score=0.2)


def test_more_than_there_is_gives_all_that_there_is(store, uri):
    push(store.path, uri)
    (answer, *_) = workflows.search(f"milvus:{uri}", [str(store.path)], k=1000)
    assert len(answer.hits) == 120


def test_half_precision_stores_are_found_with_the_same_scores(tmp_path, uri):
    vectors = clustered(200)
    made = write_store(tmp_path / "half", [(names(200), vectors.astype(np.float16))])
    push(made.path, uri)
    asked = [str(made.path)]
    for here, there in zip(workflows.search(made.path, asked), workflows.search(f"milvus:{uri}", asked), strict=True):
        assert [hit.id for hit in here.hits] == [hit.id for hit in there.hits]
        np.testing.assert_allclose([h.score for h in here.hits], [h.score for h in there.hits], atol=1e-6)


def test_copies_stand_in_order_of_their_ids_however_many_there_are(tmp_path, uri):
    # 60 copies, more than are fetched at first, written last id first: the five first ids must be found
    ids = names(60)[::-1]
    made = write_store(tmp_path / "copies", [(ids, np.repeat(clustered(1), 60, 0)), (["z.jpg"], clustered(1, seed=9))])
    push(made.path, uri)
    (answer, *_) = workflows.search(f"milvus:{uri}", [str(made.path)], k=5)
    assert [hit.id for hit in answer.hits] == names(5)


def test_images_are_described_as_the_collection_was(job, photos, uri):
    workflows.extract(job)
    push(job.output, uri)
    options = workflows.QueryOptions(workers=0, device="cpu")
    query = [str(photos / "a" / "2.png")]
    for more in ({}, {"options": replace(options, robust=True)}, {"box": (0, 0, 20, 20)}):
        asked = {"k": 3, "options": options, **more}
        found = workflows.search(f"milvus:{uri}", query, **asked)
        assert found == workflows.search(job.output, query, **asked)
        assert len(found[0].hits) == 3
    assert found[0].hits[0].path == str(photos / found[0].hits[0].id)


def test_one_collection_is_taken_by_itself_and_of_several_one_is_named(store, uri):
    push(store.path, uri, collection="one")
    from pymilvus import MilvusClient

    client = MilvusClient(uri)
    client.create_collection("foreign", dimension=4)
    client.close()
    asked = [str(store.path)]
    assert len(workflows.search(f"milvus:{uri}", asked)) == 120
    push(store.path, uri, collection="two")
    with pytest.raises(ServerError, match=r"has several collections \(one, two\); name one: milvus:.*#one"):
        workflows.search(f"milvus:{uri}", asked)
    assert len(workflows.search(f"milvus:{uri}#two", asked)) == 120
    with pytest.raises(ServerError, match=r"no collection three; those that imgret push made: one, two"):
        workflows.search(f"milvus:{uri}#three", asked)


def test_a_push_that_did_not_end_is_said(store, uri, monkeypatch):
    from imgret.milvus.collection import Collection

    heard: list[str] = []
    push(store.path, uri)
    workflows.search(f"milvus:{uri}", [str(store.path)], say=heard.append)
    assert heard == []
    monkeypatch.setattr(Collection, "mark", lambda self, count: None)
    push(store.path, uri, collection="two")
    workflows.search(f"milvus:{uri}#two", [str(store.path)], say=heard.append)
    assert "holds 120 images, no push has ended well: run imgret push again" in heard[0]


def test_what_a_server_cannot_do_is_said(store, uri, tmp_path):
    from imgret.rerank import parse_chain

    push(store.path, uri, index="AUTOINDEX")
    asked = [str(store.path)]
    with pytest.raises(InputError, match="leave out --whitening"):
        workflows.search(f"milvus:{uri}", asked, whitening=tmp_path / "w")
    with pytest.raises(InputError, match="--rerank works on an index or a store"):
        workflows.search(f"milvus:{uri}", asked, rerank=parse_chain("aqe"))
    with pytest.raises(InputError, match="has the index AUTOINDEX, which finds nearly all"):
        workflows.search(f"milvus:{uri}", asked, exactly=True)
    other = write_store(tmp_path / "other", [(["x.jpg"], clustered(1))], {"model": "gem", "image_size": 512})
    with pytest.raises(ImgretError, match="made with image_size 512, the collection with 1024"):
        workflows.search(f"milvus:{uri}", [str(other.path)])


def test_the_commands_push_and_search(tmp_path, monkeypatch, mean_colour):
    monkeypatch.chdir(tmp_path)
    for number in range(8):
        save(tmp_path / "photos", f"{number}.png", number)
    run("extract", "photos", "-o", "store", "--model", mean_colour, *FAST)
    to = ["push", "store", "--to", "milvus", "--uri", "m.db"]
    assert "(it would be made): 8 would be added" in run(*to, "--dry-run").stderr
    said = run(*to, "-v").stderr
    assert "imgret at m.db (was made): 8 added, 0 replaced, 0 kept; 8 rows in all, 8 of them checked." in said
    assert "Search it: imgret search milvus:m.db#imgret QUERY" in said
    assert "0 added, 0 replaced, 8 kept" in run(*to).stderr
    assert run(*to, "-q").stderr == ""
    asked = ["photos/3.png", "-k", "3", "--workers", "0", "--format"]
    for form in ("jsonl", "json", "csv", "paths", "table"):
        assert run("search", "milvus:m.db", *asked, form).stdout == run("search", "store", *asked, form).stdout
    first = json.loads(run("search", "milvus:m.db#imgret", *asked, "jsonl").stdout)["results"][0]
    assert (first["id"], first["rank"]) == ("3.png", 1)
    run(*to, "--index", "HNSW", code=2)
    run("push", "store", "--to", "qdrant", "--uri", "x", code=2)
