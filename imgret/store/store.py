"""Store: what a STORE folder holds, read and checked; writing is `writer.py`'s work."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from imgret.errors import ImgretError, StoreError
from imgret.ids import IdTable, escape, unescape
from imgret.places import archive_ends, is_url, remote_place
from imgret.remote_path import Place, RemotePath, as_place
from imgret.store import shard as shards
from imgret.store.shard import Shard

SCHEMA = "imgret.store/1"
MANIFEST_SCHEMA = "imgret.manifest/1"
STORE_FILE = "store.json"
MANIFEST_FILE = "manifest.json"
FAILURES_FILE = "failures.csv"


@dataclass(frozen=True)
class Root:
    """A folder that ids are relative to: where it was, and where it was as seen from the store."""

    absolute: str
    relative: str

    @classmethod
    def of(cls, folder: Place | str, store: Place) -> Root:
        """The root for a folder, as a store at `store` remembers it."""
        if isinstance(folder, RemotePath) or is_url(folder):
            return cls(str(folder), str(folder))
        absolute = os.path.abspath(folder)
        if isinstance(store, RemotePath):  # a folder is nowhere as seen from there
            return cls(absolute, absolute)
        try:
            relative = os.path.relpath(absolute, os.path.abspath(store))
        except ValueError:  # another drive on Windows
            relative = absolute
        return cls(absolute, Path(relative).as_posix())

    def locate(self, store: Place) -> Path | str:
        """Where the folder is now: the same place, or moved together with the store. A URL stays what it is."""
        if is_url(self.absolute):
            return self.absolute
        here = Path(self.absolute)
        if here.exists() or isinstance(store, RemotePath):
            return here
        beside = store / self.relative
        return Path(os.path.normpath(beside)) if beside.exists() else here


@dataclass
class ShardEntry:
    """A live shard as the manifest knows it; `dropped` are rows replaced or removed since."""

    file: str
    count: int
    bytes: int
    sha256: str
    dropped: list[int] = field(default_factory=list)

    @property
    def live_count(self) -> int:
        return self.count - len(self.dropped)

    def live_rows(self) -> np.ndarray:
        """[n] int64, rows of the shard that still count, rising."""
        return np.setdiff1d(np.arange(self.count), np.asarray(self.dropped, np.int64), assume_unique=True)


@dataclass(frozen=True)
class Block:
    """Some live rows of a store: unit float32 descriptors [n, D] with where they come from."""

    descriptors: np.ndarray
    ids: list[bytes]
    root: np.ndarray
    shard: int
    rows: np.ndarray


def content_sha256(live: Mapping[str, np.ndarray]) -> str:
    """One hash of some rows, by the SHA-256 of the shards they are in: the same for a store and an index over it."""
    state = hashlib.sha256()
    for sha256, rows in sorted(live.items()):
        if len(rows):
            state.update(sha256.encode() + np.sort(rows).astype("<i8").tobytes())
    return state.hexdigest()


def fingerprint_of(recipe: dict[str, Any]) -> str:
    """SHA-256 of a recipe, the same on every machine."""
    text = json.dumps(recipe, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class Store:
    """An open STORE, in a folder or at a URL.

    recipe      what made the descriptors; `fingerprint` is its hash
    dim         D
    roots       folders that ids are relative to
    shards      live shards, in the order they were written
    versions    of the libraries that began it: recorded, never compared
    origin      where the weights were found then; not part of the recipe
    """

    path: Place
    recipe: dict[str, Any]
    fingerprint: str
    dim: int
    roots: list[Root]
    shards: list[ShardEntry]
    versions: dict[str, str] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)

    @classmethod
    def exists(cls, path: Place) -> bool:
        """Whether the folder holds a store, sound or not."""
        return (path / STORE_FILE).exists()

    @classmethod
    def check_free(cls, path: Place) -> None:
        """ImgretError unless the folder holds a store, or nothing that a new one would overwrite."""
        if path.exists() and not path.is_dir():
            raise ImgretError(f"{path} is a file; -o wants the folder of the store")
        for name in () if cls.exists(path) else (MANIFEST_FILE, FAILURES_FILE, "index.json"):
            if (path / name).exists():
                raise ImgretError(f"{path} holds a {name} that is not a store's; name a folder of its own with -o")

    @classmethod
    def open(cls, path: Place | str) -> Store:
        """Read and check store.json and manifest.json; shards are opened when they are needed."""
        path = as_place(path)
        if isinstance(path, Path) and not path.is_dir():
            raise StoreError(f"{path} is not a store: no such folder. Make one: imgret extract IMAGES -o {path}")
        if not cls.exists(path):
            raise StoreError(
                f"{path} is not a store: it has no {STORE_FILE}. Make one: imgret extract IMAGES -o {path}"
            )
        try:
            return cls._read(path)
        except (KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"{path}: {STORE_FILE} or {MANIFEST_FILE} is damaged ({error!r}); restore it") from error

    @classmethod
    def _read(cls, path: Place) -> Store:
        about = _read_json(path / STORE_FILE, SCHEMA)
        recipe = about["recipe"]
        if about["fingerprint"] != fingerprint_of(recipe):
            raise StoreError(
                f"{path / STORE_FILE}: the recipe was edited (its fingerprint differs); "
                "restore the file or extract again into a new store"
            )
        entries: list[ShardEntry] = []
        if (path / MANIFEST_FILE).exists():
            manifest = _read_json(path / MANIFEST_FILE, MANIFEST_SCHEMA)
            if manifest["recipe"] != about["fingerprint"]:
                raise StoreError(f"{path / MANIFEST_FILE} belongs to another recipe than {STORE_FILE}")
            entries = [ShardEntry(**entry) for entry in manifest["shards"]]
        return cls(
            path=path,
            recipe=recipe,
            fingerprint=about["fingerprint"],
            dim=about["dim"],
            roots=[Root(unescape(root["absolute"]), unescape(root["relative"])) for root in about["roots"]],
            shards=entries,
            versions=about["versions"],
            origin={key: unescape(value) for key, value in about["origin"].items()},
        )

    @property
    def count(self) -> int:
        """Live descriptors."""
        return sum(entry.live_count for entry in self.shards)

    @property
    def content_sha256(self) -> str:
        """A hash of the live rows."""
        return content_sha256({entry.sha256: entry.live_rows() for entry in self.shards})

    def about(self) -> dict[str, Any]:
        """The content of store.json."""
        return {
            "schema": SCHEMA,
            "recipe": self.recipe,
            "fingerprint": self.fingerprint,
            "dim": self.dim,
            "roots": [{"absolute": escape(root.absolute), "relative": escape(root.relative)} for root in self.roots],
            "versions": self.versions,
            "origin": {key: escape(value) for key, value in self.origin.items()},
        }

    def manifest(self) -> dict[str, Any]:
        """The content of manifest.json."""
        return {
            "schema": MANIFEST_SCHEMA,
            "recipe": self.fingerprint,
            "count": self.count,
            "shards": [vars(entry) for entry in self.shards],
        }

    def read_shard(self, number: int) -> Shard:
        """Open a live shard; StoreError when it is not what the manifest says."""
        shard = shards.read(self.shard_path(number), self.fingerprint)
        self._check_shape(number, shard.descriptors.shape)
        return shard

    def descriptors(self, number: int) -> np.ndarray:
        """[N, D] of a live shard, dead rows too, as stored and mapped; its ids and facts are not read."""
        matrix = shards.read_descriptors(self.shard_path(number), self.fingerprint)
        self._check_shape(number, matrix.shape)
        return matrix

    def shard_ids(self, number: int) -> IdTable:
        """The N ids of a live shard, dead rows too; nothing else of it is read."""
        ids = shards.read_ids(self.shard_path(number), self.fingerprint)
        self._check_shape(number, (len(ids), self.dim))
        return ids

    def shard_path(self, number: int) -> Place:
        """The file of a live shard; StoreError when its size is not what the manifest says."""
        entry = self.shards[number]
        path = self.path / entry.file
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return path  # reading it will tell
        if size != entry.bytes:
            raise StoreError(
                f"{path} has {size} bytes, the manifest says {entry.bytes}; look at it with: imgret info {self.path}"
            )
        return path

    def columns(self, number: int, *names: str) -> dict[str, Any]:
        """Some columns of a live shard by name, `ids` among them, dead rows too; nothing else of it is read."""
        found = shards.read_columns(self.shard_path(number), names, self.fingerprint)
        self._check_shape(number, (len(found["ids"]), self.dim))
        return found

    def _check_shape(self, number: int, shape: tuple[int, ...]) -> None:
        entry = self.shards[number]
        if shape != (entry.count, self.dim):
            raise StoreError(
                f"{self.path / entry.file} holds {shape}, the manifest says ({entry.count}, {self.dim}); "
                f"look at it with: imgret info {self.path}"
            )

    def verify(self, number: int) -> None:
        """Compare a shard's whole-file SHA-256 with the manifest; StoreError when they differ."""
        entry = self.shards[number]
        path = self.path / entry.file
        if not path.exists():
            raise StoreError(f"{path} is missing")
        if shards.sha256_of(path) != entry.sha256:
            raise StoreError(
                f"{path} is damaged: its SHA-256 differs from the manifest. Restore it, or move it "
                "away together with the store and extract again"
            )

    def ids(self) -> Iterator[bytes]:
        """Ids of the live rows, in order; no descriptor is read."""
        for number, entry in enumerate(self.shards):
            ids = self.shard_ids(number)
            yield from (map(ids.raw, entry.live_rows().tolist()) if entry.dropped else ids.iter_raw())

    def blocks(self, rows: int = 65536) -> Iterator[Block]:
        """Live rows in order, at most `rows` at a time, as unit float32 descriptors."""
        for number, entry in enumerate(self.shards):
            shard = self.read_shard(number)
            live = entry.live_rows()
            for start in range(0, len(live), rows):
                chosen = live[start : start + rows]
                yield Block(
                    descriptors=unit(shard.descriptors[chosen]),
                    ids=[shard.ids[row] for row in chosen],
                    root=shard.root[chosen],
                    shard=number,
                    rows=chosen,
                )


_BOX = re.compile(r"#\d+,\d+,\d+,\d+$")


def locate_image(folder: Path | str, image_id: str) -> str | None:
    """The file of an id below a folder; None where there is none. Below a URL nothing is looked for.

    A crop box in the id is left out; for a member of an archive the answer is the archive.
    """
    if isinstance(folder, str) and is_url(folder):
        return remote_place(folder, image_id)
    for name in dict.fromkeys((image_id, _BOX.sub("", image_id))):
        for end in [len(name), *archive_ends(name)]:
            path = os.path.join(folder, name[:end])
            if name[:end] and os.path.isfile(path):
                return str(Path(path))
    return None


def unit(descriptors: np.ndarray) -> np.ndarray:
    """Rows as float32 of length 1 (stored in half precision they are off by up to 1e-3)."""
    rows = np.array(descriptors, np.float32)
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    rows /= np.maximum(norms, 1e-12)[:, None]
    return rows


def _read_json(path: Place, schema: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error
    found = value.get("schema") if isinstance(value, dict) else None
    if found != schema:
        raise StoreError(
            f"{path} has schema {found!r}, this imgret reads {schema!r}. "
            "Extract again into a new store, or use the imgret that wrote it"
        )
    return value
