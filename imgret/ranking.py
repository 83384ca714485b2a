"""Ranking: what a search found, best first, for every query."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imgret.errors import RankingError
from imgret.ids import IdTable, escape, unescape

SCHEMA = "imgret.search/1"
_MOST = 1e38  # a float32 holds little more


@dataclass(frozen=True)
class Ranking:
    """Rows of a database in order of score, one line per query.

    queries   ids of the Q queries
    rows      [Q, K] integers, rows of the database, best first; -1 means "nothing here" and stands last
    scores    [Q, K] floats, higher is better, never rising along a line; undefined where rows is -1. float32, but
              float64 from other tools' files
    database  ids of the database, one per row
    """

    queries: Sequence[str]
    rows: np.ndarray
    scores: np.ndarray
    database: Sequence[str]

    def __post_init__(self) -> None:
        if self.rows.ndim != 2 or self.rows.shape != self.scores.shape:
            raise ValueError(f"rows and scores must both be [Q, K], got {self.rows.shape} and {self.scores.shape}")
        if len(self.queries) != len(self.rows):
            raise ValueError(f"{len(self.queries)} query ids for {len(self.rows)} lines")

    @property
    def depth(self) -> int:
        """K, the longest line."""
        return int(self.rows.shape[1])

    def check(self) -> Ranking:
        """Raise RankingError for a duplicate, an unknown row, a NaN or a rising score; else return self."""
        size = len(self.database)
        seen = np.zeros(size, bool)
        for query, rows, scores in zip(self.queries, self.rows, self.scores, strict=True):
            name = escape(query)
            n = len(rows) if not len(rows) or rows.min() >= 0 else int((rows >= 0).sum())
            if n < len(rows) and (rows[:n] < 0).any():
                raise RankingError(f"ranking of query {name}: a gap before its last result")
            found, values = rows[:n], scores[:n]
            if n and int(found.max()) >= size:
                raise RankingError(f"ranking of query {name}: row {int(found.max())} of {size} images")
            # Marking rows and counting the marks is linear; sorting a million rows is not.
            seen[found] = True
            distinct = np.count_nonzero(seen)
            if n > size // 8:
                seen.fill(False)
            else:
                seen[found] = False
            if distinct != n:
                repeated, counts = np.unique(found, return_counts=True)
                twice = self.database[int(repeated[counts > 1][0])]
                raise RankingError(f"ranking of query {name}: {escape(twice)} stands in it more than once")
            if (values[1:] <= values[:-1]).all() and not np.isnan(values[:1]).any():
                continue
            if np.isnan(values).any():
                image = escape(self.database[int(found[np.isnan(values).argmax()])])
                raise RankingError(f"ranking of query {name}: the score of {image} is not a number")
            image = escape(self.database[int(found[1:][(values[1:] > values[:-1]).argmax()])])
            raise RankingError(f"ranking of query {name}: scores rise along the line, at {image}; best must be first")
        return self

    def top(self, k: int) -> Ranking:
        """The first k places of every line."""
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        return Ranking(self.queries, self.rows[:, :k], self.scores[:, :k], self.database)

    def hits(self, query: int) -> Iterator[tuple[int, float]]:
        """(row, score) of one query, best first."""
        for row, score in zip(self.rows[query].tolist(), self.scores[query].tolist(), strict=True):
            if row < 0:
                return
            yield row, score


def load(path: Path) -> Ranking:
    """Read `imgret search --format jsonl` output: one line per query.

    The database is the ids found in the file, in order of first appearance. A line with "error" was never
    answered and is left out. RankingError names the line of whatever is malformed.
    """
    place = escape(str(path))
    lines: dict[str, list[tuple[int, float]]] = {}
    row_of: dict[str, int] = {}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise RankingError(f"{place} cannot be read: {why}") from error
    for number, line in enumerate(text.split("\n"), 1):  # an id may hold what else splitlines would split at
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            query = unescape(entry["query"])
            failed = entry.get("error") is not None
            if not (failed or isinstance(entry["results"], list)):
                raise TypeError("results is no list")
            found = [] if failed else [(unescape(hit["id"]), float(hit["score"])) for hit in entry["results"]]
            beyond = any(abs(score) > _MOST for _, score in found)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise RankingError(
                f"{place}, line {number}: not a line of `imgret search --format jsonl` ({error!r:.200})"
            ) from error
        if beyond:
            raise RankingError(f"{place}, line {number}: query {escape(query)}: a score is beyond {_MOST:g}")
        if query in lines:
            raise RankingError(f"{place}, line {number}: query {escape(query)} stands in it twice")
        if not failed:
            lines[query] = [(row_of.setdefault(name, len(row_of)), score) for name, score in found]
    depth = max(map(len, lines.values()), default=0)
    rows = np.full((len(lines), depth), -1, np.int32)
    scores = np.full((len(lines), depth), -np.inf, np.float32)
    for i, hits in enumerate(lines.values()):
        for j, (row, score) in enumerate(hits):
            rows[i, j], scores[i, j] = row, score
    try:
        return Ranking(list(lines), rows, scores, IdTable.of(row_of)).check()
    except RankingError as error:
        raise RankingError(f"{place}: {error}") from error
