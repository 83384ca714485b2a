from __future__ import annotations

import asyncio
import io
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgret.images.decode import Undecodable
from imgret.images.image_file import ImageFile
from imgret.serve import pictures
from imgret.serve.decode_worker import Picture
from imgret.serve.pictures import Pictures, Shown
from imgret.serve.problems import Problem
from imgret.serve.uploads import Upload, Uploads
from tests.pictures import save


class Decoders:
    """Decodes at once, without a process, and keeps what it was asked for."""

    def __init__(self):
        self.jobs = []
        self.answer = None

    async def __call__(self, job):
        self.jobs.append(job)
        await asyncio.sleep(0.01)
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not None:
            return self.answer
        with Image.open(job.image.path) as picture:
            size, small, file = picture.size, picture.convert("RGB"), io.BytesIO()
        small.thumbnail((job.rule.size, job.rule.size))
        small.save(file, "JPEG")
        return Picture(file.getvalue(), *size, os.path.getsize(job.image.path))


@pytest.fixture
def decoders():
    return Decoders()


@pytest.fixture
def photo(tmp_path):
    return image(save(tmp_path / "photos", "a.png", 1))


@pytest.fixture
def make(tmp_path, decoders):
    """Pictures as after a start, kept in a folder or in no folder."""

    def start(folder=tmp_path / "cache", most_bytes=1 << 20):
        return Pictures(decoders, folder, most_bytes, 100_000_000)

    return start


def image(path):
    return ImageFile(path.name, str(path), "", 0, 0)


def get(made, *images, side=160):
    """What is shown of some images asked for at once."""

    async def all_of_them():
        return await asyncio.gather(*(made.picture(one, side) for one in images))

    return asyncio.run(all_of_them())


def kept(folder):
    return [path for path in Path(folder).rglob("*") if path.is_file()]


def test_a_picture_is_a_small_jpeg_with_what_is_known_of_its_file(make, decoders, photo):
    (found,) = get(make(), photo, side=32)
    assert Image.open(io.BytesIO(found.jpeg)).size == (32, 24)
    assert (found.width, found.height, found.bytes) == (64, 48, os.path.getsize(photo.path))
    assert decoders.jobs[0].jpeg
    assert decoders.jobs[0].rule.max_pixels == 100_000_000


def test_it_is_given_again_after_a_start_without_decoding(make, decoders, photo):
    first = get(make(), photo)
    again = make()
    assert again.held == sum(path.stat().st_size for path in kept(again._folder)) > 0
    assert get(again, photo) == get(again, photo) == first
    assert len(decoders.jobs) == 1


def test_two_who_ask_at_a_time_have_it_made_once(make, decoders, photo):
    made = make(None)
    found = get(made, *[photo] * 5)
    assert found == [found[0]] * 5
    assert len(decoders.jobs) == 1
    assert not made._making


def test_whoever_goes_away_leaves_it_to_the_others(make, decoders, photo):
    made = make(None)

    async def ask():
        first, second = (asyncio.ensure_future(made.picture(photo, 160)) for _ in range(2))
        await asyncio.sleep(0.005)
        first.cancel()
        return await second

    assert isinstance(asyncio.run(ask()), Shown)
    assert len(decoders.jobs) == 1


def test_every_size_and_every_box_is_a_picture_of_its_own(make, decoders, photo):
    made = make()
    get(made, photo, side=32)
    get(made, photo, side=48)
    get(made, ImageFile(photo.id, photo.path, "", 0, 0, (0, 0, 9, 9)), side=48)
    get(made, ImageFile(photo.id, photo.path, "", 0, 0, None, 512), side=48)  # a member of an archive
    assert len(decoders.jobs) == len(kept(made._folder)) == 4


def test_a_file_that_changed_has_a_new_picture(make, decoders, photo):
    made = make()
    (before,) = get(made, photo)
    Image.new("RGB", (10, 20), "red").save(photo.path)
    (after,) = get(made, photo)
    assert (after.width, after.height) == (10, 20) != (before.width, before.height)
    os.utime(photo.path, ns=(1, 1))  # the same bytes, written again
    get(made, photo)
    assert len(decoders.jobs) == 3


