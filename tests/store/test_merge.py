from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from imgret import atomic, workflows
from imgret.errors import ImgretError, RecipeError, StoreError
from imgret.store.failures import Failure, Failures
from imgret.store.known import KnownImages
from imgret.store.store import Store
from tests.extraction.test_extract import contents, same
from tests.indexes.conftest import add_shard, clustered, names, save, write_store
from tests.pictures import save as save_picture


@pytest.fixture
def parts(job, tmp_path):
    """The six photos and one that is none, extracted in two parts, and all of them in one store."""
    (tmp_path / "photos/broken.png").write_bytes(b"no picture")
    for number in (1, 2):
        workflows.extract(replace(job, output=tmp_path / f"part-{number}", part=(number, 2), shard_size=2))
    workflows.extract(replace(job, output=tmp_path / "whole"))
    return [tmp_path / "part-1", tmp_path / "part-2"]


def files_of(store):
    return {path.name: path.read_bytes() for path in store.iterdir() if path.name != "store.lock"}


def test_parts_merge_into_the_store_one_run_would_have_made_in_any_order(parts, tmp_path):
    before = [files_of(part) for part in parts]
    for order in (parts, parts[::-1]):
        output = tmp_path / "-".join(part.name for part in order)
        report = workflows.merge(order, output)
        assert (report.added, report.replaced, report.kept, report.total, report.rewritten) == (6, 0, 0, 6, 0)
        assert same(contents(output), contents(tmp_path / "whole"))
        assert (output / "failures.csv").read_text() == (tmp_path / "whole/failures.csv").read_text()
        assert workflows.inspect(output).problems == []
    assert [files_of(part) for part in parts] == before


def test_a_merged_store_goes_on_like_any_other(parts, job, tmp_path):
    workflows.merge(parts, tmp_path / "merged")
    save_picture(tmp_path / "photos", "a/new.png", 50)
    report = workflows.extract(replace(job, output=tmp_path / "merged"))
    assert (report.added, report.kept, report.failed) == (1, 6, 1)


def test_merging_again_adds_only_what_is_missing(parts, job, tmp_path):
    workflows.merge(parts[:1], tmp_path / "merged")
    report = workflows.merge(parts, tmp_path / "merged")
    assert report.kept + report.added == report.total == 6
    before = files_of(tmp_path / "merged")
    assert workflows.merge(parts, tmp_path / "merged").added == 0
    assert workflows.merge(parts, tmp_path / "merged", repack=3).added == 0
    assert files_of(tmp_path / "merged") == before
    save_picture(tmp_path / "photos", "a/new.png", 50)
    for number in (1, 2):
        workflows.extract(replace(job, output=parts[number - 1], part=(number, 2)))
    assert workflows.merge(parts, tmp_path / "merged").added == 1


def test_a_merge_that_was_cut_off_anywhere_goes_on(parts, tmp_path, monkeypatch):
    """Each write fails once, the one after the last never: as if the process had been killed there."""
    write, output = atomic.write_with, tmp_path / "merged"
    for stop in range(1, 100):
        left = [stop]

        def fragile(path, fill, left=left):
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
            write(path, fill)

        monkeypatch.setattr(atomic, "write_with", fragile)
        try:
            workflows.merge(parts, output, repack=2 if stop % 2 else None)
        except KeyboardInterrupt:
            monkeypatch.setattr(atomic, "write_with", write)
            workflows.merge(parts, output, repack=2 if stop % 2 else None)
        else:
            break
        assert same(contents(output), contents(tmp_path / "whole"))
        assert workflows.inspect(output).problems == []
        shutil.rmtree(output)
    assert stop > 6


def test_an_image_that_failed_in_one_store_and_not_in_the_other_is_no_failure(parts, job, tmp_path):
    save_picture(tmp_path / "photos", "broken.png", 9)
    workflows.extract(replace(job, output=tmp_path / "whole"))
    failed = parts[0] if "broken" in (parts[0] / "failures.csv").read_text() else parts[1]
    other = write_store(tmp_path / "other", [(["broken.png"], clustered(1, 3))], recipe=Store.open(failed).recipe)
    for order in ([failed, other.path], [other.path, failed]):
        output = tmp_path / order[0].name.join(("to-", ""))
        assert workflows.merge(order, output).failed == 0


def dated(path, ids, mtime, value):
    """A store whose rows all are (1, 0, ...) turned by `value`, of files changed at `mtime`."""
    from imgret.store import shard as shards
    from imgret.store.shard import Shard
    from imgret.store.store import ShardEntry

    store = write_store(path, [])
    n, zeros = len(ids), np.zeros(len(ids), np.int64)
    rows = np.zeros((n, 16), np.float32)
    rows[:, value] = 1
    sha256 = np.full((n, 32), value, np.uint8)
    shard = Shard([one.encode() for one in ids], rows, zeros, zeros, zeros, zeros + mtime, zeros, sha256)
    name = "shard-00000.h5"
    store.shards.append(ShardEntry(name, n, *shards.write(path / name, shard, store.fingerprint)))
    save(store)
    return store


