"""Models with their weights: from a file, from timm's trunk, or random when asked for by name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from imgret import atomic
from imgret.errors import WeightsError
from imgret.models import MODELS, SHIPPED, WEIGHTS_SUFFIX, check_name, is_weights_file, shipped_file
from imgret.models.base import DescriptorModel
from imgret.models.weights_card import SCHEMA, read_card
from imgret.nn.backbones import check_backbone, fetch_pretrained, pretrained_source, say_on_stderr
from imgret.tables import look_up, resolve

__all__ = ["LoadedModel", "build", "digest", "load_model", "read_card", "save_weights"]


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to describe images, and what makes it that model.

    `identity` is JSON and equal exactly when the descriptors are: model, backbone, arguments, and the
    weights' source and digest. `origin` says where the weights came from (a path, an address) and is
    no part of it. `trained` is False for random weights. `image_size` is the longer side that the model is for.
    """

    model: DescriptorModel
    identity: dict[str, Any]
    trained: bool
    image_size: int
    origin: dict[str, str] = field(default_factory=dict)


def load_model(
    name: str | Path,
    *,
    backbone: str | None = None,
    weights: str | Path = "auto",
    seed: int = 0,
    offline: bool = False,
    say: Callable[[str], object] = say_on_stderr,
    arguments: Mapping[str, Any] | None = None,
) -> LoadedModel:
    """The model called `name`, or the one a `*.safetensors` file describes, on the CPU in eval mode.

    `weights` is "auto" (those that ship, the file `name`, or a pretrained trunk where the model needs no more), "none"
    (random from `seed`, the same on every run) or a file. `offline`, or HF_HUB_OFFLINE in the
    environment, forbids downloads; before one, `say` is told address and size. `arguments` go to the
    model's constructor. The global random state is left as it was.

    UnknownNameError for a name in no table; WeightsError, one line with what to type next, for weights
    that are missing, damaged, of another model, or not to be had.
    """
    check_name(name)
    given = {**(arguments or {}), **({} if backbone is None else {"backbone": backbone})}
    if is_weights_file(name):
        if str(weights) not in ("auto", str(name)):
            raise WeightsError(f"{name} brings its own weights; leave out --weights {weights}")
        return _from_file(Path(name), None, given)
    if str(name) in SHIPPED:
        return _shipped(str(name), str(weights), given, seed)
    if backbone is not None and MODELS[str(name)].backbone != "none":
        check_backbone(backbone)
    if str(weights) == "auto":
        return _from_trunk(str(name), given, offline, say)
    if str(weights) == "none":
        model = build(str(name), given, seed)
        return _loaded(str(name), model, {"source": "none", "seed": seed}, trained=False)
    return _from_file(Path(weights), str(name), given)


def build(name: str, arguments: Mapping[str, Any], seed: int = 0) -> DescriptorModel:
    """A model of the table, random from `seed`, in eval mode; the global random state is untouched."""
    factory = resolve(look_up(MODELS, "model", name).target)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        # Not torch.manual_seed: it would seed every GPU as well, and those states are not restored.
        torch.default_generator.manual_seed(seed)
        return factory(**arguments).eval()


