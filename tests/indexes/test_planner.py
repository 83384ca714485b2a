"""The planner tries kinds on a sample, and what it promises is fair."""

from __future__ import annotations

import time
from dataclasses import asdict

import faiss
import numpy as np
import pytest

from imgret.errors import IndexFileError
from imgret.indexes import planner, trials
from imgret.indexes.kinds import INDEX_KINDS, lists
from imgret.indexes.planner import ORDER, plan
from imgret.indexes.sample import Sample
from imgret.indexes.trials import Trial, attempt
from tests.indexes.conftest import clustered

PLENTY = 10**12


@pytest.fixture(scope="module")
def planned():
    """2,000 vectors of a collection of 20,000."""
    return plan(clustered(2000, 32), 20_000, PLENTY, 0.9, seed=0)


def trial(kind: str, **facts) -> Trial:
    """A trial that reached the target; one millisecond, one second, one megabyte where nothing is said."""
    known = {"memory": 10**6, "build": 1.0, "latency": 1.0, "batched": 1.0, "recall": 1.0, "parameters": {}}
    return Trial(kind, INDEX_KINDS[kind].pattern, **(known | facts))


def choose_from(monkeypatch, *promises: Trial, target: float = 0.9):
    """The plan where each kind promises what is said, and no other kind is there."""
    known = {promise.kind: promise for promise in promises}
    monkeypatch.setattr(planner, "ORDER", tuple(known))
    monkeypatch.setattr(planner, "attempt", lambda kind, *_: known[kind])
    return plan(clustered(1000, 16), 1000, PLENTY, target, seed=0)


def test_every_kind_is_in_the_table_with_all_its_figures(planned):
    assert tuple(one.kind for one in planned.trials) == ORDER
    for one in planned.trials:
        assert one.factory == INDEX_KINDS[one.kind].factory(20_000, 32)
        assert one.memory == INDEX_KINDS[one.kind].memory(20_000, 32)
        assert min(one.build, one.latency, one.batched) > 0
        assert 0 < one.recall <= 1
        assert set(one.parameters) <= {"nprobe", "candidates"}
        assert (one.left_out is None) == (one.recall >= 0.9)
    assert planned.choice.kind in ORDER
    assert "promises recall" in planned.choice.why


def test_the_table_is_plain_enough_for_index_json(planned):
    import json

    assert json.loads(json.dumps([asdict(one) for one in planned.trials]))[0]["kind"] == "flat"


def test_the_quickest_that_finds_enough_is_chosen(monkeypatch):
    found = choose_from(
        monkeypatch,
        trial("flat", latency=100.0),
        trial("ivf", latency=3.0),
        trial("hnswsq8", latency=1.0, recall=0.8),
    )
    assert found.choice.kind == "ivf"
    assert found.trials[2].left_out == "finds less than 0.9"
    assert found.trials[0].left_out is None


def test_a_millisecond_is_not_worth_a_longer_build(monkeypatch):
    # 0.2 + 1 ms is the most that is as quick as 0.2 ms, so flat is out; ivf is built soonest of the others.
    found = choose_from(
        monkeypatch,
        trial("hnswsq8", latency=0.2, build=600.0),
        trial("ivf", latency=1.1, build=60.0),
        trial("flat", latency=1.3),
    )
    assert found.choice.kind == "ivf"


def test_of_kinds_as_quick_and_as_soon_the_smallest_is_chosen(monkeypatch):
    found = choose_from(
        monkeypatch,
        trial("ivf", build=60.0, memory=10**9),
        trial("ivfpq", build=70.0),
        trial("sq8", build=80.0, memory=1),
    )  # 60 x 1.25 = 75 seconds is as soon
    assert found.choice.kind == "ivfpq"


def test_where_none_finds_enough_the_nearest_is_chosen(monkeypatch):
    found = choose_from(
        monkeypatch, trial("ivfpq", recall=0.7), trial("rabitq", recall=0.8, latency=9.0), trial("ivf", recall=0.8)
    )
    assert found.choice.kind == "ivf"


