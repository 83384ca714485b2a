"""Result files: rankings that this or another tool wrote. One file per format, one row per format below."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from imgret.errors import RankingError
from imgret.tables import look_up, resolve

if TYPE_CHECKING:
    from imgret.ranking import Ranking

AUTO = "auto"


class RankingFormat(NamedTuple):
    """A row of `RANKING_FORMATS`: `reader` is "module:function", called with the path."""

    reader: str
    summary: str


RANKING_FORMATS = {
    "search": RankingFormat(
        "imgret.ranking:load",
        "output of `imgret search --format jsonl`",
    ),
    "holidays": RankingFormat(
        "imgret.ranking_files.holidays:read",
        "result file of INRIA Holidays (.dat): lines of query, then rank and image in turn",
    ),
    "gldv2": RankingFormat(
        "imgret.ranking_files.gldv2:read",
        "submission to the Google Landmarks retrieval task: CSV of id,images",
    ),
    "gldv2-recognition": RankingFormat(
        "imgret.ranking_files.gldv2:read_recognition",
        "submission to the Google Landmarks recognition task: CSV of id,landmarks, a landmark and its score",
    ),
    "trec": RankingFormat(
        "imgret.ranking_files.trec:read",
        "TREC run: lines of query, Q0, document, rank, score, tag",
    ),
    "disc21": RankingFormat(
        "imgret.ranking_files.disc21:read",
        "DISC21 (ISC2021) predictions: CSV of query_id,reference_id,score",
    ),
}


def load(path: str | Path, format: str = AUTO) -> Ranking:
    """Read a result file; `format` is a name of `RANKING_FORMATS`, or "auto" to tell from its first line.

    The database of the Ranking is the names found in the file. Where a file has no scores they are 0, -1, -2, ...
    by place; where it has, they stay in float64, so that pairs of different queries tie only where the file says so.

    RankingError when the file cannot be read, is malformed (naming the line), or "auto" cannot tell;
    UnknownNameError for a format that is in no row.
    """
    path = Path(path)
    if format != AUTO:
        look_up(RANKING_FORMATS, "ranking format", format)
    name = detect(path) if format == AUTO else format
    try:
        ranking: Ranking = resolve(RANKING_FORMATS[name].reader)(path)
    except RankingError as error:
        if format != AUTO or name == "search":
            raise
        raise RankingError(f"{error} (read as {name}, which is {RANKING_FORMATS[name].summary})") from error
    return ranking


def detect(path: Path) -> str:
    """The format of a result file, from its first line; RankingError if that does not tell.

    A pipe is taken for search output: it can be read only once.
    """
    from imgret.ids import escape
    from imgret.lines import cells, lines, words

    if not path.is_file():
        return "search"
    try:
        with open(path, "rb") as file:
            first = next((text for line in file for _, text in lines(line)), "")
    except OSError as error:
        raise RankingError(f"{escape(str(path))} cannot be read: {error.strerror or error}") from error
    columns = [cell.lower() for cell in cells(first)]
    found = words(first)
    # search output of another kind is refused by the reader, which says which kind to write
    if first[:1] in ("{", "[") or columns[:3] == ["query", "rank", "id"]:
        return "search"
    if {"id", "images"} <= set(columns):
        return "gldv2"
    if {"id", "landmarks"} <= set(columns):
        return "gldv2-recognition"
    if {"query_id", "reference_id"} <= set(columns) or (len(columns) == 3 and _is_number(columns[2])):
        return "disc21"
    if len(found) == 6 and found[3].lstrip("-").isdecimal() and _is_number(found[4]):
        return "trec"
    if len(found) >= 3 and len(found) % 2 and all(rank.isdecimal() for rank in found[1::2]):
        return "holidays"
    what = "is empty" if not first else "does not begin as any of them does"
    known = "; ".join(f"{name}, {row.summary}" for name, row in RANKING_FORMATS.items())
    raise RankingError(
        f"cannot tell the format of {escape(str(path))}: it {what}. Name it with --ranking-format: {known}"
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
