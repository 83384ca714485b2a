from __future__ import annotations

import pytest

from imgret.datasets.splitting import hold_out_classes
from imgret.errors import InputError


def test_whole_classes_are_held_out_and_nothing_is_lost(labelled, rows):
    whole = labelled("a b c d - a b c d -")
    rest, held = hold_out_classes(whole, 0.5, 0)
    assert len(held.classes) == len(rest.classes) == 2
    assert not set(held.classes) & set(rest.classes)
    assert sorted(rows(rest) + rows(held), key=str) == sorted(rows(whole), key=str)
    assert held.labels.min() == 0  # images without a label stay in the rest


def test_which_classes_is_a_matter_of_their_hashes_alone(labelled):
    # the promise that another machine makes the same split:
    # printf 7/c | sha256sum begins with 166e, b with 3810; a, d and e with 681e, 709e and 6f33
    assert hold_out_classes(labelled("a b c d e"), 0.4, 7)[1].classes == ("b", "c")


def test_more_images_and_another_order_change_nothing(labelled):
    text = "a b c d e f g h"
    held = hold_out_classes(labelled(text), 0.25, 3)[1].classes
    assert hold_out_classes(labelled("h g f e d c b a a a b h -"), 0.25, 3)[1].classes == held


def test_a_new_class_displaces_one_other_at_most(labelled):
    names = [f"c{i}" for i in range(40)]
    before = set(hold_out_classes(labelled(" ".join(names)), 0.25, 0)[1].classes)
    for new in ("x", "y", "z", "w"):
        after = set(hold_out_classes(labelled(" ".join([*names, new])), 0.25, 0)[1].classes)
        assert len(before - after) <= 1


def test_another_seed_holds_out_others(labelled):
    text = " ".join(f"c{i}" for i in range(30))
    chosen = {hold_out_classes(labelled(text), 0.2, seed)[1].classes for seed in range(4)}
    assert len(chosen) == 4
    assert {len(classes) for classes in chosen} == {6}  # 0.2 of 30


@pytest.mark.parametrize(("fraction", "count"), [(0.001, 1), (0.999, 2)])
def test_neither_side_is_ever_empty(labelled, fraction, count):
    rest, held = hold_out_classes(labelled("a b c"), fraction, 0)
    assert len(held.classes) == count
    assert len(rest.classes) == 3 - count


def test_one_class_cannot_be_divided(labelled):
    for text in ("a a a -", "- -"):
        with pytest.raises(InputError, match="holding out classes for validation needs two classes or more"):
            hold_out_classes(labelled(text), 0.5, 0)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_a_fraction_outside_0_and_1_is_a_callers_bug(labelled, fraction):
    with pytest.raises(ValueError, match="fraction must lie between 0 and 1"):
        hold_out_classes(labelled("a b"), fraction, 0)
