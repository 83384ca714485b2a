"""From the lines of a result file to a Ranking."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from imgret.errors import RankingError
from imgret.ids import IdTable, escape
from imgret.lines import at
from imgret.ranking import Ranking

_MOST = 2**29  # places of a whole Ranking, of 12 bytes each


def placeholder(place: int) -> str:
    """An id that holds a 0-based place nobody is known to have: with a NUL, no image and no ground truth has it."""
    return f"\0nothing at place {place + 1}"


def number(text: str, path: Path, line: int) -> float:
    """A score. RankingError, naming the line, when it is not a number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise RankingError(f"{at(path, line)}: the score {escape(text)[:80]!r} is not a number")
    return value


class Gathered:
    """Answered queries in order, on their way to a Ranking."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._row_of: dict[str, int] = {}
        self._rows, self._scores = array("i"), array("d")
        self._counts: dict[str, int] = {}
        self._depth = 0

    def add(self, query: str, names: Sequence[str], scores: Iterable[float] | None = None) -> None:
        """The answer to a query that was not added before, best first; scores are minus the place where None.

        RankingError when all that was added would not fit into memory, where every line is as long as the longest.
        """
        self._counts[query] = len(names)
        self._depth = max(self._depth, len(names))
        if len(self._counts) * self._depth > _MOST:
            raise RankingError(
                f"{escape(str(self._path))}: {len(self._counts)} queries with up to {self._depth} places do not fit "
                "into memory; cut long answers short"
            )
        self._rows.extend(self._row_of.setdefault(name, len(self._row_of)) for name in names)
        self._scores.extend(range(0, -len(names), -1) if scores is None else scores)

    def ranking(self) -> Ranking:
        """The Ranking of all that was added."""
        counts = np.array(list(self._counts.values()), np.int64)
        depth = self._depth
        rows = np.full((len(counts), depth), -1, np.int32)
        scores = np.full((len(counts), depth), -np.inf, np.float64)
        filled = np.arange(depth) < counts[:, None]
        rows[filled] = np.frombuffer(self._rows, np.int32)
        scores[filled] = np.frombuffer(self._scores, np.float64)
        return Ranking(list(self._counts), rows, scores, IdTable.of(self._row_of)).check()


def scored_pairs(path: Path, pairs: Iterable[tuple[int, str, str, float]]) -> dict[str, dict[str, float]]:
    """query -> name -> score, of (line, query, name, score) in any order. RankingError for a pair that stands twice."""
    found: dict[str, dict[str, float]] = {}
    for line, query, name, score in pairs:
        scores = found.setdefault(query, {})
        if name in scores:
            raise RankingError(f"{at(path, line)}: query {escape(query)}: {escape(name)} stands in it already")
        scores[name] = score
    return found


def ordered(path: Path, found: Mapping[str, Mapping[str, float]], *, names_fall: bool = False) -> Ranking:
    """The Ranking of query -> name -> score: by score, and equal scores by the bytes of the names."""
    gathered = Gathered(path)
    for query, scores in found.items():
        # two stable sorts: by name, rising or falling, and then by score
        names = sorted(scores, key=lambda name: name.encode("utf-8", "surrogateescape"), reverse=names_fall)
        names.sort(key=scores.__getitem__, reverse=True)
        gathered.add(query, names, map(scores.__getitem__, names))
    return gathered.ranking()


def held(places: Mapping[int, str]) -> Iterator[str]:
    """Names by place from the first to the last, with a placeholder where `places` has none."""
    for place in range(max(places, default=-1) + 1):
        yield places.get(place) or placeholder(place)
