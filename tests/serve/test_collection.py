from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imgret import workflows
from imgret.errors import IndexFileError, InputError
from imgret.extraction.job import ExtractJob
from imgret.serve.collection import Collection
from tests.pictures import save

OPTIONS = {"weights": "none", "workers": 0, "precision": "fp32", "image_size": 64, "device": "cpu"}


@pytest.fixture
def collection(place):
    return Collection.open(place / "index")


def test_every_id_leads_to_its_row_and_no_other_text_does(collection):
    for row in range(collection.count):
        assert collection.row_of(collection.id_of(row)) == row
    for text in ("", "a", "a/4", "a/4.png ", "a/4.png/", "A/4.png", "../a/4.png", "a/./4.png", "/a/4.png", "zzz"):
        assert collection.row_of(text) is None, text


@pytest.mark.parametrize("kind", ["flat", "parts"])
def test_what_was_removed_from_an_index_is_not_found_any_more_and_what_changed_once(tmp_path, mean_colour, kind):
    for number in range(6):
        save(tmp_path / "photos", f"{number}.png", number)
    where = {"images": (str(tmp_path / "photos"),), "output": tmp_path / "store"}
    job = ExtractJob(**where, model="mean-colour", shard_size=3, **OPTIONS)
    options = {"parts": 2} if kind == "parts" else {"kind": "flat"}
    workflows.extract(job)
    workflows.build_index([tmp_path / "store"], tmp_path / "index", **options)
    (tmp_path / "photos/2.png").unlink()
    save(tmp_path / "photos", "3.png", 33)
    workflows.extract(ExtractJob(**where, prune=True, workers=0))
    workflows.build_index([tmp_path / "store"], tmp_path / "index")
    collection = Collection.open(tmp_path / "index")
    assert collection.count == 5
    assert collection.row_of("2.png") is None
    shown = [collection.id_of(row) for row in collection.matching("", 10)]
    assert sorted(shown) == ["0.png", "1.png", "3.png", "4.png", "5.png"]
    assert sorted(map(collection.id_of, collection.sample(10))) == sorted(shown)
    vector = collection.vector(collection.row_of("3.png"))
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-3)


def test_a_box_in_an_id_is_a_part_of_its_file(tmp_path, mean_colour):
    save(tmp_path / "photos", "a.png", 1)
    listed = tmp_path / "list.csv"
    listed.write_text(f"path,x1,y1,x2,y2\n{tmp_path / 'photos/a.png'},0,0,20,20\n")
    places = {"root": tmp_path / "photos", "output": tmp_path / "store"}
    workflows.extract(ExtractJob(images=(), list_file=listed, model="mean-colour", **places, **OPTIONS))
    collection = Collection.open(tmp_path / "store")
    row = collection.row_of("a.png#0,0,20,20")
    assert collection.box_of(row) == (0, 0, 20, 20)
    assert collection.file_of(row).box == (0, 0, 20, 20)
    assert collection.file_of(row, (1, 2, 3, 4)).box == (1, 2, 3, 4)


def test_the_collection_is_called_after_the_folder_of_its_images(collection):
    assert collection.name == "photos"


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("milvus:./x.db", InputError, "wants the folder"),
        ("s3://bucket/store", InputError, "imgret index s3://bucket/store"),
        ("nowhere", IndexFileError, "is not an index"),
    ],
)
def test_what_cannot_be_served_is_told_with_what_can(path, error, words):
    with pytest.raises(error, match=words):
        Collection.open(Path(path))


def test_the_stores_of_an_index_are_found_where_they_were(collection, place):
    assert [path.resolve() for path in collection.stores()] == [place / "store"]
