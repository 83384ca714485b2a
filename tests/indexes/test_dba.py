"""An index over augmented rows: what it holds, when it is made anew, what it leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from imgret.errors import IndexFileError
from imgret.indexes.build import build
from imgret.indexes.dba import Dba, parse_dba
from imgret.indexes.files import INDEX_FILE, Index
from imgret.indexes.rows import gather
from imgret.indexes.search import search
from imgret.store.store import Store
from imgret.workflows import build_index, whiten
from tests.indexes.conftest import add_shard, clustered, names, save, write_store

EXACT = 3e-6  # float32 sums of a few dozen products


def augmented(rows: np.ndarray, k: int, alpha: float) -> np.ndarray:
    """x' = L2(x + sum over the k nearest others of max(x . x_j, 0)^alpha x_j), in float64, one row at a time."""
    rows = np.asarray(rows, np.float64)
    cosines = rows @ rows.T
    made = []
    for number, x in enumerate(rows):
        others = [j for j in range(len(rows)) if j != number]
        nearest = sorted(others, key=lambda j: -cosines[number, j])[:k]
        total = x.copy()
        for j in nearest:
            total += max(cosines[number, j], 0.0) ** alpha * rows[j]
        made.append(total / np.linalg.norm(total))
    return np.array(made)


def held(folder) -> np.ndarray:
    """All vectors of an index."""
    index = Index.open(folder)
    return index.vectors(np.arange(len(index.ids)))


def everything(folder) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def small(tmp_path) -> Store:
    """150 vectors in two shards."""
    vectors, ids = clustered(150), names(150)
    return write_store(tmp_path / "small", [(ids[:90], vectors[:90]), (ids[90:], vectors[90:])])


def grown(store: Store, count: int = 10) -> Store:
    add_shard(store, names(count, "new"), clustered(count, seed=9))
    save(store)
    return store


@pytest.mark.parametrize(("k", "alpha"), [(1, 3), (10, 3), (10, 0), (7, 0.5), (149, 2), (1000, 3)])
def test_every_row_is_augmented_with_its_nearest_others(tmp_path, small, k, alpha):
    report = build([small], tmp_path / "index", dba=Dba(k, alpha))
    assert report.dba == Dba(k, alpha)
    np.testing.assert_allclose(held(tmp_path / "index"), augmented(clustered(150), k, alpha), atol=EXACT)
    index = Index.open(tmp_path / "index")
    assert index.about["dba"] == {"k": k, "alpha": alpha}
    assert index.neighbours is None  # those of the plain rows are not kept
    assert index.verify() == []
    assert not list((tmp_path / "index").glob("*plain*"))


def test_three_rows_by_hand(tmp_path):
    # x0 = (1, 0), x1 = (0.6, 0.8), x2 = (-1, 0); alpha 1, two neighbours each:
    # x0' ~ (1, 0) + 0.6 (0.6, 0.8) + 0 x2 = (1.36, 0.48);  x1' ~ (0.6, 0.8) + 0.6 (1, 0) + 0 x2 = (1.2, 0.8)
    # x2 has negative cosines only and stays
    rows = np.array([[1, 0], [0.6, 0.8], [-1, 0]], np.float32)
    build([write_store(tmp_path / "s", [(names(3), rows)])], tmp_path / "index", dba=Dba(2, 1))
    wanted = np.array([[1.36, 0.48], [1.2, 0.8], [-1, 0]])
    np.testing.assert_allclose(held(tmp_path / "index"), wanted / np.linalg.norm(wanted, axis=1)[:, None], atol=EXACT)


def test_alpha_0_is_the_average_of_a_row_and_its_neighbours(tmp_path):
    # each has the other as its only neighbour, so both become the middle: (1, 0) + (0.6, 0.8) = (1.6, 0.8)
    rows = np.array([[1, 0], [0.6, 0.8]], np.float32)
    build([write_store(tmp_path / "s", [(names(2), rows)])], tmp_path / "index", dba=Dba(1, 0))
    np.testing.assert_allclose(held(tmp_path / "index"), [[2 / 5**0.5, 1 / 5**0.5]] * 2, atol=EXACT)


