from __future__ import annotations

import json
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgret import workflows
from imgret.errors import (
    ImagesFailedError,
    ImgretError,
    InputError,
    RecipeError,
    SpaceError,
    StoreBusyError,
    StoreError,
    WeightsError,
)
from imgret.extraction.loading import load_for_recipe
from imgret.models import DEFAULT_MODEL, shipped_file
from imgret.store import Store
from imgret.store import shard as shards
from imgret.store.lock import WriterLock
from tests.pictures import save


def contents(path: Path) -> dict[str, np.ndarray]:
    """id -> descriptor of everything live in a store."""
    return {
        raw.decode("utf-8", "surrogateescape"): row
        for block in Store.open(path).blocks()
        for raw, row in zip(block.ids, block.descriptors, strict=True)
    }


def opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGB")


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


def test_every_image_gets_its_own_mean_colour(job, photos):
    report = workflows.extract(job)
    assert (report.found, report.added, report.failed) == (6, 6, 0)
    for name, row in contents(job.output).items():
        pixels = np.asarray(opened(photos / name), np.float64) / 255
        expected = pixels.mean((0, 1))
        assert row == pytest.approx(expected / np.linalg.norm(expected), abs=1e-3)


def test_rows_keep_the_order_of_the_ids_whatever_the_sizes_and_failures(job, photos):
    (photos / "a/1broken.png").write_bytes(b"not a picture")
    workflows.extract(replace(job, batch_size=2))
    names = list(contents(job.output))
    assert names == sorted(names)
    assert len(names) == 6


def test_the_descriptor_does_not_depend_on_batches_workers_or_shards(job, tmp_path):
    workflows.extract(job)
    expected = contents(job.output)
    for number, change in enumerate(({"batch_size": 1}, {"workers": 2}, {"shard_size": 2}, {"batch_size": 64})):
        other = replace(job, output=tmp_path / f"other-{number}", **change)
        workflows.extract(other)
        assert same(contents(other.output), expected)


def test_a_shard_keeps_the_facts_of_its_images(job, photos):
    workflows.extract(job)
    shard = Store.open(job.output).read_shard(0)
    file = photos / shard.ids[0].decode()
    assert (shard.width[0], shard.height[0]) == opened(file).size
    assert shard.bytes[0] == file.stat().st_size
    assert shard.mtime_ns[0] == file.stat().st_mtime_ns
    assert shard.box is None


def test_a_second_run_only_does_what_is_new_changed_or_gone(job, photos):
    workflows.extract(job)
    save(photos, "a/new.png", 50)
    save(photos, "a/0.png", 51)
    (photos / "b/1.png").unlink()
    report = workflows.extract(job)
    assert (report.added, report.replaced, report.kept, report.gone) == (1, 1, 4, 1)
    assert "b/1.png" in contents(job.output)  # gone, and kept until --prune
    report = workflows.extract(replace(job, prune=True))
    assert report.pruned == 1
    assert "b/1.png" not in contents(job.output)
    fresh = replace(job, output=job.output.with_name("fresh"))
    workflows.extract(fresh)
    assert same(contents(job.output), contents(fresh.output))


def test_a_second_run_with_nothing_to_do_loads_no_model(job, monkeypatch):
    workflows.extract(job)
    monkeypatch.setattr("imgret.extraction.loading.load_for_recipe", None)
    assert workflows.extract(job).kept == 6


def test_options_left_out_are_taken_from_the_store(job, photos):
    workflows.extract(replace(job, image_size=32))
    save(photos, "a/new.png", 50)
    report = workflows.extract(replace(job, model=None, weights=None, image_size=None, precision=None))
    assert report.added == 1
    assert Store.open(job.output).recipe["image_size"] == 32


@pytest.mark.parametrize(
    "change",
    [
        {"image_size": 32},
        {"scales": (1.0, 0.5)},
        {"store_dtype": "float32"},
        {"exif": "ignore"},
        {"decode": "exact"},
        {"model": "gem"},
        {"precision": "bf16"},
        {"weights": "auto"},
        {"seed": 7},
    ],
)
def test_another_recipe_is_refused_in_words(job, change):
    workflows.extract(job)
    with pytest.raises(RecipeError, match=r"one store holds one recipe.*-o"):
        workflows.extract(replace(job, **change))


