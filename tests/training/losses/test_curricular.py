import math

import pytest
import torch

from imgret.training.losses.classifiers import ArcFace
from imgret.training.losses.curricular import CurricularFace


def test_a_batch_that_can_be_worked_out_by_hand():
    # Classes at 0 and 90 degrees; an image of class 0 at 60 degrees: cos_y = 0.5, cos_j = 0.866025.
    # t = 0.01 * 0.5 = 0.005. cos(60 deg + 0.5) = 0.5 * 0.877583 - 0.866025 * 0.479426 = 0.023597, and
    # 0.866 is above it: hard, 0.866025 * (0.005 + 0.866025) = 0.754330. With s = 2 the loss is
    # log(1 + exp(2 * (0.754330 - 0.023597))) = log(1 + exp(1.461466)) = 1.670021
    loss = CurricularFace(2, 2, margin=0.5, scale=2.0).double()
    loss.weight.data = torch.eye(2, dtype=torch.float64)
    image = torch.tensor([[math.cos(math.pi / 3), math.sin(math.pi / 3)]], dtype=torch.float64)
    assert loss(image, torch.tensor([0])).item() == pytest.approx(1.670021, abs=1e-6)
    assert loss.t.item() == pytest.approx(0.005, abs=1e-9)


def test_t_is_a_running_mean_of_the_target_cosines():
    loss = CurricularFace(2, 2, momentum=0.25).double()
    loss.weight.data = torch.eye(2, dtype=torch.float64)
    images = torch.tensor([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]], dtype=torch.float64)
    loss(images[:2], torch.tensor([0, 1]))  # mean cosine (1 + 0.8) / 2 = 0.9: t = 0.225
    assert loss.t.item() == pytest.approx(0.225, abs=1e-6)
    loss(images, torch.tensor([0, -1, 0]))  # (1 - 1) / 2 = 0, the unlabelled image left out: t = 0.75 * 0.225
    assert loss.t.item() == pytest.approx(0.16875, abs=1e-6)


def test_t_stays_in_evaluation_and_without_labels_and_is_kept_in_checkpoints():
    loss = CurricularFace(2, 2)
    loss.t.fill_(0.3)
    loss.eval()(torch.eye(2), torch.tensor([0, 1]))
    loss.train()(torch.eye(2), torch.tensor([-1, -1]))
    assert loss.t.item() == pytest.approx(0.3)
    assert "t" in loss.state_dict()
    assert "t" not in dict(loss.named_parameters())


def test_without_hard_negatives_it_is_arcface():
    curricular, arcface = CurricularFace(3, 3, scale=8.0).double(), ArcFace(3, 3, scale=8.0).double()
    curricular.weight.data = arcface.weight.data = torch.eye(3, dtype=torch.float64)
    images = torch.eye(3, dtype=torch.float64) + 0.05  # near their classes: cos_j = 0.05 < cos(theta_y + m)
    labels = torch.arange(3)
    torch.testing.assert_close(curricular(images, labels), arcface(images, labels))


def test_hard_negatives_weigh_more_as_t_grows():
    loss = CurricularFace(2, 2, scale=8.0).eval()
    loss.weight.data = torch.eye(2)
    image, label = torch.tensor([[0.5, 0.8]]), torch.tensor([0])
    early = loss(image, label)
    loss.t.fill_(0.5)
    assert loss(image, label) > early


def slow(descriptors, labels, weight, margin, scale, t):
    total = 0.0
    cosine = torch.nn.functional.normalize(descriptors) @ torch.nn.functional.normalize(weight).T
    for row, y in zip(cosine.tolist(), labels.tolist(), strict=True):
        theta = math.acos(row[y])
        limit = math.cos(theta + margin)
        logits = [c * (t + c) if c > limit else c for c in row]
        logits[y] = limit if theta <= math.pi - margin else row[y] - margin * math.sin(margin)
        total += math.log(sum(math.exp(scale * z) for z in logits)) - scale * logits[y]
    return total / len(labels)


def test_curricular_is_its_equations():
    generator = torch.Generator().manual_seed(1)
    descriptors = torch.randn(30, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(6, (30,), generator=generator)
    loss = CurricularFace(4, 6, margin=0.5, scale=8.0).double().eval()
    loss.t.fill_(0.375)
    # Beyond pi - m: an image opposite its class, and further still from a negative than cos(theta_y + m).
    descriptors[0], labels[0] = -loss.weight[0].detach() * torch.tensor([1.0, 1.1, 0.9, 1.0]), 0
    loss.weight.data[1] = loss.weight.data[0] * 1.5
    expected = slow(descriptors, labels, loss.weight.detach(), 0.5, 8.0, 0.375)
    assert loss(descriptors, labels).item() == pytest.approx(expected, abs=1e-10)


def test_gradients_are_right_and_flow_through_both_factors_of_a_hard_negative():
    generator = torch.Generator().manual_seed(2)
    descriptors = torch.randn(6, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(5, (6,), generator=generator)
    loss = CurricularFace(4, 5, scale=4.0).double().eval()
    weight = torch.randn(5, 4, generator=generator, dtype=torch.float64, requires_grad=True)

    def of(x, w):
        return torch.func.functional_call(loss, {"weight": w}, (x, labels))

    assert torch.autograd.gradcheck(of, (descriptors, weight))


def test_two_batches_may_be_seen_before_the_backward_pass():
    loss = CurricularFace(4, 5)
    descriptors, labels = torch.randn(6, 4), torch.randint(5, (6,))
    (loss(descriptors, labels) + loss(-descriptors, labels)).backward()  # t moved in place between the two
    assert loss.weight.grad.isfinite().all()


@pytest.mark.parametrize("momentum", [-0.1, 1.1])
def test_a_momentum_that_is_no_share_is_refused(momentum):
    with pytest.raises(ValueError, match=r"momentum must be in \[0, 1\]"):
        CurricularFace(4, 5, momentum=momentum)
