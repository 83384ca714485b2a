from __future__ import annotations

import pytest

from imgret.bench import timing
from imgret.bench.timing import in_turns


@pytest.fixture
def clock(monkeypatch):
    """Time passes only when a task says so."""
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])

    def passing(seconds):
        now[0] += seconds

    return passing


def test_each_task_has_the_median_of_its_rounds_for_each_item(clock):
    slow_once = iter([1.0, 9.0, 1.0, 2.0, 2.0, 2.0])  # item "a": 1, 9, 2; item "b": 1, 2, 2
    found = in_turns([lambda item: clock(next(slow_once)), lambda item: clock(3.0)], ["a", "b"], rounds=3)
    # rounds of the first task: (a 1, b 9), (a 1, b 2), (a 2, b 2): medians 1 and 2
    assert found == [[1.0, 2.0], [3.0, 3.0]]


def test_tasks_take_turns_and_each_is_first_as_often_as_the_others():
    seen = []
    in_turns([lambda item: seen.append(f"x{item}"), lambda item: seen.append(f"y{item}")], [1, 2], rounds=2)
    assert seen == ["x1", "y1", "y2", "x2", "y1", "x1", "x2", "y2"]
