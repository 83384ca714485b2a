"""Queries with their hits as the cards of a page."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from imgret.ids import escape
from imgret.report.rows import ResultHit, ResultRow, box_of
from imgret.report.thumbnails import Thumbnail, Thumbnails

MOST_QUERIES = 200
MOST_HITS = 50
"""A page with more pictures than that opens slowly; what is left out is said on it."""


@dataclass(frozen=True)
class _HitCard:
    """A hit as the template shows it."""

    rank: int
    name: str
    score: str
    verdict: str
    thumbnail: Thumbnail


@dataclass(frozen=True)
class QueryCard:
    """A query as the template shows it."""

    name: str
    thumbnail: Thumbnail
    note: str
    error: str | None
    right: int | None
    hits: list[_HitCard]


def cards_of(rows: Iterable[ResultRow], thumbnails: Thumbnails) -> Iterator[QueryCard]:
    """Rows as cards, each with its first 50 hits."""
    for row in rows:
        path = None if row.path is None else os.fspath(row.path)
        verdicts = [hit.verdict for hit in row.hits if hit.verdict in ("positive", "negative")]
        yield QueryCard(
            name=escape(row.query),
            thumbnail=thumbnails.framed(path, row.query, row.box),
            note=row.note,
            error=row.error,
            right=verdicts.count("positive") if verdicts else None,
            hits=[_hit_card(hit, thumbnails) for hit in row.hits[:MOST_HITS]],
        )


def verdicts_of(rows: Sequence[ResultRow]) -> list[str]:
    """The verdicts that occur, for the legend."""
    known = {hit.verdict for row in rows for hit in row.hits}
    return [verdict for verdict in ("positive", "negative", "junk") if verdict in known]


def cuts_of(rows: Sequence[ResultRow]) -> Iterator[str]:
    """What the page leaves out, in words."""
    if len(rows) > MOST_QUERIES:
        yield f"The first {MOST_QUERIES} of {len(rows)} queries are shown."
    longest = max((len(row.hits) for row in rows), default=0)
    if longest > MOST_HITS:
        yield f"The first {MOST_HITS} of up to {longest} results a query are shown."


def _hit_card(hit: ResultHit, thumbnails: Thumbnails) -> _HitCard:
    return _HitCard(
        rank=hit.rank,
        name=escape(hit.id),
        score=f"{hit.score:.3f}",
        verdict=hit.verdict or "",
        thumbnail=thumbnails.cropped(hit.path, hit.id, box_of(hit.id, hit.path)),
    )
