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


@dataclass
class Plan:
    """From an old index to the rows of the stores.

    origin   [N, 3] int32 of all rows of the new generation: the old ones, then the new ones
    deleted  [n] int64, rows of the new generation that do not count
    new      [n] int64, numbers in `rows` of what is added
    kept, removed  how many old rows stay and go
    alone    old rows that only this index holds any more (with --add)
    """

    origin: np.ndarray
    deleted: np.ndarray
    new: np.ndarray
    kept: int
    removed: int
    alone: int
    shards: list[str]
    roots: list[Root]

    @property
    def count(self) -> int:
        """Live rows."""
        return len(self.origin) - len(self.deleted)


def from_scratch(rows: Rows) -> Plan:
    """All rows are new."""
    none = np.zeros(0, np.int64)
    return Plan(rows.origin, none, np.arange(len(rows)), 0, 0, 0, rows.shards, rows.roots)


def update(old: Index, rows: Rows, add_only: bool) -> Plan:
    """Compare an index with the rows that the stores hold now, by shard hash and row."""
    number_of = {sha256: number for number, sha256 in enumerate(rows.shards)}
    old_shards = np.array([number_of.get(sha256, -1) for sha256 in old.about["shards"]] + [-1], np.int64)
    live = np.ones(len(old.ids), bool)
    live[old.deleted] = False
    shard = np.where(live, old_shards[old.origin[:, 0]], -1)
    old_keys = np.where(shard >= 0, key_of(shard, old.origin[:, 1]), -1)
    keys = rows.keys()  # rising, as rows stand in order of shard and row
    place = np.minimum(np.searchsorted(keys, old_keys), len(keys) - 1)
    same = (old_keys >= 0) & (keys[place] == old_keys)
    new = np.setdiff1d(np.arange(len(rows)), place[same])

    origin = np.full((len(old.ids), 3), -1, np.int32)
    origin[same] = rows.origin[place[same]]
    shards, roots = list(rows.shards), list(rows.roots)
    alone = np.flatnonzero(live & ~same)
    removed = alone
    if add_only:
        replaced = {to_bytes(rows.ids[row]) for row in new.tolist()}
        stays = np.array([old.ids.raw(row) not in replaced for row in alone.tolist()], bool)
        alone, removed = alone[stays], alone[~stays]
        _keep_alone(old, alone, origin, shards, roots)
    else:
        alone = alone[:0]
    return Plan(
        origin=np.concatenate([origin, rows.origin[new]]),
        deleted=np.flatnonzero(origin[:, 0] < 0),
        new=new,
        kept=int(same.sum()) + len(alone),
        removed=len(removed),
        alone=len(alone),
        shards=shards,
        roots=roots,
    )


def _keep_alone(old: Index, alone: np.ndarray, origin: np.ndarray, shards: list[str], roots: list[Root]) -> None:
    """Give rows that the stores no longer hold an origin in the new lists of shards and roots."""
    for row in alone.tolist():
        shard, inside, root = old.origin[row].tolist()
        sha256, facts = old.about["shards"][shard], old.about["roots"][root]
        where = Root(unescape(facts["absolute"]), unescape(facts["relative"]))
        if sha256 not in shards:
            shards.append(sha256)
        known = [one.absolute for one in roots]
        if where.absolute not in known:
            roots.append(where)
            known.append(where.absolute)
        origin[row] = shards.index(sha256), inside, known.index(where.absolute)


def _named(whitening: dict[str, Any] | None) -> str:
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
        reason = f"the whitening was {_named(was['whitening'])} and is now {_named(now)}"
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
    elif len(plan.deleted) and not old.structure.can_leave_out():
        reason = f"FAISS cannot leave rows out of a {was['factory']} index"
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
