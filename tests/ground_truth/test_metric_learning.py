"""SOP, CUB and In-shop: the images to test on, of which those of one class answer each other."""

from __future__ import annotations

import pytest

from imgret.errors import GroundTruthError
from imgret.ground_truth import cub, inshop, load, sop

PRODUCTS = b"image_id class_id super_class_id path\n1 7 1 mug/1.JPG\n2 8 1 mug/2.JPG\n3 7 1 mug/3.JPG\n"
CLOTHES = b"""5
image_name item_id evaluation_status
img/a/1.jpg id_1 train
img/b/1.jpg id_2   query
img/b/2.jpg id_2 gallery
img/b/3.jpg id_2 gallery
img/c/1.jpg id_3 query
"""


def test_products_ask_for_their_other_pictures(answers):
    truth = sop.read("Ebay_test.txt", PRODUCTS)
    assert answers(truth) == {"mug/1.JPG": ["mug/3.JPG"], "mug/2.JPG": [], "mug/3.JPG": ["mug/1.JPG"]}
    assert (truth.rules.recall_at, truth.rules.headline) == ((1, 10, 100, 1000), "recall@1")
    assert truth.rules.measures == ("r_precision", "map@r")


def test_a_list_of_products_has_its_header_and_no_image_twice():
    with pytest.raises(GroundTruthError, match="must begin with image_id class_id super_class_id path, got '1 7 1"):
        sop.read("Ebay_test.txt", PRODUCTS.split(b"\n", 1)[1])
    with pytest.raises(GroundTruthError, match=r"line 5: mug/1\.JPG stands on line 2 already"):
        sop.read("Ebay_test.txt", PRODUCTS + b"4 7 1 mug/1.JPG\n")
    with pytest.raises(GroundTruthError, match=r"line 5: 1 stands on line 2 already"):
        sop.read("Ebay_test.txt", PRODUCTS + b"1 7 1 mug/9.JPG\n")


def test_birds_after_the_hundredth_species_are_tested(put, answers):
    birds = "1 100.Pelican/a.jpg\n2 101.Pewee/b.jpg\n3 200.Yellowthroat/c.jpg\n4 101.Pewee/d.jpg\n"
    truth = load(put({"images.txt": birds, "image_class_labels.txt": "1 100\n2 101\n3 200\n4 101\n"}))
    assert answers(truth) == {
        "101.Pewee/b.jpg": ["101.Pewee/d.jpg"],
        "200.Yellowthroat/c.jpg": [],
        "101.Pewee/d.jpg": ["101.Pewee/b.jpg"],
    }
    assert (truth.rules.recall_at, truth.rules.headline) == ((1, 2, 4, 8), "recall@1")


def test_a_bird_without_a_species_is_named(put):
    path = put({"images.txt": "1 101.Pewee/b.jpg\n", "image_class_labels.txt": "2 101\n"})
    with pytest.raises(GroundTruthError, match=r"images\.txt, line 1: image 1 has no class in image_class_labels\.txt"):
        cub.read(path)


@pytest.mark.parametrize(
    ("images", "classes", "message"),
    [
        ("1 a.jpg\n1 b.jpg\n", "1 101\n", r"images\.txt, line 2: 1 stands on line 1 already"),
        ("1 a.jpg\n", "1 101\n1 102\n", r"image_class_labels\.txt, line 2: 1 stands on line 1 already"),
        ("1 a.jpg\n", "1 101\n2 101\n", r"has a class for image 2, which is not in images\.txt"),
        ("1 a.jpg\n", f"1 {'9' * 5000}\n", r"images\.txt, line 1: image 1 has no class"),
    ],
)
def test_lists_of_birds_that_do_not_fit_each_other_are_refused(put, images, classes, message):
    with pytest.raises(GroundTruthError, match=message):
        cub.read(put({"images.txt": images, "image_class_labels.txt": classes}))


def test_clothes_of_the_queries_are_sought_in_the_gallery_alone(answers):
    truth = inshop.read("list_eval_partition.txt", CLOTHES)
    assert truth.database == ["img/b/2.jpg", "img/b/3.jpg"]
    assert answers(truth) == {"img/b/1.jpg": ["img/b/2.jpg", "img/b/3.jpg"], "img/c/1.jpg": []}
    assert truth.rules.recall_at == (1, 10, 20, 30, 40, 50)


def test_what_is_wrong_with_the_list_of_clothes_is_said():
    with pytest.raises(GroundTruthError, match=r"line 8: img/b/1\.jpg stands on line 4 already"):
        inshop.read("l.txt", b"6" + CLOTHES[1:] + b"img/b/1.jpg id_2 gallery\n")
    with pytest.raises(GroundTruthError, match="line 8: 'val' is none of train, query, gallery"):
        inshop.read("l.txt", b"6" + CLOTHES[1:] + b"img/b/9.jpg id_2 val\n")
    with pytest.raises(GroundTruthError, match="says that it lists 5 images, and lists 4: it is not whole"):
        inshop.read("l.txt", CLOTHES.replace(b"img/c/1.jpg id_3 query\n", b""))
    for headless in (CLOTHES.partition(b"\n")[2], b"img/a/1.jpg id_1 train\n", b""):
        with pytest.raises(GroundTruthError, match="must begin with the number of its images"):
            inshop.read("l.txt", headless)
