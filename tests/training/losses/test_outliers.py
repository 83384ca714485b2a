import math

import pytest
import torch

from imgret.training.losses import outliers as module
from imgret.training.losses.outliers import outliers


def at(*degrees):
    """Vectors in the plane, of different lengths."""
    angles = torch.tensor([math.radians(d) for d in degrees])
    return torch.stack([angles.cos(), angles.sin()], 1) * torch.arange(1, len(degrees) + 1)[:, None]


# Class 0 has centres at 0 and 90 degrees, class 1 at 180 and 270.
WEIGHT = at(0, 90, 180, 270)


def test_the_angle_to_the_dominant_centre_decides():
    # Class 0: three images are nearest to 0 degrees, one to 90; that one, at 76, is over 75 degrees away.
    # 74 degrees would be nearest to 90 too, and is within 75 of the dominant centre.
    images, labels = at(-10, 5, 20, 30, 76, 74), torch.tensor([0] * 6)
    assert outliers(images, labels, WEIGHT, 2).tolist() == [False, False, False, False, True, False]


def test_each_class_has_its_own_dominant_centre():
    images = at(180, 90, 100, 0, 270, 190)
    labels = torch.tensor([1, 0, 0, 0, 1, 1])
    # class 0: 90 and 100 for the second centre, so 0 is out; class 1: 180 and 190 for the first, so 270 is out
    assert outliers(images, labels, WEIGHT, 2).tolist() == [False, False, False, True, True, False]


def test_of_equal_centres_the_first_is_dominant():
    assert outliers(at(0, 90), torch.tensor([0, 0]), WEIGHT, 2).tolist() == [False, True]


def test_another_angle_may_be_asked_for():
    assert outliers(at(0, 30, 40), torch.zeros(3, dtype=torch.int64), WEIGHT, 2, 35).tolist() == [False, False, True]


def test_unlabelled_images_are_no_outliers_and_have_no_vote():
    images, labels = at(90, 90, 90, 0, 80), torch.tensor([-1, -1, -1, 0, 0])
    assert outliers(images, labels, WEIGHT, 2).tolist() == [False, False, False, False, True]
    assert outliers(images, torch.full((5,), -1), WEIGHT, 2).tolist() == [False] * 5


def test_chunks_do_not_change_the_answer(monkeypatch):
    images, labels = torch.randn(50, 2), torch.randint(2, (50,))
    whole = outliers(images, labels, WEIGHT, 2)
    monkeypatch.setattr(module, "_NUMBERS_AT_ONCE", 12)  # three images at a time
    assert torch.equal(outliers(images, labels, WEIGHT, 2), whole)
    assert whole.any()


def test_weights_that_do_not_divide_into_centres_are_refused():
    with pytest.raises(ValueError, match=r"weight must be \[classes \* 3, D\], got \[4, 2\]"):
        outliers(at(0), torch.tensor([0]), WEIGHT, 3)
