"""Rows: every live descriptor of the stores given, with its id and where it came from."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from imgret.errors import IndexFileError, StoreError
from imgret.ids import IdTable, escape
from imgret.store.store import Root, Store, unit
from imgret.whitening.transform import Whitening

Progress = Callable[[str, int, int], None]
T = TypeVar("T")

ROUNDING = 1 / 2048  # the most by which rounding to half precision, of 11 bits, changes the length of a unit row


@dataclass(frozen=True)
class Rows:
    """N live rows of some stores, in the order of the stores, their shards and the rows in them.

    ids        N ids
    origin     [N, 3] int32: number in `shards`, row in the shard, number in `roots`
    shards     SHA-256 of every shard file
    roots      (absolute) roots as in the stores, each once
    whitening  what descriptors pass through as they are read; None for none
    augment    what they pass through last, given row numbers [n] and descriptors [n, D]; None for nothing
    """

    stores: Sequence[Store]
    ids: IdTable
    origin: np.ndarray
    shards: list[str]
    roots: list[Root]
    places: list[tuple[Store, int]]
    whitening: Whitening | None = None
    augment: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None

    @property
    def dim(self) -> int:
        """D of the descriptors as they are read."""
        return self.stores[0].dim if self.whitening is None else self.whitening.dim

    def __len__(self) -> int:
        return len(self.ids)

    def keys(self) -> np.ndarray:
        """[N] int64, one number per row from its shard's number and its row there."""
        return key_of(self.origin[:, 0], self.origin[:, 1])

    def read(self, rows: np.ndarray, at_once: int = 16384) -> Iterator[np.ndarray]:
        """Unit float32 descriptors of the given rows (rising), in order, some at a time."""
        return (block for _, block in self.stored(rows, np.float32, at_once))

    def stored(self, rows: np.ndarray, kind: Any, at_once: int = 16384) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """What an INDEX keeps of those rows, float32 or float16, and the unit float32 descriptors that it stands for.

        Rows that are in half precision already are kept as they are.
        """
        firsts = np.searchsorted(self.origin[:, 0], np.arange(len(self.places) + 1))
        ends = np.searchsorted(rows, firsts)
        for shard in np.flatnonzero(np.diff(ends)).tolist():
            store, number = self.places[shard]
            descriptors = store.descriptors(number)
            for start in range(ends[shard], ends[shard + 1], at_once):
                chosen = rows[start : min(start + at_once, ends[shard + 1])]
                inside = self.origin[chosen, 1]
                together = inside[-1] - inside[0] == len(inside) - 1  # a slice of a mapped file needs no copy
                raw = descriptors[inside[0] : inside[-1] + 1] if together else descriptors[inside]
                block = np.array(raw, np.float32)
                lengths = np.sqrt(np.einsum("nd,nd->n", block, block))
                if not np.isfinite(lengths).all():
                    raise StoreError(
                        f"{store.path / store.shards[number].file} holds NaN or infinity; extract it again"
                    )
                block /= np.maximum(lengths, 1e-12)[:, None]
                as_they_are = raw.dtype == np.float16 and bool(np.abs(lengths - 1).max() <= ROUNDING)
                if self.whitening is not None:
                    block, as_they_are = unit(self.whitening.apply(block)), False
                if self.augment is not None:
                    block, as_they_are = self.augment(chosen, block), False
                if kind == np.float32:
                    yield block, block
                elif as_they_are:
                    yield raw, block
                else:
                    half = block.astype(np.float16)
                    yield half, unit(half)


