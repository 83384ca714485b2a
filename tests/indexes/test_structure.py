"""Every kind is asked in the same way, and what it answers depends on nothing but the question."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from imgret.indexes.files import map_faiss
from imgret.indexes.kinds import INDEX_KINDS
from imgret.indexes.structure import Structure, create, one_thread
from imgret.indexes.writing import write_faiss
from tests.indexes.conftest import clustered

COUNT, DIM = 1500, 32
REFUSES = ["PQ16x4fs", "RaBitQfs"]  # FAISS cannot leave rows out of these
FACTORIES = [
    *(row.factory(COUNT, DIM) for row in INDEX_KINDS.values()),
    *REFUSES,
    "IVF16,PQ8np",  # what ivfpq was
    "IVF16,RaBitQfs",
    "PCA16,IVF16,PQ16x4fs",
    "RaBitQ",
    "HNSW32,SQfp16",
    "IVF16,PQ16x4fs,RFlat",
]


@pytest.fixture(scope="module")
def made():
    """A FAISS index of 1,500 vectors for a factory string, made once."""
    known = {}

    def make(factory):
        if factory not in known:
            index = create(factory, DIM, 0)
            with one_thread():
                index.train(clustered(COUNT, DIM))
                index.add(clustered(COUNT, DIM))
            known[factory] = index
        return known[factory]

    return make


@pytest.fixture
def queries():
    return clustered(COUNT, DIM)[:60] + np.float32(0.02)


@pytest.mark.parametrize("factory", FACTORIES)
def test_what_is_found_does_not_depend_on_the_queries_beside(made, queries, factory):
    structure = Structure(made(factory))
    _, together = structure.fetch(queries, 128, 4, None)
    _, again = structure.fetch(queries, 128, 4, None)
    _, some = structure.fetch(np.ascontiguousarray(queries[7:30]), 128, 4, None)
    alone = np.concatenate([structure.fetch(query[None], 128, 4, None)[1] for query in queries])
    for other in (again, alone):
        assert [set(line) for line in other.tolist()] == [set(line) for line in together.tolist()]
    assert [set(line) for line in some.tolist()] == [set(line) for line in together[7:30].tolist()]


@pytest.mark.parametrize("factory", FACTORIES)
def test_rows_that_do_not_count_are_left_out_of_every_kind_and_others_take_their_places(made, queries, factory):
    live = np.arange(COUNT) % 3 > 0
    bitmap = np.packbits(live, bitorder="little")
    structure = Structure(made(factory))
    scores, rows = structure.fetch(queries, 100, max(structure.lists, 1), faiss.IDSelectorBitmap(bitmap))
    assert rows.shape == (60, 100)
    assert live[rows].all()
    assert (rows >= 0).all()
    assert all(len(set(line)) == 100 for line in rows.tolist())
    if not structure.graph:
        assert (np.diff(scores) <= 0).all()


@pytest.mark.parametrize("factory", REFUSES)
def test_where_nearly_all_rows_are_dead_the_few_that_live_are_found(made, queries, factory):
    live = np.zeros(COUNT, bool)
    live[[5, 700, 1499]] = True
    structure = Structure(made(factory))
    _, rows = structure.fetch(queries, 10, 0, faiss.IDSelectorBitmap(np.packbits(live, bitorder="little")))
    assert all(set(line[:3]) == {5, 700, 1499} and set(line[3:]) == {-1} for line in rows.tolist())


@pytest.mark.parametrize("factory", REFUSES)
def test_rows_left_out_here_leave_what_a_search_of_the_others_finds(made, queries, factory):
    structure = Structure(made(factory))
    live = np.ones(COUNT, bool)
    live[structure.fetch(queries, 5, 0, None)[1].ravel()] = False  # the best five of every query
    _, rows = structure.fetch(queries, 20, 0, faiss.IDSelectorBitmap(np.packbits(live, bitorder="little")))
    everything, order = structure.fetch(queries, COUNT, 0, None)
    for line, scores, found in zip(order.tolist(), everything, rows.tolist(), strict=True):
        score_of = dict(zip(line, scores.tolist(), strict=True))
        best = [score_of[row] for row in line if live[row]][:20]
        assert [score_of[row] for row in found] == best  # rows of equal codes may change places


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_mapped_index_answers_as_the_one_in_memory(made, queries, factory, tmp_path):
    write_faiss(tmp_path / "index.faiss", made(factory))
    inside = Structure(made(factory)).fetch(queries, 50, 4, None)
    mapped = Structure(map_faiss(tmp_path / "index.faiss")).fetch(queries, 50, 4, None)
    np.testing.assert_array_equal(inside[1], mapped[1])


@pytest.mark.parametrize("factory", ["SQfp16", "HNSW32,SQfp16"])
def test_half_precision_codes_are_the_vectors(factory, tmp_path):
    vectors = clustered(500, DIM).astype(np.float16)
    index = create(factory, DIM, 0)
    index.train(vectors.astype(np.float32))
    index.add(vectors.astype(np.float32))
    write_faiss(tmp_path / "index.faiss", index)
    mapped = map_faiss(tmp_path / "index.faiss")
    half = Structure(mapped).half_matrix
    assert half is not None
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, vectors)


@pytest.mark.parametrize("factory", ["Flat", "SQ8", "IVF16,SQfp16", "PCA16,SQfp16"])
def test_other_codes_are_not(made, factory):
    assert Structure(made(factory)).half_matrix is None


def test_one_thread_is_given_back():
    before = faiss.omp_get_max_threads()
    with one_thread() as threads:
        assert (threads, faiss.omp_get_max_threads()) == (before, 1)
    assert faiss.omp_get_max_threads() == before


def test_an_id_map_is_refused_in_plain_words():
    from imgret.errors import IndexFileError
    from imgret.indexes.structure import create

    with pytest.raises(IndexFileError, match="leave the IDMap out"):
        create("IDMap,Flat", 8, 0)
