"""Judge rankings by a ground truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain

import numpy as np

from imgret.errors import GroundTruthError, RankingError
from imgret.evaluation import metrics
from imgret.evaluation.database import NOBODY, Line, SearchedDatabase
from imgret.evaluation.pooled import PairFilter, Pairs, copy_detection, recognition
from imgret.evaluation.scores import LEVELS, Counts, QueryScore, Scores, ShownHit, summary
from imgret.evaluation.scoring import score, verdicts
from imgret.evaluation.spelling import missing_message
from imgret.evaluation.variants import OFFICIAL, Variant
from imgret.ground_truth.judgements import GroundTruth
from imgret.ground_truth.names import match, stem, stems
from imgret.ids import escape, to_bytes
from imgret.ranking import Ranking

JUNK_RULE = {
    True: "taken out of the ranking before ranks are counted, as is the query's own image",
    False: "taken out of the ranking before ranks are counted",
}
_LEVELS = np.linspace(0, 1, LEVELS)


def evaluate(
    ground_truth: GroundTruth,
    rankings: Iterable[Ranking],
    *,
    allow_missing: bool = False,
    depth: int | None = None,
    whole_database: bool = True,
    variants: Mapping[str, Variant] | None = None,
    show: int = 0,
) -> Scores:
    """Score rankings that arrive in blocks of queries, all of one database; a block is let go once scored.

    depth           only the first `depth` places are looked at, the query's own image not counted where it is
                    ignored (so bring one place more); None takes all there are
    whole_database  `ranking.database` is all that was searched. False for a ranking read from a file, which
                    knows only the images that were found: then no image counts as missing from the index
    allow_missing   go on when the index lacks images of the ground truth, or no ranking answers a query
    variants        further ways to score the same rankings (`imgret.evaluation.variants.known`)
    show            hits to keep of every query, with their verdicts in `shown_subset`, and the curves

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
    database = SearchedDatabase(ground_truth, first.database, whole_database)
    missing = database.missing if whole_database else []
    if missing and not allow_missing:
        raise GroundTruthError(missing_message(missing, "images", ground_truth.database, "the index", first.database))
    size = len(first.database) if whole_database else max(len(first.database), len(ground_truth.database))
    judge = _Judge(ground_truth, {OFFICIAL: Variant(ground_truth.rules), **(variants or {})}, first.database, show)

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
        lines = zip(ranking.queries, ranking.rows, ranking.scores, database.own_rows(ranking.queries), strict=True)
        for query, rows, scores, own in lines:
            number = queries.by_path.get(query)
            if number is not None:
                if number in answers:
                    raise RankingError(f"query {escape(query)} is ranked twice")
                answers[number] = judge(
                    number, database.find(number, rows, scores, own, size, depth, judge.looks_at_ties)
                )
                continue
            others.append(query)
            for number in queries.by_stem.get(stem(query), ()):
                if number not in answers:
                    line = database.find(number, rows, scores, own, size, depth, judge.looks_at_ties)
                    guesses[number, query] = judge(number, line)

    rest = [number for number in range(len(ground_truth.queries)) if number not in answers]
    positions = match([ground_truth.queries[number].name for number in rest], others).tolist()
    for number, position in zip(rest, positions, strict=True):
        if position >= 0:
            answers[number] = guesses[number, others[position]]
    unanswered = [number for number in rest if number not in answers]
    missing_queries = [ground_truth.queries[number].name for number in unanswered]
    pooled = {"micro_ap", "gap"} & set(ground_truth.rules.measures)  # a query without pairs is no gap in their files
    if missing_queries and not (allow_missing or pooled):
        names = [query.name for query in ground_truth.queries]
        raise GroundTruthError(missing_message(missing_queries, "queries", names, "the rankings", others))
    nothing = np.zeros(0, np.int32), np.zeros(0, np.float32)
    for number in unanswered:
        answers[number] = judge(number, database.find(number, *nothing, -1, 0, None, False))
    ordered = [answers[number] for number in range(len(ground_truth.queries))]
    counts = Counts(
        database=size if whole_database else None,
        distractors=database.distractors,
        self_ignored=sum(answer.self_ignored for answer in ordered),
        missing=len(missing),
        missing_queries=len(missing_queries),
        other_queries=len(others) - (len(rest) - len(unanswered)),
        truncated=sum(answer.truncated for answer in ordered),
        by_stem=database.by_stem,
    )
    return judge.scores(ordered, counts, deepest, missing, missing_queries)


def shown_subset(ground_truth: GroundTruth) -> str:
    """The subset that reports judge hits by: "medium" where there is one, else the first."""
    return "medium" if "medium" in ground_truth.subsets else next(iter(ground_truth.subsets))