def test_a_file_that_is_gone_has_none_though_one_was_kept(make, decoders, photo):
    made = make()
    get(made, photo)
    os.unlink(photo.path)
    assert get(made, photo) == [Undecodable("missing", "file not found")]
    assert get(made, ImageFile("a", "a\0b", "", 0, 0)) == [Undecodable("missing", "file not found")]
    assert len(decoders.jobs) == 1


def test_more_than_the_bound_is_not_kept_and_the_longest_unused_goes_first(make, decoders, tmp_path):
    images = [image(save(tmp_path / "photos", f"{number}.png", number)) for number in range(40)]
    size = len(get(make(None), images[0])[0].jpeg) + 100
    made = make(most_bytes=10 * size)
    for number, one in enumerate(images):
        get(made, one)
        for age, path in enumerate(sorted(kept(made._folder), key=os.path.getmtime)):
            os.utime(path, (1000 + age, 1000 + age))  # in their order, whatever the clock's steps are
        first = get(make(), images[0])  # used again and again
        assert isinstance(first[0], Shown)
        on_disk = sum(path.stat().st_size for path in kept(made._folder))
        assert on_disk <= 10 * size, number
        assert made.held >= on_disk - size
    asked = len(decoders.jobs)
    get(make(), images[0])
    assert len(decoders.jobs) == asked  # still there, for it was in use
    get(make(), images[1])
    assert len(decoders.jobs) == asked + 1


def test_in_memory_is_a_bound_too(make, decoders, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "_IN_MEMORY", 3)
    made = make(None)
    for number in range(8):
        get(made, image(save(tmp_path / "photos", f"{number}.png", number)))
    assert len(made._recent) == 3


