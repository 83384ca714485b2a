"""Plan: what an index keeps, adds and drops to hold the stores given, or why it must be made anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from imgret.errors import IndexFileError
from imgret.ids import to_bytes, unescape
from imgret.indexes.dba import Dba, dba_of
from imgret.indexes.files import Index
from imgret.indexes.kinds import Choice
from imgret.indexes.rows import Rows, key_of
from imgret.store.store import Root

MOST_DEAD = 0.2  # of all rows; they cost memory and time in every search
MOST_GROWTH = 4  # lists were counted for the size trained on
MOST_TAIL = 0.05  # of the base; a search compares with every row of the tail
SMALL = 50_000  # rows; a base of fewer is written anew in a second or two


@dataclass
class Plan:
    """From an old index to the rows of the stores.

    origin   [N, 3] int32 of all rows of the new generation: the old ones, then the new ones; -1 for rows that
             do not count
    deleted  [n] int64, those rows
    new      [n] int64, numbers in `rows` of what is added
    kept, removed  how many old rows stay and go
    alone    old rows that only this index holds any more (with --add)
    shards, roots  those of the old index, in their places there, then what is new
    in_place whether the old rows that stay have the origin they had
    """

    origin: np.ndarray
    deleted: np.ndarray
    new: np.ndarray
    kept: int
    removed: int
    alone: int
    shards: list[str]
    roots: list[Root]
    in_place: bool

    @property
    def count(self) -> int:
        """Live rows."""
        return len(self.origin) - len(self.deleted)


def from_scratch(rows: Rows) -> Plan:
    """All rows are new."""
    none = np.zeros(0, np.int64)
    return Plan(rows.origin, none, np.arange(len(rows)), 0, 0, 0, rows.shards, rows.roots, False)


def update(old: Index, rows: Rows, add_only: bool) -> Plan:
    """Compare an index with the rows that the stores hold now, by shard hash and row."""
    shards = list(dict.fromkeys([*old.about["shards"], *rows.shards]))
    place_of = {sha256: place for place, sha256 in enumerate(shards)}
    shard_at = np.array([place_of[sha256] for sha256 in rows.shards], np.int64)
    number_at = np.full(len(shards) + 1, -1, np.int64)  # the last entry answers -1
    number_at[shard_at] = np.arange(len(rows.shards))

    was = np.asarray(old.origin)
    live = np.ones(len(was), bool)
    live[old.deleted] = False
    shard = np.where(live, number_at[was[:, 0]], -1)
    old_keys = np.where(shard >= 0, key_of(shard, was[:, 1]), -1)
    keys = rows.keys()  # rising, as rows stand in order of shard and row
    place = np.minimum(np.searchsorted(keys, old_keys), len(keys) - 1)
    same = (old_keys >= 0) & (keys[place] == old_keys)
    known = np.zeros(len(rows), bool)
    known[place[same]] = True
    new = np.flatnonzero(~known)
    roots, root_at = _roots(old, rows, was[same, 2], rows.origin[place[same], 2])

    def renumbered(chosen: np.ndarray) -> np.ndarray:
        here = rows.origin[chosen]
        return np.stack([shard_at[here[:, 0]], here[:, 1], root_at[here[:, 2]]], 1).astype(np.int32)

    origin = np.full((len(was), 3), -1, np.int32)
    origin[same] = renumbered(place[same])
    alone = np.flatnonzero(live & ~same)
    removed = alone
    if add_only:
        replaced = {to_bytes(rows.ids[row]) for row in new.tolist()}
        stays = np.array([old.ids.raw(row) not in replaced for row in alone.tolist()], bool)
        alone, removed = alone[stays], alone[~stays]
        origin[alone] = was[alone]
    else:
        alone = alone[:0]
    stay = origin[:, 0] >= 0
    return Plan(
        origin=np.concatenate([origin, renumbered(new)]),
        deleted=np.flatnonzero(~stay),
        new=new,
        kept=int(same.sum()) + len(alone),
        removed=len(removed),
        alone=len(alone),
        shards=shards,
        roots=roots,
        in_place=np.array_equal(origin[stay], was[stay]),
    )


def _roots(old: Index, rows: Rows, was: np.ndarray, now: np.ndarray) -> tuple[list[Root], np.ndarray]:
    """The roots of both, and the place in them of each root of `rows`.

    `was` and `now` [n] are the numbers of the roots of the rows that stay. A root that has moved keeps its place.
    """
    roots = [Root(unescape(one["absolute"]), unescape(one["relative"])) for one in old.about["roots"]]
    root_at = np.full(len(rows.roots), -1, np.int64)
    for both in np.unique(now.astype(np.int64) << 32 | was.astype(np.int64)).tolist():
        number, place = both >> 32, both & 0xFFFFFFFF
        if root_at[number] < 0 and place not in root_at:
            root_at[number] = place
            roots[place] = rows.roots[number]
    for number in np.flatnonzero(root_at < 0).tolist():
        known = [one.absolute for one in roots]
        if rows.roots[number].absolute not in known:
            roots.append(rows.roots[number])
            known.append(rows.roots[number].absolute)
        root_at[number] = known.index(rows.roots[number].absolute)
    return roots, root_at


def keeps_base(old: Index, plan: Plan) -> bool:
    """Whether the files of the old base can stay as they are, with what is new in a tail beside them."""
    tail = len(plan.origin) - old.base_rows
    short = not len(plan.new) or (old.base_rows >= SMALL and tail <= MOST_TAIL * old.base_rows)
    return plan.in_place and short


def named(whitening: dict[str, Any] | None) -> str:
    """A whitening's card in few words."""
    return "none" if whitening is None else f"{whitening['kind']} {whitening['sha256'][:12]}..."


