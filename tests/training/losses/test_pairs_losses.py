import math

import pytest
import torch

from imgret.errors import UnknownNameError
from imgret.training.losses.batch_triplet import BatchTriplet
from imgret.training.losses.pairs import Contrastive, Triplet


def at(*degrees):
    angles = torch.tensor([math.radians(d) for d in degrees], dtype=torch.float64)
    return torch.stack([angles.cos(), angles.sin()], 1)


# Squared distances of unit vectors are 2 - 2 cos: 60 degrees 1, 90 degrees 2, 120 degrees 3, 180 degrees 4.
QUERY_60_90_180 = at(0, 60, 90, 180)
TUPLE = torch.tensor([[0, 1, 2, 3]])


def test_contrastive_pulls_the_positive_and_pushes_negatives_within_tau():
    # positive 60 degrees: 1 / 2. Negatives: 90 degrees, d = 1.414214, (1.9 - 1.414214)^2 / 2 = 0.117994;
    # 180 degrees, d = 2 > 1.9: nothing
    loss = Contrastive(tau=1.9)(QUERY_60_90_180, TUPLE)
    assert loss.item() == pytest.approx(0.5 + 0.117994, abs=1e-6)


def test_contrastive_with_a_small_tau_is_the_positive_alone():
    assert Contrastive(tau=0.85)(QUERY_60_90_180, TUPLE).item() == pytest.approx(0.5, abs=1e-12)


def test_triplet_compares_squared_distances():
    # d+^2 = 1; d-^2 = 2 and 4. Margin 1.5: max(0, 1 - 2 + 1.5) + max(0, 1 - 4 + 1.5) = 0.5 + 0
    assert Triplet(margin=1.5)(QUERY_60_90_180, TUPLE).item() == pytest.approx(0.5, abs=1e-12)
    # Margin 3.5: 2.5 + 0.5
    assert Triplet(margin=3.5)(QUERY_60_90_180, TUPLE).item() == pytest.approx(3.0, abs=1e-12)


@pytest.mark.parametrize("loss", [Contrastive(1.9), Triplet(3.5)])
def test_the_mean_is_over_tuples_and_a_missing_negative_costs_nothing(loss):
    one = loss(QUERY_60_90_180, torch.tensor([[0, 1, 2]]))
    other = loss(QUERY_60_90_180, torch.tensor([[1, 2, 3]]))
    both = loss(QUERY_60_90_180, torch.tensor([[0, 1, 2, -1], [1, 2, -1, 3]]))
    assert other > 0
    assert both.item() == pytest.approx((one.item() + other.item()) / 2, abs=1e-12)


@pytest.mark.parametrize("loss", [Contrastive(1.5), Triplet(1.0)])
def test_tuple_losses_are_their_equations(loss):
    generator = torch.Generator().manual_seed(0)
    descriptors = torch.randn(10, 5, generator=generator, dtype=torch.float64)
    tuples = torch.stack([torch.randperm(10, generator=generator)[:5] for _ in range(6)])
    unit = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in descriptors.tolist()]

    def d(a, b):
        return math.dist(unit[a], unit[b])

    total = 0.0
    for q, p, *negatives in tuples.tolist():
        if isinstance(loss, Contrastive):
            total += d(q, p) ** 2 / 2 + sum(max(0, 1.5 - d(q, n)) ** 2 / 2 for n in negatives)
        else:
            total += sum(max(0, d(q, p) ** 2 - d(q, n) ** 2 + 1.0) for n in negatives)
    assert loss(descriptors, tuples).item() == pytest.approx(total / 6, abs=1e-10)


@pytest.mark.parametrize("loss", [Contrastive(1.5), Triplet(1.0)])
def test_gradients_of_tuple_losses_are_right(loss):
    generator = torch.Generator().manual_seed(4)
    descriptors = torch.randn(6, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    tuples = torch.tensor([[0, 1, 2, 3], [1, 0, 4, -1], [5, 2, 3, 4]])
    assert torch.autograd.gradcheck(lambda x: loss(x, tuples), (descriptors,))


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("loss", [Contrastive(), Triplet()])
def test_identical_and_opposite_tuples_give_finite_gradients(loss, autocast):
    x = torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [-1.0, -2.0], [0.0, 0.0]], requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        value = loss(x.bfloat16() if autocast else x, torch.tensor([[0, 1, 2, 3, 4], [0, 3, 1, 2, 4]]))
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize(
    ("loss", "target"),
    [
        (Contrastive(1.5), torch.empty(0, 5, dtype=torch.int64)),
        (Triplet(), torch.empty(0, 5, dtype=torch.int64)),
        (BatchTriplet(), torch.full((4,), -1)),
        (BatchTriplet(), torch.tensor([0, 1, 2, 3])),  # no positives
        (BatchTriplet(), torch.tensor([1, 1, 1, 1])),  # no negatives
        (BatchTriplet(mining="semi-hard"), torch.tensor([1, 1, 1, -1])),
        (BatchTriplet(mining="semi-hard"), torch.tensor([0, 1, 2, 3])),
    ],
)
def test_without_anything_to_compare_loss_and_gradient_are_0(loss, target):
    descriptors = torch.randn(4, 3, requires_grad=True)
    value = loss(descriptors, target)
    value.backward()
    assert value.item() == 0
    assert torch.equal(descriptors.grad, torch.zeros(4, 3))


