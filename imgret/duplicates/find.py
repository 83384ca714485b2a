"""Find: the groups of near-duplicates in a store, the best picture of each first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from imgret.duplicates.decisions import Decisions, content
from imgret.duplicates.grouping import group
from imgret.duplicates.pairs import Pairs, mutual
from imgret.ids import from_bytes
from imgret.indexes.exact import exact
from imgret.indexes.neighbours import others_of
from imgret.indexes.store_ids import StoreIds
from imgret.store.rows import StoreRows
from imgret.store.shard import read_columns
from imgret.store.store import Store, locate_image

Progress = Callable[[str, int, int], object]
THRESHOLD = 0.9
"""Cosine from which two images are taken for the same picture."""
NEAREST = 20
"""Nearest others of an image among which a duplicate must be, unless more are as near."""

_COLUMNS = ("width", "height", "bytes", "sha256", "root", "box")
_AT_ONCE = 4096  # images whose nearest are looked for at once


@dataclass(frozen=True)
class Member:
    """An image of a group.

    path    where it is now, None if that is not known
    sha256  of the file, hex; of a crop, as `imgret.duplicates.decisions.content` says
    cosine  to the first of its group
    """

    id: str
    path: str | None
    width: int
    height: int
    bytes: int
    sha256: str
    cosine: float


@dataclass(frozen=True)
class Group:
    """Images of which every two are alike, the one with most pixels first, of such the largest file.

    decided  whether the user has said of every two that they are the same
    """

    members: tuple[Member, ...]
    decided: bool


def find(
    store: Store,
    *,
    threshold: float = THRESHOLD,
    nearest: int = NEAREST,
    decisions: Decisions | None = None,
    progress: Progress | None = None,
) -> list[Group]:
    """The near-duplicates of a store, in order of the ids of the first in each group. Nothing is changed.

    threshold  cosine that every two of a group have at least, above 0 and at most 1
    nearest    others of each image that are looked at; a pair must be among the nearest of both
    decisions  pairs said to be different never stand in one group

    Every image is compared with every other: time grows with the square of their number (docs/benchmarks.md).
    ValueError for a threshold or number that makes no sense.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be above 0 and at most 1, got {threshold}")
    if nearest < 1:
        raise ValueError(f"nearest must be at least 1, got {nearest}")
    rows, ids = StoreRows(store), StoreIds(store)
    pairs = _pairs(store, rows, threshold, nearest, progress)
    members = _members(store, ids, np.unique(pairs.rows))
    of_hash: dict[str, list[int]] = {}
    for row, member in members.items():
        of_hash.setdefault(member.sha256, []).append(row)
    apart = [
        (one, other)
        for first, second in (decisions.pairs("different") if decisions else [])
        for one in of_hash.get(first, ())
        for other in of_hash.get(second, ())
    ]
    groups = []
    for together in group(pairs, rows.vectors, threshold, apart):
        best = sorted(
            together, key=lambda row: (-members[row].width * members[row].height, -members[row].bytes, members[row].id)
        )
        vectors = rows.vectors(np.array(best))
        found = [
            replace(members[row], cosine=float(min(1.0, cosine)))
            for row, cosine in zip(best, vectors @ vectors[0], strict=True)
        ]
        groups.append(Group(tuple(found), _decided(found, decisions)))
    return sorted(groups, key=lambda one: one.members[0].id)


def _decided(members: list[Member], decisions: Decisions | None) -> bool:
    if not decisions:
        return False
    return all(decisions.verdict(*pair) == "same" for pair in combinations([one.sha256 for one in members], 2))


def _pairs(store: Store, rows: StoreRows, threshold: float, nearest: int, progress: Progress | None) -> Pairs:
    count, k = store.count, min(nearest, max(store.count - 1, 0))
    near, cosines = np.full((count, k), -1, np.int32), np.zeros((count, k), np.float32)
    for start in range(0, count if k else 0, _AT_ONCE):
        asked = np.arange(start, min(start + _AT_ONCE, count))
        end = start
        for ranking in exact(store, rows.vectors(asked), [""] * len(asked), k + 1):
            begin, end = end, end + len(ranking.rows)
            others = others_of(np.arange(begin, end), ranking.rows)
            near[begin:end] = ranking.rows[others].reshape(end - begin, k)
            cosines[begin:end] = ranking.scores[others].reshape(end - begin, k)
        if progress is not None:
            progress("comparing images", end, count)
    return mutual(near, cosines, threshold)


def _members(store: Store, ids: StoreIds, rows: np.ndarray) -> dict[int, Member]:
    """What is known of some rows, rising; each shard is read once."""
    raw = ids.raw(rows)
    roots = [root.locate(store.path) for root in store.roots]
    ends = np.cumsum([0, *(entry.live_count for entry in store.shards)])
    found: dict[int, Member] = {}
    for number, (begin, end) in enumerate(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)):
        at = np.searchsorted(rows, [begin, end]).tolist()
        if at[0] == at[1]:
            continue
        columns = read_columns(store.shard_path(number), _COLUMNS, store.fingerprint)
        inside = store.shards[number].live_rows()[rows[at[0] : at[1]] - begin].tolist()
        for place, row in zip(range(*at), inside, strict=True):
            name = from_bytes(raw[place])
            box = columns["box"][row].tolist() if "box" in columns else [-1]
            found[int(rows[place])] = Member(
                name,
                locate_image(roots[int(columns["root"][row])], name),
                int(columns["width"][row]),
                int(columns["height"][row]),
                int(columns["bytes"][row]),
                content(columns["sha256"][row].tobytes(), None if box[0] < 0 else box),
                1.0,
            )
    return found