def ahead(blocks: Iterator[T]) -> Iterator[T]:
    """The same blocks; the next one is made by a thread while the caller works on the present one."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = reader.submit(next, blocks, None)
            yield block


def key_of(shards: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """One int64 per (shard number, row in the shard)."""
    return shards.astype(np.int64) << 32 | rows.astype(np.int64)


def gather(
    stores: Sequence[Store],
    *,
    verify: bool,
    sound: Container[str] = (),
    whitening: Whitening | None = None,
    progress: Progress | None = None,
) -> Rows:
    """The rows of all stores. Only ids and roots are read, a shard at a time.

    With `verify` every shard is hashed first, but for those whose SHA-256 is among the `sound`.

    IndexFileError for stores of different recipes, no rows at all, or an id that stands twice;
    StoreError for a damaged shard; WhiteningError for a whitening of another recipe.
    """
    _same_recipe(stores)
    if whitening is not None:
        whitening.check_recipe(stores[0].recipe, stores[0].fingerprint, stores[0].dim, stores[0].path)
    roots, numbers = roots_of(stores)
    places = [(store, number) for store in stores for number in range(len(store.shards))]
    origin = np.empty((sum(store.count for store in stores), 3), np.int32)

    def ids() -> Iterator[bytes]:
        end = 0
        for place, (store, number) in enumerate(places):
            if progress is not None:
                progress("reading ids", place, len(places))
            entry = store.shards[number]
            if verify and entry.sha256 not in sound:
                store.verify(number)
            columns, live = store.columns(number, "ids", "root"), entry.live_rows()
            begin, end = end, end + len(live)
            origin[begin:end, 0], origin[begin:end, 1] = place, live
            origin[begin:end, 2] = numbers[id(store)][columns["root"][live]]
            table = columns["ids"]
            yield from (table.iter_raw() if len(live) == entry.count else map(table.raw, live.tolist()))

    table = IdTable.of(ids())
    if not len(table):
        names = ", ".join(str(store.path) for store in stores)
        raise IndexFileError(f"{names}: nothing to index. Extract some images: imgret extract IMAGES -o STORE")
    shards = [store.shards[number].sha256 for store, number in places]
    rows = Rows(stores, table, origin, shards, roots, places, whitening)
    _unique(rows)
    return rows


def roots_of(stores: Sequence[Store]) -> tuple[list[Root], dict[int, np.ndarray]]:
    """The roots of all stores, each once, where they are now; and the places in that list of each store's, by `id`."""
    roots: dict[str, int] = {}
    kept: list[Root] = []
    numbers: dict[int, np.ndarray] = {}
    for store in stores:
        for root in store.roots:
            if root.absolute not in roots:
                roots[root.absolute] = len(kept)
                where = str(root.locate(store.path))
                kept.append(root if where == root.absolute else Root(where, root.relative))
        numbers[id(store)] = np.array([roots[root.absolute] for root in store.roots], np.int32)
    return kept, numbers


def _same_recipe(stores: Sequence[Store]) -> None:
    if not stores:
        raise ValueError("at least one store is needed")
    first = stores[0]
    for other in stores[1:]:
        if other.fingerprint == first.fingerprint and other.dim == first.dim:
            continue
        keys = [*first.recipe, *(key for key in other.recipe if key not in first.recipe)]
        differ = [key for key in keys if first.recipe.get(key) != other.recipe.get(key)]
        key = differ[0] if differ else "dim"
        one, two = first.recipe.get(key, first.dim), other.recipe.get(key, other.dim)
        raise IndexFileError(
            f"{first.path} and {other.path} were made by different recipes: {key} is "
            f"{one!r} in the first and {two!r} in the second. Extract one anew"
        )


def _unique(rows: Rows) -> None:
    """Refuse an id that stands twice, without a set of ten million ids."""
    hashes = np.fromiter((hash(raw) for raw in rows.ids.iter_raw()), np.int64, len(rows))
    in_order = np.sort(hashes)
    twins = in_order[1:][in_order[1:] == in_order[:-1]]
    suspects = np.flatnonzero(np.isin(hashes, twins)) if len(twins) else twins
    seen: dict[str, int] = {}
    for row in suspects.tolist():
        before = seen.setdefault(rows.ids[row], row)
        if before != row:
            one, two = (rows.places[int(rows.origin[place, 0])][0].path for place in (before, row))
            if one == two:
                raise IndexFileError(f"the store {one} is given twice; name it once")
            raise IndexFileError(
                f"the id {escape(rows.ids[row])} stands in {one} and in {two}; ids must "
                "be unique. Extract one of the folders with another --root"
            )
