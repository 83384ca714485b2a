"""Judge rankings by a ground truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import chain
from typing import NamedTuple

import numpy as np

from imgret.errors import GroundTruthError, RankingError
from imgret.evaluation import metrics
from imgret.evaluation.scores import PRECISION_AT, Counts, QueryScore, Scores, summary
from imgret.ground_truth.judgements import GroundTruth, Judgement
from imgret.ground_truth.names import match, rows_of, stem, stems, unboxed
from imgret.ids import escape
from imgret.ranking import Ranking

JUNK_RULE = "taken out of the ranking before ranks are counted, as is the query's own image"

_AVERAGE_PRECISION = {
    "trapezoid": metrics.average_precision_trapezoid,
    "finite": metrics.average_precision_finite,
}
_PRECISION = {"revisitop": metrics.precision_at_k_revisitop, "plain": metrics.precision_at_k}


def evaluate(
    ground_truth: GroundTruth,
    rankings: Iterable[Ranking],
    *,
    allow_missing: bool = False,
    depth: int | None = None,
    whole_database: bool = True,
) -> Scores:
    """Score rankings that arrive in blocks of queries, all of one database; a block is let go once scored.

    depth           only the first `depth` places are looked at, the query's own image not counted where it is
                    ignored (so bring one place more); None takes all there are
    whole_database  `ranking.database` is all that was searched. False for a ranking read from a file, which
                    knows only the images that were found: then no image counts as missing from the index
    allow_missing   go on when the index lacks images of the ground truth, or no ranking answers a query

    Every positive counts, found or not: those that the index lacks or that lie beyond the end of a ranking
    are misses, and a query that no ranking answers scores 0. Junk, and the query's own image where the
    ground truth does not list it for the query, are taken out of the ranking first. Images the ground truth
    does not list are negatives. A query without positives is left out of the means.

    RankingError for a ranking with duplicates; GroundTruthError for names that are missing or ambiguous.
    """
    blocks = iter(rankings)
    first = next(blocks, None)
    if first is None:
        raise GroundTruthError("there is no ranking to score: no query was answered")
    database = _Database(ground_truth, first.database)
    missing = database.missing if whole_database else []
    if missing and not allow_missing:
        raise GroundTruthError(_missing_message(missing, "images", len(ground_truth.database), "the index"))
    size = len(first.database) if whole_database else max(len(first.database), len(ground_truth.database))

    queries = _Queries(ground_truth)
    answers: dict[int, _Answer] = {}  # by path
    guesses: dict[tuple[int, str], _Answer] = {}  # by stem; judged when all query ids are known
    others: list[str] = []
    deepest = 0
    for block in chain([first], blocks):
        if block.database is not first.database and block.database != first.database:
            raise ValueError("all blocks of rankings must be of one database")
        ranking = (block if depth is None else block.top(depth + 1)).check()
        deepest = max(deepest, ranking.depth if depth is None else min(ranking.depth, depth))
        own_rows = database.own_rows(ranking.queries)
        for query, rows, own in zip(ranking.queries, ranking.rows, own_rows, strict=True):
            number = queries.by_path.get(query)
            if number is not None:
                if number in answers:
                    raise RankingError(f"query {escape(query)} is ranked twice")
                answers[number] = database.judge(number, rows, own, size, depth)
                continue
            others.append(query)
            for number in queries.by_stem.get(stem(query), ()):
                if number not in answers:
                    guesses[number, query] = database.judge(number, rows, own, size, depth)

    rest = [number for number in range(len(ground_truth.queries)) if number not in answers]
    positions = match([ground_truth.queries[number].name for number in rest], others).tolist()
    for number, position in zip(rest, positions, strict=True):
        if position >= 0:
            answers[number] = guesses[number, others[position]]
    unanswered = [number for number in rest if number not in answers]
    missing_queries = [ground_truth.queries[number].name for number in unanswered]
    if missing_queries and not allow_missing:
        total = len(ground_truth.queries)
        raise GroundTruthError(_missing_message(missing_queries, "queries", total, "the rankings"))
    for number in unanswered:
        answers[number] = database.judge(number, np.zeros(0, np.int32), -1, 0)
    ordered = [answers[number] for number in range(len(ground_truth.queries))]
    counts = Counts(
        database=size if whole_database else None,
        distractors=database.distractors,
        self_ignored=sum(answer.self_ignored for answer in ordered),
        missing=len(missing),
        missing_queries=len(missing_queries),
        other_queries=len(others) - (len(rest) - len(unanswered)),
        truncated=sum(answer.truncated for answer in ordered),
    )
    per_query = [score for answer in ordered for score in answer.scores]
    return Scores(
        format=ground_truth.format,
        subsets={
            subset: summary([score for score in per_query if score.subset == subset], deepest)
            for subset in ground_truth.subsets
        },
        per_query=per_query,
        counts=counts,
        protocol={
            "ap": ground_truth.ap,
            "precision_at_k": ground_truth.precision,
            "junk": JUNK_RULE,
            "depth": deepest if counts.truncated else "all",
            "ground_truth_sha256": ground_truth.sha256,
            "counts": asdict(counts),
        },
        missing=missing,
        missing_queries=missing_queries,
    )


class _Answer(NamedTuple):
    """What is kept of one ranked query."""

    scores: list[QueryScore]
    self_ignored: bool
    truncated: bool


class _Queries:
    """The ground truth's queries by name and by the stems their names may stand for."""

    def __init__(self, ground_truth: GroundTruth) -> None:
        self.by_path: dict[str, int] = {}
        self.by_stem: dict[str, list[int]] = {}
        for number, query in enumerate(ground_truth.queries):
            self.by_path[query.name] = number
            for key in set(stems(query.name)):
                self.by_stem.setdefault(key, []).append(number)


