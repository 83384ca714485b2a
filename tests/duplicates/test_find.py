"""`imgret dupes` on a store written by hand."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from imgret.cli.app import app
from imgret.duplicates.decisions import Decisions
from imgret.duplicates.find import find
from imgret.ids import to_bytes
from imgret.store import shard as shards
from imgret.store.shard import Shard
from imgret.store.store import Root, ShardEntry, Store, fingerprint_of
from tests.duplicates.test_pairs import circle
from tests.indexes.conftest import RECIPE, save

# id, degrees, width, bytes, content: two pictures at 0 degrees of which one is a copy, a third near them; two at 90
# degrees; one alone
IMAGES = [
    ("small.jpg", 0, 100, 10, 1),
    ("copy/small.jpg", 0, 100, 10, 1),
    ("large.jpg", 5, 400, 90, 2),
    ("x.jpg", 90, 100, 20, 3),
    ("y.jpg", 91, 100, 30, 4),
    ("alone.jpg", 200, 100, 10, 5),
]


@pytest.fixture
def store(tmp_path) -> Store:
    """Two shards, of which the first has a row that was replaced."""
    (tmp_path / "large.jpg").write_bytes(b"")
    return write(tmp_path, [([*IMAGES[:2], ("gone.jpg", 0, 100, 10, 1)], [2]), (IMAGES[2:], [])])


def write(folder, parts) -> Store:
    """A store of one shard per (images, rows that count no more)."""
    store = Store(folder / "store", RECIPE, fingerprint_of(RECIPE), 2, [Root.of(folder, folder / "store")], [])
    store.path.mkdir()
    for number, (images, dropped) in enumerate(parts):
        ids, degrees, width, size, content = zip(*images, strict=True)
        columns = [np.array(width), np.full(len(ids), 50), np.array(size), *np.zeros((2, len(ids)), np.int64)]
        hashes = np.repeat(np.array(content, np.uint8)[:, None], 32, 1)
        shard = Shard([to_bytes(one) for one in ids], circle(*degrees), *columns, hashes)
        name = f"shard-{number:05d}.h5"
        size_, sha256 = shards.write(store.path / name, shard, store.fingerprint)
        store.shards.append(ShardEntry(name, len(ids), size_, sha256, dropped))
    save(store)
    return store


def run(*arguments: object, code: int = 0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def listed(*arguments: object) -> list[list[str]]:
    lines = run("dupes", *arguments, "--format", "jsonl").stdout.splitlines()
    return [[image["id"] for image in json.loads(line)["images"]] for line in lines]


def test_the_best_picture_of_a_group_stands_first_and_removed_rows_in_none(store):
    groups = find(store, threshold=0.99)
    assert [[one.id for one in group.members] for group in groups] == [
        ["large.jpg", "copy/small.jpg", "small.jpg"],  # most pixels; then equal but for the id
        ["y.jpg", "x.jpg"],  # the larger file
    ]
    assert groups[0].members[0].path == str(store.path.parent / "large.jpg")
    assert groups[0].members[1].path is None  # no such file now
    np.testing.assert_allclose([one.cosine for one in groups[0].members], [1, *[np.cos(np.deg2rad(5))] * 2], rtol=1e-6)


def test_decisions_keep_pictures_apart_and_hide_what_is_decided(store, tmp_path):
    file = tmp_path / "d.csv"
    assert listed(store.path, "-t", 0.99) == [["large.jpg", "copy/small.jpg", "small.jpg"], ["y.jpg", "x.jpg"]]
    said = run("dupes", store.path, "--decisions", file, "--different", "large.jpg", "--different", "small.jpg")
    assert "1 pair noted as different" in said.stderr
    ways = (store.path, "-t", 0.99, "--decisions", file)
    # a copy is the same content, so it is kept apart from large.jpg too
    assert listed(*ways) == [["copy/small.jpg", "small.jpg"], ["y.jpg", "x.jpg"]]
    run("dupes", store.path, "--decisions", file, "--same", "x.jpg", "--same", "y.jpg")
    run("dupes", store.path, "--decisions", file, "--same", "small.jpg", "--same", "copy/small.jpg")
    assert listed(*ways) == []
    assert listed(*ways, "--all") == [["copy/small.jpg", "small.jpg"], ["y.jpg", "x.jpg"]]
    assert "2 decided to be the same, shown with --all" in run("dupes", *ways).stderr


def test_a_name_that_is_no_text_is_named_as_it_is_printed(tmp_path):
    store = write(tmp_path, [([("\udcff.jpg", 0, 100, 20, 6), ("z.jpg", 1, 100, 10, 7)], [])])
    [pair] = listed(store.path)
    assert pair[0].isascii()
    ways = ("--decisions", tmp_path / "d.csv")
    named = ("dupes", store.path, *ways, "--different", pair[0], "--different")
    assert "takes two" in run(*named, "\udcff.jpg", code=1).stderr  # the same, as it is
    run(*named, "z.jpg")
    assert Decisions(tmp_path / "d.csv")._by_pair.popitem()[1].first_id == "\udcff.jpg"
    assert listed(store.path, *ways) == []


def test_every_format_tells_the_same(store):
    rows = list(csv.DictReader(io.StringIO(run("dupes", store.path, "-t", 0.99, "--format", "csv").stdout)))
    assert [(row["group"], row["id"], row["width"]) for row in rows] == [
        ("1", "large.jpg", "400"),
        ("1", "copy/small.jpg", "100"),
        ("1", "small.jpg", "100"),
        ("2", "y.jpg", "100"),
        ("2", "x.jpg", "100"),
    ]
    document = json.loads(run("dupes", store.path, "-t", 0.99, "--format", "json").stdout)
    assert [one["schema"] for one in document] == ["imgret.dupes/1"] * 2
    assert [[one["id"] for one in group["images"]] for group in document] == listed(store.path, "-t", 0.99)
    table = run("dupes", store.path, "-t", 0.99, "--format", "table", "-v")
    assert "copy/small.jpg" in table.stdout
    assert "2 groups of 5 images at cosine 0.99" in table.stderr
    assert "1 of these images are copies" in table.stderr


@pytest.mark.parametrize(
    ("options", "code", "line"),
    [
        (("--different", "x.jpg", "--different", "y.jpg"), 2, "--decisions FILE"),
        (("--decisions", "d.csv", "--same", "x.jpg", "--different", "y.jpg"), 2, "one after the other"),
        (("--decisions", "d.csv", "--same", "x.jpg"), 1, "takes two: name each with --same"),
        (("--decisions", "d.csv", "--same", "x.jpg", "--same", "x.jpg"), 1, "takes two: name each with --same"),
        (("--decisions", "d.csv", "--same", "x.jpg", "--same", "nowhere.jpg"), 1, "holds no image nowhere.jpg"),
        (("--decisions", "d.csv", "--different", "small.jpg", "--different", "copy/small.jpg"), 1, "to the last byte"),
    ],
)
def test_what_cannot_be_said_is_told_and_nothing_is_written(store, tmp_path, monkeypatch, options, code, line):
    monkeypatch.chdir(tmp_path)
    said = " ".join(run("dupes", store.path, *options, code=code).stderr.replace("│", " ").split())
    assert line in said
    assert not (tmp_path / "d.csv").exists()


def test_an_empty_store_has_no_groups(tmp_path):
    store = Store(tmp_path, RECIPE, fingerprint_of(RECIPE), 2, [], [])
    save(store)
    assert find(Store.open(tmp_path)) == []


def test_every_image_is_compared_however_few_at_once(store, monkeypatch):
    monkeypatch.setattr("imgret.duplicates.find._AT_ONCE", 2)
    assert len(find(store, threshold=0.99)) == 2


def test_a_store_at_a_url_is_refused_in_a_line(store):
    fsspec = pytest.importorskip("fsspec")
    for file in store.path.iterdir():
        fsspec.filesystem("memory").pipe_file(f"/dupes/{file.name}", file.read_bytes())
    assert "copy it here first: imgret merge memory://dupes -o store" in run("dupes", "memory://dupes", code=1).stderr