def test_content_can_be_verified_instead_of_trusting_times(job, photos):
    workflows.extract(job)
    file = photos / "a/0.png"
    before = file.stat()
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))
    assert workflows.extract(replace(job, dry_run=True)).replaced == 1
    assert workflows.extract(replace(job, dry_run=True, verify_content=True)).replaced == 0
    save(photos, "a/0.png", 77)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert workflows.extract(replace(job, dry_run=True, verify_content=True)).replaced == 1


def test_failures_are_listed_and_remembered_and_tried_again_when_the_file_changes(job, photos):
    broken = photos / "a/broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff no photograph")
    (photos / "a/empty.png").write_bytes(b"")
    report = workflows.extract(job)
    assert dict(report.failures) == {"truncated": 1, "empty": 1}
    table = (job.output / "failures.csv").read_text().splitlines()
    assert table[0].startswith("path,reason,message")
    assert len(table) == 3
    again = workflows.extract(job)
    assert (again.to_do, again.failed, again.kept) == (0, 2, 6)
    save(photos, "a/broken.jpg", 8)
    assert workflows.extract(job).added == 1
    assert len((job.output / "failures.csv").read_text().splitlines()) == 2


def test_a_file_that_changed_into_something_unreadable_loses_its_row(job, photos):
    workflows.extract(job)
    (photos / "a/0.png").write_bytes(b"gone bad")
    report = workflows.extract(job)
    assert report.failed == 1
    assert "a/0.png" not in contents(job.output)


def test_a_limit_that_is_raised_gives_refused_images_another_try(job, photos):
    save(photos, "a/large.png", 9, (1200, 1000))
    assert workflows.extract(replace(job, max_megapixels=1)).failures["too_large"] == 1
    assert workflows.extract(job).added == 1


def test_strict_and_total_failure_have_their_exit_codes(job, photos, tmp_path):
    (photos / "a/empty.png").write_bytes(b"")
    report = workflows.extract(job)
    report.check(strict=False)
    with pytest.raises(ImagesFailedError) as caught:
        report.check(strict=True)
    assert caught.value.exit_code == 3
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/x.png").write_bytes(b"")
    report = workflows.extract(replace(job, images=(str(tmp_path / "bad"),), output=tmp_path / "none"))
    with pytest.raises(ImgretError, match="none of the 1 images") as caught:
        report.check(strict=True)
    assert caught.value.exit_code == 1


def test_dry_run_writes_nothing(job):
    assert workflows.extract(replace(job, dry_run=True)).added == 6
    assert not job.output.exists()


def test_parts_make_stores_that_together_hold_everything(job, tmp_path):
    names = []
    for i in (1, 2):
        part = replace(job, part=(i, 2), output=tmp_path / f"part-{i}")
        workflows.extract(part)
        names += contents(part.output)
    workflows.extract(job)
    assert sorted(names) == sorted(contents(job.output))


def test_boxes_are_images_of_their_own(job, photos, tmp_path):
    listed = tmp_path / "list.csv"
    listed.write_text("path,x1,y1,x2,y2\na/0.png,,,,\na/0.png,0,0,20,20\na/0.png,20,20,60,40\n")
    boxed = replace(job, images=(), list_file=listed, root=photos)
    workflows.extract(boxed)
    found = contents(job.output)
    assert list(found) == ["a/0.png", "a/0.png#0,0,20,20", "a/0.png#20,20,60,40"]
    pixels = np.asarray(opened(photos / "a/0.png"), np.float64)[20:40, 20:60].mean((0, 1))
    assert found["a/0.png#20,20,60,40"] == pytest.approx(pixels / np.linalg.norm(pixels), abs=1e-3)
    assert Store.open(job.output).read_shard(0).box.tolist()[0] == [-1, -1, -1, -1]
    assert workflows.extract(boxed).kept == 3


