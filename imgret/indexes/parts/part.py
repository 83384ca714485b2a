"""One part of an INDEX: a job that any process does which sees the folders, and what is left when it is done."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from imgret import atomic
from imgret.errors import IndexFileError, SpaceError
from imgret.indexes.files import INDEX_FILE, load_faiss
from imgret.indexes.generation import Job
from imgret.indexes.kinds import Choice
from imgret.indexes.parts.dealing import subset
from imgret.indexes.plan import from_scratch
from imgret.indexes.rows import Progress, gather
from imgret.store.shard import sha256_of
from imgret.store.store import Store
from imgret.whitening.transform import Whitening

FORM = 1  # of a part's files, in its key
PARTIAL = ".partial"


@dataclass(frozen=True)
class PartJob:
    """What one part is to hold. Plain values; paths are seen alike by all who do such jobs.

    number      of the part, from 0
    folder      where it will be: part-NNNNN-KEY below parts/ of the INDEX
    key         `part_key` of what it is made of
    stores      paths of stores, and of each the numbers of the `shards` that are in this part
    trained     file of the empty FAISS index that all parts begin with, and `training`, as in index.json
    whitening   file of what descriptors pass through, or None
    choice, seed, target, max_memory  as for the whole INDEX, written down with the part
    """

    number: int
    folder: str
    key: str
    stores: tuple[str, ...]
    shards: tuple[tuple[int, ...], ...]
    trained: str
    training: dict[str, Any]
    whitening: str | None
    choice: Choice
    seed: int
    target: float
    max_memory: int | None


@dataclass(frozen=True)
class PartDone:
    """A part that is there: its number, its images, and whether it was there before."""

    number: int
    count: int
    kept: bool


def build_part(job: PartJob, progress: Progress | None = None) -> PartDone:
    """Write one part, an INDEX by itself but for the measured recall; keep it where it is there already.

    Every shard is hashed before it is used. The folder appears by rename, whole or not at all, so a job may be killed,
    and may be done twice at once. StoreError for a damaged shard, IndexFileError for stores that have changed since
    the job was made, SpaceError for a full disk.
    """
    folder = Path(job.folder)
    count = finished(folder)
    if count is not None:
        return PartDone(job.number, count, kept=True)
    building = folder.with_name(f"{folder.name}.{uuid4().hex[:8]}{PARTIAL}")
    try:
        building.mkdir(parents=True)
        count = _write(job, building, progress)
        if finished(folder) is None:  # no twin was quicker
            with contextlib.suppress(OSError):
                shutil.rmtree(folder)  # what is there is not sound
        try:
            os.rename(building, folder)
            atomic.sync_folder(folder.parent)
        except OSError:
            if finished(folder) is None:  # else another was quicker
                raise
    except SpaceError:
        raise
    except OSError as error:
        raise IndexFileError(f"{error.filename or building} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return PartDone(job.number, count, kept=False)


def _write(job: PartJob, building: Path, progress: Progress | None) -> int:
    stores = []
    for path, numbers in zip(job.stores, job.shards, strict=True):
        store = Store.open(path)
        if numbers and max(numbers) >= len(store.shards):
            raise _changed(store)
        stores.append(subset(store, numbers))
    whitening = None if job.whitening is None else Whitening.load(Path(job.whitening))
    trained = Path(job.trained)
    if part_key(stores, sha256_of(trained), whitening) != job.key:
        raise _changed(*stores)
    rows = gather(stores, verify=True, whitening=whitening, progress=progress)
    Job(
        building,
        rows,
        from_scratch(rows),
        job.choice,
        "anew",
        job.seed,
        job.target,
        job.max_memory,
        None,
        0,
        progress,
        begun=(load_faiss(trained), dict(job.training)),
        measured=False,
    ).run(None)
    return len(rows)


def _changed(*stores: Store) -> IndexFileError:
    names = ", ".join(str(store.path) for store in stores)
    return IndexFileError(f"{names} changed while the index was being made; run the same again")


def part_key(stores: Sequence[Store], trained: str, whitening: Whitening | None) -> str:
    """A hash of all that a part depends on: live rows of its shards, and the SHA-256 of what was `trained`."""
    shards = [[[entry.sha256, entry.dropped] for entry in store.shards] for store in stores]
    roots = [[root.absolute for root in store.roots] for store in stores]
    made = [FORM, stores[0].fingerprint, trained, None if whitening is None else whitening.sha256]
    return hashlib.sha256(json.dumps([made, roots, shards]).encode()).hexdigest()


def finished(folder: Path) -> int | None:
    """Images of the part in a folder; None where there is none, or it is not whole."""
    try:
        about = read_about(folder)
        whole = all((folder / name).stat().st_size == facts["bytes"] for name, facts in about["files"].items())
        return int(about["count"]) if whole else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def read_about(folder: Path) -> dict[str, Any]:
    """The index.json of a part."""
    about: dict[str, Any] = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
    return about
