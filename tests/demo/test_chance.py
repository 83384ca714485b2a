"""What lots would score."""

import itertools

import pytest

from imgret.demo import chance


def test_one_right_of_two_scores_three_quarters_by_lot():
    # first place: AP 1, second place: AP 1/2 -> (1 + 1/2) / 2
    assert chance.average_precision(positives=1, images=2) == pytest.approx(3 / 4)


def test_average_precision_by_lot_is_the_mean_over_all_orders():
    def precision(order):
        found = [rank for rank, image in enumerate(order, 1) if image < 3]
        return sum(number / rank for number, rank in enumerate(found, 1)) / 3

    orders = list(itertools.permutations(range(6)))
    expected = sum(map(precision, orders)) / len(orders)
    assert chance.average_precision(positives=3, images=6) == pytest.approx(expected)


def test_recall_by_lot_counts_the_draws_without_a_right_one():
    # two of four drawn, one right: it is missed in C(3, 2) = 3 of C(4, 2) = 6 draws
    assert chance.recall(2, positives=1, images=4) == pytest.approx(1 / 2)


def test_recall_by_lot_is_certain_when_everything_is_drawn():
    assert chance.recall(4, positives=1, images=4) == 1


def test_places_beyond_the_last_image_hold_nothing_right():
    # three images, one right: five places hold it once -> 1/5
    assert chance.precision(5, positives=1, images=3) == pytest.approx(1 / 5)
    assert chance.recall(5, positives=1, images=3) == 1
