from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from imgret.extraction import plan as planning
from imgret.extraction.plan import Work, make_plan
from imgret.images.image_file import ImageFile
from imgret.store.failures import Failure
from imgret.store.known import KnownImages
from imgret.store.store import Store
from tests.indexes.conftest import write_store


class Counted(Sequence):
    """A listing that only gives what it is asked for, and counts how often it was gone through."""

    def __init__(self, images):
        self._images, self.passes = images, 0

    def __len__(self):
        return len(self._images)

    def __getitem__(self, number):
        return self._images[number]

    def __iter__(self):
        self.passes += 1
        return iter(self._images)


def image(root, name, size=0):
    return ImageFile(name, f"{root}/{name}", str(root), size, 0)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


@pytest.fixture
def store(tmp_path, root):
    """Ten images of no bytes, 0.jpg to 9.jpg, in two shards."""
    rows, names = np.eye(10, 16, dtype=np.float32), [f"{n}.jpg" for n in range(10)]
    write_store(tmp_path / "store", [(names[:6], rows[:6]), (names[6:], rows[6:])], root=root)
    return Store.open(tmp_path / "store")


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_one_pass_sorts_new_from_changed_kept_and_gone(store, root, monkeypatch, at_once):
    monkeypatch.setattr(planning, "_AT_ONCE", at_once)
    names = ["new.jpg", "7.jpg", "3.jpg", "8.jpg", "1.jpg", "also-new.jpg"]
    images = Counted([image(root, name, size=5 if name in ("3.jpg", "8.jpg") else 0) for name in names])
    (root / "2.jpg").touch()  # not given this time, and there
    known = KnownImages(store)
    plan = make_plan(images, store, known, {})
    assert images.passes == 1
    assert (plan.kept, plan.changed, len(plan.work)) == (2, 2, 4)
    for _ in range(2):
        assert [one.id for one in plan.work] == ["new.jpg", "3.jpg", "8.jpg", "also-new.jpg"]
    gone = [known.id_of(place).decode() for place in plan.gone]
    assert gone == ["0.jpg", "4.jpg", "5.jpg", "6.jpg", "9.jpg"]


def test_failures_are_remembered_tried_again_or_out_of_date(store, root):
    def failed(name, **facts):
        return Failure(name, f"{root}/{name}", "empty", "the file has no bytes", 0, 0, **facts)

    (root / "elsewhere.jpg").touch()
    again = [failed("same.jpg"), failed("passing.jpg", retry=True), failed("changed.jpg")]
    others = [failed("1.jpg"), failed("2.jpg"), failed("lost.jpg"), failed("elsewhere.jpg")]
    images = [image(root, one.id, size=9 if one.id == "changed.jpg" else 0) for one in (*again, others[0])]
    plan = make_plan(images, store, KnownImages(store), {one.id: one for one in (*again, *others)})
    assert plan.remembered == {"empty": 1}
    assert [one.id for one in plan.work] == ["passing.jpg", "changed.jpg"]
    # the rows of 1 (given) and 2 (not given) stand, and lost.jpg is no more
    assert sorted(plan.outdated) == ["1.jpg", "2.jpg", "lost.jpg"]


def test_all_of_a_listing_or_none_of_it_is_work(root):
    images = [image(root, f"{n}.jpg") for n in range(3)]
    assert list(Work(images, all_of_them=True)) == images
    assert (list(Work(images)), len(Work(images))) == ([], 0)


def test_a_file_that_cannot_be_looked_at_is_not_gone(store, root, monkeypatch):
    def refused(path):
        raise PermissionError(13, "no right", path)

    monkeypatch.setattr(planning.os, "lstat", refused)
    plan = make_plan([image(root, "3.jpg", size=-1)], store, KnownImages(store), {})
    assert (plan.kept, len(plan.work), len(plan.gone)) == (1, 0, 0)


def test_failures_behind_a_url_are_asked_for_below_the_roots_to_prune_and_never_offline(store, root, monkeypatch):
    asked = []
    monkeypatch.setattr(planning, "is_lost", lambda place: asked.append(place) or False)
    urls = ["https://host/photos/x.jpg", "https://other/y.jpg"]
    failures = {url: Failure(url, url, "unreadable", "no answer", retry=True) for url in urls}

    def plan(**options):
        make_plan([image(root, "1.jpg")], store, KnownImages(store), failures, **options)
        return asked

    assert plan(prune=True) == []  # no root is above them
    assert plan(roots=["https://host/photos"]) == []
    assert plan(roots=["https://host/photos"], prune=True, offline=True) == []
    assert plan(roots=["https://host/photos"], prune=True) == urls[:1]


@pytest.fixture
def remote(tmp_path):
    """One image below https://host."""
    write_store(tmp_path / "remote", [(["a.jpg"], np.eye(1, 16, dtype=np.float32))], root="https://host")
    return Store.open(tmp_path / "remote")


def test_rows_behind_a_url_are_asked_for_only_to_prune(remote, monkeypatch):
    asked = []
    monkeypatch.setattr(planning, "is_lost", lambda place: asked.append(place) or True)
    known, root = KnownImages(remote), remote.roots[0].absolute
    assert len(make_plan([], remote, known, {}, roots=[root]).gone) == 0
    assert len(make_plan([], remote, known, {}, roots=[root], prune=True, offline=True).gone) == 0
    assert asked == []
    assert len(make_plan([], remote, known, {}, roots=[root], prune=True).gone) == 1
    assert len(asked) == 1


def test_what_an_emptied_folder_held_is_gone(store, root):
    known = KnownImages(store)
    assert len(make_plan([], store, known, {}).gone) == 0  # its folder was not looked at
    assert len(make_plan([], store, known, {}, roots=[str(root)]).gone) == 10


def test_a_row_with_an_id_of_a_lists_own_is_not_gone(tmp_path, root):
    write_store(tmp_path / "named", [(["cat", "cat.jpg"], np.eye(2, 16, dtype=np.float32))], root=root)
    store = Store.open(tmp_path / "named")
    known = KnownImages(store)
    plan = make_plan([], store, known, {}, roots=[str(root)], prune=True)
    assert [known.id_of(place) for place in plan.gone] == [b"cat.jpg"]
