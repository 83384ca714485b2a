from __future__ import annotations

import ast
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest

from imgret.datasets import load_dataset, load_pairs
from imgret.errors import InputError

SPLITS = {
    "train": {"cids": ["00abcdef", "00abcde0", "11abcdef0"], "cluster": [5, 5, 2], "qidxs": [0, 1], "pidxs": [1, 0]},
    "val": {"cids": ["22abcdef"], "cluster": [5], "qidxs": [], "pidxs": []},
}


@pytest.fixture
def sfm(put):
    put("ims/ef/cd/ab/00abcdef")
    return put("retrieval-SfM-120k.json", json.dumps(SPLITS))


def test_images_lie_in_folders_of_the_last_letters(sfm):
    pairs = load_pairs(sfm)
    assert [image.id for image in pairs.images] == ["ef/cd/ab/00abcdef", "e0/cd/ab/00abcde0", "f0/de/bc/11abcdef0"]
    assert pairs.images[0].path == str(sfm / "ims/ef/cd/ab/00abcdef")
    assert pairs.clusters.tolist() == [5, 5, 2]
    assert (pairs.queries.tolist(), pairs.positives.tolist()) == ([0, 1], [1, 0])
    assert pairs.queries.dtype == pairs.positives.dtype == pairs.clusters.dtype == np.int64


@pytest.mark.parametrize("name", ["ims/00abcdef.jpg", "ims/00abcdef", "00abcdef.jpg"])
def test_images_may_lie_flat(put, name):
    put(name)
    path = put("retrieval-SfM-120k.json", json.dumps(SPLITS))
    assert load_pairs(path / "retrieval-SfM-120k.json").images[0].path == str(path / name)


def test_a_root_says_where_the_images_are(put):
    put("elsewhere/00abcdef.jpg")
    path = put("retrieval-SfM-120k.json", json.dumps(SPLITS))
    assert load_pairs(path, root=path / "elsewhere").images[0].id == "00abcdef.jpg"


def test_as_labels_a_class_is_a_cluster_of_one_split(sfm, rows):
    found = load_dataset(sfm)
    # cluster 5 of val is another model than cluster 5 of train
    assert [name for _, name in rows(found)] == ["train/5", "train/5", "train/2", "val/5"]
    assert found.splits.tolist() == ["train", "train", "train", "val"]


def test_the_set_for_whitening_has_one_split_and_no_clusters(put, rows):
    put("ims/ef/cd/ab/00abcdef")
    held = {key: value for key, value in SPLITS["train"].items() if key != "cluster"}
    path = put("retrieval-SfM-30k-whiten.json", json.dumps(held))
    assert load_pairs(path, "whiten").clusters.tolist() == [-1, -1, -1]
    assert {name for _, name in rows(load_dataset(path))} == {None}


def test_a_pickle_is_not_opened_and_the_line_that_converts_it_works(put, tmp_path):
    held = {**SPLITS["train"], "qidxs": np.array([0, 1]), "cluster": [np.int64(5), 5, 2]}
    put("retrieval-SfM-120k.pkl", pickle.dumps({**SPLITS, "train": held}, 2))
    put("ims/ef/cd/ab/00abcdef")
    for path in (tmp_path, tmp_path / "retrieval-SfM-120k.pkl"):
        with pytest.raises(InputError, match="is a pickle, which may run code") as raised:
            load_dataset(path)
    line = str(raised.value).partition("python -c ")[2]
    code = ast.literal_eval(line)  # as a shell would take the double quotes off
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=60)
    assert load_pairs(tmp_path).queries.tolist() == [0, 1]


def test_a_pickle_with_its_json_beside_it_does_no_harm(sfm, put):
    put("retrieval-SfM-120k.pkl", b"anything")
    assert len(load_pairs(sfm)) == 2


def test_two_sets_in_one_folder_are_told_apart_by_their_path(sfm, put):
    put("retrieval-SfM-30k.json", json.dumps(SPLITS))
    with pytest.raises(
        InputError, match="holds retrieval-SfM-120k.json and retrieval-SfM-30k.json; give the path of one"
    ):
        load_pairs(sfm)
    assert len(load_pairs(sfm / "retrieval-SfM-30k.json")) == 2


def test_a_split_that_is_not_there_lists_the_others(sfm):
    with pytest.raises(InputError, match=r"no split 'trian' \(did you mean train\?\); there are: train, val"):
        load_pairs(sfm, "trian")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cids": []}, "train must have cids"),
        ({"cids": [1, 2, 3]}, "train must have cids"),
        ({"cluster": [1, 2]}, "3 cids and 2 numbers in cluster"),
        ({"cluster": [1, 2, "3"]}, "train must have cluster, a list of whole numbers"),
        ({"qidxs": [0]}, "1 qidxs and 2 pidxs"),
        ({"qidxs": [0, 3]}, "qidxs names image 3, but cids has 3"),
        ({"pidxs": [-1, 0]}, "pidxs names image -1"),
        ({"pidxs": [0.0, 1.0]}, "train must have pidxs"),
        ({"pidxs": [True, False]}, "train must have pidxs"),
        ({"pidxs": None}, "train must have pidxs"),
        ({"pidxs": [0, 2**70]}, "holds a number that is no row"),
        ({"cids": ["00abcdef", "00abcdef", "x"]}, "lists ef/cd/ab/00abcdef twice"),
    ],
)
def test_what_is_wrong_with_the_file_is_said(sfm, put, change, message):
    put("retrieval-SfM-120k.json", json.dumps({"train": {**SPLITS["train"], **change}}))
    with pytest.raises(InputError, match=message):
        load_pairs(sfm)


@pytest.mark.parametrize(
    ("content", "message"), [("{", "not valid JSON"), ("[]", "must hold splits"), ("{}", "must hold")]
)
def test_a_file_that_is_no_such_set_is_refused(sfm, put, content, message):
    put("retrieval-SfM-120k.json", content)
    with pytest.raises(InputError, match=message):
        load_pairs(sfm)


def test_missing_images_are_counted(sfm):
    with pytest.raises(InputError, match=r"^2 of 3 images listed in .* are missing, the first is .*/e0/cd/ab/00abcde0"):
        load_pairs(sfm, check=True)
