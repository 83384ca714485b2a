"""Images of one label answer each other; judged when asked for, since N images that query each other have N x N."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from imgret.errors import GroundTruthError
from imgret.ground_truth.judgements import GroundTruth, Judgement, Query, Rules
from imgret.lines import Once


def same_label(
    database_labels: Sequence[str], query_labels: Sequence[str], own: Sequence[int]
) -> Callable[[int], Judgement]:
    """The judgement of a query: the database images [M] of its label are positives, but for its own row.

    query_labels [Q]; own [Q] holds each query's own row of the database, or -1.
    """
    code_of: dict[str, int] = {}
    codes = np.array([code_of.setdefault(label, len(code_of)) for label in database_labels], np.int32)
    # rows of one label lie side by side, between two edges
    by_label = np.argsort(codes, kind="stable").astype(np.int32)
    edges = np.searchsorted(codes[by_label], np.arange(len(code_of) + 1))
    nothing = np.zeros(0, np.int32)

    def judge(query: int) -> Judgement:
        code = code_of.get(query_labels[query])
        if code is None:
            return Judgement(nothing, nothing)
        same = by_label[edges[code] : edges[code + 1]]
        return Judgement(same[same != own[query]], nothing)

    return judge


def all_query_all(
    path: Path, images: Iterable[tuple[int, str, str]], *, format: str, rules: Rules, sha256: str
) -> GroundTruth:
    """The ground truth of images (line, name, label) that all query all others, as in metric learning.

    An image that is alone in its class is kept, without positives. GroundTruthError for an image named twice.
    """
    once = Once(path, GroundTruthError)
    names: list[str] = []
    labels: list[str] = []
    for line, name, label in images:
        once.add(line, name)
        names.append(name)
        labels.append(label)
    return GroundTruth(
        database=names,
        queries=[Query(name) for name in names],
        subsets={"all": same_label(labels, labels, range(len(names)))},
        format=format,
        rules=rules,
        sha256=sha256,
    )
