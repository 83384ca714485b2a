"""The recipe of a store: what decides its descriptors. One store, one recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imgret.errors import ImgretError, RecipeError
from imgret.extraction.job import DECODE, EXIF, SCALES, STORE_DTYPE, ExtractJob
from imgret.extraction.scale_pooling import AUTO, canonical_scale_pooling
from imgret.images.decode import DecodeRule
from imgret.models import SHIPPED
from imgret.models.refinements import NONE, canonical_refinements
from imgret.models.weights_card import read_card
from imgret.remote_path import Place

_WORDS = {
    "model": "--model",
    "backbone": "--backbone",
    "weights": "--weights",
    "image_size": "--image-size",
    "scales": "--scales",
    "exif": "--exif",
    "decode": "--decode",
    "store_dtype": "--store-dtype",
    "precision": "--precision",
    "refine": "--refine",
    "scale_pooling": "--scale-pooling",
}
# A recipe has these keys only where they say something else: the fingerprints of older stores stay what they are.
_UNSAID = {"refine": NONE, "scale_pooling": AUTO}


def build(job: ExtractJob, identity: Mapping[str, Any], image_size: int, precision: str) -> dict[str, Any]:
    """The recipe of a new store. `identity` is the model's (LoadedModel.identity)."""
    said = {key: value for key, value in _chosen(job).items() if value not in (None, _UNSAID[key])}
    return {
        **identity,
        **said,
        "image_size": job.image_size or image_size,
        "scales": list(job.scales or SCALES),
        "crop": "own",
        "exif": job.exif or EXIF,
        "decode": job.decode or DECODE,
        "store_dtype": job.store_dtype or STORE_DTYPE,
        "precision": precision,
    }


def _chosen(job: ExtractJob) -> dict[str, str | None]:
    """The keys of _UNSAID as a recipe would hold them, None where nothing is asked for."""
    return {
        "refine": None if job.refine is None else canonical_refinements(job.refine),
        "scale_pooling": None if job.scale_pooling is None else canonical_scale_pooling(job.scale_pooling),
    }


def check_new(job: ExtractJob) -> None:
    """Refuse what a new store cannot be made with, before any model is loaded."""
    pooling = _chosen(job)["scale_pooling"]
    if pooling not in (None, AUTO) and len(job.scales or SCALES) == 1:
        raise ImgretError(
            f"--scale-pooling {pooling} has one scale to pool; give several, such as --scales 1,0.7071,1.4142"
        )


def check_asked(job: ExtractJob, recipe: Mapping[str, Any]) -> None:
    """Refuse options that contradict the recipe of an existing store; what is not given is taken from it."""
    asked: dict[str, Any] = {
        "backbone": job.backbone,
        "image_size": job.image_size,
        "scales": list(job.scales) if job.scales else None,
        "exif": job.exif,
        "decode": job.decode,
        "store_dtype": job.store_dtype,
        "precision": None if job.precision == "auto" else job.precision,
        **_chosen(job),
    }
    weights = recipe["weights"]
    if job.model in SHIPPED:
        asked_name = weights["name"] if weights["source"] == "package" else recipe["model"]
        if job.model != asked_name:
            raise _differs(job.output, "model", asked_name, job.model)
    elif job.model is not None and not job.model.endswith(".safetensors"):
        asked["model"] = job.model
    for key, value in asked.items():
        ours = recipe.get(key, _UNSAID.get(key))
        if value is not None and value != ours:
            raise _differs(job.output, key, ours, value)
    _check_weights(job, recipe)


def _check_weights(job: ExtractJob, recipe: Mapping[str, Any]) -> None:
    """Refuse other weights than the store's, a file by its digest, before any model is loaded."""
    ours = recipe["weights"]
    file = next((name for name in (job.weights, job.model) if name and name.endswith(".safetensors")), None)
    if file is not None:
        card = read_card(file)
        if (card["model"], card["sha256"]) != (recipe["model"], ours["sha256"]):
            raise _differs(job.output, "weights", ours, {"source": file, "sha256": card["sha256"]})
        return
    kinds = {"none": ("none",), "auto": ("timm", "package")}.get(job.weights or "", (ours["source"],))
    if ours["source"] not in kinds:
        raise _differs(job.output, "weights", ours["source"], job.weights)
    if job.seed is not None and job.seed != ours.get("seed"):
        raise _differs(job.output, "weights", ours, f"{ours['source']}, seed {job.seed}")


def check_same(store: Place | str, recipe: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Refuse a model that is not the one the store was made with."""
    for key in recipe:
        if recipe[key] != found.get(key):
            raise _differs(store, key, recipe[key], found.get(key))


def _differs(store: Place | str, key: str, ours: Any, asked: Any) -> RecipeError:
    ours, asked = (_weights_text(one) if key == "weights" and isinstance(one, dict) else one for one in (ours, asked))
    return RecipeError(
        f"{store} was made with {key} {ours}, now {key} {asked} is asked for; one store holds one recipe. "
        f"Leave {_WORDS.get(key, '--model')} out to go on with the store's, or name a new store with -o"
    )


def _weights_text(weights: Mapping[str, Any]) -> str:
    seed = f", seed {weights['seed']}" if "seed" in weights else ""
    return f"{weights['source']}{seed} (sha256 {str(weights['sha256'])[:12]}...)"


def decode_rule(recipe: Mapping[str, Any], *, max_megapixels: float = 250.0, crop: str | None = None) -> DecodeRule:
    """How images are decoded under a recipe."""
    return DecodeRule(
        size=recipe["image_size"],
        exif=recipe["exif"] == "apply",
        scaled=recipe["decode"] != "exact",
        device=recipe["decode"] == "device",
        max_pixels=int(max_megapixels * 1e6),
        crop=crop or recipe["crop"],
    )
