"""GroundTruth: for every query, which database images are right and which do not count."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

Box = tuple[float, float, float, float]


class Query(NamedTuple):
    """A query image as published, and the region asked for.

    name  may lack folder and extension
    box   x1, y1, x2, y2 in pixels, zero-based, as published; None is the whole image
    """

    name: str
    box: Box | None = None


class Judgement(NamedTuple):
    """The verdict on one query: int32 arrays of rows of `GroundTruth.database`, ascending, disjoint.

    positives  images that answer the query; every other image is wrong
    junk       images that are neither right nor wrong: a ranking is judged as if they were not in it
    """

    positives: np.ndarray
    junk: np.ndarray


@dataclass(frozen=True)
class GroundTruth:
    """A ground truth of M database images and Q queries, judged at one or more difficulties.

    database   M distinct names as published, which may lack folder and extension
    queries    Q queries with distinct names
    subsets    difficulty ("easy", "medium", "hard", or "all" alone) -> query number -> Judgement. Functions
               and not lists, because N labelled images that query each other would need N x N entries
    format     name of the format, a row of `FORMATS`
    ap         the format's official average precision
    precision  the format's official precision at k: "revisitop" stops at the last positive found
    sha256     of the file, in hex
    """

    database: Sequence[str]
    queries: Sequence[Query]
    subsets: Mapping[str, Callable[[int], Judgement]]
    format: str
    ap: Literal["trapezoid", "finite"]
    precision: Literal["revisitop", "plain"]
    sha256: str

    def judge(self, query: int, subset: str) -> Judgement:
        """Positives and junk of query number `query` in `subset`. KeyError, IndexError outside either."""
        if not 0 <= query < len(self.queries):
            raise IndexError(f"query {query} of {len(self.queries)}")
        return self.subsets[subset](query)
