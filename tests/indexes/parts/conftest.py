"""A store of eight shards, with copies of one vector in several of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imgret.store.store import Store
from tests.indexes.conftest import clustered, names, write_store


@pytest.fixture
def shards(tmp_path: Path) -> Store:
    """1,200 vectors of dimension 16 in eight shards of 150; rows 10, 400, 401 and 1,100 are equal."""
    vectors, ids = clustered(1200), names(1200)
    vectors[[400, 401, 1100]] = vectors[10]
    parts = [(ids[at : at + 150], vectors[at : at + 150]) for at in range(0, 1200, 150)]
    return write_store(tmp_path / "store", parts)


@pytest.fixture
def queries() -> np.ndarray:
    """[30, 16]: row 10 of the store, which has copies, and others near its rows."""
    rng = np.random.default_rng(3)
    rows = clustered(1200)[10:1200:40] + 0.1 * rng.standard_normal((30, 16), np.float32)
    rows[0] = clustered(1200)[10]
    return rows