def test_the_same_id_from_another_folder_is_refused(job, tmp_path):
    workflows.extract(job)
    save(tmp_path, "other/a/0.png", 9)
    with pytest.raises(InputError, match="already holds a/0.png.*--root"):
        workflows.extract(replace(job, images=(str(tmp_path / "other"),)))


def test_a_collection_that_moved_is_recognised(job, photos, tmp_path):
    workflows.extract(job)
    moved = tmp_path / "moved"
    photos.rename(moved)
    report = workflows.extract(replace(job, images=(str(moved),)))
    assert report.kept == 6
    assert [root.absolute for root in Store.open(job.output).roots] == [str(moved)]


def test_gone_is_judged_within_the_roots_given(job, tmp_path):
    workflows.extract(job)
    save(tmp_path, "second/z.png", 3)
    report = workflows.extract(replace(job, images=(str(tmp_path / "second"),), prune=True))
    assert (report.added, report.gone) == (1, 0)
    assert len(contents(job.output)) == 7


def test_of_several_folders_one_that_was_emptied_loses_its_rows(job, photos, tmp_path):
    save(tmp_path, "second/z.png", 3)
    both = replace(job, images=(str(photos), str(tmp_path / "second")), prune=True)
    workflows.extract(both)
    (tmp_path / "second/z.png").unlink()
    assert workflows.extract(both).pruned == 1


