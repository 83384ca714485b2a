from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from imgret import atomic, workflows
from imgret.errors import StoreBusyError, StoreError
from imgret.remote_path import RemotePath, as_place
from imgret.store import remote_lock
from imgret.store.failures import Failure
from imgret.store.known import KnownImages
from imgret.store.remote_lock import RemoteLock
from imgret.store.store import Root, Store, fingerprint_of
from imgret.store.writer import StoreWriter
from tests.indexes.conftest import RECIPE, add_shard, clustered, names
from tests.pictures import save

fsspec = pytest.importorskip("fsspec")
from fsspec.implementations.memory import MemoryFileSystem  # noqa: E402


class Bucket(MemoryFileSystem):
    """An object store that keeps a log, and whose requests can be made to fail."""

    protocol = "bucket"
    store: dict = {}  # noqa: RUF012  # fsspec's own way, one for each class
    pseudo_dirs = [""]  # noqa: RUF012
    log: list = []  # noqa: RUF012
    fails: list = []  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("bucket://", "memory://"))

    def pipe_file(self, path, value, **ways):
        name = path.rpartition("/")[2]
        if self.fails and self.fails[0][0] in name:
            raise self.fails.pop(0)[1]
        self.log.append(("put", name, len(value)))
        super().pipe_file(path, bytes(value), **ways)

    def cat_file(self, path, start=None, end=None, **ways):
        data = super().cat_file(path, start, end, **ways)
        self.log.append(("get", path.rpartition("/")[2], len(data)))
        return data

    def mv(self, *args, **ways):
        raise NotImplementedError("objects have no rename")

    def _rename(self, *args, **ways):
        raise NotImplementedError("objects have no rename")


@pytest.fixture
def bucket(monkeypatch):
    """Store and log of bucket://, empty; locks and retries without their waits."""
    fsspec.register_implementation("bucket", Bucket, clobber=True)
    for name, value in (("BEAT", 0.05), ("PATIENCE", 0.4), ("SETTLE", 0.05)):
        monkeypatch.setattr(remote_lock, name, value)
    monkeypatch.setattr("imgret.remote_path.WAITS", (0.0, 0.0))
    for kept in (Bucket.store, Bucket.log, Bucket.fails):
        kept.clear()
    return Bucket


def puts():
    return [name for what, name, _ in Bucket.log if what == "put" and name != "store.lock"]


def content(path):
    return {
        raw: row.tobytes()
        for block in Store.open(path).blocks()
        for raw, row in zip(block.ids, block.descriptors, strict=True)
    }


@pytest.fixture
def remote(job, bucket):
    return replace(job, output="bucket://b/store", shard_size=2)


def test_a_store_in_a_bucket_is_byte_for_byte_that_of_a_folder(job, remote):
    workflows.extract(replace(job, shard_size=2))
    report = workflows.extract(remote)
    assert (report.found, report.added, str(report.store)) == (6, 6, "bucket://b/store")
    for name in ("manifest.json", "shard-00000.h5", "shard-00001.h5", "shard-00002.h5"):
        assert Bucket.store[f"/b/store/{name}"].getvalue() == (job.output / name).read_bytes()
    assert "/b/store/store.lock" not in Bucket.store


def test_the_manifest_is_written_last_after_each_shard(remote):
    workflows.extract(remote)
    shards = [f"shard-0000{n}.h5" for n in range(3)]
    assert puts()[:1] == ["store.json"]
    assert [name for name in puts() if name.startswith("shard")] == shards
    for shard in shards:
        assert puts()[puts().index(shard) + 1] == "manifest.json"
    assert puts()[-1] == "manifest.json"


def test_a_second_run_keeps_replaces_and_prunes_as_in_a_folder(remote, photos):
    workflows.extract(remote)
    before = content(remote.output)
    save(photos, "a/0.png", 51)
    save(photos, "a/new.png", 50)
    (photos / "b/5.png").unlink()
    (photos / "a/bad.png").write_bytes(b"no picture")
    dry = workflows.extract(replace(remote, dry_run=True))
    assert (dry.kept, dry.gone, dry.to_do) == (4, 1, 3)
    assert content(remote.output) == before
    report = workflows.extract(replace(remote, prune=True))
    assert (report.kept, report.added, report.replaced, report.pruned, report.failed) == (4, 1, 1, 1, 1)
    after = content(remote.output)
    assert sorted(after) == [b"a/0.png", b"a/2.png", b"a/4.png", b"a/new.png", b"b/1.png", b"b/3.png"]
    assert after[b"a/0.png"] != before[b"a/0.png"]
    assert b"a/bad.png" in Bucket.store["/b/store/failures.csv"].getvalue()


