"""Rows: every live descriptor of the stores given, with its id and where it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from imgret.errors import IndexFileError, StoreError
from imgret.ids import IdTable, escape
from imgret.store.store import Root, Store, unit
from imgret.whitening.transform import Whitening

Progress = Callable[[str, int, int], None]


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
        numbers = self.origin[rows, 0]
        for shard in np.unique(numbers).tolist():
            store, number = self.places[shard]
            descriptors = store.read_shard(number).descriptors
            here = rows[numbers == shard]
            for start in range(0, len(here), at_once):
                chosen = here[start : start + at_once]
                block = unit(descriptors[self.origin[chosen, 1]])
                if not np.isfinite(block).all():
                    raise StoreError(
                        f"{store.path / store.shards[number].file} holds NaN or infinity; extract it again"
                    )
                if self.whitening is not None:
                    block = unit(self.whitening.apply(block))
                yield block if self.augment is None else self.augment(chosen, block)


def key_of(shards: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """One int64 per (shard number, row in the shard)."""
    return shards.astype(np.int64) << 32 | rows.astype(np.int64)


def gather(
    stores: Sequence[Store], *, verify: bool, whitening: Whitening | None = None, progress: Progress | None = None
) -> Rows:
    """The rows of all stores. Only ids and roots are read; with `verify` every shard is hashed first.

    IndexFileError for stores of different recipes, no rows at all, or an id that stands twice;
    StoreError for a damaged shard; WhiteningError for a whitening of another recipe.
    """
    _same_recipe(stores)
    if whitening is not None:
        whitening.check_recipe(stores[0].recipe, stores[0].fingerprint, stores[0].dim, stores[0].path)
    roots: dict[str, int] = {}
    kept: list[Root] = []
    shards: list[str] = []
    places: list[tuple[Store, int]] = []
    origins: list[np.ndarray] = []
    ids: list[bytes] = []
    total = sum(len(store.shards) for store in stores)
    for store in stores:
        numbers = []
        for root in store.roots:
            if root.absolute not in roots:
                roots[root.absolute] = len(kept)
                where = root.locate(store.path)
                kept.append(root if str(where) == root.absolute else Root(str(where), root.relative))
            numbers.append(roots[root.absolute])
        for number, entry in enumerate(store.shards):
            if progress is not None:
                progress("reading ids", len(places), total)
            if verify:
                store.verify(number)
            shard = store.read_shard(number)
            live = entry.live_rows()
            ids += [shard.ids[row] for row in live]
            root_numbers = np.array(numbers, np.int32)[shard.root[live]]
            origins.append(np.stack([np.full(len(live), len(places)), live, root_numbers], 1).astype(np.int32))
            shards.append(entry.sha256)
            places.append((store, number))
    if not ids:
        names = ", ".join(str(store.path) for store in stores)
        raise IndexFileError(f"{names}: nothing to index. Extract some images: imgret extract IMAGES -o STORE")
    rows = Rows(stores, IdTable.of(ids), np.concatenate(origins), shards, kept, places, whitening)
    _unique(rows)
    return rows


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
    order = np.argsort(hashes, kind="stable")
    twin = hashes[order[1:]] == hashes[order[:-1]]
    suspects = np.unique(np.concatenate([order[1:][twin], order[:-1][twin]]))
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
