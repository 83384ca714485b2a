"""`inspect`: what a file or folder of ours holds, and whether it is sound."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgret.errors import ImgretError, InputError

if TYPE_CHECKING:
    from imgret.remote_path import Place


@dataclass
class Inspection:
    """What was found: the kind of thing, its facts in order, and what is wrong with it."""

    kind: str
    facts: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def inspect(path: Path, *, every_file: bool = False) -> Inspection:
    """Look at a store, shard, index, weights or whitening file, every byte of it. InputError for anything else.

    `every_file` adds a line for every shard of a store.
    """
    from imgret.indexes.files import Index
    from imgret.indexes.parts.files import Parts
    from imgret.remote_path import RemotePath, as_place
    from imgret.store.store import Store
    from imgret.whitening.transform import is_whitening

    place = as_place(path)
    if isinstance(place, RemotePath):
        return _store(place, every_file)
    path = place
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if Store.exists(path):
        return _store(path, every_file)
    if Parts.exists(path):
        return _parts(path)
    if path.is_dir() and Index.exists(path):
        return _index(path)
    if path.is_dir() and (any(path.glob("building-*.json")) or (path / "parts" / "plan.json").exists()):
        raise InputError(f"{path} is an index that was not finished; run the same imgret index again")
    if path.suffix == ".h5":
        return _shard(path)
    if path.suffix == ".safetensors":
        return _whitening(path) if is_whitening(path) else _weights(path)
    raise InputError(
        f"{path} is neither a store, a shard (.h5), an index, nor a weights or whitening file (.safetensors)"
    )


def _store(path: Place, every_file: bool) -> Inspection:
    from imgret.remote_path import RemotePath
    from imgret.store import failures
    from imgret.store import shard as shards
    from imgret.store.store import FAILURES_FILE, Store

    store = Store.open(path)
    failed = sum(1 for _ in failures.read(path / FAILURES_FILE))
    dropped = sum(len(entry.dropped) for entry in store.shards)
    found = Inspection(
        "store",
        {
            "descriptors": f"{store.count:,} x {store.dim}",
            "shards": len(store.shards),
            "replaced or removed rows": dropped,
            "failed images": failed,
            "bytes": f"{sum(entry.bytes for entry in store.shards):,}",
            **{f"recipe: {key}": value for key, value in store.recipe.items()},
            "roots": ", ".join(root.absolute for root in store.roots),
            "versions": ", ".join(f"{name} {version}" for name, version in store.versions.items()),
        },
    )
    for number, entry in enumerate(store.shards):
        if every_file:
            found.facts[entry.file] = f"{entry.live_count:,} of {entry.count:,} rows, sha256 {entry.sha256}"
        try:
            store.verify(number)
            store.read_shard(number)
        except ImgretError as error:
            found.problems.append(f"{entry.file}: {error}")
    listed = {entry.file for entry in store.shards}
    orphans = sorted(file.name for file in path.glob("shard-*.h5") if file.name not in listed)
    if orphans:
        fate = "these images are described again" if isinstance(path, RemotePath) else "the next extract takes them in"
        found.facts["finished but not listed"] = f"{', '.join(orphans)} ({fate})"
    for name in () if isinstance(path, RemotePath) else orphans:
        try:
            shards.read(path / name, store.fingerprint)
        except ImgretError as error:
            found.problems.append(f"{name} is not in the manifest, and: {error}")
    return found


def _shard(path: Path) -> Inspection:
    from imgret.ids import escape, from_bytes
    from imgret.store import shard as shards
    from imgret.store.store import Store

    shard = shards.read(path)
    first = ", ".join(escape(from_bytes(raw)) for raw in shard.ids[:3])
    found = Inspection(
        "shard",
        {
            "descriptors": f"{len(shard):,} x {shard.descriptors.shape[1]} {shard.descriptors.dtype}",
            "boxes": "no" if shard.box is None else "yes",
            "first images": first,
            "recipe": shard.attributes["recipe"],
            "sha256": shards.sha256_of(path),
        },
    )
    if Store.exists(path.parent):
        known = {entry.file: entry.sha256 for entry in Store.open(path.parent).shards}
        if known.get(path.name, found.facts["sha256"]) != found.facts["sha256"]:
            found.problems.append("damaged: its SHA-256 differs from the manifest beside it")
    else:
        found.facts["sha256"] += " (no manifest beside it to compare with)"
    if len(set(shard.ids)) < len(shard):
        found.problems.append("an id stands in it twice")
    return found


def _index(path: Path) -> Inspection:
    from imgret.indexes.dba import dba_of
    from imgret.indexes.files import Index
    from imgret.whitening.transform import words

    try:
        index = Index.open(path)
    except ImgretError as error:
        return Inspection("index", {}, [str(error)])
    about = index.about
    return Inspection(
        "index",
        {
            "images": f"{index.count:,} x {index.dim}",
            "left out (removed)": len(index.deleted),
            "in the tail (came after the base)": len(index.ids) - index.base_rows,
            "kind": f"{about['kind']} ({about['factory']})",
            "why": about["why"],
            "parameters": about["parameters"],
            "recall": about["recall"],
            "whitening": "none" if index.whitening is None else words(index.whitening.card()),
            "augmentation": str(dba_of(about) or "none"),
            "graph": f"{about['graph']} neighbours a row" if about.get("graph") else "none",
            **{f"recipe: {key}": value for key, value in index.recipe.items()},
            "bytes": f"{sum(file['bytes'] for file in about['files'].values()):,}",
        },
        index.verify(),
    )


def _parts(path: Path) -> Inspection:
    from imgret.indexes.parts.files import Parts, files_of
    from imgret.whitening.transform import words

    try:
        index = Parts.open(path)
        whitening = index.whitening
    except ImgretError as error:
        return Inspection("index in parts", {}, [str(error)])
    about = index.about
    counts = [part["count"] for part in about["parts"]]
    return Inspection(
        "index in parts",
        {
            "images": f"{index.count:,} x {index.dim}",
            "parts": f"{len(counts)} of {min(counts):,} to {max(counts):,} images",
            "kind": f"{about['kind']} ({about['factory']})",
            "why": about["why"],
            "parameters": about["parameters"],
            "recall": about["recall"],
            "whitening": "none" if whitening is None else words(whitening.card()),
            **{f"recipe: {key}": value for key, value in index.recipe.items()},
            "bytes": f"{sum(file['bytes'] for file in files_of(about).values()):,}",
        },
        index.verify(),
    )


def _whitening(path: Path) -> Inspection:
    from imgret.whitening.transform import Whitening

    try:
        made = Whitening.load(path)
    except ImgretError as error:
        return Inspection("whitening", {}, [str(error)])
    about = dict(made.about)
    recipe = about.pop("recipe")
    return Inspection(
        "whitening",
        {
            "dimensions": f"{made.dim_in} -> {made.dim}",
            **{key: value for key, value in about.items() if value is not None},
            "sha256": made.sha256,
            "bytes": f"{path.stat().st_size:,}",
            **{f"recipe: {key}": value for key, value in recipe.items()},
        },
    )


def _weights(path: Path) -> Inspection:
    from imgret.models.weights import load_model
    from imgret.models.weights_card import read_card

    card = read_card(path)
    found = Inspection("weights", {key: value for key, value in card.items() if key != "schema"})
    try:
        load_model(path)
    except ImgretError as error:
        found.problems.append(str(error))
    return found
