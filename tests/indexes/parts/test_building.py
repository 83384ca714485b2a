"""An index in parts: made, cut off, brought up to date."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from imgret.errors import IndexFileError, StoreError
from imgret.indexes.build import build
from imgret.indexes.files import Index
from imgret.indexes.parts import build as building
from imgret.indexes.parts.build import build_parts, one_by_one
from imgret.indexes.parts.files import Parts
from imgret.indexes.parts.part import build_part
from imgret.store.store import Store
from imgret.workflows import whiten
from tests.indexes.conftest import add_shard, clustered, names, save, write_store


def content(folder: Path) -> dict[str, bytes]:
    """All files below a folder but locks, by path."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.suffix != ".lock")
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def folders(output: Path) -> list[str]:
    return sorted(place.name for place in (output / "parts").iterdir() if place.is_dir())


def make(store: Store, output: Path, parts: int = 4, **how):
    return build_parts([Store.open(store.path)], output, parts, **how)


def test_an_index_in_parts_says_what_it_holds(tmp_path, shards):
    report = make(shards, tmp_path / "index", kind="ivf")
    about = json.loads((tmp_path / "index/index.json").read_text())
    assert about["schema"] == "imgret.parts/1"
    assert [part["count"] for part in about["parts"]] == [300] * 4
    assert [part["shards"] for part in about["parts"]] == [2] * 4
    assert [part["folder"] for part in about["parts"]] == folders(tmp_path / "index")
    assert about["recall"]["recall@10"] == report.recall["recall@10"] > 0.9
    assert about["recall"]["queries"] == 256
    assert about["recipe"] == shards.recipe
    assert (report.count, report.added, report.kept, report.parts) == (1200, 1200, 0, (4, 0))
    assert Parts.open(tmp_path / "index").verify() == []
    lists = [Index.open(part.folder).faiss for part in Parts.open(tmp_path / "index").parts]
    centroids = [one.quantizer.reconstruct_n(0, one.nlist) for one in lists]
    assert all(np.array_equal(centroids[0], others) for others in centroids)


def test_the_recall_is_that_of_all_parts_together(tmp_path, shards):
    # One list of many visited: parts that share their lists miss what the undivided index misses.
    whole = build([shards], tmp_path / "whole", factory="IVF16,Flat", target_recall=0.1)
    report = make(shards, tmp_path / "index", factory="IVF16,Flat", target_recall=0.1)
    assert report.parameters == whole.parameters == {"nprobe": 1}
    assert report.recall["recall@10"] == whole.recall["recall@10"] < 1


def test_the_same_again_changes_nothing(tmp_path, shards):
    make(shards, tmp_path / "index")
    before = content(tmp_path / "index")
    report = make(shards, tmp_path / "index", run=lambda jobs: pytest.fail("made a part again"))
    assert (report.changed, report.count, report.parts) == (False, 1200, (0, 4))
    assert content(tmp_path / "index") == before


def test_two_builds_give_the_same_files(tmp_path, shards):
    make(shards, tmp_path / "one", kind="ivfpq")
    make(shards, tmp_path / "two", kind="ivfpq")
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_jobs_are_plain_values_and_may_be_done_twice_and_in_any_order(tmp_path, shards):
    def elsewhere(jobs):
        jobs = pickle.loads(pickle.dumps(jobs))
        return pickle.loads(pickle.dumps([build_part(job) for job in [*jobs[::-1], jobs[0]]]))

    make(shards, tmp_path / "one", kind="ivf", run=elsewhere)
    make(shards, tmp_path / "two", kind="ivf")
    assert content(tmp_path / "one") == content(tmp_path / "two")


@pytest.mark.parametrize("done", [0, 1, 3])
def test_a_build_that_was_cut_off_keeps_what_was_learnt_and_the_parts_that_are_finished(
    tmp_path, shards, monkeypatch, done
):
    def cut_off(jobs):
        yield from one_by_one(jobs[:done])
        raise KeyboardInterrupt

    make(shards, tmp_path / "whole", kind="ivf")
    with pytest.raises(KeyboardInterrupt):
        make(shards, tmp_path / "index", kind="ivf", run=cut_off)
    assert not Index.exists(tmp_path / "index")
    assert len(folders(tmp_path / "index")) == done
    monkeypatch.setattr(building, "train", lambda *_: pytest.fail("trained again"))
    report = make(shards, tmp_path / "index", kind="ivf")
    assert report.parts == (4 - done, done)
    assert content(tmp_path / "index") == content(tmp_path / "whole")


