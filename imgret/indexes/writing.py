"""Writing an INDEX: the files of a generation, then index.json by rename, then the old files go."""

# faiss ships type stubs that do not know the Python layer it adds to its own classes.
# mypy: disable-error-code="attr-defined"

from __future__ import annotations

import contextlib
import re
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import faiss
import numpy as np

from imgret import atomic
from imgret.ids import IdTable, escape
from imgret.indexes.files import INDEX_FILE, file_names
from imgret.remote_path import Place
from imgret.store.shard import sha256_of
from imgret.store.store import Root

_OURS = re.compile(
    r"(?:index|ids|origin|deleted|vectors|whitening|neighbours|similarities|tail|tail-ids|tail-origin|building)-\d+"
    r"\.(?:faiss|npy|bin|safetensors|json)(?:\.partial)?"
)


def write_faiss(path: Path, index: Any) -> None:
    """Write a FAISS index, whole or not at all, through Python, as FAISS cannot open every file name."""

    def fill(file: BinaryIO) -> None:
        failures: list[BaseException] = []

        def write(block: bytes) -> None:
            try:
                file.write(block)
            except BaseException as error:
                failures.append(error)
                raise

        try:
            faiss.write_index(index, faiss.PyCallbackIOWriter(write))
        except Exception:
            if failures:  # FAISS tells of "a write error"; the disk said which
                raise failures[0] from None
            raise

    atomic.write_with(path, fill)


def write_vectors(path: Path, shape: tuple[int, int], kind: str, blocks: Iterable[np.ndarray]) -> None:
    """Write vectors `shape` [N, D] as .npy, "<f2" in half precision or "<f4" in full, some rows at a time."""

    def fill(file: BinaryIO) -> None:
        _write_header(file, shape, kind)
        for block in blocks:
            file.write(np.ascontiguousarray(block, kind).data)

    atomic.write_with(path, fill)


def write_graph(
    folder: Path, generation: int, shape: tuple[int, int], blocks: Iterable[tuple[np.ndarray, np.ndarray]]
) -> None:
    """Write neighbours and their similarities, `shape` [rows, K] each, as two .npy files, some rows at a time."""
    names = file_names(generation)

    def fill(near_file: BinaryIO) -> None:
        def fill_both(similar_file: BinaryIO) -> None:
            _write_header(near_file, shape, "<i4")
            _write_header(similar_file, shape, "<f4")
            for near, similar in blocks:
                near_file.write(np.ascontiguousarray(near, "<i4").data)
                similar_file.write(np.ascontiguousarray(similar, "<f4").data)

        atomic.write_with(folder / names["similarities"], fill_both)

    atomic.write_with(folder / names["neighbours"], fill)


def _write_header(file: BinaryIO, shape: tuple[int, int], kind: str) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})


def write_rows(folder: Path, names: dict[str, str], ids: IdTable, origin: np.ndarray) -> None:
    """Write ids and their origins [N, 3] under the names of "ids", "offsets" and "origin"."""
    ids.save(folder / names["ids"], folder / names["offsets"])
    atomic.write_with(folder / names["origin"], lambda file: np.save(file, origin))


def write_deleted(path: Path, deleted: np.ndarray) -> None:
    """Write the rows that do not count."""
    atomic.write_with(path, lambda file: np.save(file, deleted))


def facts(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of those files that are there."""
    paths = [folder / name for name in names]
    return {path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in paths if path.exists()}


def place(folder: str | Place, seen_from: Path) -> dict[str, str]:
    """A folder as index.json tells it: absolute and relative to the INDEX, escaped as ids are."""
    root = Root.of(folder, seen_from)
    return {"absolute": escape(root.absolute), "relative": escape(root.relative)}


def publish(folder: Path, about: dict[str, Any]) -> None:
    """Make a generation the one that readers open, and remove what is not of it."""
    atomic.write_json(folder / INDEX_FILE, about)
    discard(folder, keep=about["files"])


def discard(folder: Path, keep: Container[str]) -> None:
    """Remove our files but those named. Open files stay readable where the system allows it."""
    for file in list(folder.iterdir()):
        if _OURS.fullmatch(file.name) and file.name not in keep:
            with contextlib.suppress(OSError):  # Windows keeps a mapped file; the next build removes it
                file.unlink()
