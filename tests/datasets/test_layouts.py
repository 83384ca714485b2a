from __future__ import annotations

import pytest

from imgret.datasets import DATASETS, load_dataset
from imgret.datasets.detect import detect
from imgret.errors import InputError, UnknownNameError


@pytest.fixture
def gldv2(put):
    for name in ("0/1/2/0123.jpg", "a/b/c/abcd.jpg", "a/b/c/abce.jpg", "f/f/f/ffff.jpg"):
        put(name)
    return put("train_clean.csv", "landmark_id,images\n7,0123 abcd\n10,abce\n6,ffff\n")


@pytest.fixture
def sop(put):
    heading = "image_id class_id super_class_id path\n"
    put("Ebay_train.txt", heading + "1 1 1 bicycle_final/1_0.JPG\n2 1 1 bicycle_final/1_1.JPG\n")
    put("bicycle_final/1_0.JPG")
    return put("Ebay_test.txt", heading + "3 11319 1 mug_final/3_0.JPG\n")


@pytest.fixture
def cub(put):
    put("images.txt", "1 001.Albatross/a.jpg\n2 100.Pelican/b.jpg\n3 101.Pewee/c.jpg\n")
    put("image_class_labels.txt", "1 1\n2 100\n3 101\n")
    put("images/001.Albatross/a.jpg")
    return put("classes.txt", "1 001.Albatross\n100 100.Pelican\n101 101.Pewee\n")


@pytest.fixture
def inshop(put):
    put("Img/img/a.jpg")
    lines = "img/a.jpg id_1 train\nimg/b.jpg  id_2   query\nimg/c.jpg id_2 gallery\n"
    return put("Eval/list_eval_partition.txt", "3\nimage_name item_id evaluation_status\n" + lines)


def test_class_folders_are_named_by_the_first_folder_below_the_root(put, rows):
    for name in (
        "dog/1.jpg",
        "dog/puppies/2.jpg",
        "cat/3.jpg",
        "loose.jpg",
        ".hidden/4.jpg",
        "cat/.5.jpg",
        "cat/x.txt",
    ):
        path = put(name)
    assert detect(path) == "folders"
    found = load_dataset(path)
    assert rows(found) == [
        ("cat/3.jpg", "cat"),
        ("dog/1.jpg", "dog"),
        ("dog/puppies/2.jpg", "dog"),
        ("loose.jpg", None),
    ]
    assert found.splits is None
    assert found.images[0].path == str(path / "cat/3.jpg")


def test_class_folders_below_a_root_keep_their_classes(put, rows):
    put("set/cat/1.jpg")
    path = put("set/2.jpg")
    assert rows(load_dataset(path / "set", root=path)) == [("set/2.jpg", None), ("set/cat/1.jpg", "cat")]


def test_a_folder_without_images_says_so(tmp_path):
    with pytest.raises(InputError, match="no images found in"):
        load_dataset(tmp_path)


def test_a_labels_csv_in_a_folder_goes_before_class_folders(put, rows):
    put("jpg/1.jpg")
    path = put("labels.csv", "path,label\njpg/1.jpg,tower\n")
    assert rows(load_dataset(path)) == [("jpg/1.jpg", "tower")]


def test_gldv2_lies_in_folders_of_the_first_three_letters(gldv2, rows):
    assert detect(gldv2) == detect(gldv2 / "train_clean.csv") == "gldv2"
    found = load_dataset(gldv2, check=True)
    assert rows(found) == [
        ("0/1/2/0123.jpg", "7"),
        ("a/b/c/abcd.jpg", "7"),
        ("a/b/c/abce.jpg", "10"),
        ("f/f/f/ffff.jpg", "6"),
    ]
    assert found.classes == ("10", "6", "7")  # sorted as text


def test_gldv2_looks_in_the_folder_train_when_there_is_one(put):
    put("train/a/b/c/abcd.jpg")
    found = load_dataset(put("train_clean.csv", "landmark_id,images\n1,abcd\n"), check=True)
    assert (found.images[0].id, found.images[0].bytes) == ("a/b/c/abcd.jpg", 0)
    assert found.images[0].root.endswith("/train")


def test_a_landmark_of_very_many_images_is_read(put):
    # the csv module refuses fields beyond 131,072 characters: 8,000 ids of 16 and a space are 136,000
    names = [f"{i:016x}" for i in range(8000)]
    put("0/0/0/" + names[0] + ".jpg")
    found = load_dataset(put("train_clean.csv", f"landmark_id,images\n1,{' '.join(names)}\n"))
    assert found.counts().tolist() == [8000]


def test_a_byte_order_mark_and_windows_lines_are_read(put, rows):
    put("a/b/c/abcd.jpg")
    path = put("train_clean.csv", b"\xef\xbb\xbflandmark_id,images\r\n1,abcd\r\n")
    assert detect(path / "train_clean.csv") == "gldv2"
    assert rows(load_dataset(path)) == [("a/b/c/abcd.jpg", "1")]


def test_landmarks_and_images_can_be_excluded(gldv2, put, rows):
    put("out.txt", "7\n\nffff\r\nnot-in-the-set\n")
    assert rows(load_dataset(gldv2, exclude=gldv2 / "out.txt")) == [("a/b/c/abce.jpg", "10")]


