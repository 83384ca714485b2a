"""`imgret search --exact`, and searching a store."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from imgret.cli.app import app
from imgret.indexes.build import build
from imgret.store.store import Store
from tests.indexes.conftest import clustered, names, write_store


def run(*arguments: object, code: int = 0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def answers(result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Two shards of 600 images, one of them a file; six queries, of which the first is an image of the store."""
    monkeypatch.chdir(tmp_path)
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "image-00700.jpg").write_bytes(b"")
    vectors, ids = clustered(1200), names(1200)
    vectors[5] = vectors[4]
    write_store(tmp_path / "store", [(ids[:600], vectors[:600]), (ids[600:], vectors[600:])], root=photos)
    asked = np.concatenate([vectors[700:701], clustered(5, 16, 8)])
    write_store(tmp_path / "asked", [(["image-00700.jpg", *names(5, "query")], asked)])
    return tmp_path


def scores_of(found: list[dict]) -> np.ndarray:
    return np.array([[hit["score"] for hit in answer["results"]] for answer in found])


def test_a_store_is_searched_like_a_flat_index_of_it(place):
    build([Store.open(place / "store")], place / "index", kind="flat")
    result = run("search", "store", "asked", "-k", "12")
    assert answers(result) == answers(run("search", "index", "asked", "-k", "12"))
    assert answers(result)[0]["results"][0]["path"] == str(place / "photos/image-00700.jpg")
    assert "imgret index store -o INDEX" in result.stderr
    assert run("search", "store", "asked", "--exact").stderr == ""


@pytest.mark.parametrize("kind", ["hnsw", "ivf", "ivfpq"])
def test_exact_finds_in_any_index_what_a_comparison_with_every_image_finds(place, kind):
    build([Store.open(place / "store")], place / "index", kind=kind, target_recall=0.1)
    found = answers(run("search", "index", "asked", "-k", "20", "--exact"))
    store = answers(run("search", "store", "asked", "-k", "20", "--exact"))
    np.testing.assert_allclose(scores_of(found), scores_of(store), atol=1e-3)  # in half precision beside lossy kinds
    assert (found == store) == (kind == "hnsw")


def test_searching_a_store_can_leave_out_the_query_itself_and_what_scores_low(place):
    every = answers(run("search", "store", "asked", "-k", "5", "--exact"))
    others = answers(run("search", "store", "asked", "-k", "4", "--exact", "--exclude-self"))
    assert every[0]["results"][0]["id"] == "image-00700.jpg"
    assert [hit["id"] for hit in others[0]["results"]] == [hit["id"] for hit in every[0]["results"][1:]]
    least = every[1]["results"][2]["score"]
    assert len(answers(run("search", "store", "asked", "--exact", "--min-score", least))[1]["results"]) == 3


def test_a_store_is_whitened_as_an_index_with_the_same_whitening(place):
    run("whiten", "store", "-o", "white.safetensors", "--dim", "8")
    run("index", "store", "-o", "white", "--whitening", "white.safetensors", "--kind", "flat")
    by_store = answers(run("search", "store", "asked", "--whitening", "white.safetensors", "--exact"))
    assert by_store == answers(run("search", "white", "asked"))
    assert by_store != answers(run("search", "store", "asked", "--exact"))


def test_an_expansion_of_the_query_searches_a_store_anew(place):
    build([Store.open(place / "store")], place / "index", kind="flat")
    chain = ("--rerank", "aqe:k=3")
    by_store, by_index = (answers(run("search", where, "asked", "-q", *chain)) for where in ("store", "index"))
    assert by_store == by_index
    assert by_store != answers(run("search", "store", "asked", "-q"))


def test_neither_an_index_nor_a_store_is_told_with_what_to_type(place):
    assert "not an index" in run("search", "nowhere", "asked", code=1).stderr
