from __future__ import annotations

import numpy as np
import pytest

from imgret.errors import ImgretError
from imgret.training.batches.pk import PKBatches
from imgret.training.batches.sizes import TEMPLATES, size_group

SIZE = (160, 160)
T2 = TEMPLATES["T2"]


def test_a_batch_has_k_images_of_each_of_p_classes_class_after_class():
    labels = np.repeat(np.arange(5), 6)
    plan = PKBatches(labels, 3, 2, SIZE)
    # 30 images make 30 / (3 * 2) = 5 batches
    assert len(plan) == len(plan.batches(0)) == 5
    for batch in plan.batches(0):
        found = labels[batch.rows].reshape(3, 2)
        assert (found[:, 0] == found[:, 1]).all()
        assert len(set(found[:, 0].tolist())) == 3
        assert len(set(batch.rows.tolist())) == 6
        assert batch.size == SIZE


def test_where_classes_are_even_an_epoch_shows_every_image_once():
    labels = np.repeat(np.arange(6), 4)
    batches = PKBatches(labels, 3, 2, SIZE).batches(0)
    # 24 images in 4 batches of 6; 12 visits to 6 classes: 2 visits each, of 2 images: all 4
    assert sorted(np.concatenate([batch.rows for batch in batches]).tolist()) == list(range(24))


@pytest.mark.parametrize("sizes", [[40, 2, 2, 2, 2], [3, 5, 7, 9, 11, 13, 15], [10] * 4])
def test_every_class_occurs_equally_often_give_or_take_one_however_large(sizes):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    for epoch in range(3):
        batches = PKBatches(labels, 3, 2, SIZE).batches(epoch)
        visits = np.bincount(np.concatenate([labels[batch.rows[::2]] for batch in batches]), minlength=len(sizes))
        assert visits.max() - visits.min() <= 1


def test_no_class_occurs_twice_in_a_batch_although_rounds_do_not_divide():
    labels = np.repeat(np.arange(4), 12)  # rounds of 4 classes, batches of 3: each batch takes from two rounds
    for epoch in range(5):
        for batch in PKBatches(labels, 3, 2, SIZE).batches(epoch):
            assert len(set(labels[batch.rows].tolist())) == 3


def test_a_class_with_fewer_than_k_images_repeats_them_evenly():
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    batch = PKBatches(labels, 2, 5, SIZE).batches(0)[0]
    # 5 places for 3 images: two of them twice, one once; 5 places for 5 images: each once
    small, large = batch.rows[labels[batch.rows] == 0], batch.rows[labels[batch.rows] == 1]
    assert sorted(np.bincount(small).tolist()) == [1, 2, 2]
    assert sorted(large.tolist()) == [3, 4, 5, 6, 7]


def test_the_images_of_a_large_class_take_turns():
    labels = np.array([0] * 12 + [1] * 12)
    batches = PKBatches(labels, 2, 4, SIZE).batches(0)
    # 24 / 8 = 3 batches, 3 visits of 4 images to each class of 12
    assert np.bincount(np.concatenate([batch.rows for batch in batches])).tolist() == [1] * 24


def test_classes_with_one_image_and_images_without_label_are_left_out():
    labels = np.array([7, 3, 3, -1, 5, 5, -1, 9])
    plan = PKBatches(labels, 2, 2, SIZE)
    assert plan.left_out.tolist() == [7, 9]
    assert sorted(plan.batches(0)[0].rows.tolist()) == [1, 2, 4, 5]


def test_too_few_classes_for_a_batch_are_refused_with_the_way_out():
    with pytest.raises(ImgretError, match=r"only 2 classes .* shall have 3 classes; choose fewer"):
        PKBatches(np.array([0, 0, 1, 1, 2, -1]), 3, 2, SIZE)
    with pytest.raises(ImgretError, match="only 0 classes"):
        PKBatches(np.array([-1, -1]), 2, 2, SIZE)
    with pytest.raises(ValueError, match="at least 2 classes of 2"):
        PKBatches(np.array([0, 0]), 1, 2, SIZE)


def test_within_a_template_every_batch_is_of_one_size_group():
    random = np.random.default_rng(1)
    labels, aspects = random.integers(0, 8, 200), random.choice([0.6, 0.7, 1.0, np.nan], 200)
    plan = PKBatches(labels, 3, 2, T2, aspects)
    batches = plan.batches(0)
    assert len(batches) == len(plan)
    assert {batch.size for batch in batches} == set(T2.sizes[:3])
    for batch in batches:
        assert {T2.sizes[group] for group in size_group(aspects[batch.rows])} == {batch.size}
        found = labels[batch.rows].reshape(3, 2)
        assert (found[:, 0] == found[:, 1]).all()


def test_a_class_whose_images_never_share_a_group_is_left_out():
    labels = np.array([0, 0, 1, 1, 2, 2])
    aspects = np.array([1.0, 1.0, 1.0, 1.0, 0.6, 1.6])
    assert PKBatches(labels, 2, 2, T2, aspects).left_out.tolist() == [2]
    with pytest.raises(ValueError, match="aspects of all 6"):
        PKBatches(labels, 2, 2, T2)


def test_an_epoch_is_always_the_same_and_another_is_another():
    labels = np.repeat(np.arange(6), 8)
    first, again, other, seeded = (
        np.stack([batch.rows for batch in PKBatches(labels, 3, 2, SIZE, seed=seed).batches(epoch)]).tolist()
        for seed, epoch in [(0, 1), (0, 1), (0, 2), (1, 1)]
    )
    assert first == again
    assert first != other
    assert first != seeded