@pytest.mark.parametrize("repack", [None, 2, 100])
def test_an_id_in_two_stores_is_refused_by_both_names_or_the_newer_file_wins(tmp_path, repack):
    old = dated(tmp_path / "old", ["a", "b", "c"], 5, value=1)
    new = dated(tmp_path / "new", ["b", "c", "d"], 7, value=2)
    with pytest.raises(StoreError, match=r"the id [bc] stands in \S*(old|new) and in \S*(old|new); .*--newest"):
        workflows.merge([old.path, new.path], tmp_path / "never")
    assert not (tmp_path / "never").exists()
    for order in ([old, new], [new, old]):
        output = tmp_path / f"{order[0].path.name}-first"
        report = workflows.merge([store.path for store in order], output, newest=True, repack=repack)
        assert {name: int(row.argmax()) for name, row in contents(output).items()} == {"a": 1, "b": 2, "c": 2, "d": 2}
        assert report.total == 4
        assert workflows.inspect(output).problems == []
    with pytest.raises(StoreError, match=r"the id [bc] stands in .*old-first and in .*old;"):
        workflows.merge([old.path], tmp_path / "old-first")


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_newest_file_wins_whatever_the_order_of_the_stores(tmp_path, order):
    # the picture of the oldest file is that of the newest again
    made = [dated(tmp_path / f"{mtime}", ["a"], mtime, value) for mtime, value in ((1, 1), (2, 2), (3, 1))]
    workflows.merge([made[number].path for number in order], tmp_path / "out", newest=True)
    store = Store.open(tmp_path / "out")
    assert {name: int(row.argmax()) for name, row in contents(store.path).items()} == {"a": 1}
    known = KnownImages(store)
    assert known[int(known.find([b"a"])[0])].mtime_ns == 3


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_of_failures_in_several_stores_that_of_the_newest_file_is_kept(tmp_path, order):
    made = [write_store(tmp_path / f"{mtime}", []) for mtime in (1, 2, 3)]
    for mtime, store in enumerate(made, 1):
        failures = Failures(store.path / "failures.csv")
        failures.add(Failure("a", "/photos/a", "empty", "no bytes", 0, mtime))
        failures.save()
    workflows.merge([made[number].path for number in order], tmp_path / "out")
    assert [one.mtime_ns for one in Failures(tmp_path / "out/failures.csv").values()] == [3]


def test_dead_rows_are_left_behind_and_small_shards_joined(tmp_path):
    rows = clustered(50)
    ids = names(50)
    one = write_store(tmp_path / "one", [(ids[:10], rows[:10])])
    for first in range(10, 30, 5):
        add_shard(one, ids[first : first + 5], rows[first : first + 5])
    one.shards[0].dropped = [3, 7]
    save(one)
    other = write_store(tmp_path / "other", [(ids[30:], rows[30:])], root=one.path)
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    report = workflows.merge([one.path, other.path], plain)
    assert (report.copied, report.rewritten, report.total) == (5, 1, 48)
    report = workflows.merge([one.path, other.path], packed, repack=20)
    assert [entry.count for entry in Store.open(packed).shards] == [20, 20, 8]
    assert same(contents(plain), contents(packed))
    assert not any(entry.dropped for path in (plain, packed) for entry in Store.open(path).shards)
    expected = {name: row for name, row in zip(ids, rows, strict=True) if name not in (ids[3], ids[7])}
    assert all(np.allclose(contents(plain)[name], row, atol=1e-6) for name, row in expected.items())


def test_roots_are_joined_and_a_shard_of_another_root_number_is_rewritten(tmp_path):
    one = write_store(tmp_path / "one", [(["a"], clustered(1))], root=tmp_path / "photos")
    two = write_store(tmp_path / "two", [(["b"], clustered(1))], root=tmp_path / "scans")
    three = write_store(tmp_path / "three", [(["c"], clustered(1))], root=tmp_path / "photos")
    report = workflows.merge([one.path, two.path, three.path], tmp_path / "merged")
    assert (report.copied, report.rewritten) == (2, 1)
    merged = Store.open(tmp_path / "merged")
    assert [root.absolute for root in merged.roots] == [str(tmp_path / "photos"), str(tmp_path / "scans")]
    assert [block.root.tolist() for block in merged.blocks()] == [[0], [1], [0]]


def test_what_cannot_be_merged_is_refused_before_anything_is_written(tmp_path):
    one = write_store(tmp_path / "one", [(["a"], clustered(1))])
    other = write_store(tmp_path / "other", [(["b"], clustered(1))], recipe={"model": "gem", "image_size": 512})
    output = tmp_path / "merged"
    with pytest.raises(RecipeError, match="image_size is 1024 in the first and 512 in the second"):
        workflows.merge([one.path, other.path], output)
    with pytest.raises(StoreError, match="given twice"):
        workflows.merge([one.path, tmp_path / "other/../one"], output)
    with pytest.raises(StoreError, match="one of the stores to merge"):
        workflows.merge([one.path], one.path)
    (tmp_path / "index").mkdir()
    (tmp_path / "index/index.json").write_text("{}")
    with pytest.raises(ImgretError, match=r"holds a index\.json"):
        workflows.merge([one.path], tmp_path / "index")
    assert not output.exists()


def test_a_damaged_part_is_named_and_what_was_merged_before_stays(tmp_path):
    one = write_store(tmp_path / "one", [(["a"], clustered(1))])
    other = write_store(tmp_path / "other", [(["b"], clustered(1))], root=one.path)
    damaged = other.path / "shard-00000.h5"
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(bytes(data))
    with pytest.raises(StoreError, match=r"other\S*shard-00000\.h5 is damaged"):
        workflows.merge([one.path, other.path], tmp_path / "merged")
    assert list(contents(tmp_path / "merged")) == ["a"]
    assert json.loads((tmp_path / "merged/manifest.json").read_text())["count"] == 1
