"""Google Landmarks v2: the solutions of the retrieval and the recognition task, as published (v2.1) or as in 2018-19.

    id,images,Usage                          id,landmarks,Usage
    0123abcd...,4567... 89ab...,Public       0123abcd...,1234 5678,Private
    fedc...,None,Ignored                     fedc...,,Ignored

Weyand, Araujo, Cao, Sim, "Google Landmarks Dataset v2" (arXiv:2004.01804). Retrieval: the mean of AP over the first
100 places, divided by min(positives, 100). Recognition: GAP, where the "images" that answer are landmarks.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from imgret.errors import GroundTruthError
from imgret.ground_truth.judgements import GroundTruth, Judgement, Query, Rules
from imgret.ground_truth.listed import Rows, part
from imgret.ground_truth.sources import the_file
from imgret.ids import escape
from imgret.lines import Once, at, table, words

USAGES = ("public", "private")


def read(path: Path, content: bytes | None = None) -> GroundTruth:
    """The ground truth in a retrieval solution: subsets "public" and "private", or "all" without column Usage.

    Queries marked Ignored are left out and counted in `notes`. An image listed twice for one query counts once;
    a query without images is kept. The database is the images listed: the rest of the index are distractors.
    GroundTruthError for a missing column, another usage or a query that stands twice, naming the line.
    """
    rules = Rules(cutoff=100, divisor="cutoff", measures=("first_place",))
    return _solution(path, content, "images", "gldv2", rules)


def read_recognition(path: Path, content: bytes | None = None) -> GroundTruth:
    """The ground truth in a recognition solution, whose database is the landmarks; otherwise as `read`.

    An image that shows no landmark is a query without positives: a prediction for it lowers GAP.
    """
    return _solution(
        path, content, "landmarks", "gldv2-recognition", Rules(measures=("gap",), headline="gap", own=False)
    )


def _solution(path: Path, content: bytes | None, column: str, format: str, rules: Rules) -> GroundTruth:
    path, content = the_file(path, content)
    once = Once(path, GroundTruthError)
    rows = Rows()
    queries: list[Query] = []
    judged: list[Judgement] = []
    usages: list[str] = []
    ignored = 0
    for line, (query, listed, usage) in table(path, content, ("id", column), GroundTruthError, optional=("usage",)):
        usage = usage.lower()
        if not query or usage not in ("", "ignored", *USAGES):
            what = f"usage {escape(usage)!r} is none of Public, Private, Ignored" if query else "the id is empty"
            raise GroundTruthError(f"{at(path, line)}: {what}")
        once.add(line, query)
        if usage == "ignored":
            ignored += 1
            continue
        queries.append(Query(query))
        judged.append(rows.judgement([] if listed.lower() == "none" else words(listed)))
        usages.append(usage)
    parts = [usage for usage in ("", *USAGES) if usage in usages]
    if "" in parts and len(parts) > 1:
        raise GroundTruthError(
            f"{escape(str(path))}: {escape(queries[usages.index('')].name)} has no usage, others have"
        )
    return GroundTruth(
        database=list(rows),
        queries=queries,
        subsets={usage or "all": part(judged, usages, usage) for usage in parts or [""]},
        format=format,
        rules=rules,
        sha256=hashlib.sha256(content).hexdigest(),
        notes=(f"{ignored} of {len(queries) + ignored} queries are marked Ignored and left out",) if ignored else (),
    )
