"""TREC qrels: lines `query iteration document relevance`.

A relevance of 1 or more makes a document a positive; 0 or less is judged and not relevant, and counts as every
document that was not judged. The iteration is not used. As in trec_eval (without -l).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from imgret.errors import GroundTruthError
from imgret.ground_truth.judgements import GroundTruth, Query, Rules
from imgret.ground_truth.listed import Rows
from imgret.ground_truth.sources import the_file
from imgret.ids import escape
from imgret.lines import at, fields


def read(path: Path, content: bytes | None = None) -> GroundTruth:
    """The ground truth in a qrels file; its database is all documents judged, relevant or not.

    A query without a relevant document is kept. GroundTruthError for a malformed line or a document judged twice
    for one query, naming the line.
    """
    path, content = the_file(path, content)
    relevances: dict[str, dict[str, int]] = {}
    rows = Rows()
    for line, (query, _, document, relevance) in fields(
        path, content, "query iteration document relevance", GroundTruthError
    ):
        judged = relevances.setdefault(query, {})
        if document in judged:
            raise GroundTruthError(f"{at(path, line)}: query {escape(query)}: {escape(document)} is judged twice")
        try:
            judged[document] = int(relevance)
        except ValueError:
            raise GroundTruthError(
                f"{at(path, line)}: query {escape(query)}: relevance {escape(relevance)[:80]!r} is no whole number"
            ) from None
        rows[document]
    judgements = [
        rows.judgement(document for document, relevance in judged.items() if relevance >= 1)
        for judged in relevances.values()
    ]
    return GroundTruth(
        database=list(rows),
        queries=[Query(query) for query in relevances],
        subsets={"all": judgements.__getitem__},
        format="trec",
        rules=Rules(own=False),
        sha256=hashlib.sha256(content).hexdigest(),
    )
