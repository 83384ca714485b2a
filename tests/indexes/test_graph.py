"""The graph of nearest neighbours that is stored with an index."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from imgret.cli.app import app
from imgret.errors import IndexFileError, SpaceError
from imgret.indexes import files
from imgret.indexes.build import build
from imgret.indexes.dba import Dba
from imgret.indexes.files import INDEX_FILE, Index
from imgret.indexes.neighbours import nearest
from imgret.ranking import Ranking
from tests.indexes.conftest import add_shard, clustered, names, save, write_store


def brute(index: Index, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest other live rows of every live row, one row at a time, equal ones in order of their ids."""
    total = len(index.ids)
    vectors = index.vectors(np.arange(total))
    # equal rows get equal cosines, whatever the order of a sum
    cosines = np.array([[np.float32(np.dot(a, b)) for b in vectors] for a in vectors]).round(5)
    live = [row for row in range(total) if row not in index.deleted]
    near, similar = np.full((total, k), -1), np.zeros((total, k))
    for row in live:
        others = sorted((j for j in live if j != row), key=lambda j: (-cosines[row, j], index.ids[j]))[:k]
        near[row, : len(others)] = others
        similar[row, : len(others)] = cosines[row, others]
    return near, similar


def graph_of(folder) -> tuple[np.ndarray, np.ndarray]:
    graph = Index.open(folder).neighbours
    assert graph is not None
    return graph


def with_copies(count: int) -> tuple[list[str], np.ndarray]:
    """Vectors, every fourth with two exact copies, under ids that are not in order."""
    vectors = np.concatenate([clustered(count), clustered(count)[::4], clustered(count)[::4]])
    order = np.random.default_rng(0).permutation(len(vectors))
    return [f"image-{number:04d}.jpg" for number in order], vectors


def test_the_graph_is_that_of_comparing_every_pair(tmp_path):
    store = write_store(tmp_path / "s", [with_copies(120)])
    report = build([store], tmp_path / "index", graph=7)
    assert report.graph == 7
    index = Index.open(tmp_path / "index")
    near, similar = index.neighbours
    wanted_near, wanted_similar = brute(index, 7)
    np.testing.assert_array_equal(near, wanted_near)
    np.testing.assert_allclose(similar, wanted_similar, atol=1e-5)
    assert (near.dtype, similar.dtype) == (np.int32, np.float32)
    assert isinstance(near, np.memmap)
    assert isinstance(similar, np.memmap)
    assert index.about["graph"] == 7
    assert {"neighbours-1.npy", "similarities-1.npy"} <= set(index.about["files"])
    assert index.verify() == []


def test_many_copies_never_put_a_row_into_its_own_list(tmp_path):
    # 20 copies of one row: whichever 5 a search gives first, 15 lists would not have themselves in place 0
    same = np.repeat(clustered(1), 20, 0)
    store = write_store(tmp_path / "s", [(names(20), same)])
    build([store], tmp_path / "index", graph=4)
    near, similar = graph_of(tmp_path / "index")
    for row in range(20):
        # the first four others in order of id
        assert near[row].tolist() == [other for other in range(5) if other != row][:4]
    np.testing.assert_allclose(similar, 1, atol=1e-6)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf", "ivfpq"])
def test_no_kind_of_index_puts_a_row_into_its_own_list(tmp_path, store, kind):
    build([store], tmp_path / "index", kind=kind, graph=20, target_recall=0.95)
    index = Index.open(tmp_path / "index")
    near, similar = index.neighbours
    assert near.shape == similar.shape == (1200, 20)
    assert not (near == np.arange(1200)[:, None]).any()
    assert (near >= 0).all()
    assert all(len(set(line)) == 20 for line in near.tolist())
    assert (np.diff(similar, axis=1) <= 0).all()
    every = clustered(1200) @ clustered(1200).T
    np.testing.assert_allclose(similar, np.take_along_axis(every, near, 1), atol=2e-3)
    np.fill_diagonal(every, -1)
    best = np.argsort(-every, axis=1)[:, :20]
    recall = np.mean([len(set(a) & set(b)) / 20 for a, b in zip(near.tolist(), best.tolist(), strict=True)])
    assert recall > (0.98 if kind == "flat" else 0.9)
    assert index.verify() == []


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_deleted_rows_have_no_neighbours_and_are_nobodys(tmp_path, store, kind):
    build([store], tmp_path / "index", kind=kind, graph=6)
    add_shard(store, names(30, "new"), clustered(30, seed=9))
    gone = [0, 5, 6, 300, 699]
    store.shards[0].dropped = gone
    save(store)
    report = build([store], tmp_path / "index", kind=kind)
    assert (report.rebuilt_because, report.graph, report.dead) == (None, 6, 5)
    near, similar = graph_of(tmp_path / "index")
    assert near.shape == (1230, 6)
    assert (near[gone] == -1).all()
    assert (similar[gone] == 0).all()
    assert not np.isin(near, gone).any()
    assert np.isin(np.arange(1200, 1230), near).any()
    if kind == "flat":
        vectors = np.concatenate([clustered(1200), clustered(30, seed=9)])
        every = vectors @ vectors.T
        np.fill_diagonal(every, -1)
        every[:, gone] = -1
        alive = np.delete(np.arange(1230), gone)
        np.testing.assert_allclose(similar[alive], -np.sort(-every[alive], axis=1)[:, :6], atol=1e-6)


