"""TREC runs: lines `query Q0 document rank score tag`, in any order.

A query's documents are put in order of score, and those of equal score in falling order of their names, whatever
their ranks say: as trec_eval does. It keeps scores in single precision, and so do we: scores that differ only
beyond that are equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from imgret.errors import RankingError
from imgret.lines import fields, read_bytes
from imgret.ranking import Ranking
from imgret.ranking_files.gathering import number, ordered, scored_pairs


def read(path: Path) -> Ranking:
    """The Ranking in a run. RankingError for a malformed line, a score that is no number, or a repeated document."""
    return ordered(path, scored_pairs(path, _lines(path)), names_fall=True)


def _lines(path: Path) -> Iterator[tuple[int, str, str, float]]:
    content = read_bytes(path, RankingError)
    columns = "query Q0 document rank score tag"
    with np.errstate(over="ignore"):
        for line, (query, _, document, _, score, _) in fields(path, content, columns, RankingError):
            yield line, query, document, float(np.float32(number(score, path, line)))
