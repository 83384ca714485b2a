import math
import operator

import pytest
import torch
import torch.nn.functional as F

from imgret.errors import UnknownNameError
from imgret.training.losses.classifiers import ArcFace
from imgret.training.losses.curricular import CurricularFace

CLASSIFIERS = [ArcFace, CurricularFace]


def batch(rows=6, dim=4, classes=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    descriptors = torch.randn(rows, dim, generator=generator, dtype=torch.float64)
    return descriptors, torch.randint(classes, (rows,), generator=generator)


def slow_arcface(descriptors, labels, weight, margins, scale, centres, psi):
    """The equations one number at a time."""

    def cosine(a, b):
        return sum(map(operator.mul, a, b)) / math.hypot(*a) / math.hypot(*b)

    total = 0.0
    for x, y in zip(descriptors.tolist(), labels.tolist(), strict=True):
        all_ = [cosine(x, w) for w in weight.tolist()]
        logits = [max(all_[centres * j : centres * (j + 1)]) for j in range(len(all_) // centres)]
        theta, m = math.acos(logits[y]), margins[y]
        if psi == "easy":
            logits[y] = math.cos(theta + m) if theta < math.pi / 2 else math.cos(theta)
        elif theta <= math.pi - m:
            logits[y] = math.cos(theta + m)
        else:
            logits[y] = math.cos(theta) - (m * math.sin(m) if psi == "hard" else 0)
        total += math.log(sum(math.exp(scale * z) for z in logits)) - scale * logits[y]
    return total / len(labels)


@pytest.mark.parametrize("psi", ["hard", "easy", "delg"])
@pytest.mark.parametrize("centres", [1, 3])
@pytest.mark.parametrize("margin", [0.5, torch.tensor([0.5, 0.25, 0.0, 1.0, 1.5])])
def test_arcface_is_its_equation(psi, centres, margin):
    descriptors, labels = batch(rows=20)
    loss = ArcFace(4, 5, margin, scale=16.0, psi=psi, centres=centres).double()
    margins = margin.tolist() if isinstance(margin, torch.Tensor) else [margin] * 5
    expected = slow_arcface(descriptors, labels, loss.weight, margins, 16.0, centres, psi)
    assert loss(descriptors, labels).item() == pytest.approx(expected, abs=1e-10)


def test_a_loss_that_can_be_worked_out_by_hand():
    # Two classes on the axes and a descriptor on the first, m = pi / 2: the target's logit is cos(0 + pi / 2) = 0, the
    # other's 0 too, so the loss is log 2. (The clamp moves the angle by 4.5e-4.)
    loss = ArcFace(2, 2, margin=math.pi / 2, scale=1.0)
    loss.weight.data = torch.eye(2) * 3
    assert loss(torch.tensor([[5.0, 0.0]]), torch.tensor([0])).item() == pytest.approx(math.log(2), abs=5e-4)


@pytest.mark.parametrize("psi", ["hard", "easy", "delg"])
def test_without_margin_and_scale_arcface_is_cosine_softmax(psi):
    descriptors, labels = batch()
    loss = ArcFace(4, 5, margin=0.0, scale=1.0, psi=psi).double()
    plain = F.cross_entropy(F.normalize(descriptors) @ F.normalize(loss.weight).T, labels)
    torch.testing.assert_close(loss(descriptors, labels), plain, atol=1e-12, rtol=0)


def test_a_margin_raises_the_loss():
    descriptors, labels = batch()
    torch.manual_seed(0)
    loss = ArcFace(4, 5, margin=0.0).double()
    before = loss(descriptors, labels)
    loss.margin += 0.3
    assert loss(descriptors, labels) > before


def test_one_sub_center_is_arcface():
    descriptors, labels = batch()
    torch.manual_seed(3)
    one = ArcFace(4, 5, centres=1).double()
    torch.manual_seed(3)
    assert torch.equal(ArcFace(4, 5).double()(descriptors, labels), one(descriptors, labels))


def test_sub_centers_of_a_class_are_adjacent_and_the_nearest_counts():
    descriptors, labels = batch()
    three = ArcFace(4, 5, centres=3).double()
    every = F.normalize(descriptors) @ F.normalize(three.weight).T  # [B, 15]
    nearest = every.view(6, 5, 3).argmax(2) + 3 * torch.arange(5)  # rows of weight, one per image and class
    for row in range(6):
        one = ArcFace(4, 5).double()
        one.weight.data = three.weight.data[nearest[row]]
        picked = slice(row, row + 1)
        torch.testing.assert_close(three(descriptors[picked], labels[picked]), one(descriptors[picked], labels[picked]))


def test_only_the_nearest_sub_center_learns():
    loss = ArcFace(2, 2, scale=1.0, centres=2)
    loss.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.2], [0.2, -1.0]])
    loss(torch.tensor([[0.9, 0.5]]), torch.tensor([0])).backward()
    # 29 degrees from the first centre of class 0; 108 from the second of class 1, 140 from its first
    assert (loss.weight.grad.abs().sum(1) > 0).tolist() == [True, False, False, True]