def test_lists_are_filled_up_where_there_are_fewer_rows(tmp_path):
    rows = np.array([[1, 0], [0.6, 0.8], [-1, 0]], np.float32)
    build([write_store(tmp_path / "s", [(names(3), rows)])], tmp_path / "index", graph=4)
    near, similar = graph_of(tmp_path / "index")
    assert near.tolist() == [[1, 2, -1, -1], [0, 2, -1, -1], [1, 0, -1, -1]]
    np.testing.assert_allclose(similar, [[0.6, -1, 0, 0], [0.6, -0.6, 0, 0], [-0.6, -1, 0, 0]], atol=1e-6)


def test_one_row_is_alone(tmp_path):
    build([write_store(tmp_path / "s", [(names(1), clustered(1))])], tmp_path / "index", graph=2)
    near, similar = graph_of(tmp_path / "index")
    assert near.tolist() == [[-1, -1]]
    assert similar.tolist() == [[0, 0]]


def test_the_graph_describes_the_augmented_vectors(tmp_path):
    store = write_store(tmp_path / "s", [(names(150), clustered(150))])
    build([store], tmp_path / "index", dba=Dba(5, 3), graph=6)
    index = Index.open(tmp_path / "index")
    near, similar = brute(index, 6)
    np.testing.assert_array_equal(index.neighbours[0], near)
    np.testing.assert_allclose(index.neighbours[1], similar, atol=1e-5)
    plain = clustered(150) @ clustered(150).T
    assert np.abs(np.take_along_axis(plain, near, 1) - similar).max() > 0.01


def test_a_graph_comes_and_goes_without_making_the_index_anew(tmp_path, store):
    output = tmp_path / "index"
    build([store], output, kind="ivf")
    assert Index.open(output).neighbours is None
    report = build([store], output, kind="ivf", graph=5)
    assert (report.changed, report.rebuilt_because, report.graph, report.kept) == (True, None, 5, 1200)
    assert Index.open(output).neighbours[0].shape == (1200, 5)
    before = {path.name: path.stat().st_mtime_ns for path in output.iterdir() if path.suffix != ".lock"}
    for graph in (None, 5):
        report = build([store], output, kind="ivf", graph=graph)
        assert (report.changed, report.graph) == (False, 5)
    assert before == {path.name: path.stat().st_mtime_ns for path in output.iterdir() if path.suffix != ".lock"}
    assert build([store], output, graph=8).rebuilt_because is None
    assert Index.open(output).neighbours[0].shape == (1200, 8)
    report = build([store], output, graph=0)
    assert (report.changed, report.rebuilt_because, report.graph) == (True, None, None)
    assert not list(output.glob("neighbours-*")) + list(output.glob("similarities-*"))
    assert Index.open(output).about["graph"] is None
    assert not build([store], output, graph=0).changed


def test_a_graph_is_not_searched_for_again_where_it_would_be_the_same(tmp_path, store):
    # Only the target differs, and a flat index has no parameters that could.
    build([store], tmp_path / "index", graph=5)
    near, similar = (np.array(part) for part in graph_of(tmp_path / "index"))
    told = []
    report = build([store], tmp_path / "index", target_recall=0.9, progress=lambda what, *_: told.append(what))
    assert report.changed
    assert "finding neighbours" not in told
    np.testing.assert_array_equal(graph_of(tmp_path / "index")[0], near)
    np.testing.assert_array_equal(graph_of(tmp_path / "index")[1], similar)
    assert Index.open(tmp_path / "index").verify() == []


def test_progress_of_the_graph_is_told(tmp_path, store):
    told = []
    build([store], tmp_path / "index", graph=3, progress=lambda *word: told.append(word))
    assert [word[1:] for word in told if word[0] == "finding neighbours"] == [(1024, 1200), (1200, 1200)]


