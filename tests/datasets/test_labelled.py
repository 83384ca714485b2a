from __future__ import annotations

import numpy as np
import pytest

from imgret.datasets.checks import need_classes, need_labels, need_pairs, notes
from imgret.datasets.labelled import LabelledImages
from imgret.datasets.pairs import Pairs
from imgret.errors import InputError


def test_classes_without_an_image_left_are_dropped_and_the_others_stay_dense(labelled, rows):
    whole = labelled("c a - b a", "t t v v v")
    part = whole.where(np.array([True, False, True, False, True]))
    assert rows(part) == [("0.jpg", "c"), ("2.jpg", None), ("4.jpg", "a")]
    assert part.classes == ("a", "c")
    assert part.labels.tolist() == [1, -1, 0]
    assert part.labels.dtype == np.int64
    assert part.splits.tolist() == ["t", "v", "v"]


def test_a_set_of_nothing_is_possible(labelled):
    nothing = labelled("a b").where(np.zeros(2, bool))
    assert (len(nothing), nothing.classes, nothing.counts().tolist()) == (0, (), [])


def test_counts_leave_out_images_without_a_label(labelled):
    assert labelled("b a - b - b").counts().tolist() == [1, 3]


def test_a_split_is_chosen_by_name(labelled, rows):
    assert rows(labelled("a b a", "train val val").split("val")) == [("1.jpg", "b"), ("2.jpg", "a")]


def test_an_empty_split_is_an_error_that_lists_the_others(labelled):
    with pytest.raises(
        InputError, match=r"'vall' is empty \(did you mean val\?\); there are: train \(2 .*, val \(1 images\)$"
    ):
        labelled("a b a", "train val train").split("vall")


def test_a_set_without_splits_says_so(labelled):
    with pytest.raises(InputError, match="names no splits, so it has no 'val'; give its table a column split"):
        labelled("a b").split("val")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.array([0, 1], np.int32)}, "labels must be int64"),
        ({"labels": np.array([0], np.int64)}, r"labels must be int64 \[2\]"),
        ({"labels": np.array([0, 2], np.int64)}, "from -1 to 1"),
        ({"labels": np.array([-2, 1], np.int64)}, "from -1 to 1"),
        ({"labels": np.array([0, 0], np.int64)}, "every class must have an image"),
        ({"classes": ("b", "a")}, "sorted"),
        ({"classes": ("a", "a")}, "sorted and distinct"),
        ({"splits": np.array(["train"])}, r"splits must be text \[2\]"),
        ({"splits": np.array([0, 1])}, "splits must be text"),
    ],
)
def test_what_does_not_fit_together_is_a_callers_bug(labelled, change, message):
    good = labelled("a b")
    with pytest.raises(ValueError, match=message):
        LabelledImages(**{"images": good.images, "labels": good.labels, "classes": good.classes, **change})


def test_keep_must_be_true_or_false_for_every_image(labelled):
    for keep in (np.array([0, 1]), np.array([True])):
        with pytest.raises(ValueError, match=r"keep must be bool \[2\]"):
            labelled("a b").where(keep)


def test_notes_name_single_classes_and_count_missing_labels(labelled):
    assert notes(labelled("a a b b")) == []
    assert notes(labelled("a a lone - -")) == [
        "2 of 5 images have no label",
        "1 of 2 classes has one image only: lone",
    ]
    assert notes(labelled("a a e d c b"))[0] == "4 of 5 classes have one image only: b, c, d, ..."


def test_a_class_with_one_image_is_an_error_where_pairs_are_needed(labelled):
    need_pairs(labelled("a a b b -"), "the triplet loss")
    with pytest.raises(
        InputError, match="^the triplet loss needs two images of every class, but 1 of 2 .* have one: b;"
    ):
        need_pairs(labelled("a a b"), "the triplet loss")
    with pytest.raises(InputError, match="no image has a label"):
        need_pairs(labelled("- -"), "the triplet loss")


def test_images_without_a_label_are_an_error_where_labels_are_needed(labelled):
    need_labels(labelled("a b"), "ArcFace")
    with pytest.raises(InputError, match=r"^ArcFace needs a label .* 2 of 3 have none, the first is 1\.jpg;"):
        need_labels(labelled("a - -"), "ArcFace")


def test_fewer_than_two_classes_are_an_error_where_classes_are_needed(labelled):
    need_classes(labelled("a b"), "ArcFace")
    with pytest.raises(InputError, match="^ArcFace needs two classes or more, but no image has a label"):
        need_classes(labelled("-"), "ArcFace")
    with pytest.raises(InputError, match="all labelled images are of one class, a"):
        need_classes(labelled("a a -"), "ArcFace")


def test_pairs_are_rows_of_their_images(labelled):
    images, clusters = labelled("a a b").images, np.array([7, 7, 8])
    pairs = Pairs(images, clusters, np.array([0, 0]), np.array([1, 2]))
    assert len(pairs) == 2
    for queries, positives, message in [([0], [3], "from 0 to 2"), ([-1], [0], "from 0 to 2"), ([0], [1, 2], r"\[1\]")]:
        with pytest.raises(ValueError, match=message):
            Pairs(images, clusters, np.array(queries), np.array(positives))
    with pytest.raises(ValueError, match=r"clusters must be \[3\], got \[2\]"):
        Pairs(images, clusters[:2], np.array([0]), np.array([1]))
