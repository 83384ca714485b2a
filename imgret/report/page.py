"""The result page: one HTML file that needs nothing else, for the screen, the dark and the printer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from imgret.report.cards import MOST_HITS, MOST_QUERIES, cards_of, cuts_of, verdicts_of
from imgret.report.rows import ResultHit, ResultRow, Verdict, rows_of
from imgret.report.templates import check_writable, write_template
from imgret.report.thumbnails import Thumbnails

__all__ = ["MOST_HITS", "MOST_QUERIES", "ResultHit", "ResultRow", "Verdict", "rows_of", "write_page"]

COSINES = "Scores are cosines: 1 is the same direction."


def write_page(
    path: str | Path,
    *,
    title: str,
    subtitle: str = "",
    tiles: Sequence[tuple[str, str]] = (),
    notes: Sequence[str] = (),
    rows: Iterable[ResultRow] = (),
    scores: str = COSINES,
) -> None:
    """Write a page of search results, whole or not at all.

    tiles   (label, value) pairs shown large at the top
    notes   sentences below them
    rows    queries in their order; the page shows the first 200, and 50 hits of each, and says so when
            there were more
    scores  what the scores are, in a sentence

    Pictures are inside the file as small JPEGs, and nothing is fetched when it is opened. An image that
    is missing or damaged becomes a placeholder with the reason. Ids are escaped as everywhere
    (`imgret.ids.escape`). InputError when the folder of `path` does not exist.
    """
    check_writable(path)
    rows = list(rows)
    write_template(
        Path(path),
        "page.html.jinja",
        title=title,
        subtitle=subtitle,
        tiles=tiles,
        notes=[*notes, *cuts_of(rows)],
        verdicts=verdicts_of(rows),
        scores=scores,
        rows=cards_of(rows[:MOST_QUERIES], Thumbnails()),
    )