class _Database:
    """The searched database, with the ground truth's images found in it."""

    def __init__(self, ground_truth: GroundTruth, ids: Sequence[str]) -> None:
        self._ground_truth = ground_truth
        self._ids = ids
        self._rows = match(ground_truth.database, ids)  # [M], -1 where the index lacks an image
        self.missing = [ground_truth.database[int(i)] for i in np.flatnonzero(self._rows < 0)]
        self.distractors = len(ids) - int((self._rows >= 0).sum())
        names = [query.name for query in ground_truth.queries]
        listed = rows_of(names, ground_truth.database)
        self._own_listed = [int(self._rows[listed[name]]) if name in listed else -1 for name in names]
        self._known = rows_of(names, ids)
        self._asked = set(names)
        # Rows that can be positive, junk or a query's own. A million distractors are then one look-up in a
        # table of bytes, which stays in the processor's cache, and never enter the table of places.
        self._matters = np.zeros(len(ids), bool)
        self._matters[self._rows[self._rows >= 0]] = True
        self._listed = self._matters.copy()
        # Place of such a row in the ranking at hand, -1 between queries; one for all, since it may be large.
        self._place_of = np.full(len(ids), -1, np.int32)

    def own_rows(self, queries: Sequence[str]) -> list[int]:
        """The row with the query's own id, or of the image it was cut from; -1 when it was not searched."""
        asked = {name for query in queries for name in (query, unboxed(query))} - self._asked
        if asked:
            self._known.update(rows_of(asked, self._ids))
            self._asked |= asked
        return [self._known.get(query, self._known.get(unboxed(query), -1)) for query in queries]

    def judge(self, number: int, rows: np.ndarray, own: int, size: int, depth: int | None = None) -> _Answer:
        """The scores of one line [K] of a ranking in every subset; `own` is the query's own row or -1."""
        found = rows[: np.count_nonzero(rows >= 0)]  # -1 stands last
        if own < 0 or (own != self._own_listed[number] and self._is_another(number, own)):
            own = self._own_listed[number]
        else:
            self._matters[own] = True
        places = np.flatnonzero(self._matters[found])
        self._place_of[found[places]] = places
        in_line = own >= 0 and bool(self._place_of[own] >= 0)
        judgements = {subset: judge(number) for subset, judge in self._ground_truth.subsets.items()}
        self_ignored = in_line and not any(self._lists(judged, own) for judged in judgements.values())
        touched = found[places]
        if depth is not None and not self_ignored and len(found) > depth:
            self._place_of[found[depth:]] = -1
            found = found[:depth]
        scores = [
            self._score(number, subset, judged, own if self_ignored else -1) for subset, judged in judgements.items()
        ]
        self._place_of[touched] = -1
        # A search may leave the query's own image out; that is not a ranking cut short.
        expected = size - int(own >= 0 and not in_line)
        return _Answer(scores, self_ignored, len(found) < expected)

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
        """Places in the ranking at hand of those images of the ground truth that are in it."""
        rows = self._rows[images]
        places = self._place_of[rows[rows >= 0]]
        return places[places >= 0]

    def _score(self, number: int, subset: str, judgement: Judgement, ignored: int) -> QueryScore:
        name = self._ground_truth.queries[number].name
        n_positives = len(judgement.positives)
        if not n_positives:
            return QueryScore(name, subset, None, None, None, (None,) * len(PRECISION_AT), None, 0, 0)
        junk = self._places(judgement.junk)
        if ignored >= 0:
            junk = np.append(junk, self._place_of[ignored])
        ranks = metrics.ranks_without_junk(self._places(judgement.positives), junk)
        precision = _PRECISION[self._ground_truth.precision]
        return QueryScore(
            query=name,
            subset=subset,
            ap=_AVERAGE_PRECISION[self._ground_truth.ap](ranks, n_positives),
            ap_trapezoid=metrics.average_precision_trapezoid(ranks, n_positives),
            ap_finite=metrics.average_precision_finite(ranks, n_positives),
            precision=tuple(precision(ranks, k) for k in PRECISION_AT),
            first_rank=int(ranks[0]) if len(ranks) else None,
            positives=n_positives,
            found=len(ranks),
        )


def _missing_message(names: list[str], what: str, total: int, where: str) -> str:
    examples = ", ".join(map(escape, names[:3])) + (", ..." if len(names) > 3 else "")
    return (
        f"{len(names)} of the ground truth's {total} {what} are not in {where}: {examples}. "
        "Add them, or count them as never found with --allow-missing"
    )
