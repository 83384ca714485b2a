"""What a map is made of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imgret.atlas.map import Atlas
from imgret.atlas.source import Source
from imgret.indexes.build import build
from imgret.indexes.files import Index
from imgret.indexes.parts.build import build_parts
from imgret.indexes.parts.files import Parts
from tests.atlas.data import clustered, source_of
from tests.indexes.conftest import names, write_store


@pytest.fixture
def rows() -> np.ndarray:
    return clustered(120, dim=16)[0]


@pytest.fixture
def store(tmp_path, rows):
    return write_store(
        tmp_path / "store", [(names(120)[start : start + 40], rows[start : start + 40]) for start in (0, 40, 80)]
    )


def all_of(source: Source) -> np.ndarray:
    return np.concatenate(list(source.vectors()))


def test_a_store_an_index_and_parts_give_the_same_rows(tmp_path, store):
    build([store], tmp_path / "index", kind="flat")
    build_parts([store], tmp_path / "parts", 3, kind="flat")
    found = [Source.of(one) for one in (store, Index.open(tmp_path / "index"), Parts.open(tmp_path / "parts"))]
    for source in found:
        assert (source.count, source.dim, source.graph) == (120, 16, None)
        np.testing.assert_allclose(all_of(source), all_of(found[0]), atol=1e-6)


def test_a_stored_graph_gives_the_map_that_looking_for_neighbours_gives(tmp_path, store):
    build([store], tmp_path / "index", kind="flat", graph=15)
    source = Source.of(Index.open(tmp_path / "index"))
    assert source.graph is not None
    known, found = Atlas.compute(source).positions, Atlas.compute(replace(source, graph=None)).positions
    assert np.abs(known - found).mean() < 0.05


def test_a_graph_has_places_where_rows_no_longer_count(tmp_path, store, rows):
    build([store], tmp_path / "index", kind="flat", graph=12)
    index = Index.open(tmp_path / "index")
    index.deleted, index.count = np.array([0, 50]), 118
    source = Source.of(index)
    near, cosines = source.graph
    live = np.delete(np.arange(120), [0, 50])
    there = near >= 0
    assert near.shape == (118, 12)
    assert near.max() == 117
    line, column = np.nonzero(there)
    true = np.einsum("nd,nd->n", rows[live[line]], rows[live[near[line, column]]])
    np.testing.assert_allclose(cosines[line, column], true, atol=1e-3)  # the store keeps half precision
    assert not cosines[~there].any()
    assert np.isfinite(Atlas.compute(source).positions).all()


def test_a_graph_of_few_neighbours_is_not_used(tmp_path, store):
    build([store], tmp_path / "index", kind="flat", graph=3)
    assert Source.of(Index.open(tmp_path / "index")).graph is None


def test_descriptors_at_places_are_those_of_the_blocks(rows):
    places = np.array([0, 3, 64, 65, 119])
    assert (source_of(rows, 64).chosen(places) == rows[places]).all()


@pytest.mark.parametrize(("count", "dim"), [(119, 16), (121, 16), (120, 8)])
def test_blocks_that_are_not_what_was_said_are_refused(rows, count, dim):
    source = replace(source_of(rows), count=count, dim=dim)
    with pytest.raises(ValueError, match="blocks must give"):
        Atlas.compute(source)
