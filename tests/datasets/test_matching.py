from __future__ import annotations

import json
import math

import numpy as np
import pytest

from imgret.datasets import matching
from imgret.datasets.matching import read_matching
from imgret.errors import InputError


def named(found) -> list[tuple[str, str]]:
    return [(found.names[q], found.names[p]) for q, p in zip(found.queries, found.positives, strict=True)]


def test_listed_pairs_are_read_in_order(put):
    path = put("pairs.csv", "\ufeffQuery, positive ,note\nb.jpg,a.jpg,x\n\nb.jpg,c é.jpg,\n") / "pairs.csv"
    found = read_matching(path)
    assert named(found) == [("b.jpg", "a.jpg"), ("b.jpg", "c é.jpg")]
    assert len(found.names) == 3
    assert found.notes == []


def test_every_two_images_of_a_label_are_a_pair(put):
    text = "path,label,source\na/1.jpg,castle,x\na/2.jpg,castle,x\nb.jpg,,x\na/3.jpg,castle,x\nc.jpg,alone,x\n"
    found = read_matching(put("labels.csv", text) / "labels.csv")
    assert {frozenset(pair) for pair in named(found)} == {
        frozenset({"a/1.jpg", "a/2.jpg"}),
        frozenset({"a/1.jpg", "a/3.jpg"}),
        frozenset({"a/2.jpg", "a/3.jpg"}),
    }
    assert sorted(found.names) == ["a/1.jpg", "a/2.jpg", "a/3.jpg"]  # those without a partner are not asked for


def test_boxes_are_images_of_their_own(put):
    text = "path,label,x1,y1,x2,y2\na.jpg,l,1,2,3,4\na.jpg,l,5,6,7,8\n"
    assert sorted(read_matching(put("l.csv", text) / "l.csv").names) == ["a.jpg#1,2,3,4", "a.jpg#5,6,7,8"]


def test_where_a_split_is_named_train_the_others_teach_nothing(put):
    text = "path,label,split\na.jpg,l,train\nb.jpg,l,train\nc.jpg,l,test\n"
    found = read_matching(put("l.csv", text) / "l.csv")
    assert sorted(found.names) == ["a.jpg", "b.jpg"]
    assert found.notes == ["only images of the split train make pairs"]
    text = "path,label,split\na.jpg,l,query\nb.jpg,l,database\n"
    assert len(read_matching(put("m.csv", text) / "m.csv")) == 1


def test_too_many_pairs_are_drawn_evenly_by_the_seed(put, monkeypatch):
    monkeypatch.setattr(matching, "MOST_PAIRS", 100)
    lines = [f"{label}{n}.jpg,{label}" for label, size in (("a", 60), ("b", 30), ("c", 4)) for n in range(size)]
    path = put("l.csv", "path,label\n" + "\n".join(lines) + "\n") / "l.csv"
    found = read_matching(path, seed=1)
    # c has 4 * 3 / 2 = 6 pairs; the 94 that are left make 47 each for a and b
    counts = [sum(q[0] == letter for q, _ in named(found)) for letter in "abc"]
    assert counts == [47, 47, 6]
    assert found.notes == ["the labels make 2,211 pairs; 100 are drawn with seed 1, at most 47 of a label"]
    assert len({frozenset(pair) for pair in named(found)}) == 100
    assert all(q[0] == p[0] and q != p for q, p in named(found))
    assert named(read_matching(path, seed=1)) == named(found)
    assert named(read_matching(path, seed=2)) != named(found)


@pytest.mark.parametrize("size", [2, 3, 50, 1001])
def test_each_pair_is_drawn_once_and_either_side_asks(size):
    rng = np.random.default_rng(0)
    every = matching._drawn(np.arange(size), math.comb(size, 2), rng)
    assert len({frozenset(pair) for pair in every.tolist()}) == len(every) == math.comb(size, 2)
    if size > 3:
        assert 0.4 < (every[:, 0] < every[:, 1]).mean() < 0.6


def test_pairs_of_a_class_of_a_hundred_thousand_are_drawn_without_listing_them():
    pairs = matching._drawn(np.arange(100_000), 1000, np.random.default_rng(0))
    assert pairs.shape == (1000, 2)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert (pairs >= 0).all()
    assert 80_000 < pairs.max() < 100_000


def test_retrieval_sfm_is_read_without_its_images(put):
    held = {"cids": ["aaa", "bbb", "ccc"], "qidxs": [0, 0], "pidxs": [2, 1]}
    path = put("retrieval-SfM-30k-whiten.json", json.dumps(held))
    for one in (path, path / "retrieval-SfM-30k-whiten.json"):
        assert named(read_matching(one)) == [("aaa", "ccc"), ("aaa", "bbb")]
    splits = {"train": {**held, "cluster": [1, 1, 1]}, "val": {**held, "qidxs": [], "pidxs": []}}
    put("two/retrieval-SfM-120k.json", json.dumps(splits))
    assert len(read_matching(path / "two")) == 2
    put("val/retrieval-SfM-120k.json", json.dumps({"val": held}))
    with pytest.raises(InputError, match="has no split 'whiten' or 'train'; there are: val"):
        read_matching(path / "val")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("p.csv", "query,positive\na,b\na\n", r"line 3: 1 fields for 2 columns, or empty; expected two ids"),
        ("p.csv", "query,positive\na,\n", r"line 2: .* or empty"),
        ("p.csv", "query,positive\na,b\na,a\n", r"line 3: one image with itself"),
        ("p.csv", "query,positive\n", r"holds no pair"),
        ("p.csv", 'query,positive\n"a,b\n', r"line 2: not a CSV line"),
        ("p.csv", "first,second\na,b\n", r"first line is query,positive or path,label.*'first,second'"),
        ("p.csv", "", r"its first line is ''"),
        ("p.csv", "path,label\na,x\nb,y\n", r"holds no pair"),
        ("p.csv", "path,label\na,x\na,x\n", r"holds no pair"),
        ("p.csv", "path,label\na\n", r"line 2: 1 fields for 2 columns"),
        ("p.pkl", "x", r"is a pickle, which may run code"),
        ("p.json", "{", r"not valid JSON"),
        ("nothing.csv", None, r"cannot be read: No such file"),
    ],
)
def test_what_is_malformed_is_refused_in_one_line(put, tmp_path, name, text, words):
    if text is not None:
        put(name, text)
    with pytest.raises(InputError, match=words) as refusal:
        read_matching(tmp_path / name)
    assert "\n" not in str(refusal.value)