def test_rows_with_ids_of_a_list_outlive_a_run_of_something_else(job, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(photos)
    (tmp_path / "list.csv").write_text("path,id\na/0.png,cat\n")
    workflows.extract(replace(job, images=(), list_file=tmp_path / "list.csv"))
    assert workflows.extract(replace(job, images=("b/1.png",), prune=True)).pruned == 0
    assert sorted(contents(job.output)) == ["b/1.png", "cat"]


def test_one_file_given_by_name_does_not_make_the_others_gone(job, photos, monkeypatch):
    monkeypatch.chdir(photos)
    workflows.extract(replace(job, images=("a/0.png", "b/1.png")))
    report = workflows.extract(replace(job, images=("a/0.png",), prune=True))
    assert report.gone == 0


def test_a_second_writer_is_told_who_holds_the_store(job):
    workflows.extract(job)
    with WriterLock(job.output), pytest.raises(StoreBusyError, match=f"process {os.getpid()} on"):
        workflows.extract(job)
    workflows.extract(job)  # and afterwards it is free again


def test_an_installation_without_the_model_that_ships_says_how_to_get_it(job, monkeypatch):
    monkeypatch.setattr("imgret.models.weights.shipped_file", lambda name: shipped_file("no-such-model"))
    with pytest.raises(WeightsError, match="missing from this installation: pip install --force-reinstall imgret"):
        workflows.extract(replace(job, model=None, weights=None, seed=None))


def test_a_store_of_another_versions_model_is_not_searched_with_this_ones(job):
    store = workflows.extract(replace(job, model=None, weights=None, seed=None, image_size=64)).store
    found = Store.open(store)
    weights = {**found.recipe["weights"], "sha256": "0" * 64}
    with pytest.raises(WeightsError, match="another version of imgret ships"):
        load_for_recipe({**found.recipe, "weights": weights}, {}, print, device="cpu")


def test_a_store_of_the_model_that_ships_takes_its_file_as_well(job, tmp_path):
    store = workflows.extract(replace(job, model=None, weights=None, seed=None, image_size=64)).store
    recipe = Store.open(store).recipe
    copied = tmp_path / "copied.safetensors"
    shutil.copy(shipped_file(DEFAULT_MODEL), copied)
    loaded = load_for_recipe(recipe, {}, print, device="cpu", weights=str(copied))
    assert loaded.identity["weights"] == recipe["weights"]


def test_too_little_space_is_said_before_the_start(job, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(SpaceError, match="free some space"):
        workflows.extract(job)


def test_a_disk_that_fills_up_keeps_the_shards_before_and_the_next_run_goes_on(job, monkeypatch):
    real, calls = os.fsync, 0

    def full(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 14:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SpaceError, match="what was written before is safe"):
        workflows.extract(replace(job, shard_size=1))
    monkeypatch.setattr(os, "fsync", real)
    survived = len(contents(job.output))
    assert 0 < survived < 6
    assert not list(job.output.glob("*.partial"))
    report = workflows.extract(replace(job, shard_size=1))
    assert report.kept >= survived
    assert len(contents(job.output)) == 6


def test_ctrl_c_keeps_what_is_described(job):
    def interrupt(done: int, total: int, failed: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workflows.extract(replace(job, batch_size=1), progress=interrupt)
    assert len(contents(job.output)) == 3
    assert workflows.extract(job).kept == 3


def test_a_shard_that_was_finished_but_not_listed_is_taken_in(job):
    workflows.extract(replace(job, shard_size=3))
    manifest = json.loads((job.output / "manifest.json").read_text())
    manifest["shards"].pop()
    manifest["count"] = 3
    (job.output / "manifest.json").write_text(json.dumps(manifest))
    (job.output / "shard-00009.h5.partial").write_bytes(b"half a shard")
    report = workflows.extract(job)
    assert report.kept == 6
    assert not list(job.output.glob("*.partial"))


def test_a_flipped_byte_is_found_by_info(job):
    workflows.extract(job)
    path = job.output / "shard-00000.h5"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    found = workflows.inspect(job.output)
    assert len(found.problems) == 1
    assert "shard-00000.h5" in found.problems[0]


@pytest.mark.parametrize("schema", ["imgret.store/0", "imgret.store/2", None])
def test_a_store_of_another_schema_is_refused_in_words(job, schema):
    workflows.extract(job)
    about = json.loads((job.output / "store.json").read_text())
    about["schema"] = schema
    (job.output / "store.json").write_text(json.dumps(about))
    with pytest.raises(StoreError, match="this imgret reads 'imgret.store/1'"):
        workflows.extract(job)


def test_an_edited_recipe_is_noticed(job):
    workflows.extract(job)
    about = json.loads((job.output / "store.json").read_text())
    about["recipe"]["image_size"] = 1
    (job.output / "store.json").write_text(json.dumps(about))
    with pytest.raises(StoreError, match="fingerprint"):
        Store.open(job.output)


@pytest.mark.parametrize("name", ["é 日本 🖼", "quote'\"s, commas", "new\nline"])
def test_any_folder_name_works(job, tmp_path, name):
    place = tmp_path / name
    workflows.extract(replace(job, output=place / "store"))
    assert len(contents(place / "store")) == 6


def test_ids_that_are_not_text_survive_the_round_trip(job, photos):
    raw = os.fsencode(photos) + b"/a/\xff.png"
    os.rename(os.fsencode(photos) + b"/a/0.png", raw)
    (photos / "b/bad\n\udc80.png").write_bytes(b"")
    report = workflows.extract(job)
    assert b"a/\xff.png" in Store.open(job.output).read_shard(0).ids
    assert report.failed == 1
    assert "b/bad\\x0a\\x80.png" in (job.output / "failures.csv").read_text()
    assert workflows.extract(job).to_do == 0


def test_multi_scale_averages_unit_descriptors(job):
    workflows.extract(replace(job, scales=(1.0, 0.5)))
    store = Store.open(job.output)
    assert store.recipe["scales"] == [1.0, 0.5]
    assert np.allclose(np.linalg.norm(next(store.blocks()).descriptors, axis=1), 1)


def test_a_shard_of_another_recipe_is_refused_by_name(job, tmp_path):
    workflows.extract(job)
    workflows.extract(replace(job, output=tmp_path / "other", image_size=32))
    shutil.copy(tmp_path / "other/shard-00000.h5", job.output / "shard-00000.h5")
    with pytest.raises(StoreError, match="another recipe"):
        shards.read(job.output / "shard-00000.h5", Store.open(job.output).fingerprint)


def test_a_dangling_link_is_a_failure_that_the_next_run_can_read(job, photos):
    (photos / "a/gone.jpg").symlink_to(photos / "nowhere.jpg")
    for _ in range(2):
        assert dict(workflows.extract(job).failures) == {"missing": 1}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="drops its rights to test them")
def test_a_folder_that_cannot_be_read_loses_nothing(job, photos, tmp_path):
    workflows.extract(job)
    for folder in (tmp_path, *tmp_path.parents):
        if folder != folder.parent and folder.owner() == "root":
            folder.chmod(folder.stat().st_mode | 0o755)
    job.output.chmod(0o777)
    for file in job.output.iterdir():
        file.chmod(0o666)
    (photos / "a").chmod(0o700)
    os.seteuid(65534)
    try:
        report = workflows.extract(replace(job, prune=True))
    finally:
        os.seteuid(0)
    assert (report.gone, report.pruned) == (0, 0)
    assert len(contents(job.output)) == 6


def test_a_box_that_left_the_list_is_gone(job, photos, tmp_path):
    listed = tmp_path / "list.csv"
    boxed = replace(job, images=(), list_file=listed, root=photos, prune=True)
    listed.write_text("path,x1,y1,x2,y2\na/0.png,0,0,20,20\n")
    workflows.extract(boxed)
    listed.write_text("path,x1,y1,x2,y2\na/0.png,0,0,30,20\n")
    report = workflows.extract(boxed)
    assert (report.added, report.pruned) == (1, 1)
    assert list(contents(job.output)) == ["a/0.png#0,0,30,20"]


def test_other_files_in_the_folder_of_a_store_are_left_alone(job):
    job.output.mkdir()
    (job.output / "movie.mkv.partial").write_text("mine")
    workflows.extract(job)
    assert (job.output / "movie.mkv.partial").read_text() == "mine"


@pytest.mark.parametrize("name", ["manifest.json", "failures.csv", "index.json"])
def test_a_folder_that_holds_something_else_is_refused(job, name):
    job.output.mkdir()
    (job.output / name).write_text("mine")
    with pytest.raises(ImgretError, match="a folder of its own"):
        workflows.extract(job)
    assert (job.output / name).read_text() == "mine"


def test_a_shard_that_is_none_is_put_aside(job):
    workflows.extract(job)
    (job.output / "shard-00007.h5").write_bytes(b"")
    assert workflows.inspect(job.output).problems
    assert workflows.extract(job).kept == 6
    assert (job.output / "shard-00007.h5.damaged").exists()
    assert workflows.inspect(job.output).problems == []


def test_a_damaged_description_is_said_in_words(job):
    workflows.extract(job)
    (job.output / "store.json").write_text('{"schema": "imgret.store/1"}')
    with pytest.raises(StoreError, match="damaged"):
        Store.open(job.output)


def test_an_error_in_the_middle_keeps_what_is_described(job):
    def fail(done: int, total: int, failed: int) -> None:
        if done == 4:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        workflows.extract(replace(job, batch_size=1), progress=fail)
    assert len(contents(job.output)) == 4


def test_another_weights_file_is_refused_even_when_there_is_nothing_to_do(job, tmp_path):
    from imgret.models import load_model, save_weights

    workflows.extract(job)
    same = tmp_path / "same.safetensors"
    save_weights(load_model("mean-colour", weights="none").model, same, {})
    assert workflows.extract(replace(job, weights=str(same))).kept == 6
    other = tmp_path / "other.safetensors"
    model = load_model("mean-colour", weights="none").model
    model.mean += 1
    save_weights(model, other, {})
    for change in ({"weights": str(other)}, {"model": str(other), "weights": None}):
        with pytest.raises(RecipeError, match="weights"):
            workflows.extract(replace(job, **change))


def test_pruning_with_a_part_leaves_the_members_that_other_parts_read(job, photos, tmp_path):
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(photos.rglob("*.png")):
            file.write(path, path.relative_to(photos).as_posix())
    whole = replace(job, images=(str(archive),), root=tmp_path)
    workflows.extract(whole)
    for number in (1, 2):
        report = workflows.extract(replace(whole, part=(number, 2), prune=True))
        assert (report.gone, report.pruned) == (0, 0)
    assert Store.open(job.output).count == 6