def why_rebuild(
    old: Index, plan: Plan, choice: Choice, asked: str | None, seed: int, rows: Rows, dba: Dba | None
) -> str | None:
    """Why the index cannot be updated but must be made from scratch; None where it can.

    `asked` is the factory string asked for by name. IndexFileError when rows that only the index holds
    would be lost.
    """
    was = old.about
    dead = len(plan.deleted) / len(plan.origin)
    trained = was["training"]["count"]
    fingerprint = rows.stores[0].fingerprint
    reason, needed = None, True
    now = None if rows.whitening is None else rows.whitening.card()
    was_dba = dba_of(was)
    if old.fingerprint != fingerprint:
        reason = "the stores were made by another recipe"
    elif (was["whitening"] and was["whitening"]["sha256"]) != (now and now["sha256"]):
        reason = f"the whitening was {named(was['whitening'])} and is now {named(now)}"
    elif old.dim != rows.dim:
        reason = "the stores were made by another recipe"
    elif was_dba != dba:
        reason = f"the augmentation was {was_dba or 'none'} and is now {dba or 'none'}"
    elif dba and (len(plan.new) or plan.removed):
        reason = "rows came or went, and augmented rows depend on each other"
    elif choice.kind != was["kind"]:
        reason = f"the kind was {was['kind']} and is now {choice.kind}"
    elif asked is not None and asked != was["factory"]:
        reason = f"the factory was {was['factory']} and is now {asked}"
    elif seed != was["seed"]:
        reason = f"the seed was {was['seed']} and is now {seed}"
    elif dead > MOST_DEAD:
        reason, needed = f"{dead:.0%} of its rows no longer count", False
    elif old.structure.lists and plan.count > MOST_GROWTH * trained:
        reason, needed = f"it was trained on {trained:,} vectors and now holds {plan.count:,}", False
    if reason and plan.alone:
        if not needed:
            return None
        raise IndexFileError(
            f"{old.path} must be made anew because {reason}, but {plan.alone:,} of its rows "
            "are in no store given; give every store, or leave out --add"
        )
    return reason