def test_opposite_rows_that_cancel_stay_as_they_are(tmp_path):
    rows = np.array([[0.6, 0.8], [-0.6, -0.8]], np.float32)
    build([write_store(tmp_path / "s", [(names(2), rows)])], tmp_path / "index", dba=Dba(1, 0))
    np.testing.assert_allclose(held(tmp_path / "index"), rows, atol=EXACT)


def test_one_row_has_nothing_to_be_augmented_with(tmp_path):
    store = write_store(tmp_path / "s", [(names(1), clustered(1))])
    build([store], tmp_path / "index", dba=Dba())
    np.testing.assert_allclose(held(tmp_path / "index"), clustered(1), atol=EXACT)


def test_a_row_is_left_out_by_its_number_where_copies_stand_before_it(tmp_path):
    # Five copies of a and one b with a . b = 0.6. With k = 5 and alpha 1 each a has four copies and b:
    # a' ~ a + 4 a + 0.6 b. Counting itself as a copy would give 6 a and no b.
    a, b = np.array([1, 0, 0]), np.array([0.6, 0.8, 0])
    rows = np.array([a, a, a, a, a, b], np.float32)
    build([write_store(tmp_path / "s", [(names(6), rows)])], tmp_path / "index", dba=Dba(5, 1))
    wanted = 5 * a + 0.6 * b
    np.testing.assert_allclose(held(tmp_path / "index")[:5], [wanted / np.linalg.norm(wanted)] * 5, atol=EXACT)


def test_rows_are_augmented_after_they_are_whitened(tmp_path, small):
    other = write_store(tmp_path / "other", [(names(400, "other"), clustered(400, seed=5))])
    whitening = whiten(other.path, tmp_path / "w.safetensors", dim=8).whitening
    build([small], tmp_path / "index", whitening=whitening, dba=Dba(5, 3))
    white = whitening.apply(clustered(150))
    wanted = augmented(white, 5, 3)
    np.testing.assert_allclose(held(tmp_path / "index"), wanted, atol=1e-5)
    before = whitening.apply(augmented(clustered(150), 5, 3).astype(np.float32))
    assert np.abs(before - wanted).max() > 0.01


@pytest.fixture
def medium(tmp_path) -> Store:
    """500 vectors in one shard."""
    return write_store(tmp_path / "medium", [(names(500), clustered(500))])


@pytest.mark.parametrize("kind", ["hnsw", "ivf", "ivfpq"])
def test_other_kinds_augment_with_the_neighbours_they_find(tmp_path, medium, kind):
    build([medium], tmp_path / "index", kind=kind, dba=Dba(5, 3), target_recall=0.99)
    wanted = augmented(clustered(500), 5, 3)
    cosines = np.einsum("nd,nd->n", held(tmp_path / "index"), wanted)
    assert np.mean(cosines > 0.9999) > 0.95  # the others miss a neighbour
    found = search(Index.open(tmp_path / "index"), wanted[:50].astype(np.float32), [""] * 50, 1)
    assert np.mean(found.rows[:, 0] == np.arange(50)) > 0.9


def test_a_sample_of_rows_is_augmented_by_its_row_numbers(small):
    rows = replace(gather([small], verify=False), augment=lambda numbers, block: numbers[:, None] + 0 * block)
    read = np.concatenate(list(rows.read(np.array([3, 4, 89, 90, 149]), at_once=2)))
    assert read[:, 0].tolist() == [3, 4, 89, 90, 149]


def test_queries_are_not_augmented(tmp_path, small):
    build([small], tmp_path / "index", dba=Dba(10, 3))
    queries = clustered(150)[:5]
    found = search(Index.open(tmp_path / "index"), queries, [""] * 5, 150)
    scores = np.take_along_axis(queries @ augmented(clustered(150), 10, 3).T, found.rows, 1)
    np.testing.assert_allclose(found.scores, scores, atol=EXACT)