def test_an_exclusion_list_that_excludes_nothing_is_an_error(gldv2, put):
    put("out.txt", "https://example.org\n")
    with pytest.raises(InputError, match=r"nothing that .*out\.txt excludes is in .*train_clean\.csv"):
        load_dataset(gldv2, exclude=gldv2 / "out.txt")
    with pytest.raises(InputError, match=r"gone\.txt cannot be read"):
        load_dataset(gldv2, exclude=gldv2 / "gone.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,url,landmark_id\n", "must begin with landmark_id,images"),
        ("landmark_id,images\n", "lists no images"),
        ("landmark_id,images\n1,abcd\n2\n", "line 3: expected a landmark id, a comma and image ids"),
        ("landmark_id,images\n1,\n", "line 2: expected"),
        ("landmark_id,images\n,abcd\n", "line 2: expected"),
        ("landmark_id,images\n1,ab\n", "line 2: expected"),
        ("landmark_id,images\n1,abcd\n2,abce abcd\n", r"lists a/b/c/abcd\.jpg twice, on lines 2 and 3"),
    ],
)
def test_what_is_wrong_with_the_list_of_landmarks_is_said(put, content, message):
    put("a/b/c/abcd.jpg")
    with pytest.raises(InputError, match=message):
        load_dataset(put("train_clean.csv", content), "gldv2")


def test_online_products_have_their_official_splits(sop, rows):
    assert detect(sop) == "sop"
    found = load_dataset(sop)
    assert rows(found) == [
        ("bicycle_final/1_0.JPG", "1"),
        ("bicycle_final/1_1.JPG", "1"),
        ("mug_final/3_0.JPG", "11319"),
    ]
    assert found.splits.tolist() == ["train", "train", "test"]


def test_half_of_online_products_says_what_is_missing_and_where_to_get_it(sop):
    (sop / "Ebay_test.txt").unlink()
    with pytest.raises(
        InputError, match=r"has no Ebay_test\.txt.* It needs .* Get it from https://cvgl\.stanford\.edu"
    ):
        load_dataset(sop)


def test_birds_are_split_after_the_hundredth_species(cub, rows):
    assert detect(cub) == "cub"
    found = load_dataset(cub)
    assert rows(found) == [
        ("001.Albatross/a.jpg", "001.Albatross"),
        ("100.Pelican/b.jpg", "100.Pelican"),
        ("101.Pewee/c.jpg", "101.Pewee"),
    ]
    assert found.splits.tolist() == ["train", "train", "test"]
    assert found.images[0].path == str(cub / "images/001.Albatross/a.jpg")


def test_a_bird_without_a_species_is_named(cub, put):
    put("image_class_labels.txt", "1 1\n3 101\n")
    with pytest.raises(InputError, match=r"images\.txt, line 2: image 2 has no class"):
        load_dataset(cub)


def test_clothes_are_learned_from_asked_for_and_answered_with(inshop, rows):
    assert detect(inshop) == "inshop"
    found = load_dataset(inshop)
    assert rows(found) == [("img/a.jpg", "id_1"), ("img/b.jpg", "id_2"), ("img/c.jpg", "id_2")]
    assert found.splits.tolist() == ["train", "query", "gallery"]
    assert found.images[0].path == str(inshop / "Img/img/a.jpg")


def test_clothes_may_lie_beside_their_list(put):
    put("img/a.jpg")
    path = put("list_eval_partition.txt", "1\nimage_name item_id evaluation_status\nimg/a.jpg id_1 train\n")
    assert load_dataset(path).images[0].path == str(path / "img/a.jpg")


def test_the_list_of_another_part_of_deepfashion_is_refused(inshop, put):
    put("Eval/list_eval_partition.txt", "1\nimage_name item_id evaluation_status\nimg/a.jpg id_1 val\n")
    with pytest.raises(InputError, match="line 3: 'val' is none of train, query, gallery"):
        load_dataset(inshop)
    put("Eval/list_eval_partition.txt", "1\nimage_name evaluation_status\nimg/a.jpg train\n")
    with pytest.raises(
        InputError,
        match="must begin with the number of its images and then a line image_name item_id evaluation_status",
    ):
        load_dataset(inshop)


@pytest.mark.parametrize("format", ["gldv2", "sop", "cub", "inshop", "sfm"])
def test_an_empty_folder_says_what_must_lie_where_and_where_to_get_it(tmp_path, format):
    with pytest.raises(InputError) as raised:
        load_dataset(tmp_path, format)
    message = str(raised.value)
    assert DATASETS[format].layout in message
    assert DATASETS[format].where in message
    assert "\n" not in message


def test_a_path_that_is_not_there_is_told_from_one_that_lacks_something(tmp_path):
    with pytest.raises(InputError, match=r"gone: no such file or folder\. A training set is a folder or a CSV file"):
        load_dataset(tmp_path / "gone")
    with pytest.raises(InputError, match=r"gone: no such file or folder\. A cub set needs .* Get it from https"):
        load_dataset(tmp_path / "gone", "cub")


def test_a_file_of_no_known_kind_lists_the_formats(put):
    with pytest.raises(InputError, match="cannot tell what training set .* folders, table, gldv2"):
        load_dataset(put("readme.md") / "readme.md")


def test_a_folder_of_two_layouts_is_not_guessed(sop, put):
    put("labels.csv", "path,label\n")
    with pytest.raises(InputError, match="could be sop or table; say which with the format"):
        load_dataset(sop)
    assert len(load_dataset(sop, "sop")) == 3


def test_unknown_formats_and_options_are_met_with_the_nearest(tmp_path, gldv2):
    with pytest.raises(UnknownNameError, match=r"unknown dataset format 'gldv' \(did you mean gldv2\?\)"):
        load_dataset(tmp_path / "gone", "gldv")
    with pytest.raises(UnknownNameError, match=r"gldv2 has no option 'exlude' \(did you mean exclude\?\)"):
        load_dataset(gldv2, exlude="x")


def test_every_row_of_the_table_has_a_reader():
    from imgret.tables import resolve

    for card in DATASETS.values():
        assert callable(resolve(card.reader))
