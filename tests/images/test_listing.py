from __future__ import annotations

import gc
import tempfile
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgret.errors import InputError, SpaceError
from imgret.images import listing as listings
from imgret.images.files import ImageFile, Images, Listing
from imgret.images.image_file import Packed

# any bytes but NUL and / may stand in a file's name; in text they are surrogate-escaped
names = st.binary(min_size=1, max_size=12).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
big = st.integers(0, 2**62)
image_files = st.builds(
    ImageFile,
    id=names,
    path=names.map(lambda name: f"/photos/{name}") | st.just("/photos/a.tar"),
    root=st.sampled_from(["/photos", "/", "s3://bucket"]),
    bytes=st.just(-1) | big,
    mtime_ns=st.integers(-(2**40), 2**62),
    box=st.none() | st.tuples(*[st.integers(0, 2**31 - 1)] * 4),
    offset=st.none() | big,
    packed=st.none() | st.builds(Packed, st.integers(0, 99), big, st.integers(0, 2**32 - 1), st.booleans()),
)


def gathered(some: list[ImageFile]) -> Images:
    images = Images()
    for image in some:
        images.append(image)
    return images


def numbered(count: int) -> list[ImageFile]:
    return [ImageFile(f"{n}.jpg", f"/p/{n}.jpg", "/p", n, 10 * n) for n in range(count)]


@given(st.lists(image_files, max_size=30))
def test_what_goes_in_comes_out_by_iterating_indexing_and_slicing(some):
    images = gathered(some)
    assert list(images) == some
    assert list(images) == some  # as often as one likes
    assert [images[row] for row in range(len(images))] == some
    assert images[-2:] == some[-2:]
    assert images[::3] == some[::3]
    assert len(images) == len(some)
    assert bool(images) == bool(some)


def test_a_row_that_is_not_there_is_an_index_error():
    images = gathered(numbered(3))
    assert images[-1].id == "2.jpg"
    with pytest.raises(IndexError):
        images[3]


def test_records_larger_than_what_is_read_at_once_come_out_whole():
    some = [ImageFile("x" * 200_000, "/other", "/p", 1, 2), *numbered(3)]
    images = gathered(some)
    assert list(images) == some
    assert images[0] == some[0]


def test_several_go_through_the_images_at_once_while_more_are_added():
    images = gathered(numbered(2000))
    one, other = iter(images), iter(images)
    assert next(one).id == next(other).id == "0.jpg"
    images.append(ImageFile("new.jpg", "/p/new.jpg", "/p", 1, 2))
    assert [next(one).id for _ in range(1999)] == [f"{n}.jpg" for n in range(1, 2000)]
    assert [next(other).id for _ in range(1999)] == [f"{n}.jpg" for n in range(1, 2000)]
    assert images[-1].id == "new.jpg"


def test_past_a_limit_the_records_go_to_a_file_that_nobody_sees(tmp_path, monkeypatch):
    monkeypatch.setattr(listings, "IN_MEMORY", 10_000)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    some = numbered(5000)
    images = gathered(some)
    assert list(images) == some
    assert images._records._file._rolled
    assert list(tmp_path.iterdir()) == []
    del images
    gc.collect()  # a file left open would warn, and warnings are errors


def test_a_full_disk_says_where_the_room_is_needed(monkeypatch):
    images = gathered(numbered(10))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(images._records._file, "write", full)
    with pytest.raises(SpaceError, match=r"needs more room in .*No space left on device.*TMPDIR"):
        list(images)


def test_memory_is_a_few_bytes_an_image(monkeypatch):
    monkeypatch.setattr(listings, "IN_MEMORY", 1 << 16)
    images = Images()
    images.append(ImageFile("first.jpg", "/p/first.jpg", "/p", 1, 2))
    images[0]  # what is made once is made now
    tracemalloc.start()
    for n in range(20_000):
        images.append(ImageFile(f"folder/{n:08d}.jpg", f"/p/folder/{n:08d}.jpg", "/p", n, n))
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    # 16 bytes an image are 320 kB, the buffers of records 64 kB twice; a list of these objects has 6 MB
    assert held < 700_000


def test_the_path_is_stored_only_where_it_is_not_root_and_id():
    plain, other = Images(), Images()
    plain.append(ImageFile("a" * 100, "/p/" + "a" * 100, "/p", 1, 2))
    other.append(ImageFile("a" * 100, "/elsewhere", "/p", 1, 2))
    assert plain._records._end + len("/elsewhere") == other._records._end


def test_some_rows_can_be_selected_without_copying_their_records():
    images = gathered(numbered(1000))
    chosen = images.select(np.array([999, 3, 500]))
    assert [image.id for image in chosen] == ["999.jpg", "3.jpg", "500.jpg"]
    assert chosen[1].bytes == 3
    assert chosen._records is images._records
    assert len(images.select([])) == 0


def test_repeats_are_found_by_id_and_not_by_hash(monkeypatch):
    images = gathered(numbered(5))
    images._hashes[:] = type(images._hashes)("q", [7] * 5)  # all collide
    assert list(images.repeats()) == []
    images.append(ImageFile("3.jpg", "/q/3.jpg", "/q", 1, 2))
    images.append(ImageFile("3.jpg", "/r/3.jpg", "/r", 1, 2))
    images._hashes[:] = type(images._hashes)("q", [7] * 7)
    assert list(images.repeats()) == [(3, 5), (5, 6)]
    assert list(images.repeats(4)) == [(5, 6)]


def test_the_first_repeat_is_refused_with_both_paths():
    listing = Listing()
    for folder in "xyz":
        for n in (1, 0):
            listing.images.append(ImageFile(f"{n}.jpg", f"/{folder}/{n}.jpg", f"/{folder}", 1, 2))
    with pytest.raises(InputError, match=r"two images have the id 1\.jpg: /x/1\.jpg and /y/1\.jpg; .*--root"):
        listing.refuse_repeats()


def test_of_images_with_one_id_the_last_can_be_kept():
    listing = Listing(found=4)
    for size, name in enumerate(["a", "b", "a", "b"]):
        listing.images.append(ImageFile(name, f"/p/{name}", "/p", size, 0))
    listing.keep_last(1)  # the first one stood there before
    assert [(image.id, image.bytes) for image in listing.images] == [("a", 0), ("a", 2), ("b", 3)]
    assert listing.found == 3
