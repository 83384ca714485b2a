from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from imgret import atomic
from imgret.errors import IndexFileError, SpaceError
from imgret.indexes import files, writing
from imgret.indexes.build import build
from imgret.indexes.files import INDEX_FILE, Index
from imgret.indexes.search import search
from imgret.indexes.structure import create
from tests.indexes.conftest import add_shard, clustered, names, save, self_queries, write_store

NAMES = ["é", "日本", "🦊", "a'b\"c, d", "new\nline", "caf\udce9"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["flat", "ivfpq"])
def test_an_index_lives_in_a_folder_of_any_name(tmp_path, store, name, kind):
    folder = tmp_path / name
    try:
        os.mkdir(folder)
    except (OSError, UnicodeError):
        pytest.skip("this file system has no such names")
    build([store], folder, kind=kind)
    index = Index.open(folder)
    queries, ids = self_queries(store)
    assert [index.ids[row] for row in search(index, queries[:20], ids[:20], 1).rows[:, 0]] == ids[:20]
    assert index.verify() == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf", "ivfpq"])
def test_opening_maps_the_file_instead_of_reading_it(tmp_path, kind):
    store = write_store(tmp_path / "s", [(names(8000), clustered(8000, 64))])
    build([store], tmp_path / "index", kind=kind)
    before = anonymous()
    index = Index.open(tmp_path / "index")
    maps = Path("/proc/self/maps").read_text()
    assert str(tmp_path / "index" / "index-1.faiss") in maps
    size = (tmp_path / "index" / "index-1.faiss").stat().st_size
    if kind != "ivfpq":
        assert size > 2_000_000
        assert anonymous() - before < size / 2
    assert index.count == 8000


