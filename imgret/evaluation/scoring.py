"""From the places in one line to the measures of one query."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from imgret.evaluation import metrics
from imgret.evaluation.database import Line
from imgret.evaluation.scores import PRECISION_AT, QueryScore
from imgret.evaluation.variants import Places, Variant
from imgret.ground_truth.judgements import Judgement, Rules

_PRECISION = {"revisitop": metrics.precision_at_k_revisitop, "plain": metrics.precision_at_k}

# of one query: (ranks, n_positives, whether the query itself was found) -> value
MEASURES: dict[str, Callable[[metrics.Ranks, int, bool], float]] = {
    "n_s_score": lambda ranks, _, with_self: metrics.n_s_score(ranks, with_self),
    "r_precision": lambda ranks, n_positives, _: metrics.r_precision(ranks, n_positives),
    "map@r": lambda ranks, n_positives, _: metrics.map_at_r(ranks, n_positives),
    "first_place": lambda ranks, *_: metrics.first_place(ranks, 100),
}


def average_precision_cut(ranks: np.ndarray, n_positives: int, rules: Rules, cutoff: int) -> float:
    """The average precision of the first `cutoff` places that a format calls its own."""
    if rules.ap == "finite" and rules.divisor == "cutoff":
        return metrics.average_precision_at_k(ranks, n_positives, cutoff)
    measure = metrics.average_precision_trapezoid if rules.ap == "trapezoid" else metrics.average_precision_finite
    return measure(ranks[ranks < cutoff], n_positives)


def score(
    name: str, subset: str, judgement: Judgement, places: Places, variant: Variant, with_self: bool = True
) -> QueryScore:
    """The measures of one query in one subset; `with_self` says whether its own image stands in the ranking."""
    rules = variant.rules
    further = [key for key in rules.measures if key in MEASURES]
    if not len(judgement.positives):
        nothing = (None,) * len(PRECISION_AT)
        return QueryScore(name, subset, None, None, None, nothing, None, 0, 0, dict.fromkeys(further))
    ranks, n_positives = variant.ranks(places, len(judgement.positives))
    precision = _PRECISION[rules.precision]
    trapezoid = metrics.average_precision_trapezoid(ranks, n_positives)
    finite = metrics.average_precision_finite(ranks, n_positives)
    if rules.cutoff is None:
        ap = trapezoid if rules.ap == "trapezoid" else finite
    else:
        ap = average_precision_cut(ranks, n_positives, rules, rules.cutoff)
    return QueryScore(
        query=name,
        subset=subset,
        ap=ap,
        ap_trapezoid=trapezoid,
        ap_finite=finite,
        precision=tuple(precision(ranks, k) for k in PRECISION_AT),
        first_rank=int(ranks[0]) if len(ranks) else None,
        positives=n_positives,
        found=len(ranks),
        measures={key: MEASURES[key](ranks, n_positives, with_self) for key in further},
    )


def verdicts(line: Line, places: Places, count: int) -> list[str]:
    """'positive', 'negative' or 'junk' for the first `count` places of a line; the query's own image is junk."""
    found = ["negative"] * min(count, len(line.rows))
    marked = [("positive", places.positives.tolist()), ("junk", [*places.junk.tolist(), places.own])]
    for word, at in marked:
        for place in at:
            if 0 <= place < len(found):
                found[place] = word
    return found
