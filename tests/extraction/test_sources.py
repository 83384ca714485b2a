"""Images that are no files of their own: members of zip archives, and what is behind URLs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imgret import workflows
from imgret.errors import InputError
from imgret.store import Store
from imgret.store.store import locate_image
from tests.extraction.test_extract import contents, same
from tests.images.test_zips import packed


@pytest.fixture
def bucket():
    """An empty folder in fsspec's memory."""
    memory = pytest.importorskip("fsspec").filesystem("memory")
    memory.makedirs("/bucket/photos", exist_ok=True)
    yield memory
    memory.rm("/bucket", recursive=True)


def pictures(photos) -> dict[str, bytes]:
    return {path.relative_to(photos).as_posix(): path.read_bytes() for path in sorted(photos.rglob("*.*"))}


def test_a_zip_gives_the_rows_that_its_files_give(job, photos, tmp_path):
    workflows.extract(job)
    path = packed(tmp_path / "set.zip", pictures(photos))
    zipped = replace(job, images=(str(path),), root=tmp_path, output=tmp_path / "zipped")
    workflows.extract(zipped)
    found = {name.removeprefix("set.zip/"): row for name, row in contents(zipped.output).items()}
    assert same(found, contents(job.output))
    assert locate_image(tmp_path, "set.zip/a/0.png#1,2,3,4") == str(path)


def test_of_a_zip_only_what_changed_is_done_again_and_what_it_lost_is_gone(job, photos, tmp_path):
    members = pictures(photos)
    path = packed(tmp_path / "set.zip", members)
    zipped = replace(job, images=(str(path),), root=tmp_path, prune=True)
    workflows.extract(zipped)
    assert workflows.extract(zipped).kept == len(members)
    first, second, *_ = members
    members[first] = members.pop(second)
    packed(path, members)
    report = workflows.extract(zipped)
    assert (report.kept, report.replaced, report.pruned) == (len(members) - 1, 1, 1)


def test_a_url_gives_the_rows_that_its_files_give(job, photos, bucket):
    workflows.extract(job)
    for name, data in pictures(photos).items():
        bucket.pipe(f"/bucket/photos/{name}", data)
    remote = replace(job, images=("memory://bucket/photos",), output=job.output.with_name("remote"), workers=0)
    workflows.extract(remote)
    assert same(contents(remote.output), contents(job.output))
    store = Store.open(remote.output)
    assert [(root.absolute, root.relative) for root in store.roots] == [("memory://bucket/photos",) * 2]
    place = store.roots[0].locate(store.path)
    assert locate_image(place, "a/0.png") == "memory://bucket/photos/a/0.png"


def test_behind_a_url_too_only_what_is_new_or_changed_is_done_and_what_is_no_more_is_gone(job, photos, bucket):
    files = pictures(photos)
    for name, data in files.items():
        bucket.pipe(f"/bucket/photos/{name}", data)
    remote = replace(job, images=("memory://bucket/photos",), workers=0, prune=True)
    workflows.extract(remote)
    assert workflows.extract(remote).kept == len(files)
    first, second, third, *_ = files
    bucket.rm(f"/bucket/photos/{first}")
    bucket.pipe(f"/bucket/photos/{second}", files[third])
    bucket.pipe("/bucket/photos/new.png", files[third])
    report = workflows.extract(remote)
    assert (report.kept, report.replaced, report.added, report.pruned) == (len(files) - 2, 1, 1, 1)
    only = replace(remote, images=("memory://bucket/photos/new.png",))
    assert workflows.extract(only).gone == 0  # the others were not asked for, and are still there


def test_an_archive_behind_a_url_that_lost_a_member_loses_its_row(job, photos, bucket, tmp_path):
    files = pictures(photos)
    bucket.pipe("/bucket/set.zip", packed(tmp_path / "set.zip", files).read_bytes())
    remote = replace(job, images=("memory://bucket/set.zip",), workers=0, prune=True)
    workflows.extract(remote)
    del files[next(iter(files))]
    bucket.pipe("/bucket/set.zip", packed(tmp_path / "set.zip", files).read_bytes())
    assert workflows.extract(remote).pruned == 1


def test_one_id_from_a_folder_and_from_a_url_is_refused(job, photos, bucket):
    workflows.extract(job)
    for name, data in pictures(photos).items():
        bucket.pipe(f"/bucket/photos/{name}", data)
    with pytest.raises(InputError, match=r"already holds .* now another one comes from memory://bucket/photos"):
        workflows.extract(replace(job, images=("memory://bucket/photos",), workers=0))


def test_offline_fetches_no_image(job):
    with pytest.raises(InputError, match="--offline"):
        workflows.extract(replace(job, images=("s3://bucket/photos",), offline=True))
