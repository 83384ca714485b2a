"""Builds that were cut off go on where their last snapshot was taken."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from imgret.errors import InputError, SpaceError
from imgret.indexes import generation, snapshots, writing
from imgret.indexes.build import build
from imgret.indexes.files import Index
from imgret.store.store import Store
from imgret.workflows.inspecting import inspect
from tests.indexes.conftest import add_shard, clustered, names, save, write_store


@pytest.fixture(autouse=True)
def _eager_snapshots(monkeypatch):
    monkeypatch.setattr(snapshots, "EVERY", 0)
    monkeypatch.setattr(snapshots, "COST", 0)
    monkeypatch.setattr(snapshots, "WORTH", -1)
    monkeypatch.setattr(generation, "AT_ONCE", 100)  # the store's shards hold 700 and 500 rows


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.suffix != ".lock"}


def building(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.glob("building-*"))


def cut_off(store: Store, output: Path, done: int = 800, **how) -> None:
    """Build until `done` rows were added, then stop as Ctrl-C does."""

    def progress(what: str, now: int, total: int) -> None:
        if what == "adding vectors" and now > done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build([store], output, progress=progress, **how)


@pytest.mark.parametrize("kind", ["flat", "fp16", "ivf", "ivfpq"])
def test_a_build_that_was_cut_off_goes_on_and_gives_the_same_index(tmp_path, store, kind):
    build([store], tmp_path / "whole", kind=kind)
    cut_off(store, tmp_path / "index", kind=kind)
    assert building(tmp_path / "index") == ["building-800.faiss", "building-800.json"]
    assert not Index.exists(tmp_path / "index")
    told = []
    report = build([store], tmp_path / "index", kind=kind, progress=lambda *what: told.append(what))
    assert report.resumed == 800
    assert ("resuming", 800, 1200) in told
    assert "training" not in {what for what, *_ in told}
    assert content(tmp_path / "index") == content(tmp_path / "whole")


def test_a_graph_goes_on_too(tmp_path, store):
    cut_off(store, tmp_path / "index", kind="hnsw")
    assert build([store], tmp_path / "index", kind="hnsw").resumed == 800
    index = Index.open(tmp_path / "index")
    np.testing.assert_allclose(index.vectors(np.arange(1200)), clustered(1200), atol=1e-6)


def test_training_is_not_done_twice(tmp_path, store, monkeypatch):
    cut_off(store, tmp_path / "index", done=0, kind="ivf")
    assert building(tmp_path / "index") == ["building-0.faiss", "building-0.json"]
    monkeypatch.setattr(generation, "train", lambda *_: pytest.fail("trained again"))
    report = build([store], tmp_path / "index", kind="ivf")
    assert report.resumed == 0
    assert Index.open(tmp_path / "index").about["training"] == {"count": 1200, "rows": 1200}


@pytest.mark.parametrize("how", [{"kind": "flat"}, {"kind": "ivf", "seed": 1}, {"kind": "ivf", "target_recall": 0.5}])
def test_another_build_does_not_go_on_with_it(tmp_path, store, how):
    cut_off(store, tmp_path / "index", kind="ivf")
    assert build([store], tmp_path / "index", **how).resumed is None
    assert building(tmp_path / "index") == []


def test_rows_that_came_or_went_begin_anew(tmp_path, store):
    cut_off(store, tmp_path / "index", kind="ivf")
    store.shards[0].dropped = [3]
    save(store)
    cut_off(store, tmp_path / "index", kind="ivf", done=700)  # 699 of them in the first shard
    assert building(tmp_path / "index") == ["building-699.faiss", "building-699.json"]
    add_shard(store, names(5, "new"), clustered(5, seed=1))
    save(store)
    report = build([store], tmp_path / "index", kind="ivf")
    assert (report.resumed, report.count) == (None, 1204)


@pytest.mark.parametrize("damage", ["cut", "flip", "missing", "json"])
def test_a_damaged_snapshot_is_passed_over(tmp_path, store, damage):
    build([store], tmp_path / "whole", kind="ivf")
    cut_off(store, tmp_path / "index", kind="ivf")
    file = tmp_path / "index" / "building-800.faiss"
    raw = file.read_bytes()
    if damage == "cut":
        file.write_bytes(raw[:-1])
    elif damage == "flip":
        file.write_bytes(b"x" + raw[1:])
    elif damage == "missing":
        file.unlink()
    else:
        file.with_suffix(".json").write_text("{")
    build([store], tmp_path / "index", kind="ivf")
    assert content(tmp_path / "index") == content(tmp_path / "whole")


def test_the_kind_that_was_chosen_is_not_chosen_again(tmp_path, store, monkeypatch):
    from imgret.indexes import kinds, planner

    monkeypatch.setattr(kinds, "QUICK", 1000)  # so that exact search counts as slow
    cut_off(store, tmp_path / "index", max_memory=10_000_000)
    about = json.loads((tmp_path / "index" / "building-800.json").read_text())
    monkeypatch.setattr(planner, "plan", lambda *_, **__: pytest.fail("planned again"))
    report = build([store], tmp_path / "index", max_memory=10_000_000)
    assert report.resumed == 800
    assert {"kind": report.kind, "factory": report.factory, "why": report.why} == about["choice"]
    assert report.trials == about["trials"]


def test_a_rebuild_goes_on_while_readers_have_the_old_index(tmp_path, store):
    build([store], tmp_path / "index", kind="flat")
    cut_off(store, tmp_path / "index", kind="ivf")
    assert Index.open(tmp_path / "index").about["kind"] == "flat"
    report = build([store], tmp_path / "index", kind="ivf")
    assert (report.kind, report.resumed) == ("ivf", 800)


def test_a_snapshot_is_resumed_with_blocks_of_another_size(tmp_path, store, monkeypatch):
    build([store], tmp_path / "whole", kind="ivf")
    cut_off(store, tmp_path / "index", kind="ivf")
    monkeypatch.setattr(generation, "AT_ONCE", 300)  # 800 rows end within a block of the second shard
    assert build([store], tmp_path / "index", kind="ivf").resumed == 800
    assert content(tmp_path / "index") == content(tmp_path / "whole")


def test_a_snapshot_with_a_flipped_byte_is_not_resumed(tmp_path, store):
    build([store], tmp_path / "whole", kind="fp16")
    cut_off(store, tmp_path / "index", kind="fp16")
    file = tmp_path / "index" / "building-800.faiss"
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    file.write_bytes(raw)
    assert build([store], tmp_path / "index", kind="fp16").resumed is None
    assert content(tmp_path / "index") == content(tmp_path / "whole")


def test_a_resumed_build_that_fails_leaves_no_snapshot(tmp_path, store, monkeypatch):
    cut_off(store, tmp_path / "index", kind="ivf")
    monkeypatch.setattr(generation.Job, "_measured", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build([store], tmp_path / "index", kind="ivf")
    assert building(tmp_path / "index") == []


def test_a_rebuild_that_was_given_up_leaves_nothing(tmp_path, store):
    build([store], tmp_path / "index", kind="flat")
    cut_off(store, tmp_path / "index", kind="ivf")
    assert not build([store], tmp_path / "index", kind="flat").changed
    assert building(tmp_path / "index") == []


def test_an_index_that_was_not_finished_says_so(tmp_path, store):
    cut_off(store, tmp_path / "index", kind="ivf")
    with pytest.raises(InputError, match="not finished; run the same imgret index again"):
        inspect(tmp_path / "index")


def test_a_snapshot_that_does_not_fit_on_the_disk_ends_nothing(tmp_path, store, monkeypatch):
    write = writing.write_faiss

    def full(path, index):
        if path.name.startswith("building"):
            raise SpaceError("no space left")
        write(path, index)

    monkeypatch.setattr(writing, "write_faiss", full)
    assert build([store], tmp_path / "index", kind="ivf").count == 1200


KILLED = """
import sys
from imgret.indexes import generation, snapshots
from imgret.indexes.build import build
from imgret.store.store import Store
snapshots.EVERY = snapshots.COST = 0
generation.AT_ONCE = 100
build([Store.open(sys.argv[1])], sys.argv[2], kind="ivfpq", seed=1)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_kill_9_at_any_moment_leaves_the_old_index_and_something_to_go_on_with(tmp_path):
    vectors = clustered(20_000, 32)
    store = write_store(
        tmp_path / "s", [(names(5000, f"part-{n}"), vectors[5000 * n : 5000 * (n + 1)]) for n in range(4)]
    )
    build([store], tmp_path / "whole", kind="ivfpq", seed=1)
    build([store], tmp_path / "index", kind="flat")
    resumed = []
    for kill in range(8):
        child = subprocess.Popen([sys.executable, "-c", KILLED, str(store.path), str(tmp_path / "index")])
        deadline, seen = time.monotonic() + 60, building(tmp_path / "index")
        while building(tmp_path / "index") == seen and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.01 * kill)
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert Index.open(tmp_path / "index").verify() == []
    told = []
    report = build([store], tmp_path / "index", kind="ivfpq", seed=1, progress=lambda *what: told.append(what))
    resumed = [done for what, done, _ in told if what == "resuming"]
    assert resumed == [report.resumed]
    assert report.resumed > 0
    ours, wanted = Index.open(tmp_path / "index"), Index.open(tmp_path / "whole")
    np.testing.assert_array_equal(ours.stored(np.arange(20_000)), wanted.stored(np.arange(20_000)))
    assert (
        next((tmp_path / "index").glob("index-*.faiss")).read_bytes()
        == (tmp_path / "whole" / "index-1.faiss").read_bytes()
    )
    assert building(tmp_path / "index") == []
