from __future__ import annotations

import pytest

from imgret.datasets import load_dataset
from imgret.datasets.gather import listed_image
from imgret.errors import InputError


def test_paths_are_relative_to_the_folder_of_the_table(put, rows):
    put("x/b/1.jpg")
    path = put("x/set.csv", "path,label\nb/1.jpg,dog\na/2.jpg,cat\nb/3.jpg,\n")
    found = load_dataset(path / "x/set.csv")
    assert rows(found) == [("b/1.jpg", "dog"), ("a/2.jpg", "cat"), ("b/3.jpg", None)]
    assert found.classes == ("cat", "dog")
    assert found.splits is None
    assert [image.path for image in found.images] == [
        str(path / "x" / name) for name in ("b/1.jpg", "a/2.jpg", "b/3.jpg")
    ]
    assert {image.root for image in found.images} == {str(path / "x")}


def test_a_root_moves_the_images_and_not_the_ids(put, rows):
    put("elsewhere/1.jpg")
    path = put("set.csv", "path,label\n1.jpg,a\n")
    found = load_dataset(path / "set.csv", root=path / "elsewhere")
    assert rows(found) == [("1.jpg", "a")]
    assert found.images[0].path == str(path / "elsewhere/1.jpg")


def test_an_absolute_or_winding_path_has_the_id_of_the_plain_one():
    for name in ("/r/a/1.jpg", "./a/1.jpg", "a//1.jpg", "b/../a/1.jpg"):
        image = listed_image(name, "/r")
        assert (image.id, image.path) == ("a/1.jpg", "/r/a/1.jpg")


def test_columns_may_come_in_any_order_with_others_between(put, rows):
    put("1.jpg")
    path = put("t.csv", b'\xef\xbb\xbf"Label", Split ,more,PATH\r\n"a, b ",TRAIN,x,1.jpg\r\n\r\nc,,x,"caf\xe9.jpg"\r\n')
    found = load_dataset(path / "t.csv")
    assert rows(found) == [("1.jpg", "a, b"), ("caf\udce9.jpg", "c")]
    assert found.splits.tolist() == ["train", ""]


def test_two_boxes_of_one_image_are_two_images(put, rows):
    put("1.jpg")
    content = "path,label,x1,y1,x2,y2\n1.jpg,a,0,0,10,20\n1.jpg,b,10,0,19.6,20\n1.jpg,c,,,,\n"
    found = load_dataset(put("t.csv", content) / "t.csv")
    assert rows(found) == [("1.jpg#0,0,10,20", "a"), ("1.jpg#10,0,20,20", "b"), ("1.jpg", "c")]
    assert [image.box for image in found.images] == [(0, 0, 10, 20), (10, 0, 20, 20), None]
    assert len({image.path for image in found.images}) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no column path"),
        ("path,lable\n", r"has no column label \(did you mean lable\?\)"),
        ("path,label\n", "lists no images"),
        ("path,label\na,x\n,y\n", "line 3: the path is empty"),
        ("path,label\na,x\nb\n", "line 3: 1 fields for 2 columns"),
        ("path,label\na,x,y\n", "line 2: 3 fields for 2 columns"),
        ("path,label\na,x\nb,x\na,y\n", "lists a twice, on lines 2 and 4"),
        ('path,label\na,"x\n', "not a CSV line"),
        ("path,label,x1,y1\na,x,1,2\n", "a box needs all four"),
        ("path,label,x1,y1,x2,y2\na,x,1,2,,4\n", "line 2: x1,y1,x2,y2 must be four numbers, got '1,2,,4'"),
        ("path,label,x1,y1,x2,y2\na,x,1,2,nan,4\n", "line 2: x1,y1,x2,y2 must be four numbers"),
        ("path,label,x1,y1,x2,y2\na,x,5,2,5,4\n", "line 2: the box 5,2,5,4 is empty or begins outside"),
        ("path,label,x1,y1,x2,y2\na,x,5,4,6,4\n", "line 2: the box 5,4,6,4 is empty"),
        ("path,label,x1,y1,x2,y2\na,x,-1,2,5,4\n", "line 2: the box -1,2,5,4 is empty or begins outside"),
        ("path,label,x1,y1,x2,y2\na,x,1,-2,5,4\n", "line 2: the box 1,-2,5,4 is empty or begins outside"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_in_one_line(put, content, message):
    put("a")
    with pytest.raises(InputError, match=message) as raised:
        load_dataset(put("t.csv", content) / "t.csv")
    assert "\n" not in str(raised.value)


def test_a_box_may_begin_at_the_corner_of_the_image(put):
    put("a")
    found = load_dataset(put("t.csv", "path,label,x1,y1,x2,y2\na,x,0,0,1,1\n") / "t.csv")
    assert found.images[0].box == (0, 0, 1, 1)


def test_all_images_missing_is_an_error_at_once_and_a_few_are_not(put):
    content = "path,label\n" + "".join(f"{i}.jpg,a\n" for i in range(100))
    path = put("t.csv", content)
    # every 6th of 100 is looked for (100 // 16 = 6): 0, 6, ..., 96 are 17
    with pytest.raises(
        InputError, match=r"17 of 17 images looked for, of 100, listed in .* missing, the first is .*/0\.jpg"
    ):
        load_dataset(path / "t.csv")
    put("96.jpg")
    assert len(load_dataset(path / "t.csv")) == 100


def test_check_looks_for_every_image_and_counts_those_missing(put):
    put("0.jpg")
    put("2.jpg")
    path = put("t.csv", "path,label\n" + "".join(f"{i}.jpg,a\n" for i in range(5)))
    with pytest.raises(
        InputError, match=r"^3 of 5 images listed in .*t\.csv are missing, the first is .*/1\.jpg; name"
    ):
        load_dataset(path / "t.csv", check=True)


def test_only_check_tells_the_size_of_images(put):
    put("0.jpg", b"12345")
    path = put("t.csv", "path,label\n0.jpg,a\n")
    unseen = load_dataset(path / "t.csv").images[0]
    seen = load_dataset(path / "t.csv", check=True).images[0]
    assert (unseen.bytes, unseen.mtime_ns, unseen.missing) == (0, 0, False)
    assert (seen.bytes, seen.mtime_ns) == (5, (path / "0.jpg").stat().st_mtime_ns)


def test_a_large_table_is_read_a_line_at_a_time(put):
    import tracemalloc

    put("00000.jpg")
    path = put("t.csv", "path,label\n" + "".join(f"{i:05d}.jpg,{i % 100}\n" for i in range(20_000)))
    tracemalloc.start()
    try:
        found = load_dataset(path / "t.csv")
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.classes) == 100
    # an image is an object, an id, a path and a label; the rest passes through
    assert held / 20_000 < 450
    assert peak / 20_000 < 700
