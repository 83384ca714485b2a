"""The result page: one HTML file that needs nothing else, for the screen, the dark and the printer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from imgret.errors import InputError
from imgret.ids import escape
from imgret.report.rows import ResultHit, ResultRow, Verdict, box_of, rows_of
from imgret.report.templates import write_template
from imgret.report.thumbnails import Thumbnail, Thumbnails

__all__ = ["MOST_HITS", "MOST_QUERIES", "ResultHit", "ResultRow", "Verdict", "rows_of", "write_page"]

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
class _QueryCard:
    """A query as the template shows it."""

    name: str
    thumbnail: Thumbnail
    note: str
    error: str | None
    right: int | None
    hits: list[_HitCard]


def write_page(
    path: str | Path,
    *,
    title: str,
    subtitle: str = "",
    tiles: Sequence[tuple[str, str]] = (),
    notes: Sequence[str] = (),
    rows: Iterable[ResultRow] = (),
) -> None:
    """Write a page of search results, whole or not at all.

    tiles  (label, value) pairs shown large at the top
    notes  sentences below them
    rows   queries in their order; the page shows the first 200, and 50 hits of each, and says so when
           there were more

    Pictures are inside the file as small JPEGs, and nothing is fetched when it is opened. An image that
    is missing or damaged becomes a placeholder with the reason. Ids are escaped as everywhere
    (`imgret.ids.escape`). InputError when the folder of `path` does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir() or path.is_dir():
        problem = "is a folder" if path.is_dir() else "cannot be written: its folder does not exist"
        raise InputError(f"the page {path} {problem}; name a file such as results.html")
    rows = list(rows)
    known = [hit.verdict for row in rows for hit in row.hits if hit.verdict is not None]
    write_template(
        path,
        "page.html.jinja",
        title=title,
        subtitle=subtitle,
        tiles=tiles,
        notes=[*notes, *_cuts(rows)],
        verdicts=[verdict for verdict in ("positive", "negative", "junk") if verdict in known],
        rows=_cards(rows[:MOST_QUERIES]),
    )


def _cuts(rows: Sequence[ResultRow]) -> Iterator[str]:
    """What the page leaves out, in words."""
    if len(rows) > MOST_QUERIES:
        yield f"The first {MOST_QUERIES} of {len(rows)} queries are shown."
    longest = max((len(row.hits) for row in rows), default=0)
    if longest > MOST_HITS:
        yield f"The first {MOST_HITS} of up to {longest} results a query are shown."


def _cards(rows: Iterable[ResultRow]) -> Iterator[_QueryCard]:
    thumbnails = Thumbnails()
    for row in rows:
        path = None if row.path is None else os.fspath(row.path)
        verdicts = [hit.verdict for hit in row.hits if hit.verdict in ("positive", "negative")]
        yield _QueryCard(
            name=escape(row.query),
            thumbnail=thumbnails.framed(path, row.query, row.box),
            note=row.note,
            error=row.error,
            right=verdicts.count("positive") if verdicts else None,
            hits=[_hit_card(hit, thumbnails) for hit in row.hits[:MOST_HITS]],
        )


def _hit_card(hit: ResultHit, thumbnails: Thumbnails) -> _HitCard:
    return _HitCard(
        rank=hit.rank,
        name=escape(hit.id),
        score=f"{hit.score:.3f}",
        verdict=hit.verdict or "",
        thumbnail=thumbnails.cropped(hit.path, hit.id, box_of(hit.id, hit.path)),
    )