def anonymous() -> int:
    """Bytes of memory of this process that no file stands behind."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


def test_without_dev_fd_the_file_is_read(tmp_path, store, monkeypatch):
    build([store], tmp_path / "index")
    monkeypatch.setattr(files, "map_faiss", files.load_faiss)
    index = Index.open(tmp_path / "index")
    assert search(index, clustered(1200)[:3], [""] * 3, 1).rows[:, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_vectors_and_blocks_give_the_live_rows(tmp_path, store, kind):
    store.shards[0].dropped = []
    build([store], tmp_path / "index", kind=kind)
    store.shards[0].dropped = [2, 3]
    save(store)
    build([store], tmp_path / "index", kind=kind)
    index = Index.open(tmp_path / "index")
    blocks = list(index.blocks(500))
    assert [len(rows) for rows, _ in blocks] == [500, 500, 198]
    rows = np.concatenate([rows for rows, _ in blocks])
    assert rows.tolist() == [row for row in range(1200) if row not in (2, 3)]
    matrix = np.concatenate([matrix for _, matrix in blocks])
    assert matrix.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(matrix, clustered(1200)[rows], atol=1e-3)
    np.testing.assert_array_equal(index.vectors(rows[:7]), matrix[:7])


def test_a_path_is_where_the_image_is_now(tmp_path):
    ids = ["a/1.jpg", "b#2.jpg", "a/1.jpg#1,2,30,40", "all.tar/x/3.jpg", "all.tar/3.jpg#0,0,5,5", "gone.jpg"]
    images = tmp_path / "images"
    (images / "a").mkdir(parents=True)
    for name in ("a/1.jpg", "b#2.jpg", "all.tar"):
        (images / name).touch()
    store = write_store(tmp_path / "s", [(ids, clustered(6))], root=images)
    build([store], tmp_path / "index")
    index = Index.open(tmp_path / "index")
    wanted = ["a/1.jpg", "b#2.jpg", "a/1.jpg", "all.tar", "all.tar", None]
    assert [index.path_of(row) for row in range(6)] == [name and str(images / name) for name in wanted]
    moved = tmp_path / "moved"
    images.rename(moved)
    assert index.path_of(0) is None
    assert index.path_of(0, moved) == str(moved / "a/1.jpg")


def test_a_root_moves_together_with_its_index(tmp_path):
    (tmp_path / "here" / "images").mkdir(parents=True)
    (tmp_path / "here" / "images" / "x.jpg").touch()
    store = write_store(tmp_path / "s", [(["x.jpg"], clustered(1))], root=tmp_path / "here" / "images")
    build([store], tmp_path / "here" / "index")
    (tmp_path / "here").rename(tmp_path / "there")
    index = Index.open(tmp_path / "there" / "index")
    assert index.path_of(0) == str(tmp_path / "there" / "images" / "x.jpg")


def test_a_reader_that_meets_a_new_generation_reads_that(tmp_path, store, monkeypatch):
    build([store], tmp_path / "index")
    stale = json.loads((tmp_path / "index" / INDEX_FILE).read_text())
    add_shard(store, names(10, "new"), clustered(10, seed=3))
    save(store)
    build([store], tmp_path / "index")
    read, told = files._read_about, [stale]
    monkeypatch.setattr(files, "_read_about", lambda path: told.pop() if told else read(path))
    assert Index.open(tmp_path / "index").count == 1210


def test_no_index_is_answered_with_the_command_that_makes_one(tmp_path):
    with pytest.raises(IndexFileError, match=r"is not an index.*imgret index STORE -o"):
        Index.open(tmp_path)


@pytest.mark.parametrize("role", ["faiss", "ids", "offsets", "origin", "deleted", "vectors"])
def test_a_missing_or_truncated_or_altered_file_is_named(tmp_path, store, role):
    build([store], tmp_path / "index", kind="ivf")
    file = tmp_path / "index" / files.file_names(1)[role]
    raw = file.read_bytes()
    file.write_bytes(raw[:-1])
    with pytest.raises(IndexFileError, match=f"{file.name} has {len(raw) - 1} bytes.*{len(raw)}"):
        Index.open(tmp_path / "index")
    file.unlink()
    with pytest.raises(IndexFileError, match=f"{file.name} is missing"):
        Index.open(tmp_path / "index")
    file.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    about = json.loads((tmp_path / "index" / INDEX_FILE).read_text())
    if role in ("offsets", "deleted"):
        with pytest.raises(IndexFileError, match="damaged"):
            Index.open(tmp_path / "index")
    else:
        index = Index(tmp_path / "index", about)
        assert [problem.split()[0] for problem in index.verify()] == [file.name]


def test_another_schema_is_refused_in_words(tmp_path, store):
    build([store], tmp_path / "index")
    file = tmp_path / "index" / INDEX_FILE
    about = json.loads(file.read_text())
    file.write_text(json.dumps(about | {"schema": "imgret.index/9"}))
    with pytest.raises(IndexFileError, match=r"schema 'imgret.index/9', this imgret reads 'imgret.index/1'"):
        Index.open(tmp_path / "index")
    file.write_text("{")
    with pytest.raises(IndexFileError, match="cannot be read"):
        Index.open(tmp_path / "index")
    file.write_text(json.dumps({"schema": "imgret.index/1"}))
    with pytest.raises(IndexFileError, match="damaged"):
        Index.open(tmp_path / "index")


def test_counts_that_do_not_agree_are_noticed_on_opening(tmp_path, store):
    build([store], tmp_path / "index")
    file = tmp_path / "index" / INDEX_FILE
    about = json.loads(file.read_text())
    file.write_text(json.dumps(about | {"count": 7}))
    with pytest.raises(IndexFileError, match="1200 ids, but 7 in live and deleted rows"):
        Index.open(tmp_path / "index")


def test_a_full_disk_is_said_to_be_full(tmp_path, monkeypatch):
    index = create("Flat", 16, 0)
    index.add(clustered(100))

    class FullDisk:
        def write(self, block):
            raise OSError(28, "No space left on device")

    def write_with(path, fill):
        atomic.write_with(path, lambda file: fill(FullDisk()))

    monkeypatch.setattr(writing, "atomic", SimpleNamespace(write_with=write_with))
    with pytest.raises(SpaceError, match="no space left"):
        writing.write_faiss(tmp_path / "x.faiss", index)
    assert not list(tmp_path.iterdir())