@pytest.mark.parametrize("change", ["added", "removed", "replaced"])
def test_any_change_of_rows_makes_an_augmented_index_anew(tmp_path, small, change):
    build([small], tmp_path / "index", dba=Dba(5, 3))
    rows = clustered(150)
    if change != "added":
        small.shards[0].dropped = [4]
        rows = np.delete(rows, 4, 0)
    if change != "removed":
        grown(small, 1)
        rows = np.concatenate([rows, clustered(1, seed=9)])
    save(small)
    report = build([small], tmp_path / "index")
    assert report.rebuilt_because == "rows came or went, and augmented rows depend on each other"
    assert (report.dba, report.dead, report.count) == (Dba(5, 3), 0, len(rows))
    np.testing.assert_allclose(held(tmp_path / "index"), augmented(rows, 5, 3), atol=EXACT)


def test_rows_that_no_store_holds_cannot_be_augmented_anew(tmp_path, small):
    build([small], tmp_path / "index", dba=Dba(5, 3))
    other = write_store(tmp_path / "b", [(names(5, "b"), clustered(5, seed=3))])
    with pytest.raises(IndexFileError, match=r"rows came or went.*150 of its rows are in no store given"):
        build([other], tmp_path / "index", add_only=True)
    assert build([small, other], tmp_path / "index", add_only=True).count == 155
    before = held(tmp_path / "index")
    assert build([other], tmp_path / "index", add_only=True).rebuilt_because is None
    np.testing.assert_array_equal(held(tmp_path / "index"), before)


def test_an_index_keeps_its_augmentation_until_told_otherwise(tmp_path, small):
    output = tmp_path / "index"
    build([small], output)
    assert build([small], output, dba=Dba(5, 3)).rebuilt_because == "the augmentation was none and is now k=5,alpha=3"
    before = {path.name: path.stat().st_mtime_ns for path in output.iterdir() if path.suffix != ".lock"}
    for dba in (None, Dba(5, 3), Dba(5, 3.0)):
        report = build([small], output, dba=dba)
        assert not report.changed
        assert report.dba == Dba(5, 3)
    assert before == {path.name: path.stat().st_mtime_ns for path in output.iterdir() if path.suffix != ".lock"}
    reason = build([small], output, dba=Dba(5, 1)).rebuilt_because
    assert reason == "the augmentation was k=5,alpha=3 and is now k=5,alpha=1"
    report = build([small], output, dba="none")
    assert report.rebuilt_because == "the augmentation was k=5,alpha=1 and is now none"
    assert report.dba is Index.open(output).about["dba"] is None
    np.testing.assert_allclose(held(output), clustered(150), atol=EXACT)


def test_another_target_leaves_augmented_rows_as_they_are(tmp_path, small):
    build([small], tmp_path / "index", kind="ivf", dba=Dba(5, 3))
    before = held(tmp_path / "index")
    report = build([small], tmp_path / "index", kind="ivf", target_recall=1.0)
    assert (report.changed, report.rebuilt_because) == (True, None)
    np.testing.assert_array_equal(held(tmp_path / "index"), before)


def test_an_index_made_before_there_was_augmentation_is_updated_as_before(tmp_path, small):
    build([small], tmp_path / "index")
    file = tmp_path / "index" / INDEX_FILE
    about = json.loads(file.read_text())
    del about["dba"], about["graph"]
    file.write_text(json.dumps(about))
    report = build([small], tmp_path / "index")
    assert (report.changed, report.dba, report.graph) == (False, None, None)
    report = build([grown(small)], tmp_path / "index")
    assert (report.added, report.kept, report.rebuilt_because) == (10, 150, None)


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_the_same_seed_gives_the_same_augmented_index(tmp_path, medium, kind):
    for name in ("one", "two"):
        build([medium], tmp_path / name, kind=kind, seed=3, dba=Dba(4, 3), graph=5)
    assert everything(tmp_path / "one") == everything(tmp_path / "two")


