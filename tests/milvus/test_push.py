from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np
import pytest

from imgret.errors import ImgretError, InputError, RecipeError, ServerError
from imgret.ids import escape
from imgret.store.rows import StoreRows
from imgret.workflows import push
from tests.indexes.conftest import clustered, names, write_store
from tests.milvus.conftest import STRANGE, add_facts, drop


def opened(uri, name="imgret"):
    from imgret.milvus.collection import Collection
    from imgret.milvus.place import Place
    from imgret.milvus.server import Server

    server = Server.connect(Place.of(uri))
    return server, Collection.open(server, name)


def held(uri) -> dict:
    """id -> (facts, descriptor) of all that a collection holds."""
    server, found = opened(uri)
    with server:
        ids = [one for page in found.ids() for one in page]
        assert len(ids) == len(set(ids)) == found.count()
        return dict(
            zip(ids, zip([found.facts([one])[one] for one in ids], found.vectors(ids), strict=True), strict=True)
        )


def counts(report) -> tuple[int, int, int, int, int]:
    return report.added, report.replaced, report.kept, report.gone, report.total


def test_every_row_arrives_with_its_facts_whatever_bytes_its_id_has(store, uri):
    report = push(store.path, uri, batch=32)
    assert counts(report) == (120, 0, 0, 0, 120)
    assert (report.checked, report.created) == (32, True)
    rows = held(uri)
    assert set(rows) == {escape(one) for one in [*STRANGE, *names(113)]}
    matrix = np.stack([rows[escape(one)][1] for one in [*STRANGE, *names(113)]])
    np.testing.assert_array_equal(matrix, StoreRows(store).vectors(np.arange(120)))
    # row 3 of the second shard is the 74th id, image-00066 after the seven strange ones
    assert rows["image-00066.jpg"][0] == {
        "width": 643,
        "height": 483,
        "bytes": 5_000_000_003,
        "mtime_ns": 1_700_000_000_123_456_792,
        "sha256": "03" * 32,
        "root": str(store.path),
        "box": [3, 3, 13, 23],
    }
    assert rows["image-00065.jpg"][0]["box"] == []


def test_a_push_cut_off_in_the_middle_goes_on_and_nothing_is_double(store, uri, monkeypatch):
    from imgret.milvus.collection import Collection

    write, written = Collection.upsert, []

    def twice(self, rows):
        if len(written) == 2:
            raise RuntimeError("the power fails")
        write(self, rows)
        written.append(len(rows))

    monkeypatch.setattr(Collection, "upsert", twice)
    with pytest.raises(RuntimeError, match="power"):
        push(store.path, uri, batch=32)
    monkeypatch.undo()
    assert counts(push(store.path, uri, batch=50)) == (56, 0, 64, 0, 120)
    assert counts(push(store.path, uri)) == (0, 0, 120, 0, 120)
    assert len(held(uri)) == 120


