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


RECALL_AT = (1, 2, 4, 5, 8, 10, 100, 1000)


@dataclass(frozen=True)
class Rules:
    """How a format's own definition scores a ranking.

    ap          average precision with "trapezoid"s under the curve, or as a "finite" sum
    cutoff      places that count, None for all: the first 100 of Google Landmarks, 20 of Copydays
    divisor     what AP is divided by: "positives", all of them, or "cutoff", no more than fit into it
    precision   precision at k: "revisitop" stops at the last positive found
    recall_at   the k of recall@k
    measures    further measures, each also a key of the result: of one query "n_s_score", "r_precision",
                "map@r", "first_place"; of all queries together "gap", "micro_ap"
    headline    the measure the format is known by, a key of the result
    own         queries are images, and one that is searched itself is ignored unless it is listed. False where they
                are something else than what is searched, as landmarks or documents are
    """

    ap: Literal["trapezoid", "finite"] = "finite"
    cutoff: int | None = None
    divisor: Literal["positives", "cutoff"] = "positives"
    precision: Literal["revisitop", "plain"] = "plain"
    recall_at: tuple[int, ...] = RECALL_AT
    measures: tuple[str, ...] = ()
    headline: str = "map"
    own: bool = True

    @property
    def ap_text(self) -> str:
        """The average precision in words: "trapezoid", "finite@100 over min(positives, 100)"."""
        if self.cutoff is None:
            return self.ap
        over = f" over min(positives, {self.cutoff})" if self.divisor == "cutoff" else ""
        return f"{self.ap}@{self.cutoff}{over}"


@dataclass(frozen=True)
class GroundTruth:
    """A ground truth of M database images and Q queries, judged at one or more difficulties.

    database   M distinct names as published, which may lack folder and extension
    queries    Q queries with distinct names
    subsets    difficulty ("easy", "medium", "hard"), part ("public", "private") or "all" alone -> query number ->
               Judgement, None where the query is not in the subset. Functions and not lists, because N labelled
               images that query each other would need N x N entries
    format     name of the format, a row of `FORMATS`
    rules      the format's official definitions
    sha256     of the file, in hex; of a folder, of the names and files it was read from
    notes      what reading left out or counted once, one line each
    """

    database: Sequence[str]
    queries: Sequence[Query]
    subsets: Mapping[str, Callable[[int], Judgement | None]]
    format: str
    rules: Rules
    sha256: str
    notes: tuple[str, ...] = ()

    def judge(self, query: int, subset: str) -> Judgement | None:
        """Positives and junk of query number `query` in `subset`. KeyError, IndexError outside either."""
        if not 0 <= query < len(self.queries):
            raise IndexError(f"query {query} of {len(self.queries)}")
        return self.subsets[subset](query)