@dataclass
class _Answer:
    """What is kept of one ranked query: `scores` by variant; pairs, where the format pools them, by subset."""

    self_ignored: bool
    truncated: bool
    scores: dict[str, list[QueryScore]]
    pairs: dict[str, Pairs] = field(default_factory=dict)
    curves: dict[str, np.ndarray] = field(default_factory=dict)
    shown: list[ShownHit] = field(default_factory=list)


class _Queries:
    """The ground truth's queries by name and by the stems their names may stand for."""

    def __init__(self, ground_truth: GroundTruth) -> None:
        self.by_path: dict[str, int] = {}
        self.by_stem: dict[str, list[int]] = {}
        for number, query in enumerate(ground_truth.queries):
            self.by_path[query.name] = number
            for key in set(stems(query.name)):
                self.by_stem.setdefault(key, []).append(number)


class _Judge:
    """Turns lines into the scores of their queries, under each variant, and these into means."""

    def __init__(
        self, ground_truth: GroundTruth, variants: Mapping[str, Variant], ids: Sequence[str], show: int
    ) -> None:
        self._truth = ground_truth
        self._variants = variants
        self._ids = ids
        self._show = show
        self._filter = PairFilter() if {"micro_ap", "gap"} & set(ground_truth.rules.measures) else None
        self.looks_at_ties = any(variant.ties != "as ranked" for variant in variants.values())

    def __call__(self, number: int, line: Line) -> _Answer:
        name = self._truth.queries[number].name
        scores = {
            words: [
                score(name, subset, judged, places, variant, line.self_found)
                for subset, (judged, places) in line.places.items()
            ]
            for words, variant in self._variants.items()
        }
        answer = _Answer(line.self_ignored, line.truncated, scores)
        if self._filter is not None:
            for subset, (judged, places) in line.places.items():
                answer.pairs[subset] = self._filter.take(line, places, len(judged.positives))
        if self._show:
            official = Variant(self._truth.rules)
            for subset, (judged, places) in line.places.items():
                if len(judged.positives):
                    ranks, n_positives = official.ranks(places, len(judged.positives))
                    answer.curves[subset] = metrics.precision_recall(ranks, n_positives, _LEVELS)
            answer.shown = self._shown(line)
        return answer

    def _shown(self, line: Line) -> list[ShownHit]:
        subset = shown_subset(self._truth)
        if subset not in line.places:
            return []
        words = verdicts(line, line.places[subset][1], self._show)
        hits = zip(line.rows.tolist(), line.scores.tolist(), words, strict=False)
        return [
            ShownHit(self._ids[row], value, verdict)
            for row, value, verdict in hits
            if not to_bytes(self._ids[row]).startswith(NOBODY)
        ]

    def scores(
        self, answers: Sequence[_Answer], counts: Counts, depth: int, missing: list[str], missing_queries: list[str]
    ) -> Scores:
        """All answers, in the order of the ground truth's queries, as Scores."""
        truth, names = self._truth, [query.name for query in self._truth.queries]
        means: dict[str, dict[str, dict[str, float | int | None]]] = {}
        for words, variant in self._variants.items():
            lines = [line for answer in answers for line in answer.scores[words]]
            means[words] = {
                subset: summary([line for line in lines if line.subset == subset], depth, variant.rules)
                for subset in truth.subsets
            }
        for subset in truth.subsets:
            means[OFFICIAL][subset] |= self._pooled(subset, answers)
        curves = {
            subset: np.mean([answer.curves[subset] for answer in answers if subset in answer.curves], 0).tolist()
            for subset in truth.subsets
            if any(subset in answer.curves for answer in answers)
        }
        return Scores(
            format=truth.format,
            subsets=means[OFFICIAL],
            per_query=[line for answer in answers for line in answer.scores[OFFICIAL]],
            counts=counts,
            protocol={
                "ap": truth.rules.ap_text,
                "precision_at_k": truth.rules.precision,
                "junk": JUNK_RULE[truth.rules.own],
                "depth": depth if counts.truncated else "all",
                "ground_truth_sha256": truth.sha256,
                "counts": asdict(counts),
                **({"notes": list(truth.notes)} if truth.notes else {}),
            },
            missing=missing,
            missing_queries=missing_queries,
            headline=truth.rules.headline,
            variants=means if len(means) > 1 else {},
            curves=curves,
            shown=dict(zip(names, (answer.shown for answer in answers), strict=True)) if self._show else {},
        )

    def _pooled(self, subset: str, answers: Sequence[_Answer]) -> dict[str, float | int | None]:
        """Measures of all queries together."""
        measures = self._truth.rules.measures
        of = [
            (query.name, answer.pairs[subset])
            for query, answer in zip(self._truth.queries, answers, strict=True)
            if subset in answer.pairs
        ]
        pairs = [each for _, each in of]
        found = copy_detection(pairs) if "micro_ap" in measures else {}
        return found | (recognition([name for name, _ in of], pairs) if "gap" in measures else {})