_CHILD = """
import sys, os, signal
from imgret.workflows import push
push(sys.argv[1], sys.argv[2], batch=10, progress=lambda what, done, total: done >= 50 and os.kill(os.getpid(), 9))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
def test_a_process_killed_in_the_middle_leaves_what_it_wrote(store, uri):
    child = subprocess.run([sys.executable, "-c", _CHILD, str(store.path), uri], timeout=60)
    assert child.returncode == -signal.SIGKILL
    assert counts(push(store.path, uri)) == (70, 0, 50, 0, 120)
    assert len(held(uri)) == 120


def test_a_collection_left_without_an_index_gets_one(store, uri, monkeypatch):
    from imgret.milvus.collection import Collection

    def killed(self):
        raise RuntimeError("killed after the collection was made")

    monkeypatch.setattr(Collection, "_ready", killed)
    with pytest.raises(RuntimeError):
        push(store.path, uri)
    monkeypatch.undo()
    assert counts(push(store.path, uri)) == (120, 0, 0, 0, 120)


def test_changed_images_are_replaced(store, uri):
    push(store.path, uri)
    drop(store, 1, [0, 1])
    again = clustered(2, seed=5)
    add_facts(store, names(113)[63:65], again, mtime_ns=5)
    assert counts(push(store.path, uri)) == (0, 2, 118, 0, 120)
    facts, descriptor = held(uri)["image-00063.jpg"]
    assert facts["mtime_ns"] == 5
    np.testing.assert_allclose(descriptor, again[0], atol=1e-7)


def test_rows_that_the_store_no_longer_holds_stay_until_they_are_pruned(store, uri, capfd):
    push(store.path, uri)
    drop(store, 0, [0, 1, 10])
    assert counts(push(store.path, uri)) == (0, 0, 117, 3, 120)
    assert counts(push(store.path, uri, prune=True, dry_run=True)) == (0, 0, 117, 3, 117)
    assert len(held(uri)) == 120
    assert counts(push(store.path, uri, prune=True, batch=2)) == (0, 0, 117, 3, 117)
    assert set(held(uri)) == {escape(one) for one in [*STRANGE[2:], *names(113)] if one != "image-00003.jpg"}
    assert capfd.readouterr() == ("", "")


def test_another_recipe_is_refused_and_gets_a_collection_of_its_own(store, uri, tmp_path):
    push(store.path, uri)
    other = write_store(tmp_path / "other", [(["x.jpg"], clustered(1))], {"model": "gem", "image_size": 512})
    with pytest.raises(RecipeError, match=r"made with image_size 1024, .*other with 512.* --collection ANOTHER"):
        push(other.path, uri)
    push(other.path, uri, collection="other")
    assert len(held(uri)) == 120


def test_a_collection_of_another_program_is_left_alone(store, uri):
    from pymilvus import MilvusClient

    client = MilvusClient(uri)
    client.create_collection("imgret", dimension=4)
    client.close()
    with pytest.raises(ServerError, match="not made by imgret push"):
        push(store.path, uri)


def test_a_dry_run_makes_nothing(store, uri, tmp_path):
    report = push(store.path, uri, dry_run=True)
    assert (report.added, report.created) == (120, True)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    push(store.path, uri)
    assert counts(push(store.path, uri, collection="two", dry_run=True))[0] == 120
    server, found = opened(uri, "two")
    server.close()
    assert found is None


def test_an_id_too_long_for_milvus_is_refused_before_anything_is_written(tmp_path, uri):
    # 20,000 bytes that are printed as four characters each are 80,000, of 65,535
    long = write_store(tmp_path / "long", [(["\udcff" * 20_000], clustered(1))])
    with pytest.raises(InputError, match="more than 65,535 bytes as printed"):
        push(long.path, uri)
    assert not (tmp_path / "photos.db").exists()
    just = write_store(tmp_path / "just", [(["\udcff" * 16_383], clustered(1))])
    assert push(just.path, uri).total == 1


def test_a_row_that_is_not_as_in_the_store_is_found(store, uri, monkeypatch):
    from imgret.milvus.collection import Collection

    write = Collection.upsert

    def wrong(self, rows):
        rows.descriptors[:] = np.roll(rows.descriptors, 1, 0)
        write(self, rows)

    monkeypatch.setattr(Collection, "upsert", wrong)
    with pytest.raises(ServerError, match=r"\d+ of 120 sampled rows are not as in "):
        push(store.path, uri, sampled=1000)

    def narrower(self, rows):
        for facts in rows.facts:
            facts["width"] += 1
        write(self, rows)

    monkeypatch.setattr(Collection, "upsert", narrower)
    with pytest.raises(ServerError, match=r"32 of 32 .*: its width is 1, not 0"):
        push(store.path, uri, collection="facts")


def test_a_row_that_got_lost_is_missed(store, uri, monkeypatch):
    from imgret.milvus.collection import Collection

    write = Collection.upsert
    monkeypatch.setattr(Collection, "upsert", lambda self, rows: write(self, rows.chosen(range(1, len(rows)))))
    with pytest.raises(ServerError, match="holds 118 rows where 120 are expected"):
        push(store.path, uri)


def test_more_copies_of_one_picture_than_are_looked_at_and_a_black_one_are_sound(tmp_path, uri):
    vectors = np.repeat(clustered(1), 40, 0)
    vectors[-1] = 0
    made = write_store(tmp_path / "copies", [(names(40), vectors)])
    assert push(made.path, uri).checked == 32


def test_an_index_is_chosen_once(store, uri):
    push(store.path, uri, index="AUTOINDEX")
    assert counts(push(store.path, uri)) == (0, 0, 120, 0, 120)
    with pytest.raises(InputError, match="has the index AUTOINDEX, not FLAT"):
        push(store.path, uri, index="FLAT")


def test_batches_are_never_larger_than_a_request(tmp_path, monkeypatch):
    from imgret.milvus import rows

    made = write_store(tmp_path / "wide", [(names(10), clustered(10))])
    # a row of 16 numbers and an id of 15 bytes counts 4 x 31 + 150 = 274 bytes
    monkeypatch.setattr(rows, "_REQUEST", 3 * 274)
    assert [len(batch) for batch in rows.batches(made, 100)] == [3, 3, 3, 1]
    assert [len(batch) for batch in rows.batches(made, 2)] == [2] * 5
    monkeypatch.setattr(rows, "_REQUEST", 1)
    assert [len(batch) for batch in rows.batches(made, 2)] == [1] * 10


def test_an_empty_store_and_a_missing_one_are_named(tmp_path, uri):
    empty = write_store(tmp_path / "empty", [])
    with pytest.raises(ImgretError, match="holds no descriptors to push"):
        push(empty.path, uri)
    with pytest.raises(ImgretError, match="is not a store"):
        push(tmp_path / "none", uri)
    with pytest.raises(ImgretError, match="milvus"):
        push(empty.path, uri, to="milvis")
