"""Load the model that a job asks for, or that a recipe was made with, ready to describe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from imgret.errors import WeightsError
from imgret.extraction import recipe as recipes
from imgret.extraction.describe import Describer, library_versions, resolve_device, resolve_precision
from imgret.extraction.job import ExtractJob, Say
from imgret.extraction.scale_pooling import AUTO
from imgret.models import DEFAULT_MODEL, is_weights_file
from imgret.models.refinements import parse_refinements, refine
from imgret.models.weights import LoadedModel, load_model
from imgret.remote_path import Place, as_place
from imgret.store.store import Store, fingerprint_of


@dataclass(frozen=True)
class LoadedDescriber:
    """A model on its device. `identity` is its part of the recipe, `origin` where its weights were found."""

    describer: Describer
    identity: dict[str, Any]
    origin: dict[str, Any]
    dim: int
    image_size: int
    precision: str
    trained: bool


def load_for_job(job: ExtractJob, say: Say) -> LoadedDescriber:
    """The model for a store that does not exist yet."""
    recipes.check_new(job)
    weights = "auto" if job.weights is None else job.weights
    # A weights file and no name: the file says what it is.
    name = job.model or (weights if is_weights_file(weights) else DEFAULT_MODEL)
    loaded = load_model(name, backbone=job.backbone, weights=weights, seed=job.seed or 0, offline=job.offline, say=say)
    recipe = recipes.build(job, loaded.identity, loaded.image_size, job.precision or "auto")
    return _ready(loaded, recipe, job.device, job.compile, say)


def load_for_recipe(
    recipe: Mapping[str, Any],
    origin: Mapping[str, Any],
    say: Say,
    *,
    device: str = "auto",
    weights: str | None = None,
    offline: bool = False,
    compile: bool | None = False,
    where: Place | str = "the store",
) -> LoadedDescriber:
    """The model a recipe names, checked to be the very same; `weights` says where its file is now."""
    made_with = recipe["weights"]
    if made_with["source"] == "package":
        return _ready_from_package(recipe, say, device, weights, compile, where)
    if made_with["source"] == "file":
        path = Path(weights or origin.get("path", ""))
        if not path.is_file():
            raise WeightsError(
                f"{where} was made with the weights file {path}, which is not there; "
                "say where it is now with --weights FILE"
            )
        loaded = load_model(path, offline=offline, say=say)
    else:
        chosen = "none" if made_with["source"] == "none" else "auto"
        loaded = load_model(
            recipe["model"],
            backbone=recipe["backbone"],
            weights=chosen,
            seed=made_with.get("seed", 0),
            offline=offline,
            say=say,
            arguments=recipe["arguments"],
        )
    ready = _ready(loaded, recipe, device, compile, say)
    recipes.check_same(where, {key: recipe[key] for key in ready.identity}, ready.identity)
    return ready


def _ready_from_package(
    recipe: Mapping[str, Any], say: Say, device: str, weights: str | None, compile: bool | None, where: Place | str
) -> LoadedDescriber:
    """The model that ships, or that of another version of imgret in the file `weights`."""
    made_with = recipe["weights"]
    loaded = load_model(weights or made_with["name"], say=say)
    if loaded.identity["weights"]["sha256"] != made_with["sha256"]:
        raise WeightsError(
            f"{where} was made with the {made_with['name']} that another version of imgret ships; extract again into "
            "a new store, or give that version's file with --weights FILE"
        )
    ready = _ready(loaded, recipe, device, compile, say)
    return replace(ready, identity={**ready.identity, "weights": dict(made_with)})


def _ready(
    loaded: LoadedModel, recipe: Mapping[str, Any], device: str, compile: bool | None, say: Say
) -> LoadedDescriber:
    place = resolve_device(device)
    resolved = resolve_precision(recipe["precision"], place)
    model = refine(loaded.model, parse_refinements(recipe["refine"])) if "refine" in recipe else loaded.model
    return LoadedDescriber(
        describer=Describer(model, place, resolved, recipe["scales"], compile, recipe.get("scale_pooling", AUTO), say),
        identity=dict(loaded.identity),
        origin=dict(loaded.origin),
        dim=model.dim,
        image_size=loaded.image_size,
        precision=resolved,
        trained=loaded.trained,
    )


def new_store(job: ExtractJob, loaded: LoadedDescriber) -> Store:
    """A store that is not written yet."""
    recipe = recipes.build(job, loaded.identity, loaded.image_size, loaded.precision)
    return Store(
        path=as_place(job.output),
        recipe=recipe,
        fingerprint=fingerprint_of(recipe),
        dim=loaded.dim,
        roots=[],
        shards=[],
        versions=library_versions(),
        origin=loaded.origin,
    )
