"""Variants: the ways in which the same ranking is scored in the field, the official one and the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from imgret.evaluation import metrics
from imgret.ground_truth.judgements import Rules

Treatment = Literal["out", "negative", "positive"]
OFFICIAL = "official"


class Places(NamedTuple):
    """Where what matters stands in one line of a ranking as it was: 0-based places.

    positives  int64, ascending, those that were found
    junk       int64, ascending
    own        place of the query's own image where the ground truth does not list it as a positive, else -1
    ties       [R, 2] int64, first and one past the last place of each run of equal scores that holds a positive
    n_junk     junk in the ground truth, found or not, without the query's own image
    """

    positives: np.ndarray
    junk: np.ndarray
    own: int
    ties: np.ndarray
    n_junk: int


@dataclass(frozen=True)
class Variant:
    """One way to score.

    rules  definitions of the measures
    junk   "out" of the ranking before ranks are counted, or taken for "negative" or "positive" images
    own    the same choices for the query's own image
    ties   equal scores "as ranked" (by id), or with the positives first ("best") or last ("worst")
    """

    rules: Rules
    junk: Treatment = "out"
    own: Treatment = "out"
    ties: Literal["as ranked", "best", "worst"] = "as ranked"

    def ranks(self, places: Places, n_positives: int) -> tuple[np.ndarray, int]:
        """Ranks of the positives, 0-based and ascending, and how many positives there are in all."""
        if self.ties == "as ranked" and places.own < 0 and not places.n_junk:
            return places.positives, n_positives  # nothing stands in between: most labelled queries
        positives, junk = _settled(places, self.ties)
        out = [junk] if self.junk == "out" else []
        counted = [positives]
        if self.junk == "positive":
            counted.append(junk)
            n_positives += places.n_junk
        if places.own >= 0:
            own = np.array([places.own])
            if self.own == "out":
                out.append(own)
            elif self.own == "positive":
                counted.append(own)
                n_positives += 1
        return metrics.ranks_without_junk(np.concatenate(counted), np.concatenate([*out, _NONE])), n_positives


_NONE = np.zeros(0, np.int64)


def _settled(places: Places, ties: str) -> tuple[np.ndarray, np.ndarray]:
    """Places of positives and junk with each run of equal scores in the order asked for.

    Junk stands beside the positives, on the side of the wrong images. An own image inside a run stays where it is.
    """
    positives, junk = places.positives.copy(), places.junk.copy()
    if ties == "as ranked":
        return positives, junk
    for start, end in places.ties.tolist():
        mine = (positives >= start) & (positives < end)
        theirs = (junk >= start) & (junk < end)
        free = np.setdiff1d(np.arange(start, end), [places.own])
        n, m, last = int(mine.sum()), int(theirs.sum()), len(free)
        positives[mine] = free[:n] if ties == "best" else free[last - n :]
        junk[theirs] = free[n : n + m] if ties == "best" else free[last - n - m : last - n]
    return positives, np.sort(junk)


def tie_runs(scores: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """[R, 2] runs of equal scores, longer than one, that hold a positive; `scores` [K] never rise."""
    value = scores[positives]
    before = scores[np.maximum(positives - 1, 0)] == value
    after = scores[np.minimum(positives + 1, len(scores) - 1)] == value
    tied = (before & (positives > 0)) | (after & (positives < len(scores) - 1))
    if not tied.any():
        return np.zeros((0, 2), np.int64)
    falling = -scores
    equal = np.unique(-value[tied])
    return np.stack([np.searchsorted(falling, equal, "left"), np.searchsorted(falling, equal, "right")], 1)


def known(official: Variant) -> dict[str, Variant]:
    """The official way and those that differ from it in one thing, by what differs."""
    variants = {OFFICIAL: official}
    for words, change in _changes(official):
        variants[words] = replace(official, **change)
    return variants


def _changes(official: Variant) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, change in AP_RULES.items():
        rules = replace(official.rules, **change)
        if rules != official.rules:
            yield f"AP: {name}", {"rules": rules}
    yield "junk counts as wrong", {"junk": "negative"}
    yield "junk counts as right", {"junk": "positive"}
    yield "the query's own image counts as wrong", {"own": "negative"}
    yield "the query's own image counts as right", {"own": "positive"}
    yield "equal scores: right ones first", {"ties": "best"}
    yield "equal scores: right ones last", {"ties": "worst"}


AP_RULES: dict[str, dict[str, Any]] = {
    "trapezoid": {"ap": "trapezoid", "cutoff": None, "divisor": "positives"},
    "finite sum": {"ap": "finite", "cutoff": None, "divisor": "positives"},
    "finite@100 over min(positives, 100)": {"ap": "finite", "cutoff": 100, "divisor": "cutoff"},
    "finite@100 over all positives": {"ap": "finite", "cutoff": 100, "divisor": "positives"},
}


def combinations(official: Variant) -> dict[str, Variant]:
    """Every combination of the known ways, by their words joined with "; "."""
    found: dict[str, Variant] = {OFFICIAL: official}
    for rule, change in {official.rules.ap_text: {}, **AP_RULES}.items():
        for junk in ("out", "negative", "positive"):
            for own in ("out", "negative", "positive"):
                for ties in ("as ranked", "best", "worst"):
                    variant = Variant(replace(official.rules, **change), junk, own, ties)
                    if variant != official:
                        found[f"AP {rule}; junk {junk}; own image {own}; ties {ties}"] = variant
    return found