@pytest.mark.parametrize("tuples", [[[0, -1, 2]], [[-1, 1, 2]], [[0, 1, 4]], [[0, 1, -2]]])
@pytest.mark.parametrize("loss", [Contrastive(), Triplet()])
def test_tuples_that_are_no_rows_are_refused(loss, tuples):
    with pytest.raises(ValueError, match="tuples must be rows of the 4 descriptors"):
        loss(QUERY_60_90_180, torch.tensor(tuples))


@pytest.mark.parametrize("tuples", [torch.tensor([[0, 1]]), torch.tensor([0, 1, 2]), torch.tensor([[0.0, 1.0, 2.0]])])
def test_tuples_without_negatives_or_of_another_type_are_refused(tuples):
    with pytest.raises(ValueError, match=r"tuples must be int64 \[T, 2 \+ k\]"):
        Triplet()(QUERY_60_90_180, tuples)


# Class 0 at 0, 60 and 120 degrees, class 1 at 90 and 150, one unlabelled at 0.
BATCH, LABELS = at(0, 60, 120, 90, 150, 0), torch.tensor([0, 0, 0, 1, 1, -1])


def apart(degrees):
    return 2 - 2 * math.cos(math.radians(degrees))


def test_batch_hard_takes_the_furthest_positive_and_the_nearest_negative():
    pairs = [(120, 90), (60, 30), (120, 30), (60, 30), (60, 30)]  # degrees to them, anchor by anchor
    expected = sum(apart(p) - apart(n) + 0.2 for p, n in pairs) / 5
    assert BatchTriplet(0.2, "hard")(BATCH, LABELS).item() == pytest.approx(expected, abs=1e-12)


def test_semi_hard_takes_the_nearest_negative_beyond_each_positive():
    # (anchor, positive): degrees apart, then the negative chosen
    pairs = [
        (60, 90),  # 0 and 60: negatives at 90 and 150 from the anchor, the nearest beyond 60
        (120, 150),  # 0 and 120
        (60, 90),  # 60 and 0: negatives 30 and 90
        (60, 90),  # 60 and 120
        (120, 30),  # 120 and 0: negatives 30 and 30, none beyond 120: the furthest
        (60, 30),  # 120 and 60: none beyond 60
        (60, 90),  # 90 and 150: negatives 90, 30, 30
        (60, 90),  # 150 and 90: negatives 150, 90, 30
    ]
    expected = sum(max(0, apart(p) - apart(n) + 1.2) for p, n in pairs) / 8
    assert BatchTriplet(1.2, "semi-hard")(BATCH, LABELS).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("mining", ["hard", "semi-hard"])
def test_a_class_with_one_image_gives_negatives_only(mining):
    loss = BatchTriplet(1.0, mining)(at(0, 60, 90), torch.tensor([0, 0, 1]))
    # Anchors at 0 and 60 degrees, each 60 from its positive: d+^2 = 1. The negative is 90 and 30 degrees from them:
    # d-^2 = 2 and 0.267949. max(0, 1 - 2 + 1) and 1 - 0.267949 + 1; with one negative there is nothing to choose.
    assert loss.item() == pytest.approx((0 + 1 - 0.267949 + 1) / 2, abs=1e-6)


@pytest.mark.parametrize("mining", ["hard", "semi-hard"])
def test_gradients_of_mined_triplets_are_right(mining):
    generator = torch.Generator().manual_seed(5)
    descriptors = torch.randn(8, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 2, -1])
    assert torch.autograd.gradcheck(lambda x: BatchTriplet(0.5, mining)(x, labels), (descriptors,))


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("mining", ["hard", "semi-hard"])
def test_identical_and_opposite_images_give_finite_mined_triplets(mining, autocast):
    x = torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [-1.0, -2.0]], requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        value = BatchTriplet(0.1, mining)(x.bfloat16() if autocast else x, torch.tensor([0, 0, 1, 1]))
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert x.grad.isfinite().all()


def test_constants_out_of_range_are_refused():
    for tau in (0.0, 2.5):
        with pytest.raises(ValueError, match=r"tau must be in \(0, 2\]"):
            Contrastive(tau)
    for kind in (Triplet, BatchTriplet):
        with pytest.raises(ValueError, match=r"margin must be in \(0, 4\]"):
            kind(margin=0.0)
    with pytest.raises(UnknownNameError, match="did you mean semi-hard"):
        BatchTriplet(mining="semihard")
