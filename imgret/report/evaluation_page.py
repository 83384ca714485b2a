"""The page of an evaluation: scores, every query's average precision, curves, the worst and the best queries."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from imgret.ids import escape
from imgret.report.cards import MOST_QUERIES, cards_of, cuts_of, verdicts_of
from imgret.report.plots import ap_plot, ap_words, curves_plot, style_of
from imgret.report.rows import ResultRow
from imgret.report.templates import check_writable, write_template
from imgret.report.thumbnails import Thumbnails

Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]
"""(title, header, rows of text)"""

_NUMBER = re.compile(r"[-+−±]?\d[\d.,]*(e[-+]?\d+)?( ?%)?|–|-|")


@dataclass(frozen=True)
class SubsetPart:
    """The scores of one subset, such as a difficulty level.

    name      "easy", "medium", "hard", or "all"
    measures  (label, text) pairs, the headline first
    queries   (query id, AP in 0..1, a few words for the tooltip) each
    curve     (recall, precision) points, the mean over queries, recall rising from 0 to 1; may be empty
    """

    name: str
    measures: Sequence[tuple[str, str]]
    queries: Sequence[tuple[str, float, str]]
    curve: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class _SubsetCard:
    """A subset as the template shows it; plots are markup."""

    name: str
    style: str
    measures: Sequence[tuple[str, str]]
    plot: str
    words: str
    has_curve: bool


@dataclass(frozen=True)
class _TableCard:
    """A table as the template shows it: its columns as (text, is it of numbers), its rows as cells."""

    title: str
    columns: Sequence[tuple[str, bool]]
    rows: Sequence[Sequence[str]]


def write_evaluation_page(
    path: str | Path,
    *,
    title: str,
    subtitle: str,
    subsets: Sequence[SubsetPart],
    shown: str,
    worst: Sequence[ResultRow],
    best: Sequence[ResultRow],
    protocol: Sequence[tuple[str, str]],
    notes: Sequence[str] = (),
    tables: Sequence[Table] = (),
) -> None:
    """Write the page of an evaluation, whole or not at all.

    subsets      one card of scores and one plot of APs each, and all their curves in one plot
    shown        the subset that the worst and the best queries were chosen by and are judged in
    worst, best  queries with what was found; at most 200 of each are shown, and 50 hits of a query
    protocol     (name, text) pairs: how the scores were computed
    notes        sentences at the top
    tables       (title, header, rows of text) each, at the end

    Pictures and plots are inside the file, and nothing is fetched when it is opened. Ids are escaped
    (`imgret.ids.escape`). InputError when the folder of `path` does not exist; ValueError when an AP, recall
    or precision is not in 0..1, or a table row is not as long as its header.
    """
    check_writable(path)
    thumbnails = Thumbnails()
    write_template(
        Path(path),
        "evaluation.html.jinja",
        title=title,
        subtitle=subtitle,
        notes=list(dict.fromkeys([*notes, *cuts_of(worst), *cuts_of(best)])),
        subsets=[_subset_card(number, subset) for number, subset in enumerate(subsets)],
        curves=curves_plot([(subset.name, subset.curve) for subset in subsets]),
        shown=escape(shown),
        verdicts=verdicts_of([*worst, *best]),
        worst=list(cards_of(worst[:MOST_QUERIES], thumbnails)),
        best=list(cards_of(best[:MOST_QUERIES], thumbnails)),
        protocol=protocol,
        tables=[_table_card(*table) for table in tables],
    )


def _subset_card(number: int, subset: SubsetPart) -> _SubsetCard:
    return _SubsetCard(
        name=escape(subset.name),
        style=style_of(number),
        measures=subset.measures,
        plot=ap_plot(subset.queries),
        words=ap_words(subset.queries),
        has_curve=bool(subset.curve),
    )


def _table_card(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> _TableCard:
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"a row of the table {title!r} must have {len(header)} cells, got {len(row)}")
    return _TableCard(title, list(_columns(header, rows)), rows)


def _columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[tuple[str, bool]]:
    """Each column's heading, and whether it is set to the right as numbers are."""
    for column, text in enumerate(header):
        yield text, bool(rows) and all(_NUMBER.fullmatch(row[column]) for row in rows)
