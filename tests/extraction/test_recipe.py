"""What a recipe holds, and that older ones stay what they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgret.errors import ImgretError, RecipeError, UnknownNameError
from imgret.extraction import recipe as recipes
from imgret.extraction.job import ExtractJob
from imgret.store.store import fingerprint_of

IDENTITY = {
    "model": "gem",
    "backbone": "resnet18",
    "arguments": {"backbone": "resnet18", "p": 3.0},
    "weights": {"source": "none", "seed": 0, "sha256": "ab" * 32},
}
# What imgret 0.1 wrote into store.json for these, before there were refinements.
BEFORE = {
    **IDENTITY,
    "image_size": 224,
    "scales": [1.0],
    "crop": "own",
    "exif": "apply",
    "decode": "scaled",
    "store_dtype": "float16",
    "precision": "fp32",
}
FINGERPRINT = "8e7a484f989f3bd770d75ab65e5abc253c790ce55be920472f86d33a93603ff4"


def job(**options: object) -> ExtractJob:
    return ExtractJob(images=("photos",), output=Path("store"), **options)  # type: ignore[arg-type]


def recipe(**options: object) -> dict[str, object]:
    return recipes.build(job(**options), IDENTITY, 224, "fp32")


def test_a_recipe_without_new_options_has_the_fingerprint_it_always_had():
    assert fingerprint_of(BEFORE) == FINGERPRINT
    assert recipe() == BEFORE
    assert fingerprint_of(recipe()) == FINGERPRINT
    assert recipe(refine="none", scale_pooling="auto") == BEFORE


def test_refinements_and_scale_pooling_are_held_as_one_text():
    found = recipe(refine="gem+ relup:floor=0.02", scale_pooling="gem:p=10.0", scales=(1.0, 0.5))
    assert found["refine"] == "relup:floor=0.02 gem+:p=4.6"
    assert found["scale_pooling"] == "gem:p=10"
    assert fingerprint_of(found) != FINGERPRINT


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"refine": "relup"}, "made with refine gem\\+:p=4.6, now refine relup:floor=0.014 .*Leave --refine out"),
        ({"refine": "gem+:p=3"}, "made with refine gem\\+:p=4.6, now refine gem\\+:p=3 "),
        ({"refine": "none"}, "now refine none is asked for"),
        ({"scale_pooling": "auto"}, "made with scale_pooling max, now scale_pooling auto .*--scale-pooling"),
        ({"scale_pooling": "signed"}, "now scale_pooling signed"),
    ],
)
def test_what_contradicts_a_store_is_refused(asked, words):
    store = recipe(refine="gem+", scale_pooling="max", scales=(1.0, 0.5))
    with pytest.raises(RecipeError, match=words):
        recipes.check_asked(job(**asked), store)


def test_what_a_store_was_made_with_may_be_said_again_or_left_out():
    store = recipe(refine="gem+", scale_pooling="max", scales=(1.0, 0.5))
    recipes.check_asked(job(refine="gem+:p=4.60", scale_pooling="max"), store)
    recipes.check_asked(job(), store)
    recipes.check_asked(job(refine="none", scale_pooling="auto"), BEFORE)
    with pytest.raises(RecipeError, match="made with refine none, now refine gem"):
        recipes.check_asked(job(refine="gem+"), BEFORE)


def test_a_way_to_pool_one_scale_is_refused_before_any_model_loads():
    for scales in (None, (0.5,)):
        with pytest.raises(ImgretError, match="--scale-pooling max has one scale to pool; give several"):
            recipes.check_new(job(scale_pooling="max", scales=scales))
    recipes.check_new(job(scale_pooling="auto"))
    recipes.check_new(job(scale_pooling="max", scales=(1.0, 0.5)))
    with pytest.raises(UnknownNameError, match="did you mean relup"):
        recipes.check_new(job(refine="relupp"))
