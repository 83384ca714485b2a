"""The searched database, with the ground truth's images found in it: where in a line of a ranking they stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from imgret.evaluation.variants import Places, tie_runs
from imgret.ground_truth.judgements import GroundTruth, Judgement
from imgret.ground_truth.names import ByStem, match_and_count, rows_of, stem, unboxed
from imgret.ground_truth.stems import possible
from imgret.ids import to_bytes

NOBODY = b"\0"  # begins the ids of places that nobody is known to have (imgret.ranking_files)


class Line(NamedTuple):
    """What is known of one line of a ranking.

    places        subset -> (judgement, places); a subset the query is not in is left out
    rows, scores  [K] what was looked at, best first
    self_ignored  the query's own image stands in it unlisted
    self_found    the query's own image stands in it, listed or not, or nothing does
    truncated     it does not reach the end of the database
    """

    places: dict[str, tuple[Judgement, Places]]
    rows: np.ndarray
    scores: np.ndarray
    self_ignored: bool
    self_found: bool
    truncated: bool


class SearchedDatabase:
    """The ids that were searched and the rows among them that a ground truth knows.

    missing      names the database lacks, as the ground truth gives them
    distractors  images the ground truth does not list
    by_stem      names that were matched by stem alone
    """

    def __init__(self, ground_truth: GroundTruth, ids: Sequence[str], whole: bool = True) -> None:
        self._ground_truth = ground_truth
        self.ids = ids
        # [M], -1 where the index lacks an image
        self._rows, self.by_stem = match_and_count(ground_truth.database, ids)
        self.missing = [ground_truth.database[int(i)] for i in np.flatnonzero(self._rows < 0)]
        nobody = 0 if whole else sum(raw.startswith(NOBODY) for raw in map(to_bytes, ids))
        self.distractors = len(ids) - int((self._rows >= 0).sum()) - nobody
        names = [query.name for query in ground_truth.queries]
        listed = rows_of({unboxed(name) for name in names} | set(names), ground_truth.database)
        self._own_listed = [self._row(listed.get(name, listed.get(unboxed(name), -1))) for name in names]
        self._known: dict[str, int] = {}
        self._by_stem = ByStem()
        self._asked: set[str] = set()
        self._own_named = self.own_rows(names)
        # Rows that can be positive, junk or a query's own. A million distractors are then one look-up in a
        # table of bytes, which stays in the processor's cache, and never enter the table of places.
        self._matters = np.zeros(len(ids), bool)
        self._matters[self._rows[self._rows >= 0]] = True
        self._listed = self._matters.copy()
        # Place of such a row in the ranking at hand, -1 between queries; one for all, since it may be large.
        self._place_of = np.full(len(ids), -1, np.int32)

    def _row(self, listed: int) -> int:
        return int(self._rows[listed]) if listed >= 0 else -1

    def own_rows(self, queries: Sequence[str]) -> list[int]:
        """The row with the query's own id, or of the image it was cut from; -1 when it was not searched.

        All are -1 where a query and what is searched are of different kinds, whatever they are called.
        """
        if not self._ground_truth.rules.own:
            return [-1] * len(queries)
        asked = {stem(query) for query in queries} - self._asked
        if asked:
            for row, image_id in possible(asked, self.ids):
                if (key := stem(image_id)) in asked:
                    self._known[image_id] = row
                    self._by_stem.add(key, row, image_id)
            self._asked |= asked
        return [self._own_row(query) for query in queries]

    def _own_row(self, query: str) -> int:
        """By id, with or without the query's box, else by stem where that is unique."""
        row = self._known.get(query, self._known.get(unboxed(query), -1))
        if row >= 0:
            return row
        same = self._by_stem.rows(stem(query), query)
        return same[0] if len(same) == 1 else -1

    def find(
        self, number: int, rows: np.ndarray, scores: np.ndarray, own: int, size: int, depth: int | None, ties: bool
    ) -> Line:
        """Where the images of query `number` stand in its line: rows and scores [K], -1 last.

        own    the query's own row or -1
        size   images searched; a line that is shorter was cut
        depth  places to look at, the query's own image not counted where it is ignored
        ties   look for runs of equal scores
        """
        # -1 stands last, so a million rows need not be counted where the last is one
        end = len(rows) if not len(rows) or rows[-1] >= 0 else int(np.count_nonzero(rows >= 0))
        found, scores = rows[:end], scores[:end]
        own = self._own(number, own)
        if own >= 0:
            self._matters[own] = True
        places = np.flatnonzero(self._matters[found])
        touched = found[places]
        self._place_of[touched] = places
        in_line = own >= 0 and bool(self._place_of[own] >= 0)
        judged = {subset: judge(number) for subset, judge in self._ground_truth.subsets.items()}
        judgements = {subset: judgement for subset, judgement in judged.items() if judgement is not None}
        self_ignored = in_line and not any(self._lists(judgement, own) for judgement in judgements.values())
        if depth is not None and not self_ignored and len(found) > depth:
            self._place_of[found[depth:]] = -1
            found, scores = found[:depth], scores[:depth]
        own_place = int(self._place_of[own]) if in_line else -1
        found_in = {}
        for subset, judgement in judgements.items():
            positives = np.sort(self._places(judgement.positives))
            junk = np.sort(self._places(judgement.junk))
            runs = tie_runs(scores, positives) if ties and len(positives) else np.zeros((0, 2), np.int64)
            # listed as junk, the query's own image is junk of its own kind; listed as a positive, it is one
            is_junk = own >= 0 and bool((self._rows[judgement.junk] == own).any())
            place = own_place if self_ignored or is_junk else -1
            found_in[subset] = (
                judgement,
                Places(positives, junk[junk != place], place, runs, len(judgement.junk) - is_junk),
            )
        self._place_of[touched] = -1
        # A search may leave the query's own image out; that is not a ranking cut short.
        expected = size - int(own >= 0 and not in_line)
        return Line(found_in, found, scores, self_ignored, in_line or not len(found), len(found) < expected)

    def _own(self, number: int, asked: int) -> int:
        """The row of query `number`'s own image, -1 when it was not searched; `asked` is what its id says."""
        if not self._ground_truth.rules.own:
            return -1
        for row in (asked, self._own_named[number]):
            if row >= 0 and (row == self._own_listed[number] or not self._is_another(number, row)):
                return row
        return self._own_listed[number]

    def _is_another(self, number: int, row: int) -> bool:
        """Whether the ground truth lists a row under a name that is not the query's, whatever the ids say."""
        if not self._listed[row]:
            return False
        query = self._ground_truth.queries[number].name
        name = self._ground_truth.database[int(np.flatnonzero(self._rows == row)[0])]
        if "/" in query and "/" in name:
            return query.rpartition("/")[0] != name.rpartition("/")[0] or stem(query) != stem(name)
        return stem(query) != stem(name)

    def _lists(self, judgement: Judgement, row: int) -> bool:
        return any(bool((self._rows[images] == row).any()) for images in judgement)

    def _places(self, images: np.ndarray) -> np.ndarray:
        """Places in the ranking at hand of those images of the ground truth that are in it: int64."""
        rows = self._rows[images]
        places = self._place_of[rows[rows >= 0]]
        return places[places >= 0].astype(np.int64)