@pytest.mark.parametrize("role", ["neighbours", "similarities"])
def test_a_damaged_graph_is_told_of(tmp_path, store, role):
    build([store], tmp_path / "index", graph=4)
    file = tmp_path / "index" / files.file_names(1)[role]
    sound = file.read_bytes()
    file.write_bytes(sound[:-4])
    with pytest.raises(IndexFileError, match=f"{file.name} has {len(sound) - 4} bytes"):
        Index.open(tmp_path / "index")
    file.unlink()
    with pytest.raises(IndexFileError, match=f"{file.name} is missing"):
        Index.open(tmp_path / "index")
    file.write_bytes(b"\0" + sound[1:])
    with pytest.raises(IndexFileError, match="damaged"):
        Index.open(tmp_path / "index")
    file.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    (problem,) = Index.open(tmp_path / "index").verify()
    assert problem.startswith(f"{file.name} is damaged")


def test_a_graph_of_another_shape_than_promised_is_noticed(tmp_path, store):
    build([store], tmp_path / "index", graph=4)
    file = tmp_path / "index" / INDEX_FILE
    about = json.loads(file.read_text())
    file.write_text(json.dumps(about | {"graph": 5}))
    with pytest.raises(IndexFileError, match="its graph is not 5 neighbours of 1200 rows"):
        Index.open(tmp_path / "index")


def test_an_index_made_before_there_were_graphs_opens(tmp_path, store):
    build([store], tmp_path / "index", kind="ivf")
    file = tmp_path / "index" / INDEX_FILE
    about = json.loads(file.read_text())
    del about["dba"], about["graph"]
    file.write_text(json.dumps(about))
    index = Index.open(tmp_path / "index")
    assert index.neighbours is None
    assert index.count == 1200


def test_a_failure_while_the_graph_is_written_leaves_the_old_index(tmp_path, store, monkeypatch):
    build([store], tmp_path / "index")
    before = {path.name for path in (tmp_path / "index").iterdir()}

    def broken(*_):
        yield from nearest(*_)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("imgret.indexes.generation.nearest", broken)
    with pytest.raises(SpaceError, match=r"similarities-2\.npy"):
        build([store], tmp_path / "index", graph=5)
    assert {path.name for path in (tmp_path / "index").iterdir()} == before
    assert Index.open(tmp_path / "index").neighbours is None


def test_what_a_search_did_not_find_is_marked_as_nothing(tmp_path, monkeypatch):
    build([write_store(tmp_path / "s", [(names(3), clustered(3))])], tmp_path / "index")

    def forgetful(index, queries, query_ids, k):
        # row 0 finds itself and row 2, row 1 nothing but itself, row 2 not even itself
        rows = np.array([[0, 2, -1], [1, -1, -1], [0, 1, -1]], np.int32)
        scores = np.array([[1, 0.5, -np.inf], [1, -np.inf, -np.inf], [0.5, 0.25, -np.inf]], np.float32)
        return Ranking(query_ids, rows, scores, index.ids)

    monkeypatch.setattr("imgret.indexes.neighbours.search", forgetful)
    ((near, similar),) = nearest(Index.open(tmp_path / "index"), 2)
    assert near.tolist() == [[2, -1], [-1, -1], [0, 1]]
    assert similar.tolist() == [[0.5, 0], [0, 0], [0.5, 0.25]]


def test_neighbours_of_no_rows_are_a_callers_bug(tmp_path, store):
    build([store], tmp_path / "index")
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        next(nearest(Index.open(tmp_path / "index"), 0))


def run(*arguments: object, code: int = 0) -> str:
    """stderr of a command."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.stderr


def test_the_command_augments_and_links_and_says_so(tmp_path, store):
    output = tmp_path / "index"
    said = run("index", store.path, "-o", output, "--dba", "k=5,alpha=3", "--graph", 6)
    assert "Augmented: k=5,alpha=3." in said
    assert "Graph: 6 neighbours a row." in said
    index = Index.open(output)
    assert (index.about["dba"], index.about["graph"]) == ({"k": 5, "alpha": 3}, 6)
    assert "holds these stores already" in run("index", store.path, "-o", output)
    result = CliRunner().invoke(app, ["info", str(output)])
    assert "k=5,alpha=3" in result.stdout
    assert "6 neighbours a row" in result.stdout
    said = run("index", store.path, "-o", output, "--dba", "none", "--graph", 0)
    assert "Made anew: the augmentation was k=5,alpha=3 and is now none." in said
    assert "Augmented" not in said
    assert "Graph" not in said


def test_the_command_refuses_what_it_cannot_read(tmp_path, store):
    said = run("index", store.path, "-o", tmp_path / "index", "--dba", "ten", code=1)
    assert "'ten' is no setting of it; write it like k=10,alpha=3, or none" in said
    run("index", store.path, "-o", tmp_path / "index", "--graph", -1, code=2)
    assert not (tmp_path / "index").exists()
