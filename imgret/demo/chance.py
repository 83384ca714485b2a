"""What a ranking drawn by lot would score, on average. The honest neighbour of every score."""

from __future__ import annotations

from collections.abc import Iterable
from math import comb


def average_precision(positives: int, images: int) -> float:
    """Expected average precision when `positives` of `images` are right and their order is random.

    A right image at place i has (i - 1)(R - 1)/(N - 1) right ones before it on average, so

        E[AP] = 1/N sum_i (1 + (i - 1)(R - 1)/(N - 1)) / i = H/N + (R - 1)/(N - 1) (1 - H/N)

    with R positives, N images and H = 1 + 1/2 + ... + 1/N.
    """
    first = sum(1 / place for place in range(1, images + 1)) / images
    others = (positives - 1) / (images - 1) if images > 1 else 0.0
    return first + others * (1 - first)


def recall(k: int, positives: int, images: int) -> float:
    """Chance that at least one of the first k is right."""
    k = min(k, images)
    return 1 - comb(images - positives, k) / comb(images, k)


def precision(k: int, positives: int, images: int) -> float:
    """Expected part of the first k places that is right; places beyond the last image are wrong."""
    return positives / images * min(k, images) / k


def expected(positives: Iterable[int], images: int) -> dict[str, float]:
    """Mean chance level of each measure over queries with so many positives among `images` others."""
    counts = list(positives)

    def mean(values: Iterable[float]) -> float:
        return sum(values) / len(counts)

    return {
        "map": mean(average_precision(count, images) for count in counts),
        **{f"mp@{k}": mean(precision(k, count, images) for count in counts) for k in (1, 5, 10)},
        **{f"recall@{k}": mean(recall(k, count, images) for count in counts) for k in (1, 5, 10)},
    }
