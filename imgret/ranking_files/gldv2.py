"""Submissions to the Google Landmarks tasks, as Kaggle took them: CSV with a header.

    id,images                            id,landmarks
    0123abcd...,4567... 89ab... 4567...  0123abcd...,1234 0.87
    fedc...,                             fedc...,

Weyand, Araujo, Cao, Sim, "Google Landmarks Dataset v2" (arXiv:2004.01804).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from imgret.errors import RankingError
from imgret.ids import escape
from imgret.lines import Once, at, read_bytes, table, words
from imgret.ranking import Ranking
from imgret.ranking_files.gathering import Gathered, held, number


def read(path: Path) -> Ranking:
    """The Ranking in a retrieval submission: images with blanks between them, best first, or none.

    An image that stands in an answer twice counts where it stands first, and takes its later place up in vain, as
    in the official evaluation. RankingError for a malformed line, or a query that was answered before.
    """
    gathered = Gathered(path)
    for _, query, answer in _answers(path, "images"):
        first = {image: place for place, image in reversed(list(enumerate(answer)))}
        places = {place: image for place, image in enumerate(answer) if first[image] == place}
        gathered.add(query, list(held(places)))
    return gathered.ranking()


def read_recognition(path: Path) -> Ranking:
    """The Ranking in a recognition submission: one landmark and its score for each query, or none.

    RankingError for a malformed line, a score that is not a number, or a query that was answered before.
    """
    gathered = Gathered(path)
    for line, query, answer in _answers(path, "landmarks"):
        if len(answer) not in (0, 2):
            raise RankingError(
                f"{at(path, line)}: query {escape(query)}: expected one landmark and its score, got "
                f"{escape(' '.join(answer))[:80]!r}"
            )
        gathered.add(query, answer[:1], [number(score, path, line) for score in answer[1:]])
    return gathered.ranking()


def _answers(path: Path, column: str) -> Iterator[tuple[int, str, list[str]]]:
    """(line, query, words) of every answer."""
    once = Once(path, RankingError)
    for line, (query, answer) in table(path, read_bytes(path, RankingError), ("id", column), RankingError):
        if not query:
            raise RankingError(f"{at(path, line)}: the id is empty")
        once.add(line, query)
        yield line, query, words(answer)
