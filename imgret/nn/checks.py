"""Checks at the doors of constructors: a wrong number is named where it is given, not where it breaks."""

from __future__ import annotations


def at_least_1(**numbers: int | None) -> None:
    """ValueError for the first number below 1; None means "not given" and passes."""
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")
