"""Ids that may have one of some stems, a million of them looked at without a million Python strings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from imgret.ids import IdTable, to_bytes

_TAIL = 8  # bytes at the end of a stem that are compared; they fit into one integer
_SLASH, _DOT, _BOX = (np.uint8(ord(sign)) for sign in "/.#")


def possible(stems: Iterable[str], ids: Sequence[str]) -> Iterator[tuple[int, str]]:
    """(row, id) of every id whose stem is among `stems`, and of some others; of a plain sequence, of all.

    In an IdTable a stem is recognised by its length and its last eight bytes, with and without what follows its last
    dot; ids with a box are always given.
    """
    if not isinstance(ids, IdTable):
        yield from enumerate(ids)
        return
    raw = [to_bytes(stem) for stem in set(stems)]
    edges = np.cumsum([0, *map(len, raw)])
    blob = np.frombuffer(b"".join(raw), np.uint8)
    wanted = np.unique(_keys(blob, edges[:-1], edges[1:]))
    lengths = np.zeros(max(map(len, raw), default=0) + 2, bool)  # the last is "longer than any"
    lengths[np.diff(edges)] = True

    def among(blob: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        found = lengths[np.minimum(ends - starts, len(lengths) - 1)]
        found[found] = np.isin(_keys(blob, starts[found], ends[found]), wanted)
        return found

    for first, blob, edges in ids.blocks():
        starts, ends = edges[:-1], edges[1:]
        starts = np.maximum(starts, _after_last(blob, _SLASH, ends))
        dots = _after_last(blob, _DOT, ends) - 1
        cut = dots > starts
        may = among(blob, starts, ends)
        may[cut] |= among(blob, starts[cut], dots[cut])
        may[np.searchsorted(ends, np.flatnonzero(blob == _BOX), "right")] = True
        for row in (first + np.flatnonzero(may)).tolist():
            yield row, ids[row]


def _after_last(blob: np.ndarray, sign: np.uint8, ends: np.ndarray) -> np.ndarray:
    """One past the last such byte before each end, 0 where there is none: it may lie in an earlier id."""
    at = np.append(-1, np.flatnonzero(blob == sign))
    return at[np.searchsorted(at, ends, "left") - 1] + 1


def _keys(blob: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """One uint64 from the last eight bytes and the length of each stretch of a blob."""
    keys = np.zeros(len(starts), np.uint64)
    if not len(blob):
        return keys
    for back in range(1, _TAIL + 1):
        place = ends - back
        byte = np.where(place >= starts, blob[np.maximum(place, 0)], 0).astype(np.uint64)
        keys = (keys << np.uint64(8)) | byte
    return keys * np.uint64(0x9E3779B97F4A7C15) + (ends - starts).astype(np.uint64)