def test_kinds_that_do_not_fit_are_not_tried(monkeypatch):
    tried = []
    monkeypatch.setattr(planner, "attempt", lambda kind, *_: tried.append(kind) or trial(kind))
    # 1,000 x 16: rabitq 10 bytes a row and 1 kB; sq8 16; fp16 32; flat 64; lists add 8 a row, links of a graph 272
    found = plan(clustered(1000, 16), 1000, 33_000, 0.9, seed=0)
    assert {"fp16", "sq8", "rabitq"} <= set(tried)
    assert {"flat", "ivf", "hnswsq8"}.isdisjoint(tried)
    assert {one.kind for one in found.trials if one.left_out} == set(ORDER) - set(tried)
    assert found.trials[0].left_out == "does not fit in 33 kB"


def test_graphs_are_not_tried_where_none_may_be_chosen(monkeypatch):
    monkeypatch.setattr(planner, "attempt", lambda kind, *_: trial(kind, latency=0.1 if "hnsw" in kind else 9.0))
    sample = clustered(1000, 16)
    assert plan(sample, 1000, PLENTY, 0.9, seed=0).choice.kind == "hnswsq8"
    found = plan(sample, 1000, PLENTY, 0.9, seed=0, graphs=False)
    assert found.choice.kind != "hnswsq8"
    assert [one.left_out for one in found.trials if one.kind == "hnswsq8"] == [
        "a graph cannot be put together of parts"
    ]


def test_an_impossible_budget_is_refused_at_once_naming_the_nearest():
    sample = clustered(2000, 32)
    start = time.perf_counter()
    with pytest.raises(IndexFileError, match=r"nearest budget that works: --kind rabitq --max-memory 13MB"):
        plan(sample, 1_000_000, 1_000_000, 0.9, seed=0)  # 1,000,000 x (32 bits + 8 bytes) = 12 MB, and a bit
    assert time.perf_counter() - start < 1


def test_what_cannot_begin_in_time_is_said(monkeypatch):
    monkeypatch.setattr(planner, "TIME", -1)
    monkeypatch.setattr(planner, "ORDER", ("flat", "sq8"))
    found = plan(clustered(300, 16), 300, PLENTY, 0.9, seed=0)
    assert [one.left_out for one in found.trials] == [None, "not tried, the time was up"]
    assert found.choice.kind == "flat"


def test_trials_of_codes_and_lists_are_the_same_each_time():
    vectors = clustered(1500, 16)
    for kind in ("sq8", "rabitq", "ivfpq", "ivfrabitq"):
        first, second = (attempt(kind, Sample(vectors, 15_000, 3), 0.95, 1) for _ in range(2))
        assert (first.recall, first.parameters) == (second.recall, second.parameters)


def test_trials_run_on_one_core_and_faiss_has_the_others_back(monkeypatch):
    during = []
    monkeypatch.setattr(planner, "attempt", lambda kind, *_: during.append(faiss.omp_get_max_threads()) or trial(kind))
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(2)
    try:
        plan(clustered(300, 16), 300, PLENTY, 0.9, seed=0)
        assert (set(during), faiss.omp_get_max_threads()) == ({1}, 2)
    finally:
        faiss.omp_set_num_threads(before)


def test_an_empty_sample_is_a_callers_bug():
    with pytest.raises(ValueError, match="at least one row"):
        plan(np.zeros((0, 16), np.float32), 10, PLENTY, 0.9, seed=0)


@pytest.mark.parametrize("count", [1, 2, 3, 30, 300])
def test_a_tiny_sample_is_planned_too(count):
    assert plan(clustered(count, 16), count, PLENTY, 0.9, seed=0).choice.kind in INDEX_KINDS