DAMAGE = {
    "empty": lambda head, jpeg: b"",
    "a line": lambda head, jpeg: b"\n",
    "half": lambda head, jpeg: head + b"\n" + jpeg[: len(jpeg) // 2],
    "without its end": lambda head, jpeg: head + b"\n" + jpeg[:-1],
    "without its head": lambda head, jpeg: jpeg,
    "deep": lambda head, jpeg: b"[" * 50_000 + b"\n" + jpeg,
    "null": lambda head, jpeg: b"null\n" + jpeg,
    "a list": lambda head, jpeg: b"[]\n" + jpeg,
    "endless": lambda head, jpeg: b'{"width": 1e999, "height": 1, "bytes": 1}\n' + jpeg,
    "no width": lambda head, jpeg: b'{"width": null, "height": 1, "bytes": 1}\n' + jpeg,
    "other bits": lambda head, jpeg: b"\xff" * 500,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_kept_picture_that_is_damaged_is_made_anew(make, decoders, photo, damage):
    first = get(make(), photo)
    (path,) = kept(make()._folder)
    whole = path.read_bytes()
    head, _, jpeg = whole.partition(b"\n")
    path.write_bytes(damage(head, jpeg))
    assert get(make(), photo) == first
    assert len(decoders.jobs) == 2
    assert path.read_bytes() == whole


def test_without_a_cache_nothing_is_written(make, decoders, photo, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    made = make(None)
    get(made, photo)
    get(made, photo)
    assert len(decoders.jobs) == 1  # in memory it is
    assert sorted(tmp_path.rglob("*")) == before
    assert made.held == 0


@pytest.mark.parametrize("obstacle", ["a file", "a file in place of a part", "no right"])
def test_where_nothing_can_be_kept_pictures_are_shown_all_the_same(
    make, decoders, photo, tmp_path, obstacle, monkeypatch
):
    folder = tmp_path / "cache"
    if obstacle == "a file":
        folder.write_text("in the way")
    elif obstacle == "no right":

        def refuse(*_, **__):
            raise PermissionError(13, "Permission denied")

        for name in ("mkdir", "write_bytes", "unlink"):
            monkeypatch.setattr(Path, name, refuse)
    else:
        folder.mkdir()
        (folder / "pictures").write_text("in the way")
    made = make()
    assert isinstance(get(made, photo)[0], Shown)
    assert made.held == 0
    assert isinstance(get(make(), photo)[0], Shown)
    assert len(decoders.jobs) == 2


def test_what_cannot_be_removed_is_no_hindrance(make, decoders, tmp_path, monkeypatch):
    made = make(most_bytes=1000)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    for number in range(5):
        assert isinstance(get(made, image(save(tmp_path / "photos", f"{number}.png", number)))[0], Shown)


@pytest.mark.skipif(os.name != "posix", reason="rights of POSIX")
def test_others_on_this_machine_cannot_look_at_what_is_kept(make, photo):
    before = os.umask(0o022)
    try:
        made = make()
        get(made, photo)
    finally:
        os.umask(before)
    assert stat.S_IMODE(made._folder.stat().st_mode) == 0o700


def test_why_there_is_no_picture_is_asked_anew_each_time(make, decoders, photo):
    made = make()
    decoders.answer = Undecodable("too_slow", "it takes longer than 10 s to decode")
    assert get(made, photo, photo) == [decoders.answer] * 2
    decoders.answer = Problem(503, "busy", "too many")
    with pytest.raises(Problem, match="too many"):
        get(made, photo)
    decoders.answer = None
    assert isinstance(get(made, photo)[0], Shown)
    assert not made._making


def test_a_picture_that_is_being_written_is_not_taken_for_one(make, decoders, photo):
    made = make()
    get(made, photo)
    (path,) = kept(made._folder)
    part = path.with_suffix(".1.2.part")
    part.write_bytes(path.read_bytes()[:100])
    path.unlink()
    assert isinstance(get(make(), photo)[0], Shown)
    assert len(decoders.jobs) == 2
    assert make().held == path.stat().st_size + 100  # what a crash left counts, and is cleared up like any


# --- uploads


def test_the_last_uploads_are_kept_and_the_longest_unused_goes_first():
    uploads = Uploads(most=3, most_bytes=1000)
    keys = [uploads.keep(Upload.of(f"{number}.png", bytes([number]))).key for number in range(3)]
    assert uploads.get(keys[0]).name == "0.png"
    uploads.keep(Upload.of("3.png", b"3"))
    assert [uploads.get(key) is not None for key in keys] == [True, False, True]
    assert uploads.get("none") is None


def test_uploads_take_no_more_bytes_than_they_may_and_the_newest_is_always_there():
    uploads = Uploads(most=10, most_bytes=100)
    for number in range(20):
        newest = uploads.keep(Upload.of("a", bytes([number]) * 40))
        assert sum(len(one.data) for one in uploads._kept.values()) == uploads._bytes <= 100
    large = uploads.keep(Upload.of("a", b"x" * 500))
    assert list(uploads._kept) == [large.key]
    assert uploads.get(newest.key) is None
    assert uploads._bytes == 500


def test_the_same_picture_again_is_one_upload_with_its_new_name_and_its_picture():
    uploads = Uploads()
    first = uploads.keep(Upload.of("old.png", b"abc"))
    first.shown = Shown(b"jpeg", 1, 1, 3)
    again = uploads.keep(Upload.of("new.png", b"abc"))
    assert (again.key, again.name, again.shown) == (first.key, "new.png", first.shown)
    assert len(uploads._kept) == 1
    assert uploads._bytes == 3


def test_a_name_is_cut_from_its_beginning_so_that_its_ending_stays():
    assert Upload.of("x" * 500 + ".png", b"a").name == "x" * 116 + ".png"
    assert Upload.of("", b"a").name == "picture"


def test_pixels_of_a_worker_may_be_written_to():
    from multiprocessing import Pipe

    from imgret.serve.decode_worker import read_answer

    ours, theirs = Pipe()
    theirs.send_bytes(b'{"width": 2, "height": 1, "bytes": 9, "shape": [1, 2]}')
    theirs.send_bytes(bytes(6))
    found = read_answer(ours, 100)
    assert (found.pixels.shape, found.pixels.dtype, found.pixels.flags.writeable) == ((1, 2, 3), np.uint8, True)
