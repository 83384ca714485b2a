"""Shard: one immutable HDF5 file of descriptors with the names and facts of their images."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import h5py
import numpy as np

from imgret import atomic
from imgret.errors import StoreError
from imgret.ids import IdTable
from imgret.remote_path import Place, RemotePath

SCHEMA = "imgret.shard/2"
_READABLE = (SCHEMA, "imgret.shard/1")  # the first schema held ids as variable-length bytes
_BLOCK = 8 << 20
_COLUMNS = {
    "width": np.int32,
    "height": np.int32,
    "bytes": np.int64,
    "mtime_ns": np.int64,
    "root": np.uint16,
}


@dataclass(frozen=True)
class Shard:
    """N images in the order they were given, one row each.

    ids           N ids as bytes (see imgret.ids)
    descriptors   [N, D] float16 or float32 unit rows
    width, height [N] int32, pixels as displayed (after EXIF orientation), before any crop
    bytes         [N] int64, size of the image file
    mtime_ns      [N] int64, when the file (or tar member) was last changed, nanoseconds since 1970
    root          [N] uint16, which of the store's roots the id is relative to
    sha256        [N, 32] uint8, hash of the image file's bytes
    box           [N, 4] int32 crop x1, y1, x2, y2 (right and bottom exclusive), -1 where the whole
                  image was used, or None where the shard has no boxes
    """

    ids: Sequence[bytes]
    descriptors: np.ndarray
    width: np.ndarray
    height: np.ndarray
    bytes: np.ndarray
    mtime_ns: np.ndarray
    root: np.ndarray
    sha256: np.ndarray
    box: np.ndarray | None = None
    attributes: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)


def write(path: Place, shard: Shard, fingerprint: str) -> tuple[int, str]:
    """Write a shard, whole or not at all; return its size in bytes and its SHA-256.

    The file is composed in memory (a shard is a few tens of MB) and lands in one write, so a kill at
    any moment leaves either no shard or a sound one, and HDF5 never meets a full disk.
    """
    buffer = io.BytesIO()
    ends = np.cumsum([0, *map(len, shard.ids)], dtype=np.int64)
    with h5py.File(buffer, "w") as file:
        file.attrs["schema"] = SCHEMA
        file.attrs["recipe"] = fingerprint
        file.create_dataset("id_bytes", data=np.frombuffer(b"".join(shard.ids), np.uint8))
        file.create_dataset("id_offsets", data=ends)
        file.create_dataset("descriptors", data=shard.descriptors)  # contiguous: readers map it
        for name, kind in _COLUMNS.items():
            file.create_dataset(name, data=np.asarray(getattr(shard, name), kind))
        file.create_dataset("sha256", data=np.asarray(shard.sha256, np.uint8).reshape(-1, 32))
        if shard.box is not None:
            file.create_dataset("box", data=np.asarray(shard.box, np.int32).reshape(-1, 4))
    view = buffer.getbuffer()
    atomic.write_bytes(path, view)
    return len(view), hashlib.sha256(view).hexdigest()


def read(path: Place, fingerprint: str | None = None) -> Shard:
    """Read a shard. Descriptors are mapped from the file, at a URL read into memory; the rest is loaded.

    StoreError when the file is not a sound shard, or (with `fingerprint`) of another recipe.
    """
    with _opened(path, fingerprint) as file:
        descriptors = _mapped(path, file["descriptors"])
        ids = list(_ids(file).iter_raw())
        columns = {name: file[name][:] for name in (*_COLUMNS, "sha256")}
        box = file["box"][:] if "box" in file else None
        if any(len(column) != len(ids) for column in (descriptors, *columns.values())):
            raise StoreError(f"{path}: its columns differ in length; the shard is damaged")
        return Shard(ids, descriptors, box=box, attributes=dict(file.attrs), **columns)


def read_descriptors(path: Place, fingerprint: str | None = None) -> np.ndarray:
    """[N, D], the descriptors of a shard, mapped or in memory as by `read`; nothing else is read. Errors as `read`."""
    with _opened(path, fingerprint) as file:
        return _mapped(path, file["descriptors"])


def read_ids(path: Place, fingerprint: str | None = None) -> IdTable:
    """The ids of a shard; nothing else is read. Errors as `read`."""
    with _opened(path, fingerprint) as file:
        return _ids(file)


def read_columns(path: Place, names: Sequence[str], fingerprint: str | None = None) -> dict[str, Any]:
    """Some columns of a shard by name, `ids` as an IdTable; no `box` where it has none. Errors as `read`."""
    with _opened(path, fingerprint) as file:
        there = [name for name in names if name != "box" or name in file]
        return {name: _ids(file) if name == "ids" else file[name][:] for name in there}


@contextmanager
def _opened(path: Place, fingerprint: str | None) -> Iterator[h5py.File]:
    """A shard file, its schema and recipe checked; what HDF5 says of a broken one is a StoreError."""
    try:
        with path.open("rb") as raw, h5py.File(raw, "r") as file:  # h5py refuses paths that are not UTF-8
            schema = file.attrs.get("schema")
            if schema not in _READABLE:
                raise StoreError(f"{path} has schema {schema!r}, this imgret reads {SCHEMA!r}; extract it again")
            if fingerprint is not None and file.attrs["recipe"] != fingerprint:
                raise StoreError(f"{path} was made by another recipe than its store says; extract it again")
            yield file
    except FileNotFoundError:
        raise StoreError(f"{path} is missing; restore it, or extract again into a new store") from None
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise StoreError(f"{path} is not a sound shard: {error}") from error


def _mapped(path: Place, matrix: h5py.Dataset) -> np.ndarray:
    offset = matrix.id.get_offset()
    if isinstance(path, RemotePath) or offset is None or matrix.shape[0] == 0:
        return matrix[:]
    return np.memmap(path, matrix.dtype, "r", offset=offset, shape=matrix.shape)


def _ids(file: h5py.File) -> IdTable:
    if "ids" in file:
        return IdTable.of(file["ids"][:].tolist())
    return IdTable(file["id_bytes"][:], file["id_offsets"][:])


def sha256_of(path: Place) -> str:
    """SHA-256 of a whole file, read 8 MB at a time."""
    state = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            state.update(block)
    return state.hexdigest()


def copy(source: Place, target: BinaryIO, sha256: str) -> None:
    """Copy a shard file; StoreError when its SHA-256 is another."""
    state = hashlib.sha256()
    with source.open("rb") as file:
        while block := file.read(_BLOCK):
            state.update(block)
            target.write(block)
    if state.hexdigest() != sha256:
        raise StoreError(f"{source} is damaged: its SHA-256 differs from the manifest; restore it")