@pytest.mark.parametrize("dim", [1, 7, 33])
def test_any_dimension_is_planned(dim):
    rows = np.random.default_rng(0).standard_normal((600, dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert all(one.recall is not None for one in plan(rows, 5000, PLENTY, 0.9, seed=0).trials)


def test_queries_are_held_out_of_the_sample():
    sample = Sample(clustered(500, 16), 500, seed=0)
    assert len(sample.queries) + len(sample.rows) == 500
    assert len(sample.queries) == 50  # a tenth
    assert (sample.queries @ sample.rows.T).max() < 1 - 1e-4


def test_recall_counts_the_nearest_and_what_scores_the_same():
    sample = Sample(clustered(500, 16), 500, seed=0)
    best_first = np.argsort(-(sample.queries @ sample.rows.T), axis=1)
    assert sample.recall(best_first[:, :10], 10, len(sample.rows)) == 1
    assert sample.recall(best_first[:, 5:15], 10, len(sample.rows)) == 0.5
    assert sample.recall(np.full((50, 10), -1), 10, len(sample.rows)) == 0
    # Of the first 100 rows only, each query's best one is all that is wanted.
    few = np.argsort(-(sample.queries @ sample.rows[:100].T), axis=1)[:, :1]
    assert sample.recall(few, 1, 100) == 1


def test_candidates_are_the_same_share_of_the_sample_as_of_the_collection(monkeypatch):
    # 450 rows stand for 45,000: 128 candidates are 1.28 of them, rounded up; the ten nearest are the nearest one.
    asked = []
    sample = Sample(clustered(500, 16), 45_000, seed=0)
    tried = trials._Scanned("sq8", sample)
    monkeypatch.setattr(tried, "_fetch", lambda queries, depth, _: asked.append(depth) or np.zeros((50, depth), int))
    tried._recall({"candidates": 128})
    tried._recall({"candidates": 1024})
    assert (asked, tried.depth) == ([2, 11], 1)


def test_a_sample_promises_less_of_a_code_the_larger_the_collection():
    vectors = clustered(2000, 64)
    parameters = {"candidates": 128}
    promises = [trials._Scanned("rabitq", Sample(vectors, count, 0))._recall(parameters) for count in (1800, 180_000)]
    assert promises[0] > promises[1]


def test_what_is_promised_is_about_what_the_whole_collection_gives():
    """12,000 rows: what a sixth of them promises, and what all of them give with the same parameters."""
    everything = clustered(12_000 + 200, 32)
    rows, queries = everything[:12_000], everything[12_000:]
    scores = queries @ rows.T
    worst = np.partition(scores, -10, axis=1)[:, -10]
    for kind in ("rabitq", "ivfpq", "ivfrabitq"):
        promised = attempt(kind, Sample(rows[:2000], 12_000, 0), 0.9, 1)
        assert promised.parameters is not None
        whole = attempt_structure(kind, rows)
        _, found = whole.fetch(queries, promised.parameters["candidates"], promised.parameters.get("nprobe", 0), None)
        there = np.where(found >= 0, np.take_along_axis(scores, np.maximum(found, 0), 1), -1)
        recall = np.minimum((there >= worst[:, None] - 1e-6).sum(1) / 10, 1).mean()
        assert recall == pytest.approx(promised.recall, abs=0.1)


def attempt_structure(kind: str, rows: np.ndarray):
    """All rows in an index of a kind."""
    from imgret.indexes.structure import Structure, create

    index = create(INDEX_KINDS[kind].factory(*rows.shape), rows.shape[1], 0)
    index.train(rows)
    index.add(rows)
    return Structure(index)


def test_fewer_lists_stand_for_all_where_the_sample_cannot_fill_them():
    tried = trials._Listed("ivf", Sample(clustered(500, 16), 100_000, seed=0))
    assert lists(100_000) == 1024
    assert tried.structure.lists == 16  # 450 / 16 rows a list = 28, so 16
    assert tried._range() == ({"nprobe": 64}, {"nprobe": 1024})
    assert [tried._lists({"nprobe": nprobe}) for nprobe in (64, 128, 1024)] == [1, 2, 16]


def test_a_graph_that_needs_more_effort_with_size_is_promised_to_need_more_again(monkeypatch):
    tried = trials._Graph("hnswsq8", Sample(clustered(2200, 16), 2000 * 64, seed=0))
    # 64 candidates at an eighth of 2,000 rows and 128 at all of them: twice as many for 8 times the rows, and the
    # collection has 64 = 8 x 8 times as many again, so 128 x 2 x 2.
    efforts = iter([(64, 0.95), (128, 0.95)])
    monkeypatch.setattr(tried, "_effort", lambda _: next(efforts))
    assert tried.tuned(0.95) == ({"candidates": 512}, 0.95)


def test_progress_tells_of_every_kind():
    told = []
    plan(clustered(300, 16), 300, PLENTY, 0.9, seed=0, progress=lambda *what: told.append(what))
    assert told == [("trying kinds of index", number, len(ORDER)) for number in range(len(ORDER) + 1)]
