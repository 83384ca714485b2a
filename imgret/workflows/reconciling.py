"""What surrounds a score: its interval, and what the same rankings score under other protocols."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from imgret.errors import InputError

if TYPE_CHECKING:
    from imgret.evaluation.scores import Scores
    from imgret.evaluation.variants import Variant
    from imgret.ground_truth.judgements import Rules


class Asks(Protocol):
    """The part of an `EvalJob` that decides about variants."""

    @property
    def reconcile(self) -> bool: ...
    @property
    def published(self) -> float | None: ...


def asked_variants(rules: Rules, job: Asks) -> Mapping[str, Variant]:
    """The variants to score: none, those that differ in one thing, or with a published figure all combinations."""
    if not (job.reconcile or job.published is not None):
        return {}
    from imgret.evaluation.variants import Variant, combinations, known

    if job.published is not None and not rules.headline.startswith(("map", "recall@")):
        raise InputError(f"--published looks for mAP or recall; {rules.headline} of this format is not reconciled")
    official = Variant(rules)
    return known(official) | (combinations(official) if job.published is not None else {})


def with_other_crop(scores: Scores, other: Scores, crop: str) -> Scores:
    """Scores with the variants of a second search, whose queries were cropped otherwise, added to their own."""
    from imgret.evaluation.variants import OFFICIAL

    words = "queries not cropped" if crop == "none" else "queries cropped to their boxes"
    added = {
        (words if name == OFFICIAL else f"{words}; {name}"): subsets
        for name, subsets in other.variants.items()
        if name == OFFICIAL or name.startswith("AP ")  # one thing at a time, but for the combinations
    }
    return replace(scores, variants={**scores.variants, **added})


def with_intervals(scores: Scores) -> Scores:
    """Scores with the 95 % bootstrap interval over queries of mAP, and of the format's own measure, in each subset."""
    from imgret.evaluation.confidence import interval

    subsets: dict[str, dict[str, Any]] = {}
    for subset, means in scores.subsets.items():
        lines = [line for line in scores.per_query if line.subset == subset and line.positives]
        measured = {"map": [line.ap for line in lines if line.ap is not None]}
        name, _, k = scores.headline.partition("@")
        if name == "recall" and k.isdecimal():
            hits = [line.first_rank is not None and line.first_rank < int(k) for line in lines]
            measured[scores.headline] = [float(hit) for hit in hits]
        elif lines and scores.headline in lines[0].measures:
            measured[scores.headline] = [
                value for line in lines if (value := line.measures[scores.headline]) is not None
            ]
        found = {f"{key}_interval": interval(values) for key, values in measured.items()}
        subsets[subset] = {**means, **{key: None if ends is None else list(ends) for key, ends in found.items()}}
    return replace(scores, subsets=subsets)


def reconciled_measure(scores: Scores) -> str:
    """The measure that variants are compared by: the format's own, mAP where that is of all queries together."""
    known = all(scores.headline in means for subsets in scores.variants.values() for means in subsets.values())
    return scores.headline if known else "map"


def nearest(scores: Scores, published: float, count: int = 5) -> list[tuple[str, str, float]]:
    """The (variant, subset, measure) nearest to a published figure, a fraction, nearest first.

    Variants that make no difference to a subset are one line, under the first of their names.
    """
    measure = reconciled_measure(scores)
    found: dict[tuple[str, float], tuple[str, str, float]] = {}
    for name, subsets in scores.variants.items():
        for subset, means in subsets.items():
            if (value := means[measure]) is not None:
                found.setdefault((subset, round(value, 12)), (name, subset, float(value)))
    return sorted(found.values(), key=lambda line: abs(line[2] - published))[:count]
