from __future__ import annotations

import pytest

from imgret.errors import GroundTruthError
from imgret.ground_truth import load

ORIGINALS = ["original/200000.jpg", "original/200100.jpg", "original/200200.jpg"]


@pytest.fixture
def copydays(put):
    copies = ["strong/200001.jpg", "strong/200002.jpg", "strong/200203.jpg", "jpegqual/3/200100.jpg"]
    copies += ["jpegqual/75/200000.jpg", "jpegqual/75/200200.jpg", "crops/5/200200.jpg", "crops/50/200100.jpg"]
    return put(dict.fromkeys([*ORIGINALS, *copies, "original/readme.txt"], ""))


def test_every_folder_is_a_subset_in_order_of_its_grade(copydays):
    assert list(load(copydays).subsets) == ["original", "strong", "jpeg-3", "jpeg-75", "crops-5", "crops-50"]


def test_the_database_is_the_originals_alone(copydays):
    assert load(copydays).database == ORIGINALS


def test_strong_copies_answer_to_the_first_four_characters(copydays, answers):
    assert answers(load(copydays), "strong") == {
        "strong/200001.jpg": ["original/200000.jpg"],
        "strong/200002.jpg": ["original/200000.jpg"],
        "strong/200203.jpg": ["original/200200.jpg"],
    }


def test_copies_answer_to_their_name_also_when_some_are_missing(copydays, answers):
    # by place in the folder, as a public script has it, 200200 would answer to 200100
    assert answers(load(copydays), "jpeg-75") == {
        "jpegqual/75/200000.jpg": ["original/200000.jpg"],
        "jpegqual/75/200200.jpg": ["original/200200.jpg"],
    }


def test_the_originals_ask_for_themselves(copydays, answers):
    assert answers(load(copydays), "original") == {name: [name] for name in ORIGINALS}


def test_twenty_places_count(copydays):
    assert load(copydays).rules.ap_text == "trapezoid@20"


def test_folders_may_be_named_as_they_were_packed(put, answers):
    truth = load(put(dict.fromkeys(["original/200000.jpg", "jpeg/8/200000.jpg", "crop/10/200000.jpg"], "")))
    assert list(truth.subsets) == ["original", "jpeg-8", "crops-10"]
    assert answers(truth, "crops-10") == {"crop/10/200000.jpg": ["original/200000.jpg"]}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["original/readme.txt"], "has no images in original"),
        (["original/200000.jpg", "strong/200100.jpg"], r"the copy strong/200100\.jpg is of none in original"),
        (
            ["original/200000.jpg", "original/200001.jpg", "strong/200002.jpg"],
            r"the copy strong/200002\.jpg could be of original/200000\.jpg or original/200001\.jpg",
        ),
        (
            ["original/200000.jpg", "jpeg/3/200000.jpg", "jpegqual/3/200000.jpg"],
            r"has jpeg/3 and jpegqual/3: which of them counts\?",
        ),
    ],
)
def test_what_is_wrong_is_said(put, names, message):
    with pytest.raises(GroundTruthError, match=message):
        load(put(dict.fromkeys(names, "")), "copydays")