def test_a_part_that_is_not_made_leaves_no_index_and_is_named(tmp_path, shards):
    with pytest.raises(IndexFileError, match="part-00003-[0-9a-f]{12} not made; run the same again"):
        make(shards, tmp_path / "index", run=lambda jobs: one_by_one(jobs[:3]))
    assert not Index.exists(tmp_path / "index")
    assert make(shards, tmp_path / "index").parts == (1, 3)


def test_what_a_killed_worker_left_is_removed_and_a_damaged_part_is_made_again(tmp_path, shards):
    make(shards, tmp_path / "index")
    before = content(tmp_path / "index")
    first = tmp_path / "index/parts" / folders(tmp_path / "index")[0]
    (first / "ids-1.bin").write_bytes(b"short")
    first.with_name(f"{first.name}.0123.partial").mkdir()
    with pytest.raises(IndexFileError, match=r"ids-1.bin has 5 bytes, index.json says \d+; the file is damaged"):
        Parts.open(tmp_path / "index")
    (tmp_path / "index/index.json").unlink()
    assert make(shards, tmp_path / "index").parts == (1, 3)
    assert content(tmp_path / "index") == before


def test_new_shards_go_to_the_smallest_part_and_the_others_are_kept(tmp_path, shards):
    make(shards, tmp_path / "index", kind="ivf")
    old = folders(tmp_path / "index")
    add_shard(shards, names(60, "new"), clustered(60, seed=5))
    shards.shards[2].dropped = [0, 1, 2]  # of the second part
    save(shards)
    report = make(shards, tmp_path / "index")
    # 1,200 - 3 + 60; the second part has the fewest images, so both changes are in it
    assert (report.count, report.added, report.removed, report.kept, report.parts) == (1257, 60, 3, 1197, (1, 3))
    assert report.rebuilt_because is None
    assert len(set(old) & set(folders(tmp_path / "index"))) == 3
    index = Parts.open(tmp_path / "index")
    assert set(index.ids) == {raw.decode() for raw in Store.open(shards.path).ids()}
    assert index.verify() == []


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"kind": "sq8"}, "the kind was ivf and is now sq8"),
        ({"seed": 3}, "the seed was 0 and is now 3"),
        ({"factory": "IVF8,Flat"}, "the kind was ivf and is now custom"),
    ],
)
def test_why_all_parts_are_made_anew_is_said(tmp_path, shards, how, why):
    make(shards, tmp_path / "index", kind="ivf")
    report = make(shards, tmp_path / "index", **how)
    assert (report.rebuilt_because, report.parts) == (why, (4, 0))
    assert len(folders(tmp_path / "index")) == 4


def test_another_number_of_parts_keeps_what_was_learnt(tmp_path, shards, monkeypatch):
    make(shards, tmp_path / "index", kind="ivf")
    trained = Parts.open(tmp_path / "index").about["trained"]
    monkeypatch.setattr(building, "train", lambda *_: pytest.fail("trained again"))
    report = make(shards, tmp_path / "index", parts=2)
    index = Parts.open(tmp_path / "index")
    assert (len(index.parts), report.rebuilt_because, index.about["trained"]) == (2, None, trained)


def test_another_target_is_measured_without_making_a_part(tmp_path, shards):
    make(shards, tmp_path / "index", factory="IVF16,Flat", target_recall=0.1)
    report = make(shards, tmp_path / "index", target_recall=0.999)
    assert report.parts == (0, 4)
    assert report.parameters["nprobe"] > 1
    part = Parts.open(tmp_path / "index").parts[0]
    assert Index.open(part.folder).parameters == report.parameters


def test_a_reader_of_the_old_index_goes_on_until_the_new_one_is_there(tmp_path, shards):
    make(shards, tmp_path / "index")
    reader = Parts.open(tmp_path / "index")
    queries, seen = clustered(1200)[:3], []

    def watched(jobs):
        for done in one_by_one(jobs):
            seen.append(reader.search(queries, [""] * 3, 5).rows.tolist())
            seen.append(Parts.open(tmp_path / "index").search(queries, [""] * 3, 5).rows.tolist())
            yield done

    before = reader.search(queries, [""] * 3, 5).rows.tolist()
    make(shards, tmp_path / "index", kind="fp16", run=watched)
    assert seen == [before] * 8
    assert Parts.open(tmp_path / "index").about["kind"] == "fp16"


