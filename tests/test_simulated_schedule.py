"""The core of tests/benchmarks/simulate_schedule.py, on schedules that can be drawn by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.benchmarks.simulate_schedule import Outcome, Schedule, chunk_seconds, efficiency


def test_equal_chunks_on_equal_workers_take_their_share():
    # 2 workers, 4 chunks of 3 s: each does two
    out = Schedule([1, 1]).run([3, 3, 3, 3])
    assert out == Outcome(makespan=6, first_idle=6, driver=0, lost=0)
    assert efficiency(out, [3, 3, 3, 3], [1, 1]) == 1


def test_one_worker_and_a_quick_driver_overlap():
    # done at 2, 4 and 6 s, and the driver takes 1 s for each: the last is in at 7
    out = Schedule([1], driver=1).run([2, 2, 2])
    assert (out.makespan, out.first_idle, out.driver) == (7, 6, 3)


def test_a_slow_driver_sets_the_pace():
    # 4 workers are done with the first 4 of 8 chunks at 1 s; from then on the driver takes in one a second
    out = Schedule([1] * 4, driver=1).run([1] * 8)
    assert out.makespan == 1 + 8
    assert efficiency(out, [1] * 8, [1] * 4) == pytest.approx(2 / 9)


def test_a_worker_with_one_chunk_at_a_time_waits_for_the_driver():
    # 2 s of work and 1 s of the driver by turns, three times
    assert Schedule([1], driver=1, ahead=1).run([2, 2, 2]).makespan == 9


def test_a_slow_worker_is_the_tail():
    # at once: the quick one does chunks 0, 2 and 3 until 3 s, the slow one, a fifth as quick, chunk 1 until 5 s
    out = Schedule([1, 5], ahead=1).run([1, 1, 1, 1])
    assert (out.makespan, out.first_idle) == (5, 3)


def test_a_chunk_of_a_worker_that_died_is_done_again():
    # it dies at 1.5 s, half through its second chunk; its replacement comes at 3.5 s and does that one again
    lives = iter([1.5, math.inf])
    out = Schedule([1], lifetime=lambda: next(lives), back=2).run([1, 1])
    assert (out.makespan, out.lost) == (4.5, 1)


def test_an_idle_worker_takes_over_from_one_that_died():
    # the first is idle from 1 s on; at 3 s the second dies with chunk 1, and the first does its 4 s at once
    lives = iter([math.inf, 3, math.inf])
    out = Schedule([1, 1], lifetime=lambda: next(lives), back=100, ahead=1).run([1, 4])
    assert (out.makespan, out.first_idle, out.lost) == (3 + 4, 1, 1)


def test_chunks_add_up_the_times_of_their_images():
    rng = np.random.default_rng(0)
    assert chunk_seconds(10, 4, 0.5, 0.0, rng).tolist() == pytest.approx([2, 2, 1])  # 4, 4 and 2 images
    assert chunk_seconds(100_000, 100, 0.03, 0.5, rng).sum() == pytest.approx(3000, rel=0.02)
