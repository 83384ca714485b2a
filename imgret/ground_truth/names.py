"""Which image of an index a name in a ground truth means.

Published ground truths name images without folder and extension, or from another root than the index was
made from. A name means the image whose id it is; failing that, the one image with the same stem.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from imgret.errors import GroundTruthError
from imgret.ground_truth.stems import possible
from imgret.ids import escape

_BOX = re.compile(r"#-?[\d.]+(?:,-?[\d.]+){3}$")
# A file's extension, as against the number in hotel.2 or in a document called d.1.
_EXTENSION = re.compile(r"(?<=[^/])\.[A-Za-z][A-Za-z0-9]{0,4}$")
_ADVICE = "Extract with --root set to the folder that the ground truth's names are relative to"


def unboxed(image_id: str) -> str:
    """The image of a boxed id: ``a/b.jpg#1,2,30,40`` -> ``a/b.jpg``."""
    return _BOX.sub("", image_id) if "#" in image_id else image_id


def stem(image_id: str) -> str:
    """The id without folder, box and last extension: ``a/b.c.jpg`` -> ``b.c``."""
    return _EXTENSION.sub("", unboxed(image_id).rpartition("/")[2])


def stems(name: str) -> tuple[str, str]:
    """What the stem of a published name may be, the likelier first: ``hotel.2`` may lack its extension."""
    return unboxed(name).rpartition("/")[2], stem(name)


def same_place(name: str, image_id: str) -> bool:
    """Whether two names may be of one folder, seen from different roots: ``jpg/a`` and ``oxford/jpg/a``, never ``b/a``.

    A name without a folder may be of any.
    """
    one, other = (unboxed(path).split("/")[:-1] for path in (name, image_id))
    shared = min(len(one), len(other))
    return shared == 0 or one[-shared:] == other[-shared:]


class ByStem:
    """Rows of ids by stem and folder, so that a name finds the few it may mean, however many share its stem."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], list[tuple[int, str]]] = {}
        self._folders: dict[str, list[str]] = {}

    def add(self, key: str, row: int, image_id: str) -> None:
        """Make a row known under its stem."""
        place = key, _folder(image_id)
        if place not in self._rows:
            self._rows[place] = []
            self._folders.setdefault(key, []).append(place[1])
        self._rows[place].append((row, image_id))

    def rows(self, key: str, name: str) -> list[int]:
        """Rows with that stem that are in the `same_place` as a name."""
        folder = _folder(name)
        folders = ("", folder) if folder else self._folders.get(key, ())
        near = [found for each in folders for found in self._rows.get((key, each), ())]
        return [row for row, image_id in near if same_place(name, image_id)]


def _folder(image_id: str) -> str:
    """The folder an image is in, without those above it."""
    return unboxed(image_id).rpartition("/")[0].rpartition("/")[2]


def rows_of(wanted: Iterable[str], ids: Sequence[str]) -> dict[str, int]:
    """id -> row for those of `wanted` that are ids exactly; the ids are read once."""
    missing = set(wanted)
    keys = {stem(name) for name in missing}
    return {image_id: row for row, image_id in possible(keys, ids) if image_id in missing}


def match(names: Sequence[str], ids: Sequence[str]) -> np.ndarray:
    """`match_and_count` without the count."""
    return match_and_count(names, ids)[0]


def match_and_count(names: Sequence[str], ids: Sequence[str]) -> tuple[np.ndarray, int]:
    """The row of `ids` each name means, int64 [len(names)], -1 where it means none; and how many by stem alone.

    By path, else by stem, where the folders of both agree as far as they are named. The stem must be unique: when
    several images have it, or several names claim one image, GroundTruthError names them, since either choice could
    be wrong. Images that another name means by path are out of the question: where ``a/1`` is there for ``a/1``
    alone, ``1`` is missing.
    The ids are read once; a million of an IdTable take a few tenths of a second.
    """
    keys = [stems(name) for name in names]
    seen = list(possible({key for pair in keys for key in pair}, ids))
    asked = set(names)
    by_path = {image_id: row for row, image_id in seen if image_id in asked}
    rows = np.array([by_path.get(name, -1) for name in names], np.int64)
    rest = np.flatnonzero(rows < 0).tolist()
    if not rest:
        return rows, 0
    wanted = {key for number in rest for key in keys[number]}
    candidates = ByStem()
    for row, image_id in seen:
        key = stem(image_id)
        if key in wanted:
            candidates.add(key, row, image_id)
    taken = set(by_path.values())
    claimed: dict[int, int] = {}
    for number in rest:
        base, cut = keys[number]
        found = candidates.rows(base, names[number]) or candidates.rows(cut, names[number])
        if all(row in taken for row in found):
            continue
        if len(found) > 1:
            one, two = escape(ids[found[0]]), escape(ids[found[1]])
            raise GroundTruthError(f"{escape(names[number])} could be {one} or {two}: both have its stem. {_ADVICE}")
        other = claimed.setdefault(found[0], number)
        if other != number:
            one, two = escape(names[other]), escape(names[number])
            raise GroundTruthError(
                f"{one} and {two} could both be {escape(ids[found[0]])}: all have one stem. {_ADVICE}"
            )
        rows[number] = found[0]
    return rows, len(claimed)
