"""Query descriptors made otherwise than the database's: other scales, turned and mirrored, refined as the store is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgret import workflows
from imgret.errors import InputError, StoreError
from imgret.extraction.job import ExtractJob
from imgret.store.store import Store
from imgret.whitening.transform import Whitening
from imgret.workflows.queries import Queries, QueryOptions, describe_queries, find_queries, stored_queries
from tests.pictures import textured

TURNS = (None, Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
SCALES = (1.0, 0.7071, 1.4142)
HERE = QueryOptions(device="cpu", workers=0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Five pictures of two sizes, wider than high and higher than wide, by a tiny GLAM in float32."""
    (tmp_path / "photos").mkdir()
    for number in range(5):
        textured(number, *((96, 64) if number < 3 else (64, 96))).save(tmp_path / "photos" / f"{number}.png")
    job = extraction(tmp_path / "photos", tmp_path / "store")
    workflows.extract(job)
    return Store.open(job.output)


def extraction(photos: Path, output: Path, **options: object) -> ExtractJob:
    common = ExtractJob(
        images=(str(photos),),
        output=output,
        model="glam",
        backbone="test_resnet",
        weights="none",
        image_size=96,
        workers=0,
        device="cpu",
        precision="fp32",
        store_dtype="float32",
        batch_size=2,
    )
    return replace(common, **options)  # type: ignore[arg-type]


def stored(path: Path) -> dict[str, np.ndarray]:
    return {
        raw.decode(): row
        for block in Store.open(path).blocks()
        for raw, row in zip(block.ids, block.descriptors, strict=True)
    }


def ask(store: Store, photos: Path, options: QueryOptions) -> Queries:
    images, _ = find_queries([str(photos)])
    return describe_queries(images, "own", store.recipe, store.origin, store.path, store.dim, options, print)


def test_the_variants_are_the_descriptors_of_files_really_turned_and_mirrored(store, tmp_path):
    asked = ask(store, tmp_path / "photos", replace(HERE, robust=True))
    for number in range(5):
        with Image.open(tmp_path / "photos" / f"{number}.png") as picture:
            mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            ways = [one if turn is None else one.transpose(turn) for one in (picture, mirrored) for turn in TURNS]
        for way, turned in enumerate(ways):
            (tmp_path / "turned").mkdir(exist_ok=True)
            turned.save(tmp_path / "turned" / f"{number}-{way}.png")
    workflows.extract(extraction(tmp_path / "turned", tmp_path / "turned-store"))
    expected = stored(tmp_path / "turned-store")
    assert asked.variants is not None
    assert asked.variants.shape == (5, 8, 512)
    for name, variants in zip(asked.ids, asked.variants, strict=True):
        for way in range(8):
            assert variants[way] == pytest.approx(expected[f"{name.removesuffix('.png')}-{way}.png"], abs=1e-5)


def test_the_first_variant_is_the_query_as_it_always_was(store, tmp_path):
    asked = ask(store, tmp_path / "photos", replace(HERE, robust=True))
    usual = ask(store, tmp_path / "photos", HERE)
    assert usual.variants is None
    assert asked.ids == usual.ids
    assert np.array_equal(asked.variants[:, 0], asked.descriptors)
    assert asked.descriptors == pytest.approx(usual.descriptors, abs=1e-6)
    assert asked.descriptors == pytest.approx(np.stack([stored(store.path)[name] for name in asked.ids]), abs=1e-5)


def test_an_unreadable_query_has_no_variants_either(store, tmp_path):
    (tmp_path / "photos" / "2.png").write_bytes(b"not a picture")
    asked = ask(store, tmp_path / "photos", replace(HERE, robust=True))
    assert list(asked.errors) == ["2.png"]
    assert asked.variants.shape == (4, 8, 512)
    nothing = describe_queries([], "own", store.recipe, {}, store.path, 512, replace(HERE, robust=True), print)
    assert nothing.descriptors.shape == (0, 512)
    assert nothing.variants.shape == (0, 8, 512)


def test_whitening_takes_every_variant(store, tmp_path):
    rows = np.random.default_rng(0).normal(size=(40, 512))
    whitening = whitening_of(rows)
    asked = ask(store, tmp_path / "photos", replace(HERE, robust=True))
    white = asked.whitened(whitening)
    assert white.variants.shape == (5, 8, whitening.dim)
    for number in range(8):
        assert white.variants[:, number] == pytest.approx(whitening.apply(asked.variants[:, number]), abs=1e-6)
    assert np.array_equal(white.variants[:, 0], white.descriptors)
    assert replace(asked, variants=None).whitened(whitening).variants is None


def whitening_of(rows: np.ndarray) -> Whitening:
    mean = rows.mean(0)
    directions = np.linalg.svd(rows - mean, full_matrices=False)[2][:16]
    return Whitening(mean, directions, ids=np.zeros(0, np.uint64), about={})


def test_scales_of_the_queries_are_not_those_of_the_database(store, tmp_path):
    asked = ask(store, tmp_path / "photos", replace(HERE, scales=SCALES))
    workflows.extract(extraction(tmp_path / "photos", tmp_path / "scaled", scales=SCALES))
    expected = stored(tmp_path / "scaled")
    assert asked.descriptors == pytest.approx(np.stack([expected[name] for name in asked.ids]), abs=1e-5)
    single = np.stack([stored(store.path)[name] for name in asked.ids])
    assert np.abs(asked.descriptors - single).max() > 1e-3
    assert store.recipe["scales"] == [1.0]


def test_one_scale_for_queries_of_a_store_of_many_is_the_single_descriptor(store, tmp_path):
    workflows.extract(extraction(tmp_path / "photos", tmp_path / "max", scales=SCALES, scale_pooling="max"))
    asked = ask(Store.open(tmp_path / "max"), tmp_path / "photos", replace(HERE, scales=(1.0,)))
    assert asked.descriptors == pytest.approx(np.stack([stored(store.path)[name] for name in asked.ids]), abs=1e-5)


def test_queries_are_refined_and_pooled_as_their_store_is(tmp_path, store):
    options = {"refine": "relup regional gem+", "scales": SCALES, "scale_pooling": "max"}
    workflows.extract(extraction(tmp_path / "photos", tmp_path / "refined", **options))
    asked = ask(Store.open(tmp_path / "refined"), tmp_path / "photos", HERE)
    expected = np.stack([stored(tmp_path / "refined")[name] for name in asked.ids])
    assert asked.descriptors == pytest.approx(expected, abs=1e-5)
    assert np.abs(expected - ask(store, tmp_path / "photos", HERE).descriptors).max() > 1e-3


@pytest.mark.parametrize("options", [QueryOptions(robust=True), QueryOptions(scales=(1.0, 0.5))])
def test_stored_descriptors_cannot_be_turned_or_scaled_any_more(store, options):
    with pytest.raises(InputError, match="made already.*need images"):
        stored_queries(store.path, store.recipe, store.fingerprint, options)
    assert len(stored_queries(store.path, store.recipe, store.fingerprint, HERE).ids) == 5


def test_queries_of_a_refined_store_are_told_what_differs(store, tmp_path):
    workflows.extract(extraction(tmp_path / "photos", tmp_path / "refined", refine="gem+"))
    with pytest.raises(StoreError, match="was made with refine 'gem.:p=4.6', the collection with None"):
        stored_queries(tmp_path / "refined", store.recipe, store.fingerprint)
