"""Dealing: which shards go to which part of an INDEX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from imgret.errors import IndexFileError
from imgret.store.store import Store


def deal(stores: Sequence[Store], parts: int, known: Mapping[str, int]) -> list[list[Store]]:
    """The stores of every part, each with those of its shards that are in the part; shards stay whole.

    known  SHA-256 of a shard -> the part that has it already, where it stays; {} for a new INDEX, whose parts are runs
           of shards of about as many images each

    What is not known goes to the part with the fewest images. IndexFileError for fewer shards than parts.
    """
    shards = [
        (place, number)
        for place, store in enumerate(stores)
        for number in range(len(store.shards))
        if store.shards[number].live_count
    ]
    entries = [stores[place].shards[number] for place, number in shards]
    if len(shards) < parts:
        raise IndexFileError(
            f"{parts} parts cannot be made of {len(shards)} shards, which are never divided; say --parts "
            f"{len(shards)} or fewer, or extract with a smaller --shard-size"
        )
    counts = [entry.live_count for entry in entries]
    where = assigned(counts, parts, [known.get(entry.sha256) for entry in entries])
    found: list[list[Store]] = []
    for part in range(parts):
        mine: dict[int, list[int]] = {}
        for (place, number), its in zip(shards, where, strict=True):
            if its == part:
                mine.setdefault(place, []).append(number)
        found.append([subset(stores[place], numbers) for place, numbers in mine.items()])
    return found


def subset(store: Store, numbers: Sequence[int]) -> Store:
    """The same store with the shards of the given numbers only."""
    return replace(store, shards=[store.shards[number] for number in numbers])


def assigned(counts: Sequence[int], parts: int, known: Sequence[int | None]) -> list[int]:
    """The part of every shard. `counts` are their images, at least one each and as many as there are parts."""
    loads = [0] * parts
    for count, part in zip(counts, known, strict=True):
        if part is not None:
            loads[part] += count
    if not all(loads):  # a new index, or one of which a part has lost all that it had
        return _runs(counts, parts)
    found = []
    for count, part in zip(counts, known, strict=True):
        if part is None:
            part = int(np.argmin(loads))
            loads[part] += count
        found.append(part)
    return found


def _runs(counts: Sequence[int], parts: int) -> list[int]:
    """Neighbouring shards together, cut where a part of the images is nearest to full."""
    ends = np.cumsum(counts)
    cuts = [0]
    for part in range(1, parts):
        wanted = ends[-1] * part / parts
        nearest = int(np.argmin(np.abs(ends - wanted))) + 1
        cuts.append(min(max(nearest, cuts[-1] + 1), len(counts) - (parts - part)))
    sizes = np.diff([*cuts, len(counts)])
    return np.repeat(np.arange(parts), sizes).tolist()
