"""Result files of INRIA Holidays (.dat): lines `query rank image rank image ...`.

    100000.jpg 0 100000.jpg 1 100002.jpg 5 100001.jpg

Ranks count from 0 and stand in any order. A file may name a few images only, with the ranks they have: the places
between are taken by images that nobody named, and stay taken. The query's own image stays where it is: evaluation
takes it out, and finds out which queries no line answers.

Jégou, Douze, Schmid, "Hamming embedding and weak geometric consistency" (ECCV 2008).
"""

from __future__ import annotations

from pathlib import Path

from imgret.errors import RankingError
from imgret.ids import escape
from imgret.lines import Once, at, lines, read_bytes, words
from imgret.ranking import Ranking
from imgret.ranking_files.gathering import Gathered, held

_TOO_MANY = 100_000  # Holidays has 1,491 images; a place that is skipped takes memory


def read(path: Path) -> Ranking:
    """The Ranking in a file. RankingError for a malformed line, a rank or an image that stands twice in one."""
    gathered = Gathered(path)
    once = Once(path, RankingError)
    for line, text in lines(read_bytes(path, RankingError)):
        query, *rest = words(text)
        where = f"{at(path, line)}: query {escape(query)}"
        once.add(line, query)
        if len(rest) % 2:
            raise RankingError(f"{where}: a rank without an image; expected QUERY RANK IMAGE RANK IMAGE ...")
        places: dict[int, str] = {}
        named: set[str] = set()
        for text_of_rank, image in zip(rest[::2], rest[1::2], strict=True):
            rank = int(text_of_rank) if text_of_rank.isdecimal() and len(text_of_rank) < 10 else _TOO_MANY
            if rank >= _TOO_MANY:
                raise RankingError(
                    f"{where}: the rank {escape(text_of_rank)[:80]!r} is no whole number from 0 to {_TOO_MANY - 1:,}"
                )
            if rank in places:
                raise RankingError(f"{where}: {escape(places[rank])} and {escape(image)} both have rank {rank}")
            if image in named:
                raise RankingError(f"{where}: {escape(image)} stands in it twice")
            places[rank] = image
            named.add(image)
        gathered.add(query, list(held(places)))
    return gathered.ranking()