def test_weights_are_xavier_uniform():
    weight = ArcFace(100, 50, centres=2).weight
    bound = math.sqrt(6 / (100 + 100))  # 50 classes of 2 centres, 100 dimensions
    assert weight.shape == (100, 100)
    assert weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)  # of a uniform distribution


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_lengths_of_descriptors_do_not_matter(kind):
    descriptors, labels = batch()
    loss = kind(4, 5).double().eval()
    longer = descriptors * torch.tensor([1, 2, 3, 0.1, 5, 60.0])[:, None]
    torch.testing.assert_close(loss(longer, labels), loss(descriptors, labels))


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_unlabelled_rows_change_nothing_whatever_they_hold(kind):
    descriptors, labels = batch()
    loss = kind(4, 5).double()
    state = {name: value.clone() for name, value in loss.state_dict().items()}
    expected = loss(descriptors, labels)
    (gradient,) = torch.autograd.grad(expected, loss.weight)
    loss.load_state_dict(state)
    with_others = torch.cat([descriptors, torch.full((2, 4), math.nan, dtype=torch.float64)]).requires_grad_()
    value = loss(with_others, torch.cat([labels, torch.tensor([-1, -1])]))
    value.backward()
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(loss.weight.grad, gradient)
    assert with_others.grad[:6].abs().sum() > 0
    assert torch.equal(with_others.grad[6:], torch.zeros(2, 4, dtype=torch.float64))


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize("rows", [0, 3])
def test_without_any_labelled_row_loss_and_gradients_are_0(kind, rows):
    loss = kind(4, 5)
    descriptors = torch.randn(rows, 4, requires_grad=True)
    value = loss(descriptors, torch.full((rows,), -1))
    value.backward()
    assert value.item() == 0
    assert torch.equal(descriptors.grad, torch.zeros(rows, 4))
    assert torch.equal(loss.weight.grad, torch.zeros(5, 4))  # there, not None: DDP waits for it


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize("bad", [-2, 5])
def test_labels_out_of_range_are_refused(kind, bad):
    with pytest.raises(ValueError, match=r"labels must be -1 \(none\) or more, and below 5; they run from"):
        kind(4, 5)(torch.randn(2, 4), torch.tensor([0, bad]))


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize(
    ("shape", "labels", "words"),
    [
        ((2, 3), torch.tensor([0, 1]), r"descriptors must be \[B, 4\], got \[2, 3\]"),
        ((2, 4), torch.tensor([0]), r"labels must be int64 \[2\], got int64 \[1\]"),
        ((2, 4), torch.tensor([0, 1], dtype=torch.int32), r"labels must be int64 \[2\], got int32"),
    ],
)
def test_other_shapes_and_types_are_refused(kind, shape, labels, words):
    with pytest.raises(ValueError, match=words):
        kind(4, 5)(torch.randn(shape), labels)


@pytest.mark.parametrize("arguments", [{"scale": 0.0}, {"margin": 28.6}, {"classes": 0}, {"dim": 0}])
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_numbers_out_of_range_are_refused(kind, arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        kind(**{"dim": 4, "classes": 5, **arguments})


def test_no_centres_and_unknown_margin_functions_are_refused():
    with pytest.raises(ValueError, match="centres must be at least 1, got 0"):
        ArcFace(4, 5, centres=0)
    with pytest.raises(UnknownNameError, match="did you mean easy"):
        ArcFace(4, 5, psi="eazy")


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("scale", [1.0, 64.0])
def test_identical_and_opposite_vectors_give_finite_losses_and_gradients(kind, autocast, scale):
    loss = kind(4, 5, scale=scale)
    # Each image is its class, the opposite of it, or nothing at all.
    descriptors = torch.cat([loss.weight.detach(), -loss.weight.detach(), torch.zeros(1, 4)]).requires_grad_()
    labels = torch.tensor([*range(5), *range(5), 0])
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        value = loss(descriptors.bfloat16() if autocast else descriptors, labels)
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert descriptors.grad.isfinite().all()
    assert loss.weight.grad.isfinite().all()


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_autocast_does_not_make_the_loss_coarser(kind):
    descriptors, labels = batch(rows=16, dim=64)
    loss = kind(64, 5).eval()
    exact = loss(descriptors.float(), labels)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss(descriptors.float(), labels), exact)


@pytest.mark.parametrize("psi", ["hard", "easy", "delg"])
def test_gradients_of_arcface_are_right(psi):
    descriptors, labels = batch()
    loss = ArcFace(4, 5, scale=4.0, psi=psi, centres=2).double()

    def of(x, weight):
        return torch.func.functional_call(loss, {"weight": weight}, (x, labels))

    assert torch.autograd.gradcheck(of, (descriptors.requires_grad_(), loss.weight.detach().requires_grad_()))


def test_margins_per_class_are_kept_with_the_weights():
    saved = ArcFace(4, 5, margin=torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])).state_dict()
    fresh = ArcFace(4, 5, margin=torch.zeros(5))
    fresh.load_state_dict(saved)
    assert fresh.margin.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
