"""DISC21, the Image Similarity Challenge of 2021: CSV lines `query_id,reference_id`, with or without that header.

A line without a reference is a distractor query: nothing was copied into it. All pairs of all queries are judged
together, by micro-AP, so a distractor query lowers the score by what it is given.

Douze et al., "The 2021 Image Similarity Dataset and Challenge" (arXiv:2106.09672).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from imgret.errors import GroundTruthError
from imgret.ground_truth.judgements import GroundTruth, Query, Rules
from imgret.ground_truth.listed import Rows
from imgret.ground_truth.sources import the_file
from imgret.ids import escape
from imgret.lines import at, table

COLUMNS = ("query_id", "reference_id")


def read(path: Path, content: bytes | None = None) -> GroundTruth:
    """The ground truth in a CSV file; its database is the references named, all others are distractors.

    A query may have several references, on a line each. GroundTruthError for a pair that stands twice, and for a
    query that stands with and without a reference, naming the line.
    """
    path, content = the_file(path, content)
    references: dict[str, dict[str, int]] = {}  # query -> reference -> line
    for line, (query, reference, score) in table(
        path, content, COLUMNS, GroundTruthError, optional=("score",), headless=True
    ):
        if score:
            raise GroundTruthError(f"{at(path, line)}: a score: these are predictions, to be given as the ranking")
        if not query:
            raise GroundTruthError(f"{at(path, line)}: the query is empty")
        others = references.setdefault(query, {})
        if reference in others:
            pair = f"{escape(query)},{escape(reference)}"
            raise GroundTruthError(f"{at(path, line)}: {pair} stands on line {others[reference]} already")
        if "" in others or (others and not reference):
            other = next(iter(others.values()))
            raise GroundTruthError(
                f"{at(path, line)}: query {escape(query)} has a reference and has none: see line {other} too"
            )
        others[reference] = line
    rows = Rows()
    judged = [rows.judgement(filter(None, others)) for others in references.values()]
    return GroundTruth(
        database=list(rows),
        queries=[Query(query) for query in references],
        subsets={"all": judged.__getitem__},
        format="disc21",
        rules=Rules(measures=("micro_ap",), headline="micro_ap"),
        sha256=hashlib.sha256(content).hexdigest(),
    )
