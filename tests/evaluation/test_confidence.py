"""The interval of a mean: golden values, bounds, and the computed percentiles beside the drawn ones."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgret.evaluation.confidence import RESAMPLED_UP_TO, _resampled_means, interval

FRACTIONS = st.lists(st.floats(0, 1), min_size=2, max_size=30)


def test_two_queries_give_their_own_values_as_the_ends():
    # two draws of 0 and 1: both 0 a quarter of the time, both 1 a quarter, so 2.5 % of the means lie at either end
    assert interval([0.0, 1.0]) == (0.0, 1.0)
    # of four such draws 1/16 are all 0, more than the 5 % that a level of 0.9 leaves out below
    assert interval([0.0, 0.0, 1.0, 1.0], level=0.9) == (0.0, 1.0)
    # the middle half reaches from 1/4 (4/16 of the means lie there, 1/16 below) to 3/4
    assert interval([0.0, 0.0, 1.0, 1.0], level=0.5) == (0.25, 0.75)


def test_it_is_what_a_loop_of_resamples_gives():
    values = np.random.default_rng(3).random(20).tolist()
    random = np.random.default_rng(11)
    means = sorted(sum(values[i] for i in random.integers(0, 20, 20)) / 20 for _ in range(10_000))
    assert interval(values) == pytest.approx((means[250], means[-251]), abs=0.01)


def test_fewer_than_two_queries_have_no_interval():
    assert interval([]) is None
    assert interval([0.5]) is None


@pytest.mark.parametrize("count", [7, RESAMPLED_UP_TO + 1])
def test_equal_values_leave_no_doubt(count):
    assert interval([0.1] * count) == (0.1, 0.1)  # though the sum of seven tenths is not 0.7


@given(FRACTIONS, st.integers(0, 3))
def test_it_contains_the_mean_and_stays_within_the_values(values, seed):
    low, high = interval(values, resamples=2000, seed=seed)
    assert min(values) <= low <= np.mean(values) + 1e-12
    assert max(values) >= high >= np.mean(values) - 1e-12


@pytest.mark.parametrize("hits", [1, 3, 2000, 4000])
def test_it_contains_the_mean_of_many_queries_and_stays_within_0_and_1(hits):
    low, high = interval(np.repeat([1.0, 0.0], [hits, 4001 - hits]))
    assert 0 <= low < hits / 4001 < high <= 1


def test_a_seed_gives_the_same_interval_and_another_seed_nearly_so():
    values = np.random.default_rng(0).random(50)
    assert interval(values, seed=4) == interval(values, seed=4)
    assert interval(values, seed=4) != interval(values, seed=5)
    assert interval(values, seed=4) == pytest.approx(interval(values, seed=5), abs=0.005)


def test_a_higher_level_is_wider():
    values = np.random.default_rng(0).random(50)
    low, high = interval(values, level=0.99)
    inner_low, inner_high = interval(values)
    assert low < inner_low < inner_high < high


@pytest.mark.parametrize("skewed", [1, 8])
def test_percentiles_computed_for_many_queries_are_those_of_resamples(skewed):
    values = np.random.default_rng(2).random(RESAMPLED_UP_TO + 500) ** skewed
    drawn = np.quantile(_resampled_means(values, 10_000, seed=0), [0.025, 0.975])
    width = drawn[1] - drawn[0]
    assert interval(values) == pytest.approx(tuple(drawn), abs=0.03 * width)


def test_rare_hits_are_no_normal_distribution_and_the_computed_percentiles_know_it():
    # 4 hits of 2,500: the number of hits among resamples is nearly Poisson(4), of which 2.5 % lie below 1 and above 8;
    # mean -+ 1.96 s would give 0.08 and 7.92 hits, shifted by (1.96^2 - 1)/6 = 0.47 for the skewness
    low, high = interval(np.repeat([1.0, 0.0], [4, 2496]))
    assert low * 2500 == pytest.approx(0.55, abs=0.02)
    assert high * 2500 == pytest.approx(8.39, abs=0.02)


@pytest.mark.parametrize("count", [10_000, 60_000])
def test_many_queries_take_neither_time_nor_memory(count):
    values = np.random.default_rng(0).random(count)
    tracemalloc.start()
    started = time.perf_counter()
    interval(values)
    taken, (_, peak) = time.perf_counter() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 1
    assert peak < 50e6


def test_resamples_are_drawn_in_bounded_memory():
    tracemalloc.start()
    interval(np.random.default_rng(0).random(RESAMPLED_UP_TO))  # all draws at once would be 160 MB
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50e6


@pytest.mark.parametrize(
    ("values", "options"),
    [([0.1, float("nan")], {}), ([[0.1, 0.2]], {}), ([0.1, 0.2], {"level": 1.0}), ([0.1, 0.2], {"resamples": 0})],
)
def test_a_callers_mistake_is_a_value_error(values, options):
    with pytest.raises(ValueError, match="must be"):
        interval(values, **options)
