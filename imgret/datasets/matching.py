"""Matching pairs by name, for learned whitening: listed, drawn from labels, or those of retrieval-SfM.

No image is looked for: the names are compared with the ids of a store.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from imgret.datasets import sfm, table
from imgret.datasets.gather import listed_image
from imgret.errors import InputError
from imgret.ids import escape

MOST_PAIRS = 100_000
_COLUMNS = ("query", "positive")


@dataclass(frozen=True)
class NamedPairs:
    """P pairs that show the same thing.

    names      N names of images, each once and in a pair
    queries    [P] int64, places in `names`
    positives  [P] int64, the match of the query in the same place
    notes      what a person should know of how they came to be, one line each
    """

    names: list[str]
    queries: np.ndarray
    positives: np.ndarray
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.queries)


def read_matching(path: str | Path, *, seed: int = 0) -> NamedPairs:
    """The pairs of a file, told by what it is:

    CSV with query,positive  a pair a line
    CSV with path,label      every two images of one label, of the split "train" where one is named so; at most
                             MOST_PAIRS, drawn by the seed with as equal a number for each label as there are
    JSON or its folder       the pairs of retrieval-SfM, of the split "whiten" or else "train"

    InputError, naming the line, for what is malformed, and when there is no pair.
    """
    path = Path(path)
    if path.is_dir() or path.suffix.lower() in (".json", *sfm.PICKLES):
        found = _of_sfm(path)
    else:
        header = [name.strip().lower() for name in next(_lines(path), (0, []))[1]]
        if set(header) >= set(_COLUMNS):
            found = _listed(path, header)
        elif {"path", "label"} <= set(header):
            found = _labelled(path, seed)
        else:
            raise InputError(
                f"{escape(str(path))} must be a CSV whose first line is query,positive or path,label, or the JSON of "
                f"retrieval-SfM; its first line is {escape(','.join(header))[:80]!r}"
            )
    if not len(found):
        raise InputError(f"{escape(str(path))} holds no pair: two images that show the same thing")
    used, places = np.unique(np.concatenate([found.queries, found.positives]), return_inverse=True)
    names = [found.names[row] for row in used.tolist()]
    return NamedPairs(names, places[: len(found)], places[len(found) :], found.notes)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, fields) of every CSV line that is not blank."""
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            lines = csv.reader(file, strict=True)
            try:
                yield from ((lines.line_num, fields) for fields in lines if fields)
            except csv.Error as error:
                raise InputError(f"{escape(str(path))}, line {lines.line_num}: not a CSV line ({error})") from error
    except OSError as error:
        raise InputError(f"{escape(str(path))} cannot be read: {error.strerror or error}") from error


def _listed(path: Path, header: list[str]) -> NamedPairs:
    places = [header.index(name) for name in _COLUMNS]
    row_of: dict[str, int] = {}
    rows: list[list[int]] = []
    lines = _lines(path)
    next(lines)
    for number, fields in lines:
        pair = [fields[place] for place in places] if len(fields) == len(header) else ["", ""]
        if not all(pair) or pair[0] == pair[1]:
            what = "one image with itself" if all(pair) else f"{len(fields)} fields for {len(header)} columns, or empty"
            raise InputError(f"{escape(str(path))}, line {number}: {what}; expected two ids, query,positive")
        rows.append([row_of.setdefault(name, len(row_of)) for name in pair])
    both = np.array(rows, np.int64).reshape(-1, 2)
    return NamedPairs(list(row_of), both[:, 0], both[:, 1])


def _labelled(path: Path, seed: int) -> NamedPairs:
    listed = [row for row in table.rows(path) if row.label.strip()]
    learns = any(row.split == "train" for row in listed)
    names: dict[str, int] = {}
    members: dict[str, list[int]] = {}
    for row in listed:
        if not learns or row.split == "train":
            # relative to the file's folder, as the ids of a store extracted from there are
            name = listed_image(row.name, str(path.parent.absolute()), row.box).id
            members.setdefault(row.label.strip(), []).append(names.setdefault(name, len(names)))
    notes = ["only images of the split train make pairs"] if learns else []
    groups = [np.unique(members[label]) for label in sorted(members)]
    possible = np.array([len(group) * (len(group) - 1) // 2 for group in groups], np.int64)
    most = _equal_share(possible, MOST_PAIRS)
    rng = np.random.default_rng(seed)
    drawn = [_drawn(group, most, rng) for group in groups if len(group) > 1]
    both = np.concatenate([np.zeros((0, 2), np.int64), *drawn])
    if possible.sum() > len(both):
        notes.append(
            f"the labels make {possible.sum():,} pairs; {len(both):,} are drawn with seed {seed}, at most {most:,} "
            "of a label"
        )
    return NamedPairs(list(names), both[:, 0], both[:, 1], notes)


def _equal_share(possible: np.ndarray, total: int) -> int:
    """The largest number a label may have, at least 1, so that all have no more than `total` together."""
    low, high = 1, max(int(possible.max(initial=1)), 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if np.minimum(possible, middle).sum() <= total else (low, middle - 1)
    return low


def _drawn(group: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """[n, 2], at most `most` different pairs of a group's members, either one first by chance."""
    size = len(group)
    count = size * (size - 1) // 2
    chosen = np.sort(rng.choice(count, min(most, count), replace=False))
    # pair number k is (i, j), j < i, with k = i (i - 1) / 2 + j; the root may be off by one in the last digit
    i = ((1 + np.sqrt(1 + 8 * chosen.astype(np.float64))) / 2).astype(np.int64)
    i -= i * (i - 1) // 2 > chosen
    i += i * (i + 1) // 2 <= chosen
    both = np.stack([i, chosen - i * (i - 1) // 2], 1)
    swap = rng.random(len(both)) < 0.5
    both[swap] = both[swap, ::-1]
    return group[both]


def _of_sfm(path: Path) -> NamedPairs:
    names, queries, positives = sfm.named_pairs(path)
    return NamedPairs(names, queries, positives)
