from __future__ import annotations

import pytest

from imgret.errors import GroundTruthError
from imgret.ground_truth.names import match, match_and_count, stem, unboxed
from imgret.ids import IdTable


def rows(names, ids):
    return match(names, IdTable.of(ids)).tolist()


def test_by_path_first():
    assert rows(["b/1.jpg", "a/1.jpg"], ["a/1.jpg", "b/1.jpg"]) == [1, 0]


def test_by_stem_when_published_without_folder_and_extension():
    assert rows(["all_souls_000013"], ["x.jpg", "oxford/jpg/all_souls_000013.jpg"]) == [1]


def test_by_stem_from_another_root_or_with_another_extension():
    assert rows(["jpg/castle.jpg"], ["castle.png"]) == [0]


def test_what_is_not_there_is_minus_one():
    assert rows(["a", "b"], ["b.jpg"]) == [-1, 0]
    assert rows(["a"], []) == [-1]
    assert rows([], ["a"]) == []


def test_a_stem_two_images_have_is_reported_with_both():
    with pytest.raises(GroundTruthError, match=r"a/1\.jpg or b/1\.jpg"):
        rows(["1"], ["a/1.jpg", "b/1.jpg"])


def test_two_names_that_claim_one_image_are_reported():
    with pytest.raises(GroundTruthError, match=r"a/1\.jpg and b/1\.jpg could both be 1\.jpg"):
        rows(["a/1.jpg", "b/1.jpg"], ["1.jpg"])


def test_an_image_meant_by_path_is_not_also_meant_by_stem():
    assert rows(["a/1.jpg", "b/1.jpg"], ["a/1.jpg"]) == [0, -1]


def test_a_bare_name_with_a_dot_is_tried_whole_first():
    assert rows(["hotel.2", "hotel.3"], ["hotel.3.jpg", "hotel.2.jpg", "hotel.jpg"]) == [1, 0]


def test_the_box_of_an_id_is_no_part_of_its_name():
    assert unboxed("a/b.jpg#1,2,30.5,40") == "a/b.jpg"
    assert unboxed("a/b#1.jpg") == "a/b#1.jpg"
    assert stem("a/b.jpg#1,2,30.5,40") == "b"
    assert rows(["b"], ["a/b.jpg#1,2,30.5,40"]) == [0]


def test_names_that_are_not_utf8_match():
    assert rows(["caf\udce9"], [b"x/caf\xe9.jpg"]) == [0]


def test_hidden_files_keep_their_stem():
    assert stem("a/.hidden") == ".hidden"


def test_the_same_name_in_another_folder_is_another_image():
    assert rows(["b/1.jpg"], ["z/1.jpg"]) == [-1]
    assert rows(["img/W/id2/front.jpg"], ["img/W/id1/front.jpg"]) == [-1]
    # the same folder, seen from another root
    assert rows(["jpg/1.jpg", "2.jpg"], ["oxford/jpg/1.png", "oxford/jpg/2.png"]) == [0, 1]


def test_a_number_after_a_dot_is_no_extension():
    assert stem("d.1") == "d.1"
    assert rows(["d.3"], ["d.1", "d.2"]) == [-1]
    assert rows(["d.3", "d.1"], ["d.1", "d.3"]) == [1, 0]


def test_names_matched_by_stem_alone_are_counted():
    found, by_stem = match_and_count(["a/1.jpg", "2", "3"], IdTable.of(["a/1.jpg", "a/2.jpg"]))
    assert (found.tolist(), by_stem) == ([0, 1, -1], 1)
