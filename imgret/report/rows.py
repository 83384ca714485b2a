"""What a result page shows: queries with their hits, and what is known about each hit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Verdict = Literal["positive", "negative", "junk"]
Box = tuple[int, int, int, int]

_BOX = re.compile(r"#(\d+),(\d+),(\d+),(\d+)$")


@dataclass(frozen=True)
class ResultHit:
    """One picture found: 1-based rank, cosine, and the verdict where a ground truth gives one.

    The box in an id such as ``a.jpg#10,20,300,400`` is what the picture is cropped to.
    """

    rank: int
    id: str
    score: float
    path: str | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True)
class ResultRow:
    """One query with what was found, or why nothing was.

    box   the part searched with, x1, y1, x2, y2 in pixels of the upright image; drawn on the query
    note  one line under the query, such as its average precision
    """

    query: str
    path: str | None = None
    hits: Sequence[ResultHit] = ()
    box: Box | None = None
    error: str | None = None
    note: str = ""


class AnyHit(Protocol):
    """A hit of `imgret.workflows.searching`."""

    @property
    def rank(self) -> int: ...
    @property
    def id(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def path(self) -> str | None: ...


class AnyAnswer(Protocol):
    """An answer of `imgret.workflows.searching`."""

    @property
    def query(self) -> str: ...
    @property
    def path(self) -> str | None: ...
    @property
    def hits(self) -> Sequence[AnyHit]: ...
    @property
    def error(self) -> str | None: ...


def rows_of(
    answers: Iterable[AnyAnswer],
    *,
    box: Box | None = None,
    judge: Callable[[str, str], Verdict | None] | None = None,
) -> list[ResultRow]:
    """Answers of a search as rows of a page.

    `box` is what all queries were cropped to; without it, the box in a query's id. `judge` gives the
    verdict on (query id, hit id), None where nothing is known.
    """
    return [
        ResultRow(
            query=answer.query,
            path=answer.path,
            hits=[
                ResultHit(hit.rank, hit.id, hit.score, hit.path, judge(answer.query, hit.id) if judge else None)
                for hit in answer.hits
            ],
            box=box or box_of(answer.query, answer.path),
            error=answer.error,
        )
        for answer in answers
    ]


def box_of(image_id: str, path: str | None) -> Box | None:
    """The box at the end of an id, unless the file itself is called so."""
    match = _BOX.search(image_id)
    if match is None or (path is not None and path.endswith(match[0])):
        return None
    x1, y1, x2, y2 = (int(edge) for edge in match.groups())
    return x1, y1, x2, y2
