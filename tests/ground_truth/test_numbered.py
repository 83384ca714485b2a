"""Holidays and UKBench: groups told from the numbers in the names."""

from __future__ import annotations

import pytest

from imgret.errors import GroundTruthError
from imgret.ground_truth import holidays, load, ukbench
from imgret.ground_truth.judgements import Query


def listed(*numbers, name="{:06}.jpg"):
    return "".join(name.format(number) + "\n" for number in numbers).encode()


def test_the_first_of_each_hundred_asks_for_the_others_of_it(answers):
    truth = holidays.read("l.dat", listed(100000, 100001, 100002, 100100, 100101))
    assert answers(truth) == {"100000.jpg": ["100001.jpg", "100002.jpg"], "100100.jpg": ["100101.jpg"]}
    assert truth.rules.ap == "trapezoid"


def test_the_last_group_is_there():
    # a public loader appends a group when the next begins, and so never the last: 499 of 500
    truth = holidays.read(
        "l.dat", listed(*(number for first in range(500) for number in (first * 100, first * 100 + 1)))
    )
    assert len(truth.queries) == 500
    assert truth.judge(499, "all").positives.tolist() == [999]


def test_names_in_any_order_make_the_same_groups(answers):
    one = holidays.read("l.dat", listed(100101, 100001, 100100, 100000, 100002))
    two = holidays.read("l.dat", listed(100000, 100001, 100002, 100100, 100101))
    assert answers(one) == answers(two)
    assert one.database == two.database


def test_the_query_is_in_the_database_but_neither_right_nor_wrong(answers):
    truth = holidays.read("l.dat", listed(100000, 100001))
    assert truth.database == ["100000.jpg", "100001.jpg"]
    assert answers(truth, junk=True) == {"100000.jpg": []}


def test_a_folder_gives_the_names_that_extract_gives(put, answers):
    path = put(dict.fromkeys(("jpg/100001.jpg", "jpg/100000.JPG", "notes.txt", ".hidden/100002.jpg", "._x.jpg"), ""))
    assert answers(load(path)) == {"jpg/100000.JPG": ["jpg/100001.jpg"]}
    first = load(path).sha256
    put({"jpg/100002.jpg": ""})
    assert load(path).sha256 != first


def test_a_query_alone_in_its_group_is_kept(answers):
    assert answers(holidays.read("l.dat", listed(100000, 100100, 100101)))["100000.jpg"] == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (listed(100000, 100101), r"has 100101\.jpg but not its query 100100\.jpg"),
        (listed(100000, 100000), r"100000\.jpg and 100000\.jpg have one number, 100000"),
        (b"100000.jpg\na/100000.png\n", r"100000\.jpg and a/100000\.png have one number"),
        (b"100000.jpg\nflower.jpg\n", r"flower\.jpg is not named as 100000\.jpg is"),
    ],
)
def test_what_is_wrong_with_holidays_is_said(content, message):
    with pytest.raises(GroundTruthError, match=message):
        holidays.read("l.dat", content)


def test_every_image_of_ukbench_asks_for_its_four_itself_included():
    truth = ukbench.read("l.txt", listed(*range(8), name="ukbench{:05}.jpg"))
    assert truth.queries[5] == Query("ukbench00005.jpg")
    assert truth.judge(5, "all").positives.tolist() == [4, 5, 6, 7]
    assert truth.judge(0, "all").positives.tolist() == [0, 1, 2, 3]
    assert truth.judge(0, "all").positives.dtype == "int32"
    assert (truth.rules.measures, truth.rules.headline) == (("n_s_score",), "n_s_score")


def test_ukbench_in_the_order_of_a_disk_has_the_groups_of_its_numbers(answers):
    # unsorted globs mix groups in a public loader
    truth = ukbench.read("l.txt", listed(7, 1, 3, 5, 0, 2, 4, 6, name="full/ukbench{:05}.jpg"))
    assert answers(truth)["full/ukbench00003.jpg"] == [f"full/ukbench{i:05}.jpg" for i in range(4)]


def test_a_group_that_is_not_whole_is_refused_with_its_names():
    with pytest.raises(
        GroundTruthError, match=r"the group of ukbench00004\.jpg, ukbench00007\.jpg lacks ukbench00005, ukbench00006"
    ):
        ukbench.read("l.txt", listed(0, 1, 2, 3, 4, 7, name="ukbench{:05}.jpg"))