def test_a_resumed_run_reads_no_descriptors(bucket):
    rows = clustered(4096, 256)  # float32: 4 MB of descriptors
    place = as_place("bucket://b/store")
    write(place, rows)
    Bucket.log.clear()
    assert len(KnownImages(Store.open(place))) == 4096
    read = sum(size for what, name, size in Bucket.log if what == "get" and name.startswith("shard"))
    # 4096 rows of at most 100 bytes of names and facts, and some blocks of 64 kB around them
    assert read < 4096 * 100 + 8 * (1 << 16) < rows.nbytes / 2


@pytest.mark.parametrize("error", [OSError("connection reset"), TimeoutError()], ids=["reset", "timeout"])
def test_a_request_that_fails_once_is_made_again(remote, error):
    Bucket.fails.append(("shard", error))
    assert workflows.extract(remote).added == 6
    assert len(Store.open(remote.output).shards) == 3


def test_an_end_between_the_shard_and_the_manifest_leaves_a_store_that_the_same_command_completes(job, remote):
    workflows.extract(replace(job, shard_size=2))
    Bucket.fails += [("manifest", OSError("gone"))] * 6  # two writes of three tries: as it ends, it tries to keep all
    with pytest.raises(StoreError, match=r"manifest.json cannot be written: gone; what was written is kept"):
        workflows.extract(remote)
    Bucket.fails.clear()
    lost = Bucket.store["/b/store/shard-00000.h5"].getvalue()
    workflows.extract(remote)
    assert content(remote.output) == content(job.output)
    assert "shard-00000.h5" not in {entry.file for entry in Store.open(remote.output).shards}
    assert Bucket.store["/b/store/shard-00000.h5"].getvalue() == lost  # not listed, and not written over


def test_a_torn_shard_is_not_taken_in_and_not_written_over(job, remote):
    workflows.extract(replace(job, shard_size=2))
    torn = (job.output / "shard-00000.h5").read_bytes()[:-100]
    fsspec.filesystem("bucket").pipe_file("/b/store/shard-00000.h5", torn)
    workflows.extract(remote)
    assert content(remote.output) == content(job.output)
    assert [entry.file for entry in Store.open(remote.output).shards] == [f"shard-0000{n}.h5" for n in (1, 2, 3)]
    assert Bucket.store["/b/store/shard-00000.h5"].getvalue() == torn
    found = workflows.inspect("bucket://b/store")
    assert found.problems == []
    assert "described again" in found.facts["finished but not listed"]


def test_a_shard_that_is_not_what_the_manifest_says_is_found(remote):
    workflows.extract(remote)
    data = bytearray(Bucket.store["/b/store/shard-00001.h5"].getvalue())
    data[-1] ^= 1
    fsspec.filesystem("bucket").pipe_file("/b/store/shard-00001.h5", data)
    assert "SHA-256 differs" in workflows.inspect("bucket://b/store").problems[0]
    fsspec.filesystem("bucket").pipe_file("/b/store/shard-00001.h5", data[:-5])
    with pytest.raises(StoreError, match="the manifest says"):
        list(Store.open(remote.output).blocks())


def test_a_second_writer_is_told_who_the_first_one_is(bucket):
    place = as_place("bucket://b/store")
    with RemoteLock(place), pytest.raises(StoreBusyError, match=r"bucket://b/store is being written by process \d+ on"):
        RemoteLock(place).__enter__()
    with RemoteLock(place):
        pass  # given back


def left_behind(**changes):
    about = {"pid": 1, "host": "other", "processes": "x", "since": "2026", "token": "t", "beat": 3} | changes
    fsspec.filesystem("bucket").pipe_file("/b/store/store.lock", json.dumps(about).encode())


def test_the_lock_of_a_holder_that_stands_still_is_taken_over(bucket):
    left_behind()
    said: list[str] = []
    with RemoteLock(as_place("bucket://b/store"), said.append) as lock:
        lock.check()
    assert [text.partition(",")[0] for text in said] == ["bucket://b/store was left by process 1 on other since 2026"]


def test_the_lock_of_a_dead_process_of_this_machine_is_taken_over_at_once(bucket, monkeypatch):
    monkeypatch.setattr(remote_lock, "PATIENCE", 1e9)
    monkeypatch.setattr(remote_lock, "_processes", lambda: "here")
    left_behind(pid=2**22 + 1, processes="here")  # more than Linux gives
    with RemoteLock(as_place("bucket://b/store")):
        pass


