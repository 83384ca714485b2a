import pytest
import torch

from imgret.training.losses.classifiers import ArcFace
from imgret.training.losses.dynamic import dynamic_margins


def test_the_largest_class_has_the_low_margin_and_the_smallest_the_high_one():
    # n^(-1/4) of 16, 1, 81, 625: 1/2, 1, 1/3, 1/5. From 0.05 to 0.5: (1/2 - 1/5) / (4/5) = 0.375, 1, 1/6, 0
    margins = dynamic_margins(torch.tensor([16, 1, 81, 625]))
    assert margins.tolist() == pytest.approx([0.05 + 0.45 * 0.375, 0.5, 0.05 + 0.45 / 6, 0.05], abs=1e-6)
    assert margins.dtype == torch.float32


def test_other_ends_may_be_chosen():
    assert dynamic_margins(torch.tensor([2, 7]), 0.1, 0.3).tolist() == pytest.approx([0.3, 0.1])


@pytest.mark.parametrize("counts", [[7, 7, 7], [3]])
def test_classes_of_one_size_all_have_the_margin_halfway(counts):
    # (0.05 + 0.5) / 2
    assert dynamic_margins(torch.tensor(counts)).tolist() == pytest.approx([0.275] * len(counts))


def test_arcface_takes_them():
    loss = ArcFace(4, 3, margin=dynamic_margins(torch.tensor([1, 16, 81])))
    assert loss.margin[0] == 0.5


@pytest.mark.parametrize(
    ("counts", "words"),
    [([3, 0], "class 1 has no image"), ([], r"got \[0\]"), ([[3]], r"got \[1, 1\]")],
)
def test_counts_that_are_none_are_refused(counts, words):
    with pytest.raises(ValueError, match=words):
        dynamic_margins(torch.tensor(counts))


def test_low_above_high_is_refused():
    with pytest.raises(ValueError, match=r"low must not be above high, got 0.5 and 0.05"):
        dynamic_margins(torch.tensor([1, 2]), 0.5, 0.05)
