"""Time ways of doing the same work in turns, so that a busy machine is unfair to none of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import TypeVar

Item = TypeVar("Item")


def seconds_of(task: Callable[[Item], object], item: Item) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    task(item)
    return time.perf_counter() - started


def in_turns(tasks: Sequence[Callable[[Item], object]], items: Sequence[Item], *, rounds: int) -> list[list[float]]:
    """[task][item]: the median seconds of each task with each item, over `rounds`.

    Every item goes through all the tasks before the next one, and each round begins with another task: what is in
    the caches then, and whatever else the machine does, comes to all of them alike. Warm them up first.
    """
    taken: list[list[list[float]]] = [[[] for _ in items] for _ in tasks]
    for turn in range(rounds):
        for number, item in enumerate(items):
            for place in range(len(tasks)):
                which = (place + turn + number) % len(tasks)
                taken[which][number].append(seconds_of(tasks[which], item))
    return [[median(times) for times in of_task] for of_task in taken]
