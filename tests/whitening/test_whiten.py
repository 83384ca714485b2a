"""The workflow: a store in, a whitening file out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from imgret.errors import GroundTruthError, InputError, StoreError, WhiteningError
from imgret.store.store import Store
from imgret.whitening.stores import WhitenedStore
from imgret.whitening.transform import Whitening
from imgret.workflows import whiten
from imgret.workflows import whitening as workflow
from tests.indexes.conftest import RECIPE, names, save, write_store
from tests.whitening.test_fit import unit_rows


def parts(rows: np.ndarray, sizes: list[int]) -> list[tuple[list[str], np.ndarray]]:
    """Shards of these sizes; ids count on."""
    edges = np.cumsum([0, *sizes])
    every = names(len(rows))
    return [(every[a:b], rows[a:b].astype(np.float32)) for a, b in itertools.pairwise(edges)]


@pytest.fixture
def rows() -> np.ndarray:
    return unit_rows(300, 16).astype(np.float32)


def test_a_whitening_says_what_it_was_fitted_on(tmp_path, rows):
    store = write_store(tmp_path / "s", parts(rows, [300]))
    told = []
    report = whiten(store.path, tmp_path / "w.safetensors", dim=8, progress=lambda *one: told.append(one))
    about = Whitening.load(report.path).about
    assert about["recipe"] == RECIPE
    assert (about["kind"], about["power"], about["count"], about["pairs"], about["rank"]) == ("pca", 1.0, 300, None, 16)
    assert about["fingerprint"] == store.fingerprint
    assert about["store_sha256"] == store.content_sha256
    assert about["store"] == str(store.path)
    assert told == [(300, 300, 0)]
    assert len(report.whitening.ids) == 300


def test_whitened_rows_of_a_store_have_covariance_one_before_they_are_unit_rows(tmp_path, rows):
    store = write_store(tmp_path / "s", parts(rows, [300]))
    made = whiten(store.path, tmp_path / "w.safetensors").whitening
    y = (rows - made.mean) @ made.projection.T
    np.testing.assert_allclose(y.T @ y / 300, np.eye(16), atol=1e-5)
    (block,) = WhitenedStore(store, made).blocks()
    np.testing.assert_allclose(block.descriptors, y / np.linalg.norm(y, axis=1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(block.descriptors, axis=1), 1, atol=1e-6)
    assert [raw.decode() for raw in block.ids] == names(300)


def test_many_shards_and_blocks_are_one_block_and_dropped_rows_do_not_count(tmp_path, rows, monkeypatch):
    whole = write_store(tmp_path / "whole", parts(rows, [300]))
    (tmp_path / "pairs.csv").write_text("query,positive\n" + "".join(f"{a},{b}\n" for a, b in pairs_of(300)))
    first, second, third = parts(rows, [7, 193, 100])
    gone = ([f"gone-{n}" for n in range(5)], rows[:5])
    mixed = ([*second[0][:50], *gone[0], *second[0][50:]], np.insert(second[1], 50, gone[1], axis=0))
    split = write_store(tmp_path / "split", [([f"old-{n}" for n in range(5)], rows[:5]), first, mixed, third])
    split.shards[0].dropped = [0, 1, 2, 3, 4]
    split.shards[2].dropped = [50, 51, 52, 53, 54]
    save(split)
    for how in ({}, {"kind": "learned", "pairs": tmp_path / "pairs.csv"}):
        monkeypatch.setattr(workflow, "_ROWS", 8192)
        one = whiten(whole.path, tmp_path / "one.safetensors", **how).whitening
        monkeypatch.setattr(workflow, "_ROWS", 11)
        many = whiten(split.path, tmp_path / "many.safetensors", **how).whitening
        assert many.about["count"] == 300
        np.testing.assert_allclose(many.mean, one.mean, rtol=1e-9)
        np.testing.assert_allclose(many.projection, one.projection, rtol=1e-6, atol=1e-6)
        assert np.array_equal(one.ids, many.ids)


def pairs_of(count: int) -> list[tuple[str, str]]:
    """Pairs within a shard and across shards."""
    every = names(count)
    return [(every[row], every[(7 * row + 1) % count]) for row in range(count) if (6 * row + 1) % count]


def test_learned_whitening_takes_the_rows_that_the_pairs_name(tmp_path, rows):
    store = write_store(tmp_path / "s", parts(rows, [100, 200]))
    (tmp_path / "pairs.csv").write_text("query,positive\n" + "".join(f"{a},{b}\n" for a, b in pairs_of(300)))
    made = whiten(store.path, tmp_path / "w.safetensors", kind="learned", pairs=tmp_path / "pairs.csv").whitening
    row_of = {name: row for row, name in enumerate(names(300))}
    q, p = (np.array([row_of[pair[side]] for pair in pairs_of(300)]) for side in (0, 1))
    assert made.about["pairs"] == len(q)
    assert made.about["power"] is None
    np.testing.assert_allclose(made.mean, rows[q].mean(0, dtype=np.float64), rtol=1e-6)
    apart = (rows[q].astype(np.float64) - rows[p]) @ made.projection.T
    np.testing.assert_allclose(apart.T @ apart / len(q), np.eye(16), atol=1e-4)


def test_names_in_pairs_match_by_path_else_by_stem(tmp_path, rows):
    ids = [f"photos/{name}" for name in names(300)]
    store = write_store(tmp_path / "s", [(ids, rows)])
    stems = "".join(f"{a},{b}\n" for a, b in pairs_of(300)).replace(".jpg", "")
    (tmp_path / "pairs.csv").write_text("query,positive\n" + stems)
    report = whiten(store.path, tmp_path / "w.safetensors", kind="learned", pairs=tmp_path / "pairs.csv")
    assert report.whitening.about["pairs"] == len(pairs_of(300))
    twice = write_store(tmp_path / "t", [([*ids[:150], *(f"b/{name}" for name in names(150))], rows)])
    with pytest.raises(GroundTruthError, match="both have its stem"):
        whiten(twice.path, tmp_path / "w.safetensors", kind="learned", pairs=tmp_path / "pairs.csv")


def test_an_image_that_the_store_lacks_is_an_error_unless_allowed(tmp_path, rows):
    store = write_store(tmp_path / "s", parts(rows, [300]))
    lines = [f"{a},{b}" for a, b in pairs_of(300)]
    (tmp_path / "pairs.csv").write_text(
        "\n".join(["query,positive", *lines, "lost.jpg,image-00001.jpg", "x.jpg,lost.jpg"])
    )
    how = {"kind": "learned", "pairs": tmp_path / "pairs.csv"}
    with pytest.raises(
        InputError, match=r"2 of the 302 images that .*pairs\.csv pairs are not in .*: .*--allow-missing"
    ):
        whiten(store.path, tmp_path / "w.safetensors", **how)
    assert not (tmp_path / "w.safetensors").exists()
    report = whiten(store.path, tmp_path / "w.safetensors", allow_missing=True, **how)
    assert (report.left_out, report.whitening.about["pairs"]) == (2, len(lines))
    (tmp_path / "pairs.csv").write_text("query,positive\na,b\n")
    with pytest.raises(InputError, match="2 of the 2 images"):
        whiten(store.path, tmp_path / "w.safetensors", allow_missing=True, **how)


def test_nan_is_refused_naming_the_shard(tmp_path, rows):
    rows[250, 3] = np.nan
    store = write_store(tmp_path / "s", parts(rows, [200, 100]))
    (tmp_path / "pairs.csv").write_text("query,positive\n" + "".join(f"{a},{b}\n" for a, b in pairs_of(300)))
    for how in ({}, {"kind": "learned", "pairs": tmp_path / "pairs.csv"}):
        with pytest.raises(StoreError, match=r"shard-00001\.h5 holds NaN"):
            whiten(store.path, tmp_path / "w.safetensors", **how)
    assert not (tmp_path / "w.safetensors").exists()


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "holds no descriptors"), (1, "two descriptors or more"), (40, "all 40 descriptors are equal")],
)
def test_a_store_with_nothing_to_whiten_is_refused(tmp_path, count, words):
    store = write_store(tmp_path / "s", parts(np.repeat(unit_rows(1, 8), count, 0), [count]) if count else [])
    with pytest.raises(WhiteningError, match=words):
        whiten(store.path, tmp_path / "w.safetensors")


def test_fewer_descriptors_than_dimensions_give_fewer_dimensions(tmp_path):
    store = write_store(tmp_path / "s", parts(unit_rows(12, 64), [12]))
    made = whiten(store.path, tmp_path / "w.safetensors").whitening
    assert (made.dim_in, made.dim, made.about["rank"]) == (64, 11, 11)


def test_another_kind_of_file_is_not_overwritten_and_a_whitening_is(tmp_path, rows):
    store = write_store(tmp_path / "s", parts(rows, [300]))
    path = tmp_path / "best.safetensors"
    path.write_bytes(b"weights of a week")
    with pytest.raises(WhiteningError, match="is there and is not a whitening"):
        whiten(store.path, path)
    assert path.read_bytes() == b"weights of a week"
    path.unlink()
    whiten(store.path, path, dim=4)
    whiten(store.path, path, dim=5)
    assert Whitening.load(path).dim == 5
    assert sorted(one.name for one in tmp_path.iterdir()) == ["best.safetensors", "s"]


def test_a_full_disk_leaves_the_old_whitening(tmp_path, rows, monkeypatch):
    store = write_store(tmp_path / "s", parts(rows, [300]))
    whiten(store.path, tmp_path / "w.safetensors", dim=4)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    from imgret.errors import SpaceError

    with pytest.raises(SpaceError):
        whiten(store.path, tmp_path / "w.safetensors", dim=5)
    assert Whitening.load(tmp_path / "w.safetensors").dim == 4


def test_pairs_and_kind_go_together(tmp_path):
    for how in ({"kind": "learned"}, {"kind": "pca", "pairs": tmp_path}, {"kind": "zca"}):
        with pytest.raises(ValueError, match="kind must be"):
            whiten(tmp_path, tmp_path / "w.safetensors", **how)


def test_the_store_knows_its_ids_without_reading_descriptors(tmp_path, rows):
    store = write_store(tmp_path / "s", parts(rows, [100, 200]))
    store.shards[1].dropped = [0]
    save(store)
    again = Store.open(store.path)
    assert [raw.decode() for raw in again.ids()] == [*names(100), *names(300)[101:]]
