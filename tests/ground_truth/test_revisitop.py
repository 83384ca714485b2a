from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from imgret.errors import GroundTruthError
from imgret.ground_truth.judgements import Query
from imgret.ground_truth.revisitop import read


def data(**changes):
    entry = {"bbx": [1, 2.5, 30, 40], "easy": [0, 1], "hard": [2], "junk": [3]}
    entry.update({key: value for key, value in changes.items() if key in ("bbx", "easy", "hard", "junk")})
    rest = {key: value for key, value in changes.items() if key not in entry}
    return {"imlist": ["a", "b", "c", "d", "e"], "qimlist": ["q"], "gnd": [entry], **rest}


def as_json(value):
    return json.dumps(value).encode()


def lists(truth):
    return {
        subset: [[part.tolist() for part in truth.judge(n, subset)] for n in range(len(truth.queries))]
        for subset in truth.subsets
    }


def test_three_setups_from_three_lists():
    truth = read("gnd.json", as_json(data()))
    assert lists(truth) == {
        "easy": [[[0, 1], [2, 3]]],
        "medium": [[[0, 1, 2], [3]]],
        "hard": [[[2], [0, 1, 3]]],
    }
    assert truth.judge(0, "easy").positives.dtype == np.int32
    assert truth.queries == [Query("q", (1.0, 2.5, 30.0, 40.0))]
    assert (truth.rules.ap, truth.rules.precision) == ("trapezoid", "revisitop")


def test_judge_takes_existing_queries_and_subsets_only():
    truth = read("gnd.json", as_json(data()))
    with pytest.raises(IndexError):
        truth.judge(-1, "easy")
    with pytest.raises(KeyError):
        truth.judge(0, "all")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_and_json_are_the_same_ground_truth(protocol):
    arrays = data(
        bbx=np.array([1, 2.5, 30, 40]),
        easy=np.array([1, 0]),
        hard=np.array([[2]], np.uint8),
        junk=np.array([3], ">i4"),
    )
    mixed = data(bbx=(1, np.float64(2.5), 30, 40), hard=[np.int64(2)], imlist=np.array(list("abcde")))
    expected = read("gnd.json", as_json(data()))
    for value in (data(), arrays, mixed):
        truth = read("gnd.pkl", pickle.dumps(value, protocol))
        assert lists(truth) == lists(expected)
        assert truth.queries == expected.queries
        assert truth.database == expected.database


def test_an_empty_array_is_one_of_floats_and_means_nothing():
    truth = read("gnd.pkl", pickle.dumps(data(junk=np.array([]))))
    assert truth.judge(0, "medium").junk.tolist() == []


def test_null_box_is_the_whole_image():
    assert read("gnd.json", as_json(data(bbx=None))).queries[0].box is None


def test_an_image_listed_twice_counts_once():
    assert lists(read("gnd.json", as_json(data(easy=[1, 0, 1]))))["easy"][0][0] == [0, 1]


def test_the_original_oxford_structure_has_one_subset():
    entries = [{"bbx": [0, 0, 1, 1], "ok": [0, 1], "junk": [2]}]
    truth = read("gnd.json", as_json({"imlist": ["a", "b", "c"], "qimlist": ["q"], "gnd": entries}))
    assert lists(truth) == {"all": [[[0, 1], [2]]]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (data(junk=[1, 3]), "query q: image b is both easy and junk"),
        (data(hard=[0]), "query q: image a is both easy and hard"),
        (data(junk=[2]), "query q: image c is both hard and junk"),
        (data(easy=[5]), r"query q: easy names image 5, but imlist has 5 \(from 0 to 4\)"),
        (data(easy=[-1]), "query q: easy names image -1"),
        (data(easy=[0.5]), "easy must be a list of row numbers"),
        (data(easy=[True]), "easy must be a list of row numbers"),
        (data(easy="01"), "easy must be a list of row numbers"),
        (data(easy=None), "easy must be a list of row numbers"),
        (data(imlist=["a", "b", "c", "a", "d"]), "a stands in imlist more than once"),
        (data(qimlist=["q", "q"], gnd=[data()["gnd"][0]] * 2), "q stands in qimlist more than once"),
        (data(imlist=["a", 1]), r"imlist\[1\] must be a name, got 1"),
        (data(imlist=["a", ""]), r"imlist\[1\] must be a name"),
        (data(imlist="abc"), "imlist must be a list"),
        (data(qimlist=["q", "r"]), "one entry for each of 2 queries, got 1"),
        (data(gnd={}), "one entry for each of 1 queries, got dict"),
        (data(gnd=[[]]), "query q: no bbx and no easy"),
        (data(gnd=[{"bbx": None, "easy": [], "junk": []}]), "query q: no hard"),
        ({"imlist": [], "gnd": []}, "needs imlist, qimlist and gnd"),
        *(
            (data(bbx=box), "bbx must be null or x1, y1, x2, y2")
            for box in ([1, 2, 3], [1, 2, 1, 4], [1, 5, 3, 4], "1234", [1, 2, 3, "4"], [1, 2, 3, 1e999])
        ),
    ],
)
@pytest.mark.parametrize("written", [as_json, pickle.dumps])
def test_what_is_wrong_is_said(value, message, written):
    with pytest.raises(GroundTruthError, match=message) as caught:
        read("gnd", written(value))
    assert "\n" not in str(caught.value)


def test_broken_json_is_said():
    with pytest.raises(GroundTruthError, match="not valid JSON"):
        read("gnd.json", b'{"imlist": [')


def test_floats_in_an_array_are_no_rows():
    with pytest.raises(GroundTruthError, match="easy must be a list of row numbers"):
        read("gnd.pkl", pickle.dumps(data(easy=np.array([0.0, 1.0]))))
