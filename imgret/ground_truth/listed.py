"""Ground truths that name the images of each query: from names to rows, and to subsets of the queries."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np

from imgret.ground_truth.judgements import Judgement


class Rows(dict[str, int]):
    """name -> row of a database in order of first appearance; asking for a new name adds it."""

    def __missing__(self, name: str) -> int:
        row = self[name] = len(self)
        return row

    def judgement(self, positives: Iterable[str], junk: Iterable[str] = ()) -> Judgement:
        """The judgement that lists these names; a name that stands twice in one list counts once."""
        return Judgement(self._rows(positives), self._rows(junk))

    def _rows(self, names: Iterable[str]) -> np.ndarray:
        return np.unique(np.fromiter((self[name] for name in names), np.int32))


def part(judged: Sequence[Judgement], parts: Sequence[Hashable], wanted: Hashable) -> Callable[[int], Judgement | None]:
    """The subset of those queries [Q] whose entry in `parts` [Q] is `wanted`."""
    return lambda query: judged[query] if parts[query] == wanted else None