def test_a_store_that_changes_while_parts_are_made_is_told(tmp_path, shards):
    def changed(jobs):
        shards.shards[0].dropped = [5]
        save(shards)
        return one_by_one(jobs)

    with pytest.raises(IndexFileError, match="store changed while the index was being made; run the same again"):
        make(shards, tmp_path / "index", run=changed)


def test_a_damaged_shard_is_told(tmp_path, shards):
    file = shards.path / shards.shards[5].file
    data = bytearray(file.read_bytes())
    data[-1000] ^= 1
    file.write_bytes(data)
    with pytest.raises(StoreError, match=r"shard-00005.h5 is damaged"):
        make(shards, tmp_path / "index")
    assert not Index.exists(tmp_path / "index")


def test_an_undivided_index_and_one_in_parts_do_not_take_each_others_place(tmp_path, shards):
    build([shards], tmp_path / "whole")
    make(shards, tmp_path / "index")
    with pytest.raises(IndexFileError, match="whole is an undivided index; give the one in parts a folder of its own"):
        make(shards, tmp_path / "whole")
    with pytest.raises(IndexFileError, match="index is an index in parts.* or say --parts N"):
        build([shards], tmp_path / "index")
    with pytest.raises(ValueError, match="parts must be at least 2, got 1"):
        make(shards, tmp_path / "index", parts=1)


def test_memory_is_for_a_part(tmp_path, shards):
    # 1,200 x 16 float32 are 76.8 kB; a fourth of that fits into 20 kB
    with pytest.raises(IndexFileError, match="budget is 20 kB"):
        build([shards], tmp_path / "whole", kind="flat", max_memory=20_000)
    assert make(shards, tmp_path / "index", kind="flat", max_memory=20_000).kind == "flat"


def test_several_stores_are_divided_together(tmp_path, shards):
    other = write_store(tmp_path / "other", [(names(600, "other"), clustered(600, seed=2))])
    build_parts([shards, other], tmp_path / "index", 3)
    index = Parts.open(tmp_path / "index")
    assert [part["count"] for part in index.about["parts"]] == [600, 600, 600]
    (other.path / "other-00007.jpg").write_bytes(b"")
    assert index.path_of(1207) == str(other.path / "other-00007.jpg")


def test_whitened_parts_are_whitened_alike(tmp_path, shards):
    fitted = whiten(shards.path, tmp_path / "white.safetensors", dim=8).whitening
    report = make(shards, tmp_path / "index", whitening=fitted)
    index, whole = Parts.open(tmp_path / "index"), build([shards], tmp_path / "whole", whitening=fitted)
    assert index.whitening is not None
    assert index.whitening.sha256 == fitted.sha256
    assert report.whitening == whole.whitening
    rows = np.arange(0, 1200, 60)
    assert np.array_equal(index.vectors(rows), Index.open(tmp_path / "whole").vectors(rows))
    assert make(shards, tmp_path / "index").changed is False
    assert "the whitening was" in (make(shards, tmp_path / "index", whitening="none").rebuilt_because or "")


@pytest.mark.slow
def test_a_build_killed_at_any_moment_ends_as_an_undisturbed_one(tmp_path, shards):
    code = (
        "import sys; from pathlib import Path; from imgret.store.store import Store; "
        "from imgret.indexes.parts.build import build_parts; "
        "build_parts([Store.open(Path(sys.argv[1]))], Path(sys.argv[2]), 4, kind='ivf')"
    )
    command = [sys.executable, "-c", code, str(shards.path)]
    begun = time.monotonic()
    subprocess.run([*command, str(tmp_path / "whole")], check=True)
    takes = time.monotonic() - begun
    for share in np.linspace(0.4, 0.95, 8):
        child = subprocess.Popen([*command, str(tmp_path / "index")])
        time.sleep(share * takes)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        if Index.exists(tmp_path / "index"):
            assert Parts.open(tmp_path / "index").verify() == []
    subprocess.run([*command, str(tmp_path / "index")], check=True)
    assert content(tmp_path / "index") == content(tmp_path / "whole")


def test_an_empty_store_is_told(tmp_path):
    store = write_store(tmp_path / "store", [])
    with pytest.raises(IndexFileError, match="nothing to index. Extract some images"):
        make(store, tmp_path / "index")
