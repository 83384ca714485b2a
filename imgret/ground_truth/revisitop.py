"""Revisited Oxford and Paris: the published pickle, or the same structure as JSON.

    {"imlist": [database names], "qimlist": [query names],
     "gnd": [{"bbx": [x1, y1, x2, y2] | null, "easy": [rows of imlist], "hard": [...], "junk": [...]}, ...]}

Radenović, Iscen, Tolias, Avrithis, Chum, "Revisiting Oxford and Paris" (arXiv:1803.11285). A file of the
original Oxford and Paris, with "ok" in place of "easy" and "hard", has the one subset "all".
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from imgret.errors import GroundTruthError
from imgret.ground_truth import pickles
from imgret.ground_truth.judgements import Box, GroundTruth, Judgement, Query, Rules
from imgret.ground_truth.sources import the_file
from imgret.ids import escape

_NOTHING = np.zeros(0, np.int32)

# subset -> the lists that are positives, the lists that are junk
REVISITED = {
    "easy": (("easy",), ("junk", "hard")),
    "medium": (("easy", "hard"), ("junk",)),
    "hard": (("hard",), ("junk", "easy")),
}
ORIGINAL = {"all": (("ok",), ("junk",))}


def read(path: Path, content: bytes | None = None) -> GroundTruth:
    """The ground truth in a file; with `content` at hand, `path` is only named in messages.

    A query without positives is kept: it is left out of the mean, and counted, at evaluation. An image
    listed twice in one list counts once. GroundTruthError for anything malformed, naming query and image.
    """
    path, content = the_file(path, content)
    data = _parse(path, content)
    if not isinstance(data, dict) or not {"imlist", "qimlist", "gnd"} <= data.keys():
        raise GroundTruthError(f"{path} is no revisitop ground truth: it needs imlist, qimlist and gnd")
    database = _names(path, data, "imlist")
    names = _names(path, data, "qimlist")
    gnd = data["gnd"]
    if not isinstance(gnd, list) or len(gnd) != len(names):
        got = len(gnd) if isinstance(gnd, list) else type(gnd).__name__
        raise GroundTruthError(f"{path}: gnd must have one entry for each of {len(names)} queries, got {got}")
    original = bool(gnd) and all(isinstance(entry, dict) and "ok" in entry for entry in gnd)
    setups = ORIGINAL if original else REVISITED
    queries: list[Query] = []
    judged: dict[str, list[Judgement]] = {subset: [] for subset in setups}
    for name, entry in zip(names, gnd, strict=True):
        where = f"{path}: query {escape(name)}"
        keys = ("bbx", "ok", "junk") if original else ("bbx", "easy", "hard", "junk")
        lacking = [key for key in keys if not isinstance(entry, dict) or key not in entry]
        if lacking:
            raise GroundTruthError(f"{where}: no {' and no '.join(lacking)}")
        queries.append(Query(name, _box(where, entry["bbx"])))
        lists = {key: _rows(where, key, entry[key], len(database)) for key in keys[1:]}
        _refuse_overlaps(where, lists, database)
        for subset, (ok, junk) in setups.items():
            judged[subset].append(Judgement(_union(lists, ok), _union(lists, junk)))
    return GroundTruth(
        database=database,
        queries=queries,
        subsets={subset: judgements.__getitem__ for subset, judgements in judged.items()},
        format="revisitop",
        rules=Rules(ap="trapezoid", precision="revisitop"),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _parse(path: Path, content: bytes) -> Any:
    text = content.removeprefix(b"\xef\xbb\xbf")
    if text.lstrip()[:1] == b"{":
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise GroundTruthError(f"{path} is not valid JSON: {error}") from error
    try:
        return pickles.loads(content)
    except pickles.RefusedError as error:
        raise GroundTruthError(
            f"{path} was not read: it is meant to be a pickle of lists, numbers and text, but holds {error}. "
            "Nothing in it was run"
        ) from error


def _names(path: Path, data: dict[str, Any], key: str) -> list[str]:
    """A list of distinct names; an array of text counts as a list."""
    value = data[key]
    names = value.tolist() if isinstance(value, np.ndarray) and value.ndim == 1 else value
    if not isinstance(names, list):
        raise GroundTruthError(f"{path}: {key} must be a list of names")
    seen: set[str] = set()
    for number, name in enumerate(names):
        if not isinstance(name, str) or not name or "\0" in name or not _encodable(name):
            raise GroundTruthError(f"{path}: {key}[{number}] must be a name, got {name!r:.80}")
        if name in seen:
            raise GroundTruthError(f"{path}: {escape(name)} stands in {key} more than once")
        seen.add(name)
    return names


def _box(where: str, value: Any) -> Box | None:
    if value is None:
        return None
    numbers = value.tolist() if isinstance(value, np.ndarray) else value
    well_formed = (
        isinstance(numbers, list)
        and len(numbers) == 4
        and all(type(number) in (int, float) and abs(number) < 1e9 for number in numbers)  # neither NaN nor infinite
    )
    if not well_formed or numbers[0] >= numbers[2] or numbers[1] >= numbers[3]:
        raise GroundTruthError(
            f"{where}: bbx must be null or x1, y1, x2, y2 with x1 < x2 and y1 < y2, got {numbers!r:.80}"
        )
    x1, y1, x2, y2 = map(float, numbers)
    return x1, y1, x2, y2


def _rows(where: str, key: str, value: Any, size: int) -> np.ndarray:
    """Rows of the database, ascending, each once: int32."""
    if isinstance(value, np.ndarray):
        # numpy's empty array is one of floats, and MATLAB's lists are [1, N]
        well_formed = value.size == 0 or value.dtype.kind in "iu"
        rows = value.ravel()
    else:
        well_formed = isinstance(value, list) and all(type(row) is int for row in value)
        rows = value if well_formed else []
    if not well_formed:
        raise GroundTruthError(f"{where}: {key} must be a list of row numbers")
    if not len(rows):
        return _NOTHING
    low, high = int(min(rows)), int(max(rows))
    if low < 0 or high >= size:
        wrong = low if low < 0 else high
        raise GroundTruthError(f"{where}: {key} names image {wrong}, but imlist has {size} (from 0 to {size - 1})")
    return np.unique(np.asarray(rows)).astype(np.int32)


def _refuse_overlaps(where: str, lists: dict[str, np.ndarray], database: list[str]) -> None:
    keys = list(lists)
    for i, one in enumerate(keys):
        for other in keys[i + 1 :]:
            both = np.intersect1d(lists[one], lists[other], assume_unique=True)
            if len(both):
                image = escape(database[int(both[0])])
                raise GroundTruthError(f"{where}: image {image} is both {one} and {other}")


def _union(lists: dict[str, np.ndarray], keys: tuple[str, ...]) -> np.ndarray:
    return np.sort(np.concatenate([lists[key] for key in keys]))


def _encodable(name: str) -> bool:
    """Whether a name can be the name of a file: JSON may spell lone surrogates that stand for no byte."""
    try:
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True
