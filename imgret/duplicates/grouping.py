"""Grouping: sets of images of which every two are alike, so that no chain joins what is not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np

from imgret.duplicates.pairs import ROUNDING, Pairs

Vectors = Callable[[np.ndarray], np.ndarray]
_COSINES = 4_000_000  # at once


def group(pairs: Pairs, vectors: Vectors, threshold: float, apart: Iterable[tuple[int, int]] = ()) -> list[list[int]]:
    """Groups of two rows or more, no row in two of them: complete linkage, from the most alike pair on.

    pairs    what may bring two groups together
    vectors  unit rows [n, D] for row numbers [n]
    apart    pairs of rows that never stand in one group

    Two groups become one when all cosines across are at least `threshold`: a picture between two that are unlike joins
    the one it is more alike to. Groups and their rows stand in rising order.
    """
    members: dict[int, list[int]] = {}
    faces: dict[int, dict[bytes, np.ndarray]] = {}  # of each group, every vector once: copies cost no more than one
    home: dict[int, int] = {}
    never: dict[int, set[int]] = defaultdict(set)  # groups that are kept apart; a group is called by one of its rows
    for one, other in apart:
        never[one].add(other)
        never[other].add(one)
    for one, other in pairs.rows.tolist():
        for row in (one, other):
            if row not in home:
                vector = vectors(np.array([row]))[0]
                home[row], members[row], faces[row] = row, [row], {vector.tobytes(): vector}
        first, second = home[one], home[other]
        if first == second or second in never[first]:
            continue
        if not _alike(faces[first], faces[second], threshold):
            never[first].add(second)  # groups only grow, so what does not fit now never will
            never[second].add(first)
            continue
        if len(members[first]) < len(members[second]):
            first, second = second, first
        for row in members[second]:
            home[row] = first
        members[first] += members.pop(second)
        faces[first] |= faces.pop(second)
        for other in never.pop(second, ()):
            never[other].discard(second)
            never[other].add(first)
            never[first].add(other)
    return sorted(sorted(rows) for rows in members.values() if len(rows) > 1)


def _alike(one: dict[bytes, np.ndarray], other: dict[bytes, np.ndarray], threshold: float) -> bool:
    """Whether all cosines across reach the threshold."""
    if len(one) > len(other):
        one, other = other, one
    here, there, step = np.stack(list(one.values())), list(other.values()), max(1, _COSINES // len(one))
    return all(
        bool((np.stack(there[at : at + step]) @ here.T >= threshold - ROUNDING).all())
        for at in range(0, len(there), step)
    )
