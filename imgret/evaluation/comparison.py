"""Two runs over the same queries: how far apart they are, and whether so many queries can show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from imgret.evaluation import confidence

EXACT_UP_TO = 12  # queries: 4,096 patterns of signs
FLIPS = 10_000
_ROUNDING = 1e-12  # two machines may round one sum differently; scores that close are equal
_EIGHTS = 64  # at a time: their sums stay in the processor's cache, and memory is bounded


class Moved(NamedTuple):
    """A query with its values in both runs."""

    query: str
    a: float
    b: float


@dataclass(frozen=True)
class Comparison:
    """One measure of the runs A and B, paired query by query.

    queries     compared: in both runs and defined in both. When there is none, a, b, difference and p are None
    a, b        means over these queries
    difference  mean of b - a
    interval    of the difference, at `level`, see `confidence.interval`; None for fewer than two queries
    p           chance that runs of equal worth differ so much in either direction, see `sign_flip_p`
    better      queries that B answers better; `worse`, those A answers better; `equal`, the others
    gained      the queries B answers better, the largest difference first; `lost`, those A answers better
    only_a      queries that B lacks, in order of name; `only_b`, those A lacks
    undefined   queries in both runs without a value in one of them: the ground truth has no positive for them
    """

    queries: int
    a: float | None
    b: float | None
    difference: float | None
    interval: tuple[float, float] | None
    level: float
    p: float | None
    better: int
    worse: int
    equal: int
    gained: Sequence[Moved]
    lost: Sequence[Moved]
    only_a: Sequence[str]
    only_b: Sequence[str]
    undefined: Sequence[str]
    higher_is_better: bool

    @property
    def winner(self) -> str | None:
        """ "a" or "b" where p is below 1 - level and the interval leaves out 0; else None."""
        if self.p is None or self.interval is None or self.p >= 1 - self.level:
            return None
        low, high = self.interval
        if low <= 0 <= high:
            return None
        return "b" if (low > 0) == self.higher_is_better else "a"


def compare(
    a: Mapping[str, float | None],
    b: Mapping[str, float | None],
    *,
    higher_is_better: bool = True,
    top: int = 10,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compare one measure of two runs: query -> value, None where the measure is undefined.

    `top` bounds `gained` and `lost`, each. The result does not depend on the order of the queries.
    """
    if top < 0:
        raise ValueError(f"top must be at least 0, got {top}")
    common = sorted(a.keys() & b.keys())
    pairs = [Moved(query, x, y) for query in common if (x := a[query]) is not None and (y := b[query]) is not None]
    compared = {pair.query for pair in pairs}
    difference = np.array([pair.b - pair.a for pair in pairs])
    difference[np.abs(difference) < _ROUNDING] = 0
    gain = difference if higher_is_better else -difference
    order = np.argsort(-gain, kind="stable")
    better, worse = int((gain > 0).sum()), int((gain < 0).sum())
    reverse = np.argsort(gain, kind="stable")
    return Comparison(
        queries=len(pairs),
        a=float(np.mean([pair.a for pair in pairs])) if pairs else None,
        b=float(np.mean([pair.b for pair in pairs])) if pairs else None,
        difference=float(difference.mean()) if pairs else None,
        interval=confidence.interval(difference, level=level, seed=seed),
        level=level,
        p=sign_flip_p(difference, seed=seed) if pairs else None,
        better=better,
        worse=worse,
        equal=len(pairs) - better - worse,
        gained=[pairs[place] for place in order[: min(top, better)]],
        lost=[pairs[place] for place in reverse[: min(top, worse)]],
        only_a=sorted(a.keys() - b.keys()),
        only_b=sorted(b.keys() - a.keys()),
        undefined=[query for query in common if query not in compared],
        higher_is_better=higher_is_better,
    )


def sign_flip_p(differences: Sequence[float] | np.ndarray, *, seed: int = 0) -> float:
    """Two-sided p-value of the paired permutation test on Q differences, in (0, 1].

    Were the runs of equal worth, each difference could as well have the other sign: p is the share of patterns of
    signs whose sum is at least as far from 0 as the one seen. Every pattern is tried for up to 12 differences that
    are not 0 (those change no sum); beyond, 10,000 random ones from the seed, and p = (1 + hits) / (1 + 10,000),
    which is never 0. Without a difference p is 1.

    Fisher (1935); for retrieval Smucker, Allan, Carterette, "A comparison of statistical significance tests for
    information retrieval evaluation" (CIKM 2007); the +1: Phipson, Smyth (2010).
    """
    moved = np.asarray(differences, np.float64)
    if moved.ndim != 1 or not np.isfinite(moved).all():
        raise ValueError(f"differences must be [Q] finite numbers, got {list(moved.shape)}")
    moved = moved[moved != 0]
    # a pattern that gives the very sum seen must count, however the additions round
    seen = abs(float(moved.sum())) - _ROUNDING * float(np.abs(moved).sum())
    if len(moved) <= EXACT_UP_TO:
        return float((np.abs(_signed_sums(moved)) >= seen).mean())
    hits = int((np.abs(_random_signed_sums(moved, seed)) >= seen).sum())
    return (1 + hits) / (1 + FLIPS)


def _signed_sums(values: np.ndarray) -> np.ndarray:
    """The sums of n values under every pattern of signs: [..., n] -> [..., 2^n]."""
    sums = np.zeros((*values.shape[:-1], 1))
    for number in range(values.shape[-1]):
        value = values[..., number, None]
        sums = np.concatenate((sums + value, sums - value), axis=-1)
    return sums


def _random_signed_sums(values: np.ndarray, seed: int) -> np.ndarray:
    """Sums [FLIPS] of the values under random signs: a random byte picks the signs of eight values at once."""
    eights = np.pad(values, (0, -len(values) % 8)).reshape(-1, 8)
    random = np.random.default_rng(seed)
    sums = np.zeros(FLIPS)
    for start in range(0, len(eights), _EIGHTS):
        sums_of = _signed_sums(eights[start : start + _EIGHTS])  # [n, 256]
        signs = random.integers(0, 256, (FLIPS, len(sums_of)), np.uint8)
        sums += sums_of[np.arange(len(sums_of)), signs].sum(axis=1)
    return sums
