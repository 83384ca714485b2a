"""Pairs of hloc: lines `query database`, both names of images; every image paired with a query is a positive.

https://github.com/cvg/Hierarchical-Localization. A pair is read in the one direction it is written in. A file of
pairs that a retrieval found says what was found, not what is right.
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
    """The ground truth in a file of pairs. GroundTruthError for a malformed line or a pair that stands twice."""
    path, content = the_file(path, content)
    paired: dict[str, dict[str, int]] = {}  # query -> image -> line
    for line, (query, image) in fields(path, content, "query database", GroundTruthError):
        others = paired.setdefault(query, {})
        if image in others:
            raise GroundTruthError(
                f"{at(path, line)}: {escape(query)} {escape(image)} stands on line {others[image]} already"
            )
        others[image] = line
    rows = Rows()
    judged = [rows.judgement(others) for others in paired.values()]
    return GroundTruth(
        database=list(rows),
        queries=[Query(query) for query in paired],
        subsets={"all": judged.__getitem__},
        format="hloc",
        rules=Rules(),
        sha256=hashlib.sha256(content).hexdigest(),
    )