def test_who_lost_the_lock_writes_nothing_more(bucket):
    place = as_place("bucket://b/store")
    store = write(place, clustered(4, 8))
    with StoreWriter(store) as writer:
        left_behind()
        Bucket.log.clear()
        with pytest.raises(StoreError, match="was taken over by process 1 on other since 2026"):
            writer.save()
        with pytest.raises(StoreError, match="was taken over"):
            writer.add(Store.open(place).read_shard(0))
        with pytest.raises(StoreError, match="was taken over"):
            writer.root_number("s3://elsewhere")
        with pytest.raises(StoreError, match="was taken over"):
            writer.move_root(0, "s3://elsewhere")
        writer.failures.add(Failure("x.jpg", "x.jpg", "empty", "nothing in it"))
        with pytest.raises(StoreError, match="was taken over"):
            writer.save()
    assert puts() == []
    assert b'"other"' in Bucket.store["/b/store/store.lock"].getvalue()  # theirs stays


def test_a_writer_that_was_only_slow_does_not_put_its_shard_over_that_of_the_one_who_took_over(bucket, monkeypatch):
    place = as_place("bucket://b/store")
    shard = write(place, clustered(4, 8)).read_shard(0)
    put, hung = RemotePath.write_bytes, []

    def slow(path, data):
        if path.name == "shard-00001.h5" and not hung:
            hung.append(path)  # on its way when the other takes over, writes and ends
            fsspec.filesystem("bucket").rm_file("/b/store/store.lock")
            left_behind()
            with StoreWriter(Store.open(place)) as other:
                other.add(replace(shard, ids=[f"other {n}".encode() for n in range(4)]))
        put(path, data)

    monkeypatch.setattr(RemotePath, "write_bytes", slow)
    with StoreWriter(Store.open(place)) as writer, pytest.raises(StoreError, match="was taken over"):
        writer.add(replace(shard, ids=[f"late {n}".encode() for n in range(4)]))
    assert hung
    assert [entry.file for entry in Store.open(place).shards] == ["shard-00000.h5", "shard-00002.h5"]
    for number in range(2):
        Store.open(place).verify(number)


def test_a_lock_that_cannot_be_read_is_held(bucket):
    fsspec.filesystem("bucket").pipe_file("/b/store/store.lock", b"")  # another's, half written
    said: list[str] = []
    with RemoteLock(as_place("bucket://b/store"), said.append) as lock:
        assert lock.stalled == 1
    assert "was left by another process" in said[0]


def test_a_beat_that_hung_while_another_may_have_taken_over_ends_the_writer(bucket, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(remote_lock, "BEAT", 1e9)
    with RemoteLock(as_place("bucket://b/store")) as lock:
        monkeypatch.setattr(remote_lock.time, "monotonic", lambda: now[0])
        assert lock._beat(last=-0.3) == 0.0
        lock.check()
        write_now = lock._write

        def hang():
            now[0] += 0.3  # longer than SETTLE, and 0.5 after the last one, longer than PATIENCE
            write_now()

        monkeypatch.setattr(lock, "_write", hang)
        lock._beat(last=-0.2)
        with pytest.raises(StoreError, match="was taken over"):
            lock.check()
        monkeypatch.undo()


def test_a_shard_whose_manifest_was_not_written_is_put_once(remote):
    Bucket.fails += [("manifest", OSError("gone"))] * 3  # the three tries of one write
    with pytest.raises(StoreError, match="manifest.json cannot be written"):
        workflows.extract(remote)
    assert [name for name in puts() if name.startswith("shard")] == ["shard-00000.h5"]
    assert Store.open(remote.output).count == 2  # the manifest was written as the run ended


def test_a_place_is_a_url_also_when_pathlib_folded_it(tmp_path):
    assert str(as_place("s3://bucket/a/")) == "s3://bucket/a"
    assert str(as_place(Path("s3://bucket/a"))) == "s3://bucket/a"
    assert as_place(f"file://{tmp_path}") == tmp_path
    assert as_place(Path(f"file://{tmp_path}")) == tmp_path
    assert as_place(tmp_path) == tmp_path
    path = RemotePath("s3://bucket/a")
    assert (str(path / "b.h5"), (path / "b.h5").suffix, str((path / "b.h5").parent)) == (
        "s3://bucket/a/b.h5",
        ".h5",
        "s3://bucket/a",
    )


def test_a_root_is_remembered_by_a_store_at_a_url(tmp_path):
    place = as_place("s3://bucket/a")
    assert Root.of(tmp_path, place) == Root(str(tmp_path), str(tmp_path))
    assert Root.of(tmp_path, place).locate(place) == tmp_path
    assert Root.of(place, tmp_path) == Root("s3://bucket/a", "s3://bucket/a")
    assert Root.of(place, tmp_path).locate(tmp_path) == "s3://bucket/a"


def write(place, rows) -> Store:
    """A store of one shard at a URL."""
    store = Store(place, RECIPE, fingerprint_of(RECIPE), rows.shape[1], [Root.of(place, place)], [])
    add_shard(store, names(len(rows)), rows)
    atomic.write_json(place / "store.json", store.about())
    atomic.write_json(place / "manifest.json", store.manifest())
    return Store.open(place)
