"""Listing: groups as the lines of a table, for a CSV file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from imgret.ids import escape

if TYPE_CHECKING:
    from imgret.duplicates.find import Group

COLUMNS = ("group", "id", "path", "width", "height", "bytes", "sha256", "cosine", "decided")


def lines(groups: Iterable[Group]) -> Iterator[tuple[object, ...]]:
    """The header, then a line for each image, groups numbered from 1; ids and paths as they are printed."""
    yield COLUMNS
    for number, group in enumerate(groups, 1):
        decided = "yes" if group.decided else "no"
        for one in group.members:
            path = escape(one.path) if one.path else ""
            facts = (one.width, one.height, one.bytes, one.sha256, f"{one.cosine:.6f}", decided)
            yield (number, escape(one.id), path, *facts)
