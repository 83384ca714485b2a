"""Scores: how well every query was answered, and the means."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from imgret import atomic
from imgret.ground_truth.judgements import Rules
from imgret.ids import escape

SCHEMA = "imgret.eval/1"
PRECISION_AT = (1, 5, 10)
LEVELS = 101
"""Levels of recall of the precision-recall curve: 0, 0.01, ... 1."""


@dataclass(frozen=True)
class QueryScore:
    """One query in one subset. Without positives nothing is defined and every measure is None.

    ap             the format's official one of the next two, in [0, 1]
    precision      at 1, 5 and 10 (`PRECISION_AT`), by the format's rule
    first_rank     0-based place of the first positive, junk taken out; None when none was found
    positives      in the ground truth, of which `found` stand in the ranking
    measures       the format's further measures by name
    """

    query: str
    subset: str
    ap: float | None
    ap_trapezoid: float | None
    ap_finite: float | None
    precision: tuple[float | None, ...]
    first_rank: int | None
    positives: int
    found: int
    measures: Mapping[str, float | None] = field(default_factory=dict)

    def values(self) -> dict[str, float | int | None]:
        """All measures by name, the first rank 1-based as in files."""
        return {
            "ap": self.ap,
            "ap_trapezoid": self.ap_trapezoid,
            "ap_finite": self.ap_finite,
            **{f"p@{k}": value for k, value in zip(PRECISION_AT, self.precision, strict=True)},
            **self.measures,
            "first_rank": None if self.first_rank is None else self.first_rank + 1,
            "positives": self.positives,
            "found": self.found,
        }


@dataclass(frozen=True)
class ShownHit:
    """A result as a report shows it: id, score and verdict ("positive", "negative", "junk")."""

    id: str
    score: float
    verdict: str


@dataclass(frozen=True)
class Counts:
    """What was in the index and the rankings, beside what the ground truth lists.

    database         images searched; None when only the images that were found are known
    distractors      of these, images the ground truth does not list: negatives
    self_ignored     queries whose own image stood in their ranking unlisted, and was taken out
    missing          images the ground truth lists and the index lacks
    missing_queries  queries no ranking answered: they score 0
    other_queries    queries ranked that the ground truth does not have: ignored
    truncated        queries whose ranking does not reach the end of the database
    by_stem          names of the ground truth matched to images by stem alone
    """

    database: int | None
    distractors: int
    self_ignored: int
    missing: int
    missing_queries: int
    other_queries: int
    truncated: int
    by_stem: int = 0


@dataclass(frozen=True)
class Scores:
    """The result of an evaluation; every measure is a fraction, or None where it is undefined.

    subsets          subset -> map, map_trapezoid, map_finite, mp@k, recall@k, the format's further measures,
                     queries (in the mean), skipped (without positives, left out of the mean)
    per_query        one line per query and subset, in the order of the ground truth
    counts           see `Counts`
    protocol         the part of the protocol that is decided here: ap, precision and junk rule, depth, hash
    missing          names the index lacks, as the ground truth gives them
    missing_queries  names of the queries that no ranking answered
    headline         the measure the format is known by, a key of the subsets
    variants         what differs -> subset -> the same means under another way of scoring, where asked for
    curves           subset -> precision at recall 0, 0.01, ... 1, mean over queries, where hits are shown
    shown            query -> its first hits, where asked for
    """

    format: str
    subsets: dict[str, dict[str, Any]]
    per_query: list[QueryScore]
    counts: Counts
    protocol: dict[str, Any]
    missing: list[str]
    missing_queries: list[str]
    headline: str = "map"
    variants: dict[str, dict[str, dict[str, float | int | None]]] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)
    shown: dict[str, list[ShownHit]] = field(default_factory=dict)

    def skipped(self, subset: str) -> list[str]:
        """Names of the queries that have no positive in `subset`."""
        return [line.query for line in self.per_query if line.subset == subset and not line.positives]

    def to_json(self, protocol: dict[str, Any]) -> dict[str, Any]:
        """The `imgret.eval/1` document; `protocol` adds what the caller knows (crop, scales, size, ...)."""
        return {
            "schema": SCHEMA,
            "format": self.format,
            "protocol": {**self.protocol, **protocol},
            "subsets": self.subsets,
            "per_query": [
                {"query": escape(line.query), "subset": line.subset, **line.values()} for line in self.per_query
            ],
            **({"variants": self.variants} if self.variants else {}),
        }

    def write_per_query(self, path: Path) -> None:
        """Write a CSV line per query and subset: escaped id, fractions, 1-based first rank.

        What is undefined is left empty.
        """
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        if self.per_query:
            table.writerow(["query", "subset", *self.per_query[0].values()])
        for line in self.per_query:
            table.writerow([escape(line.query), line.subset, *line.values().values()])
        atomic.write_text(Path(path), text.getvalue())


def summary(lines: Sequence[QueryScore], depth: int, rules: Rules) -> dict[str, float | int | None]:
    """The means over the queries that have positives; recall beyond 10 only where rankings are that deep."""
    judged = [line for line in lines if line.positives]

    def mean(measure: Callable[[QueryScore], float | None]) -> float | None:
        values = [value for value in map(measure, judged) if value is not None]
        return sum(values) / len(values) if values else None

    result: dict[str, float | int | None] = {
        "map": mean(lambda line: line.ap),
        "map_trapezoid": mean(lambda line: line.ap_trapezoid),
        "map_finite": mean(lambda line: line.ap_finite),
    }
    for number, k in enumerate(PRECISION_AT):
        result[f"mp@{k}"] = mean(lambda line, number=number: line.precision[number])  # type: ignore[misc]
    # A hit in the first k places (`metrics.recall_at_k`) is the first positive being there.
    firsts = np.array([np.inf if line.first_rank is None else line.first_rank for line in judged])
    for k in rules.recall_at:
        if k <= max(depth, 10):
            result[f"recall@{k}"] = float((firsts < k).mean()) if judged else None
    for key in rules.measures:
        if any(key in line.measures for line in judged):
            result[key] = mean(lambda line, key=key: line.measures[key])  # type: ignore[misc]
    result["queries"] = len(judged)
    result["skipped"] = len(lines) - len(judged)
    return result