def save_weights(
    model: DescriptorModel,
    path: str | Path,
    provenance: Mapping[str, Any],
    *,
    trained: bool = True,
    image_size: int | None = None,
    half: bool = False,
) -> None:
    """Write a weights file that `load_model` needs nothing else to read, whole or not at all.

    `provenance` is JSON: what it was trained on, by which command, with which scores. `image_size` is the longer side
    in pixels that the model is for, if not its card's. `half` stores matrices and kernels in float16, in half the
    space; they are float32 again once loaded. ValueError for a model that is in no row of MODELS, and for values that
    float16 cannot hold.
    """
    path = Path(path)
    target = f"{type(model).__module__}:{type(model).__qualname__}"
    names = [name for name, card in MODELS.items() if card.target == target]
    if not names:
        raise ValueError(f"{target} is in no row of MODELS, so a weights file could not say how to build it")
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    if half:
        # Biases and statistics are few, and may be larger than float16 can hold.
        state = {key: value.half() if value.ndim > 1 else value for key, value in state.items()}
        lost = [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
        if lost:
            raise ValueError(f"{lost[0]} has values that float16 cannot hold")
    metadata = {
        "schema": SCHEMA,
        "model": names[0],
        "arguments": json.dumps(model.arguments(), sort_keys=True),
        "dim": str(model.dim),
        "trained": json.dumps(trained),
        "provenance": json.dumps(dict(provenance), sort_keys=True),
        "sha256": digest(state),
        **({} if image_size is None else {"image_size": str(image_size)}),
    }
    atomic.write_bytes(path, safetensors.torch.save(state, metadata))


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of a state dict, in order of name."""
    sha = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        sha.update(f"{name}\0{tensor.dtype}\0{list(tensor.shape)}\0".encode())
        sha.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def _from_trunk(name: str, arguments: dict[str, Any], offline: bool, say: Callable[[str], object]) -> LoadedModel:
    """A model whose trunk timm has trained; WeightsError for one that needs more than that."""
    card = MODELS[name]
    if card.weights != "trunk":
        ours = next((f" (--model {other} has)" for other, shipped in SHIPPED.items() if shipped.model == name), "")
        raise WeightsError(
            f"no trained weights ship for {name} of this size{ours}: give --weights FILE{WEIGHTS_SUFFIX}, make one "
            f"with imgret train, or ask for random ones with --weights none (for tests only)"
        )
    backbone = arguments.get("backbone", card.backbone)
    file = fetch_pretrained(backbone, offline, say)  # now, so that building finds it in the cache
    try:
        model = build(name, {**arguments, "pretrained": True})
    except SafetensorError as error:
        raise WeightsError(f"{file} is damaged: {error}. Remove it and run the same command again") from error
    where, _ = pretrained_source(backbone)
    source = {"source": "timm", "name": where.rpartition("/timm/")[2]}
    return _loaded(name, model, source, trained=True, origin={"address": where})


def _shipped(name: str, weights: str, given: dict[str, Any], seed: int) -> LoadedModel:
    """A model of the package, or with weights "none" the same at random."""
    file = shipped_file(name)
    backbone = given.get("backbone")
    if backbone not in (None, SHIPPED[name].backbone):
        raise WeightsError(
            f"{name} has the trunk {SHIPPED[name].backbone} and no other; for another one: "
            f"--model gem --backbone {backbone}"
        )
    if weights == "auto":
        loaded = _from_file(file, None, given)
        source = {"source": "package", "name": name, "sha256": loaded.identity["weights"]["sha256"]}
        return replace(loaded, identity={**loaded.identity, "weights": source})
    if weights != "none":
        raise WeightsError(f"{name} brings its own weights; for others: --model {weights}")
    card = read_card(file)
    model = build(card["model"], {**card["arguments"], **given}, seed)
    random = _loaded(card["model"], model, {"source": "none", "seed": seed}, trained=False)
    return replace(random, image_size=card["image_size"])


def _from_file(path: Path, wanted: str | None, given: dict[str, Any]) -> LoadedModel:
    """The model a file describes, after checking it is the one asked for and whole."""
    if path.suffix != WEIGHTS_SUFFIX or not path.is_file():
        raise WeightsError(f"weights must be auto, none or an existing *{WEIGHTS_SUFFIX} file, got {path}")
    card = read_card(path)
    name = card["model"]
    if name not in MODELS:
        raise WeightsError(f"{path} is for model {name!r}, which this imgret does not have: {', '.join(MODELS)}")
    if wanted not in (None, name):
        raise WeightsError(f"{path} holds the weights of {name}, not of {wanted}: use --model {name}")
    for key, value in given.items():
        if card["arguments"].get(key) != value:
            raise WeightsError(f"{path} was made with {key} {card['arguments'].get(key)!r}, not {value!r}")
    try:
        model = build(name, card["arguments"])
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path} describes a {name} this imgret cannot build: {error}") from error
    try:
        state = safetensors.torch.load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is damaged: {error}") from error
    _check_state(path, state, model.state_dict())
    if digest(state) != card["sha256"]:
        raise WeightsError(f"{path} is damaged: its tensors do not match its own digest; copy it again")
    model.load_state_dict(state)
    origin = {"path": str(path.absolute())}
    loaded = _loaded(name, model, {"source": "file"}, trained=card["trained"], origin=origin)
    return loaded if card["image_size"] is None else replace(loaded, image_size=card["image_size"])


def _check_state(path: Path, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """WeightsError unless the tensors are, by name and shape, those of the model."""
    for what, names in (
        ("lacks", expected.keys() - found.keys()),
        ("has an unexpected", found.keys() - expected.keys()),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise WeightsError(f"{path} {what} tensor {min(names)}{more}: it is of another model or version")
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape:
            raise WeightsError(
                f"{path}: tensor {name} is {list(found[name].shape)}, the model needs {list(tensor.shape)}"
            )


def _loaded(
    name: str,
    model: DescriptorModel,
    source: dict[str, Any],
    *,
    trained: bool,
    origin: dict[str, str] | None = None,
) -> LoadedModel:
    arguments = model.arguments()
    identity = {
        "model": name,
        "backbone": arguments.get("backbone"),
        "arguments": arguments,
        "weights": {**source, "sha256": digest(model.state_dict())},
    }
    return LoadedModel(model.eval(), identity, trained, MODELS[name].image_size, origin or {})
