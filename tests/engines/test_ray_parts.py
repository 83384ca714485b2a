"""Building and searching on a real Ray cluster: what one machine makes and answers."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from imgret import workflows
from imgret.engines.cluster import connected
from imgret.errors import IndexFileError
from imgret.indexes.files import Index
from imgret.workflows import QueryOptions
from imgret.workflows.evaluating import _RECIPE_KEYS
from tests.indexes.conftest import RECIPE, clustered, names, write_store

# what an evaluation prints of a recipe
SAID = {**dict.fromkeys(_RECIPE_KEYS), "weights": {"source": "none", "sha256": None}, **RECIPE}


@pytest.fixture
def store(tmp_path):
    """Four shards, with copies that tie across them."""
    vectors = clustered(1200)
    vectors[[5, 400, 700, 1100]] = vectors[5]
    ids = names(1200)
    return write_store(
        tmp_path / "s",
        [(ids[start : start + 300], vectors[start : start + 300]) for start in range(0, 1200, 300)],
        SAID,
    )


@pytest.fixture
def queries(tmp_path):
    return write_store(tmp_path / "q", [(names(40, "q"), clustered(1200)[:40])], SAID)


def answers(index, queries, **options):
    found = workflows.search(index, [str(queries.path)], k=20, options=QueryOptions(**options))
    return [[(hit.id, hit.score) for hit in answer.hits] for answer in found]


def test_parts_made_and_searched_on_ray_answer_as_one_undivided_index(store, queries, nodes, tmp_path):
    on_ray = {"engine": "ray", "ray_address": nodes.address}
    one = workflows.build_index([store.path], tmp_path / "one")
    parts = workflows.build_index([store.path], tmp_path / "parts", parts=2, **on_ray)
    assert (parts.parts, parts.recall["recall@10"]) == ((2, 0), one.recall["recall@10"])
    expected = answers(tmp_path / "one", queries)
    assert answers(tmp_path / "parts", queries) == expected
    assert answers(tmp_path / "parts", queries, **on_ray) == expected
    with pytest.raises(IndexFileError, match="not an index in parts.*--parts N"):
        answers(tmp_path / "one", queries, **on_ray)


def test_parts_held_by_workers_score_as_on_one_machine(store, nodes, tmp_path):
    workflows.build_index([store.path], tmp_path / "parts", parts=2)
    (tmp_path / "truth.qrels").write_text("image-00005.jpg 0 image-00400.jpg 1\nimage-00009.jpg 0 image-00010.jpg 1\n")
    job = workflows.EvalJob(tmp_path / "truth.qrels", index=tmp_path / "parts", format="trec", depth=50)
    here, _ = workflows.evaluate(job)
    there, _ = workflows.evaluate(replace(job, options=QueryOptions(engine="ray", ray_address=nodes.address)))
    assert here.subsets["all"]["queries"] == 2
    assert there.subsets == here.subsets


def test_a_running_cluster_passes_the_look_before_the_connection(nodes):
    with connected(nodes.address, 1) as cluster:
        assert cluster.count("CPU") >= 2


def test_an_undivided_index_made_on_ray_keeps_to_the_memory_of_one(store, nodes, tmp_path):
    # 1,200 x 16 x 4 bytes are 77 kB: more than the budget, less than twice that, which two parts would have
    ways = {"max_memory": 60_000, "target_recall": 0.5}
    one = workflows.build_index([store.path], tmp_path / "one", **ways)
    ray = workflows.build_index([store.path], tmp_path / "ray", engine="ray", ray_address=nodes.address, **ways)
    assert one.kind != "flat"
    assert ray.kind != "flat"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["flat", "ivf", "ivfpq"])
def test_an_undivided_index_made_on_ray_is_that_of_one_machine(store, queries, nodes, tmp_path, kind):
    on_ray = {"engine": "ray", "ray_address": nodes.address}
    workflows.build_index([store.path], tmp_path / "one", kind=kind)
    report = workflows.build_index([store.path], tmp_path / "ray", kind=kind, **on_ray)
    assert report.path == tmp_path / "ray"
    assert not list((tmp_path / "ray").glob("*parts*"))
    assert answers(tmp_path / "ray", queries) == answers(tmp_path / "one", queries)
    recall = [json.loads((tmp_path / name / "index.json").read_text())["recall"] for name in ("one", "ray")]
    assert recall[0] == recall[1]
    np.testing.assert_array_equal(
        Index.open(tmp_path / "ray").vectors(slice(0, 9)), Index.open(tmp_path / "one").vectors(slice(0, 9))
    )
