"""Push: make a collection hold what a store holds, go on where that was cut off, and make sure of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imgret.errors import InputError, RecipeError, ServerError, StoreError
from imgret.ids import to_bytes, unescape
from imgret.milvus.collection import DEFAULT, Collection
from imgret.milvus.place import Place
from imgret.milvus.rows import Rows, batches, check_lengths, sample
from imgret.milvus.server import Server
from imgret.store.store import Store

Progress = Callable[[str, int, int], None]
_TOLERANCE = 1e-3  # of the cosine of a row with itself; a server may keep its index in half precision
_AMONG = 10  # results in which a row must find itself


@dataclass
class PushReport:
    """What a push came to, or would come to: rows of the store, by what became of them, and of the collection.

    gone     rows of the collection that the store does not hold; those are removed only with `prune`
    total    rows that the collection holds then
    checked  rows of the store that were searched with their own descriptor
    """

    collection: str
    place: str
    created: bool = False
    added: int = 0
    replaced: int = 0
    kept: int = 0
    gone: int = 0
    pruned: bool = False
    total: int = 0
    checked: int = 0
    seconds: float = 0.0


def push(
    store: Store,
    place: Place,
    *,
    batch: int = 1000,
    index: str | None = None,
    prune: bool = False,
    dry_run: bool = False,
    sampled: int = 32,
    progress: Progress | None = None,
) -> PushReport:
    """Write the live rows of a store into a collection; those that are there already are left alone.

    index    FLAT (exact) or AUTOINDEX (the server's choice) for a collection that does not exist yet. None: FLAT in
             a local database, AUTOINDEX on a server
    sampled  rows that are searched with their own descriptor at the end

    RecipeError for a collection of another recipe, ServerError where what it holds at the end is not what it should.
    """
    if not store.count:
        raise StoreError(f"{store.path} holds no descriptors to push")
    check_lengths(store)
    report = PushReport(place.collection or DEFAULT, str(place), pruned=prune)
    begun = time.monotonic()
    if dry_run and place.local and not Path(place.uri).exists():
        report.created, report.added = True, store.count
        return report
    with Server.connect(place, create=True) as server:
        found = Collection.open(server, report.collection)
        if found is not None:
            _check(found, store, index)
        report.created = found is None
        if found is None and dry_run:
            report.added = store.count
            return report
        if found is None:
            found = Collection.create(server, report.collection, store, index or _index_for(place))
        _write(store, found, report, batch, prune, dry_run, progress)
        if not dry_run:
            report.checked = verify(store, found, report.total, sampled, progress)
            found.mark(report.total)
    report.seconds = time.monotonic() - begun
    return report


def _index_for(place: Place) -> str:
    return "FLAT" if place.local else "AUTOINDEX"


def _check(found: Collection, store: Store, index: str | None) -> None:
    """Refuse a collection of another recipe, or another index than is asked for."""
    if found.fingerprint != store.fingerprint:
        keys = {**found.recipe, **store.recipe}
        key = next((key for key in keys if found.recipe.get(key) != store.recipe.get(key)), "recipe")
        raise RecipeError(
            f"{found} was made with {key} {found.recipe.get(key)!r}, {store.path} with {store.recipe.get(key)!r}; one "
            f"collection holds one recipe: imgret push {store.path} --to milvus --uri {found.server.place} "
            "--collection ANOTHER"
        )
    if index not in (None, found.index):
        raise InputError(f"{found} has the index {found.index}, not {index}; name another collection for that")


def _write(
    store: Store,
    found: Collection,
    report: PushReport,
    batch: int,
    prune: bool,
    dry_run: bool,
    progress: Progress | None,
) -> None:
    before = found.count()
    done = 0
    for rows in batches(store, batch):
        known = found.facts(rows.ids) if before else {}
        missing = [row for row, one in enumerate(rows.ids) if one not in known]
        changed = [row for row, one in enumerate(rows.ids) if one in known and known[one] != rows.facts[row]]
        report.added += len(missing)
        report.replaced += len(changed)
        report.kept += len(rows) - len(missing) - len(changed)
        if (missing or changed) and not dry_run:
            found.upsert(rows.chosen(sorted(missing + changed)))
        done += len(rows)
        if progress is not None:
            progress("pushing", done, store.count)
    report.gone = before - report.kept - report.replaced
    report.total = before + report.added
    if prune:
        if report.gone and not dry_run:
            _prune(store, found, report.gone, batch, progress)
        report.total -= report.gone


def _prune(store: Store, found: Collection, gone: int, batch: int, progress: Progress | None) -> None:
    """Remove the rows that the store does not hold."""
    # 64 bits stand for an id; in the worst case, once in a great many, a row would stay that should go
    held = np.sort(np.fromiter(map(hash, store.ids()), np.int64, store.count))
    lost: list[str] = []
    for page in found.ids():
        hashes = np.fromiter((hash(to_bytes(unescape(one))) for one in page), np.int64, len(page))
        places = np.minimum(np.searchsorted(held, hashes), len(held) - 1)
        lost += [page[number] for number in np.flatnonzero(held[places] != hashes).tolist()]
    for start in range(0, len(lost), batch):
        found.remove(lost[start : start + batch])
        if progress is not None:
            progress("removing", min(start + batch, len(lost)), gone)


def verify(store: Store, found: Collection, total: int, sampled: int, progress: Progress | None = None) -> int:
    """Make sure that a collection holds `total` rows, and some of the store's as they are; how many were looked at.

    Each of the sampled rows is searched with its own descriptor, and must find itself with a cosine of 1 and its own
    facts. ServerError otherwise.
    """
    count = found.count()
    if count != total:
        raise ServerError(
            f"{found} holds {count:,} rows where {total:,} are expected; is another program writing it? "
            "Run the same command again"
        )
    wrong: list[str] = []
    checked = 0
    for rows in sample(store, sampled):
        wrong += _wrong(found, rows)
        checked += len(rows)
        if progress is not None:
            progress("verifying", checked, min(sampled, store.count))
    if wrong:
        raise ServerError(
            f"{found}: {len(wrong)} of {checked} sampled rows are not as in {store.path} ({wrong[0]}); "
            "push into another collection with --collection"
        )
    return checked


def _wrong(found: Collection, rows: Rows) -> Iterator[str]:
    """What is wrong with some rows, in words."""
    names = list(rows.facts[0]) if len(rows) else []
    for number, line in enumerate(found.search(rows.descriptors, _AMONG, names)):
        own, facts = rows.ids[number], rows.facts[number]
        if not rows.descriptors[number].any():  # a black image may have none: no cosine is defined
            continue
        hit = next((one for one in line if one.id == own), None)
        if hit is None and len(line) == _AMONG and line[-1].score > 1 - _TOLERANCE:
            # so many copies of it that it need not be among the first
            hit = next(iter(found.search(rows.descriptors[number : number + 1], 1, names, only=own)[0]), None)
        if hit is None:
            yield f"{own} does not find itself"
        elif abs(hit.score - 1) > _TOLERANCE:
            yield f"{own} has a cosine of {hit.score:.4f} with itself"
        elif hit.facts != facts:
            yield f"{own}: {_difference(hit.facts, facts)}"


def _difference(there: dict[str, Any], here: dict[str, Any]) -> str:
    name = next(name for name in here if there.get(name) != here[name])
    return f"its {name} is {there.get(name)!r}, not {here[name]!r}"
