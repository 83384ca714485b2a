"""Predictions for DISC21, the Image Similarity Challenge of 2021: CSV lines `query_id,reference_id,score`.

In any order, with or without that header; higher scores are surer. A query's references are put in order of score,
and those of equal score by name; all pairs of all queries are judged together, by micro-AP.

Douze et al., "The 2021 Image Similarity Dataset and Challenge" (arXiv:2106.09672).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from imgret.errors import RankingError
from imgret.ids import escape
from imgret.lines import at, read_bytes, table
from imgret.ranking import Ranking
from imgret.ranking_files.gathering import number, ordered, scored_pairs

COLUMNS = ("query_id", "reference_id", "score")


def read(path: Path) -> Ranking:
    """The Ranking in a file. RankingError for a malformed line, a score that is no number, or a repeated pair."""
    return ordered(path, scored_pairs(path, _lines(path)))


def _lines(path: Path) -> Iterator[tuple[int, str, str, float]]:
    content = read_bytes(path, RankingError)
    for line, (query, reference, score) in table(path, content, COLUMNS, RankingError, headless=True):
        if not query or not reference:
            raise RankingError(
                f"{at(path, line)}: query {escape(query)!r} with reference {escape(reference)!r}: one is empty"
            )
        yield line, query, reference, number(score, path, line)
