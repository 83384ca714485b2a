"""`imgret index --parts N`, and searching and scoring what it made."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from imgret.cli.app import app
from tests.indexes.conftest import RECIPE, add_shard, clustered, names, save, write_store

KEYS = ("backbone", "scales", "exif", "decode", "precision", "store_dtype")
RECIPE_SAID = RECIPE | dict.fromkeys(KEYS) | {"weights": {"source": "none", "sha256": None}}


def run(*arguments: object, code: int = 0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Six shards of 100 images, an index of two parts and an undivided one, six queries of which one is an image."""
    monkeypatch.chdir(tmp_path)
    vectors, ids = clustered(600), names(600)
    vectors[[250, 555]] = vectors[4]
    shards = [(ids[at : at + 100], vectors[at : at + 100]) for at in range(0, 600, 100)]
    write_store(tmp_path / "store", shards, RECIPE_SAID)
    (tmp_path / "store/image-00004.jpg").write_bytes(b"")
    asked = np.concatenate([vectors[4:5], clustered(5, 16, 8)])
    write_store(tmp_path / "asked", [(["image-00004.jpg", *names(5, "query")], asked)], RECIPE_SAID)
    run("index", "store", "-o", "index", "--parts", 2, "-q")
    run("index", "store", "-o", "whole", "-q")
    return tmp_path


def test_parts_are_told_and_kept(place):
    store = write_store(place / "more", [(names(10, p), clustered(10)) for p in "abc"])
    result = run("index", "more", "-o", "new", "--parts", 3)
    assert "new: 30 images (30 added, 0 removed, 0 kept), flat [Flat]" in result.stderr
    assert "In 3 parts: 3 made now, 0 kept." in result.stderr
    assert "holds these stores already: 30 images" in run("index", "more", "-o", "new").stderr
    add_shard(store, names(10, "d"), clustered(10))
    save(store)
    assert "In 3 parts: 1 made now, 2 kept." in run("index", "more", "-o", "new").stderr


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--exact",),
        ("-k", 3, "--exclude-self"),
        ("--rerank", "aqe:k=3"),
        ("--rerank", "superglobal:m=20 reciprocal:m=20,k1=5,k2=2"),
    ],
)
def test_an_index_in_parts_answers_as_the_undivided_one(place, options):
    ours = run("search", "index", "asked", *options).stdout
    assert ours == run("search", "whole", "asked", *options).stdout
    assert "image-00250.jpg" in ours


@pytest.mark.parametrize("options", [(), ("--depth", 20), ("--rerank", "aqe:k=3")])
def test_an_index_in_parts_scores_as_the_undivided_one(place, options):
    lines = [f"image-{q:05d}.jpg 0 image-{p:05d}.jpg 1" for q, p in [(4, 250), (4, 555), (9, 10), (590, 30)]]
    (place / "truth.qrels").write_text("\n".join(lines) + "\n")
    ours, theirs = (
        json.loads(run("eval", "truth.qrels", "--format", "trec", "--index", index, "--json", *options).stdout)
        for index in ("index", "whole")
    )
    assert ours == theirs
    assert ours["subsets"]["all"]["queries"] == 3


def test_info_looks_at_every_file_of_every_part(place):
    said = run("info", "index")
    assert "2 of 300 to 300 images" in said.stdout
    assert "index is sound" in said.stderr
    file = next((place / "index/parts").glob("part-00001-*/index-1.faiss"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    said = run("info", "index", code=1)
    assert f"parts/{file.parent.name}/index-1.faiss is damaged" in said.stderr


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--graph", 5), "have no graph of neighbours; leave out --graph, or make an undivided index"),
        (("--dba", "k=3"), "have no augmented rows; leave out --dba, or make an undivided index"),
        (("--add",), "leave out --add and give every store"),
        (("--compact",), "nothing to compact; leave out --compact"),
        (("--parts", 9), "9 parts cannot be made of 6 shards"),
        (("--parts", 1), "index is an index in parts"),
    ],
)
def test_what_parts_cannot_do_is_one_line_that_says_what_to_type(place, options, line):
    said = run("index", "store", "-o", "index", *options, code=1).stderr
    assert line in said
    assert said.count("\n") == 1


def test_diffusion_needs_an_undivided_index(place):
    said = run("search", "index", "asked", "--rerank", "diffusion", code=1).stderr
    assert "is an index in parts, which have no graph" in said
    assert "imgret index STORE -o INDEX --graph 50" in said
    assert said.count("\n") == 1


def test_a_build_in_parts_that_was_not_finished_is_told(place):
    (place / "index/index.json").unlink()
    (place / "index/parts/plan.json").write_text("{}")
    assert "not finished; run the same imgret index again" in run("info", "index", code=1).stderr


def test_workers_are_not_asked_to_rank_a_whole_database(place):
    (place / "truth.qrels").write_text("image-00004.jpg 0 image-00250.jpg 1\n")
    truth = ("truth.qrels", "--format", "trec", "--index", "index")
    said = run("eval", *truth, "--engine", "ray", code=1).stderr
    assert "add --depth N, or leave out --engine" in said
    assert said.count("\n") == 1