@pytest.mark.parametrize("stage", ["finding neighbours", "measuring recall", "second measuring recall"])
def test_an_interrupted_build_leaves_the_old_index_and_nothing_else(tmp_path, small, stage):
    output = tmp_path / "index"
    build([small], output, dba=Dba(5, 3))
    before = everything(output)
    told = []

    def interrupt(what, done, total):
        told.append(what)
        if what == stage or (stage.startswith("second") and told.count(stage[7:]) == 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build([grown(small)], output, progress=interrupt)
    assert everything(output) == before
    assert not [path for path in output.iterdir() if path.is_dir()]


_KILLED = """
import os, sys
from pathlib import Path
from imgret.indexes.build import build
from imgret.store.store import Store
build([Store.open(Path(sys.argv[1]))], Path(sys.argv[2]), verify=False,
      progress=lambda what, done, total: os._exit(9) if what == "finding neighbours" else None)
"""


def test_a_killed_build_disturbs_no_reader_and_the_next_build_cleans_up(tmp_path, small):
    output = tmp_path / "index"
    build([small], output, dba=Dba(5, 3))
    before = held(output)
    grown(small)
    code = [sys.executable, "-c", _KILLED, os.fspath(small.path), os.fspath(output)]
    assert subprocess.run(code, check=False).returncode == 9
    assert [path.name for path in output.iterdir() if path.is_dir()] == ["plain.partial"]
    np.testing.assert_array_equal(held(output), before)
    assert Index.open(output).verify() == []
    assert build([Store.open(small.path)], output).count == 160
    assert not [path for path in output.iterdir() if path.is_dir()]


def test_what_a_killed_build_left_goes_even_if_nothing_changed(tmp_path, small):
    build([small], tmp_path / "index")
    left = tmp_path / "index" / "plain.partial"
    left.mkdir()
    (left / "index-1.faiss").write_bytes(b"half")
    assert not build([small], tmp_path / "index").changed
    assert not left.exists()


def test_files_of_a_killed_generation_are_no_part_of_the_next(tmp_path, small):
    build([small], tmp_path / "index", kind="flat")
    for name in ("vectors-2.npy", "neighbours-2.npy", "whitening-2.safetensors"):
        (tmp_path / "index" / name).write_bytes(b"left by a build that was killed")
    build([grown(small)], tmp_path / "index", kind="flat")
    index = Index.open(tmp_path / "index")
    assert index.kept.dtype == np.float32
    assert {"vectors-2.npy", "neighbours-2.npy", "whitening-2.safetensors"}.isdisjoint(index.about["files"])
    assert not list((tmp_path / "index").glob("neighbours-*"))


@pytest.mark.parametrize(
    ("text", "dba"),
    [
        ("k=10,alpha=3", Dba(10, 3)),
        (" alpha = 0.5 , k = 2 ", Dba(2, 0.5)),
        ("k=5", Dba(5, 3)),
        ("alpha=0", Dba(10, 0)),
        ("none", None),
    ],
)
def test_text_says_how_rows_are_augmented(text, dba):
    assert parse_dba(text) == dba
    assert dba is None or parse_dba(str(dba)) == dba


def test_whole_alphas_are_written_without_a_point():
    assert str(parse_dba("k=10,alpha=3.0")) == "k=10,alpha=3"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is no setting"),
        ("10", "'10' is no setting"),
        ("k=10,beta=3", "'beta=3' is no setting"),
        ("k=10,k=3", "says k twice"),
        ("k=many", "k must be a number, got 'many'"),
        ("k=2.5", "k must be a whole number, got 2.5"),
        ("k=0", "k must be at least 1, got 0"),
        ("k=3,alpha=-1", "alpha must be from 0 to 100, got -1"),
        ("alpha=nan", "alpha must be a number, got 'nan'"),
        ("alpha=inf", "alpha must be a number, got 'inf'"),
    ],
)
def test_text_that_says_nothing_is_answered_with_what_to_type(tmp_path, text, message):
    with pytest.raises(IndexFileError, match="write it like k=10,alpha=3, or none") as refusal:
        build_index([tmp_path / "no store yet"], tmp_path / "index", dba=text)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_numbers_outside_their_range_are_a_callers_bug(tmp_path, small):
    for wrong in ({"k": 0}, {"alpha": -1}):
        with pytest.raises(ValueError, match="must be"):
            Dba(**wrong)
    with pytest.raises(ValueError, match="graph must be at least 0"):
        build([small], tmp_path / "index", graph=-1)
